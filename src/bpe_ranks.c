/* bpe_ranks: reads a .tiktoken file, "base64 rank" a line, into the tables of
 * an encoder. */
#include "bpe_internal.h"
#include "digest.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

uint64_t oai_bpe_hash(const char *p, size_t n) {
  const uint64_t odd = 0x9E3779B97F4A7C15u;
  uint64_t h = n * odd, w;
  for (; n >= 8; p += 8, n -= 8) {
    memcpy(&w, p, 8);
    h = (h ^ w) * odd;
    h ^= h >> 32;
  }
  if (n >= 4) {
    uint32_t low, high;
    memcpy(&low, p, 4);
    memcpy(&high, p + n - 4, 4);
    w = (uint64_t)high << 32 | low;
  } else {
    const unsigned char *u = (const unsigned char *)p;
    w = n ? (uint64_t)u[0] | u[n / 2] << 8 | u[n - 1] << 16 : 0;
  }
  h = (h ^ w) * odd;
  h ^= h >> 29;
  h *= 0xBF58476D1CE4E5B9u;
  return h ^ h >> 32;
}

/* The slot of these bytes, or the free one where they belong. */
static oai_bpe_slot *find(const oai_bpe *b, const char *p, size_t n,
                          uint64_t hash) {
  uint32_t tag = (uint32_t)(hash >> 32);
  size_t i = (size_t)hash & b->mask;
  for (; b->slots[i].n; i = (i + 1) & b->mask) {
    const oai_bpe_slot *slot = &b->slots[i];
    if (slot->tag == tag && slot->n == n &&
        memcmp(b->pool + slot->at, p, n) == 0)
      break;
  }
  return &b->slots[i];
}

uint32_t oai_bpe_rank(const oai_bpe *b, const char *p, size_t n) {
  if (n == 1) return b->byte[(unsigned char)*p];
  if (n == 2) return b->pair[(unsigned char)p[0] * 256 + (unsigned char)p[1]];
  if (n > b->longest) return OAI_BPE_NONE;
  const oai_bpe_slot *slot = find(b, p, n, oai_bpe_hash(p, n));
  return slot->n ? slot->rank : OAI_BPE_NONE;
}

/* ---- a line ------------------------------------------------------------- */

/* Takes the token and the rank of a line; NULL or what is wrong. */
static const char *add(oai_bpe *b, const char *line, size_t n) {
  const char *space = memchr(line, ' ', n);
  size_t coded = space ? (size_t)(space - line) : n;
  size_t digits = space ? n - coded - 1 : 0;
  if (!digits || digits > 8) return "not a token in base64 and its rank";
  if (coded > OAI_BPE_TOKEN_MAX / 3 * 4) return "the token is too long";
  uint32_t rank = 0;
  for (const char *p = space + 1; p < line + n; p++) {
    if (*p < '0' || *p > '9') return "the rank is not a number";
    rank = rank * 10 + (uint32_t)(*p - '0');
  }
  if (rank > OAI_BPE_RANK_MAX) return "the rank is too high";
  char *token = b->pool + b->pool_n;
  size_t size = 0;
  if (!oai_base64_decode(token, &size, line, coded) || !size)
    return "the token is not base64";
  uint64_t hash = oai_bpe_hash(token, size);
  oai_bpe_slot *slot = find(b, token, size, hash);
  if (slot->n) return "the token was on a line before";
  slot->tag = (uint32_t)(hash >> 32);
  slot->rank = rank;
  slot->at = (uint32_t)b->pool_n & 0xFFFFFF;
  slot->n = size & 0xFF;
  b->pool_n += size;
  if (size > b->longest) b->longest = size;
  const unsigned char *u = (const unsigned char *)token;
  if (size == 1) b->byte[u[0]] = rank;
  if (size == 2) b->pair[u[0] * 256 + u[1]] = rank;
  return NULL;
}

/* ---- a file ------------------------------------------------------------- */

static bool make_tables(oai_bpe *b, const char *file, size_t n) {
  size_t lines = 1, slots = 1024, pairs = 65536;
  for (const char *p = file; (p = memchr(p, '\n', n - (size_t)(p - file)));)
    lines++, p++;
  if (lines > n / 7 + 1) lines = n / 7 + 1; /* the shortest: "IQ== 0" */
  while (slots < 2 * lines) slots *= 2;
  b->slots = calloc(slots, sizeof *b->slots);
  b->mask = slots - 1;
  b->pool = malloc(n / 4 * 3 + 3);
  b->pair = malloc(pairs * sizeof *b->pair);
  if (!b->slots || !b->pool || !b->pair) return false;
  for (size_t i = 0; i < pairs; i++) b->pair[i] = OAI_BPE_NONE;
  for (int i = 0; i < 256; i++) b->byte[i] = OAI_BPE_NONE;
  return true;
}

static bool fail(char *error, const char *what, long line) {
  if (line)
    snprintf(error, OAI_BPE_ERROR, "line %ld: %s", line, what);
  else
    snprintf(error, OAI_BPE_ERROR, "%s", what);
  return false;
}

static bool read_lines(oai_bpe *b, const char *file, size_t n, char *error) {
  const char *p = file, *end = file + n;
  for (long line = 1; p < end; line++) {
    const char *stop = memchr(p, '\n', (size_t)(end - p));
    if (!stop) stop = end;
    size_t size = (size_t)(stop - p);
    if (size && p[size - 1] == '\r') size--;
    const char *wrong = size ? add(b, p, size) : NULL;
    if (wrong) return fail(error, wrong, line);
    p = stop + 1;
  }
  for (int i = 0; i < 256; i++) {
    char what[40];
    snprintf(what, sizeof what, "the byte %02X has no rank", (unsigned)i);
    if (b->byte[i] == OAI_BPE_NONE) return fail(error, what, 0);
  }
  return true;
}

bool oai_bpe_load(oai_bpe *b, const char *file, size_t n,
                  char error[OAI_BPE_ERROR]) {
  if (n > OAI_BPE_FILE_MAX) return fail(error, "the file is too large", 0);
  if (!make_tables(b, file, n) || !read_lines(b, file, n, error)) return false;
  char *pool = realloc(b->pool, b->pool_n);
  if (pool) b->pool = pool;
  return true;
}
