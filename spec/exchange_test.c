/* exchange against a server in the same thread: how an attempt ends, its
 * deadlines, and what happens to its socket. */
#include "../src/exchange.h"
#include "../src/listen.h"
#include "../src/pollset.h"
#include "../src/wire_chat.h"
#include "support/test.h"

typedef struct world {
  oai_engine *engine;
  oai_endpoint *endpoint;
  oai_listener *listener;
  oai_exchange *x;
  oai_peer *peer;
  oai_buf text; /* what was pulled */
  bool end, stream;
  oai_timeouts t;
  oai_request request;
} world;

static void up(world *w) {
  char url[64], message[200];
  oai_listen_options o = {NULL, 0, NULL};
  memset(w, 0, sizeof *w);
  w->engine = oai_engine_new();
  w->endpoint = oai_endpoint_new();
  w->listener = oai_listener_open(&o, message, sizeof message);
  if (!w->listener) exit(1);
  sprintf(url, "http://127.0.0.1:%d/v1", oai_listener_port(w->listener));
  oai_endpoint_set_url(w->endpoint, url, strlen(url));
  oai_endpoint_set_key(w->endpoint, "sk-12345678", 11);
  oai_buf_init(&w->text, SIZE_MAX / 4);
  w->stream = true;
  w->t = (oai_timeouts){5, 5, 5, 5, 5};
}

static void start(world *w) {
  static const oai_slice part = {"{}", 2};
  w->request = (oai_request){.parts = &part,
                             .nparts = 1,
                             .path = "/chat/completions",
                             .stream = w->stream,
                             .timeouts = w->t,
                             .deadline = -1};
  w->end = false;
  w->text.n = 0;
  w->x =
      oai_exchange_start(w->engine, w->endpoint, &oai_wire_chat, &w->request);
  if (!w->x) exit(1);
}

static void down(world *w) {
  oai_exchange_free(w->x);
  if (w->peer) oai_peer_release(w->peer);
  oai_listener_close(w->listener);
  CHECK_EQ_INT(oai_engine_transfers(w->engine), 0);
  oai_engine_unref(w->engine);
  oai_endpoint_unref(w->endpoint);
  oai_buf_free(&w->text);
}

static void pull(world *w) {
  oai_op op;
  oai_sse_event event;
  for (;;) switch (oai_exchange_next(w->x, &op, &event)) {
    case OAI_PULL_OP:
      if (op.kind == OAI_OP_TEXT)
        oai_buf_append(&w->text,
                       oai_exchange_delta(w->x)->choices[0].text.buf.p + op.at,
                       op.n);
      continue;
    case OAI_PULL_END:
    case OAI_PULL_NOMEM: w->end = true; return;
    default: return;
    }
}

/* Both sides a few milliseconds on; the reader only when it `pulls`. */
static void turn(world *w, bool pulls) {
  oai_listener_step(w->listener);
  if (!w->peer) w->peer = oai_listener_accept(w->listener);
  oai_engine_wait(w->engine, 0.001, false);
  oai_engine_step(w->engine, -1);
  if (pulls) pull(w);
}

/* Until the request is there. */
static bool asked(world *w) {
  for (int i = 0; i < 2000; i++) {
    turn(w, true);
    if (w->peer && oai_peer_input(w->peer).n > 2) {
      oai_slice in = oai_peer_input(w->peer);
      if (memcmp(in.p + in.n - 2, "{}", 2) == 0) {
        oai_peer_taken(w->peer);
        return true;
      }
    }
  }
  return CHECK(!"the request came");
}

static bool ends(world *w, double seconds) {
  double until = oai_now() + seconds;
  while (!w->end && oai_now() < until) turn(w, true);
  return w->end;
}

static void say(world *w, const char *bytes) {
  oai_peer_write(w->peer, bytes, strlen(bytes), 0);
}

#define HEAD "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
#define OPEN HEAD "Connection: close\r\n\r\n"
#define TEXT                                                                   \
  "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\"}}]}\n\n"
#define STOP                                                                   \
  "data: "                                                                     \
  "{\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n"
#define WHOLE "{\"choices\":[{\"message\":{\"content\":\"a\"}}]}"

typedef enum ending { STAY, FIN, RST, HALF } ending;

/* ---- how it ends -------------------------------------------------------- */

static const struct row {
  const char *name, *bytes;
  ending how;
  const char *code; /* NULL: success */
  oai_kind kind;
  const char *text;
} rows[] = {
    {"succeeds at [DONE] while the socket stays open",
     OPEN TEXT "data: [DONE]\n\n", STAY, NULL, OAI_NONE, "a"},
    {"succeeds at a clean end after a finish reason", OPEN TEXT STOP, FIN, NULL,
     OAI_NONE, "a"},
    {"takes a clean end before a finish reason for incomplete", OPEN TEXT, FIN,
     "incomplete", OAI_INCOMPLETE_STREAM, "a"},
    {"takes a reset for an interrupted stream", OPEN TEXT, RST,
     "stream_interrupted", OAI_INCOMPLETE_STREAM, "a"},
    {"takes a reset after a finish reason for an interrupted stream",
     OPEN TEXT STOP, RST, "stream_interrupted", OAI_INCOMPLETE_STREAM, "a"},
    {"takes a body shorter than its length for interrupted",
     HEAD "Content-Length: 9999\r\n\r\n" TEXT STOP, FIN, "stream_interrupted",
     OAI_INCOMPLETE_STREAM, "a"},
    {"succeeds when the length is too long but [DONE] came",
     HEAD "Content-Length: 9999\r\n\r\n" TEXT "data: [DONE]\n\n", FIN, NULL,
     OAI_NONE, "a"},
    {"takes a cut chunked body for interrupted",
     HEAD "Transfer-Encoding: chunked\r\n\r\n4000\r\n" TEXT, FIN,
     "stream_interrupted", OAI_INCOMPLETE_STREAM, "a"},
    {"says that a connection closed before any answer", "", FIN,
     "connection_closed", OAI_NETWORK, ""},
    {"says that a connection was reset before any answer", "", RST,
     "connection_reset", OAI_NETWORK, ""},
    {"says that an answer is empty", OPEN, FIN, "empty_response", OAI_PROTOCOL,
     ""},
    {"takes a page for a bad response", OPEN "<html>login</html>", FIN,
     "bad_response", OAI_PROTOCOL, ""},
    {"takes a whole completion for a stream", OPEN WHOLE, FIN, NULL, OAI_NONE,
     "a"},
    {"refuses a redirect",
     "HTTP/1.1 307 X\r\nLocation: http://evil/\r\nContent-Length: 0\r\n\r\n",
     STAY, "redirect", OAI_PROTOCOL, ""},
    {"skips any 1xx",
     "HTTP/1.1 103 Early\r\nLink: a\r\n\r\nHTTP/1.1 102 X\r\n\r\n" OPEN TEXT
     "data: [DONE]\n\n",
     STAY, NULL, OAI_NONE, "a"},
    {"refuses a NUL in a header, written as bytes below", NULL, FIN,
     "bad_response", OAI_PROTOCOL, ""},
    {"reads what an error's status says",
     "HTTP/1.1 429 X\r\nContent-Length: 26\r\n\r\n{\"error\":{\"code\":\"c\"}} "
     " "
     "  ",
     STAY, "c", OAI_RATE_LIMIT, ""},
    {"reads an error line of a dying server",
     OPEN TEXT "error: {\"code\":500,"
               "\"message\":\"m\"}\n\n",
     FIN, "500", OAI_SERVER, "a"},
    {"fails a malformed event, after the text before it",
     OPEN TEXT "data: {\n\n" TEXT, STAY, "malformed_event", OAI_PROTOCOL, "a"},
    {"ignores what comes after [DONE]",
     OPEN TEXT "data: [DONE]\n\ndata: {\"error\":\"x\"}\n\n" TEXT, STAY, NULL,
     OAI_NONE, "a"},
};

static void play(world *w, const struct row *r, size_t piece) {
  static const char nul[] = "HTTP/1.1 200 OK\r\nX-A: a\0b\r\n\r\n";
  up(w);
  start(w);
  if (asked(w)) {
    const char *bytes = r->bytes ? r->bytes : nul;
    size_t n = r->bytes ? strlen(bytes) : sizeof nul - 1;
    oai_peer_write(w->peer, bytes, n, piece);
    if (r->how == RST) {
      /* a reset drops what the client has not read yet */
      oai_peer_pause(w->peer, 0.02);
      oai_peer_reset(w->peer);
    }
    if (r->how == FIN) oai_peer_close(w->peer);
    double from = oai_now();
    CHECK(ends(w, 5));
    if (r->how == STAY && !piece) CHECK(oai_now() - from < 0.2);
    const oai_failure *f = oai_exchange_failure(w->x);
    if (CHECK_EQ_INT(f != NULL, r->code != NULL) && f) {
      CHECK_EQ_CSTR(f->code, r->code);
      CHECK_EQ_INT(f->kind, r->kind);
    }
    CHECK_EQ_MEM(w->text.p, w->text.n, r->text, strlen(r->text));
  }
  down(w);
}

static void endings(void) {
  world w;
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    TEST(rows[i].name);
    play(&w, &rows[i], 0);
    play(&w, &rows[i], 7);
  }
}

/* ---- deadlines ---------------------------------------------------------- */

static void expires(const char *name, const char *bytes, oai_phase phase,
                    double *limit, world *w) {
  test_begin(__FILE__, name);
  *limit = 0.1;
  double from = oai_now();
  start(w);
  if (asked(w)) {
    say(w, bytes);
    CHECK(ends(w, 3));
    CHECK(oai_now() - from >= 0.09);
    CHECK(oai_now() - from < 0.6);
    const oai_failure *f = oai_exchange_failure(w->x);
    if (phase == OAI_PHASE_NONE)
      CHECK(f == NULL);
    else if (CHECK(f)) {
      CHECK_EQ_INT(f->kind, OAI_TIMEOUT);
      CHECK_EQ_INT(f->phase, phase);
    }
  }
  down(w);
}

static void deadlines(void) {
  world w;
  up(&w);
  expires("times out when no header comes", "", OAI_PHASE_FIRST_BYTE,
          &w.t.first_byte, &w);
  up(&w);
  expires("times out when headers stop half way", HEAD, OAI_PHASE_FIRST_BYTE,
          &w.t.first_byte, &w);
  up(&w);
  expires("times out when no content comes, only comments",
          OPEN ": ping\n\n: ping\n\n", OAI_PHASE_FIRST_CONTENT,
          &w.t.first_content, &w);
  up(&w);
  expires("times out when content stops", OPEN TEXT ": ping\n\n",
          OAI_PHASE_CONTENT_IDLE, &w.t.content_idle, &w);
  up(&w);
  w.stream = false;
  expires("times out when a whole answer does not come",
          "HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{", OAI_PHASE_ATTEMPT,
          &w.t.attempt, &w);
  up(&w);
  expires("succeeds at a silence after every finish reason", OPEN TEXT STOP,
          OAI_PHASE_NONE, &w.t.content_idle, &w);
}

/* ---- sockets, caps ------------------------------------------------------ */

static void cancels(void) {
  world w;
  TEST("closes the socket at once when it is canceled");
  up(&w);
  start(&w);
  asked(&w);
  say(&w, OPEN TEXT);
  for (int i = 0; i < 1000 && !w.text.n; i++) turn(&w, true);
  double from = oai_now();
  oai_exchange_cancel(w.x);
  CHECK(oai_now() - from < 0.1);
  for (int i = 0; i < 1000 && !oai_peer_closed(w.peer); i++)
    oai_listener_step(w.listener);
  CHECK(oai_peer_closed(w.peer));
  CHECK(ends(&w, 1));
  if (CHECK(oai_exchange_failure(w.x)))
    CHECK_EQ_INT(oai_exchange_failure(w.x)->kind, OAI_CANCELED);
  down(&w);
}

static void headers(void) {
  world w;
  TEST("keeps 8-bit header values, and gives the last of a name");
  up(&w);
  start(&w);
  asked(&w);
  say(&w, HEAD "X-A: b\r\nX-a:  \xE9t\xE9 \r\n\r\n" TEXT "data: [DONE]\n\n");
  CHECK(ends(&w, 2));
  CHECK_EQ_STR(oai_exchange_header(w.x, "x-a"), "\xE9t\xE9");
  CHECK(oai_exchange_header(w.x, "x-b").p == NULL);
  down(&w);
  for (int lines = 0; lines < 2; lines++) {
    TEST(lines ? "refuses more than 1,000 header lines"
               : "refuses headers above their cap");
    up(&w);
    start(&w);
    asked(&w);
    say(&w, HEAD);
    static char big[2002];
    memset(big, 'x', 2000);
    memcpy(big, "X-A: ", 5);
    memcpy(big + 2000, "\r\n", 2);
    for (int i = 0; i < (lines ? 1100 : 200); i++)
      oai_peer_write(w.peer, lines ? "X: y\r\n" : big, lines ? 6 : 2002, 0);
    say(&w, "\r\n" TEXT "data: [DONE]\n\n");
    CHECK(ends(&w, 2));
    if (CHECK(oai_exchange_failure(w.x)))
      CHECK_EQ_CSTR(oai_exchange_failure(w.x)->code, "header_too_large");
    down(&w);
  }
}

static void backpressure(void) {
  enum { N = 100000 };
  world w;
  TEST("stops the sender while nobody pulls, then gives everything");
  up(&w);
  start(&w);
  asked(&w);
  oai_buf all;
  oai_buf_init(&all, SIZE_MAX / 4);
  for (int i = 0; i < N; i++) oai_buf_append(&all, TEXT, sizeof TEXT - 1);
  for (int i = 0; i < 3; i++) { /* some 18 MB: more than sockets hold */
    oai_peer_write(w.peer, i ? all.p : OPEN, i ? all.n : sizeof OPEN - 1, 0);
  }
  say(&w, "data: [DONE]\n\n");
  for (int i = 0; i < 300; i++) turn(&w, false);
  size_t stuck = oai_peer_pending(w.peer);
  CHECK(stuck > 0);
  for (int i = 0; i < 50; i++) turn(&w, false);
  CHECK_EQ_INT(oai_peer_pending(w.peer), stuck);
  CHECK(ends(&w, 30));
  CHECK(oai_exchange_failure(w.x) == NULL);
  CHECK_EQ_INT(w.text.n, 2 * N);
  oai_buf_free(&all);
  down(&w);
}

static void reuse(void) {
  world w;
  TEST("uses the connection again after [DONE]");
  up(&w);
  for (int i = 0; i < 3; i++) {
    start(&w);
    asked(&w);
    say(&w, HEAD "Transfer-Encoding: chunked\r\n\r\n");
    char size[16];
    oai_peer_write(w.peer, size,
                   (size_t)sprintf(size, "%x\r\n",
                                   (int)sizeof(TEXT "data: [DONE]\n\n") - 1),
                   0);
    say(&w, TEXT "data: [DONE]\n\n");
    say(&w, "\r\n0\r\n\r\n");
    CHECK(ends(&w, 2));
    for (int k = 0; k < 20; k++) turn(&w, true);
    CHECK(oai_exchange_failure(w.x) == NULL);
    CHECK(!oai_listener_waiting(w.listener));
    if (i < 2) oai_exchange_free(w.x);
  }
  down(&w);
}

int main(void) {
  curl_global_init(CURL_GLOBAL_DEFAULT);
  endings();
  deadlines();
  cancels();
  headers();
  backpressure();
  reuse();
  curl_global_cleanup();
  return test_report();
}
