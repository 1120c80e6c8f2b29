/* utf8: see utf8.h. */
#include "utf8.h"

#include <stdint.h>
#include <string.h>

/* Which byte in memory has the lowest bit set of w; a guess from below where
 * the first byte is not the lowest. */
#if defined __BYTE_ORDER__ && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define FIRST_BYTE(w) (__builtin_ctzll(w) / 8)
#else
#define FIRST_BYTE(w) 0
#endif

static const uint64_t high_bits = UINT64_C(0x8080808080808080);

static size_t ascii_run(const char *p, size_t n) {
  size_t i = 0;
  uint64_t w, four[4];
  for (; i + 32 <= n; i += 32) {
    memcpy(four, p + i, 32);
    if ((four[0] | four[1] | four[2] | four[3]) & high_bits) break;
  }
  for (; i + 8 <= n; i += 8) {
    memcpy(&w, p + i, 8);
    if (w & high_bits) {
      i += FIRST_BYTE(w & high_bits);
      break;
    }
  }
  if (i + 8 > n && n >= 8) { /* the last eight bytes, some for a second time */
    memcpy(&w, p + n - 8, 8);
    if (!(w & high_bits)) return n;
  }
  while (i < n && (unsigned char)p[i] < 0x80) i++;
  return i;
}

/* Length of the sequence that starts at p, or 0 when it is ill-formed; then
 * *bad says how many bytes make the maximal ill-formed subpart. */
static size_t sequence(const unsigned char *p, size_t n, size_t *bad) {
  unsigned char c = p[0], low = 0x80, high = 0xBF;
  size_t need;
  *bad = 1;
  if (c >= 0xC2 && c <= 0xDF)
    need = 2;
  else if (c >= 0xE0 && c <= 0xEF)
    need = 3;
  else if (c >= 0xF0 && c <= 0xF4)
    need = 4;
  else
    return 0;
  if (c == 0xE0) low = 0xA0;
  if (c == 0xED) high = 0x9F;
  if (c == 0xF0) low = 0x90;
  if (c == 0xF4) high = 0x8F;
  for (size_t i = 1; i < need; i++) {
    if (i >= n || p[i] < low || p[i] > high) {
      *bad = i;
      return 0;
    }
    low = 0x80;
    high = 0xBF;
  }
  return need;
}

bool oai_utf8_begins(const char *p, size_t n) {
  const unsigned char *bytes = (const unsigned char *)p;
  size_t bad;
  return n > 0 && n < 4 && bytes[0] >= 0xC2 && bytes[0] <= 0xF4 &&
         sequence(bytes, n, &bad) == 0 && bad == n;
}

/* sequence() for the plain cases, which are most: 0 says to ask it. */
static size_t common_sequence(const unsigned char *p, size_t n) {
  unsigned char c = p[0];
  if (n < 3 || (p[1] & 0xC0) != 0x80) return 0;
  if (c >= 0xC2 && c <= 0xDF) return 2;
  if (c > 0xE0 && c < 0xF0 && c != 0xED && (p[2] & 0xC0) == 0x80) return 3;
  return 0;
}

size_t oai_utf8_valid(const char *p, size_t n) {
  const unsigned char *u = (const unsigned char *)p;
  size_t i = 0, bad;
  if (n == 0) return 0; /* p may be NULL then */
  while ((i += ascii_run(p + i, n - i)) < n) {
    do {
      size_t length = common_sequence(u + i, n - i);
      if (!length) length = sequence(u + i, n - i, &bad);
      if (!length) return i;
      i += length;
    } while (i < n && u[i] >= 0x80);
  }
  return n;
}

oai_buf_status oai_utf8_repair(oai_buf *out, const char *p, size_t n) {
  while (n) {
    size_t good = oai_utf8_valid(p, n), bad = 0;
    oai_buf_status status = oai_buf_append(out, p, good);
    if (status != OAI_BUF_OK) return status;
    if (good < n) {
      sequence((const unsigned char *)p + good, n - good, &bad);
      status = oai_buf_append(out, "\xEF\xBF\xBD", 3);
      if (status != OAI_BUF_OK) return status;
    }
    p += good + bad;
    n -= good + bad;
  }
  return OAI_BUF_OK;
}

size_t oai_utf8_put(char *out, unsigned code) {
  unsigned char *o = (unsigned char *)out;
  if (code < 0x80) {
    o[0] = (unsigned char)code;
    return 1;
  }
  if (code < 0x800) {
    o[0] = (unsigned char)(0xC0 | code >> 6);
    o[1] = (unsigned char)(0x80 | (code & 63));
    return 2;
  }
  if (code < 0x10000) {
    o[0] = (unsigned char)(0xE0 | code >> 12);
    o[1] = (unsigned char)(0x80 | (code >> 6 & 63));
    o[2] = (unsigned char)(0x80 | (code & 63));
    return 3;
  }
  o[0] = (unsigned char)(0xF0 | code >> 18);
  o[1] = (unsigned char)(0x80 | (code >> 12 & 63));
  o[2] = (unsigned char)(0x80 | (code >> 6 & 63));
  o[3] = (unsigned char)(0x80 | (code & 63));
  return 4;
}
