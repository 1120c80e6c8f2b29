/* regex: runs a program over a text. Knows nothing of the syntax. */
#include "regex_internal.h"

#include <stdlib.h>
#include <string.h>

/* Well-formed sequences only (Unicode 15, table 3-7). */
static int32_t decode_long(const unsigned char **p, const unsigned char *end) {
  const unsigned char *s = *p;
  size_t n = (size_t)(end - s);
  unsigned c = s[0];
  if (c >= 0xC2 && c < 0xE0 && n > 1 && (s[1] & 0xC0) == 0x80) {
    *p += 2;
    return (int32_t)((c & 31) << 6 | (s[1] & 63u));
  }
  if (c >= 0xE0 && c < 0xF0 && n > 2 && (s[1] & 0xC0) == 0x80 &&
      (s[2] & 0xC0) == 0x80) {
    unsigned code = (c & 15) << 12 | (s[1] & 63u) << 6 | (s[2] & 63u);
    if (code >= 0x800 && (code < 0xD800 || code > 0xDFFF)) {
      *p += 3;
      return (int32_t)code;
    }
  }
  if (c >= 0xF0 && c < 0xF5 && n > 3 && (s[1] & 0xC0) == 0x80 &&
      (s[2] & 0xC0) == 0x80 && (s[3] & 0xC0) == 0x80) {
    unsigned code =
        (c & 7) << 18 | (s[1] & 63u) << 12 | (s[2] & 63u) << 6 | (s[3] & 63u);
    if (code >= 0x10000 && code <= OAI_CODE_MAX) {
      *p += 4;
      return (int32_t)code;
    }
  }
  *p += 1;
  return 0xFFFD;
}

int32_t oai_regex_decode(const unsigned char **p, const unsigned char *end) {
  if (**p < 0x80) return *(*p)++;
  return decode_long(p, end);
}

bool oai_regex_is_word(int32_t c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
         (c >= '0' && c <= '9') || c == '_';
}

/* One place in the text: what stands before and after it, -1 at the ends. */
typedef struct place {
  int32_t before, after;
} place;

static bool holds(oai_regex_op op, const place *at) {
  bool edge = oai_regex_is_word(at->before) != oai_regex_is_word(at->after);
  switch (op) {
  case OAI_RE_BEGIN: return at->before < 0;
  case OAI_RE_END: return at->after < 0;
  case OAI_RE_EDGE: return edge;
  default: return !edge;
  }
}

static bool takes(const oai_regex *re, const oai_regex_code *i, int32_t c) {
  if (c < 0) return false;
  switch (i->op) {
  case OAI_RE_CHAR: return c == i->x;
  case OAI_RE_DOT: return c != '\n' && c != '\r' && c != 0x2028 && c != 0x2029;
  default: return oai_set_has(re->ranges.r + i->x, (size_t)i->y, (uint32_t)c);
  }
}

/* Pushes an instruction unless it was seen at this place. */
static size_t push(oai_regex *re, size_t depth, size_t pc) {
  if (re->mark[pc] == re->place) return depth;
  re->mark[pc] = re->place;
  re->stack[depth] = (uint32_t)pc;
  return depth + 1;
}

typedef struct walk {
  size_t next;  /* how many of re->next are known */
  size_t steps; /* taken */
  bool matched;
} walk;

/* Follows one state through all that takes no character. */
static void follow(oai_regex *re, size_t pc, const place *at, walk *w) {
  size_t depth = push(re, 0, pc);
  while (depth && !w->matched) {
    pc = re->stack[--depth];
    const oai_regex_code *i = &re->code[pc];
    w->steps++;
    switch (i->op) {
    case OAI_RE_MATCH: w->matched = true; break;
    case OAI_RE_SPLIT:
      depth = push(re, depth, pc + (size_t)i->y);
      depth = push(re, depth, pc + (size_t)i->x);
      break;
    case OAI_RE_JUMP: depth = push(re, depth, pc + (size_t)i->x); break;
    case OAI_RE_CHAR:
    case OAI_RE_DOT:
    case OAI_RE_CLASS:
      if (takes(re, i, at->after)) re->next[w->next++] = (uint32_t)(pc + 1);
      break;
    default:
      if (holds(i->op, at)) depth = push(re, depth, pc + 1);
    }
  }
}

static void next_place(oai_regex *re) {
  if (++re->place) return;
  memset(re->mark, 0, re->n * sizeof *re->mark);
  re->place = 1;
}

oai_regex_answer oai_regex_test(oai_regex *re, const char *text, size_t n,
                                size_t *steps) {
  const unsigned char *p = (const unsigned char *)text, *end = p + n;
  bool anchored = re->code[0].op == OAI_RE_BEGIN;
  place at = {-1, -1};
  size_t now = 0;
  for (;;) {
    at.after = p < end ? oai_regex_decode(&p, end) : -1;
    next_place(re);
    walk w = {0, 1, false};
    for (size_t i = 0; i < now && !w.matched; i++)
      follow(re, re->now[i], &at, &w);
    if (!w.matched && (at.before < 0 || !anchored)) follow(re, 0, &at, &w);
    if (w.matched) return OAI_REGEX_YES;
    if (at.after < 0 || (anchored && !w.next)) return OAI_REGEX_NO;
    if (w.steps > *steps) {
      *steps = 0;
      return OAI_REGEX_COSTLY;
    }
    *steps -= w.steps;
    uint32_t *swap = re->now;
    re->now = re->next;
    re->next = swap;
    now = w.next;
    at.before = at.after;
  }
}

oai_regex *oai_regex_new(const char *pattern, size_t n,
                         char error[OAI_REGEX_ERROR]) {
  *error = 0;
  oai_regex *re = calloc(1, sizeof *re);
  if (!re || !oai_regex_parse(re, pattern, n, error)) goto fail;
  re->mark = calloc(re->n, sizeof *re->mark);
  re->stack = malloc(re->n * sizeof *re->stack);
  re->now = malloc(re->n * sizeof *re->now);
  re->next = malloc(re->n * sizeof *re->next);
  if (!re->mark || !re->stack || !re->now || !re->next) goto fail;
  return re;
fail:
  oai_regex_free(re);
  return NULL;
}

void oai_regex_free(oai_regex *re) {
  if (!re) return;
  free(re->code);
  oai_set_free(&re->ranges);
  free(re->mark);
  free(re->stack);
  free(re->now);
  free(re->next);
  free(re);
}
