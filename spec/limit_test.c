/* limit: the window that nothing passes, the bucket that smooths, debts, and
 * what a server says. The clock is the test's. */
#include "../src/limit.h"
#include "support/test.h"

#include <math.h>

static oai_limit *window(double requests, double tokens, double per) {
  oai_limit_rule rule = {requests, tokens, per, true, 1};
  return oai_limit_new(&rule);
}

static oai_limit *bucket(double requests, double tokens, double per,
                         double burst) {
  oai_limit_rule rule = {requests, tokens, per, false, burst};
  return oai_limit_new(&rule);
}

static bool near(double a, double b) {
  return fabs(a - b) < 1e-6;
}

static void test_window(void) {
  TEST("a window lets its limit through, and says when the next may go");
  oai_limit *l = window(3, -1, 10);
  CHECK(oai_limit_take(l, 100, 0) == 0);
  CHECK(oai_limit_take(l, 101, 0) == 0);
  CHECK(oai_limit_take(l, 105, 0) == 0);
  CHECK(near(oai_limit_take(l, 105, 0), 5));
  CHECK(near(oai_limit_take(l, 109.5, 0), 0.5));
  CHECK(oai_limit_take(l, 110, 0) == 0);
  CHECK(near(oai_limit_take(l, 110, 0), 1));
  oai_limit_free(l);
}

static unsigned dice = 1;
static double draw(void) {
  dice = dice * 1103515245u + 12345u;
  return (double)(dice >> 8 & 0xffff) / 65536.0;
}

/* The most that lies in any window of `per` seconds. */
static double most_in_window(const double *at, const double *n, size_t count,
                             double per) {
  double most = 0;
  for (size_t i = 0; i < count; i++) {
    double sum = 0;
    for (size_t j = i; j < count && at[j] < at[i] + per; j++) sum += n[j];
    if (sum > most) most = sum;
  }
  return most;
}

static void test_never_more(void) {
  TEST("row 106: no window of any run has more than the limit");
  static double at[20000], tokens[20000], one[20000];
  for (int run = 0; run < 20; run++) {
    oai_limit *l = window(10 + run, 500, 1);
    double now = 0;
    size_t n = 0;
    while (n < 2000) {
      double need = floor(draw() * 100);
      double wait = oai_limit_take(l, now, need);
      CHECK(wait >= 0 && wait < 1.001);
      if (wait == 0) {
        at[n] = now;
        one[n] = 1;
        tokens[n++] = need;
      }
      now += draw() < 0.5 ? wait : draw() * 0.01;
    }
    CHECK(most_in_window(at, one, n, 1) <= 10 + run);
    CHECK(most_in_window(at, tokens, n, 1) <= 500);
    CHECK(now < 2000.0 / 10 * 2 + 2000 * 100 / 500.0); /* and it goes on */
    oai_limit_free(l);
  }
}

static void test_together(void) {
  TEST("requests and tokens are taken together or not at all");
  oai_limit *l = window(2, 100, 1);
  CHECK(oai_limit_take(l, 0, 90) == 0);
  CHECK(near(oai_limit_take(l, 0.1, 20), 0.9));
  CHECK(oai_limit_take(l, 0.2, 10) == 0);
  CHECK(near(oai_limit_take(l, 0.3, 0), 0.7));
  oai_limit_free(l);
}

static void test_too_large(void) {
  TEST("row 111: what is larger than the limit never goes");
  oai_limit *l = window(5, 100, 1), *b = bucket(5, 100, 1, 1);
  CHECK(oai_limit_take(l, 0, 101) == HUGE_VAL);
  CHECK(oai_limit_take(b, 0, 101) == HUGE_VAL);
  CHECK(oai_limit_take(l, 0, 100) == 0);
  CHECK(oai_limit_take(b, 0, 100) == 0);
  oai_limit_free(l);
  oai_limit_free(b);
}

static void test_burst(void) {
  TEST("a bucket holds its burst and refills evenly");
  oai_limit *l = bucket(10, -1, 1, 0.2);
  CHECK(oai_limit_take(l, 0, 0) == 0);
  CHECK(oai_limit_take(l, 0, 0) == 0);
  CHECK(near(oai_limit_take(l, 0, 0), 0.1));
  CHECK(oai_limit_take(l, 0.1, 0) == 0);
  CHECK(oai_limit_take(l, 100, 0) == 0);
  CHECK(oai_limit_take(l, 100, 0) == 0);
  CHECK(near(oai_limit_take(l, 100, 0), 0.1));
  oai_limit_free(l);
}

static void test_debt(void) {
  TEST("what was not used comes back, what was used besides is a debt");
  oai_limit *l = window(-1, 100, 1), *b = bucket(-1, 100, 1, 1);
  CHECK(oai_limit_take(l, 0, 100) == 0);
  CHECK(oai_limit_take(b, 0, 100) == 0);
  oai_limit_give_back(l, 0.1, 0, 0, 40);
  oai_limit_give_back(b, 0, 0, 0, 40);
  CHECK(oai_limit_take(l, 0.1, 40) == 0);
  CHECK(oai_limit_take(b, 0, 40) == 0);
  oai_limit_give_back(l, 0.2, 0.1, 0, -50);
  oai_limit_give_back(b, 0, 0, 0, -50);
  CHECK(near(oai_limit_take(b, 0, 10), 0.6));
  CHECK(near(oai_limit_take(l, 0.2, 60), 0.9)); /* 60 left at 1, 150 at 1.1 */
  CHECK(oai_limit_take(l, 1.1, 100) == 0);
  oai_limit_free(l);
  oai_limit_free(b);
}

static void test_unsent(void) {
  TEST("a request that was never sent gives its place back");
  oai_limit *l = window(1, -1, 10);
  CHECK(oai_limit_take(l, 0, 0) == 0);
  oai_limit_give_back(l, 5, 0, 1, 0);
  CHECK(oai_limit_take(l, 5, 0) == 0);
  oai_limit_give_back(l, 50, 5, 1, 0); /* long gone */
  CHECK(oai_limit_take(l, 50, 0) == 0);
  CHECK(oai_limit_take(l, 50, 0) > 0);
  oai_limit_free(l);
}

static void test_told(void) {
  TEST("what the server says is left counts until its reset, no longer");
  oai_limit *l = window(100, -1, 60);
  CHECK(oai_limit_take(l, 0, 0) == 0);
  oai_limit_learn(l, 0, OAI_LIMIT_REQUESTS, 1, 6);
  CHECK(oai_limit_take(l, 1, 0) == 0);
  CHECK(near(oai_limit_take(l, 2, 0), 4));
  CHECK(oai_limit_take(l, 6, 0) == 0);
  oai_limit_learn(l, 6, OAI_LIMIT_REQUESTS, -1, 5);
  oai_limit_learn(l, 6, OAI_LIMIT_REQUESTS, 0, -5);
  oai_limit_learn(l, 6, OAI_LIMIT_REQUESTS, NAN, NAN);
  oai_limit_learn(l, 6, OAI_LIMIT_REQUESTS, 0, 1e99);
  CHECK(oai_limit_take(l, 7, 0) == 0);
  oai_limit_free(l);
}

static void test_eta(void) {
  TEST("the time until so much has gone is never told too long");
  oai_limit *l = window(10, -1, 1);
  CHECK(oai_limit_eta(l, 0, 10, 0) == 0);
  CHECK(near(oai_limit_eta(l, 0, 11, 0), 1));
  CHECK(near(oai_limit_eta(l, 0, 35, 0), 3));
  for (int i = 0; i < 10; i++) CHECK(oai_limit_take(l, 0, 0) == 0);
  CHECK(near(oai_limit_eta(l, 0.4, 1, 0), 0.6));
  oai_limit *b = bucket(10, -1, 1, 1);
  CHECK(near(oai_limit_eta(b, 0, 15, 0), 0.5));
  oai_limit_free(l);
  oai_limit_free(b);
}

static void test_clock(void) {
  TEST("a clock that stands still or goes back does no harm");
  oai_limit *l = window(2, -1, 1), *b = bucket(2, -1, 1, 1);
  CHECK(oai_limit_take(l, 5, 0) == 0 && oai_limit_take(l, 4, 0) == 0);
  CHECK(oai_limit_take(l, 4, 0) > 0);
  CHECK(oai_limit_take(b, 5, 0) == 0 && oai_limit_take(b, 4, 0) == 0);
  CHECK(oai_limit_take(b, 4, 0) > 0);
  CHECK(oai_limit_take(l, 6.1, 0) == 0 && oai_limit_take(b, 6, 0) == 0);
  oai_limit_free(l);
  oai_limit_free(b);
}

static void test_memory(void) {
  TEST("memory stays bounded however many go through");
  oai_limit *l = window(1e9, -1, 1);
  for (int i = 0; i < 200000; i++) CHECK(oai_limit_take(l, i * 1e-5, 0) == 0);
  oai_limit_free(l);
}

int main(void) {
  test_window();
  test_never_more();
  test_together();
  test_too_large();
  test_burst();
  test_debt();
  test_unsent();
  test_told();
  test_eta();
  test_clock();
  test_memory();
  return test_report();
}
