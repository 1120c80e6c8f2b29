/* clock: see clock.h. */
#include "clock.h"

#include "pollset.h"

#include <stdlib.h>

struct oai_clock {
  int refs;
  bool frozen;
  double at;   /* where it stands, frozen */
  double skew; /* what it is ahead of the system's, running */
  double idle;
  oai_clock_user *users;
};

/* A deadline of math.huge is none. */
static const double NEVER = 1e12;

oai_clock *oai_clock_new(void) {
  oai_clock *c = calloc(1, sizeof *c);
  if (c) c->refs = 1;
  return c;
}

oai_clock *oai_clock_ref(oai_clock *c) {
  c->refs++;
  return c;
}

void oai_clock_unref(oai_clock *c) {
  if (c && --c->refs == 0) free(c);
}

void oai_clock_join(oai_clock *c, oai_clock_user *u) {
  u->clock = oai_clock_ref(c);
  u->prev = NULL;
  u->next = c->users;
  if (c->users) c->users->prev = u;
  c->users = u;
}

void oai_clock_leave(oai_clock_user *u) {
  oai_clock *c = u->clock;
  if (!c) return;
  *(u->prev ? &u->prev->next : &c->users) = u->next;
  if (u->next) u->next->prev = u->prev;
  u->clock = NULL;
  oai_clock_unref(c);
}

double oai_clock_now(const oai_clock *c) {
  if (!c) return oai_now();
  return c->frozen ? c->at : oai_now() + c->skew;
}

bool oai_clock_frozen(const oai_clock *c) {
  return c && c->frozen;
}

double oai_clock_alarm(const oai_clock *c, double at) {
  if (at < 0 || at >= NEVER) return -1;
  if (!oai_clock_frozen(c)) {
    at -= c ? c->skew : 0;
    return at > 0 ? at : 0;
  }
  return at <= c->at ? 0 : -1;
}

static void tell(oai_clock *c) {
  for (oai_clock_user *u = c->users; u; u = u->next) u->moved(u);
}

void oai_clock_freeze(oai_clock *c, double idle) {
  c->at = oai_clock_now(c);
  c->frozen = true;
  c->idle = idle;
  tell(c);
}

void oai_clock_thaw(oai_clock *c) {
  if (!c->frozen) return;
  c->skew = c->at - oai_now();
  c->frozen = false;
  tell(c);
}

double oai_clock_idle(const oai_clock *c) {
  return c->idle;
}

bool oai_clock_skip(oai_clock *c, double until) {
  double next = until;
  /* what is due already waits for its owner's turn, not for time */
  for (oai_clock_user *u = c->users; u; u = u->next) {
    double due = u->due(u);
    if (u->ticks && due >= 0 && due <= c->at) return c->frozen;
    if (due > c->at && due < NEVER && (next < 0 || due < next)) next = due;
  }
  if (!c->frozen || next <= c->at) return false;
  c->at = next;
  tell(c);
  return true;
}
