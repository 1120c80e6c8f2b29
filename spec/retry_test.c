/* retry: the policy as a table; dates and numbers of Retry-After. */
#include "../src/retry.h"
#include "support/test.h"

static oai_slice text(const char *p) {
  return (oai_slice){p, p ? strlen(p) : 0};
}

static oai_retry judge(oai_kind kind, const char *code, int status,
                       const char *header, const char *value) {
  oai_failure f;
  oai_retry_facts facts = {0};
  oai_failure_set(&f, kind, code);
  f.status = status;
  facts.failure = &f;
  facts.attempts = 1;
  facts.dice = 1;
  facts.now = 784111777; /* Sun, 06 Nov 1994 08:49:37 GMT */
  if (header && !strcmp(header, "ms")) facts.retry_after_ms = text(value);
  if (header && !strcmp(header, "after")) facts.retry_after = text(value);
  if (header && !strcmp(header, "should")) facts.should_retry = text(value);
  return oai_retry_judge(&facts);
}

static void test_kinds(void) {
  static const struct {
    oai_kind kind;
    const char *code;
    int status;
    bool again;
  } rows[] = {{OAI_NETWORK, "connect", 0, true},
              {OAI_NETWORK, "connection_reset", 0, true},
              {OAI_NETWORK, "tls", 0, false},
              {OAI_RATE_LIMIT, "", 429, true},
              {OAI_QUOTA, "insufficient_quota", 429, false},
              {OAI_CONFLICT, "", 409, true},
              {OAI_SERVER, "", 500, true},
              {OAI_OVERLOADED, "", 503, true},
              {OAI_TIMEOUT, "", 408, true},
              {OAI_INVALID_REQUEST, "", 400, false},
              {OAI_INVALID_REQUEST, "", 425, true},
              {OAI_AUTHENTICATION, "", 401, false},
              {OAI_NOT_FOUND, "", 404, false},
              {OAI_CONTEXT_LENGTH, "", 400, false},
              {OAI_CONTENT_FILTER, "", 400, false},
              {OAI_CANCELED, "", 0, false},
              {OAI_TOO_LARGE, "", 0, false},
              {OAI_PROTOCOL, "malformed_event", 200, false},
              {OAI_INCOMPLETE_STREAM, "stream_interrupted", 200, true}};
  TEST("rows 4, 28, 29, 35: tries again what another attempt may change, and "
       "nothing else");
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
    CHECK(judge(rows[i].kind, rows[i].code, rows[i].status, NULL, NULL).again ==
          rows[i].again);
  TEST("row 30: believes x-should-retry, but not where nothing can change");
  CHECK(judge(OAI_INVALID_REQUEST, "", 400, "should", "true").again);
  CHECK(!judge(OAI_SERVER, "", 500, "should", " false ").again);
  CHECK(!judge(OAI_QUOTA, "", 429, "should", "true").again);
  CHECK(judge(OAI_SERVER, "", 500, "should", "perhaps").again);
}

static void test_waits(void) {
  TEST("rows 31, 32: waits as long as the server asks, by the finest header");
  CHECK(judge(OAI_RATE_LIMIT, "", 429, "ms", "1500").wait == 1.5);
  CHECK(judge(OAI_RATE_LIMIT, "", 429, "after", "7").wait == 7);
  CHECK(judge(OAI_RATE_LIMIT, "", 429, "after", "0.25").wait == 0.25);
  CHECK(judge(OAI_RATE_LIMIT, "", 429, "after", "Sun, 06 Nov 1994 08:50:07 GMT")
            .wait == 30);
  CHECK(judge(OAI_RATE_LIMIT, "", 429, "after", "Sun, 06 Nov 1994 08:00:00 GMT")
            .wait == 0.5);
  TEST("row 34: gives up when that is more than a minute, and says how long");
  oai_retry r = judge(OAI_RATE_LIMIT, "", 429, "after", "61");
  CHECK(!r.again && r.asked == 61);
  TEST("row 33: takes a value that is none for no value");
  static const char *const bad[] = {"",
                                    "soon",
                                    "-1",
                                    "1e9",
                                    "1 2",
                                    "0x5",
                                    "1.2.3",
                                    "NaN",
                                    "Sun, 06 Nov 1994 28:50:07 GMT",
                                    "Sun, 06 Xxx 1994 08:50:07 GMT",
                                    "Sunday, 06-Nov-94 08:49:37 GMT"};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    r = judge(OAI_SERVER, "", 500, "after", bad[i]);
    CHECK(r.again && r.asked < 0 && r.wait == 0.5);
  }
  TEST("row 1: doubles its own pauses up to eight seconds, with some chance in "
       "them");
  oai_failure f;
  oai_failure_set(&f, OAI_SERVER, "");
  oai_retry_facts facts = {0};
  facts.failure = &f;
  static const double pauses[] = {0.5, 1, 2, 4, 8, 8, 8};
  for (int i = 0; i < 7; i++) {
    facts.attempts = i + 1;
    facts.dice = 1;
    CHECK(oai_retry_judge(&facts).wait == pauses[i]);
    facts.dice = 0;
    CHECK(oai_retry_judge(&facts).wait == pauses[i] * 0.75);
  }
  facts.attempts = 1000;
  CHECK(oai_retry_judge(&facts).wait == 6);
}

static void test_nevers(void) {
  oai_failure f;
  oai_retry_facts facts = {0};
  facts.failure = &f;
  facts.attempts = 1;
  TEST("row 8: never tries again after content, nor past the deadline");
  oai_failure_set(&f, OAI_INCOMPLETE_STREAM, "stream_interrupted");
  facts.content = true;
  CHECK(!oai_retry_judge(&facts).again);
  facts.should_retry = text("true");
  CHECK(!oai_retry_judge(&facts).again);
  facts.content = false;
  oai_failure_set(&f, OAI_TIMEOUT, "timeout");
  f.phase = OAI_PHASE_TOTAL;
  CHECK(!oai_retry_judge(&facts).again);
  TEST("row 97: repeats a request that the server may have taken only as one");
  facts.should_retry = text(NULL);
  f.phase = OAI_PHASE_CONNECT;
  CHECK(oai_retry_judge(&facts).again);
  for (int phase = OAI_PHASE_FIRST_BYTE; phase <= OAI_PHASE_ATTEMPT; phase++) {
    f.phase = (oai_phase)phase;
    facts.idempotent = false;
    CHECK(!oai_retry_judge(&facts).again);
    facts.idempotent = true;
    CHECK(oai_retry_judge(&facts).again);
  }
}

int main(void) {
  test_kinds();
  test_waits();
  test_nevers();
  return test_report();
}
