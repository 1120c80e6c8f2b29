/* text: bytes that grow, and the length of JSON text. */
#ifndef BENCH_TEXT_H
#define BENCH_TEXT_H

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct text {
  char *p;
  size_t n, cap;
};

static inline void fail(const char *what) {
  perror(what);
  exit(1);
}

static inline void reserve(struct text *t, size_t n) {
  if (t->n + n <= t->cap) return;
  t->cap = t->n + n + t->cap / 2;
  t->p = realloc(t->p, t->cap);
  if (!t->p) fail("realloc");
}

static inline void append(struct text *t, const char *p, size_t n) {
  reserve(t, n);
  memcpy(t->p + t->n, p, n);
  t->n += n;
}

static inline void append_text(struct text *t, const struct text *from) {
  append(t, from->p, from->n);
}

static inline void append_format(struct text *t, const char *format, ...) {
  char *p;
  va_list args;
  va_start(args, format);
  int n = vasprintf(&p, format, args);
  va_end(args);
  if (n < 0) fail("vasprintf");
  append(t, p, (size_t)n);
  free(p);
}

/* The length of JSON text once its escapes are taken out. */
static inline size_t decoded_length(const char *p) {
  size_t n = 0;
  for (; *p; n++) {
    if (p[0] != '\\' || p[1] != 'u') {
      p += p[0] == '\\' ? 2 : 1;
      continue;
    }
    char digits[5] = {p[2], p[3], p[4], p[5], '\0'};
    long unit = strtol(digits, NULL, 16);
    bool half = unit >= 0xd800 && unit < 0xe000; /* 4 bytes from two halves */
    n += unit < 0x80 ? 0 : unit < 0x800 || half ? 1 : 2;
    p += 6;
  }
  return n;
}

#endif
