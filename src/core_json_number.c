/* core_json_number: doubles from and to decimal text, exactly. Calls no Lua.
 * strtod and snprintf do the hard cases; neither sees or shows a decimal point
 * here, since which byte that is depends on the locale. */
#include "core_json.h"

#include <float.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A number that was read: digits * 10^exponent. */
typedef struct parts {
  uint64_t digits; /* right only if count <= 19 */
  size_t count;    /* digits from the first that is not zero */
  long exponent;
} parts;

static long read_exponent(const char *p, const char *end) {
  long e = 0;
  bool minus = p < end && *p == '-';
  if (p < end && (*p == '-' || *p == '+')) p++;
  for (; p < end && e < 100000000; p++) e = e * 10 + (*p - '0');
  return minus ? -e : e;
}

/* Digits go to text too, unless it is NULL; it ends as "123e-5". */
static parts take_apart(const char *p, const char *end, char *text) {
  parts d = {0, 0, 0};
  bool point = false;
  for (; p < end && *p != 'e' && *p != 'E'; p++) {
    if (*p == '.') {
      point = true;
      continue;
    }
    if (d.count || *p != '0') d.count++;
    if (text) *text++ = *p;
    if (point) d.exponent--;
    if (d.count <= 19) d.digits = d.digits * 10 + (uint64_t)(*p - '0');
  }
  if (p < end) d.exponent += read_exponent(p + 1, end);
  if (text) snprintf(text, OAI_JSON_NUMBER, "e%ld", d.exponent);
  return d;
}

static const double powers[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                1e8,  1e9,  1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
                                1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};

/* Where digits and power of ten are exact doubles, one operation is correctly
 * rounded (Clinger 1990). */
double oai_json_read_double(const char *p, size_t n, char *room) {
  parts d = take_apart(p + (*p == '-'), p + n, NULL);
  double v = (double)d.digits;
  if (FLT_EVAL_METHOD != 0 || d.count > 19 || d.digits > UINT64_C(1) << 53 ||
      d.exponent < -22 || d.exponent > 22) {
    take_apart(p + (*p == '-'), p + n, room);
    v = strtod(room, NULL);
  } else {
    v = d.exponent < 0 ? v / powers[-d.exponent] : v * powers[d.exponent];
  }
  return *p == '-' ? -v : v;
}

/* A positive double as digits * 10^exponent, no zero at the digits' end. */
typedef struct decimal {
  char digits[24];
  int n, exponent;
} decimal;

static void set_digits(decimal *d, uint64_t v, int exponent) {
  d->n = snprintf(d->digits, sizeof d->digits, "%llu", (unsigned long long)v);
  d->exponent = exponent;
}

/* For 1e-7 <= v < 1e15. Most numbers that people write have at most 15 digits.
 * Of those only one reads back as v, and v * 10^k rounds to it; the division is
 * the proof, as it is exact for such digits and k <= 22. */
static bool few_digits(double v, decimal *d) {
  double power = 10;
  for (int k = 1; k <= 22 && v * power < 1e15; k++, power *= 10) {
    uint64_t digits = (uint64_t)(v * power + 0.5);
    if ((double)digits / power == v) {
      set_digits(d, digits, -k);
      return true;
    }
  }
  return false;
}

static bool reads_back(const decimal *d, double v) {
  char text[48];
  memcpy(text, d->digits, (size_t)d->n);
  snprintf(text + d->n, sizeof text - (size_t)d->n, "e%d", d->exponent);
  return strtod(text, NULL) == v;
}

static void take_digits(decimal *d, double v, int precision) {
  char text[48], *p;
  snprintf(text, sizeof text, "%.*e", precision - 1, v);
  for (d->n = 0, p = text; *p != 'e'; p++)
    if (*p >= '0' && *p <= '9') d->digits[d->n++] = *p;
  d->digits[d->n] = 0;
  d->exponent = (int)strtol(p + 1, NULL, 10) - (precision - 1);
}

/* 17 digits always do, often 16: the nearest ones, or the next ones up where
 * the nearest lie below a power of two, on its narrow side. */
static void many_digits(double v, decimal *d) {
  int two;
  decimal shorter;
  take_digits(d, v, 17);
  uint64_t digits = strtoull(d->digits, NULL, 10), up = digits / 10 + 1;
  int last = (int)(digits % 10);
  if (last == 5)
    take_digits(&shorter, v, 16);
  else
    set_digits(&shorter, last > 5 ? up : up - 1, d->exponent + 1);
  if (!reads_back(&shorter, v)) {
    if (frexp(v, &two) != 0.5) return;
    set_digits(&shorter, up, d->exponent + 1);
    if (!reads_back(&shorter, v)) return;
  }
  *d = shorter;
}

/* At most 15 digits, where few_digits does not look. */
static bool some_digits(double v, decimal *d) {
  for (int n = v < DBL_MIN ? 1 : DBL_DIG; n <= DBL_DIG; n++) {
    take_digits(d, v, n);
    if (reads_back(d, v)) return true;
  }
  return false;
}

/* The shortest digits that read back as v, and of these the nearest to it. */
static void shortest(double v, decimal *d) {
  bool usual = FLT_EVAL_METHOD == 0 && v >= 1e-7 && v < 1e15;
  if (!(usual ? few_digits(v, d) : some_digits(v, d))) many_digits(v, d);
  while (d->n > 1 && d->digits[d->n - 1] == '0') {
    d->n--;
    d->exponent++;
  }
}

/* The point goes before digits[point]. Plain from 1e-6 to 2^53, beyond with an
 * exponent, as in JavaScript. An integral v is never plain here. */
static size_t write_decimal(const decimal *d, char *o) {
  int point = d->n + d->exponent;
  if (d->exponent < 0 && point > 0)
    return (size_t)snprintf(o, OAI_JSON_NUMBER, "%.*s.%.*s", point, d->digits,
                            d->n - point, d->digits + point);
  if (point <= 0 && point > -6)
    return (size_t)snprintf(o, OAI_JSON_NUMBER, "0.%.*s%.*s", -point, "00000",
                            d->n, d->digits);
  return (size_t)snprintf(o, OAI_JSON_NUMBER, "%c%s%.*se%d", d->digits[0],
                          d->n > 1 ? "." : "", d->n - 1, d->digits + 1,
                          point - 1);
}

size_t oai_json_write_double(double v, char *room) {
  decimal d;
  size_t minus = signbit(v) ? 1 : 0;
  if (minus) {
    *room = '-';
    v = -v;
  }
  shortest(v, &d);
  return minus + write_decimal(&d, room + minus);
}
