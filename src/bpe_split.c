/* bpe_split: the split patterns of tiktoken (openai_public.py), written out:
 * each function is the regular expression above it, its choices in the same
 * order. What no alternative backtracks over is walked once. */
#include "bpe_internal.h"

enum {
  LETTER = OAI_CLASS_LETTER,
  NUMBER = OAI_CLASS_NUMBER,
  SPACE = OAI_CLASS_SPACE,
  NEWLINE = OAI_CLASS_NEWLINE,
  END = OAI_CLASS_END,
  SHARED = OAI_CLASS_CASELESS | OAI_CLASS_MARK,
  HEAD = OAI_CLASS_UPPER | SHARED, /* [\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}] */
  TAIL = OAI_CLASS_LOWER | SHARED  /* [\p{Ll}\p{Lm}\p{Lo}\p{M}] */
};

typedef const unsigned char *text;

/* Behind the characters that are in one of these classes. */
static text skip(const oai_classes *c, text p, text end, unsigned classes) {
  size_t n;
  while (oai_class_at(c, p, end, &n) & classes) p += n;
  return p;
}

/* '(?i:[sdmt]|ll|ve|re): its length | 0. U+017F folds to s. */
static size_t contraction(text p, text end) {
  if (end - p < 2 || p[0] != '\'') return 0;
  unsigned a = p[1] | 0x20, b = end - p > 2 ? p[2] | 0x20 : 0;
  if (a == 's' || a == 'd' || a == 'm' || a == 't') return 2;
  if ((a == 'l' && b == 'l') || ((a == 'v' || a == 'r') && b == 'e')) return 3;
  if (end - p > 2 && p[1] == 0xC5 && p[2] == 0xBF) return 3;
  return 0;
}

/* \p{N}{1,3} */
static text numbers(const oai_classes *c, text p, text end) {
  size_t n;
  for (int i = 0; i < 3 && oai_class_at(c, p, end, &n) & NUMBER; i++) p += n;
  return p;
}

/* ' ?[^\s\p{L}\p{N}]+[\r\n]*', and with slash '[\r\n/]*'; p: no match */
static text signs(const oai_classes *c, text p, text end, bool slash) {
  text at = p + (p < end && *p == ' ');
  text from = at;
  size_t n;
  while (!(oai_class_at(c, at, end, &n) & (SPACE | LETTER | NUMBER | END)))
    at += n;
  if (at == from) return p;
  while (at < end && (*at == '\r' || *at == '\n' || (slash && *at == '/')))
    at++;
  return at;
}

/* '\s*[\r\n]+|\s+(?!\S)|\s+', and with whole '\s+$' before them */
static text blanks(const oai_classes *c, text p, text end, bool whole) {
  text at = p, last = p, newline = NULL;
  unsigned class;
  size_t n;
  while ((class = oai_class_at(c, at, end, &n)) & SPACE) {
    last = at;
    at += n;
    if (class & NEWLINE) newline = at;
  }
  if (whole && at == end) return end;
  if (newline) return newline;
  return at == end || last == p ? at : last;
}

/* '(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+|
 *  ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]|\s+(?!\S)|\s */
size_t oai_bpe_split_cl100k(const oai_classes *c, text p, text end) {
  size_t n = contraction(p, end);
  if (n) return n;
  unsigned class = oai_class_at(c, p, end, &n);
  if (class & NUMBER) return (size_t)(numbers(c, p, end) - p);
  text from = class & (NEWLINE | LETTER) ? p : p + n;
  text at = skip(c, from, end, LETTER);
  if (at == from) at = signs(c, p, end, false);
  if (at == p) at = blanks(c, p, end, true);
  return (size_t)(at - p);
}

/* '[HEAD]*[TAIL]+' or else '[HEAD]+'; p: no match. Where no lower-case letter
 * follows the first run, it gives back what is behind its last shared one. */
static text word(const oai_classes *c, text p, text end) {
  text at = p, shared = NULL;
  unsigned class;
  size_t n;
  while ((class = oai_class_at(c, at, end, &n)) & HEAD) {
    at += n;
    if (class & SHARED) shared = at;
  }
  if (class & OAI_CLASS_LOWER) return skip(c, at, end, TAIL);
  return shared ? shared : at;
}

/* [^\r\n\p{L}\p{N}]?[HEAD]*[TAIL]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|
 * [^\r\n\p{L}\p{N}]?[HEAD]+[TAIL]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}|
 *  ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+ */
size_t oai_bpe_split_o200k(const oai_classes *c, text p, text end) {
  size_t n;
  unsigned class = oai_class_at(c, p, end, &n);
  if (class & NUMBER) return (size_t)(numbers(c, p, end) - p);
  text from = class & (NEWLINE | LETTER) ? p : p + n;
  text at = word(c, from, end);
  if (class & OAI_CLASS_MARK) {
    /* A mark may be the first letter too, if it is in front of capitals only:
     * the first alternative is tried without a prefix before the second. */
    text alone = word(c, p, end);
    bool capitals = at != from && skip(c, from, at, OAI_CLASS_UPPER) == at;
    if (at == from || capitals) at = alone;
    from = p;
  }
  if (at > from) return (size_t)(at - p) + contraction(at, end);
  at = signs(c, p, end, true);
  if (at == p) at = blanks(c, p, end, false);
  return (size_t)(at - p);
}
