/* wire_responses: what the events of a response and whole responses become; a
 * stream at every split, cut at every byte, and in memory that runs out. */
#include "../src/wire_responses.h"

#define WIRE oai_wire_responses
enum { HAS_PATTERN = 0, SHOWS_WHOLE = 0 };
#include "support/wire_test.h"

/* ---- the table ---------------------------------------------------------- */

#define T(type, members) "{\"type\":\"response." type "\"," members "}"
#define TEXT(text)                                                             \
  T("output_text.delta", "\"output_index\":0,\"delta\":\"" text "\"")
#define END(status, members)                                                   \
  "{\"type\":\"response." status "\",\"response\":{\"status\":\"" status       \
  "\"," members "}}"
#define MESSAGE(text)                                                          \
  "{\"type\":\"message\",\"content\":[{\"type\":\"output_text\",\"text\":"     \
  "\"" text "\"}]}"

static const struct row {
  const char *name, *events[6];
  oai_read last;
  const char *want;
} rows[] = {
    {"joins text, and ends with the response",
     {TEXT("a"), TEXT("b"), END("completed", "\"output\":[]")},
     OAI_READ_DONE,
     "t=ab;f=stop;"},
    {"takes the text of a server that streams none of it",
     {END("completed", "\"id\":\"r1\",\"output\":[" MESSAGE("whole") "]")},
     OAI_READ_DONE,
     "t=whole;f=stop;i=" MESSAGE("whole") ";id=r1;"},
    {"takes no text twice",
     {TEXT("ab"), END("completed", "\"output\":[" MESSAGE("ab") "]")},
     OAI_READ_DONE,
     "t=ab;f=stop;i=" MESSAGE("ab") ";"},
    {"ignores what is no event",
     {"{}", "[]", "null", "1", "{\"type\":7}", "{\"type\":\"response.new\"}"},
     OAI_READ_MORE,
     ""},
    {"tolerates members of a wrong type",
     {T("output_text.delta", "\"delta\":7"),
      T("output_item.added", "\"item\":1"),
      T("output_item.done", "\"item\":[],\"output_index\":0"),
      T("created", "\"response\":[]"),
      T("function_call_arguments.done", "\"arguments\":{}")},
     OAI_READ_MORE,
     ""},
    {"puts a blank line between two parts of a summary, none before the first",
     {T("reasoning_summary_part.added", "\"summary_index\":0"),
      T("reasoning_summary_text.delta", "\"delta\":\"a\""),
      T("reasoning_summary_part.added", "\"summary_index\":1"),
      T("reasoning_summary_text.delta", "\"delta\":\"b\"")},
     OAI_READ_MORE,
     "r=a\n\nb;"},
    {"takes reasoning of the first kind alone",
     {T("reasoning_text.delta", "\"delta\":\"a\""),
      T("reasoning_summary_text.delta", "\"delta\":\"b\"")},
     OAI_READ_MORE,
     "r=a;"},
    {"makes a call of an item and its arguments",
     {T("output_item.added",
        "\"output_index\":1,\"item\":{\"type\":\"function_call\",\"call_id\":"
        "\"c1\",\"name\":\"f\",\"arguments\":\"\"}"),
      T("function_call_arguments.delta", "\"output_index\":1,\"delta\":\"{\""),
      T("function_call_arguments.delta", "\"output_index\":1,\"delta\":\"}\""),
      T("function_call_arguments.done",
        "\"output_index\":1,\"arguments\":\"{}\""),
      END("completed", "\"output\":[]")},
     OAI_READ_DONE,
     "c=c1;/f;/{};f=tool_calls;"},
    {"takes the arguments of a server that says them at the end",
     {T("output_item.added",
        "\"output_index\":1,\"item\":{\"type\":\"function_call\",\"call_id\":"
        "\"c1\",\"name\":\"f\"}"),
      T("function_call_arguments.done",
        "\"output_index\":1,\"arguments\":\"{}\"")},
     OAI_READ_MORE,
     "c=c1;/f;/{};"},
    {"keeps two calls apart by their place",
     {T("output_item.added",
        "\"output_index\":0,\"item\":{\"type\":"
        "\"function_call\",\"call_id\":\"a\",\"name\":\"f\"}"),
      T("output_item.added",
        "\"output_index\":1,\"item\":{\"type\":"
        "\"function_call\",\"call_id\":\"b\",\"name\":\"g\"}"),
      T("function_call_arguments.delta", "\"output_index\":0,\"delta\":\"1\""),
      T("function_call_arguments.delta", "\"output_index\":1,\"delta\":\"2\"")},
     OAI_READ_MORE,
     "c=a;/f;/1;c=b;/g;/2;"},
    {"says in the words of chat completions why it is incomplete",
     {TEXT("a"), END("incomplete", "\"output\":[],\"incomplete_details\":{"
                                   "\"reason\":\"max_output_tokens\"}")},
     OAI_READ_DONE,
     "t=a;f=length;"},
    {"keeps a reason that it does not know",
     {TEXT("a"), END("incomplete", "\"output\":[],\"incomplete_details\":{"
                                   "\"reason\":\"content_filter\"}")},
     OAI_READ_DONE,
     "t=a;f=content_filter;"},
    {"keeps items in the order of their places",
     {T("output_item.done", "\"output_index\":1,\"item\":{\"a\":1}"),
      T("output_item.done", "\"output_index\":0,\"item\":{\"b\":1}")},
     OAI_READ_MORE,
     "i={\"b\":1};i={\"a\":1};opaque!;"},
    {"keeps a message that has a phase as it came",
     {T("output_item.done",
        "\"output_index\":0,\"item\":{\"type\":\"message\",\"phase\":\"x\"}")},
     OAI_READ_MORE,
     "i={\"type\":\"message\",\"phase\":\"x\"};opaque!;"},
    {"joins a refusal",
     {T("refusal.delta", "\"delta\":\"no\""),
      END("completed", "\"output\":[],\"usage\":{\"input_tokens\":1}")},
     OAI_READ_DONE,
     "x=no;f=stop;u={\"input_tokens\":1};"},
};

static void table(void) {
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    world w;
    oai_read read = OAI_READ_MORE;
    up(&w);
    TEST(rows[i].name);
    for (size_t k = 0; k < 6 && rows[i].events[k]; k++) {
      CHECK_EQ_INT(read, OAI_READ_MORE);
      read = event(&w, rows[i].events[k]);
    }
    CHECK_EQ_INT(read, rows[i].last);
    CHECK_EQ_INT(oai_delta_end(&w.d), OAI_OK);
    shows(&w, rows[i].want);
    down(&w);
  }
}

/* ---- failures ----------------------------------------------------------- */

static const struct bad {
  const char *name, *event, *text;
  oai_kind kind;
  const char *code;
} bads[] = {
    {"reads an error event", "",
     "{\"type\":\"error\",\"code\":\"rate_limit_exceeded\",\"message\":\"m\"}",
     OAI_RATE_LIMIT, "rate_limit_exceeded"},
    {"reads an error event whose members are nested", "error",
     "{\"type\":\"error\",\"error\":{\"code\":\"server_is_overloaded\"}}",
     OAI_OVERLOADED, "server_is_overloaded"},
    {"reads a gateway's error without a type", "",
     "{\"error\":{\"message\":\"upstream\"}}", OAI_SERVER, ""},
    {"reads why a response failed", "",
     END("failed", "\"error\":{\"code\":\"server_error\",\"message\":\"m\"}"),
     OAI_SERVER, "server_error"},
    {"fails without a reason, too", "", END("failed", "\"error\":null"),
     OAI_SERVER, "response_failed"},
    {"knows one that was canceled", "", END("cancelled", "\"output\":[]"),
     OAI_CANCELED, "response_cancelled"},
    {"takes no end for one that goes on", "",
     "{\"type\":\"response.completed\",\"response\":{\"status\":\"in_"
     "progress\"}}",
     OAI_INCOMPLETE_STREAM, "in_progress"},
    {"takes no end without a response", "", "{\"type\":\"response.completed\"}",
     OAI_PROTOCOL, "malformed_event"},
    {"refuses broken JSON", "", "{\"type\":\"response.output_text.delta\",",
     OAI_PROTOCOL, "malformed_event"},
    {"refuses JSON that is too deep", "",
     "{\"a\":[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]}", OAI_TOO_LARGE,
     "too_deep"},
};

static void failures(void) {
  for (size_t i = 0; i < sizeof bads / sizeof *bads; i++) {
    world w;
    up(&w);
    TEST(bads[i].name);
    CHECK_EQ_INT(event_n(&w, bads[i].event, bads[i].text, strlen(bads[i].text)),
                 OAI_READ_FAILED);
    CHECK_EQ_INT(w.f.kind, bads[i].kind);
    CHECK_EQ_MEM(w.f.code, strlen(w.f.code), bads[i].code,
                 strlen(bads[i].code));
    down(&w);
  }
}

static void limits(void) {
  world w;
  char text[200];
  TEST("makes no more calls than its limit");
  up(&w);
  oai_read read = OAI_READ_MORE;
  for (int i = 0; i < 5 && read == OAI_READ_MORE; i++) {
    snprintf(text, sizeof text,
             T("output_item.added", "\"output_index\":%d,\"item\":{\"type\":"
                                    "\"function_call\",\"call_id\":\"c%d\","
                                    "\"name\":\"f\"}"),
             i, i);
    read = event(&w, text);
  }
  CHECK_EQ_INT(read, OAI_READ_FAILED);
  CHECK_EQ_INT(w.f.kind, OAI_TOO_LARGE);
  down(&w);
  TEST("keeps no more items than its limit");
  up(&w);
  for (int i = 0; i <= OAI_ITEMS_MAX; i++) {
    snprintf(text, sizeof text,
             T("output_item.done", "\"output_index\":%d,\"item\":{}"), i);
    read = event(&w, text);
    CHECK_EQ_INT(read, i < OAI_ITEMS_MAX ? OAI_READ_MORE : OAI_READ_FAILED);
  }
  CHECK_EQ_INT(w.f.kind, OAI_TOO_LARGE);
  down(&w);
}

static bool told(world *w, const char *want) {
  oai_op op;
  if (!CHECK(oai_delta_next(&w->d, &op))) return false;
  CHECK_EQ_INT(op.kind, OAI_OP_PROGRESS);
  return CHECK_EQ_MEM(w->d.notes.p + op.at, op.n, want, strlen(want));
}

static void progress(void) {
  world w;
  up(&w);
  TEST("tells what a tool of the server is doing");
  event(&w, T("web_search_call.searching", "\"item_id\":\"w\""));
  event(&w, T("code_interpreter_call_code.delta", "\"delta\":\"x\""));
  event(&w, T("mcp_list_tools.failed", "\"a\":1"));
  told(&w, "{\"tool\":\"web_search\",\"status\":\"searching\",\"id\":\"w\","
           "\"data\":" T("web_search_call.searching", "\"item_id\":\"w\"") "}");
  told(&w, "{\"tool\":\"code_interpreter\",\"status\":\"code.delta\",\"id\":"
           "\"\",\"data\":" T("code_interpreter_call_code.delta",
                              "\"delta\":\"x\"") "}");
  told(&w, "{\"tool\":\"mcp_list_tools\",\"status\":\"failed\",\"id\":\"\","
           "\"data\":" T("mcp_list_tools.failed", "\"a\":1") "}");
  TEST("tells nothing of an event that no tool did");
  event(&w, T("content_part.done", "\"item_id\":\"w\""));
  event(&w, T("_call", "\"item_id\":\"w\""));
  oai_op op;
  CHECK(!oai_delta_next(&w.d, &op));
  down(&w);
}

static void resumed(void) {
  world w;
  up(&w);
  TEST("counts the events, and takes none again that was read before");
  event(&w, T("output_text.delta", "\"delta\":\"a\",\"sequence_number\":4"));
  CHECK_EQ_INT((int)w.d.sequence, 4);
  w.d.resumed = w.d.sequence;
  event(&w, T("output_text.delta", "\"delta\":\"a\",\"sequence_number\":4"));
  event(&w, T("output_text.delta", "\"delta\":\"b\",\"sequence_number\":5"));
  event(&w, T("output_text.delta", "\"delta\":\"c\""));
  shows(&w, "t=abc;");
  down(&w);
}

static void bodies(void) {
  world w;
  up(&w);
  TEST("reads a whole response");
  CHECK_EQ_INT(
      body(
          &w,
          "{\"id\":\"r\",\"status\":\"completed\",\"error\":null,\"output\":[{"
          "\"type\":\"reasoning\",\"summary\":[{\"text\":\"p\"},{\"text\":\"q\""
          "}]},{\"type\":\"function_call\",\"call_id\":\"c\",\"name\":\"f\","
          "\"arguments\":\"{}\"}," MESSAGE("hi") "]}"),
      OAI_READ_DONE);
  CHECK_EQ_MEM(w.d.choices[0].reasoning.buf.p, w.d.choices[0].reasoning.buf.n,
               "p\n\nq", 4);
  CHECK_EQ_MEM(w.d.choices[0].text.buf.p, w.d.choices[0].text.buf.n, "hi", 2);
  CHECK_EQ_INT(w.d.choices[0].ncalls, 1);
  down(&w);
  static const struct {
    const char *text;
    oai_kind kind;
  } wrong[] = {
      {"{\"object\":\"x\"}", OAI_PROTOCOL},
      {"{\"output\":{}}", OAI_PROTOCOL},
      {"{\"output\":[", OAI_PROTOCOL},
      {"[]", OAI_PROTOCOL},
      {"{\"error\":{\"message\":\"m\"}}", OAI_SERVER},
      {"{\"status\":\"queued\",\"output\":[]}", OAI_INCOMPLETE_STREAM}};
  TEST("refuses a body that is no response, or not its end");
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
    up(&w);
    CHECK_EQ_INT(body(&w, wrong[i].text), OAI_READ_FAILED);
    CHECK_EQ_INT(w.f.kind, wrong[i].kind);
    down(&w);
  }
}

/* ---- a stream at every split, cut at every byte, without memory ---------- */

#define S(type, members)                                                       \
  "event: response." type "\ndata: " T(type, members) "\n\n"

static const char stream[] =
    S("created", "\"response\":{\"id\":\"r\",\"model\":\"m\",\"output\":[]}")
        S("output_item.added",
          "\"output_index\":0,\"item\":{\"type\":\"reasoning\"}")
            S("reasoning_summary_text.delta", "\"delta\":\"why\"")
                S("output_item.done",
                  "\"output_index\":0,\"item\":{\"type\":\"reasoning\","
                  "\"encrypted_content\":\"e\"}") S("web_search_call.completed",
                                                    "\"item_id\":\"w\"")
                    S("output_text.delta",
                      "\"output_index\":1,\"delta\":\"a\\ud83d\"")
                        S("output_text.delta",
                          "\"output_index\":1,\"delta\":\"\\ude80\"")
                            S("output_item.added",
                              "\"output_index\":2,\"item\":{\"type\":"
                              "\"function_call\",\"call_id\":\"c\",\"name\":"
                              "\"f\"}") S("function_call_arguments.delta",
                                          "\"output_index\":2,\"delta\":\"{}"
                                          "\"") "event: "
                                                "response.completed\ndata:"
                                                " " END("completed",
                                                        "\"id\":\"r\","
                                                        "\"output\":[{"
                                                        "\"type\":"
                                                        "\"reasoning\"},"
                                                        "{\"type\":"
                                                        "\"message\","
                                                        "\"content\":[]}],"
                                                        "\"usage\":{}") "\n"
                                                                        "\n";

static const char whole[] =
    "t=a\xF0\x9F\x9A\x80;r=why;c=c;/f;/"
    "{};f=tool_calls;i={\"type\":\"reasoning\"};"
    "i={\"type\":\"message\",\"content\":[]};opaque!;u={};id=r;";

static const text_stream streams[] = {{stream, whole}};

int main(void) {
  table();
  failures();
  limits();
  progress();
  resumed();
  bodies();
  splits(streams);
  torture(streams);
  return test_report();
}
