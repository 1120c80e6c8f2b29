/* timers: see timers.h. */
#include "timers.h"

#include <math.h>
#include <stdlib.h>

static void place(oai_timers *h, size_t slot, oai_timer *t) {
  h->heap[slot - 1] = t;
  t->slot = slot;
}

static void sift(oai_timers *h, size_t slot) {
  oai_timer *t = h->heap[slot - 1];
  while (slot > 1 && h->heap[slot / 2 - 1]->at > t->at) {
    place(h, slot, h->heap[slot / 2 - 1]);
    slot /= 2;
  }
  for (size_t kid; (kid = slot * 2) <= h->n; slot = kid) {
    if (kid < h->n && h->heap[kid]->at < h->heap[kid - 1]->at) kid++;
    if (h->heap[kid - 1]->at >= t->at) break;
    place(h, slot, h->heap[kid - 1]);
  }
  place(h, slot, t);
}

bool oai_timers_set(oai_timers *h, oai_timer *t, double at) {
  if (!t->slot) {
    if (h->n == h->cap) {
      size_t cap = h->cap ? h->cap * 2 : 8;
      void *p = realloc(h->heap, cap * sizeof *h->heap);
      if (!p) return false;
      h->heap = p;
      h->cap = cap;
    }
    place(h, ++h->n, t);
  }
  t->at = at;
  sift(h, t->slot);
  return true;
}

void oai_timers_clear(oai_timers *h, oai_timer *t) {
  size_t slot = t->slot;
  if (!slot) return;
  t->slot = 0;
  oai_timer *last = h->heap[--h->n];
  if (last == t) return;
  place(h, slot, last);
  sift(h, slot);
}

void oai_timers_fire(oai_timers *h, double now) {
  while (h->n && h->heap[0]->at <= now) {
    oai_timer *t = h->heap[0];
    oai_timers_clear(h, t);
    t->fire(t, now);
  }
}

void oai_timers_end(oai_timers *h) {
  oai_timers_fire(h, HUGE_VAL);
  free(h->heap);
}

double oai_timers_next(const oai_timers *h) {
  return h->n ? h->heap[0]->at : -1;
}
