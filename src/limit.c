/* limit: the two counts: a ring of grants for the window, two levels for the
 * bucket. What they promise is said in limit.h. */
#include "limit.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* What went out at about one time. */
typedef struct grant {
  double from, at; /* the first and the last moment */
  double used[OAI_LIMIT_KINDS];
} grant;

struct oai_limit {
  oai_limit_rule rule;
  double max[OAI_LIMIT_KINDS];
  /* window: a ring of grants, oldest first */
  grant *grants;
  size_t first, count, room;
  double used[OAI_LIMIT_KINDS]; /* the sum of the ring */
  /* bucket */
  double level[OAI_LIMIT_KINDS], filled_at;
  /* what the server says is left, and until when */
  double left[OAI_LIMIT_KINDS], left_until[OAI_LIMIT_KINDS];
};

enum { SLOTS = 1024, ROOM_FIRST = 16 };

/* Sums of fractions are not exact. */
static const double SLACK = 1e-9;

oai_limit *oai_limit_new(const oai_limit_rule *rule) {
  oai_limit *l = calloc(1, sizeof *l);
  if (!l) return NULL;
  l->rule = *rule;
  l->max[OAI_LIMIT_REQUESTS] = rule->requests;
  l->max[OAI_LIMIT_TOKENS] = rule->tokens;
  for (int i = 0; i < OAI_LIMIT_KINDS; i++) {
    l->level[i] = l->max[i] * rule->burst;
    l->left_until[i] = -HUGE_VAL;
  }
  l->filled_at = -HUGE_VAL;
  return l;
}

void oai_limit_free(oai_limit *l) {
  if (l) free(l->grants);
  free(l);
}

/* ---- the window --------------------------------------------------------- */

static grant *grant_at(const oai_limit *l, size_t i) {
  return &l->grants[(l->first + i) % l->room];
}

static void expire(oai_limit *l, double now) {
  while (l->count && grant_at(l, 0)->at + l->rule.per <= now) {
    for (int i = 0; i < OAI_LIMIT_KINDS; i++)
      l->used[i] -= grant_at(l, 0)->used[i];
    l->first = (l->first + 1) % l->room;
    l->count--;
  }
  if (!l->count) memset(l->used, 0, sizeof l->used);
}

static bool grow(oai_limit *l) {
  size_t room = l->room ? l->room * 2 : ROOM_FIRST;
  grant *all = malloc(room * sizeof *all);
  if (!all) return false;
  for (size_t i = 0; i < l->count; i++) all[i] = *grant_at(l, i);
  free(l->grants);
  l->grants = all;
  l->first = 0;
  l->room = room;
  return true;
}

/* The grant that what goes now belongs to; NULL: no memory. */
static grant *grant_now(oai_limit *l, double now) {
  grant *last = l->count ? grant_at(l, l->count - 1) : NULL;
  if (last && now - last->from < l->rule.per / SLOTS) {
    if (now > last->at) last->at = now;
    return last;
  }
  if (l->count == l->room && !grow(l)) return NULL;
  last = grant_at(l, l->count++);
  memset(last, 0, sizeof *last);
  last->from = last->at = now;
  return last;
}

/* Seconds until `need` fits, when grants leave in their order. */
static double window_wait(const oai_limit *l, double now, const double *need) {
  double freed[OAI_LIMIT_KINDS] = {0, 0};
  for (size_t g = 0; g <= l->count; g++) {
    bool fits = true;
    for (int i = 0; i < OAI_LIMIT_KINDS; i++)
      if (l->max[i] >= 0 &&
          l->used[i] - freed[i] + need[i] > l->max[i] * (1 + SLACK))
        fits = false;
    if (fits) return g ? grant_at(l, g - 1)->at + l->rule.per - now : 0;
    if (g == l->count) break;
    for (int i = 0; i < OAI_LIMIT_KINDS; i++)
      freed[i] += grant_at(l, g)->used[i];
  }
  return HUGE_VAL;
}

/* ---- the bucket --------------------------------------------------------- */

static double size_of(const oai_limit *l, int i) {
  return l->max[i] * l->rule.burst;
}

static void fill(oai_limit *l, double now) {
  double seconds = now - l->filled_at;
  if (seconds <= 0) return;
  l->filled_at = now;
  for (int i = 0; i < OAI_LIMIT_KINDS; i++) {
    double level = l->level[i] + seconds * l->max[i] / l->rule.per;
    l->level[i] = fmin(level, size_of(l, i));
  }
}

static double bucket_wait(const oai_limit *l, const double *need) {
  double wait = 0;
  for (int i = 0; i < OAI_LIMIT_KINDS; i++) {
    double lack = need[i] - l->level[i];
    if (l->max[i] >= 0 && lack > need[i] * SLACK)
      wait = fmax(wait, lack * l->rule.per / l->max[i]);
  }
  return wait;
}

/* ---- both --------------------------------------------------------------- */

/* A bucket must hold the request; a window lets no larger one through. */
static bool never(const oai_limit *l, const double *need) {
  for (int i = 0; i < OAI_LIMIT_KINDS; i++) {
    if (l->max[i] < 0) continue;
    double most = l->rule.window ? l->max[i] : fmax(size_of(l, i), 1);
    if (need[i] > most * (1 + SLACK)) return true;
  }
  return false;
}

/* Seconds that the server's own count makes it wait. */
static double told_wait(const oai_limit *l, double now, const double *need) {
  double wait = 0;
  for (int i = 0; i < OAI_LIMIT_KINDS; i++)
    if (now < l->left_until[i] && need[i] > l->left[i])
      wait = fmax(wait, l->left_until[i] - now);
  return wait;
}

static double wait_for(oai_limit *l, double now, const double *need) {
  double wait;
  if (l->rule.window) {
    expire(l, now);
    wait = window_wait(l, now, need);
  } else {
    fill(l, now);
    wait = bucket_wait(l, need);
  }
  return fmax(wait, told_wait(l, now, need));
}

double oai_limit_take(oai_limit *l, double now, double tokens) {
  double need[OAI_LIMIT_KINDS] = {1, tokens};
  if (never(l, need)) return HUGE_VAL;
  double wait = wait_for(l, now, need);
  if (wait > 0) return fmax(wait, 1e-6);
  grant *g = l->rule.window ? grant_now(l, now) : NULL;
  if (l->rule.window && !g) return -1;
  for (int i = 0; i < OAI_LIMIT_KINDS; i++) {
    if (g) g->used[i] += need[i];
    l->used[i] += need[i];
    l->level[i] -= need[i];
    l->left[i] -= need[i];
  }
  return 0;
}

double oai_limit_eta(oai_limit *l, double now, double requests, double tokens) {
  double need[OAI_LIMIT_KINDS] = {requests, tokens}, rounds = 0;
  for (int i = 0; l->rule.window && i < OAI_LIMIT_KINDS; i++) {
    if (l->max[i] < 0 || need[i] <= l->max[i]) continue;
    double whole = ceil(need[i] / l->max[i]) - 1;
    rounds = fmax(rounds, whole);
  }
  for (int i = 0; rounds > 0 && i < OAI_LIMIT_KINDS; i++)
    need[i] = l->max[i] < 0 ? 0 : fmax(need[i] - rounds * l->max[i], 0);
  double wait = wait_for(l, now, need);
  return rounds * l->rule.per + (rounds > 0 ? 0 : wait);
}

void oai_limit_give_back(oai_limit *l, double now, double at, double requests,
                         double tokens) {
  double back[OAI_LIMIT_KINDS] = {requests, tokens};
  grant *g = NULL;
  if (l->rule.window) {
    expire(l, now);
    for (size_t i = 0; i < l->count && !g; i++)
      if (at <= grant_at(l, i)->at) g = grant_at(l, i);
    if (!g) return; /* it is out of the window */
  } else {
    fill(l, now);
  }
  for (int i = 0; i < OAI_LIMIT_KINDS; i++) {
    double most = g ? g->used[i] : HUGE_VAL;
    if (back[i] > most) back[i] = most;
    if (g) g->used[i] -= back[i];
    l->used[i] -= back[i];
    l->level[i] = fmin(l->level[i] + back[i], size_of(l, i));
  }
}

void oai_limit_learn(oai_limit *l, double now, int kind, double left,
                     double reset) {
  if (!(left >= 0) || !(reset > 0) || reset > 86400) return;
  l->left[kind] = left;
  l->left_until[kind] = now + reset;
}
