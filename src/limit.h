/* limit: whether a request of so many tokens may go out now, and if not, when.
 * Counts requests and tokens together, by a sliding window or a token bucket.
 * Level 1: pure; the clock is passed in, any monotonic seconds.
 *
 * The window never lets more than its limit through in any `per` seconds: what
 * it lets through within `per`/1024 counts as let through at the last of these
 * moments. The bucket refills evenly and holds `burst` seconds' worth of it.
 * An answer that used more than was estimated leaves a debt. */
#ifndef OAI_LIMIT_H
#define OAI_LIMIT_H

#include <stdbool.h>
#include <stddef.h>

typedef struct oai_limit_rule {
  double requests, tokens; /* in `per` seconds; < 0: not limited */
  double per;
  bool window;  /* else a bucket */
  double burst; /* of a bucket: the part of a limit that may go at once, 0..1 */
} oai_limit_rule;

enum { OAI_LIMIT_REQUESTS, OAI_LIMIT_TOKENS, OAI_LIMIT_KINDS };

typedef struct oai_limit oai_limit;

/* NULL: no memory. */
oai_limit *oai_limit_new(const oai_limit_rule *rule);
void oai_limit_free(oai_limit *l);

/* 0: it may go, and is counted; > 0: seconds until it may, when nothing else
 * goes before; HUGE_VAL: never; < 0: no memory. */
double oai_limit_take(oai_limit *l, double now, double tokens);
/* Seconds until so much can have gone, whoever goes first: never too long. */
double oai_limit_eta(oai_limit *l, double now, double requests, double tokens);
/* What was counted at `at` and not used (or, negative: used besides). */
void oai_limit_give_back(oai_limit *l, double now, double at, double requests,
                         double tokens);
/* The server says what is left, and for how long that holds. */
void oai_limit_learn(oai_limit *l, double now, int kind, double left,
                     double reset);

#endif
