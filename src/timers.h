/* timers: a binary heap of times at which something fires. Level 0: pure; the
 * clock is passed in. */
#ifndef OAI_TIMERS_H
#define OAI_TIMERS_H

#include <stdbool.h>
#include <stddef.h>

/* A time at which fire is called, once. Embed it; the heap keeps a pointer
 * while it is set. */
typedef struct oai_timer {
  double at;   /* on the caller's clock */
  size_t slot; /* 1-based place in the heap; 0: not set */
  void (*fire)(struct oai_timer *timer, double now);
} oai_timer;

/* All zero: empty. */
typedef struct oai_timers {
  oai_timer **heap; /* slot 1 first */
  size_t n, cap;
} oai_timers;

/* Sets or moves it; false: no memory (never for one that is set). */
bool oai_timers_set(oai_timers *h, oai_timer *t, double at);
void oai_timers_clear(oai_timers *h, oai_timer *t);
/* Fires those whose time has come; they may set themselves again. */
void oai_timers_fire(oai_timers *h, double now);
/* Fires all that are left, with now = HUGE_VAL, and frees the heap. */
void oai_timers_end(oai_timers *h);
/* The next time; < 0: none. */
double oai_timers_next(const oai_timers *h);

#endif
