/* scan: see scan.h. */
#include "scan.h"

#include "utf8.h"

#include <stdint.h>
#include <string.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

static bool fail(oai_scan *s, oai_scan_error error) {
  if (s->error == OAI_SCAN_OK) {
    s->error =
        error == OAI_SCAN_SYNTAX && s->p >= s->end ? OAI_SCAN_CUT : error;
  }
  return false;
}

void oai_scan_init(oai_scan *s, const char *p, size_t n, int max_depth) {
  s->start = s->p = p;
  s->end = n ? p + n : p; /* p may be NULL then */
  s->depth = 0;
  s->max_depth = max_depth;
  s->fresh = false;
  s->error = OAI_SCAN_OK;
}

static void skip_spaces(oai_scan *s) {
  const char *p = s->p, *end = s->end;
  while (p < end && (*p == ' ' || *p == '\n' || *p == '\r' || *p == '\t')) p++;
  s->p = p;
}

/* Most often there is none. */
static inline void skip_space(oai_scan *s) {
  if (s->p < s->end && (unsigned char)*s->p > ' ') return;
  skip_spaces(s);
}

/* What oai_scan_peek says of each byte that begins a value. */
static const char begins[256] = {
    ['{'] = '{', ['['] = '[', ['"'] = '"', ['t'] = 't', ['f'] = 'f',
    ['n'] = 'n', ['-'] = '0', ['0'] = '0', ['1'] = '0', ['2'] = '0',
    ['3'] = '0', ['4'] = '0', ['5'] = '0', ['6'] = '0', ['7'] = '0',
    ['8'] = '0', ['9'] = '0'};

int oai_scan_peek(oai_scan *s) {
  if (s->error != OAI_SCAN_OK) return 0;
  skip_space(s);
  return s->p < s->end ? begins[(unsigned char)*s->p] : 0;
}

bool oai_scan_open(oai_scan *s) {
  int c = oai_scan_peek(s);
  if (c != '{' && c != '[') return fail(s, OAI_SCAN_SYNTAX);
  if (s->depth >= s->max_depth) return fail(s, OAI_SCAN_DEEP);
  s->depth++;
  s->p++;
  s->fresh = true;
  return true;
}

/* After an item: a comma (and then another item), or the closing byte. */
static bool next_item(oai_scan *s, char close) {
  if (s->error != OAI_SCAN_OK) return false;
  skip_space(s);
  bool fresh = s->fresh;
  s->fresh = false;
  if (s->p < s->end && *s->p == close) {
    s->p++;
    s->depth--;
    return false;
  }
  if (fresh) return true;
  if (s->p >= s->end || *s->p != ',') return fail(s, OAI_SCAN_SYNTAX);
  s->p++;
  return true;
}

bool oai_scan_item(oai_scan *s) {
  return next_item(s, ']');
}

bool oai_scan_key(oai_scan *s, oai_scan_str *key) {
  if (!next_item(s, '}') || !oai_scan_string(s, key)) return false;
  skip_space(s);
  if (s->p >= s->end || *s->p != ':') return fail(s, OAI_SCAN_SYNTAX);
  s->p++;
  return true;
}

static int hex(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  c |= 32;
  return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* At a backslash inside a string: steps over the escape. */
static bool skip_escape(oai_scan *s) {
  if (++s->p >= s->end) return fail(s, OAI_SCAN_CUT);
  if (*s->p == 'u') {
    for (int i = 0; i < 4; i++)
      if (++s->p >= s->end || hex(*s->p) < 0) return fail(s, OAI_SCAN_SYNTAX);
  } else if (!memchr("\"\\/bfnrt", *s->p, 8)) {
    return fail(s, OAI_SCAN_SYNTAX);
  }
  s->p++;
  return true;
}

/* Which byte in memory has the lowest bit set of w; a guess from below where
 * the first byte is not the lowest. */
#if defined __BYTE_ORDER__ && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define FIRST_BYTE(w) (__builtin_ctzll(w) / 8)
#else
#define FIRST_BYTE(w) 0
#endif

/* Bytes that end a run inside a string: a quote, a backslash, a control byte.
 * Eight bytes at a time: for each byte x, (x ^ c) - 1 borrows into bit 7 only
 * where x == c, and x - 0x20 only where x < 0x20. False alarms come only from
 * bytes above 0x7f, which the mask of ~w rules out, or above a true one. */
static uint64_t special(const char *p) {
  const uint64_t ones = UINT64_C(0x0101010101010101), high = ones << 7;
  uint64_t w, quote, slash;
  memcpy(&w, p, 8);
  quote = w ^ (ones * '"');
  slash = w ^ (ones * '\\');
  return (((quote - ones) & ~quote) | ((slash - ones) & ~slash) |
          ((w - ones * 0x20) & ~w)) &
         high;
}

#ifdef __SSE2__
/* The same for 16 bytes: a bit for each byte that ends a run. */
static unsigned special16(const char *p) {
  __m128i w = _mm_loadu_si128((const __m128i *)(const void *)p);
  __m128i quote = _mm_cmpeq_epi8(w, _mm_set1_epi8('"'));
  __m128i slash = _mm_cmpeq_epi8(w, _mm_set1_epi8('\\'));
  __m128i low = _mm_cmpeq_epi8(_mm_min_epu8(w, _mm_set1_epi8(0x1F)), w);
  return (unsigned)_mm_movemask_epi8(
      _mm_or_si128(_mm_or_si128(quote, slash), low));
}
#endif

static const char *plain_run(const char *p, const char *end) {
#ifdef __SSE2__
  for (; end - p >= 16; p += 16) {
    unsigned stop = special16(p);
    if (stop) return p + __builtin_ctz(stop);
  }
#endif
  while (end - p >= 8) {
    uint64_t stop = special(p);
    if (stop) {
      p += FIRST_BYTE(stop);
      break;
    }
    p += 8;
  }
  while (p < end && *p != '"' && *p != '\\' && (unsigned char)*p >= 0x20) p++;
  return p;
}

size_t oai_scan_plain(const char *p, size_t n) {
  return n ? (size_t)(plain_run(p, p + n) - p) : 0;
}

/* At a quote. */
static bool read_string(oai_scan *s, oai_scan_str *out) {
  const char *from = ++s->p;
  bool escaped = false;
  while ((s->p = plain_run(s->p, s->end)) < s->end && *s->p == '\\') {
    escaped = true;
    if (!skip_escape(s)) return false;
  }
  if (s->p >= s->end || *s->p != '"') return fail(s, OAI_SCAN_SYNTAX);
  out->p = from;
  out->n = (size_t)(s->p - from);
  out->escaped = escaped;
  s->p++;
  return true;
}

bool oai_scan_string(oai_scan *s, oai_scan_str *out) {
  if (oai_scan_peek(s) != '"') return fail(s, OAI_SCAN_SYNTAX);
  return read_string(s, out);
}

static bool digits(oai_scan *s) {
  const char *from = s->p;
  while (s->p < s->end && *s->p >= '0' && *s->p <= '9') s->p++;
  return s->p > from || fail(s, OAI_SCAN_SYNTAX);
}

/* The power of ten of a number's first digit that is not 0. */
static long first_power(const char *p, const char *end) {
  const char *point;
  if (*p == '-') p++;
  for (point = p; point < end && *point >= '0' && *point <= '9';) point++;
  while (p < end && (*p == '0' || *p == '.')) p++;
  return p < point ? (long)(point - p) - 1 : (long)(point - p);
}

/* The exponent, at its sign or first digit; huge ones stay huge. */
static long exponent(const char *p, const char *end) {
  long value = 0;
  bool negative = *p == '-';
  if (*p == '-' || *p == '+') p++;
  for (; p < end && value < 100000000; p++) value = value * 10 + (*p - '0');
  return negative ? -value : value;
}

bool oai_scan_number(oai_scan *s, oai_scan_num *out) {
  if (oai_scan_peek(s) != '0') return fail(s, OAI_SCAN_SYNTAX);
  const char *from = s->p;
  out->integer = true;
  if (*s->p == '-') s->p++;
  if (s->p < s->end && *s->p == '0')
    s->p++;
  else if (!digits(s))
    return false;
  if (s->p < s->end && *s->p == '.') {
    out->integer = false;
    s->p++;
    if (!digits(s)) return false;
  }
  if (s->p < s->end && (*s->p == 'e' || *s->p == 'E')) {
    const char *mark = s->p++;
    out->integer = false;
    if (s->p < s->end && (*s->p == '+' || *s->p == '-')) s->p++;
    if (!digits(s)) return false;
    /* no double holds 1e400, and an infinity must not pass for a number */
    if (first_power(from, mark) + exponent(mark + 1, s->p) > 308 &&
        strspn(from, "-0.") < (size_t)(mark - from))
      return fail(s, OAI_SCAN_RANGE);
  }
  /* "01" and "1x": whatever follows must not belong to a number */
  if (s->p < s->end && *s->p >= '0' && *s->p <= '9')
    return fail(s, OAI_SCAN_SYNTAX);
  out->p = from;
  out->n = (size_t)(s->p - from);
  return true;
}

bool oai_scan_literal(oai_scan *s) {
  int c = oai_scan_peek(s);
  const char *word = c == 't' ? "true" : c == 'f' ? "false" : "null";
  if (c != 't' && c != 'f' && c != 'n') return fail(s, OAI_SCAN_SYNTAX);
  for (; *word; word++, s->p++)
    if (s->p >= s->end || *s->p != *word) return fail(s, OAI_SCAN_SYNTAX);
  return true;
}

bool oai_scan_skip(oai_scan *s, oai_slice *raw) {
  oai_scan_str text;
  oai_scan_num number;
  int c = oai_scan_peek(s);
  const char *from = s->p;
  bool ok;
  switch (c) {
  case '{':
    /* max_depth bounds the recursion. */
    ok = oai_scan_open(s);
    while (ok && oai_scan_key(s, &text)) ok = oai_scan_skip(s, NULL);
    ok = s->error == OAI_SCAN_OK;
    break;
  case '[':
    ok = oai_scan_open(s);
    while (ok && oai_scan_item(s)) ok = oai_scan_skip(s, NULL);
    ok = s->error == OAI_SCAN_OK;
    break;
  case '"': ok = read_string(s, &text); break;
  case '0': ok = oai_scan_number(s, &number); break;
  default: ok = oai_scan_literal(s);
  }
  if (ok && raw) {
    raw->p = from;
    raw->n = (size_t)(s->p - from);
  }
  return ok;
}

bool oai_scan_finish(oai_scan *s) {
  if (s->error != OAI_SCAN_OK) return false;
  skip_space(s);
  return s->p == s->end || fail(s, OAI_SCAN_SYNTAX);
}

static unsigned read_hex4(const char *p) {
  return (unsigned)(hex(p[0]) << 12 | hex(p[1]) << 8 | hex(p[2]) << 4 |
                    hex(p[3]));
}

enum { REPLACEMENT = 0xFFFD };

/* A \u escape; a high surrogate waits in *high for its low half. */
static char *put_unit(char *o, unsigned unit, unsigned *high) {
  if (unit >= 0xDC00 && unit <= 0xDFFF) {
    unsigned code = REPLACEMENT;
    if (*high) code = 0x10000 + ((*high - 0xD800) << 10) + (unit - 0xDC00);
    *high = 0;
    return o + oai_utf8_put(o, code);
  }
  if (*high) o += oai_utf8_put(o, REPLACEMENT);
  *high = unit >= 0xD800 && unit <= 0xDBFF ? unit : 0;
  return *high ? o : o + oai_utf8_put(o, unit);
}

static char simple_escape(char c) {
  switch (c) {
  case 'n': return '\n';
  case 't': return '\t';
  case 'r': return '\r';
  case 'b': return '\b';
  case 'f': return '\f';
  default: return c;
  }
}

size_t oai_scan_unescape(const oai_scan_str *str, char *out, unsigned *high) {
  unsigned alone = 0;
  unsigned *carry = high ? high : &alone;
  const char *p = str->p, *end = p + str->n;
  char *o = out;
  while (p < end) {
    if (*p == '\\' && p[1] == 'u') {
      o = put_unit(o, read_hex4(p + 2), carry);
      p += 6;
      continue;
    }
    if (*carry) {
      o += oai_utf8_put(o, REPLACEMENT);
      *carry = 0;
    }
    if (*p == '\\') {
      *o++ = simple_escape(p[1]);
      p += 2;
      continue;
    }
    const char *slash = memchr(p, '\\', (size_t)(end - p));
    size_t run = (size_t)((slash ? slash : end) - p);
    memcpy(o, p, run);
    o += run;
    p += run;
  }
  if (!high && alone) o += oai_utf8_put(o, REPLACEMENT);
  return (size_t)(o - out);
}

/* One character at a time: names may be long. */
bool oai_scan_escaped_is(const oai_scan_str *str, const char *text) {
  const char *p = str->p, *end = p + str->n;
  for (; *text; text++) {
    oai_scan_str one = {p, 1, true};
    char c[8];
    if (p == end) return false;
    if (*p == '\\') one.n = p[1] == 'u' ? 6 : 2;
    if (oai_scan_unescape(&one, c, NULL) != 1 || *c != *text) return false;
    p += one.n;
  }
  return p == end;
}
