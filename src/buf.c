/* buf: see buf.h. */
#include "buf.h"

#include <stdlib.h>
#include <string.h>

void oai_buf_init(oai_buf *b, size_t max) {
  memset(b, 0, sizeof *b);
  b->max = max;
}

void oai_buf_free(oai_buf *b) {
  free(b->p);
  oai_buf_init(b, b->max);
}

oai_buf_status oai_buf_reserve(oai_buf *b, size_t n) {
  if (n <= b->cap - b->n) return OAI_BUF_OK;
  if (n > b->max || b->n > b->max - n) return OAI_BUF_FULL;
  size_t need = b->n + n;
  size_t cap = b->cap ? b->cap * 2 : 16;
  if (cap < need) cap = need;
  if (cap > b->max) cap = b->max;
  char *p = realloc(b->p, cap);
  if (!p) return OAI_BUF_NOMEM;
  b->p = p;
  b->cap = cap;
  return OAI_BUF_OK;
}

oai_buf_status oai_buf_append(oai_buf *b, const char *p, size_t n) {
  if (n == 0) return OAI_BUF_OK;
  oai_buf_status status = oai_buf_reserve(b, n);
  if (status != OAI_BUF_OK) return status;
  memcpy(b->p + b->n, p, n);
  b->n += n;
  return OAI_BUF_OK;
}

void oai_buf_consume(oai_buf *b, size_t n) {
  if (n < b->n) memmove(b->p, b->p + n, b->n - n);
  b->n -= n;
}

void oai_wipe(void *p, size_t n) {
  volatile unsigned char *v = p;
  while (n--) *v++ = 0;
}

void oai_buf_wipe(oai_buf *b) {
  if (b->p) oai_wipe(b->p, b->cap);
  oai_buf_free(b);
}

char *oai_copy(const char *p, size_t n) {
  char *copy = malloc(n + 1);
  if (!copy) return NULL;
  if (n) memcpy(copy, p, n);
  copy[n] = 0;
  return copy;
}

bool oai_slice_is(oai_slice s, const char *text) {
  size_t n = strlen(text);
  return s.n == n && memcmp(s.p, text, n) == 0;
}
