/* utf8: checks and repairs UTF-8 (Unicode 15, 3.9; WHATWG Encoding).
 * Level 0: knows buf. */
#ifndef OAI_UTF8_H
#define OAI_UTF8_H

#include "buf.h"

/* How many leading bytes of p are well-formed UTF-8; n when all are. */
size_t oai_utf8_valid(const char *p, size_t n);
/* p, shorter than a sequence, is the beginning of a well-formed one. */
bool oai_utf8_begins(const char *p, size_t n);
/* Appends p with U+FFFD for each maximal ill-formed subpart, as WHATWG's
 * decoder does. */
oai_buf_status oai_utf8_repair(oai_buf *out, const char *p, size_t n);
/* Writes the code point as 1 to 4 bytes; returns how many. */
size_t oai_utf8_put(char *out, unsigned code);

#endif
