/* unicode_class: what the tokenizers' split patterns ask of a code point,
 * looked up in one step. Level 0: knows the runs of regex_internal, which one
 * script writes for both. */
#ifndef OAI_UNICODE_CLASS_H
#define OAI_UNICODE_CLASS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
  OAI_CLASS_UPPER = 1,    /* Lu, Lt */
  OAI_CLASS_LOWER = 2,    /* Ll */
  OAI_CLASS_CASELESS = 4, /* Lm, Lo */
  OAI_CLASS_LETTER = 7,
  OAI_CLASS_MARK = 8,
  OAI_CLASS_NUMBER = 16,
  OAI_CLASS_SPACE = 32,   /* White_Space, as \s of Rust's regex has it */
  OAI_CLASS_NEWLINE = 64, /* CR and LF, which are spaces too */
  OAI_CLASS_END = 128     /* behind the text */
};

/* Pages of 256 code points; equal pages are kept once. */
typedef struct oai_classes {
  uint8_t page[0x110000 / 256];
  uint8_t *pages;
  size_t npages;
} oai_classes;

/* false: no memory. */
bool oai_classes_init(oai_classes *c);
void oai_classes_free(oai_classes *c);

/* The class of the character at p, and its length in bytes. A byte that is not
 * UTF-8 is a character of no class; END has the length 0. */
unsigned oai_class_at(const oai_classes *c, const unsigned char *p,
                      const unsigned char *end, size_t *length);

#endif
