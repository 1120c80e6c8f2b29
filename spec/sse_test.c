/* sse against WHATWG HTML 9.2.6, at every split: a table, and a slow, obvious
 * reference over random bytes. */
#include "../src/sse.h"
#include "support/test.h"

#include <time.h>

#define LIT(s) (s), sizeof(s) - 1

/* Events as text, one a line: data|name|id|retry, with NUL, LF and CR shown as
 * ^@ ^J ^M. */
static void put(oai_buf *out, const char *p, size_t n) {
  for (size_t i = 0; i < n; i++) {
    char shown[2] = {'^', (char)(p[i] + 64)};
    bool control = p[i] == 0 || p[i] == '\n' || p[i] == '\r';
    oai_buf_append(out, control ? shown : p + i, control ? 2 : 1);
  }
}

static void put_event(oai_buf *out, const oai_sse_event *e) {
  char retry[32];
  put(out, e->data.p, e->data.n);
  oai_buf_append(out, "|", 1);
  put(out, e->name.p, e->name.n);
  oai_buf_append(out, "|", 1);
  put(out, e->id.p, e->id.n);
  int n = e->retry < 0 ? 0 : sprintf(retry, "%lld", (long long)e->retry);
  oai_buf_append(out, "|", 1);
  oai_buf_append(out, retry, (size_t)n);
  oai_buf_append(out, "\n", 1);
}

static unsigned long long state = 42;

static unsigned dice(unsigned n) {
  state = state * 6364136223846793005ULL + 1442695040888963407ULL;
  return (unsigned)(state >> 33) % n;
}

/* Pieces of `most` bytes, or, when `random`, of 1 to `most`. Each is its own
 * heap block, so that a read past its end is seen. */
static void play(oai_buf *out, const char *p, size_t n, size_t most,
                 bool random) {
  oai_sse s;
  oai_sse_event e;
  oai_sse_init(&s, 1 << 20);
  for (size_t i = 0; i < n;) {
    size_t piece = random ? 1 + dice((unsigned)most) : most;
    if (piece > n - i) piece = n - i;
    char *copy = malloc(piece);
    memcpy(copy, p + i, piece);
    CHECK_EQ_INT(oai_sse_feed(&s, copy, piece), OAI_BUF_OK);
    free(copy);
    while (oai_sse_next(&s, &e)) put_event(out, &e);
    i += piece;
  }
  if (oai_sse_finish(&s, &e)) {
    oai_buf_append(out, "cut ", 4);
    put_event(out, &e);
  }
  oai_sse_free(&s);
}

static bool same_at_any_split(const char *p, size_t n, const char *want) {
  bool ok = true;
  for (size_t round = 0; round < 8 && ok; round++) {
    oai_buf out;
    oai_buf_init(&out, SIZE_MAX / 4);
    if (round == 0)
      play(&out, p, n, n ? n : 1, false);
    else
      play(&out, p, n, round, round > 2);
    ok = CHECK_EQ_MEM(out.p, out.n, want, strlen(want));
    oai_buf_free(&out);
  }
  if (!ok) {
    printf("    of ");
    test_show(p, n);
    printf("\n");
  }
  return ok;
}

/* ---- the table ---------------------------------------------------------- */

#define BOM "\xEF\xBB\xBF"
#define BAD "\xEF\xBF\xBD"

static const struct row {
  const char *name, *bytes;
  size_t n;
  const char *want;
} rows[] = {
    {"reads events that end in LF", LIT("data: a\n\ndata: b\n\n"),
     "a|||\nb|||\n"},
    {"reads events that end in CRLF", LIT("data: a\r\n\r\ndata: b\r\n\r\n"),
     "a|||\nb|||\n"},
    {"reads events that end in CR", LIT("data: a\r\rdata: b\r\r"),
     "a|||\nb|||\n"},
    {"reads mixed line ends", LIT("data: a\r\ndata: b\n\rdata: c\r\n\n"),
     "a^Jb|||\nc|||\n"},
    {"takes CR LF for one line end", LIT("data: a\r\ndata: b\r\n\r\n"),
     "a^Jb|||\n"},
    {"takes LF CR for two line ends", LIT("data: a\n\rdata: b\n\r"),
     "a|||\nb|||\n"},
    {"drops a byte order mark at the start", LIT(BOM "data: a\n\n"), "a|||\n"},
    {"drops one byte order mark only", LIT(BOM BOM "data: a\n\ndata: b\n\n"),
     "b|||\n"},
    {"keeps a later byte order mark as data",
     LIT("data: " BOM "a\n\n" BOM "data: b\n\n"), BOM "a|||\n"},
    {"takes half a byte order mark for a field's name",
     LIT("\xEF\xBB"
         "data: a\n\ndata: b\n\n"),
     "b|||\n"},
    {"takes one space after the colon away",
     LIT("data:a\n\ndata:  b\n\ndata:\tc\n\ndata: \n\n"),
     "a|||\n b|||\n\tc|||\n|||\n"},
    {"takes a line without a colon for a field without a value",
     LIT("data\n\ndata\ndata\n\n"), "|||\n^J|||\n"},
    {"keeps colons in a value", LIT("data:: a: b\n\n"), ": a: b|||\n"},
    {"joins several data lines", LIT("data: a\ndata:\ndata: b\n\n"),
     "a^J^Jb|||\n"},
    {"ignores comments", LIT(": OPENROUTER PROCESSING\n\n:\ndata: a\n: x\n\n"),
     "a|||\n"},
    {"ignores unknown fields, case and spaces counting",
     LIT("foo: 1\nDATA: a\n data: b\ndata : c\ndatax: d\ndat: e\n"
         "longfieldname: f\n\ndata: g\n\n"),
     "g|||\n"},
    {"ignores an event without data", LIT("event: x\nid: 1\n\ndata: a\n\n"),
     "a||1|\n"},
    {"ignores blank lines", LIT("\n\n\r\n\r\ndata: a\n\n\n\n\n"), "a|||\n"},
    {"gives an event for an empty data field", LIT("data:\n\n"), "|||\n"},
    {"reads event names, the last one counting",
     LIT("event: x\nevent: y\ndata: a\n\nevent:z\ndata\nevent\n\n"),
     "a|y||\n|||\n"},
    {"forgets the name after an event",
     LIT("event: x\ndata: a\n\ndata: b\n\nevent: x\n\ndata: c\n\n"),
     "a|x||\nb|||\nc|||\n"},
    {"keeps the last id for later events",
     LIT("id: 1\ndata: a\n\ndata: b\n\nid: 22\ndata: c\n\nid\ndata: d\n\n"),
     "a||1|\nb||1|\nc||22|\nd|||\n"},
    {"takes the last of several ids",
     LIT("id: 123\nid: 4\ndata: a\n\nid:567\ndata: b\n\n"), "a||4|\nb||567|\n"},
    {"ignores an id with a NUL",
     LIT("id: 1\ndata: a\nid: 2\0"
         "3\n\ndata: b\n\n"),
     "a||1|\nb||1|\n"},
    {"ignores a first id with a NUL", LIT("id: \0\ndata: a\n\n"), "a|||\n"},
    {"keeps the id apart from a retry before it",
     LIT("retry: 2\nid: abc\ndata: a\n\nretry: 1\nid: d\0\ndata: b\n\n"),
     "a||abc|2\nb||abc|1\n"},
    {"reads a retry of digits",
     LIT("retry: 1500\ndata: a\n\nretry:0\ndata: b\n\ndata: c\n\n"),
     "a|||1500\nb|||0\nc|||\n"},
    {"ignores a retry of anything else",
     LIT("retry: 1.5\nretry: -1\nretry: 1x\nretry:\nretry\nretry:  1\n"
         "retry: 99999999999999999999999999\ndata: a\n\n"),
     "a|||\n"},
    {"keeps a NUL inside data", LIT("data: a\0b\n\ndata: \0\n\n"),
     "a^@b|||\n^@|||\n"},
    {"replaces what is not UTF-8",
     LIT("data: a\xFF"
         "b\n\ndata: \xC3\n\ndata: \xE2\x82\ndata: "
         "\xED\xA0\x80\n\n"),
     "a" BAD "b|||\n" BAD "|||\n" BAD "^J" BAD BAD BAD "|||\n"},
    {"replaces what is not UTF-8 in names and ids",
     LIT("event: \xFF\nid: \xC0\ndata: a\n\n"), "a|" BAD "|" BAD "|\n"},
    {"keeps UTF-8", LIT("data: \xC3\xA9\xE2\x82\xAC\xF0\x9F\x9A\x80\n\n"),
     "\xC3\xA9\xE2\x82\xAC\xF0\x9F\x9A\x80|||\n"},
    {"finishes an event that lacks its blank line", LIT("data: a\ndata: b\n"),
     "cut a^Jb|||\n"},
    {"finishes an event that lacks its line's end",
     LIT("event: x\nid: 7\ndata: [DONE]"), "cut [DONE]|x|7|\n"},
    {"finishes a name without a colon", LIT("data: a\ndata"), "cut a^J|||\n"},
    {"finishes after CR", LIT("data: a\r"), "cut a|||\n"},
    {"finishes nothing when nothing is open", LIT("data: a\n\nevent: x\n: y"),
     "a|||\n"},
    {"finishes nothing of an empty stream", LIT(""), ""},
    {"finishes nothing of half a byte order mark", LIT("\xEF\xBB"), ""},
};

static void table(void) {
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    TEST(rows[i].name);
    same_at_any_split(rows[i].bytes, rows[i].n, rows[i].want);
  }
}

/* ---- the reference ------------------------------------------------------ */

/* The standard's algorithm word for word, for a stream that is there whole. It
 * leaves out UTF-8: the soup has none that is broken. */
typedef struct model {
  oai_buf data, name, id;
  bool has_data;
  int64_t retry;
} model;

static void set(oai_buf *b, const char *p, size_t n) {
  b->n = 0;
  oai_buf_append(b, p, n);
}

static void model_field(model *m, const char *p, size_t n) {
  const char *colon = memchr(p, ':', n);
  size_t name = colon ? (size_t)(colon - p) : n;
  const char *v = colon ? colon + 1 : p + n;
  size_t vn = (size_t)(p + n - v);
  if (vn && *v == ' ') v++, vn--;
  if (name == 4 && !memcmp(p, "data", 4)) {
    oai_buf_append(&m->data, v, vn);
    oai_buf_append(&m->data, "\n", 1);
  } else if (name == 5 && !memcmp(p, "event", 5)) {
    set(&m->name, v, vn);
  } else if (name == 2 && !memcmp(p, "id", 2)) {
    if (!memchr(v, 0, vn)) set(&m->id, v, vn);
  } else if (name == 5 && !memcmp(p, "retry", 5)) {
    size_t digits = 0;
    int64_t ms = 0;
    while (digits < vn && v[digits] >= '0' && v[digits] <= '9')
      ms = ms * 10 + (v[digits++] - '0');
    if (vn && digits == vn) m->retry = ms;
  }
}

static void model_event(model *m, oai_buf *out) {
  if (m->data.n) {
    oai_sse_event e = {{m->data.p, m->data.n - 1},
                       {m->name.p, m->name.n},
                       {m->id.p, m->id.n},
                       m->retry};
    put_event(out, &e);
    m->retry = -1;
  }
  m->data.n = m->name.n = 0;
}

static void reference(oai_buf *out, const char *p, size_t n) {
  model m;
  memset(&m, 0, sizeof m);
  m.retry = -1;
  oai_buf_init(&m.data, 1 << 20);
  oai_buf_init(&m.name, 1 << 20);
  oai_buf_init(&m.id, 1 << 20);
  size_t i = n >= 3 && !memcmp(p, BOM, 3) ? 3 : 0, from = i;
  for (; i < n; i++) {
    if (p[i] != '\n' && p[i] != '\r') continue;
    if (i == from)
      model_event(&m, out);
    else if (p[from] != ':')
      model_field(&m, p + from, i - from);
    if (p[i] == '\r' && i + 1 < n && p[i + 1] == '\n') i++;
    from = i + 1;
  }
  if (from < n && p[from] != ':') model_field(&m, p + from, n - from);
  if (m.data.n) oai_buf_append(out, "cut ", 4);
  model_event(&m, out);
  oai_buf_free(&m.data);
  oai_buf_free(&m.name);
  oai_buf_free(&m.id);
}

static size_t soup(char *out, size_t room) {
  static const char *const words[] = {
      "data",   "data:", "data: ", "event:", "event", "id:",        "id",
      "retry:", "1",     "2",      ":",      " ",     "\n",         "\n",
      "\r",     "\r\n",  "\n\n",   "d",      "a",     "t",          "e",
      "v",      "n",     "i",      "\r\r",   "x",     "data:a\n\n", BOM};
  size_t n = 0, count = 1 + dice(60);
  if (dice(4) == 0) memcpy(out, BOM, 3), n = 3;
  while (count-- && n + 16 < room) {
    unsigned pick = dice(sizeof words / sizeof *words + 1);
    if (pick == sizeof words / sizeof *words) {
      out[n++] = 0;
      continue;
    }
    memcpy(out + n, words[pick], strlen(words[pick]));
    n += strlen(words[pick]);
  }
  return n;
}

static void differential(void) {
  char bytes[2048];
  TEST("row 52: agrees with a slow reference over random bytes at random "
       "splits");
  for (int i = 0; i < 4000; i++) {
    oai_buf want;
    oai_buf_init(&want, SIZE_MAX / 4);
    size_t n = soup(bytes, sizeof bytes);
    reference(&want, bytes, n);
    oai_buf_append(&want, "", 1);
    bool ok = same_at_any_split(bytes, n, want.p);
    oai_buf_free(&want);
    if (!ok) return;
  }
}

/* ---- edges, size and memory --------------------------------------------- */

static void feed(oai_sse *s, const char *p, size_t n, size_t times) {
  for (size_t i = 0; i < times; i++)
    if (!CHECK_EQ_INT(oai_sse_feed(s, p, n), OAI_BUF_OK)) return;
}

static bool flat(const oai_sse *s) {
  return CHECK(s->queue.cap <= 8192) && CHECK(s->name.cap <= 8192) &&
         CHECK(s->id.cap <= 8192) && CHECK(s->error.cap <= 8192);
}

static void timely(void) {
  oai_sse s;
  oai_sse_event e;
  TEST("row 53: gives an event at its CR, without waiting for the next byte");
  oai_sse_init(&s, 1000);
  feed(&s, LIT("data: a\r\n\r"), 1);
  if (CHECK(oai_sse_next(&s, &e))) CHECK_EQ_STR(e.data, "a");
  feed(&s, LIT("\ndata: b\r\r"), 1);
  if (CHECK(oai_sse_next(&s, &e))) CHECK_EQ_STR(e.data, "b");
  CHECK(!oai_sse_next(&s, &e));
  oai_sse_free(&s);

  TEST("row 71: gives 100,000 tiny events of one read in order");
  oai_buf all;
  oai_buf_init(&all, SIZE_MAX / 4);
  for (int i = 0; i < 100000; i++) {
    char line[32];
    oai_buf_append(&all, line, (size_t)sprintf(line, "data:%d\n\n", i));
  }
  oai_sse_init(&s, 1000);
  feed(&s, all.p, all.n, 1);
  int n = 0;
  for (char want[16]; oai_sse_next(&s, &e); n++) {
    sprintf(want, "%d", n);
    if (!CHECK_EQ_STR(e.data, want)) break;
  }
  CHECK_EQ_INT(n, 100000);
  CHECK_EQ_INT(oai_sse_waiting(&s), 0);
  flat(&s);
  oai_sse_free(&s);
  oai_buf_free(&all);
}

static void errors(void) {
  oai_sse s;
  oai_sse_event e;
  TEST("row 59: keeps the last error: line and goes on");
  oai_sse_init(&s, 1000);
  feed(&s, LIT("error: {\"code\":1}\nerror: {\"code\":500}\n\ndata: a\n\n"), 1);
  CHECK_EQ_STR(((oai_slice){s.error.p, s.error.n}), "{\"code\":500}");
  CHECK(oai_sse_next(&s, &e));
  oai_sse_free(&s);

  TEST("keeps an error: line that the end cut");
  oai_sse_init(&s, 1000);
  feed(&s, LIT("error: out of memory"), 1);
  CHECK(!oai_sse_finish(&s, &e));
  CHECK_EQ_STR(((oai_slice){s.error.p, s.error.n}), "out of memory");
  oai_sse_free(&s);
}

static void memory(void) {
  oai_sse s;
  static char kilo[1024];
  memset(kilo, 'x', sizeof kilo);
  TEST("row 57: stays flat over 10,000 comments");
  oai_sse_init(&s, 1000);
  feed(&s, LIT(": keep-alive\n\n"), 10000);
  flat(&s);
  TEST("row 57: stays flat in a comment that never ends");
  feed(&s, LIT(":"), 1);
  feed(&s, kilo, sizeof kilo, 1024);
  flat(&s);
  TEST("stays flat over ids, names and retries without data");
  feed(&s, LIT("\nid: 1\nevent: x\nretry: 1\n\n"), 10000);
  flat(&s);
  oai_sse_free(&s);
}

static void large(void) {
  enum { N = 8 << 20 };
  oai_sse s;
  oai_sse_event e;
  TEST("row 69: reads an event of 8 MB byte by byte in linear time");
  clock_t from = clock();
  oai_sse_init(&s, 16000000);
  feed(&s, LIT("data: "), 1);
  feed(&s, "z", 1, N);
  CHECK(!oai_sse_next(&s, &e));
  feed(&s, LIT("\n\n"), 1);
  if (CHECK(oai_sse_next(&s, &e))) CHECK_EQ_INT(e.data.n, N);
  CHECK(!oai_sse_next(&s, &e));
  CHECK((double)(clock() - from) / CLOCKS_PER_SEC < 5);
  flat(&s);
  oai_sse_free(&s);
}

/* Feeds until it is refused. */
static size_t until_full(oai_sse *s, const char *p, size_t n) {
  for (size_t fed = 0; fed < 1 << 20; fed += n)
    if (oai_sse_feed(s, p, n) == OAI_BUF_FULL) return fed;
  return 1 << 20;
}

static void caps(void) {
  oai_sse s;
  oai_sse_event e;
  TEST("row 70: refuses a data line that never ends at the cap");
  oai_sse_init(&s, 1000);
  feed(&s, LIT("data: a\n\ndata: "), 1);
  CHECK_EQ_INT(until_full(&s, "x", 1), 1000);
  CHECK(s.queue.cap <= 8192);
  TEST("hands out what was complete before the cap");
  if (CHECK(oai_sse_next(&s, &e))) CHECK_EQ_STR(e.data, "a");
  CHECK(!oai_sse_next(&s, &e));
  oai_sse_free(&s);

  TEST("row 70: refuses data lines that never end at the cap");
  oai_sse_init(&s, 1000);
  CHECK(until_full(&s, LIT("data:\n")) <= 6 * 1002);
  oai_sse_free(&s);

  TEST("takes an event of exactly the cap, again and again");
  oai_sse_init(&s, 4);
  feed(&s, LIT("data: abcd\n\ndata: a\ndata: bc\n\n"), 100);
  CHECK_EQ_INT(oai_sse_feed(&s, LIT("data: abcde\n\n")), OAI_BUF_FULL);
  oai_sse_free(&s);

  TEST("row 70: refuses a line that never ends, and keeps none of it");
  oai_sse_init(&s, 1000);
  CHECK(until_full(&s, "x", 1) <= 1010);
  flat(&s);
  oai_sse_free(&s);

  TEST("refuses a name or id that never ends");
  oai_sse_init(&s, 1000);
  feed(&s, LIT("event: "), 1);
  CHECK(until_full(&s, "x", 1) < 1 << 20);
  oai_sse_free(&s);
  oai_sse_init(&s, 1000);
  feed(&s, LIT("id: "), 1);
  CHECK(until_full(&s, "x", 1) < 1 << 20);
  oai_sse_free(&s);
}

int main(void) {
  table();
  differential();
  timely();
  errors();
  memory();
  large();
  caps();
  return test_report();
}
