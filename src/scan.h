/* scan: a strict RFC 8259 reader over bytes. It builds no tree and allocates
 * nothing; what it refuses is exactly what the RFC refuses, and numbers of
 * 1e309 and more (UTF-8 is checked by the caller, see utf8.h). Level 0: the hot
 * path of every wire and the JSON decoder both stand on it.
 *
 *   oai_scan s;
 *   oai_scan_str key;
 *   oai_scan_init(&s, text, length, 128);
 *   if (oai_scan_peek(&s) == '{' && oai_scan_open(&s))
 *     while (oai_scan_key(&s, &key))
 *       oai_scan_skip(&s, NULL);
 *   ok = oai_scan_finish(&s);
 *
 * Every function returns false after an error; the first error stays in
 * s->error, with s->p at the byte that caused it. */
#ifndef OAI_SCAN_H
#define OAI_SCAN_H

#include "buf.h"

#include <string.h>

typedef enum oai_scan_error {
  OAI_SCAN_OK,
  OAI_SCAN_SYNTAX,
  OAI_SCAN_CUT,  /* the text ends inside a value */
  OAI_SCAN_DEEP, /* more than max_depth open containers */
  OAI_SCAN_RANGE /* a number that no double holds */
} oai_scan_error;

typedef struct oai_scan {
  const char *start, *p, *end;
  int depth, max_depth;
  bool fresh; /* a container was opened and nothing in it read yet */
  oai_scan_error error;
} oai_scan;

/* A string as it stands between its quotes. */
typedef struct oai_scan_str {
  const char *p;
  size_t n;
  bool escaped; /* has at least one backslash */
} oai_scan_str;

typedef struct oai_scan_num {
  const char *p;
  size_t n;
  bool integer; /* no fraction and no exponent */
} oai_scan_num;

void oai_scan_init(oai_scan *s, const char *p, size_t n, int max_depth);
/* Skips white space and says what comes: one of { [ " t f n 0 (a number), or 0
 * at the end of the text or before a byte that starts no value (no error yet:
 * reading on reports it). */
int oai_scan_peek(oai_scan *s);
/* Consumes { or [. */
bool oai_scan_open(oai_scan *s);
/* In an object: the next member's key, its colon consumed; false at the
 * closing brace (consumed) or on error. */
bool oai_scan_key(oai_scan *s, oai_scan_str *key);
/* In an array: true before another item; false at the closing bracket
 * (consumed) or on error. */
bool oai_scan_item(oai_scan *s);
bool oai_scan_string(oai_scan *s, oai_scan_str *out);
bool oai_scan_number(oai_scan *s, oai_scan_num *out);
/* true, false or null, whichever peek announced. */
bool oai_scan_literal(oai_scan *s);
/* Any one value, checked whole; its bytes go to *raw unless that is NULL. */
bool oai_scan_skip(oai_scan *s, oai_slice *raw);
/* True when no error happened and only white space is left. */
bool oai_scan_finish(oai_scan *s);

/* Decodes escapes into out, which has room for str->n + 3 bytes; returns the
 * length. *high carries a high surrogate from one part of a text to the next
 * (0 = none): a pair split over two parts is joined, a lone surrogate becomes
 * U+FFFD. With high == NULL the string stands alone. */
size_t oai_scan_unescape(const oai_scan_str *str, char *out, unsigned *high);
/* How many leading bytes stand in a JSON string as they are: no quote, no
 * backslash, no control byte. */
size_t oai_scan_plain(const char *p, size_t n);
bool oai_scan_escaped_is(const oai_scan_str *str, const char *text);
/* Compares with plain ASCII text, escapes decoded. Inline: the length of a
 * literal is known then. */
static inline bool oai_scan_str_is(const oai_scan_str *str, const char *text) {
  if (str->escaped) return oai_scan_escaped_is(str, text);
  return str->n == strlen(text) && memcmp(str->p, text, str->n) == 0;
}

#endif
