/* A completion that is text alone, held against the reader of all completions:
 * what the one takes, the other takes too, with the same text and nothing
 * besides that a reply would have to show. */
#include "../src/wire_chat.h"

#include <stdint.h>

#define WIRE oai_wire_chat
#define HAS_PATTERN false
#include "support/torture.h"
#include "support/wire_feed.h"

static oai_read plain_n(world *w, const char *p, size_t n) {
  char *copy = malloc(n + !n);
  if (n) memcpy(copy, p, n);
  oai_read read = WIRE.plain(&w->r, (oai_slice){copy, n});
  free(copy);
  return read;
}

static oai_read plain(world *w, const char *text) {
  return plain_n(w, text, strlen(text));
}

#define BODY(message)                                                          \
  "{\"id\":\"chatcmpl-1\",\"object\":\"chat.completion\",\"created\":1,"       \
  "\"model\":\"gpt\",\"choices\":[{\"index\":0,\"message\":{" message "},"     \
  "\"logprobs\":null,\"finish_reason\":\"stop\"}],\"usage\":{\"a\":{\"b\":1}," \
  "\"c\":2},\"system_fingerprint\":\"fp\"}"
#define SAYS "\"role\":\"assistant\",\"content\":\"Hi \\u00e9\\ud83d\\ude80\""

static void takes(void) {
  static const char *const texts[] = {
      BODY(SAYS), BODY(SAYS ",\"refusal\":null,\"annotations\":[]"),
      BODY("\"content\":\"Hi \xC3\xA9\xF0\x9F\x9A\x80\",\"tool_calls\":null,"
           "\"reasoning_content\":null"),
      " { \"error\" : null , \"choices\" : [ { \"finish_reason\" : \"stop\" , "
      "\"message\" : { " SAYS " } } ] , \"id\":\"chatcmpl-1\", \"x_groq\":"
      "{\"usage\":{}}, \"model\":\"gpt\" } "};
  TEST("takes the text, the reason, the id and the model of a plain answer");
  for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
    world w;
    up(&w);
    if (CHECK_EQ_INT(plain(&w, texts[i]), OAI_READ_DONE)) {
      const oai_choice *c = &w.d.choices[0];
      CHECK_EQ_INT(w.d.nchoices, 1);
      CHECK_EQ_MEM(c->text.buf.p, c->text.buf.n, "Hi \xC3\xA9\xF0\x9F\x9A\x80",
                   9);
      CHECK_EQ_MEM(c->finish.p, c->finish.n, "stop", 4);
      CHECK_EQ_MEM(w.d.id.p, w.d.id.n, "chatcmpl-1", 10);
      CHECK_EQ_MEM(w.d.model.p, w.d.model.n, "gpt", 3);
      CHECK(!w.d.extras && !c->extras && !w.d.usage.n);
    }
    down(&w);
  }
}

static void leaves(void) {
  static const char *const texts[] = {
      BODY("\"content\":null"),
      BODY("\"content\":\"\""),
      BODY("\"content\":[{\"type\":\"text\",\"text\":\"a\"}]"),
      BODY(SAYS ",\"content\":\"b\""),
      BODY(SAYS ",\"refusal\":\"no\""),
      BODY(SAYS ",\"tool_calls\":[{\"id\":\"c\",\"function\":{\"name\":\"f\"}}"
                "]"),
      BODY(SAYS ",\"reasoning_content\":\"why\""),
      BODY(SAYS ",\"reasoning_details\":[{\"text\":\"why\"}]"),
      BODY(SAYS ",\"annotations\":[{\"type\":\"url_citation\"}]"),
      BODY(SAYS ",\"audio\":{\"id\":\"a\"}"),
      BODY(SAYS) "x",
      "{\"choices\":[{\"index\":1,\"message\":{" SAYS "}}]}",
      "{\"choices\":[{\"message\":{" SAYS "}},{\"message\":{" SAYS "}}]}",
      "{\"choices\":[{\"message\":{" SAYS "},\"delta\":{}}]}",
      "{\"choices\":[{\"message\":{" SAYS "}}],\"choices\":[]}",
      "{\"choices\":[{\"message\":{" SAYS "}}],\"error\":{\"message\":\"m\"}}",
      "{\"choices\":[{\"message\":{" SAYS "}}],\"object\":\"error\"}",
      "{\"choices\":[{\"message\":{" SAYS "}}],\"error\":[]}",
      "{\"choices\":[{\"message\":{" SAYS "}}],\"id\":1}",
      "{\"choices\":[{\"message\":{" SAYS "},\"finish_reason\":1}]}",
      "{\"choices\":[]}",
      "{}",
      "[]",
      "",
      "<html>"};
  TEST("leaves what is more than text, or none, to the reader of all");
  for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
    world w;
    up(&w);
    if (!CHECK_EQ_INT(plain(&w, texts[i]), OAI_READ_MORE))
      printf("  of %s\n", texts[i]);
    CHECK(!w.d.nchoices && !w.d.id.n && !w.d.nops);
    down(&w);
  }
}

/* The reader of all refuses an answer of so many fields. */
static void many(void) {
  enum { N = OAI_EXTRAS_MAX + 10 };
  static char text[40 * N];
  TEST("leaves an answer of very many members to the reader of all");
  for (int inside = 0; inside < 3; inside++) {
    world w;
    char *p = text;
    p += sprintf(p, "{");
    for (int i = 0; inside == 0 && i < N; i++) p += sprintf(p, "\"a%d\":1,", i);
    p += sprintf(p, "\"choices\":[{");
    for (int i = 0; inside == 1 && i < N; i++) p += sprintf(p, "\"a%d\":1,", i);
    p += sprintf(p, "\"message\":{");
    for (int i = 0; inside == 2 && i < N; i++)
      p += sprintf(p, "\"a%d\":null,", i);
    sprintf(p, SAYS "}}]}");
    up(&w);
    CHECK_EQ_INT(plain(&w, text), OAI_READ_MORE);
    CHECK_EQ_INT(body(&w, text), OAI_READ_FAILED);
    CHECK_EQ_INT(w.f.kind, OAI_TOO_LARGE);
    down(&w);
  }
}

static bool same(const oai_buf *a, const oai_buf *b) {
  return a->n == b->n && (!a->n || memcmp(a->p, b->p, a->n) == 0);
}

static bool says_nothing(const oai_extra *e) {
  for (; e; e = e->next)
    if (e->scope == OAI_IN_MESSAGE &&
        !oai_slice_is((oai_slice){e->json.p, e->json.n}, "null") &&
        !oai_slice_is((oai_slice){e->json.p, e->json.n}, "[]"))
      return false;
  return true;
}

/* What is taken as plain is the same to the reader of all. */
static bool agrees(const char *text, size_t n) {
  world w, all;
  bool fine = true;
  up(&w);
  up(&all);
  if (plain_n(&w, text, n) == OAI_READ_DONE) {
    char *copy = malloc(n + 1);
    memcpy(copy, text, n);
    fine = WIRE.body(&all.r, (oai_slice){copy, n}) == OAI_READ_DONE &&
           all.d.nchoices == 1;
    free(copy);
    if (fine) {
      const oai_choice *a = &w.d.choices[0], *b = &all.d.choices[0];
      fine = same(&a->text.buf, &b->text.buf) && same(&a->finish, &b->finish) &&
             same(&w.d.id, &all.d.id) && same(&w.d.model, &all.d.model) &&
             a->index == b->index && !b->ncalls && !b->reasoning.buf.n &&
             !b->refusal.buf.n && says_nothing(b->extras);
    }
  }
  down(&w);
  down(&all);
  return fine;
}

static void mutations(void) {
  static const char text[] = BODY(SAYS ",\"refusal\":null,\"tool_calls\":[]");
  static const char with[] = "\"\\{}[]:,0nae \n\x80";
  char copy[sizeof text + 1];
  size_t n = sizeof text - 1, plains = 0;
  TEST("agrees with the reader of all on answers that were cut and changed");
  for (size_t cut = 0; cut < n; cut++) {
    world w;
    up(&w);
    CHECK_EQ_INT(plain_n(&w, text, cut), OAI_READ_MORE);
    down(&w);
  }
  for (size_t at = 0; at < n; at++) {
    memcpy(copy, text, at);
    memcpy(copy + at, text + at + 1, n - at - 1);
    if (!CHECK(agrees(copy, n - 1))) printf("  without byte %zu\n", at);
    for (size_t i = 0; i < sizeof with - 1; i++) {
      world w;
      memcpy(copy, text, n);
      copy[at] = with[i];
      if (!CHECK(agrees(copy, n))) printf("  %zu, %zu\n", at, i);
      up(&w);
      plains += plain_n(&w, copy, n) == OAI_READ_DONE;
      down(&w);
      memcpy(copy, text, at);
      copy[at] = with[i];
      memcpy(copy + at + 1, text + at, n - at);
      if (!CHECK(agrees(copy, n + 1))) printf("  before %zu, %zu\n", at, i);
    }
  }
  CHECK(plains > 100); /* of letters in names and texts */
}

static void memory(void) {
  TEST("says when memory runs out, and leaks none");
  for (long k = 1; torture_possible; k++) {
    static const char text[] = BODY(SAYS);
    world w;
    up(&w);
    torture_left = k;
    torture_hit = false;
    oai_read read = WIRE.plain(&w.r, (oai_slice){text, sizeof text - 1});
    torture_left = 0;
    down(&w);
    if (!torture_hit) {
      CHECK_EQ_INT(read, OAI_READ_DONE);
      CHECK(k > 4);
      break;
    }
    CHECK_EQ_INT(read, OAI_READ_NOMEM);
  }
}

int main(void) {
  takes();
  leaves();
  many();
  mutations();
  memory();
  return test_report();
}
