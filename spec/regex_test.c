/* regex: what JSON Schema's patterns match, which are refused and why, and that
 * no pattern takes more than its steps. */
#include "../src/regex.h"
#include "support/test.h"
#include "support/torture.h"

static const char *refused(const char *pattern, size_t n) {
  static char error[OAI_REGEX_ERROR];
  oai_regex *re = oai_regex_new(pattern, n, error);
  oai_regex_free(re);
  return re ? "accepted" : error;
}

static oai_regex_answer answer(const char *pattern, const char *text,
                               size_t n) {
  char error[OAI_REGEX_ERROR];
  size_t steps = OAI_REGEX_STEPS_MAX;
  oai_regex *re = oai_regex_new(pattern, strlen(pattern), error);
  if (!CHECK(re != NULL)) printf("  %s: %s\n", pattern, error);
  if (!re) return OAI_REGEX_COSTLY;
  char *exact = oai_copy(text, n); /* the sanitizer watches its end */
  oai_regex_answer found = oai_regex_test(re, exact, n, &steps);
  free(exact);
  oai_regex_free(re);
  return found;
}

#define YES(pattern, text)                                                     \
  CHECK_EQ_INT(answer(pattern, text, sizeof(text) - 1), OAI_REGEX_YES)
#define NO(pattern, text)                                                      \
  CHECK_EQ_INT(answer(pattern, text, sizeof(text) - 1), OAI_REGEX_NO)

static void matches(void) {
  TEST("finds a match anywhere unless anchored") {
    YES("", "");
    YES("", "abc");
    YES("a+", "xxaayy");
    NO("^a+", "xxaayy");
    NO("a+$", "xxaayy");
    YES("^a*$", "aaa");
    NO("^a*$", "abc");
    YES("^", "x");
    NO("x^", "x\nx");
    NO("a$", "a\n");
  }
  TEST("takes alternatives and groups") {
    YES("^(?:ab|cd|e)$", "cd");
    YES("^(ab|cd|e)+$", "abecd");
    NO("^(ab|cd|e)+$", "abc");
    YES("^(?<year>\\d{4})-(?<_m$1>\\d\\d)$", "2024-05");
    YES("^(|a)b$", "b");
    YES("^(a|)b$", "ab");
    YES("a|^$", "");
    YES("(?:)", "x");
    YES("^(?:(?:a|b)|(?:c|d)e)+$", "abcede");
  }
  TEST("counts repeats, lazily or not") {
    YES("^a{3}$", "aaa");
    NO("^a{3}$", "aaaa");
    YES("^a{2,}$", "aaaaa");
    NO("^a{2,}$", "a");
    YES("^(ab){1,3}?$", "ababab");
    NO("^(ab){1,3}$", "abababab");
    YES("^a{0}b$", "b");
    YES("^(a{2}){2}$", "aaaa");
    NO("^(a{2}){2}$", "aaa");
    YES("^(a*)*$", "aaa");
    YES("^(a?){3}$", "a");
    YES("^(?:(?:){5})*$", "");
    YES("^a+?b*?c??$", "aabb");
    YES("^(a|b{2,3}){2}$", "bbba");
  }
}

static void characters(void) {
  TEST("counts code points, not bytes") {
    YES("^.$", "\xF0\x9F\x90\xB2");
    YES("^..$", "\xC3\xA9\xE2\x82\xAC");
    YES("^[\xC3\xA9-\xE2\x82\xAC]$", "\xE1\x80\x80");
    YES("^\\u{1F432}\\u20AC\\xe9$", "\xF0\x9F\x90\xB2\xE2\x82\xAC\xC3\xA9");
    YES("^\\ud83d\\udc32$", "\xF0\x9F\x90\xB2");
    NO("^[^a]$", "\xC3\xA9\xC3\xA9");
    YES("^.{3}$", "a\xFFz");
  }
  TEST("takes every escape of the u flag") {
    YES("^\\t\\n\\v\\f\\r\\cJ\\0$", "\t\n\v\f\r\n\0");
    YES("^\\^\\$\\\\\\.\\*\\+\\?\\(\\)\\[\\]\\{\\}\\|\\/$", "^$\\.*+?()[]{}|/");
    YES("^[\\b\\-\\]^]+$", "\b-]^");
    YES("^\\d\\D\\w\\W\\s\\S$", "1a_- x");
    YES("^\\s+$", " \t\xC2\xA0\xE2\x80\xA8\xEF\xBB\xBF");
    NO("\\d", "\xD9\xA1");
    NO("\\w", "\xC3\xA9");
  }
  TEST("takes classes") {
    NO("[]", "a");
    YES("^[^]$", "\n");
    YES("^[a-c-]+$", "a-c");
    YES("^[-a]+$", "-a");
    YES("^[\\w-]+$", "a-b");
    NO("^[^\\W\\d]$", "5");
    YES("^[^\\W\\d]$", "x");
    YES("^[\\0-\\u{10FFFF}]$", "x");
    NO("[^\\0-\\u{10FFFF}]", "x");
    NO("[^\\s\\S]", "x");
    YES("^[.*+?(){}|^$]+$", "$^|}{)(?+*.");
  }
  TEST("takes a dot for all but line terminators") {
    NO(".", "\n");
    NO(".", "\r");
    NO(".", "\xE2\x80\xA8");
    YES(".", "\xC2\x85");
  }
  TEST("knows the edges of ASCII words") {
    YES("\\bfoo\\b", "a foo b");
    NO("\\bfoo\\b", "afoo b");
    YES("^\\b.\\B.\\b$", "ab");
    YES("\\B", "");
    NO("\\b", "");
    YES("o\\b\xC3\xA9", "o\xC3\xA9");
  }
}

static void categories(void) {
  TEST("knows general categories by short and long names") {
    YES("^\\p{Letter}+$", "Hello\xCF\x80");
    NO("\\p{Letter}", "123");
    YES("^\\p{L}\\p{Lu}\\p{Ll}\\p{Lo}$", "a\xD0\x96\xC4\x81\xE4\xB8\xAD");
    NO("\\p{Lu}", "\xC4\x81");
    YES("\\p{Lu}", "\xC4\x80");
    YES("^\\p{gc=Nd}\\p{General_Category=Decimal_Number}$", "7\xD9\xA1");
    YES("^\\p{P}\\p{Sc}\\p{Zs}\\p{M}\\p{So}$",
        "!\xE2\x82\xAC \xCC\x81\xF0\x9F\x90\xB2");
    YES("^\\P{L}$", "1");
    NO("^\\P{L}$", "x");
    YES("^[^\\P{L}x]$", "a");
    NO("^[^\\P{L}x]$", "x");
    YES("^\\p{LC}\\p{ASCII}\\P{ASCII}\\p{Any}\\p{Assigned}$", "a0\xC3\xA9\n ");
    NO("\\P{Any}", "x");
    YES("\\P{Assigned}", "\xCD\xB8");
    YES("\\p{Cn}", "\xCD\xB8");
  }
}

#define REFUSED(pattern, want)                                                 \
  CHECK_EQ_CSTR(refused(pattern, sizeof(pattern) - 1), want)

static void refuses(void) {
  TEST("names what it cannot do in linear time") {
    REFUSED("a(?=b)", "lookahead is not supported (at byte 4)");
    REFUSED("a(?!b)", "lookahead is not supported (at byte 4)");
    REFUSED("(?<=a)", "lookbehind is not supported (at byte 4)");
    REFUSED("(?<!a)", "lookbehind is not supported (at byte 4)");
    REFUSED("(a)\\1", "backreferences are not supported (at byte 5)");
    REFUSED("(?<n>a)\\k<n>", "backreferences are not supported (at byte 9)");
    REFUSED("(?i)a", "invalid group; flags are not supported (at byte 3)");
  }
  TEST("refuses a property that is no category") {
    CHECK(strstr(refused("\\p{Script=Greek}", 16), "scripts") != NULL);
    CHECK(strstr(refused("\\p{l}", 5), "not a general category") != NULL);
    CHECK(strstr(refused("\\p{L", 4), "not a general category") != NULL);
    CHECK(strstr(refused("\\p{}", 4), "not a general category") != NULL);
    REFUSED("\\pL", "\\p needs a name in braces (at byte 3)");
  }
  TEST("refuses malformed patterns with the place") {
    static const char *const bad[] = {
        "*",           "+a",     "a**",     "a{1}{2}", "^*",      "\\b+",
        "a|*",         "(",      ")",       "a)b",     "(?",      "(?:",
        "(?<",         "(?<>a)", "(?<1>a)", "(?<a",    "(?P<a>)", "[",
        "[a",          "[b-a]",  "[\\d-z]", "[a-\\w]", "a{2,1}",  "{",
        "}",           "]",      "a{",      "a{x}",    "a{1",     "a{,2}",
        "\\",          "\\a",    "\\_",     "\\-",     "\\8",     "\\01",
        "\\x1",        "\\xg1",  "\\u12",   "\\u{}",   "\\c",     "\\c1",
        "\\u{110000}", "[\\",    "[\\B]",   "[\\1]",   "\\u{1F",  "(?#x)a",
        "\\p",         "a{1,2",  "(?<a>(",  "[a-",     "\\P{"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
      const char *error = refused(bad[i], strlen(bad[i]));
      if (!CHECK(strstr(error, "(at byte ") != NULL))
        printf("  %s: %s\n", bad[i], error);
    }
    REFUSED("a\xFF", "the pattern is not UTF-8 (at byte 2)");
    REFUSED("\\\0", "invalid escape; only ^$\\.*+?()[]{}|/ are escaped for "
                    "what they are (at byte 2)");
  }
}

static void repeat_text(char *out, const char *text, size_t times) {
  size_t n = strlen(text);
  for (size_t i = 0; i < times; i++) memcpy(out + i * n, text, n + 1);
}

static void bounds(void) {
  static char big[200001];
  const char *large = "the pattern is too large once its counts are unrolled";
  TEST("caps the pattern, the program, the nesting and the classes") {
    memset(big, 'a', OAI_REGEX_PATTERN_MAX + 1);
    CHECK_EQ_CSTR(refused(big, OAI_REGEX_PATTERN_MAX), "accepted");
    CHECK_EQ_CSTR(refused(big, OAI_REGEX_PATTERN_MAX + 1),
                  "the pattern is too long (at byte 1)");
    static const char *const huge[] = {
        "a{20001}",          "a{1000000000}",    "(a{100}){200}",
        "((a{30}){30}){30}", "a{0,99999999999}", "(a{1,9999}b{1,9999})"};
    for (size_t i = 0; i < sizeof huge / sizeof *huge; i++)
      CHECK(strstr(refused(huge[i], strlen(huge[i])), large) != NULL);
    CHECK_EQ_CSTR(refused("(?:){1000000000}", 16), "accepted");
    repeat_text(big, "(", 4000);
    CHECK_EQ_CSTR(refused(big, 4000),
                  "groups are nested too deep (at byte 202)");
    repeat_text(big, "\\p{L}", 1000);
    CHECK(strstr(refused(big, 5000), "classes are too large") != NULL);
    repeat_text(big, "a|", 4999);
    CHECK_EQ_CSTR(refused(big, 9998), "accepted");
  }
  TEST("answers catastrophic patterns on 100 kB within linear steps") {
    static const char *const evil[] = {
        "^(a+)+$", "(a+)+$",  "^(a|a)*$",    "^(a|aa)+$",
        "(.*)*x$", "^(a*)*$", "^(a|a|a?)+$", "^(([a-z])+.)+[A-Z]$"};
    memset(big, 'a', 100000);
    big[99999] = '!';
    for (size_t i = 0; i < sizeof evil / sizeof *evil; i++) {
      char error[OAI_REGEX_ERROR];
      size_t steps = 3000000;
      oai_regex *re = oai_regex_new(evil[i], strlen(evil[i]), error);
      if (CHECK(re != NULL))
        CHECK_EQ_INT(oai_regex_test(re, big, 100000, &steps), OAI_REGEX_NO);
      oai_regex_free(re);
    }
  }
  TEST("gives up when the steps are used up") {
    char error[OAI_REGEX_ERROR];
    size_t steps = 1000000;
    oai_regex *re = oai_regex_new("a{0,9000}!", 10, error);
    memset(big, 'a', 100000);
    if (CHECK(re != NULL)) {
      CHECK_EQ_INT(oai_regex_test(re, big, 100000, &steps), OAI_REGEX_COSTLY);
      CHECK_EQ_INT(steps, 0);
    }
    oai_regex_free(re);
  }
}

/* Any bytes at all: refused or run, never more. */
static void any_bytes(void) {
  TEST("survives 20,000 random patterns") {
    static const char alphabet[] =
        "ab()[]{}|*+?^$\\.-,:<>=!0123pPdwbux\xC3\xA9";
    unsigned seed = 1;
    int accepted = 0;
    for (int i = 0; i < 20000; i++) {
      char pattern[24], error[OAI_REGEX_ERROR];
      size_t n = 0;
      for (seed = seed * 1103515245u + 12345u; n < (seed >> 16) % 24; n++) {
        seed = seed * 1103515245u + 12345u;
        pattern[n] = alphabet[(seed >> 16) % (sizeof alphabet - 1)];
      }
      char *exact = oai_copy(pattern, n);
      oai_regex *re = oai_regex_new(exact, n, error);
      size_t steps = 10000;
      if (re) oai_regex_test(re, "ab1\xC3\xA9--\n", 8, &steps);
      accepted += re != NULL;
      oai_regex_free(re);
      free(exact);
    }
    CHECK(accepted > 500 && accepted < 19500);
  }
}

/* Fails the k-th allocation, for every k until none is left to fail. */
static void no_memory(void) {
  TEST("gives back all memory when some of it is missing") {
    static const char pattern[] =
        "^(?:a|[b-d\\p{Lu}]{2,9}|\\P{L}+?|[^\\W_])*(x|y|z){3}$";
    int failed = 0;
    for (long k = 1; torture_possible; k++) {
      char error[OAI_REGEX_ERROR];
      torture_hit = false;
      torture_left = k;
      oai_regex *re = oai_regex_new(pattern, sizeof pattern - 1, error);
      torture_left = 0;
      CHECK(re || torture_hit); /* qsort does without */
      failed += re == NULL;
      CHECK(*error == 0);
      oai_regex_free(re);
      if (!torture_hit) break;
    }
    CHECK(!torture_possible || failed > 20);
  }
}

int main(void) {
  matches();
  characters();
  categories();
  refuses();
  bounds();
  any_bytes();
  no_memory();
  return test_report();
}
