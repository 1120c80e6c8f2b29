/* websocket against RFC 6455: a table of bytes and what they mean, at every
 * split; what is written is read back. */
#include "../src/websocket.h"
#include "support/test.h"

#define LIT(s) (s), sizeof(s) - 1

/* One a line: kind, status, data. */
static void put(oai_buf *out, const oai_ws_event *e) {
  static const char names[] = "-tbiocX";
  char line[32];
  int n = sprintf(line, "%c%d ", names[e->kind], e->status);
  oai_buf_append(out, line, (size_t)n);
  if (e->why)
    oai_buf_append(out, e->why, strlen(e->why));
  else
    oai_buf_append(out, e->data.p, e->data.n);
  oai_buf_append(out, "\n", 1);
}

/* Each piece is its own heap block, so that a read past its end is seen. */
static bool play(oai_ws_reader *r, oai_buf *out, const char *p, size_t n) {
  oai_ws_event e = {OAI_WS_NONE, {NULL, 0}, 0, NULL};
  char *copy = malloc(n ? n : 1);
  if (n) memcpy(copy, p, n);
  for (size_t at = 0;;) {
    at += oai_ws_read(r, copy + at, n - at, &e);
    if (e.kind == OAI_WS_NONE || e.kind == OAI_WS_BROKEN) break;
    put(out, &e);
  }
  free(copy);
  if (e.kind == OAI_WS_BROKEN) put(out, &e);
  return e.kind == OAI_WS_BROKEN;
}

static void is(bool client, const char *p, size_t n, const char *want) {
  for (size_t cut = 0; cut <= n; cut++) {
    oai_ws_reader r;
    oai_buf out;
    oai_buf_init(&out, 1 << 20);
    oai_ws_init(&r, client, 70000, 70000);
    if (!play(&r, &out, p, cut)) play(&r, &out, p + cut, n - cut);
    if (!CHECK_EQ_MEM(out.p, out.n, want, strlen(want)))
      printf("    cut at %zu of %zu\n", cut, n);
    oai_ws_free(&r);
    oai_buf_free(&out);
  }
}

static void test_examples(void) {
  TEST("reads the examples of section 5.7");
  is(false, LIT("\x81\x05Hello"), "t0 Hello\n");
  is(true, LIT("\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58"), "t0 Hello\n");
  is(false, LIT("\x01\x03Hel\x80\x02lo"), "t0 Hello\n");
  is(false, LIT("\x89\x05Hello"), "i0 Hello\n");
  is(true, LIT("\x8a\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58"), "o0 Hello\n");
  TEST("reads empty messages and control frames inside of a message");
  is(false, LIT("\x81\x00\x82\x00"), "t0 \nb0 \n");
  is(false, LIT("\x01\x00\x00\x00\x80\x00"), "t0 \n");
  is(false,
     LIT("\x01\x01"
         "a\x89\x01x\x00\x01"
         "b\x8a\x00\x80\x01"
         "c"),
     "i0 x\no0 \nt0 abc\n");
  is(false, LIT("\x02\x01\xff\x80\x01\xfe\x81\x02hi"), "b0 \xff\xfe\nt0 hi\n");
}

static void test_close(void) {
  static const int good[] = {1000, 1001, 1002, 1003, 1007, 1011,
                             1014, 3000, 3999, 4000, 4999};
  static const int bad[] = {0,    999,  1004, 1005, 1006,
                            1015, 1016, 2999, 5000, 65535};
  char p[4] = "\x88\x02", want[80];
  TEST("reads a close, with and without a status, and nothing after it");
  is(false, LIT("\x88\x00"), "c1005 \n");
  is(false,
     LIT("\x88\x05\x03\xe8"
         "bye\x81\x01x"),
     "c1000 bye\n");
  TEST("takes the statuses that may be sent and no others");
  for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
    p[2] = (char)(good[i] >> 8);
    p[3] = (char)good[i];
    sprintf(want, "c%d \n", good[i]);
    is(false, p, 4, want);
  }
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    p[2] = (char)(bad[i] >> 8);
    p[3] = (char)bad[i];
    is(false, p, 4, "X1002 a close frame has a status that none may send\n");
  }
  is(false, LIT("\x88\x01\x03"), "X1002 a close frame has half a status\n");
  is(false, LIT("\x88\x03\x03\xe8\xff"),
     "X1007 the reason of a close frame is not UTF-8\n");
}

static void test_breaches(void) {
  char p[2] = {0, 0};
  TEST("refuses reserved bits and opcodes");
  is(false, LIT("\xc1\x00"), "X1002 a reserved bit is set\n");
  is(false, LIT("\xa1\x00"), "X1002 a reserved bit is set\n");
  is(false, LIT("\x91\x00"), "X1002 a reserved bit is set\n");
  for (int opcode = 3; opcode < 16; opcode++) {
    p[0] = (char)(0x80 | opcode);
    if (opcode < 8 || opcode > 10)
      is(false, p, 2, "X1002 a frame has a reserved opcode\n");
  }
  TEST("refuses control frames that are long or in fragments");
  is(false, LIT("\x89\x7e"), "X1002 a control frame is too long\n");
  is(false, LIT("\x88\x7f"), "X1002 a control frame is too long\n");
  is(false, LIT("\x09\x00"), "X1002 a control frame is fragmented\n");
  TEST("refuses fragments out of order");
  is(false, LIT("\x80\x00"), "X1002 a fragment goes on with no message\n");
  is(false, LIT("\x00\x00"), "X1002 a fragment goes on with no message\n");
  is(false, LIT("\x01\x00\x81\x00"), "X1002 a message begins inside another\n");
  is(false, LIT("\x81\x00\x80\x00"),
     "t0 \nX1002 a fragment goes on with no message\n");
  TEST("refuses a mask from a server and a client's lack of one");
  is(false, LIT("\x81\x80"), "X1002 the server masked a frame\n");
  is(true, LIT("\x81\x00"), "X1002 the client did not mask a frame\n");
  TEST("refuses lengths that are not in their shortest form, or negative");
  is(false, LIT("\x82\x7e\x00\x7d"),
     "X1002 a length is not in its shortest form\n");
  is(false, LIT("\x82\x7f\0\0\0\0\0\0\xff\xff"),
     "X1002 a length is not in its shortest form\n");
  is(false, LIT("\x82\x7f\x80\0\0\0\0\0\0\0"), "X1002 a length has 64 bits\n");
  TEST("refuses a frame and a message over the cap before their bytes come");
  is(false, LIT("\x82\x7f\0\0\0\0\0\x01\x11\x71"),
     "X1009 a frame is larger than its limit\n");
  is(false,
     LIT("\x02\x01"
         "a\x80\x7f\0\0\0\0\0\x01\x11\x70"),
     "X1009 a message is larger than its limit\n");
}

static void test_text(void) {
  TEST("takes characters that fragments cut");
  is(false, LIT("\x01\x01\xf0\x00\x02\x9f\x98\x80\x01\x80"),
     "t0 \xf0\x9f\x98\x80\n");
  is(false, LIT("\x81\x03\xed\x9f\xbf"), "t0 \xed\x9f\xbf\n");
}

static void test_no_text(void) {
  const char *want = "X1007 a text message is not UTF-8\n";
  TEST("refuses what is not UTF-8 at the byte that shows it");
  is(false, LIT("\x81\x7d\xff"), want);
  is(false, LIT("\x01\x01\xed\x00\x01\xa0"), want);
  is(false, LIT("\x01\x02\xf4\x90"), want);
  is(false, LIT("\x01\x01\xc0"), want);
  is(false, LIT("\x01\x02\xe0\x80"), want);
  is(false, LIT("\x81\x02\xf0\x9f"), want);
  is(false, LIT("\x01\x01\xf0\x80\x00"), want);
  is(false,
     LIT("\x01\x02\xce\xba\x80\x05\xe1\xbd\xb9\xf5"
         "a"),
     want);
}

static void round_trip(size_t n) {
  static const unsigned char mask[4] = {0x80, 0x01, 0xff, 0x5a};
  oai_ws_reader r;
  oai_ws_event e;
  oai_buf out;
  char *p = malloc(n + 1);
  oai_buf_init(&out, n + 14);
  for (size_t i = 0; i < n; i++) p[i] = (char)(i * 7 + (i >> 8));
  CHECK_EQ_INT(oai_ws_frame(&out, 2, true, mask, p, n), OAI_BUF_OK);
  oai_ws_init(&r, true, n + 1, n + 1);
  for (size_t at = 0; at < out.n;) { /* pieces that the mask does not divide */
    size_t piece = out.n - at < 1021 ? out.n - at : 1021;
    at += oai_ws_read(&r, out.p + at, piece, &e);
  }
  CHECK_EQ_INT(e.kind, OAI_WS_BINARY);
  CHECK_EQ_MEM(e.data.p, e.data.n, p, n);
  oai_ws_free(&r);
  oai_buf_free(&out);
  free(p);
}

static void test_writing(void) {
  static const size_t sizes[] = {0,   1,   7,     8,     9,     125,
                                 126, 127, 65535, 65536, 100003};
  oai_buf out;
  oai_slice got;
  TEST("writes each form of the length and reads it back");
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
    round_trip(sizes[i]);
  TEST("writes the example of section 5.7, and nothing when there is no room");
  oai_buf_init(&out, 20);
  oai_ws_frame(&out, 1, true, (const unsigned char *)"\x37\xfa\x21\x3d",
               LIT("Hello"));
  got.p = out.p;
  got.n = out.n;
  CHECK_EQ_LIT(got, "\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58");
  CHECK_EQ_INT(oai_ws_frame(&out, 1, true, NULL, LIT("12345678")),
               OAI_BUF_FULL);
  CHECK_EQ_INT(out.n, 11);
  oai_buf_free(&out);
}

int main(void) {
  test_examples();
  test_close();
  test_breaches();
  test_text();
  test_no_text();
  test_writing();
  return test_report();
}
