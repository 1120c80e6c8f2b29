/* buf: caps, growth, the promise that a failed append changes nothing. */
#include "support/test.h"

/* The sanitizer's malloc ends the program otherwise, where others say NULL. */
const char *__asan_default_options(void);
const char *__asan_default_options(void) {
  return "allocator_may_return_null=1";
}

static oai_slice of(const oai_buf *b) {
  oai_slice s = {b->p, b->n};
  return s;
}

static void grows(void) {
  oai_buf b;
  oai_buf_init(&b, 1000);
  TEST("holds what was appended, in order") {
    CHECK_EQ_INT(oai_buf_append(&b, "hello", 5), OAI_BUF_OK);
    CHECK_EQ_INT(oai_buf_append(&b, "", 0), OAI_BUF_OK);
    CHECK_EQ_INT(oai_buf_append(&b, " \0x", 3), OAI_BUF_OK);
    CHECK_EQ_LIT(of(&b), "hello \0x");
  }
  TEST("drops bytes from its front") {
    oai_buf_consume(&b, 0);
    CHECK_EQ_LIT(of(&b), "hello \0x");
    oai_buf_consume(&b, 5);
    CHECK_EQ_LIT(of(&b), " \0x");
    oai_buf_consume(&b, 3);
    CHECK_EQ_INT(b.n, 0);
  }
  TEST("makes room that appends then use without moving") {
    CHECK_EQ_INT(oai_buf_reserve(&b, 700), OAI_BUF_OK);
    const char *before = b.p;
    for (int i = 0; i < 700; i++) oai_buf_append(&b, "x", 1);
    CHECK(b.p == before);
    CHECK_EQ_INT(b.n, 700);
  }
  oai_buf_free(&b);
}

static void stops_at_its_cap(void) {
  oai_buf b;
  oai_buf_init(&b, 10);
  TEST("takes exactly as many bytes as its cap allows") {
    CHECK_EQ_INT(oai_buf_append(&b, "123456789", 9), OAI_BUF_OK);
    CHECK_EQ_INT(oai_buf_append(&b, "0", 1), OAI_BUF_OK);
    CHECK_EQ_INT(oai_buf_append(&b, "1", 1), OAI_BUF_FULL);
    CHECK(b.cap <= 10);
  }
  TEST("stays as it was after a failed append") {
    CHECK_EQ_STR(of(&b), "1234567890");
    CHECK_EQ_INT(oai_buf_append(&b, "abc", (size_t)-1), OAI_BUF_FULL);
    CHECK_EQ_INT(oai_buf_reserve(&b, (size_t)-5), OAI_BUF_FULL);
    CHECK_EQ_STR(of(&b), "1234567890");
  }
  TEST("is empty and usable with the same cap after it was freed") {
    oai_buf_free(&b);
    CHECK(b.p == NULL && b.n == 0 && b.cap == 0);
    CHECK_EQ_INT(oai_buf_append(&b, "12345678901", 11), OAI_BUF_FULL);
    CHECK_EQ_INT(oai_buf_append(&b, "1234567890", 10), OAI_BUF_OK);
    oai_buf_free(&b);
  }
  TEST("says that memory is short and stays as it was") {
    oai_buf_init(&b, (size_t)-1);
    oai_buf_append(&b, "abc", 3);
    CHECK_EQ_INT(oai_buf_reserve(&b, (size_t)-1 / 4), OAI_BUF_NOMEM);
    CHECK_EQ_STR(of(&b), "abc");
    oai_buf_free(&b);
  }
}

static void wipes(void) {
  TEST("overwrites secrets before it frees them") {
    char key[] = "sk-secret";
    oai_wipe(key, sizeof key);
    for (size_t i = 0; i < sizeof key; i++) CHECK_EQ_INT(key[i], 0);
    oai_buf b;
    oai_buf_init(&b, 100);
    oai_buf_wipe(&b);
    oai_buf_append(&b, "sk-secret", 9);
    oai_buf_wipe(&b);
    CHECK(b.p == NULL && b.n == 0 && b.max == 100);
  }
}

static void copies(void) {
  TEST("copies bytes with a NUL behind them") {
    char *copy = oai_copy("abcdef", 3), *empty = oai_copy(NULL, 0);
    CHECK_EQ_CSTR(copy, "abc");
    CHECK_EQ_CSTR(empty, "");
    free(copy);
    free(empty);
  }
  TEST("compares a slice with a text") {
    oai_slice s = {"data: x", 4};
    CHECK(oai_slice_is(s, "data"));
    CHECK(!oai_slice_is(s, "dat"));
    CHECK(!oai_slice_is(s, "data:"));
  }
}

int main(void) {
  grows();
  stops_at_its_cap();
  wipes();
  copies();
  return test_report();
}
