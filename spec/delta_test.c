/* delta: the reply being assembled; and, with sse and wire_chat on top of it,
 * memory that runs out at every single allocation. */
#include "../src/delta.h"
#include "../src/wire_chat.h"
#include "support/test.h"
#include "support/torture.h"

static oai_scan_str str(const char *text) {
  return (oai_scan_str){text, strlen(text), strchr(text, '\\') != NULL};
}

static oai_choice *choice(oai_delta *d, long index) {
  oai_choice *c = NULL;
  CHECK_EQ_INT(oai_delta_choice(d, index, &c), OAI_OK);
  return c;
}

static void add(oai_delta *d, oai_choice *c, const char *text) {
  oai_scan_str s = str(text);
  CHECK_EQ_INT(oai_delta_text(d, c, OAI_OP_TEXT, &s), OAI_OK);
}

static oai_call *call(oai_delta *d, oai_choice *c, const char *id, double at) {
  oai_call *out = NULL;
  oai_scan_str s = str(id ? id : "");
  CHECK_EQ_INT(oai_delta_call(d, c, id ? &s : NULL, at >= 0, at, &out), OAI_OK);
  return out;
}

static void texts(void) {
  oai_delta d;
  oai_op op;
  oai_delta_init(&d, 8);
  oai_choice *c = choice(&d, 0);
  TEST("gives one op for each piece that made characters");
  add(&d, c, "ab");
  add(&d, c, "");
  add(&d, c, "\\ud83d");
  add(&d, c, "\\ude80");
  if (CHECK(oai_delta_next(&d, &op))) CHECK_EQ_INT(op.n, 2);
  if (CHECK(oai_delta_next(&d, &op))) CHECK_EQ_INT(op.n, 4);
  CHECK(!oai_delta_next(&d, &op));
  TEST("ends once, however often it is asked to");
  add(&d, c, "\\ud83d");
  CHECK_EQ_INT(oai_delta_end(&d), OAI_OK);
  size_t n = c->text.buf.n;
  CHECK_EQ_INT(oai_delta_end(&d), OAI_OK);
  CHECK_EQ_INT(c->text.buf.n, n);
  oai_delta_free(&d);
}

static void finishes(void) {
  oai_delta d;
  oai_scan_str stop = str("stop"), other = str("length"), none = str("");
  oai_delta_init(&d, 8);
  TEST("is finished when every choice that began is");
  CHECK(!oai_delta_finished(&d));
  CHECK_EQ_INT(oai_delta_finish(&d, choice(&d, 0), &stop), OAI_OK);
  CHECK(oai_delta_finished(&d));
  choice(&d, 1);
  CHECK(!oai_delta_finished(&d));
  CHECK_EQ_INT(oai_delta_finish(&d, choice(&d, 1), &none), OAI_OK);
  CHECK(!oai_delta_finished(&d));
  TEST("queues one finish for a choice that finishes twice");
  d.nops = 0;
  CHECK_EQ_INT(oai_delta_finish(&d, choice(&d, 0), &other), OAI_OK);
  CHECK_EQ_INT(d.nops, 0);
  CHECK_EQ_MEM(d.choices[0].finish.p, d.choices[0].finish.n, "length", 6);
  oai_delta_free(&d);
}

static void calls(void) {
  oai_delta d;
  oai_delta_init(&d, 3);
  oai_choice *c = choice(&d, 0);
  TEST("finds a call by its id, else its index, else takes the current one");
  CHECK(call(&d, c, "a", 0) == &c->calls[0]);
  CHECK(call(&d, c, "b", 0) == &c->calls[1]);
  CHECK(call(&d, c, NULL, 0) == &c->calls[1]);
  CHECK(call(&d, c, "a", 9) == &c->calls[0]);
  CHECK(call(&d, c, NULL, -1) == &c->calls[0]);
  CHECK(call(&d, c, "\\u0061", -1) == &c->calls[0]);
  CHECK_EQ_INT(c->ncalls, 2);
  TEST("knows a call without a name");
  CHECK(oai_delta_unnamed(&d) == &c->calls[0]);
  TEST("makes no more calls than its limit, over all choices");
  oai_choice *other = choice(&d, 1);
  call(&d, other, "c", 0);
  oai_call *out;
  oai_scan_str id = str("d");
  CHECK_EQ_INT(oai_delta_call(&d, other, &id, true, 1, &out), OAI_ERR_TOO_MANY);
  oai_delta_free(&d);
  TEST("makes no more choices than its limit");
  oai_delta_init(&d, 3);
  for (long i = 0; i < OAI_CHOICES_MAX; i++) choice(&d, i * 1000000);
  CHECK_EQ_INT(oai_delta_choice(&d, 5, &c), OAI_ERR_TOO_MANY);
  oai_delta_free(&d);
}

static void extras(void) {
  oai_delta d;
  oai_scan_str key = str("k");
  oai_delta_init(&d, 3);
  TEST("keeps the last scalar, and all values of a list");
  static const char *const values[] = {"1", "2", "null"};
  for (int i = 0; i < 3; i++)
    oai_delta_extra(&d.extras, OAI_IN_REPLY, &key,
                    (oai_slice){values[i], strlen(values[i])});
  CHECK_EQ_MEM(d.extras->json.p, d.extras->json.n, "2", 1);
  oai_delta_extra(&d.extras, OAI_IN_CHOICE, &key, (oai_slice){"[1]", 3});
  oai_delta_extra(&d.extras, OAI_IN_CHOICE, &key, (oai_slice){"[1]", 3});
  CHECK_EQ_MEM(d.extras->next->json.p, d.extras->next->json.n, "[1],[1]", 7);
  CHECK(d.extras->next->list && !d.extras->next->next);
  oai_delta_free(&d);
}

/* ---- memory that runs out ----------------------------------------------- */

#define E(m)                                                                   \
  "data: {\"id\":\"i\",\"x\":[1],\"choices\":[{\"delta\":{" m "}}]}\n\n"

static const char answer[] =
    "id: 1\nevent: e\ndata: {\"usage\":{\"a\":1},\"model\":\"m\"}\n\n" E(
        "\"content\":\"a\\ud83d\"") E("\"content\":\"\\ude80\"")
        E("\"reasoning\":\"r\"")
            E("\"tool_calls\":[{\"id\":\"\\u0061\",\"index\":0,\"y\":{},"
              "\"function\":{\"name\":\"f\",\"arguments\":\"{}\"}}]")
                E("\"content\":\"\xFF\"") "data: [DONE]\n\n";

/* Reads the answer; true when memory ran out and that was said. */
static bool read_answer(bool *whole) {
  oai_sse s;
  oai_sse_event e;
  oai_delta d;
  oai_pattern pattern;
  oai_failure f;
  bool nomem = false;
  *whole = false;
  oai_sse_init(&s, 10000);
  oai_delta_init(&d, 8);
  oai_pattern_init(&pattern);
  oai_reader r = {&d, &f, {"", 0}, 200, 32, &pattern};
  for (size_t i = 0; i < sizeof answer - 1 && !nomem && !*whole; i += 50) {
    size_t n = sizeof answer - 1 - i;
    nomem = oai_sse_feed(&s, answer + i, n < 50 ? n : 50) == OAI_BUF_NOMEM;
    while (!nomem && !*whole && oai_sse_next(&s, &e)) {
      oai_read read = oai_wire_chat.event(&r, &e);
      nomem = read == OAI_READ_NOMEM;
      *whole = read == OAI_READ_DONE;
      if (read == OAI_READ_FAILED) return CHECK(!"an answer that is whole");
    }
  }
  if (*whole && oai_delta_end(&d) != OAI_OK) nomem = true;
  if (*whole && !nomem)
    *whole = d.choices[0].text.buf.n == 8 && d.choices[0].ncalls == 1;
  oai_sse_free(&s);
  oai_delta_free(&d);
  oai_pattern_free(&pattern);
  return nomem;
}

static void torture(void) {
  bool whole;
  long k;
  TEST("reports memory that runs out at any allocation, and leaks none");
  CHECK(!read_answer(&whole) && whole);
  for (k = 1; torture_possible && k < 10000; k++) {
    torture_hit = false;
    torture_left = k;
    bool nomem = read_answer(&whole);
    torture_left = 0;
    if (!torture_hit) break;
    /* what only saves work may do without */
    if (!CHECK(nomem || whole)) printf("    at allocation %ld\n", k);
  }
  if (torture_possible) CHECK(k > 10 && k < 10000);
  if (getenv("TEST_VERBOSE")) printf("     %ld allocations\n", k - 1);
}

int main(void) {
  texts();
  finishes();
  calls();
  extras();
  torture();
  return test_report();
}
