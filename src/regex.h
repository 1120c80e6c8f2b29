/* regex: ECMA-262 regular expressions with the `u` flag, as JSON Schema's
 * `pattern` means them (JSON Schema core 2020-12, section 6.4), in time that is
 * linear in the text: a set of states walks over the code points once and
 * never goes back (Thompson 1968; Cox, "Regular Expression Matching Can Be
 * Simple And Fast"). Level 0: knows utf8.
 *
 * It answers whether a text has a match, not where: groups capture nothing and
 * lazy quantifiers are as good as greedy ones. Refused with a message, since
 * no such walk exists for them: lookahead, lookbehind, backreferences. Refused
 * too: inline flags, \p{…} other than general categories (all of Unicode 17.0,
 * long and short names, gc=…), Any, ASCII and Assigned. */
#ifndef OAI_REGEX_H
#define OAI_REGEX_H

#include "buf.h"

enum {
  OAI_REGEX_PATTERN_MAX = 10000,  /* bytes */
  OAI_REGEX_PROGRAM_MAX = 20000,  /* instructions, counted repeats unrolled */
  OAI_REGEX_RANGES_MAX = 100000,  /* of all classes */
  OAI_REGEX_NESTING_MAX = 200,    /* groups in groups */
  OAI_REGEX_STEPS_MAX = 50000000, /* of one test, about half a second */
  OAI_REGEX_ERROR = 160           /* bytes of a message */
};

typedef struct oai_regex oai_regex;

typedef enum oai_regex_answer {
  OAI_REGEX_NO,
  OAI_REGEX_YES,
  OAI_REGEX_COSTLY /* the steps were used up */
} oai_regex_answer;

/* NULL: error has a sentence, empty when memory ran out. */
oai_regex *oai_regex_new(const char *pattern, size_t n,
                         char error[OAI_REGEX_ERROR]);
void oai_regex_free(oai_regex *re);
/* Whether the text has a match. Takes the states it visits off *steps. A byte
 * that is not UTF-8 counts as U+FFFD. */
oai_regex_answer oai_regex_test(oai_regex *re, const char *text, size_t n,
                                size_t *steps);

#endif
