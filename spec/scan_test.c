/* scan: what is read, what is refused and where, and that nothing beyond the
 * text is touched. The JSON suite itself is read in json_suite_spec.lua. */
#include "../src/scan.h"
#include "support/test.h"

/* A copy without a NUL, so that the sanitizer watches the text's end. */
static char *exact(const char *text, size_t n) {
  char *copy = malloc(n ? n : 1);
  if (copy && n) memcpy(copy, text, n);
  return copy;
}

static oai_scan_error scan_all(const char *text, size_t n, int depth,
                               size_t *at) {
  oai_scan s;
  char *copy = exact(text, n);
  oai_scan_init(&s, copy, n, depth);
  bool ok = oai_scan_skip(&s, NULL) && oai_scan_finish(&s);
  if (ok != (s.error == OAI_SCAN_OK)) abort();
  *at = (size_t)(s.p - s.start);
  free(copy);
  return s.error;
}

static oai_scan_error error_of(const char *text) {
  size_t at;
  return scan_all(text, strlen(text), 100, &at);
}

static void check_error(const char *text, oai_scan_error error, size_t at) {
  size_t got;
  if (CHECK_EQ_INT(scan_all(text, strlen(text), 100, &got), error) &&
      CHECK_EQ_INT(got, at))
    return;
  printf("    in %s\n", text);
}

static void accepts(void) {
  static const char *texts[] = {
      "{}",
      "[]",
      " [ ] ",
      "[[],[[]],{}]",
      "{\"a\":1,\"b\":[true,false,null]}",
      "\t\r\n 1 ",
      "0",
      "-0",
      "-0.0e-0",
      "1E+2",
      "123.456e78",
      "\"\"",
      "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\uD83d\\u0000\"",
      "\"\x7f\xff\"", /* UTF-8 is the caller's */
      "true",
  };
  TEST("accepts what the RFC allows") {
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
      check_error(texts[i], OAI_SCAN_OK, strlen(texts[i]));
  }
}

static void refuses(void) {
  TEST("refuses with the error at the byte that caused it") {
    check_error("[1,]", OAI_SCAN_SYNTAX, 3);
    check_error("[,1]", OAI_SCAN_SYNTAX, 1);
    check_error("[1 2]", OAI_SCAN_SYNTAX, 3);
    check_error("[1}", OAI_SCAN_SYNTAX, 2);
    check_error("{\"a\" 1}", OAI_SCAN_SYNTAX, 5);
    check_error("{\"a\":1,}", OAI_SCAN_SYNTAX, 7);
    check_error("{1:2}", OAI_SCAN_SYNTAX, 1);
    check_error("{\"a\":}", OAI_SCAN_SYNTAX, 5);
    check_error("01", OAI_SCAN_SYNTAX, 1);
    check_error("-x", OAI_SCAN_SYNTAX, 1);
    check_error("1.x", OAI_SCAN_SYNTAX, 2);
    check_error("1e+x", OAI_SCAN_SYNTAX, 3);
    check_error("1 2", OAI_SCAN_SYNTAX, 2);
    check_error("truE", OAI_SCAN_SYNTAX, 3);
    check_error("nan", OAI_SCAN_SYNTAX, 1);
    check_error("Infinity", OAI_SCAN_SYNTAX, 0);
    check_error("'a'", OAI_SCAN_SYNTAX, 0);
    check_error("]", OAI_SCAN_SYNTAX, 0);
    check_error("\"a\nb\"", OAI_SCAN_SYNTAX, 2);
    check_error("\"a\\xb\"", OAI_SCAN_SYNTAX, 3);
    check_error("\"\\u12g4\"", OAI_SCAN_SYNTAX, 5);
    check_error("\f1", OAI_SCAN_SYNTAX, 0);
  }
  TEST("says cut wherever a text ends inside a value") {
    const char *text = "{\"a\":[1.5e3,\"x\\u00e9\\n\",true,{\"b\":null}]}";
    for (size_t n = 0; n < strlen(text); n++) {
      size_t at;
      CHECK_EQ_INT(scan_all(text, n, 100, &at), OAI_SCAN_CUT);
      CHECK_EQ_INT(at, n);
    }
    oai_scan s;
    oai_scan_init(&s, NULL, 0, 100);
    CHECK(!oai_scan_skip(&s, NULL) && s.error == OAI_SCAN_CUT);
    CHECK_EQ_INT(error_of("-"), OAI_SCAN_CUT);
    CHECK_EQ_INT(error_of("1."), OAI_SCAN_CUT);
    CHECK_EQ_INT(error_of("1e"), OAI_SCAN_CUT);
  }
}

static void check_plain(size_t n, size_t stop, char c) {
  char text[40];
  memset(text, 'x', sizeof text);
  text[stop] = c;
  char *copy = exact(text, n);
  bool stops = c == '"' || c == '\\' || (unsigned char)c < 0x20;
  CHECK_EQ_INT(oai_scan_plain(copy, n), stops && stop < n ? stop : n);
  free(copy);
}

static void finds_ends(void) {
  TEST("finds every byte that ends a run, at every place, and no other") {
    for (size_t n = 0; n < 30; n++)
      for (size_t stop = 0; stop < 30; stop++)
        for (int c = 0; c < 256; c++) check_plain(n, stop, (char)c);
  }
  TEST("is not led astray by a byte after the one that ends a run") {
    CHECK_EQ_INT(oai_scan_plain("ab\"#\x80\xff!x", 8), 2);
    CHECK_EQ_INT(oai_scan_plain("\xA2\x22\x23\xDC\x5C]\x1f ", 8), 1);
    CHECK_EQ_INT(oai_scan_plain("abc\x1f\x20\x21]#", 8), 3);
  }
}

static void bounds_depth(void) {
  static char deep[200000];
  size_t at;
  TEST("row 88: refuses depth 100,000 at the first bracket too many") {
    memset(deep, '[', sizeof deep / 2);
    memset(deep + sizeof deep / 2, ']', sizeof deep / 2);
    CHECK_EQ_INT(scan_all(deep, sizeof deep, 128, &at), OAI_SCAN_DEEP);
    CHECK_EQ_INT(at, 128);
  }
  TEST("accepts the deepest text allowed") {
    CHECK_EQ_INT(scan_all("[[[]]]", 6, 3, &at), OAI_SCAN_OK);
    CHECK_EQ_INT(scan_all("[[[]]]", 6, 2, &at), OAI_SCAN_DEEP);
    CHECK_EQ_INT(scan_all("[[],[],{\"a\":[]}]", 16, 3, &at), OAI_SCAN_OK);
    CHECK_EQ_INT(scan_all("1", 1, 0, &at), OAI_SCAN_OK);
    CHECK_EQ_INT(scan_all("{}", 2, 0, &at), OAI_SCAN_DEEP);
  }
}

static void walks(void) {
  const char *text =
      " {\"a\" : [1, -2.5e1] , \"b\":{\"x\":\"y\\n\"}, \"c\":null}";
  oai_scan s;
  oai_scan_str str;
  oai_scan_num num;
  oai_slice raw;
  TEST("walks an object member by member") {
    oai_scan_init(&s, text, strlen(text), 10);
    CHECK_EQ_INT(oai_scan_peek(&s), '{');
    CHECK(oai_scan_open(&s) && oai_scan_key(&s, &str));
    CHECK(oai_scan_str_is(&str, "a") && !str.escaped);
    CHECK(oai_scan_peek(&s) == '[' && oai_scan_open(&s));
    CHECK(oai_scan_item(&s) && oai_scan_number(&s, &num));
    CHECK(num.integer && num.n == 1);
    CHECK(oai_scan_item(&s) && oai_scan_number(&s, &num));
    CHECK(!num.integer);
    CHECK_EQ_MEM(num.p, num.n, "-2.5e1", 6);
    CHECK(!oai_scan_item(&s) && s.error == OAI_SCAN_OK);
    CHECK(oai_scan_key(&s, &str) && oai_scan_str_is(&str, "b"));
    CHECK(oai_scan_skip(&s, &raw));
    CHECK_EQ_STR(raw, "{\"x\":\"y\\n\"}");
    CHECK(oai_scan_key(&s, &str) && oai_scan_peek(&s) == 'n');
    CHECK(oai_scan_literal(&s) && !oai_scan_key(&s, &str));
    CHECK(oai_scan_finish(&s) && s.depth == 0);
  }
  TEST("keeps its first error") {
    oai_scan_init(&s, "[x", 2, 10);
    CHECK(oai_scan_open(&s) && oai_scan_item(&s) && !oai_scan_skip(&s, NULL));
    CHECK(!oai_scan_item(&s) && !oai_scan_string(&s, &str));
    CHECK(!oai_scan_finish(&s) && oai_scan_peek(&s) == 0);
    CHECK_EQ_INT(s.error, OAI_SCAN_SYNTAX);
    CHECK_EQ_INT(s.p - s.start, 1);
  }
  TEST("refuses a kind of value other than the one asked for") {
    oai_scan_init(&s, "1", 1, 10);
    CHECK(!oai_scan_string(&s, &str) && s.error == OAI_SCAN_SYNTAX);
    oai_scan_init(&s, "\"\"", 2, 10);
    CHECK(!oai_scan_number(&s, &num) && s.error == OAI_SCAN_SYNTAX);
    oai_scan_init(&s, "1", 1, 10);
    CHECK(!oai_scan_literal(&s) && s.error == OAI_SCAN_SYNTAX);
    oai_scan_init(&s, "1", 1, 10);
    CHECK(!oai_scan_open(&s) && s.error == OAI_SCAN_SYNTAX);
  }
}

static void unescapes(const char *text, unsigned *high, const char *want,
                      size_t want_n) {
  size_t n = strlen(text);
  oai_scan_str str = {text, n, strchr(text, '\\') != NULL};
  char *out = malloc(n + 3);
  if (!out) abort();
  size_t got = oai_scan_unescape(&str, out, high);
  CHECK_EQ_MEM(out, got, want, want_n);
  free(out);
}

#define ALONE(text, want) unescapes(text, NULL, want, sizeof(want) - 1)
#define PART(text, want) unescapes(text, &high, want, sizeof(want) - 1)
#define BAD "\xEF\xBF\xBD"

static void decodes_escapes(void) {
  unsigned high = 0;
  TEST("decodes every escape") {
    ALONE("plain", "plain");
    ALONE("\\\"\\\\\\/\\b\\f\\n\\r\\t", "\"\\/\b\f\n\r\t");
    ALONE("a\\u0041\\u00e9\\u20AC\\u0000z", "aA\xC3\xA9\xE2\x82\xAC\0z");
    ALONE("\\uD83D\\uDE80", "\xF0\x9F\x9A\x80");
    ALONE("\\uDBFF\\uDFFF", "\xF4\x8F\xBF\xBF");
  }
  TEST("row 86: turns lone surrogates into U+FFFD") {
    ALONE("\\uD83D", BAD);
    ALONE("\\uD83Dx", BAD "x");
    ALONE("\\uD83D\\n", BAD "\n");
    ALONE("\\uDE80", BAD);
    ALONE("\\uDE80\\uD83D", BAD BAD);
    ALONE("\\uD83D\\uD83D\\uDE80", BAD "\xF0\x9F\x9A\x80");
    ALONE("\\uD83D\\u0041", BAD "A");
  }
  TEST("row 85: joins a pair that is split over two parts") {
    PART("a\\uD83D", "a");
    PART("", "");
    PART("\\uDE80b", "\xF0\x9F\x9A\x80"
                     "b");
    CHECK_EQ_INT(high, 0);
    PART("\\uD83D", "");
    PART("x", BAD "x");
    PART("\\uD83D", "");
    PART("\\uD83D", BAD);
    PART("\\uDE80", "\xF0\x9F\x9A\x80");
  }
}

static bool named(const char *text, const char *name) {
  oai_scan_str str = {text, strlen(text), strchr(text, '\\') != NULL};
  return oai_scan_str_is(&str, name);
}

static void compares(void) {
  TEST("compares names, escaped or not, of any length") {
    CHECK(named("content", "content"));
    CHECK(named("c\\u006fntent", "content"));
    CHECK(!named("conten", "content") && !named("contents", "content"));
    CHECK(!named("c\\u006fntents", "content"));
    CHECK(!named("\\u0063", "content") && !named("", "content"));
    CHECK(
        named("\\u0072\\u0065\\u0061\\u0073\\u006f\\u006e\\u0069\\u006e\\u0067"
              "\\u005f\\u0063\\u006f\\u006e\\u0074\\u0065\\u006e\\u0074",
              "reasoning_content"));
  }
}

int main(void) {
  accepts();
  refuses();
  finds_ends();
  bounds_depth();
  walks();
  decodes_escapes();
  compares();
  return test_report();
}
