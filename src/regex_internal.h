/* regex_internal: the program of a regex, between the files that write and run
 * it. */
#ifndef OAI_REGEX_INTERNAL_H
#define OAI_REGEX_INTERNAL_H

#include "regex.h"

#include <stdint.h>

enum { OAI_CODE_MAX = 0x10FFFF };

typedef enum oai_regex_op {
  OAI_RE_CHAR,     /* the code point x */
  OAI_RE_DOT,      /* all but a line terminator */
  OAI_RE_CLASS,    /* in y ranges from x on */
  OAI_RE_SPLIT,    /* goes on at both: x and y are relative */
  OAI_RE_JUMP,     /* relative x */
  OAI_RE_BEGIN,    /* ^ */
  OAI_RE_END,      /* $ */
  OAI_RE_EDGE,     /* \b */
  OAI_RE_NOT_EDGE, /* \B */
  OAI_RE_MATCH
} oai_regex_op;

/* Jumps are relative, so that a fragment can be moved and copied. */
typedef struct oai_regex_code {
  oai_regex_op op;
  int32_t x, y;
} oai_regex_code;

typedef struct oai_range {
  uint32_t low, high;
} oai_range;

/* A set of code points: sorted and disjoint once oai_set_tidy has run. */
typedef struct oai_set {
  oai_range *r;
  size_t n, cap;
} oai_set;

struct oai_regex {
  oai_regex_code *code;
  size_t n, cap;
  oai_set ranges; /* of all classes, one after the other */
  uint32_t *mark; /* a program's instruction -> the place it was last seen at */
  uint32_t *stack, *now, *next;
  uint32_t place;
};

/* false: no memory, or more than OAI_REGEX_RANGES_MAX. */
bool oai_set_add(oai_set *s, uint32_t low, uint32_t high);
void oai_set_tidy(oai_set *s);
/* A tidy set becomes all that was not in it, and is tidy again. */
bool oai_set_invert(oai_set *s);
bool oai_set_has(const oai_range *r, size_t n, uint32_t code);
void oai_set_free(oai_set *s);
/* Adds \d, \w, \s or, as capitals, what is not in them. */
bool oai_set_add_escape(oai_set *s, int letter);

/* All code points in runs: a run is its length * 32 + the number of its
 * category in regex_category.c, or OAI_UNICODE_TURNS for Lu and Ll in turn, as
 * in most of Latin and Cyrillic. */
enum { OAI_UNICODE_TURNS = 30 };
extern const uint32_t oai_unicode_runs[];
extern const size_t oai_unicode_nruns;
/* The mask of a general category by its short or long name, or of Any, ASCII,
 * Assigned (which are negative numbers); 0: no such name. */
int32_t oai_category_named(const char *name, size_t n);
/* Adds the code points of such a mask (UAX #44), or all others. */
bool oai_category_add(oai_set *s, int32_t mask, bool inverted);

typedef struct oai_regex_parser {
  oai_regex *re;
  const unsigned char *p, *start, *end;
  int nesting;
  char *error;
} oai_regex_parser;

enum { OAI_REGEX_FOREVER = INT32_MAX };

/* What is wrong at this place, unless something was before; false. */
bool oai_regex_fail(oai_regex_parser *P, const char *what);
/* These are false where there is no memory or a cap is reached. */
bool oai_regex_emit(oai_regex_parser *P, oai_regex_op op, int32_t x, int32_t y);
/* Puts a split before the fragment that begins at `at`. */
bool oai_regex_insert_split(oai_regex_parser *P, size_t at, size_t other);
/* The fragment from `at` on, min to max times. */
bool oai_regex_repeat(oai_regex_parser *P, size_t at, int32_t min, int32_t max);
/* What could not be added to: says so if the cap is why; false. */
bool oai_regex_fail_set(oai_regex_parser *P, const oai_set *s);
/* The set becomes a class of the program; it is freed in any case. */
bool oai_regex_emit_set(oai_regex_parser *P, oai_set *s, bool inverted);

/* Writes the program; false with a message, empty when memory ran out. */
bool oai_regex_parse(oai_regex *re, const char *pattern, size_t n,
                     char error[OAI_REGEX_ERROR]);
bool oai_regex_is_word(int32_t code);
/* The code point at *p, which moves behind it. */
int32_t oai_regex_decode(const unsigned char **p, const unsigned char *end);

#endif
