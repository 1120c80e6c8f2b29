/* retry: see retry.h. */
#include "retry.h"

#include <ctype.h>
#include <math.h>
#include <string.h>

static double read_number(oai_slice s) {
  double value = 0, unit = 1;
  size_t i = 0, digits = 0;
  for (; i < s.n && isdigit((unsigned char)s.p[i]); i++, digits++)
    value = value * 10 + (s.p[i] - '0');
  if (i < s.n && s.p[i] == '.')
    for (i++; i < s.n && isdigit((unsigned char)s.p[i]); i++, digits++)
      value += (s.p[i] - '0') * (unit /= 10);
  return digits && i == s.n && value < 1e12 ? value : -1;
}

/* ---- HTTP dates --------------------------------------------------------- */

/* Days since 1970 of a date of the Gregorian calendar. */
static long days_of(long y, int month, int day) {
  y -= month <= 2;
  long era = (y >= 0 ? y : y - 399) / 400;
  long yoe = y - era * 400;
  long doy = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
  return era * 146097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719468;
}

static int two_digits(const char *p) {
  if (!isdigit((unsigned char)p[0]) || !isdigit((unsigned char)p[1])) return -1;
  return (p[0] - '0') * 10 + (p[1] - '0');
}

static int month_of(const char *p) {
  static const char names[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
  for (int i = 0; i < 12; i++)
    if (memcmp(names + 3 * i, p, 3) == 0) return i + 1;
  return 0;
}

/* IMF-fixdate alone: "Sun, 06 Nov 1994 08:49:37 GMT". */
static double read_date(oai_slice s) {
  static const char shape[] = "aaa, dd aaa dddd dd:dd:dd GMT";
  if (s.n != sizeof shape - 1) return -1;
  for (size_t i = 0; i < s.n; i++) {
    unsigned char c = (unsigned char)s.p[i];
    if (shape[i] == 'a'   ? !isalpha(c)
        : shape[i] == 'd' ? !isdigit(c)
                          : c != (unsigned char)shape[i])
      return -1;
  }
  int month = month_of(s.p + 8), day = two_digits(s.p + 5);
  int hour = two_digits(s.p + 17), minute = two_digits(s.p + 20);
  int second = two_digits(s.p + 23);
  long year = two_digits(s.p + 12) * 100L + two_digits(s.p + 14);
  if (!month || day < 1 || day > 31 || hour > 23 || minute > 59 || second > 60)
    return -1;
  return days_of(year, month, day) * 86400.0 + hour * 3600 + minute * 60 +
         second;
}

static oai_slice trimmed(oai_slice s) {
  while (s.n && (*s.p == ' ' || *s.p == '\t')) s.p++, s.n--;
  while (s.n && (s.p[s.n - 1] == ' ' || s.p[s.n - 1] == '\t')) s.n--;
  return s;
}

double oai_retry_after(oai_slice value, double now) {
  if (!value.p) return -1;
  oai_slice text = trimmed(value);
  double seconds = read_number(text);
  if (seconds >= 0) return seconds;
  double at = read_date(text);
  return at > now ? at - now : -1;
}

/* ---- the verdict -------------------------------------------------------- */

static double asked_for(const oai_retry_facts *f) {
  double ms =
      f->retry_after_ms.p ? read_number(trimmed(f->retry_after_ms)) : -1;
  return ms >= 0 ? ms / 1000 : oai_retry_after(f->retry_after, f->now);
}

/* What another attempt cannot change, whatever a header says. */
static bool hopeless(const oai_failure *f) {
  switch (f->kind) {
  case OAI_QUOTA:
  case OAI_CONTEXT_LENGTH:
  case OAI_CONTENT_FILTER:
  case OAI_CANCELED:
  case OAI_CONFIG:
  case OAI_STORAGE:
  case OAI_NOMEM:
  case OAI_TOO_LARGE:
  case OAI_TOOL: return true;
  default: return f->phase == OAI_PHASE_TOTAL;
  }
}

static bool worth_it(const oai_retry_facts *f) {
  const oai_failure *failure = f->failure;
  if (f->content || hopeless(failure)) return false;
  if (f->should_retry.p && oai_slice_is(trimmed(f->should_retry), "true"))
    return true;
  if (f->should_retry.p && oai_slice_is(trimmed(f->should_retry), "false"))
    return false;
  if (failure->kind == OAI_TIMEOUT && failure->phase != OAI_PHASE_NONE &&
      failure->phase != OAI_PHASE_CONNECT)
    return f->idempotent;
  return oai_failure_retryable(failure);
}

oai_retry oai_retry_judge(const oai_retry_facts *f) {
  oai_retry r = {false, 0, asked_for(f)};
  if (!worth_it(f) || r.asked > OAI_RETRY_ASKED_MAX) return r;
  r.again = true;
  r.wait = r.asked;
  if (r.asked < 0) {
    double backoff = f->attempts > 5 ? 8 : 0.5 * (1 << (f->attempts - 1));
    r.wait = fmin(backoff, 8) * (0.75 + 0.25 * f->dice);
  }
  return r;
}
