/* regex_category: the names of general categories, and the code points that
 * belong to one. */
#include "regex_internal.h"

#include <string.h>

enum {
  TURNS = OAI_UNICODE_TURNS,
  NCATEGORIES = 30,
  ANY = -1,
  ASCII = -2,
  ASSIGNED = -3
};

static const char *const categories[NCATEGORIES][2] = {
    {"Lu", "Uppercase_Letter"},
    {"Ll", "Lowercase_Letter"},
    {"Lt", "Titlecase_Letter"},
    {"Lm", "Modifier_Letter"},
    {"Lo", "Other_Letter"},
    {"Mn", "Nonspacing_Mark"},
    {"Mc", "Spacing_Mark"},
    {"Me", "Enclosing_Mark"},
    {"Nd", "Decimal_Number"},
    {"Nl", "Letter_Number"},
    {"No", "Other_Number"},
    {"Pc", "Connector_Punctuation"},
    {"Pd", "Dash_Punctuation"},
    {"Ps", "Open_Punctuation"},
    {"Pe", "Close_Punctuation"},
    {"Pi", "Initial_Punctuation"},
    {"Pf", "Final_Punctuation"},
    {"Po", "Other_Punctuation"},
    {"Sm", "Math_Symbol"},
    {"Sc", "Currency_Symbol"},
    {"Sk", "Modifier_Symbol"},
    {"So", "Other_Symbol"},
    {"Zs", "Space_Separator"},
    {"Zl", "Line_Separator"},
    {"Zp", "Paragraph_Separator"},
    {"Cc", "Control"},
    {"Cf", "Format"},
    {"Cs", "Surrogate"},
    {"Co", "Private_Use"},
    {"Cn", "Unassigned"},
};

/* Several categories under one name, and the three that are none. */
static const struct group {
  const char *name, *other;
  int32_t mask;
} groups[] = {
    {"L", "Letter", 0x1F},
    {"LC", "Cased_Letter", 0x7},
    {"M", "Mark", 0xE0},
    {"M", "Combining_Mark", 0xE0},
    {"N", "Number", 0x700},
    {"P", "Punctuation", 0x3F800},
    {"P", "punct", 0x3F800},
    {"S", "Symbol", 0x3C0000},
    {"Z", "Separator", 0x1C00000},
    {"C", "Other", 0x3E000000},
    {"Nd", "digit", 0x100},
    {"Cc", "cntrl", 0x2000000},
    {"Any", "Any", ANY},
    {"ASCII", "ASCII", ASCII},
    {"Assigned", "Assigned", ASSIGNED},
};

static bool is(const char *name, const char *p, size_t n) {
  return strlen(name) == n && memcmp(name, p, n) == 0;
}

int32_t oai_category_named(const char *name, size_t n) {
  for (int i = 0; i < NCATEGORIES; i++)
    if (is(categories[i][0], name, n) || is(categories[i][1], name, n))
      return (int32_t)1 << i;
  for (size_t i = 0; i < sizeof groups / sizeof *groups; i++)
    if (is(groups[i].name, name, n) || is(groups[i].other, name, n))
      return groups[i].mask;
  return 0;
}

/* A run of Lu and Ll in turn, of which one is wanted. */
static bool add_turns(oai_set *s, uint32_t low, uint32_t high, bool upper) {
  bool ok = true;
  for (low += upper ? 0 : 1; ok && low <= high; low += 2)
    ok = oai_set_add(s, low, low);
  return ok;
}

bool oai_category_add(oai_set *s, int32_t mask, bool inverted) {
  if (mask == ANY) return inverted || oai_set_add(s, 0, OAI_CODE_MAX);
  if (mask == ASCII)
    return inverted ? oai_set_add(s, 0x80, OAI_CODE_MAX)
                    : oai_set_add(s, 0, 0x7F);
  if (mask == ASSIGNED) {
    mask = (int32_t)1 << 29;
    inverted = !inverted;
  }
  uint32_t wanted = inverted ? ~(uint32_t)mask : (uint32_t)mask, low = 0;
  bool ok = true;
  for (size_t i = 0; ok && i < oai_unicode_nruns; i++) {
    uint32_t kind = oai_unicode_runs[i] & 31,
             end = low + oai_unicode_runs[i] / 32;
    uint32_t both = wanted & 3;
    if (kind == TURNS ? both == 3 : wanted >> kind & 1)
      ok = oai_set_add(s, low, end - 1);
    else if (kind == TURNS && both)
      ok = add_turns(s, low, end - 1, both == 1);
    low = end;
  }
  return ok;
}
