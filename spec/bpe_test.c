/* bpe: where words end, which bytes are merged first, what a broken file of
 * ranks is told, and that no bytes do harm. The counts of real ranks are held
 * against npm's by spec/support/tokens.sh. */
#include "../src/bpe.h"
#include "../src/bpe_internal.h"
#include "../src/digest.h"
#include "support/test.h"
#include "support/torture.h"

#include <stdint.h>

/* A file with all bytes as the first 256 ranks, then these tokens. */
static oai_buf ranks_file(const char *const *tokens) {
  oai_buf file;
  char line[400], coded[360];
  oai_buf_init(&file, 1000000);
  for (int i = 0; i < 256 || tokens[i - 256]; i++) {
    char byte = (char)i;
    const char *token = i < 256 ? &byte : tokens[i - 256];
    size_t n = i < 256 ? 1 : strlen(token);
    oai_base64(coded, token, n);
    int size = snprintf(line, sizeof line, "%.*s %d\n", (int)oai_base64_size(n),
                        coded, i);
    oai_buf_append(&file, line, (size_t)size);
  }
  return file;
}

static oai_bpe *encoder(const char *name, const char *const *tokens) {
  char error[OAI_BPE_ERROR];
  oai_buf file = ranks_file(tokens);
  oai_bpe *b = oai_bpe_new(name, file.p, file.n, error);
  if (!CHECK(b != NULL)) printf("  %s\n", error);
  oai_buf_free(&file);
  return b;
}

/* The words of a text, with | between them. */
static const char *words(const char *name, const char *text, size_t n) {
  static char out[2000];
  static const char *const none[] = {NULL};
  oai_bpe *b = encoder(name, none);
  char *exact = malloc(n + 1), *at = out;
  *out = '\0';
  if (!b || !exact) return "";
  memcpy(exact + 1, text, n); /* the sanitizer watches its end */
  const unsigned char *p = (const unsigned char *)exact + 1, *end = p + n;
  while (p < end) {
    size_t size = b->split(&b->classes, p, end);
    at += sprintf(at, "%s%.*s", at == out ? "" : "|", (int)size, (char *)p);
    p += size;
  }
  free(exact);
  oai_bpe_free(b);
  return out;
}

#define CL100K(text, want)                                                     \
  CHECK_EQ_CSTR(words("cl100k_base", text, sizeof(text) - 1), want)
#define O200K(text, want)                                                      \
  CHECK_EQ_CSTR(words("o200k_base", text, sizeof(text) - 1), want)
#define BOTH(text, want)                                                       \
  CL100K(text, want);                                                          \
  O200K(text, want)

static void splits(void) {
  TEST("a word takes the one character before it, unless it ends a line") {
    BOTH("hello world", "hello| world");
    BOTH("a,b\tc (d", "a|,b|\tc| (|d");
    BOTH("a\nb", "a|\n|b");
  }
  TEST("numbers come in threes") {
    BOTH("1234567 12", "123|456|7| |12");
    BOTH("\xD9\xA1\xD9\xA2\xD9\xA3\xD9\xA4",
         "\xD9\xA1\xD9\xA2\xD9\xA3|\xD9\xA4");
  }
  TEST("a contraction stands apart in cl100k_base and ends the word in o200k") {
    CL100K("we'LL don't it'\xC5\xBF", "we|'LL| don|'t| it|'\xC5\xBF");
    O200K("we'LL don't it'\xC5\xBF", "we'LL| don't| it'\xC5\xBF");
    CL100K("'sad 'x", "'s|ad| '|x");
    O200K("'sad 'x", "'sad| '|x");
    BOTH("'", "'");
    CL100K("a'l", "a|'l");
  }
  TEST("capitals begin a word in o200k_base") {
    O200K("HTTPServer iPhone ABC aB", "HTTPServer| i|Phone| ABC| a|B");
    CL100K("HTTPServer iPhone", "HTTPServer| iPhone");
    O200K("\xE4\xB8\xAD"
          "A",
          "\xE4\xB8\xAD|A");
    O200K("\xE4\xB8\xAD"
          "Ab",
          "\xE4\xB8\xAD"
          "Ab");
  }
  TEST("a mark is a letter to o200k_base and a sign to cl100k_base") {
    O200K("a\xCC\x81"
          "b",
          "a\xCC\x81"
          "b");
    CL100K("a\xCC\x81"
           "b",
           "a|\xCC\x81"
           "b");
    O200K("!\xCC\x81"
          "AB",
          "!\xCC\x81|AB");
    O200K("\xCC\x81"
          "AB",
          "\xCC\x81|AB");
    O200K("\xCC\x81"
          "Ab",
          "\xCC\x81"
          "Ab");
    O200K("\xCC\x81", "\xCC\x81");
  }
  TEST("signs take a blank before and the lines' ends behind") {
    CL100K("a !?\r\n\nb //\n/", "a| !?\r\n\n|b| //\n|/");
    O200K("a !?\r\n\nb //\n/", "a| !?\r\n\n|b| //\n/");
  }
  TEST("blanks leave one to the word behind them, and end with their last "
       "line") {
    BOTH("a   b", "a|  | b");
    BOTH("a \n \n  b", "a| \n \n| | b");
    BOTH("a   ", "a|   ");
    CL100K("a \n  ", "a| \n  ");
    O200K("a \n  ", "a| \n|  ");
    BOTH("\xC2\x85\xC2\x85x", "\xC2\x85|\xC2\x85x");
    BOTH(" \xEF\xBB\xBF 1", " \xEF\xBB\xBF| |1");
  }
  TEST("a byte that is not UTF-8 is a sign of its own") {
    BOTH("a\xFF"
         "b",
         "a|\xFF"
         "b");
    BOTH("\xFF\xFE 1", "\xFF\xFE| |1");
    BOTH("\xE4\xB8", "\xE4\xB8");
    BOTH("1\xED\xA0\x80 1", "1|\xED\xA0\x80| |1");
    BOTH("1\xF4\x90\x80\x80 1", "1|\xF4\x90\x80\x80| |1");
    BOTH("1\xE0\x80\x80", "1|\xE0\x80\x80");
  }
}

static const char *ids(oai_bpe *b, const char *text, size_t n) {
  static char out[2000];
  uint32_t list[200];
  size_t count = 0, again = 0;
  char *at = out;
  *out = '\0';
  CHECK(oai_bpe_encode(b, text, n, list, 200, &count));
  CHECK(oai_bpe_encode(b, text, n, NULL, 0, &again));
  CHECK_EQ_INT(again, count);
  for (size_t i = 0; i < count && i < 200; i++)
    at += sprintf(at, "%s%u", i ? " " : "", (unsigned)list[i]);
  return out;
}

static void merges(void) {
  static const char *const tokens[] = {"bc", "ab", "abc", "aa", "aaaa", NULL};
  oai_bpe *b = encoder("cl100k_base", tokens);
  if (!b) return;
  TEST("a word that is a token is that token") {
    CHECK_EQ_CSTR(ids(b, "abc", 3), "258");
  }
  TEST("the pair of the lowest rank is merged first, the leftmost of equal "
       "ones") {
    CHECK_EQ_CSTR(ids(b, "abcd", 4), "258 100");
    CHECK_EQ_CSTR(ids(b, "aabcx", 5), "97 258 120");
    CHECK_EQ_CSTR(ids(b, "aaa", 3), "259 97");
    CHECK_EQ_CSTR(ids(b, "aaaaaaa", 7), "260 259 97");
  }
  TEST("what is not UTF-8 is its bytes; nothing is nothing") {
    CHECK_EQ_CSTR(ids(b, "\xFF\xFE", 2), "255 254");
    CHECK_EQ_CSTR(ids(b, "\0x\0", 3), "0 120 0");
    CHECK_EQ_CSTR(ids(b, "", 0), "");
  }
  TEST("only as many ranks are written as there is room for") {
    uint32_t one[2] = {7, 7};
    size_t count = 0;
    CHECK(oai_bpe_encode(b, "a b c", 5, one, 1, &count));
    CHECK_EQ_INT(count, 5);
    CHECK_EQ_INT(one[0], 97);
    CHECK_EQ_INT(one[1], 7);
  }
  oai_bpe_free(b);
}

static uint32_t next_random(uint32_t *state) {
  *state ^= *state << 13;
  *state ^= *state >> 17;
  *state ^= *state << 5;
  return *state;
}

/* The plainest way to merge, to hold the others against. */
static size_t merge_plainly(const oai_bpe *b, const char *p, size_t n) {
  size_t at[400], parts = n;
  for (size_t i = 0; i <= n; i++) at[i] = i;
  for (;;) {
    uint32_t best = OAI_BPE_NONE;
    size_t low = 0;
    for (size_t i = 0; i + 2 <= parts; i++) {
      uint32_t rank = oai_bpe_rank(b, p + at[i], at[i + 2] - at[i]);
      if (rank < best) best = rank, low = i;
    }
    if (best == OAI_BPE_NONE) return parts;
    for (size_t i = low + 1; i < parts; i++) at[i] = at[i + 1];
    parts--;
  }
}

static void long_words(void) {
  static const char *const tokens[] = {"ab",   "ba",   "aab", "bb", "abab",
                                       "bbbb", "aabb", "aa",  NULL};
  oai_bpe *b = encoder("o200k_base", tokens);
  uint32_t state = 2463534242u;
  if (!b) return;
  TEST("short and long words are merged alike") {
    for (int turn = 0; turn < 250; turn++) {
      char text[300];
      size_t n = 2 + next_random(&state) % 298, got = 0;
      for (size_t i = 0; i < n; i++) text[i] = "ab"[next_random(&state) >> 31];
      oai_bpe_out out = {NULL, 0, 0};
      CHECK(oai_bpe_merge(b, text, n, &out));
      got = out.n;
      if (!CHECK_EQ_INT(got, merge_plainly(b, text, n))) break;
    }
  }
  TEST("a word of a million letters takes no long time") {
    size_t n = 1000000, count = 0;
    char *text = malloc(n);
    if (!CHECK(text != NULL)) return;
    memset(text, 'b', n);
    CHECK(oai_bpe_encode(b, text, n, NULL, 0, &count));
    CHECK_EQ_INT(count, n / 4);
    free(text);
  }
  oai_bpe_free(b);
}

static void random_bytes(void) {
  static const char *const tokens[] = {"ab", "\xD0\xB0", "  ", NULL};
  static const char *const pieces[] = {
      "\xE4\xB8\xAD", "'s", " ", "\n", "A", "\xCC\x81", "/", "1", "\xF0\x9F"};
  static const char *const names[] = {"cl100k_base", "o200k_base"};
  uint32_t state = 88172645u;
  TEST("no bytes crash it, and each is in one word") {
    for (int k = 0; k < 3; k++) {
      char error[OAI_BPE_ERROR];
      oai_bpe *b = k < 2 ? encoder(names[k], tokens)
                         : oai_bpe_new("o200k_base", NULL, 0, error);
      for (int turn = 0; b && turn < 3000; turn++) {
        oai_buf text;
        size_t count = 0;
        oai_buf_init(&text, 10000);
        for (uint32_t i = next_random(&state) % 90; i; i--) {
          uint32_t roll = next_random(&state);
          char byte = (char)(roll >> 8);
          const char *piece = pieces[roll % 9];
          if (roll >> 31)
            oai_buf_append(&text, &byte, 1);
          else
            oai_buf_append(&text, piece, strlen(piece));
        }
        char *exact = malloc(text.n + !text.n);
        if (text.n) memcpy(exact, text.p, text.n);
        CHECK(oai_bpe_encode(b, exact, text.n, NULL, 0, &count));
        CHECK(k == 2 || count <= text.n);
        free(exact);
        oai_buf_free(&text);
      }
      oai_bpe_free(b);
    }
  }
}

static const char *refused(const char *more, size_t n) {
  static char error[OAI_BPE_ERROR];
  static const char *const none[] = {NULL};
  oai_buf file = ranks_file(none);
  oai_buf_append(&file, more, n);
  oai_bpe *b = oai_bpe_new("o200k_base", file.p, file.n, error);
  oai_buf_free(&file);
  oai_bpe_free(b);
  return b ? "accepted" : error;
}

#define REFUSED(more, want) CHECK_EQ_CSTR(refused(more, sizeof(more) - 1), want)

static void files(void) {
  TEST("a broken file of ranks is refused with its line") {
    REFUSED("YWI= 256\n\r\nYWM= 257\r\n", "accepted");
    REFUSED("YWI= 256", "accepted");
    REFUSED("YWI=\n", "line 257: not a token in base64 and its rank");
    REFUSED("YWI= \n", "line 257: not a token in base64 and its rank");
    REFUSED("YWI= 123456789\n", "line 257: not a token in base64 and its rank");
    REFUSED("YWI= 99999999\n", "line 257: the rank is too high");
    REFUSED("YWI= 256\nYWM= x\n", "line 258: the rank is not a number");
    REFUSED("YWI 256\n", "line 257: the token is not base64");
    REFUSED(" 256\n", "line 257: the token is not base64");
    REFUSED("Y\0I= 256\n", "line 257: the token is not base64");
    REFUSED("YQ== 256\n", "line 257: the token was on a line before");
  }
  TEST("a token has at most 255 bytes") {
    char line[600];
    memset(line, 'A', sizeof line);
    memcpy(line + 344, " 256", 4);
    CHECK_EQ_CSTR(refused(line, 348), "line 257: the token is too long");
    memset(line, 'A', sizeof line);
    memcpy(line + 340, " 256", 4);
    CHECK_EQ_CSTR(refused(line, 344), "accepted");
  }
  TEST("each byte needs a rank") {
    char room[OAI_BPE_ERROR], *error = room;
    CHECK(oai_bpe_new("o200k_base", "YWI= 0\n", 7, error) == NULL);
    CHECK_EQ_CSTR(error, "the byte 00 has no rank");
    CHECK(oai_bpe_new("o200k_base", "", 0, error) == NULL);
    CHECK_EQ_CSTR(error, "the byte 00 has no rank");
  }
  TEST("a file has a cap") {
    char room[OAI_BPE_ERROR], *error = room;
    size_t n = OAI_BPE_FILE_MAX + 1;
    char *file = malloc(n);
    if (!CHECK(file != NULL)) return;
    memset(file, '\n', n);
    CHECK(oai_bpe_new("o200k_base", file, n, error) == NULL);
    CHECK_EQ_CSTR(error, "the file is too large");
    free(file);
  }
}

static void estimates(void) {
  char room[OAI_BPE_ERROR], *error = room;
  TEST("without ranks it estimates, near to what the ranks say") {
    static const char text[] =
        "Without a file of ranks there is only an estimate of the tokens: good "
        "enough for a budget, and always called one.";
    size_t count = 0;
    oai_bpe *b = oai_bpe_new("o200k_base", NULL, 0, error);
    if (!CHECK(b != NULL)) return;
    CHECK(oai_bpe_estimates(b));
    CHECK(oai_bpe_encode(b, text, sizeof text - 1, NULL, 0, &count));
    CHECK(count >= 21 && count <= 29);
    CHECK(oai_bpe_encode(b, "", 0, NULL, 0, &count));
    CHECK_EQ_INT(count, 0);
    oai_bpe_free(b);
  }
  TEST("knows two encodings") {
    CHECK(oai_bpe_known("cl100k_base") && oai_bpe_known("o200k_base"));
    CHECK(!oai_bpe_known("p50k_base"));
    CHECK(oai_bpe_new("p50k_base", NULL, 0, error) == NULL);
  }
}

static void no_memory(void) {
  static const char *const tokens[] = {"ab", "bb", NULL};
  char text[200];
  memset(text, 'b', sizeof text);
  TEST("memory that runs out at any place is told, and leaks nothing") {
    oai_buf file = ranks_file(tokens);
    for (long k = 1; torture_possible; k++) {
      char room[OAI_BPE_ERROR], *error = room;
      size_t count = 0;
      torture_hit = false;
      torture_left = k;
      oai_bpe *b = oai_bpe_new("o200k_base", file.p, file.n, error);
      bool ok = b && oai_bpe_encode(b, text, sizeof text, NULL, 0, &count);
      torture_left = 0;
      CHECK(ok || torture_hit);
      CHECK(b || !*error);
      CHECK(!ok || count == 100);
      oai_bpe_free(b);
      if (!torture_hit) break;
    }
    oai_buf_free(&file);
  }
}

int main(void) {
  no_memory();
  splits();
  merges();
  long_words();
  random_bytes();
  files();
  estimates();
  return test_report();
}
