/* wire_feed: a reader for the tests of a wire, fed events and bodies from heap
 * blocks of their own, so that a read past the end is seen. Before it is
 * included: WIRE is the wire, HAS_PATTERN whether it is given a pattern. */
#ifndef OAI_WIRE_FEED_H
#define OAI_WIRE_FEED_H

#include "test.h"

typedef struct world {
  oai_delta d;
  oai_failure f;
  oai_pattern p;
  oai_reader r;
} world;

static void up(world *w) {
  memset(w, 0, sizeof *w);
  oai_delta_init(&w->d, 4);
  oai_pattern_init(&w->p);
  w->r = (oai_reader){&w->d, &w->f, {"sk-secret", 9},
                      200,   16,    HAS_PATTERN ? &w->p : NULL};
}

static void down(world *w) {
  oai_delta_free(&w->d);
  oai_pattern_free(&w->p);
}

static oai_read event_n(world *w, const char *name, const char *p, size_t n) {
  char *copy = malloc(n + !n);
  if (n) memcpy(copy, p, n);
  oai_sse_event e = {{copy, n}, {name, strlen(name)}, {NULL, 0}, -1};
  oai_read read = WIRE.event(&w->r, &e);
  free(copy);
  return read;
}

TEST_MAYBE oai_read event(world *w, const char *text) {
  return event_n(w, "", text, strlen(text));
}

TEST_MAYBE oai_read body(world *w, const char *text) {
  size_t n = strlen(text);
  char *copy = malloc(n + !n);
  if (n) memcpy(copy, text, n);
  oai_read read = WIRE.body(&w->r, (oai_slice){copy, n});
  free(copy);
  return read;
}

#endif
