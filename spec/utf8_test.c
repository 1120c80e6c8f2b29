/* utf8: every code point there and back, every kind of ill-formed sequence at
 * every place in a word, and WHATWG's repairs. */
#include "../src/utf8.h"
#include "support/test.h"

static bool valid(const char *p, size_t n) {
  return oai_utf8_valid(p, n) == n;
}

#define VALID(text) valid(text, sizeof(text) - 1)

static void puts_code_points(void) {
  TEST("writes every code point as the valid bytes that stand for it") {
    bool all = true;
    for (unsigned code = 0; code <= 0x10FFFF; code++) {
      char bytes[4];
      size_t n = oai_utf8_put(bytes, code);
      size_t want = code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
      bool surrogate = code >= 0xD800 && code <= 0xDFFF;
      all = all && n == want && valid(bytes, n) == !surrogate;
    }
    CHECK(all);
  }
}

static void checks(void) {
  TEST("takes well-formed text whole") {
    CHECK(VALID(""));
    CHECK_EQ_INT(oai_utf8_valid(NULL, 0), 0);
    CHECK(VALID("a\0b"));
    CHECK(VALID("\xC2\x80\xDF\xBF\xE0\xA0\x80\xED\x9F\xBF\xEE\x80\x80"));
    CHECK(VALID("\xEF\xBF\xBF\xF0\x90\x80\x80\xF4\x8F\xBF\xBF"));
  }
  TEST("refuses overlong forms, surrogates and what is above U+10FFFF") {
    CHECK(!VALID("\xC0\x80"));
    CHECK(!VALID("\xC1\xBF"));
    CHECK(!VALID("\xE0\x9F\xBF"));
    CHECK(!VALID("\xF0\x8F\xBF\xBF"));
    CHECK(!VALID("\xED\xA0\x80"));
    CHECK(!VALID("\xED\xBF\xBF"));
    CHECK(!VALID("\xF4\x90\x80\x80"));
    CHECK(!VALID("\xF5\x80\x80\x80"));
    CHECK(!VALID("\xFE"));
    CHECK(!VALID("\xFF"));
  }
  TEST("refuses stray and missing continuation bytes") {
    CHECK(!VALID("\x80"));
    CHECK(!VALID("\xBF"));
    CHECK(!VALID("\xC3"));
    CHECK(!VALID("\xE2\x82"));
    CHECK(!VALID("\xF0\x9F\x9A"));
    CHECK(!VALID("\xE2\x82z"));
    CHECK(!VALID("\xE2z\xAC"));
    CHECK(!VALID("\xC3\xC3\xA9"));
    CHECK(!VALID("\xC3\xA9\xA9"));
  }
}

/* The text, with ASCII around it, so that it meets every edge of a word. */
static void check_places(const char *text, size_t n, size_t good) {
  bool all = true;
  for (size_t before = 0; before < 20; before++) {
    for (size_t after = 0; after < 20; after++) {
      char line[64];
      memset(line, 'x', sizeof line);
      memcpy(line + before, text, n);
      size_t length = before + n + after;
      size_t want = good == n ? length : before + good;
      char *exact = oai_copy(line, length); /* the sanitizer watches its end */
      all = all && oai_utf8_valid(exact, length) == want;
      free(exact);
    }
  }
  CHECK(all);
}

static void finds_the_place(void) {
  TEST("finds the first bad byte at any place of a long text") {
    check_places("\xFF", 1, 0);
    check_places("\xE2\x82\xAC\x80", 4, 3);
    check_places("\xC3\xA9\xF0\x9F\x9Az", 6, 2);
    check_places("\xED\xA0\x80", 3, 0);
  }
  TEST("takes good sequences at any place of a long text") {
    check_places("\xC3\xA9", 2, 2);
    check_places("\xE2\x82\xAC", 3, 3);
    check_places("\xF0\x9F\x9A\x80", 4, 4);
    check_places("\xC3\xA9z\xE2\x82\xACz\xF0\x9F\x9A\x80", 11, 11);
  }
}

static void repairs_to(const char *text, size_t n, const char *want) {
  oai_buf b;
  oai_buf_init(&b, 1000);
  CHECK_EQ_INT(oai_utf8_repair(&b, text, n), OAI_BUF_OK);
  oai_slice got = {b.p, b.n};
  CHECK_EQ_STR(got, want);
  oai_buf_free(&b);
}

#define REPAIRS(text, want) repairs_to(text, sizeof(text) - 1, want)
#define BAD "\xEF\xBF\xBD"

static void repairs(void) {
  TEST("leaves good text alone") {
    REPAIRS("", "");
    REPAIRS("caf\xC3\xA9 \xF0\x9F\x9A\x80", "caf\xC3\xA9 \xF0\x9F\x9A\x80");
  }
  TEST("puts one U+FFFD for each maximal ill-formed subpart") {
    REPAIRS("a\x80z", "a" BAD "z");
    REPAIRS("\xE2\x82", BAD);
    REPAIRS("\xE2\x82z", BAD "z");
    REPAIRS("\xF0\x9F\x9A", BAD);
    REPAIRS("\xF0\x9F\x9A\xC3\xA9", BAD "\xC3\xA9");
    REPAIRS("\xC0\x80", BAD BAD);
    REPAIRS("\xED\xA0\x80", BAD BAD BAD);
    REPAIRS("\xF4\x90\x80\x80", BAD BAD BAD BAD);
    /* Unicode 15, table 3-8 */
    REPAIRS("\x61\xF1\x80\x80\xE1\x80\xC2\x62\x80\x63\x80\xBF\x64",
            "a" BAD BAD BAD "b" BAD "c" BAD BAD "d");
  }
  TEST("says when the buffer's cap is reached") {
    oai_buf b;
    oai_buf_init(&b, 4);
    CHECK_EQ_INT(oai_utf8_repair(&b, "ab\xFF", 3), OAI_BUF_FULL);
    CHECK_EQ_INT(b.n, 2);
    oai_buf_free(&b);
  }
}

int main(void) {
  puts_code_points();
  checks();
  finds_the_place();
  repairs();
  return test_report();
}
