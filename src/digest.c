/* digest: see digest.h. */
#include "digest.h"

#include <stdint.h>
#include <string.h>

size_t oai_base64_size(size_t n) {
  return (n + 2) / 3 * 4;
}

void oai_base64(char *out, const char *p, size_t n) {
  static const char digits[] =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  const unsigned char *in = (const unsigned char *)p;
  for (; n >= 3; in += 3, n -= 3) {
    *out++ = digits[in[0] >> 2];
    *out++ = digits[(in[0] & 3) << 4 | in[1] >> 4];
    *out++ = digits[(in[1] & 15) << 2 | in[2] >> 6];
    *out++ = digits[in[2] & 63];
  }
  if (!n) return;
  *out++ = digits[in[0] >> 2];
  *out++ = digits[(in[0] & 3) << 4 | (n > 1 ? in[1] >> 4 : 0)];
  *out++ = n > 1 ? digits[(in[1] & 15) << 2] : '=';
  *out++ = '=';
}

/* 0 to 63; 64: no digit. */
static unsigned value_of(char c) {
  if (c >= 'A' && c <= 'Z') return (unsigned)(c - 'A');
  if (c >= 'a' && c <= 'z') return (unsigned)(c - 'a') + 26;
  if (c >= '0' && c <= '9') return (unsigned)(c - '0') + 52;
  return c == '+' ? 62 : c == '/' ? 63 : 64;
}

bool oai_base64_decode(char *out, size_t *got, const char *p, size_t n) {
  size_t bytes = n / 4 * 3;
  if (n % 4) return false;
  size_t pad = !n || p[n - 1] != '=' ? 0 : p[n - 2] == '=' ? 2 : 1;
  uint32_t bits = 0, seen = 0;
  for (size_t i = 0; i < n; i++) {
    unsigned v = i < n - pad ? value_of(p[i]) : 0;
    seen |= v;
    bits = bits << 6 | (v & 63);
    if (i % 4 < 3) continue;
    size_t last = i + 1 == n ? pad : 0;
    if (last && bits & ((1u << 8 * last) - 1)) return false;
    for (size_t k = 0; k < 3 - last; k++)
      *out++ = (char)(bits >> (16 - 8 * k) & 255);
    bits = 0;
  }
  *got = bytes - pad;
  return seen < 64;
}

/* ---- SHA-256 ------------------------------------------------------------ */

typedef struct sha256 {
  uint32_t h[8];
  unsigned char block[64];
  uint64_t n; /* bytes so far */
} sha256;

static uint32_t rotate(uint32_t x, int n) {
  return x >> n | x << (32 - n);
}

static void mix(uint32_t h[8], const uint32_t w[64]) {
  static const uint32_t k[64] = {
      0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1,
      0x923f82a4, 0xab1c5ed5, 0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3,
      0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786,
      0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
      0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147,
      0x06ca6351, 0x14292967, 0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13,
      0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85, 0xa2bfe8a1, 0xa81a664b,
      0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
      0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a,
      0x5b9cca4f, 0x682e6ff3, 0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208,
      0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};
  uint32_t s[8];
  memcpy(s, h, sizeof s);
  for (int i = 0; i < 64; i++) {
    uint32_t e = s[4], a = s[0];
    uint32_t t1 = s[7] + (rotate(e, 6) ^ rotate(e, 11) ^ rotate(e, 25)) +
                  ((e & s[5]) ^ (~e & s[6])) + k[i] + w[i];
    uint32_t t2 = (rotate(a, 2) ^ rotate(a, 13) ^ rotate(a, 22)) +
                  ((a & s[1]) ^ (a & s[2]) ^ (s[1] & s[2]));
    memmove(s + 1, s, 7 * sizeof *s);
    s[4] += t1;
    s[0] = t1 + t2;
  }
  for (int i = 0; i < 8; i++) h[i] += s[i];
}

static void take_block(uint32_t h[8], const unsigned char *p) {
  uint32_t w[64];
  for (int i = 0; i < 16; i++, p += 4)
    w[i] = (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 |
           p[3];
  for (int i = 16; i < 64; i++) {
    uint32_t a = w[i - 15], b = w[i - 2];
    w[i] = w[i - 16] + (rotate(a, 7) ^ rotate(a, 18) ^ a >> 3) + w[i - 7] +
           (rotate(b, 17) ^ rotate(b, 19) ^ b >> 10);
  }
  mix(h, w);
}

static void sha256_start(sha256 *s) {
  static const uint32_t first[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372,
                                    0xa54ff53a, 0x510e527f, 0x9b05688c,
                                    0x1f83d9ab, 0x5be0cd19};
  memcpy(s->h, first, sizeof first);
  s->n = 0;
}

static void sha256_add(sha256 *s, const void *bytes, size_t n) {
  const unsigned char *p = bytes;
  while (n) {
    size_t at = s->n % 64, room = 64 - at < n ? 64 - at : n;
    memcpy(s->block + at, p, room);
    s->n += room;
    p += room;
    n -= room;
    if (s->n % 64 == 0) take_block(s->h, s->block);
  }
}

static void sha256_end(sha256 *s, unsigned char out[OAI_SHA256_SIZE]) {
  static const unsigned char pad[64] = {0x80};
  unsigned char length[8];
  uint64_t bits = s->n * 8;
  for (int i = 0; i < 8; i++) length[i] = (unsigned char)(bits >> (56 - 8 * i));
  sha256_add(s, pad, 1 + (119 - s->n % 64) % 64);
  sha256_add(s, length, sizeof length);
  for (int i = 0; i < OAI_SHA256_SIZE; i++)
    out[i] = (unsigned char)(s->h[i / 4] >> (24 - 8 * (i % 4)));
}

void oai_sha256(unsigned char out[OAI_SHA256_SIZE], const char *p, size_t n) {
  sha256 s;
  sha256_start(&s);
  if (n) sha256_add(&s, p, n);
  sha256_end(&s, out);
}

void oai_hmac_sha256(unsigned char out[OAI_SHA256_SIZE], const char *key,
                     size_t key_n, const char *p, size_t n) {
  unsigned char pad[64] = {0}, inner[OAI_SHA256_SIZE];
  sha256 s;
  if (key_n > sizeof pad)
    oai_sha256(pad, key, key_n);
  else if (key_n)
    memcpy(pad, key, key_n);
  for (size_t i = 0; i < sizeof pad; i++) pad[i] ^= 0x36;
  sha256_start(&s);
  sha256_add(&s, pad, sizeof pad);
  if (n) sha256_add(&s, p, n);
  sha256_end(&s, inner);
  for (size_t i = 0; i < sizeof pad; i++) pad[i] ^= 0x36 ^ 0x5c;
  sha256_start(&s);
  sha256_add(&s, pad, sizeof pad);
  sha256_add(&s, inner, sizeof inner);
  sha256_end(&s, out);
}

/* ---- SHA-1 -------------------------------------------------------------- */

static void mix_sha1(uint32_t h[5], const unsigned char *p) {
  uint32_t w[80], s[5];
  memcpy(s, h, sizeof s);
  for (int i = 0; i < 16; i++, p += 4)
    w[i] = (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 |
           p[3];
  for (int i = 16; i < 80; i++) /* rotate turns right */
    w[i] = rotate(w[i - 3] ^ w[i - 8] ^ w[i - 14] ^ w[i - 16], 31);
  for (int i = 0; i < 80; i++) {
    uint32_t b = s[1], c = s[2], d = s[3];
    uint32_t f = i < 20   ? ((b & c) | (~b & d)) + 0x5a827999
                 : i < 40 ? (b ^ c ^ d) + 0x6ed9eba1
                 : i < 60 ? ((b & c) | (b & d) | (c & d)) + 0x8f1bbcdc
                          : (b ^ c ^ d) + 0xca62c1d6;
    uint32_t t = rotate(s[0], 27) + f + s[4] + w[i];
    memmove(s + 1, s, 4 * sizeof *s);
    s[2] = rotate(b, 2);
    s[0] = t;
  }
  for (int i = 0; i < 5; i++) h[i] += s[i];
}

void oai_sha1(unsigned char out[OAI_SHA1_SIZE], const char *p, size_t n) {
  uint32_t h[5] = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0};
  unsigned char last[128] = {0};
  size_t rest = n % 64, size = rest < 56 ? 64 : 128;
  uint64_t bits = (uint64_t)n * 8;
  for (size_t i = 0; i + 64 <= n; i += 64)
    mix_sha1(h, (const unsigned char *)p + i);
  if (rest) memcpy(last, p + (n - rest), rest);
  last[rest] = 0x80;
  for (size_t i = 0; i < 8; i++)
    last[size - 1 - i] = (unsigned char)(bits >> (8 * i));
  for (size_t i = 0; i < size; i += 64) mix_sha1(h, last + i);
  for (int i = 0; i < OAI_SHA1_SIZE; i++)
    out[i] = (unsigned char)(h[i / 4] >> (24 - 8 * (i % 4)));
}
