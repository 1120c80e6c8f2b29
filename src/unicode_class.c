/* unicode_class: the table of classes, made from the runs of categories, and
 * the step from one character to the next. */
#include "unicode_class.h"

#include "regex_internal.h"

#include <stdlib.h>
#include <string.h>

enum { PAGE = 256, PAGES_MAX = 256, TURNS = OAI_UNICODE_TURNS, LU = 0, LL = 1 };

/* By the numbers of regex_category.c; what is behind them has no class. */
static const uint8_t of_category[] = {
    OAI_CLASS_UPPER,    OAI_CLASS_LOWER,  OAI_CLASS_UPPER, OAI_CLASS_CASELESS,
    OAI_CLASS_CASELESS, OAI_CLASS_MARK,   OAI_CLASS_MARK,  OAI_CLASS_MARK,
    OAI_CLASS_NUMBER,   OAI_CLASS_NUMBER, OAI_CLASS_NUMBER};

/* White_Space (UAX #44, PropList.txt). */
static const struct {
  uint32_t low, high;
} spaces[] = {{0x9, 0xD},       {0x20, 0x20},     {0x85, 0x85},
              {0xA0, 0xA0},     {0x1680, 0x1680}, {0x2000, 0x200A},
              {0x2028, 0x2029}, {0x202F, 0x202F}, {0x205F, 0x205F},
              {0x3000, 0x3000}};

static bool is_space(uint32_t code) {
  for (size_t i = 0; i < sizeof spaces / sizeof *spaces; i++)
    if (code >= spaces[i].low && code <= spaces[i].high) return true;
  return false;
}

static uint8_t class_of(uint32_t code, uint32_t category, uint32_t first) {
  if (code == '\n' || code == '\r') return OAI_CLASS_SPACE | OAI_CLASS_NEWLINE;
  if (code <= 0x3000 && is_space(code)) return OAI_CLASS_SPACE;
  if (category == TURNS) category = (code - first) % 2 ? LL : LU;
  return category < sizeof of_category ? of_category[category] : 0;
}

static bool keep_page(oai_classes *c, size_t number, const uint8_t *page) {
  size_t i = 0;
  while (i < c->npages && memcmp(c->pages + i * PAGE, page, PAGE) != 0) i++;
  if (i == PAGES_MAX) return false;
  if (i == c->npages) memcpy(c->pages + c->npages++ * PAGE, page, PAGE);
  c->page[number] = (uint8_t)i;
  return true;
}

bool oai_classes_init(oai_classes *c) {
  uint8_t page[PAGE];
  uint32_t code = 0;
  memset(c, 0, sizeof *c);
  c->pages = malloc(PAGES_MAX * PAGE);
  if (!c->pages) return false;
  for (size_t i = 0; i < oai_unicode_nruns; i++) {
    uint32_t first = code, end = code + oai_unicode_runs[i] / 32;
    for (; code < end; code++) {
      page[code % PAGE] = class_of(code, oai_unicode_runs[i] % 32, first);
      if (code % PAGE == PAGE - 1 && !keep_page(c, code / PAGE, page)) {
        oai_classes_free(c);
        return false;
      }
    }
  }
  uint8_t *pages = realloc(c->pages, c->npages * PAGE);
  if (pages) c->pages = pages;
  return true;
}

void oai_classes_free(oai_classes *c) {
  free(c->pages);
  c->pages = NULL;
  c->npages = 0;
}

unsigned oai_class_at(const oai_classes *c, const unsigned char *p,
                      const unsigned char *end, size_t *length) {
  *length = 0;
  if (p >= end) return OAI_CLASS_END;
  *length = 1;
  if (*p < 0x80) return c->pages[c->page[0] * PAGE + *p];
  const unsigned char *behind = p;
  int32_t code = oai_regex_decode(&behind, end);
  *length = (size_t)(behind - p);
  if (*length == 1) return 0; /* no UTF-8 */
  return c->pages[c->page[code / PAGE] * PAGE + code % PAGE];
}
