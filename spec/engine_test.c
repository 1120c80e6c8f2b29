/* engine: timers, the one descriptor, waiting. Transfers are exchange_test's.
 */
#include "../src/engine.h"
#include "../src/pollset.h"
#include "support/test.h"

#include <poll.h>
#include <unistd.h>

typedef struct alarm {
  oai_timer timer; /* first */
  int number;
} alarm_t;

static int fired[2000], nfired;
static double fired_at[2000];
static bool early;

static void fire(oai_timer *t, double now) {
  if (now < t->at) early = true;
  fired_at[nfired] = t->at;
  fired[nfired++] = ((alarm_t *)t)->number;
}

static void set(oai_engine *e, alarm_t *a, int number, double at) {
  a->timer.fire = fire;
  a->number = number;
  CHECK(oai_engine_timer(e, &a->timer, at));
}

/* Until no timer is left, two seconds at most. */
static void run(oai_engine *e) {
  double until = oai_now() + 2;
  while (oai_engine_timeout(e) >= 0 && oai_now() < until) {
    oai_engine_wait(e, 1, true);
    oai_engine_step(e, -1);
  }
}

static void timers(void) {
  alarm_t a[3];
  oai_engine *e = oai_engine_new();
  memset(a, 0, sizeof a);
  nfired = 0;
  TEST("fires timers in the order of their times, not before");
  double now = oai_now();
  set(e, &a[0], 0, now + 0.03);
  set(e, &a[1], 1, now + 0.01);
  set(e, &a[2], 2, now + 0.02);
  run(e);
  CHECK_EQ_INT(nfired, 3);
  CHECK(fired[0] == 1 && fired[1] == 2 && fired[2] == 0);
  CHECK(!early);
  TEST("never fires a timer that was cleared, and clears twice");
  nfired = 0;
  set(e, &a[0], 0, oai_now() - 1);
  set(e, &a[1], 1, oai_now() - 1);
  oai_engine_timer_clear(e, &a[0].timer);
  oai_engine_timer_clear(e, &a[0].timer);
  run(e);
  CHECK_EQ_INT(nfired, 1);
  CHECK_EQ_INT(fired[0], 1);
  TEST("moves a timer that is set again");
  nfired = 0;
  set(e, &a[0], 0, oai_now() + 1000);
  set(e, &a[1], 1, oai_now() + 0.01);
  set(e, &a[0], 0, oai_now() - 1);
  oai_engine_step(e, -1);
  CHECK_EQ_INT(nfired, 1);
  CHECK_EQ_INT(fired[0], 0);
  run(e);
  CHECK_EQ_INT(nfired, 2);
  oai_engine_unref(e);
}

static unsigned long long state = 7;

static unsigned dice(unsigned n) {
  state = state * 6364136223846793005ULL + 1442695040888963407ULL;
  return (unsigned)(state >> 33) % n;
}

/* All times lie in the past, so that one step fires them all, in order. */
static void many(void) {
  enum { N = 2000 };
  static alarm_t a[N];
  oai_engine *e = oai_engine_new();
  TEST("keeps 2,000 timers in order while they are set, moved and cleared");
  double past = oai_now() - 100;
  nfired = 0;
  for (int i = 0; i < 20000; i++) {
    int k = (int)dice(N);
    if (dice(3) == 0)
      oai_engine_timer_clear(e, &a[k].timer);
    else
      set(e, &a[k], k, past + dice(1000) / 100.0);
  }
  int want = 0;
  for (int i = 0; i < N; i++) want += a[i].timer.slot != 0;
  oai_engine_step(e, -1);
  CHECK_EQ_INT(nfired, want);
  for (int i = 1; i < nfired; i++)
    if (!CHECK(fired_at[i - 1] <= fired_at[i])) break;
  CHECK(oai_engine_timeout(e) < 0);
  oai_engine_unref(e);
}

static bool readable(int fd, int ms) {
  struct pollfd p = {fd, POLLIN, 0};
  return poll(&p, 1, ms) == 1;
}

static void waiting(void) {
  alarm_t a;
  int ends[2];
  oai_engine *e = oai_engine_new();
  memset(&a, 0, sizeof a);
  TEST("steps without sleeping");
  set(e, &a, 0, oai_now() + 0.5);
  double from = oai_now();
  for (int i = 0; i < 100; i++) oai_engine_step(e, -1);
  CHECK(oai_now() - from < 0.1);
  oai_engine_timer_clear(e, &a.timer);

  TEST("waits no longer than asked, and until a timer");
  from = oai_now();
  oai_engine_wait(e, 0.02, true);
  CHECK(oai_now() - from >= 0.019 && oai_now() - from < 0.3);
  nfired = 0;
  set(e, &a, 0, oai_now() + 0.03);
  from = oai_now();
  oai_engine_wait(e, 2, true);
  CHECK(oai_now() - from >= 0.02 && oai_now() - from < 0.4);
  run(e);
  CHECK_EQ_INT(nfired, 1);

  TEST("is woken by a descriptor it watches, until that is forgotten");
  if (pipe(ends)) exit(1);
  CHECK(oai_engine_watch(e, ends[0], true));
  CHECK_EQ_INT(write(ends[1], "x", 1), 1);
  from = oai_now();
  oai_engine_wait(e, 2, true);
  CHECK(oai_now() - from < 0.3);
  oai_engine_step(e, -1);
  CHECK(oai_engine_watch(e, ends[0], false));
  oai_engine_step(e, -1);
  from = oai_now();
  oai_engine_wait(e, 0.02, true);
  CHECK(oai_now() - from >= 0.019);
  close(ends[0]);
  close(ends[1]);
  oai_engine_unref(e);
}

static void descriptor(void) {
  alarm_t a;
  oai_engine *e = oai_engine_new();
  int fd = oai_engine_fd(e);
  memset(&a, 0, sizeof a);
  oai_waitable w[3];
  memset(w, 0, sizeof w);
  TEST("lists what is ready once, in order, and again behind the others");
  for (int i = 0; i < 3; i++) oai_engine_mark(e, &w[i], true);
  oai_engine_mark(e, &w[0], true);
  CHECK(oai_engine_pop(e) == &w[0]);
  CHECK(w[0].ready);
  oai_engine_relist(e, &w[0]);
  oai_engine_mark(e, &w[2], false);
  CHECK(oai_engine_pop(e) == &w[1]);
  CHECK(oai_engine_pop(e) == &w[0]);
  CHECK(oai_engine_pop(e) == NULL);
  for (int i = 0; i < 3; i++) oai_engine_mark(e, &w[i], false);

  TEST("has a readable descriptor while something ready is listed");
  oai_engine_mark(e, &w[0], true);
  oai_engine_mark(e, &w[1], true);
  if (fd >= 0) CHECK(readable(fd, 0));
  oai_engine_mark(e, &w[0], false);
  if (fd >= 0) CHECK(readable(fd, 0));
  double from = oai_now();
  oai_engine_wait(e, 1, true);
  CHECK(oai_now() - from < 0.2);
  CHECK(oai_engine_timeout(e) == 0);
  from = oai_now();
  oai_engine_wait(e, 0.02, false); /* a reader of another thing sleeps */
  CHECK(oai_now() - from >= 0.019);
  oai_engine_mark(e, &w[1], false);
  if (fd >= 0) CHECK(!readable(fd, 0));
  TEST("has a readable descriptor when a timer is due, until it fired");
  if (fd >= 0) {
    set(e, &a, 0, oai_now() + 0.02);
    fd = oai_engine_fd(e);
    CHECK(!readable(fd, 0));
    CHECK(readable(fd, 1000));
    nfired = 0;
    oai_engine_step(e, -1);
    CHECK_EQ_INT(nfired, 1);
    CHECK(!readable(fd, 0));
  }
  TEST("outlives its first owner by a reference");
  oai_engine_ref(e);
  oai_engine_unref(e);
  oai_engine_step(e, 0);
  oai_engine_unref(e);
}

int main(void) {
  curl_global_init(CURL_GLOBAL_DEFAULT);
  timers();
  many();
  waiting();
  descriptor();
  curl_global_cleanup();
  return test_report();
}
