/* regex_set: sets of code points as ranges, and the escapes that stand for
 * one. */
#include "regex_internal.h"

#include <stdlib.h>

bool oai_set_add(oai_set *s, uint32_t low, uint32_t high) {
  if (s->n == OAI_REGEX_RANGES_MAX) return false;
  if (s->n == s->cap) {
    size_t cap = s->cap ? 2 * s->cap : 16;
    oai_range *r = realloc(s->r, cap * sizeof *r);
    if (!r) return false;
    s->r = r;
    s->cap = cap;
  }
  s->r[s->n].low = low;
  s->r[s->n++].high = high;
  return true;
}

static int compare(const void *left, const void *right) {
  const oai_range *a = left, *b = right;
  return (a->low > b->low) - (a->low < b->low);
}

void oai_set_tidy(oai_set *s) {
  if (s->n < 2) return;
  qsort(s->r, s->n, sizeof *s->r, compare);
  size_t n = 1;
  for (size_t i = 1; i < s->n; i++) {
    oai_range *last = &s->r[n - 1], *r = &s->r[i];
    if (r->low > last->high + 1)
      s->r[n++] = *r;
    else if (r->high > last->high)
      last->high = r->high;
  }
  s->n = n;
}

bool oai_set_invert(oai_set *s) {
  uint32_t low = 0;
  size_t n = s->n;
  for (size_t i = 0; i < n; i++) {
    oai_range r = s->r[i];
    /* the gap before a range takes its place; the first may have none */
    s->r[i].low = low;
    s->r[i].high = r.low - 1; /* wraps for 0, and low = 0 tells */
    low = r.high + 1;
  }
  if (low <= OAI_CODE_MAX && !oai_set_add(s, low, OAI_CODE_MAX)) return false;
  if (s->n && s->r[0].high == UINT32_MAX) {
    s->n--;
    for (size_t i = 0; i < s->n; i++) s->r[i] = s->r[i + 1];
  }
  return true;
}

bool oai_set_has(const oai_range *r, size_t n, uint32_t code) {
  size_t low = 0;
  while (low < n) {
    size_t middle = low + (n - low) / 2;
    if (code > r[middle].high)
      low = middle + 1;
    else if (code < r[middle].low)
      n = middle;
    else
      return true;
  }
  return false;
}

void oai_set_free(oai_set *s) {
  free(s->r);
  s->r = NULL;
  s->n = s->cap = 0;
}

static const oai_range digits[] = {{'0', '9'}};
static const oai_range word[] = {
    {'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}};
/* WhiteSpace and LineTerminator (ECMA-262, 12.2 and 12.3) */
static const oai_range space[] = {
    {9, 13},          {32, 32},         {0xA0, 0xA0},     {0x1680, 0x1680},
    {0x2000, 0x200A}, {0x2028, 0x2029}, {0x202F, 0x202F}, {0x205F, 0x205F},
    {0x3000, 0x3000}, {0xFEFF, 0xFEFF}};

static bool add_all(oai_set *s, const oai_range *r, size_t n, bool inverted) {
  uint32_t low = 0;
  for (size_t i = 0; i < n; i++) {
    if (!inverted && !oai_set_add(s, r[i].low, r[i].high)) return false;
    if (inverted && !oai_set_add(s, low, r[i].low - 1)) return false;
    low = r[i].high + 1;
  }
  return !inverted || oai_set_add(s, low, OAI_CODE_MAX);
}

bool oai_set_add_escape(oai_set *s, int letter) {
  bool inverted = letter == 'D' || letter == 'W' || letter == 'S';
  switch (letter) {
  case 'd':
  case 'D': return add_all(s, digits, 1, inverted);
  case 'w':
  case 'W': return add_all(s, word, 4, inverted);
  default: return add_all(s, space, sizeof space / sizeof *space, inverted);
  }
}
