/* wire_anthropic: what the events of a message and whole messages become; the
 * API reference's streams at every split, cut at every byte, and in memory that
 * runs out. */
#include "../src/wire_anthropic.h"

#define WIRE oai_wire_anthropic
enum { HAS_PATTERN = 1, SHOWS_WHOLE = 1 };
#include "support/wire_test.h"

/* ---- the table ---------------------------------------------------------- */

#define T(type, members) "{\"type\":\"" type "\"," members "}"
#define BEGIN(n, block)                                                        \
  T("content_block_start", "\"index\":" #n ",\"content_block\":" block)
#define DELTA(n, type, members)                                                \
  T("content_block_delta",                                                     \
    "\"index\":" #n ",\"delta\":" T(type "_delta", members))
#define TEXT(n, text) DELTA(n, "text", "\"text\":\"" text "\"")
#define THINK(n, text) DELTA(n, "thinking", "\"thinking\":\"" text "\"")
#define SIGN(n, text) DELTA(n, "signature", "\"signature\":\"" text "\"")
#define INPUT(n, text) DELTA(n, "input_json", "\"partial_json\":\"" text "\"")
#define OVER(n) T("content_block_stop", "\"index\":" #n)
#define ENDS(reason) "{\"type\":\"message_delta\",\"delta\":" reason "}"
#define STOP "{\"type\":\"message_stop\"}"
#define A_TEXT(text) "{\"type\":\"text\",\"text\":\"" text "\"}"
#define A_CALL(id, input)                                                      \
  "{\"type\":\"tool_use\",\"id\":\"" id "\",\"name\":\"f\",\"input\":" input "}"
#define WHY(reason) "{\"stop_reason\":\"" reason "\"}"

static const struct row {
  const char *name, *events[9];
  oai_read last;
  const char *want;
} rows[] = {
    {"joins text, and ends with the message",
     {BEGIN(0, A_TEXT("")), TEXT(0, "a"), TEXT(0, "b"), TEXT(0, "c"), OVER(0),
      ENDS(WHY("end_turn")), STOP},
     OAI_READ_DONE,
     "t=abc;f=stop;i=" A_TEXT("abc") ";w=" WHY("end_turn") ";"},
    {"is done without a stop reason, too",
     {TEXT(0, "a"), STOP},
     OAI_READ_DONE,
     "t=a;i=" A_TEXT("a") ";"},
    {"ignores what is no event, pings, and events that nobody knows",
     {"{}", "[]", "null", "1", "{\"type\":7}", "{\"type\":\"ping\"}",
      "{\"type\":\"new_event\",\"index\":0}"},
     OAI_READ_MORE,
     ""},
    {"tolerates members of a wrong type",
     {T("message_start", "\"message\":[]"),
      T("content_block_start", "\"index\":\"x\",\"content_block\":7"),
      T("content_block_delta", "\"delta\":[1]"),
      T("content_block_delta", "\"index\":1e300,\"delta\":{\"type\":1}"),
      T("content_block_delta",
        "\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":{}}"),
      T("message_delta", "\"delta\":[],\"usage\":3"), STOP},
     OAI_READ_DONE,
     "w={};"},
    {"keeps thinking with its signature as it came",
     {BEGIN(0, "{\"type\":\"thinking\",\"thinking\":\"\",\"signature\":\"\"}"),
      THINK(0, "a\\n"), THINK(0, "b"), SIGN(0, "c2/="), SIGN(0, "+x"), OVER(0)},
     OAI_READ_MORE,
     "r=a\nb;i={\"type\":\"thinking\",\"thinking\":\"a\\nb\",\"signature\":"
     "\"c2/=+x\"};opaque!;"},
    {"puts a blank line between two thoughts",
     {BEGIN(0, "{\"type\":\"thinking\",\"thinking\":\"\"}"), THINK(0, "a"),
      BEGIN(1, "{\"type\":\"thinking\",\"thinking\":\"b\"}"), THINK(1, "c")},
     OAI_READ_MORE,
     "r=a\n\nbc;"},
    {"keeps a thought that was redacted",
     {BEGIN(0, "{\"type\":\"redacted_thinking\",\"data\":\"EmwK\"}"), OVER(0)},
     OAI_READ_MORE,
     "i={\"type\":\"redacted_thinking\",\"data\":\"EmwK\"};opaque!;"},
    {"makes a call of a block and its input",
     {BEGIN(1, A_CALL("c1", "{}")), INPUT(1, ""), INPUT(1, "{\\\"x\\\":"),
      INPUT(1, " 9007199254740993}"), OVER(1), ENDS(WHY("tool_use")), STOP},
     OAI_READ_DONE,
     "c=c1;/f;/{\"x\": 9007199254740993};f=tool_calls;i=" A_CALL(
         "c1", "{\"x\": 9007199254740993}") ";w=" WHY("tool_use") ";"},
    {"says all of a call that the model itself has made",
     {BEGIN(0,
            "{\"type\":\"tool_use\",\"id\":\"c\",\"name\":\"f\",\"input\":{},"
            "\"caller\":{\"type\":\"direct\"},\"x\":null}"),
      OVER(0)},
     OAI_READ_MORE,
     "c=c;/f;i={\"type\":\"tool_use\",\"id\":\"c\",\"name\":\"f\",\"input\":{},"
     "\"caller\":{\"type\":\"direct\"},\"x\":null};"},
    {"keeps one that another tool has made as it came",
     {BEGIN(0,
            "{\"type\":\"tool_use\",\"id\":\"c\",\"name\":\"f\",\"input\":{},"
            "\"caller\":{\"type\":\"code_execution\"}}"),
      OVER(0)},
     OAI_READ_MORE,
     "c=c;/f;i={\"type\":\"tool_use\",\"id\":\"c\",\"name\":\"f\",\"input\":{},"
     "\"caller\":{\"type\":\"code_execution\"}};opaque!;"},
    {"takes input that comes with the block",
     {BEGIN(0, A_CALL("c1", "{\"x\":1}")), OVER(0)},
     OAI_READ_MORE,
     "c=c1;/f;/{\"x\":1};i=" A_CALL("c1", "{\"x\":1}") ";"},
    {"keeps the text of input that is cut, and an object for the block",
     {BEGIN(0, A_CALL("c1", "{}")), INPUT(0, "{\\\"x"), OVER(0),
      ENDS(WHY("max_tokens"))},
     OAI_READ_MORE,
     "c=c1;/f;/{\"x;f=length;i=" A_CALL("c1",
                                        "{}") ";w=" WHY("max_tokens") ";"},
    {"keeps two calls apart by their place",
     {BEGIN(0, A_CALL("a", "{}")), BEGIN(1, A_CALL("b", "{}")),
      INPUT(0, "{\\\"a\\\":0}"), INPUT(1, "{}")},
     OAI_READ_MORE,
     "c=a;/f;/{\"a\":0};c=b;/f;/{};"},
    {"keeps two calls apart that a server gives one place",
     {BEGIN(0, A_CALL("a", "{}")), INPUT(0, "{\\\"a\\\":0}"),
      BEGIN(0, A_CALL("b", "{}")), INPUT(0, "{\\\"b\\\":0}"), OVER(0)},
     OAI_READ_MORE,
     "c=a;/f;/{\"a\":0};c=b;/f;/{\"b\":0};i=" A_CALL(
         "a", "{\"a\":0}") ";i=" A_CALL("b", "{\"b\":0}") ";"},
    {"keeps citations with their text",
     {BEGIN(0, "{\"type\":\"text\",\"text\":\"\",\"citations\":[]}"),
      TEXT(0, "a"),
      DELTA(0, "citations", "\"citation\":{\"type\":\"char_location\"}"),
      TEXT(0, "b"), DELTA(0, "citations", "\"citation\":{\"n\":2}"), OVER(0)},
     OAI_READ_MORE,
     "t=ab;i={\"type\":\"text\",\"text\":\"ab\",\"citations\":[{\"type\":"
     "\"char_location\"},{\"n\":2}]};opaque!;"},
    {"keeps text behind a call in its place",
     {BEGIN(0, A_CALL("c", "{}")), OVER(0), BEGIN(1, A_TEXT("late")), OVER(1)},
     OAI_READ_MORE,
     "t=late;c=c;/f;i=" A_CALL("c", "{}") ";i=" A_TEXT("late") ";opaque!;"},
    {"loses no text that comes behind its block's end",
     {BEGIN(0, A_TEXT("")), TEXT(0, "a"), OVER(0), TEXT(0, "b"), STOP},
     OAI_READ_DONE,
     "t=ab;i=" A_TEXT("a") ";i=" A_TEXT("b") ";"},
    {"keeps a block that nobody knows, with what it grew",
     {BEGIN(0, "{\"type\":\"compaction\",\"content\":null,\"x\":[1]}"),
      DELTA(0, "compaction", "\"content\":\"a\""),
      DELTA(0, "compaction", "\"content\":\"b\",\"y\":\"c\""), OVER(0)},
     OAI_READ_MORE,
     "i={\"type\":\"compaction\",\"content\":\"ab\",\"x\":[1],\"y\":\"c\"};"
     "opaque!;"},
    {"takes no second string of an event for one that is always the same",
     {BEGIN(0, A_TEXT("")), DELTA(0, "text", "\"text\":\"a\",\"y\":\"z\""),
      DELTA(0, "text", "\"text\":\"b\",\"y\":\"z\""), OVER(0)},
     OAI_READ_MORE,
     "t=ab;i={\"type\":\"text\",\"text\":\"ab\",\"y\":\"zz\"};opaque!;"},
    {"keeps a pair of surrogates that two pieces share",
     {BEGIN(0, A_TEXT("")), TEXT(0, "a\\ud83d"), TEXT(0, "\\ude80"), OVER(0)},
     OAI_READ_MORE,
     "t=a\xF0\x9F\x9A\x80;i=" A_TEXT("a\\ud83d\\ude80") ";"},
    {"adds up what is told of the usage, and of the message",
     {T("message_start",
        "\"message\":{\"id\":\"m1\",\"stop_reason\":null,\"usage\":{\"input_"
        "tokens\":7,\"output_tokens\":1}}"),
      "{\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"pause_turn\","
      "\"stop_sequence\":null},\"usage\":{\"input_tokens\":null,\"output_"
      "tokens\":9,\"more\":{}},\"context_management\":{}}"},
     OAI_READ_MORE,
     "f=pause_turn;u={\"input_tokens\":7,\"output_tokens\":9,\"more\":{}};id="
     "m1;w={\"id\":\"m1\",\"stop_reason\":null,\"usage\":{\"input_tokens\":7,"
     "\"output_tokens\":1},\"stop_reason\":\"pause_turn\",\"context_"
     "management\":{}};"},
    {"says in the words of chat completions why it ended",
     {ENDS(WHY("refusal"))},
     OAI_READ_MORE,
     "f=content_filter;w=" WHY("refusal") ";"},
};

static void table(void) {
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    world w;
    oai_read read = OAI_READ_MORE;
    up(&w);
    TEST(rows[i].name);
    for (size_t k = 0; k < 9 && rows[i].events[k]; k++) {
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

#define ERROR(type, message)                                                   \
  "{\"type\":\"error\",\"error\":{\"type\":\"" type                            \
  "\",\"message\":\"" message "\"},\"request_id\":\"req_1\"}"

static const struct bad {
  const char *name, *event, *text;
  oai_kind kind;
  const char *code;
} bads[] = {
    {"reads an overload", "error", ERROR("overloaded_error", "Overloaded"),
     OAI_OVERLOADED, ""},
    {"reads an error event without its name", "",
     ERROR("rate_limit_error", "slow"), OAI_RATE_LIMIT, ""},
    {"reads an error of the server", "", ERROR("api_error", "m"), OAI_SERVER,
     ""},
    {"reads a timeout of the server", "", ERROR("timeout_error", "m"),
     OAI_SERVER, ""},
    {"reads a bill that was not paid", "", ERROR("billing_error", "m"),
     OAI_QUOTA, ""},
    {"reads credit that is used up", "",
     ERROR("invalid_request_error",
           "Your credit balance is too low to access the Anthropic API."),
     OAI_QUOTA, ""},
    {"reads a key that is none", "", ERROR("authentication_error", "m"),
     OAI_AUTHENTICATION, ""},
    {"reads a key that may not", "", ERROR("permission_error", "m"),
     OAI_PERMISSION, ""},
    {"reads a model that is none", "", ERROR("not_found_error", "model: x"),
     OAI_NOT_FOUND, ""},
    {"reads a request that is none", "", ERROR("invalid_request_error", "m"),
     OAI_INVALID_REQUEST, ""},
    {"reads a conflict", "", ERROR("conflict_error", "m"), OAI_CONFLICT, ""},
    {"reads a request that is too large", "", ERROR("request_too_large", "m"),
     OAI_INVALID_REQUEST, ""},
    {"reads a prompt that is too long", "",
     ERROR("invalid_request_error",
           "prompt is too long: 208310 tokens > 200000 maximum"),
     OAI_CONTEXT_LENGTH, ""},
    {"reads an answer that would be", "",
     ERROR("invalid_request_error", "input length and `max_tokens` exceed "
                                    "context limit: 199000 + 4096 > 200000"),
     OAI_CONTEXT_LENGTH, ""},
    {"reads an answer that was blocked", "",
     ERROR("invalid_request_error",
           "Output blocked by content filtering policy"),
     OAI_CONTENT_FILTER, ""},
    {"reads a gateway's error without a type", "",
     "{\"error\":{\"message\":\"upstream\"}}", OAI_SERVER, ""},
    {"refuses broken JSON", "", "{\"type\":\"message_start\",", OAI_PROTOCOL,
     "malformed_event"},
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
             T("content_block_start",
               "\"index\":%d,\"content_block\":{\"type\":\"tool_use\",\"id\":"
               "\"c%d\",\"name\":\"f\"}"),
             i, i);
    read = event(&w, text);
  }
  CHECK_EQ_INT(read, OAI_READ_FAILED);
  CHECK_EQ_INT(w.f.kind, OAI_TOO_LARGE);
  down(&w);
  TEST("keeps no more blocks than its limit");
  up(&w);
  for (int i = 0; i <= OAI_ITEMS_MAX; i++) {
    snprintf(text, sizeof text,
             T("content_block_start", "\"index\":%d,\"content_block\":{}"), i);
    read = event(&w, text);
    CHECK_EQ_INT(read, i < OAI_ITEMS_MAX ? OAI_READ_MORE : OAI_READ_FAILED);
  }
  CHECK_EQ_INT(w.f.kind, OAI_TOO_LARGE);
  down(&w);
  TEST("sums up no usage without end");
  up(&w);
  for (int i = 0; i < 3000; i++) {
    snprintf(text, sizeof text,
             T("message_delta", "\"delta\":{},\"usage\":{\"x%d\":1}"), i);
    CHECK_EQ_INT(event(&w, text), OAI_READ_MORE);
  }
  CHECK(w.d.usage.n < 9000);
  down(&w);
}

static bool told(world *w, const char *want) {
  oai_op op;
  do {
    if (!CHECK(oai_delta_next(&w->d, &op))) return false;
  } while (op.kind != OAI_OP_PROGRESS);
  return CHECK_EQ_MEM(w->d.notes.p + op.at, op.n, want, strlen(want));
}

#define A_SEARCH(input)                                                        \
  "{\"type\":\"server_tool_use\",\"id\":\"s1\",\"name\":\"web_search\","       \
  "\"input\":" input "}"
#define FOUND                                                                  \
  BEGIN(1, "{\"type\":\"web_search_tool_result\",\"tool_use_id\":\"s1\","      \
           "\"content\":[]}")
#define LOST                                                                   \
  BEGIN(2, "{\"type\":\"web_search_tool_result\",\"tool_use_id\":\"s1\","      \
           "\"content\":{\"type\":\"web_search_tool_result_error\"}}")
#define BROKE                                                                  \
  BEGIN(3, "{\"type\":\"mcp_tool_result\",\"tool_use_id\":\"s2\","             \
           "\"is_error\":true}")
#define NOTE(tool, status, id, data)                                           \
  "{\"tool\":\"" tool "\",\"status\":\"" status "\",\"id\":\"" id              \
  "\",\"data\":" data "}"

static void progress(void) {
  world w;
  up(&w);
  TEST("tells what a tool of the server is doing, and makes no call of it");
  event(&w, BEGIN(0, A_SEARCH("{}")));
  event(&w, INPUT(0, "{\\\"query\\\""));
  event(&w, INPUT(0, ":\\\"q\\\"}"));
  event(&w, OVER(0));
  event(&w, FOUND);
  event(&w, LOST);
  event(&w, BROKE);
  told(&w, NOTE("web_search", "in_progress", "s1", BEGIN(0, A_SEARCH("{}"))));
  told(&w, NOTE("web_search", "running", "s1", A_SEARCH("{\"query\":\"q\"}")));
  told(&w, NOTE("web_search", "completed", "s1", FOUND));
  told(&w, NOTE("web_search", "failed", "s1", LOST));
  told(&w, NOTE("mcp", "failed", "s2", BROKE));
  oai_op op;
  CHECK(!oai_delta_next(&w.d, &op));
  CHECK_EQ_INT(w.d.choices[0].ncalls, 0);
  CHECK(w.d.opaque);
  down(&w);
}

static void bodies(void) {
  world w;
  up(&w);
  TEST("reads a whole message");
  CHECK_EQ_INT(
      body(&w, "{\"id\":\"m\",\"type\":\"message\",\"content\":[{\"type\":"
               "\"thinking\",\"thinking\":\"why\",\"signature\":\"s\"}," A_TEXT(
                   "hi") "," A_CALL("c", "{\"x\":1}") "],\"stop_reason\":"
                                                      "\"tool_use\"}"),
      OAI_READ_DONE);
  w.d.whole.n = 0;
  shows(&w, "t=hi;r=why;c=c;/f;/"
            "{\"x\":1};f=tool_calls;i={\"type\":\"thinking\",\"thinking\":"
            "\"why\",\"signature\":\"s\"};i=" A_TEXT("hi") ";i=" A_CALL(
                "c", "{\"x\":1}") ";opaque!;id=m;");
  down(&w);
  up(&w);
  TEST("reads one without a word");
  CHECK_EQ_INT(body(&w, "{\"content\":[],\"stop_reason\":\"end_turn\"}"),
               OAI_READ_DONE);
  CHECK_EQ_INT(w.d.nchoices, 1);
  down(&w);
  static const struct {
    const char *text;
    oai_kind kind;
  } wrong[] = {{"{\"object\":\"x\"}", OAI_PROTOCOL},
               {"{\"content\":{}}", OAI_PROTOCOL},
               {"{\"content\":[", OAI_PROTOCOL},
               {"[]", OAI_PROTOCOL},
               {ERROR("overloaded_error", "m"), OAI_OVERLOADED},
               {ERROR("x", "m"), OAI_SERVER}};
  TEST("refuses a body that is no message");
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
    up(&w);
    CHECK_EQ_INT(body(&w, wrong[i].text), OAI_READ_FAILED);
    CHECK_EQ_INT(w.f.kind, wrong[i].kind);
    down(&w);
  }
}

/* ---- streams at every split, cut at every byte, without memory ----------- */

#define S(type, data) "event: " type "\ndata: " data "\n\n"
#define S_START                                                                \
  S("message_start",                                                           \
    "{\"type\": \"message_start\", \"message\": {\"id\": \"msg_1\", "          \
    "\"type\": \"message\", \"role\": \"assistant\", \"content\": [], "        \
    "\"model\": \"claude\", \"stop_reason\": null, \"stop_sequence\": null, "  \
    "\"usage\": {\"input_tokens\": 25, \"output_tokens\": 1}}}")
#define S_BEGIN(n, block) S("content_block_start", BEGIN(n, block))
#define S_DELTA(delta) S("content_block_delta", delta)
#define S_OVER(n) S("content_block_stop", OVER(n))
#define S_PING S("ping", "{\"type\": \"ping\"}")
#define S_END(reason)                                                          \
  S("message_delta",                                                           \
    "{\"type\": \"message_delta\", \"delta\": {\"stop_reason\": \"" reason     \
    "\", \"stop_sequence\":null}, \"usage\": {\"output_tokens\": 15}}")        \
  S("message_stop", "{\"type\": \"message_stop\"}")
#define WHOLE(reason)                                                          \
  "u={\"input_tokens\":25,\"output_tokens\":15};id=msg_1;w={\"id\": "          \
  "\"msg_1\", \"type\": \"message\", \"role\": \"assistant\", \"content\": "   \
  "[], \"model\": \"claude\", \"stop_reason\": null, \"stop_sequence\": "      \
  "null, \"usage\": {\"input_tokens\": 25, \"output_tokens\": "                \
  "1},\"stop_reason\":\"" reason "\"};"

/* The API reference's examples: a basic stream, one with a call, one with
 * extended thinking, one with web search. */
static const text_stream streams[] = {
    {S_START S_BEGIN(0, A_TEXT("")) S_PING S_DELTA(TEXT(0, "Hello"))
         S_DELTA(TEXT(0, "!")) S_OVER(0) S_END("end_turn"),
     "t=Hello!;f=stop;i=" A_TEXT("Hello!") ";" WHOLE("end_turn")},
    {S_START S_BEGIN(0, A_TEXT("")) S_DELTA(TEXT(0, "Okay")) S_DELTA(
         TEXT(0, ",\\ud83d")) S_DELTA(TEXT(0, "\\ude80")) S_OVER(0)
         S_BEGIN(1, A_CALL("toolu_1", "{}")) S_DELTA(INPUT(1, "")) S_DELTA(
             INPUT(1, "{\\\"location\\\":")) S_DELTA(INPUT(1, " \\\"San"))
             S_DELTA(INPUT(1, " Francisco\\\"}")) S_OVER(1) S_END("tool_use"),
     "t=Okay,\xF0\x9F\x9A\x80;c=toolu_1;/f;/{\"location\": \"San "
     "Francisco\"};f=tool_calls;i=" A_TEXT("Okay,\\ud83d\\ude80") ";i=" A_CALL(
         "toolu_1", "{\"location\": \"San Francisco\"}") ";" WHOLE("tool_use")},
    {S_START S_BEGIN(0, "{\"type\":\"thinking\",\"thinking\":\"\"}")
         S_DELTA(THINK(0, "Let me")) S_DELTA(THINK(0, " see:\\n"))
             S_DELTA(SIGN(0, "EqQBCgIYAhIM1gbcDa9G")) S_OVER(0)
                 S_BEGIN(1, A_TEXT("")) S_DELTA(TEXT(1, "27 * 453"))
                     S_DELTA(TEXT(1, " = 12,231")) S_OVER(1) S_END("end_turn"),
     "t=27 * 453 = 12,231;r=Let me see:\n;f=stop;i={\"type\":\"thinking\","
     "\"thinking\":\"Let me see:\\n\",\"signature\":\"EqQBCgIYAhIM1gbcDa9G\"};"
     "i=" A_TEXT("27 * 453 = 12,231") ";opaque!;" WHOLE("end_turn")},
    {S_START S_BEGIN(0, A_SEARCH("{}")) S_DELTA(INPUT(0, "{\\\"query")) S_DELTA(
         INPUT(0, "\\\":\\\"q\\\"}")) S_OVER(0) S("content_block_start", FOUND)
         S_OVER(1) S_BEGIN(2, A_TEXT("")) S_DELTA(TEXT(2, "sun"))
             S_DELTA(DELTA(2, "citations",
                           "\"citation\":{\"url\":"
                           "\"u\"}")) S_OVER(2) S_END("end_turn"),
     "t=sun;f=stop;i=" A_SEARCH("{\"query\":\"q\"}") ";i={\"type\":\"web_"
                                                     "search_tool_result\","
                                                     "\"tool_use_id\":\"s1\","
                                                     "\"content\":[]};i={"
                                                     "\"type\":\"text\","
                                                     "\"text\":\"sun\","
                                                     "\"citations\":[{\"url\":"
                                                     "\"u\"}]};opaque!;" WHOLE(
                                                         "end_turn")},
};

int main(void) {
  table();
  failures();
  limits();
  progress();
  bodies();
  for (size_t i = 0; i < sizeof streams / sizeof *streams; i++) {
    splits(&streams[i]);
    torture(&streams[i]);
  }
  return test_report();
}
