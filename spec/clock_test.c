/* clock: time that stands still, skips and goes on. */
#include "../src/clock.h"
#include "../src/engine.h"
#include "../src/listen.h"
#include "../src/pollset.h"
#include "support/test.h"

#include <math.h>

typedef struct user {
  oai_clock_user user; /* first */
  double due;
  int told;
} user_t;

static double due(oai_clock_user *u) {
  return ((user_t *)u)->due;
}
static void moved(oai_clock_user *u) {
  ((user_t *)u)->told++;
}

static void join(oai_clock *c, user_t *u, double at) {
  memset(u, 0, sizeof *u);
  u->user.due = due;
  u->user.moved = moved;
  u->due = at;
  oai_clock_join(c, &u->user);
}

static void skips(void) {
  oai_clock *c = oai_clock_new();
  user_t a, b, d;
  TEST("is the system's clock until it is frozen");
  CHECK(fabs(oai_clock_now(c) - oai_now()) < 1);
  CHECK(fabs(oai_clock_now(NULL) - oai_now()) < 1);
  CHECK(!oai_clock_frozen(c) && !oai_clock_frozen(NULL));
  CHECK(!oai_clock_skip(c, -1));
  TEST("stands still, and skips to the next time that is ahead");
  oai_clock_freeze(c, 0.001);
  double start = oai_clock_now(c);
  join(c, &a, start + 30);
  join(c, &b, start + 10);
  join(c, &d, -1);
  CHECK(oai_clock_now(c) == start);
  CHECK(oai_clock_skip(c, -1) && oai_clock_now(c) == start + 10);
  CHECK(a.told == 1 && b.told == 1 && d.told == 1);
  CHECK(oai_clock_skip(c, start + 20) && oai_clock_now(c) == start + 20);
  CHECK(!oai_clock_skip(c, start + 5));
  CHECK(oai_clock_skip(c, start + 90) && oai_clock_now(c) == start + 30);
  TEST("does not skip to a deadline of math.huge");
  d.due = HUGE_VAL;
  CHECK(!oai_clock_skip(c, -1) && oai_clock_now(c) == start + 30);
  TEST("says when a time comes on the system's clock");
  CHECK(oai_clock_alarm(c, start) == 0);
  CHECK(oai_clock_alarm(c, start + 31) < 0);
  CHECK(oai_clock_alarm(NULL, 5) == 5 && oai_clock_alarm(NULL, HUGE_VAL) < 0);
  TEST("goes on from where it stands when it is thawed");
  oai_clock_thaw(c);
  CHECK(oai_clock_now(c) >= start + 30 && oai_clock_now(c) < start + 31);
  CHECK(fabs(oai_clock_alarm(c, start + 40) - oai_now() - 10) < 1);
  TEST("lives as long as its users");
  oai_clock_unref(c);
  oai_clock_leave(&b.user);
  oai_clock_leave(&a.user);
  oai_clock_leave(&d.user);
  oai_clock_leave(&d.user);
}

static double fired_at[3];
static int nfired;

static void fire(oai_timer *t, double now) {
  fired_at[nfired++] = now - t->at;
}

static void engines(void) {
  char message[100];
  oai_listen_options o = {NULL, 0, NULL};
  oai_clock *c = oai_clock_new();
  oai_engine *e = oai_engine_new();
  oai_listener *l = oai_listener_open(&o, message, sizeof message);
  oai_timer t[3];
  memset(t, 0, sizeof t);
  oai_engine_clock(e, c);
  oai_listener_clock(l, c);
  oai_clock_freeze(c, 0.001);
  TEST("an hour of an engine's timers takes no time");
  double real = oai_now(), start = oai_engine_now(e);
  for (int i = 0; i < 3; i++) {
    t[i].fire = fire;
    CHECK(oai_engine_timer(e, &t[i], start + 1200 * (3 - i)));
  }
  CHECK(oai_engine_timeout(e) < 0);
  while (nfired < 3) {
    oai_engine_wait(e, -1, true);
    oai_engine_step(e, -1);
  }
  CHECK(fired_at[0] == 0 && fired_at[1] == 0 && fired_at[2] == 0);
  CHECK(oai_engine_now(e) == start + 3600);
  CHECK(oai_now() - real < 1);
  TEST("a wait with a limit ends there");
  oai_engine_wait(e, 5, true);
  CHECK(oai_engine_now(e) == start + 3605);
  oai_listener_close(l);
  oai_engine_unref(e);
  oai_clock_unref(c);
}

int main(void) {
  skips();
  engines();
  return test_report();
}
