/* bpe: an encoder's life, and the merging of a word's bytes: the pair of the
 * lowest rank first, the leftmost of equal ones (tiktoken, src/lib.rs). */
#include "bpe_internal.h"

#include <stdlib.h>
#include <string.h>

#define NONE OAI_BPE_NONE

/* Bytes: below, looking at all pairs is faster than a heap. */
enum { SHORT = 64 };

static void put(oai_bpe_out *out, uint32_t rank) {
  if (out->n < out->room) out->ids[out->n] = rank;
  out->n++;
}

/* ---- a short word ------------------------------------------------------- */

static void merge_short(const oai_bpe *b, const char *p, size_t n,
                        oai_bpe_out *out) {
  /* part i is from at[i] to at[i + 1]; rank[i] is of it and the next one */
  uint8_t at[SHORT + 2];
  uint32_t rank[SHORT + 2];
  size_t parts = n;
  for (size_t i = 0; i <= n; i++) {
    at[i] = (uint8_t)i;
    rank[i] = i + 2 <= n ? oai_bpe_rank(b, p + i, 2) : NONE;
  }
  for (;;) {
    size_t low = 0;
    for (size_t i = 1; i + 1 < parts; i++)
      if (rank[i] < rank[low]) low = i;
    if (rank[low] == NONE) break;
    parts--;
    memmove(at + low + 1, at + low + 2, parts - low);
    memmove(rank + low + 1, rank + low + 2, (parts - low) * sizeof *rank);
    for (size_t i = low ? low - 1 : 0; i <= low; i++)
      rank[i] = i + 2 <= parts
                    ? oai_bpe_rank(b, p + at[i], (size_t)(at[i + 2] - at[i]))
                    : NONE;
  }
  for (size_t i = 0; i < parts; i++)
    put(out, out->n < out->room
                 ? oai_bpe_rank(b, p + at[i], (size_t)(at[i + 1] - at[i]))
                 : 0);
}

/* ---- a long word -------------------------------------------------------- */

/* A part begins at its index and ends where the next one begins. */
typedef struct part {
  uint32_t prev, next;
  uint32_t rank; /* of it and the next one */
} part;

/* A heap of rank << 32 | index: the lowest rank, then the leftmost. What is no
 * longer true of a part is dropped when it comes up. */
typedef struct merger {
  const oai_bpe *b;
  const char *p;
  size_t n;
  part *parts;
  uint64_t *heap;
  size_t heap_n;
} merger;

static void push(merger *m, uint64_t key) {
  size_t i = m->heap_n++;
  for (; i && m->heap[(i - 1) / 2] > key; i = (i - 1) / 2)
    m->heap[i] = m->heap[(i - 1) / 2];
  m->heap[i] = key;
}

static uint64_t pop(merger *m) {
  uint64_t top = m->heap[0], key = m->heap[--m->heap_n];
  size_t i = 0;
  for (;;) {
    size_t child = 2 * i + 1;
    if (child >= m->heap_n) break;
    if (child + 1 < m->heap_n && m->heap[child + 1] < m->heap[child]) child++;
    if (m->heap[child] >= key) break;
    m->heap[i] = m->heap[child];
    i = child;
  }
  m->heap[i] = key;
  return top;
}

/* What a part and the next one would become. */
static void rank_part(merger *m, uint32_t i) {
  uint32_t next = m->parts[i].next;
  uint32_t rank = NONE;
  if (next < m->n) rank = oai_bpe_rank(m->b, m->p + i, m->parts[next].next - i);
  m->parts[i].rank = rank;
  if (rank != NONE) push(m, (uint64_t)rank << 32 | i);
}

static void join(merger *m, uint32_t i) {
  uint32_t gone = m->parts[i].next, next = m->parts[gone].next;
  m->parts[gone].rank = NONE;
  m->parts[i].next = next;
  if (next < m->n) m->parts[next].prev = i;
  rank_part(m, i);
  if (i) rank_part(m, m->parts[i].prev);
}

/* Each join takes one key off the heap and puts at most two there, so that it
 * never has more than twice as many as there are bytes. */
static bool merge_long(const oai_bpe *b, const char *p, size_t n,
                       oai_bpe_out *out) {
  merger m = {.b = b, .p = p, .n = n};
  if (n > 0x7FFFFFFF || n > SIZE_MAX / sizeof(part)) return false;
  m.parts = malloc(n * sizeof *m.parts);
  m.heap = malloc(2 * n * sizeof *m.heap);
  bool ok = m.parts && m.heap;
  for (uint32_t i = 0; ok && i < n; i++)
    m.parts[i] = (part){.prev = i ? i - 1 : 0, .next = i + 1, .rank = NONE};
  for (uint32_t i = 0; ok && i < n; i++) rank_part(&m, i);
  while (ok && m.heap_n) {
    uint64_t key = pop(&m);
    uint32_t i = (uint32_t)key;
    if (m.parts[i].rank == key >> 32) join(&m, i);
  }
  for (uint32_t i = 0; ok && i < n; i = m.parts[i].next)
    put(out,
        out->n < out->room ? oai_bpe_rank(b, p + i, m.parts[i].next - i) : 0);
  free(m.parts);
  free(m.heap);
  return ok;
}

bool oai_bpe_merge(const oai_bpe *b, const char *p, size_t n,
                   oai_bpe_out *out) {
  if (n > SHORT) return merge_long(b, p, n, out);
  merge_short(b, p, n, out);
  return true;
}

/* ---- an encoder --------------------------------------------------------- */

static const struct encoding {
  const char *name;
  oai_bpe_split *split;
} encodings[] = {{"cl100k_base", oai_bpe_split_cl100k},
                 {"o200k_base", oai_bpe_split_o200k}};

static const struct encoding *named(const char *name) {
  for (size_t i = 0; i < sizeof encodings / sizeof *encodings; i++)
    if (strcmp(encodings[i].name, name) == 0) return &encodings[i];
  return NULL;
}

bool oai_bpe_known(const char *name) {
  return named(name) != NULL;
}

oai_bpe *oai_bpe_new(const char *name, const char *file, size_t n,
                     char error[OAI_BPE_ERROR]) {
  const struct encoding *encoding = named(name);
  oai_bpe *b = encoding ? calloc(1, sizeof *b) : NULL;
  *error = '\0';
  if (!b) return NULL;
  b->split = encoding->split;
  if (oai_classes_init(&b->classes) &&
      (!file || oai_bpe_load(b, file, n, error)))
    return b;
  oai_bpe_free(b);
  return NULL;
}

void oai_bpe_free(oai_bpe *b) {
  if (!b) return;
  oai_classes_free(&b->classes);
  free(b->slots);
  free(b->pool);
  free(b->pair);
  free(b);
}

bool oai_bpe_estimates(const oai_bpe *b) {
  return !b->slots;
}

size_t oai_bpe_size(const oai_bpe *b) {
  size_t size = sizeof *b + b->classes.npages * 256;
  if (!b->slots) return size;
  return size + (b->mask + 1) * sizeof *b->slots + b->pool_n +
         65536 * sizeof *b->pair;
}

static size_t estimate(const oai_bpe *b, const char *p, const char *end) {
  uint64_t sum = 0;
  while (p < end) {
    size_t n = b->split(&b->classes, (const unsigned char *)p,
                        (const unsigned char *)end);
    sum += oai_bpe_guess(b, p, n);
    p += n;
  }
  return (size_t)((sum + 63) / 64);
}

bool oai_bpe_encode(oai_bpe *b, const char *text, size_t n, uint32_t *ids,
                    size_t room, size_t *count) {
  oai_bpe_out out = {.ids = ids, .room = ids ? room : 0};
  const char *p = text, *end = text + n;
  *count = 0;
  if (!b->slots) {
    *count = estimate(b, p, end);
    return true;
  }
  while (p < end) {
    size_t size = b->split(&b->classes, (const unsigned char *)p,
                           (const unsigned char *)end);
    uint32_t rank = oai_bpe_rank(b, p, size);
    if (rank != NONE)
      put(&out, rank);
    else if (!oai_bpe_merge(b, p, size, &out))
      return false;
    p += size;
  }
  *count = out.n;
  return true;
}
