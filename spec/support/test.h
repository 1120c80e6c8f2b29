/* test: the harness of every spec/<file>_test.c. Knows oai_slice, nothing else.
 *
 *   int main(void) {
 *     TEST("resumes an event split inside a UTF-8 sequence") {
 *       if (CHECK(p != NULL)) CHECK_EQ_INT(p->n, 3);
 *     }
 *     return test_report();
 *   }
 *
 * TEST may also open a function ("TEST(...);"); it lasts until the next one. A
 * failed check is printed and the test goes on; each check yields whether it
 * held. With TEST_VERBOSE set in the environment every sentence is printed. */
#ifndef OAI_TEST_H
#define OAI_TEST_H

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../src/buf.h"

#if defined __GNUC__
#define TEST_MAYBE __attribute__((unused)) static
#else
#define TEST_MAYBE static
#endif

static struct {
  const char *file;
  const char *sentence; /* NULL before the first test */
  bool bad;
  int passed, failed;
} test_state;

TEST_MAYBE void test_end(void) {
  if (!test_state.sentence) return;
  if (test_state.bad)
    test_state.failed++;
  else
    test_state.passed++;
  if (!test_state.bad && getenv("TEST_VERBOSE"))
    printf("ok   %s\n", test_state.sentence);
  test_state.sentence = NULL;
}

TEST_MAYBE void test_begin(const char *file, const char *sentence) {
  test_end();
  test_state.file = file;
  test_state.sentence = sentence;
  test_state.bad = false;
}

TEST_MAYBE bool test_fail(const char *file, int line, const char *what) {
  if (!test_state.sentence) test_begin(file, "(outside of a test)");
  if (!test_state.bad) printf("FAIL %s\n", test_state.sentence);
  test_state.bad = true;
  printf("  %s:%d: %s", file, line, what);
  return false;
}

TEST_MAYBE bool test_check(bool ok, const char *file, int line,
                           const char *what) {
  if (ok) return true;
  test_fail(file, line, what);
  printf("\n");
  return false;
}

TEST_MAYBE bool test_int(long long got, long long want, const char *file,
                         int line, const char *what) {
  if (got == want) return true;
  test_fail(file, line, what);
  printf(" is %lld, expected %lld\n", got, want);
  return false;
}

TEST_MAYBE void test_show(const char *p, size_t n) {
  if (!p) {
    printf("NULL");
    return;
  }
  putchar('"');
  for (size_t i = 0; i < n && i < 300; i++) {
    unsigned char c = (unsigned char)p[i];
    if (c >= 32 && c < 127 && c != '"' && c != '\\')
      putchar(c);
    else
      printf("\\x%02x", c);
  }
  printf(n > 300 ? "...\" (%zu bytes)" : "\"", n);
}

TEST_MAYBE bool test_mem(const char *got, size_t n, const char *want,
                         size_t want_n, const char *file, int line,
                         const char *what) {
  bool same = n == want_n && (n == 0 || (got && memcmp(got, want, n) == 0));
  if (same) return true;
  test_fail(file, line, what);
  printf("\n    got      ");
  test_show(got, n);
  printf("\n    expected ");
  test_show(want, want_n);
  printf("\n");
  return false;
}

TEST_MAYBE bool test_slice(oai_slice got, const char *want, size_t want_n,
                           const char *file, int line, const char *what) {
  return test_mem(got.p, got.n, want, want_n, file, line, what);
}

/* Prints "NAME: N passed, N failed"; the exit status of main. */
TEST_MAYBE int test_report(void) {
  test_end();
  const char *name = test_state.file ? test_state.file : "no tests";
  if (strrchr(name, '/')) name = strrchr(name, '/') + 1;
  printf("%.*s: %d passed, %d failed\n", (int)strcspn(name, "."), name,
         test_state.passed, test_state.failed);
  return test_state.failed == 0 && test_state.passed > 0 ? 0 : 1;
}

#define TEST(sentence) test_begin(__BASE_FILE__, sentence);
#define CHECK(cond) test_check((cond) ? true : false, __FILE__, __LINE__, #cond)
#define CHECK_EQ_INT(got, want)                                                \
  test_int((long long)(got), (long long)(want), __FILE__, __LINE__, #got)
/* An oai_slice against a C string. */
#define CHECK_EQ_STR(slice, want)                                              \
  test_slice((slice), (want), strlen(want), __FILE__, __LINE__, #slice)
/* An oai_slice against a literal that may hold NULs. */
#define CHECK_EQ_LIT(slice, want)                                              \
  test_slice((slice), (want), sizeof(want) - 1, __FILE__, __LINE__, #slice)
#define CHECK_EQ_MEM(got, n, want, want_n)                                     \
  test_mem((got), (n), (want), (want_n), __FILE__, __LINE__, #got)
/* A C string against a C string. */
#define CHECK_EQ_CSTR(got, want)                                               \
  test_mem((got), (got) ? strlen(got) : 0, (want), strlen(want), __FILE__,     \
           __LINE__, #got)

#endif
