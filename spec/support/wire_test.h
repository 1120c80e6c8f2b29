/* wire_test: what the tests of the newer wires have in common: a delta as text,
 * and a stream at every split, cut at every byte, and in memory that runs out.
 * Before it is included: what wire_feed wants, and SHOWS_WHOLE, whether the
 * wire's own object is in the text. */
#ifndef OAI_WIRE_TEST_H
#define OAI_WIRE_TEST_H

#include "torture.h"
#include "wire_feed.h"

static void say(oai_buf *out, const char *tag, const char *p, size_t n) {
  if (!n) return;
  oai_buf_append(out, tag, strlen(tag));
  oai_buf_append(out, p, n);
  oai_buf_append(out, ";", 1);
}

static void show(const oai_delta *d, oai_buf *out) {
  for (size_t i = 0; i < d->nchoices; i++) {
    const oai_choice *c = &d->choices[i];
    say(out, "t=", c->text.buf.p, c->text.buf.n);
    say(out, "r=", c->reasoning.buf.p, c->reasoning.buf.n);
    say(out, "x=", c->refusal.buf.p, c->refusal.buf.n);
    for (size_t k = 0; k < c->ncalls; k++) {
      say(out, "c=", c->calls[k].id.buf.p, c->calls[k].id.buf.n);
      say(out, "/", c->calls[k].name.buf.p, c->calls[k].name.buf.n);
      say(out, "/", c->calls[k].arguments.buf.p, c->calls[k].arguments.buf.n);
    }
    say(out, "f=", c->finish.p, c->finish.n);
  }
  for (size_t i = 0; i < d->nitems; i++)
    say(out, "i=", d->items[i].json.p, d->items[i].json.n);
  if (d->opaque) say(out, "opaque", "!", 1);
  say(out, "u=", d->usage.p, d->usage.n);
  say(out, "id=", d->id.p, d->id.n);
  if (SHOWS_WHOLE) say(out, "w=", d->whole.p, d->whole.n);
}

static bool shows(world *w, const char *want) {
  oai_buf out;
  oai_buf_init(&out, SIZE_MAX / 4);
  show(&w->d, &out);
  bool ok = CHECK_EQ_MEM(out.p, out.n, want, strlen(want));
  oai_buf_free(&out);
  return ok;
}

/* ---- a stream ----------------------------------------------------------- */

typedef struct text_stream {
  const char *bytes, *want;
} text_stream;

/* Reads n bytes in two pieces. True when memory ran out and that was said. */
static bool play(const char *bytes, size_t n, size_t split, bool *done,
                 oai_buf *out) {
  world w;
  oai_sse s;
  oai_sse_event e;
  bool nomem = false;
  size_t at[] = {0, split < n ? split : n, n};
  *done = false;
  up(&w);
  oai_sse_init(&s, 10000);
  for (int i = 0; i < 2 && !nomem; i++) {
    nomem = oai_sse_feed(&s, bytes + at[i], at[i + 1] - at[i]) == OAI_BUF_NOMEM;
    while (!nomem && !*done && oai_sse_next(&s, &e)) {
      oai_read read = WIRE.event(&w.r, &e);
      nomem = read == OAI_READ_NOMEM;
      *done = read == OAI_READ_DONE;
      CHECK(read != OAI_READ_FAILED);
    }
  }
  if (*done && !nomem && out) show(&w.d, out);
  oai_sse_free(&s);
  down(&w);
  return nomem;
}

static void splits(const text_stream *one) {
  bool done;
  size_t n = strlen(one->bytes);
  TEST("reads the same at every split");
  for (size_t i = 0; i <= n; i++) {
    oai_buf out;
    oai_buf_init(&out, SIZE_MAX / 4);
    play(one->bytes, n, i, &done, &out);
    CHECK(done);
    CHECK_EQ_MEM(out.p, out.n, one->want, strlen(one->want));
    oai_buf_free(&out);
  }
  TEST("is not done before its last byte");
  for (size_t i = 0; i < n; i++) {
    play(one->bytes, i, i / 2, &done, NULL);
    CHECK(!done);
  }
}

static void torture(const text_stream *one) {
  bool done;
  long k;
  TEST("reports memory that runs out at any allocation, and leaks none");
  for (k = 1; torture_possible && k < 10000; k++) {
    torture_hit = false;
    torture_left = k;
    bool nomem = play(one->bytes, strlen(one->bytes), 100, &done, NULL);
    torture_left = 0;
    if (!torture_hit) break;
    /* what the pattern cannot learn is read as all else */
    if (!CHECK(nomem || done)) printf("    at allocation %ld\n", k);
  }
  if (torture_possible) CHECK(k > 10 && k < 10000);
}

#endif
