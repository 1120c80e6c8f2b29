/* wire_chat: what chunks and whole completions become, FAULTS.md section E. */
#include "../src/wire_chat.h"

#define WIRE oai_wire_chat
enum { HAS_PATTERN = 1 };
#include "support/wire_feed.h"

static void say(oai_buf *out, const char *tag, const oai_buf *b) {
  if (!b->n) return;
  oai_buf_append(out, tag, strlen(tag));
  oai_buf_append(out, b->p, b->n);
  oai_buf_append(out, ";", 1);
}

/* The reply in a line: 0 t=text;r=reasoning;x=refusal;c=id/name/args;f=…; */
static void show(const world *w, oai_buf *out) {
  char text[40];
  for (size_t i = 0; i < w->d.nchoices; i++) {
    const oai_choice *c = &w->d.choices[i];
    oai_buf_append(out, text, (size_t)sprintf(text, "%ld ", c->index));
    say(out, "t=", &c->text.buf);
    say(out, "r=", &c->reasoning.buf);
    say(out, "x=", &c->refusal.buf);
    for (size_t k = 0; k < c->ncalls; k++) {
      oai_buf_append(out, "c=", 2);
      oai_buf_append(out, c->calls[k].id.buf.p, c->calls[k].id.buf.n);
      oai_buf_append(out, "/", 1);
      oai_buf_append(out, c->calls[k].name.buf.p, c->calls[k].name.buf.n);
      oai_buf_append(out, "/", 1);
      oai_buf_append(out, c->calls[k].arguments.buf.p,
                     c->calls[k].arguments.buf.n);
      oai_buf_append(out, ";", 1);
    }
    say(out, "f=", &c->finish);
  }
  say(out, "u=", &w->d.usage);
  say(out, "id=", &w->d.id);
  say(out, "m=", &w->d.model);
}

static bool shows(world *w, const char *want) {
  oai_buf out;
  oai_buf_init(&out, SIZE_MAX / 4);
  show(w, &out);
  bool ok = CHECK_EQ_MEM(out.p, out.n, want, strlen(want));
  oai_buf_free(&out);
  return ok;
}

/* ---- the table ---------------------------------------------------------- */

#define D(members) "{\"choices\":[{\"index\":0,\"delta\":{" members "}}]}"
#define CALL(members) D("\"tool_calls\":[{" members "}]")
#define ARGS(text) "\"function\":{\"arguments\":\"" text "\"}"

/* Events one after the other; then the delta is ended and sorted. */
static const struct row {
  const char *name, *events[5], *want;
} rows[] = {
    {"joins text", {D("\"content\":\"a\""), D("\"content\":\"b\"")}, "0 t=ab;"},
    {"ignores JSON that is no chunk", {"{}", "[]", "null", "1", "\"x\""}, ""},
    {"ignores choices that are missing, empty, null or no list",
     {"{\"choices\":[]}", "{\"choices\":null}", "{\"choices\":{}}",
      "{\"choices\":[null,1,\"x\",[]]}", "{\"type\":\"ping\"}"},
     ""},
    {"tolerates a delta that is missing, null or no object",
     {"{\"choices\":[{\"index\":0}]}", "{\"choices\":[{\"delta\":null}]}",
      "{\"choices\":[{\"delta\":[]}]}", D("")},
     "0 "},
    {"tolerates content that is null, an object or a number",
     {D("\"content\":null"), D("\"content\":{\"a\":1}"), D("\"content\":1")},
     "0 "},
    {"joins content parts",
     {D("\"content\":[{\"type\":\"text\",\"text\":\"a\"},\"b\",null,1,{}]")},
     "0 t=ab;"},
    {"reads thinking parts as reasoning",
     {D("\"content\":[{\"type\":\"thinking\",\"thinking\":[{\"type\":\"text\","
        "\"text\":\"a\"}]},{\"type\":\"text\",\"text\":\"b\"}]"),
      D("\"content\":[{\"type\":\"thinking\",\"thinking\":\"c\"}]")},
     "0 t=b;r=ac;"},
    {"reads reasoning from any one of its fields",
     {D("\"reasoning_content\":\"a\""), D("\"reasoning\":\"b\""),
      D("\"reasoning_text\":\"c\""),
      D("\"reasoning_details\":[{\"text\":\"d\"},{\"summary\":\"e\"}]")},
     "0 r=abcde;"},
    {"does not double reasoning that is said twice",
     {D("\"reasoning_details\":[{\"text\":\"a\"}],\"reasoning\":\"a\","
        "\"reasoning_content\":\"a\""),
      D("\"reasoning\":\"b\",\"reasoning_content\":null")},
     "0 r=ab;"},
    {"takes the last usage that is not null",
     {"{\"usage\":null,\"choices\":[]}", "{\"usage\":{\"a\":1}}",
      "{\"usage\":{\"a\":2}}", "{\"usage\":null}", "{\"usage\":3}"},
     "u={\"a\":2};"},
    {"reads usage inside x_groq",
     {"{\"x_groq\":{\"id\":\"q\",\"usage\":{\"a\":1}}}",
      "{\"x_groq\":{\"id\":\"q\"}}", "{\"x_groq\":null}"},
     "u={\"a\":1};"},
    {"takes the last finish reason, and reads on",
     {"{\"choices\":[{\"delta\":{\"content\":\"a\"},\"finish_reason\":"
      "\"stop\"}]}",
      "{\"choices\":[{\"delta\":{\"content\":\"b\"},\"finish_reason\":"
      "\"odd\"}]}",
      "{\"choices\":[{\"delta\":{},\"finish_reason\":null}]}"},
     "0 t=ab;f=odd;"},
    {"reads refusals", {D("\"refusal\":\"no\",\"content\":null")}, "0 x=no;"},
    {"keeps choices apart",
     {"{\"choices\":[{\"index\":5,\"delta\":{\"content\":\"a\"}},"
      "{\"index\":0,\"delta\":{\"content\":\"b\"}}]}",
      "{\"choices\":[{\"delta\":{\"content\":\"c\"},\"index\":5}]}",
      "{\"choices\":[{\"delta\":{\"content\":\"d\"},\"index\":12}]}"},
     "5 t=ac;0 t=b;12 t=d;"},
    {"prefers the delta to a message beside it, at either place",
     {"{\"choices\":[{\"delta\":{\"content\":\"a\"},\"message\":{\"content\":"
      "\"a\"}}]}",
      "{\"choices\":[{\"message\":{\"content\":\"ab\"},\"delta\":{\"content\":"
      "\"b\"}}]}"},
     "0 t=ab;"},
    {"keeps the first id and the last model",
     {"{\"id\":\"1\",\"model\":\"a\"}", "{\"id\":\"2\",\"model\":\"b\"}",
      "{\"id\":\"\",\"model\":\"\"}"},
     "id=1;m=b;"},
    {"joins a surrogate pair split over two deltas",
     {D("\"content\":\"a\\ud83d\""), D("\"content\":\"\\ude80b\"")},
     "0 t=a\xF0\x9F\x9A\x80"
     "b;"},
    {"replaces a lone surrogate, in the middle and at the end",
     {D("\"content\":\"\\ud83d\""), D("\"content\":\"a\\ude80\""),
      D("\"content\":\"\\ud83d\"")},
     "0 t=\xEF\xBF\xBD"
     "a\xEF\xBF\xBD\xEF\xBF\xBD;"},
    {"lets the last of two equal keys win",
     {"{\"model\":\"a\",\"model\":\"b\"}"},
     "m=b;"},
    /* tool calls */
    {"joins the pieces of a call by its index",
     {CALL("\"index\":0,\"id\":\"a\",\"function\":{\"name\":\"f\"}"),
      CALL("\"index\":0," ARGS("{")), CALL("\"index\":0," ARGS("}"))},
     "0 c=a/f/{};"},
    {"joins the pieces of a call without an index",
     {CALL("\"id\":\"a\",\"function\":{\"name\":\"f\"}"), CALL(ARGS("1")),
      CALL("\"id\":\"\"," ARGS("2")), CALL("\"id\":null," ARGS("3"))},
     "0 c=a/f/123;"},
    {"keeps two calls apart that reuse index 0",
     {CALL("\"index\":0,\"id\":\"a\",\"function\":{\"name\":\"f\"}"),
      CALL("\"index\":0,\"id\":\"b\",\"function\":{\"name\":\"g\"}"),
      CALL("\"index\":0," ARGS("2")),
      CALL("\"index\":0,\"id\":\"a\"," ARGS("1"))},
     "0 c=a/f/1;c=b/g/2;"},
    {"goes by the id before the index",
     {CALL("\"index\":0,\"id\":\"a\",\"function\":{\"name\":\"f\"}"),
      CALL("\"index\":7,\"id\":\"a\"," ARGS("1"))},
     "0 c=a/f/1;"},
    {"takes an index in a string for a number",
     {CALL("\"index\":\"1\",\"id\":\"a\",\"function\":{\"name\":\"f\"}"),
      CALL("\"index\":1," ARGS("1"))},
     "0 c=a/f/1;"},
    {"orders calls by odd indexes, then by arrival",
     {CALL("\"index\":100000000,\"id\":\"a\",\"function\":{\"name\":\"f\"}"),
      CALL("\"index\":1.5,\"id\":\"b\",\"function\":{\"name\":\"f\"}"),
      CALL("\"index\":-1,\"id\":\"c\",\"function\":{\"name\":\"f\"}"),
      CALL("\"index\":100000000," ARGS("1"))},
     "0 c=c/f/;c=b/f/;c=a/f/1;"},
    {"takes a name that comes late, in pieces or again",
     {CALL("\"index\":0,\"id\":\"a\"," ARGS("1")),
      CALL("\"index\":0,\"function\":{\"name\":\"get\"}"),
      CALL("\"index\":0,\"function\":{\"name\":\"get\"}"),
      CALL("\"index\":0,\"function\":{\"name\":\"_it\"}"),
      CALL("\"index\":0,\"function\":{\"name\":\"\"}")},
     "0 c=a/get_it/1;"},
    {"takes arguments that are null, empty or an object",
     {CALL("\"id\":\"a\",\"function\":{\"name\":\"f\",\"arguments\":null}"),
      CALL("\"id\":\"b\",\"function\":{\"name\":\"f\",\"arguments\":\"\"}"),
      CALL("\"id\":\"c\",\"function\":{\"name\":\"f\",\"arguments\":{\"x\":1}"
           "}")},
     "0 c=a/f/;c=b/f/;c=c/f/{\"x\":1};"},
    {"tolerates calls that are null or no objects",
     {D("\"tool_calls\":null"), D("\"tool_calls\":[null,1]"),
      D("\"tool_calls\":{}"), CALL("\"id\":\"a\",\"function\":null")},
     "0 c=a//;"},
};

static void table(void) {
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    world w;
    TEST(rows[i].name);
    /* with and without what the pattern has learnt */
    for (int pattern = 0; pattern < 2; pattern++) {
      up(&w);
      if (!pattern) w.r.pattern = NULL;
      for (size_t k = 0; k < 5 && rows[i].events[k]; k++)
        CHECK_EQ_INT(event(&w, rows[i].events[k]), OAI_READ_MORE);
      CHECK_EQ_INT(oai_delta_end(&w.d), OAI_OK);
      oai_delta_sort(&w.d);
      shows(&w, rows[i].want);
      down(&w);
    }
  }
}

/* Every prefix of every event fails and leaves nothing. */
static void cuts(void) {
  TEST("takes a cut event for malformed and keeps nothing of it");
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
    for (size_t k = 0; k < 5 && rows[i].events[k]; k++) {
      const char *text = rows[i].events[k];
      for (size_t n = 1; n < strlen(text); n++) {
        world w;
        up(&w);
        event(&w, D("\"content\":\"kept\""));
        bool ok = CHECK_EQ_INT(event_n(&w, "", text, n), OAI_READ_FAILED) &&
                  CHECK_EQ_INT(w.f.kind, OAI_PROTOCOL) &&
                  CHECK_EQ_CSTR(w.f.code, "malformed_event") &&
                  CHECK_EQ_CSTR(w.f.text, "");
        oai_delta_end(&w.d);
        ok = ok && CHECK_EQ_INT(w.d.nchoices, 1);
        ok = ok && shows(&w, "0 t=kept;");
        if (!ok) printf("    of %.*s\n", (int)n, text);
        down(&w);
        if (!ok) break; /* one complaint an event */
      }
    }
}

/* ---- ends and errors ---------------------------------------------------- */

static void done(void) {
  static const char *const no[] = {
      "[DONE]x", "[DONE] ",       "[DONE]\n{}",  "[DONE",     " [DONE]",
      "DONE",    "{\"a\":1e400}", "{\"a\":NaN}", "{\"a\":01}"};
  world w;
  TEST("ends at [DONE]");
  up(&w);
  CHECK_EQ_INT(event(&w, "[DONE]"), OAI_READ_DONE);
  CHECK_EQ_INT(event_n(&w, "done", "[DONE]", 6), OAI_READ_DONE);
  TEST("refuses what only looks like [DONE], or like JSON");
  for (size_t i = 0; i < sizeof no / sizeof *no; i++) {
    CHECK_EQ_INT(event(&w, no[i]), OAI_READ_FAILED);
    CHECK_EQ_CSTR(w.f.code, "malformed_event");
  }
  TEST("ignores an event without data");
  CHECK_EQ_INT(event(&w, ""), OAI_READ_MORE);
  down(&w);
}

static void errors(void) {
  static const struct {
    const char *name, *text;
    oai_kind kind;
    const char *said;
  } all[] = {
      {"", "{\"error\":{\"message\":\"m\",\"code\":429}}", OAI_RATE_LIMIT, "m"},
      {"", "{\"error\":\"m\"}", OAI_SERVER, "m"},
      {"", "{\"error\":{\"message\":\"m\",\"code\":\"insufficient_quota\"}}",
       OAI_QUOTA, "m"},
      {"",
       "{\"choices\":[{\"delta\":{\"content\":\"x\"}}],\"error\":{"
       "\"message\":\"m\"}}",
       OAI_SERVER, "m"},
      {"", "{\"object\":\"error\",\"message\":\"m\",\"code\":400}",
       OAI_INVALID_REQUEST, "m"},
      {"error", "{\"message\":\"m\"}", OAI_SERVER, "m"},
      {"error", "{\"error\":{\"message\":\"m\"}}", OAI_SERVER, "m"},
      {"error", "\"m\"", OAI_SERVER, "m"},
      {"error", "m", OAI_SERVER, "m"},
      {"error", "null", OAI_SERVER, "null"},
      {"", "{\"error\":{\"message\":\"key sk-secret\"}}", OAI_SERVER,
       "key [masked]"},
  };
  world w;
  TEST("reads an error of any shape, in any event");
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
    up(&w);
    event(&w, D("\"content\":\"kept\""));
    bool ok =
        CHECK_EQ_INT(event_n(&w, all[i].name, all[i].text, strlen(all[i].text)),
                     OAI_READ_FAILED);
    ok &= CHECK_EQ_INT(w.f.kind, all[i].kind);
    ok &= CHECK_EQ_CSTR(w.f.text, all[i].said) && CHECK(w.f.in_band);
    if (!ok) printf("    of %s\n", all[i].text);
    down(&w);
  }
  TEST("takes error: null and error: false for none");
  up(&w);
  CHECK_EQ_INT(event(&w, "{\"error\":null}"), OAI_READ_MORE);
  CHECK_EQ_INT(event(&w, "{\"error\":false}"), OAI_READ_MORE);
  down(&w);
}

static void limits(void) {
  world w;
  char text[4096];
  TEST("refuses JSON that is too deep");
  up(&w);
  memset(text, '[', 100);
  text[100] = 0;
  CHECK_EQ_INT(event(&w, text), OAI_READ_FAILED);
  CHECK_EQ_INT(w.f.kind, OAI_TOO_LARGE);
  CHECK_EQ_CSTR(w.f.code, "too_deep");
  TEST("refuses more tool calls than the limit");
  for (int i = 0; i < 4; i++) {
    sprintf(text, CALL("\"index\":%d,\"id\":\"%d\""), i, i);
    CHECK_EQ_INT(event(&w, text), OAI_READ_MORE);
  }
  CHECK_EQ_INT(event(&w, CALL("\"index\":4,\"id\":\"4\"")), OAI_READ_FAILED);
  CHECK_EQ_INT(w.f.kind, OAI_TOO_LARGE);
  down(&w);
}

static void bodies(void) {
  world w;
  TEST("reads a whole completion");
  up(&w);
  CHECK_EQ_INT(body(&w,
                    "{\"id\":\"1\",\"model\":\"m\",\"choices\":[{\"message\":"
                    "{\"content\":\"a\",\"tool_calls\":[{\"id\":\"c\","
                    "\"function\":{\"name\":\"f\",\"arguments\":\"{}\"}}]},"
                    "\"finish_reason\":\"stop\"}],\"usage\":{\"a\":1}}"),
               OAI_READ_DONE);
  shows(&w, "0 t=a;c=c/f/{};f=stop;u={\"a\":1};id=1;m=m;");
  down(&w);
  static const char *const bad[] = {"{",
                                    "[]",
                                    "null",
                                    "1",
                                    "{}",
                                    "<html>",
                                    "{\"choices\":[]}",
                                    "{\"detail\":\"m\"}"};
  TEST("refuses a body that is no completion");
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    up(&w);
    CHECK_EQ_INT(body(&w, bad[i]), OAI_READ_FAILED);
    CHECK_EQ_INT(w.f.kind, OAI_PROTOCOL);
    CHECK_EQ_CSTR(w.f.code, "bad_response");
    down(&w);
  }
  TEST("reads an error that a body of status 200 holds");
  up(&w);
  CHECK_EQ_INT(body(&w, "{\"error\":{\"message\":\"m\"}}"), OAI_READ_FAILED);
  CHECK_EQ_INT(w.f.kind, OAI_SERVER);
  CHECK_EQ_CSTR(w.f.text, "m");
  down(&w);
}

int main(void) {
  table();
  cuts();
  done();
  errors();
  limits();
  bodies();
  return test_report();
}
