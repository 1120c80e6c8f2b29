/* regex_parse: the syntax of ECMA-262 patterns with the `u` flag (22.2.1), read
 * straight into a program. Knows sets; runs nothing. */
#include "regex_internal.h"

#include "utf8.h"

#include <string.h>

enum { FOREVER = OAI_REGEX_FOREVER, CATEGORY_NAME_MAX = 40 };

typedef oai_regex_parser parser;

/* ---- escapes ------------------------------------------------------------- */

static int peek(const parser *P) {
  return P->p < P->end ? *P->p : -1;
}

static bool skip(parser *P, char c) {
  if (peek(P) != (unsigned char)c) return false;
  P->p++;
  return true;
}

static bool skip_text(parser *P, const char *text) {
  size_t n = strlen(text);
  if ((size_t)(P->end - P->p) < n || memcmp(P->p, text, n) != 0) return false;
  P->p += n;
  return true;
}

static int hex_digit(int c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

/* Exactly n digits, or -1 and the place is unchanged. */
static int32_t hex(parser *P, int n) {
  int32_t code = 0;
  if (P->end - P->p < n) return -1;
  for (int i = 0; i < n; i++) {
    int digit = hex_digit(P->p[i]);
    if (digit < 0) return -1;
    code = code * 16 + digit;
  }
  P->p += n;
  return code;
}

static int32_t hex_braces(parser *P) {
  int32_t code = 0;
  const unsigned char *first = P->p;
  while (hex_digit(peek(P)) >= 0 && code <= OAI_CODE_MAX)
    code = code * 16 + hex_digit(*P->p++);
  bool some = P->p > first;
  return some && code <= OAI_CODE_MAX && skip(P, '}') ? code : -1;
}

/* Behind \u: XXXX, a surrogate pair of two of them, or {X…}. */
static int32_t unicode_escape(parser *P) {
  if (skip(P, '{')) return hex_braces(P);
  int32_t code = hex(P, 4);
  const unsigned char *behind = P->p;
  if (code < 0xD800 || code > 0xDBFF || !skip_text(P, "\\u")) return code;
  int32_t low = hex(P, 4);
  if (low >= 0xDC00 && low <= 0xDFFF)
    return 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
  P->p = behind;
  return code;
}

static int32_t control_escape(parser *P) {
  int c = peek(P);
  if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'))) return -1;
  P->p++;
  return c & 31;
}

/* A CharacterEscape behind the backslash; -1 where it is none. */
static int32_t char_escape(parser *P, bool in_class) {
  int c = peek(P);
  if (c < 0) return -1;
  P->p++;
  switch (c) {
  case 't': return '\t';
  case 'n': return '\n';
  case 'v': return '\v';
  case 'f': return '\f';
  case 'r': return '\r';
  case 'c': return control_escape(P);
  case 'x': return hex(P, 2);
  case 'u': return unicode_escape(P);
  case '0': return peek(P) >= '0' && peek(P) <= '9' ? -1 : 0;
  case 'b': return in_class ? '\b' : -1;
  case '-': return in_class ? '-' : -1;
  default: return c && strchr("^$\\.*+?()[]{}|/", c) ? c : -1;
  }
}

/* Behind \p or \P: {name} or {gc=name}. */
static bool category_escape(parser *P, oai_set *s, bool inverted) {
  if (!skip(P, '{')) return oai_regex_fail(P, "\\p needs a name in braces");
  if (!skip_text(P, "General_Category=")) skip_text(P, "gc=");
  const unsigned char *name = P->p;
  while (peek(P) >= 0 && *P->p != '}' && P->p - name < CATEGORY_NAME_MAX)
    P->p++;
  int32_t mask = oai_category_named((const char *)name, (size_t)(P->p - name));
  if (!mask || peek(P) != '}')
    return oai_regex_fail(
        P, "\\p{...} is not a general category of Unicode; scripts and "
           "other properties are not supported");
  P->p++;
  return oai_category_add(s, mask, inverted) || oai_regex_fail_set(P, s);
}

/* At a class escape (\d, \p{L}, …): adds it and says so. */
static bool class_escape(parser *P, oai_set *s, bool *found) {
  int c = peek(P);
  *found = c > 0 && strchr("dDwWsSpP", c);
  if (!*found) return true;
  P->p++;
  if (c == 'p' || c == 'P') return category_escape(P, s, c == 'P');
  return oai_set_add_escape(s, c) || oai_regex_fail_set(P, s);
}

static bool bad_escape(parser *P) {
  int c = peek(P);
  if (c == 'k' || (c >= '1' && c <= '9'))
    return oai_regex_fail(P, "backreferences are not supported");
  return oai_regex_fail(
      P, "invalid escape; only ^$\\.*+?()[]{}|/ are escaped for what "
         "they are");
}

/* ---- classes ------------------------------------------------------------- */

/* One code point, or -2 for a class escape whose set was added; -1: failed. */
static int32_t class_atom(parser *P, oai_set *s) {
  if (!skip(P, '\\')) return oai_regex_decode(&P->p, P->end);
  bool found;
  const unsigned char *at = P->p;
  if (!class_escape(P, s, &found)) return -1;
  if (found) return -2;
  int32_t code = char_escape(P, true);
  if (code < 0) {
    P->p = at;
    bad_escape(P);
  }
  return code;
}

static bool class_item(parser *P, oai_set *s) {
  int32_t low = class_atom(P, s), high = low;
  if (low == -1) return false;
  if (peek(P) == '-' && P->end - P->p > 1 && P->p[1] != ']') {
    P->p++;
    high = class_atom(P, s);
    if (high == -1) return false;
    if (low < 0 || high < 0)
      return oai_regex_fail(P, "a class escape cannot end a range");
    if (low > high) return oai_regex_fail(P, "a range is out of order");
  }
  return low < 0 || oai_set_add(s, (uint32_t)low, (uint32_t)high) ||
         oai_regex_fail_set(P, s);
}

static bool class(parser *P) {
  oai_set s = {NULL, 0, 0};
  bool inverted = skip(P, '^'), ok = true;
  while (ok && peek(P) >= 0 && *P->p != ']') ok = class_item(P, &s);
  if (ok && !skip(P, ']')) ok = oai_regex_fail(P, "a class is not closed");
  if (ok) return oai_regex_emit_set(P, &s, inverted);
  oai_set_free(&s);
  return false;
}

/* ---- terms --------------------------------------------------------------- */

static bool alternatives(parser *P);

static bool is_name(int c) {
  return oai_regex_is_word(c) || c == '$' || c >= 0x80;
}

/* Behind "(": what kind of group. */
static bool group_head(parser *P) {
  if (!skip(P, '?') || skip(P, ':')) return true;
  if (peek(P) == '=' || peek(P) == '!')
    return oai_regex_fail(P, "lookahead is not supported");
  if (!skip(P, '<'))
    return oai_regex_fail(P, "invalid group; flags are not supported");
  if (peek(P) == '=' || peek(P) == '!')
    return oai_regex_fail(P, "lookbehind is not supported");
  const unsigned char *name = P->p;
  while (is_name(peek(P))) P->p++;
  if (P->p == name || (*name >= '0' && *name <= '9') || !skip(P, '>'))
    return oai_regex_fail(P, "invalid name of a group");
  return true;
}

static bool group(parser *P) {
  if (++P->nesting > OAI_REGEX_NESTING_MAX)
    return oai_regex_fail(P, "groups are nested too deep");
  if (!group_head(P) || !alternatives(P)) return false;
  P->nesting--;
  return skip(P, ')') || oai_regex_fail(P, "a group is not closed");
}

/* Behind a backslash outside of a class. */
static bool escape(parser *P, bool *assertion) {
  const unsigned char *at = P->p;
  oai_set s = {NULL, 0, 0};
  bool found;
  if ((*assertion = skip(P, 'b'))) return oai_regex_emit(P, OAI_RE_EDGE, 0, 0);
  if ((*assertion = skip(P, 'B')))
    return oai_regex_emit(P, OAI_RE_NOT_EDGE, 0, 0);
  if (!class_escape(P, &s, &found)) {
    oai_set_free(&s);
    return false;
  }
  if (found) return oai_regex_emit_set(P, &s, false);
  int32_t code = char_escape(P, false);
  if (code >= 0) return oai_regex_emit(P, OAI_RE_CHAR, code, 0);
  P->p = at;
  return bad_escape(P);
}

static bool atom(parser *P, bool *assertion) {
  *assertion = false;
  switch (peek(P)) {
  case '(': P->p++; return group(P);
  case '[': P->p++; return class(P);
  case '.': P->p++; return oai_regex_emit(P, OAI_RE_DOT, 0, 0);
  case '\\': P->p++; return escape(P, assertion);
  case '^':
  case '$':
    *assertion = true;
    return oai_regex_emit(P, *P->p++ == '^' ? OAI_RE_BEGIN : OAI_RE_END, 0, 0);
  case '*':
  case '+':
  case '?': return oai_regex_fail(P, "nothing to repeat");
  case '{':
  case '}':
  case ']': return oai_regex_fail(P, "a lone bracket must be escaped");
  default:
    return oai_regex_emit(P, OAI_RE_CHAR, oai_regex_decode(&P->p, P->end), 0);
  }
}

static bool number(parser *P, int32_t *n) {
  const unsigned char *first = P->p;
  for (*n = 0; peek(P) >= '0' && peek(P) <= '9'; P->p++)
    *n = *n < FOREVER / 20 ? *n * 10 + (*P->p - '0') : FOREVER / 2;
  return P->p > first;
}

/* Behind "{". */
static bool counts(parser *P, int32_t *min, int32_t *max) {
  if (!number(P, min))
    return oai_regex_fail(P, "a lone bracket must be escaped");
  *max = *min;
  if (skip(P, ',') && !number(P, max)) *max = FOREVER;
  if (!skip(P, '}')) return oai_regex_fail(P, "a lone bracket must be escaped");
  return *min <= *max || oai_regex_fail(P, "the counts are out of order");
}

static bool quantifier(parser *P, size_t at, bool assertion) {
  int32_t min = 0, max = FOREVER;
  int c = peek(P);
  if (c != '*' && c != '+' && c != '?' && c != '{') return true;
  if (assertion) return oai_regex_fail(P, "nothing to repeat");
  P->p++;
  if (c == '+') min = 1;
  if (c == '?') max = 1;
  if (c == '{' && !counts(P, &min, &max)) return false;
  skip(P, '?'); /* lazy: the same texts have a match */
  return oai_regex_repeat(P, at, min, max);
}

/* a|b|c: the jump at the end of each alternative names the one before it in x
 * until all are known. */
static bool alternatives(parser *P) {
  size_t at = P->re->n, jumps = 0;
  for (;;) {
    int c = peek(P);
    if (c < 0 || c == ')') break;
    if (c == '|') {
      P->p++;
      if (!oai_regex_insert_split(P, at, P->re->n - at + 2) ||
          !oai_regex_emit(P, OAI_RE_JUMP, (int32_t)jumps, 0))
        return false;
      jumps = at = P->re->n;
      continue;
    }
    size_t term = P->re->n;
    bool assertion;
    if (!atom(P, &assertion) || !quantifier(P, term, assertion)) return false;
  }
  while (jumps) {
    oai_regex_code *jump = &P->re->code[jumps - 1];
    size_t before = (size_t)jump->x;
    jump->x = (int32_t)(P->re->n - (jumps - 1));
    jumps = before;
  }
  return true;
}

bool oai_regex_parse(oai_regex *re, const char *pattern, size_t n,
                     char error[OAI_REGEX_ERROR]) {
  const unsigned char *p = (const unsigned char *)pattern;
  parser P = {re, p, p, p + n, 0, error};
  if (n > OAI_REGEX_PATTERN_MAX)
    return oai_regex_fail(&P, "the pattern is too long");
  P.p += oai_utf8_valid(pattern, n);
  if (P.p < P.end) return oai_regex_fail(&P, "the pattern is not UTF-8");
  P.p = p;
  if (!alternatives(&P)) return false;
  if (P.p < P.end) return oai_regex_fail(&P, "a group is not opened");
  return oai_regex_emit(&P, OAI_RE_MATCH, 0, 0);
}
