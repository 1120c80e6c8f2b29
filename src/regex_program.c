/* regex_program: writes and copies the instructions that the parser asks for.
 * Knows nothing of the syntax. */
#include "regex_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool oai_regex_fail(oai_regex_parser *P, const char *what) {
  if (!*P->error)
    snprintf(P->error, OAI_REGEX_ERROR, "%s (at byte %lu)", what,
             (unsigned long)(P->p - P->start + 1));
  return false;
}

static bool fail_size(oai_regex_parser *P) {
  return oai_regex_fail(
      P, "the pattern is too large once its counts are unrolled");
}

static bool grow(oai_regex_parser *P, size_t more) {
  oai_regex *re = P->re;
  if (more > OAI_REGEX_PROGRAM_MAX - re->n) return fail_size(P);
  if (re->n + more <= re->cap) return true;
  size_t cap = 2 * (re->n + more);
  oai_regex_code *code = realloc(re->code, cap * sizeof *code);
  if (!code) return false;
  re->code = code;
  re->cap = cap;
  return true;
}

bool oai_regex_emit(oai_regex_parser *P, oai_regex_op op, int32_t x,
                    int32_t y) {
  if (!grow(P, 1)) return false;
  oai_regex_code *code = &P->re->code[P->re->n++];
  code->op = op;
  code->x = x;
  code->y = y;
  return true;
}

bool oai_regex_insert_split(oai_regex_parser *P, size_t at, size_t other) {
  if (!oai_regex_emit(P, OAI_RE_SPLIT, 0, 0)) return false;
  oai_regex_code *code = P->re->code;
  memmove(code + at + 1, code + at, (P->re->n - 1 - at) * sizeof *code);
  code[at].op = OAI_RE_SPLIT;
  code[at].x = 1;
  code[at].y = (int32_t)other;
  return true;
}

static void copy_in(oai_regex_parser *P, const oai_regex_code *fragment,
                    size_t n) {
  memcpy(P->re->code + P->re->n, fragment, n * sizeof *fragment);
  P->re->n += n;
}

/* Writes a fragment of n instructions min to max times. */
static bool unroll(oai_regex_parser *P, const oai_regex_code *fragment,
                   size_t n, int32_t min, int32_t max) {
  size_t room = OAI_REGEX_PROGRAM_MAX / n + 1;
  size_t more = max == OAI_REGEX_FOREVER ? 1 : (size_t)(max - min);
  if ((size_t)min > room || more > room) return fail_size(P);
  if (!grow(P, (size_t)min * n + more * (n + 1) + 1)) return false;
  for (int32_t i = 0; i < min; i++) copy_in(P, fragment, n);
  if (max == OAI_REGEX_FOREVER) {
    if (min) return oai_regex_emit(P, OAI_RE_SPLIT, -(int32_t)n, 1);
    oai_regex_emit(P, OAI_RE_SPLIT, 1, (int32_t)n + 2);
    copy_in(P, fragment, n);
    return oai_regex_emit(P, OAI_RE_JUMP, -(int32_t)(n + 1), 0);
  }
  for (; more; more--) {
    oai_regex_emit(P, OAI_RE_SPLIT, 1, (int32_t)(more * (n + 1)));
    copy_in(P, fragment, n);
  }
  return true;
}

bool oai_regex_repeat(oai_regex_parser *P, size_t at, int32_t min,
                      int32_t max) {
  size_t n = P->re->n - at;
  if (!n) return true; /* an empty group, as often as you like */
  oai_regex_code *fragment = malloc(n * sizeof *fragment);
  if (!fragment) return false;
  memcpy(fragment, P->re->code + at, n * sizeof *fragment);
  P->re->n = at;
  bool ok = unroll(P, fragment, n, min, max);
  free(fragment);
  return ok;
}

bool oai_regex_fail_set(oai_regex_parser *P, const oai_set *s) {
  return s->n == OAI_REGEX_RANGES_MAX &&
         oai_regex_fail(P, "the pattern's classes are too large");
}

bool oai_regex_emit_set(oai_regex_parser *P, oai_set *s, bool inverted) {
  oai_set *all = &P->re->ranges;
  size_t first = all->n;
  oai_set_tidy(s);
  bool ok = !inverted || oai_set_invert(s);
  for (size_t i = 0; ok && i < s->n; i++)
    ok = oai_set_add(all, s->r[i].low, s->r[i].high);
  if (!ok) oai_regex_fail_set(P, s->n > all->n ? s : all);
  oai_set_free(s);
  if (!ok) return false;
  return oai_regex_emit(P, OAI_RE_CLASS, (int32_t)first,
                        (int32_t)(all->n - first));
}
