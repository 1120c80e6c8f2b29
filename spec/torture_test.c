/* Row 101: one allocation fails, for every one there is: of an exchange, a
 * whole answer, a socket and a child process, against a server in the same
 * thread. Each run ends, with what it promises or for lack of memory, and the
 * sanitizer finds nothing left. First our own allocations fail, then libcurl's
 * too. */
#include "../src/conn.h"
#include "../src/exchange.h"
#include "../src/listen.h"
#include "../src/pollset.h"
#include "../src/wire_chat.h"
#include "support/test.h"
#include "support/torture.h"

#if defined __linux__ && defined __SANITIZE_ADDRESS__
int __lsan_do_recoverable_leak_check(void);
char *__interceptor_strdup(const char *s);
void __interceptor_free(void *p);

static bool curls_too;

static void *curls_malloc(size_t n) {
  return curls_too ? malloc(n) : __interceptor_malloc(n);
}
static void *curls_calloc(size_t n, size_t size) {
  return curls_too ? calloc(n, size) : __interceptor_calloc(n, size);
}
static void *curls_realloc(void *p, size_t n) {
  return curls_too ? realloc(p, n) : __interceptor_realloc(p, n);
}
static char *curls_strdup(const char *s) {
  return curls_too && torture_fails() ? NULL : __interceptor_strdup(s);
}
static bool prepare(void) {
  return curl_global_init_mem(CURL_GLOBAL_DEFAULT, curls_malloc,
                              __interceptor_free, curls_realloc, curls_strdup,
                              curls_calloc) == CURLE_OK;
}
#else
static bool curls_too;
static bool prepare(void) {
  return curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK;
}
static int __lsan_do_recoverable_leak_check(void) {
  return 0;
}
#endif

typedef struct world {
  oai_engine *engine;
  oai_listener *listener;
  oai_peer *peer;
  const char *answer; /* NULL: an echo */
  double until;
} world;

/* The server's memory never fails: its client is what is tried. */
static void serve(world *w) {
  long left = torture_left;
  torture_left = 0;
  oai_listener_step(w->listener);
  oai_peer *next = oai_listener_accept(w->listener);
  if (next) {
    if (w->peer) oai_peer_release(w->peer);
    w->peer = next;
  }
  oai_slice in = w->peer ? oai_peer_input(w->peer) : (oai_slice){NULL, 0};
  bool whole = in.n > 2 && memcmp(in.p + in.n - 2, "{}", 2) == 0;
  if (in.n && (whole || !w->answer)) {
    if (w->answer) {
      oai_peer_write(w->peer, w->answer, strlen(w->answer), 97);
      oai_peer_shutdown(w->peer);
    } else {
      oai_peer_write(w->peer, in.p, in.n, 0);
    }
    oai_peer_taken(w->peer);
  }
  torture_left = left;
}

/* A little further; false: it takes far too long. */
static bool turn(world *w) {
  serve(w);
  oai_engine_wait(w->engine, 0.001, true);
  oai_engine_step(w->engine, -1);
  return oai_now() < w->until;
}

/* ---- the runs: each says whether it got what it came for -------------- */

typedef enum result { GOOD, NO_MEMORY, WRONG, STUCK } result;

#define CHUNK(delta, more)                                                     \
  "data: {\"id\":\"c\",\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":"   \
  "{" delta "}" more "}]}\n\n"
static const char stream_answer[] =
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nX-Request-Id: r\r\n"
    "Connection: close\r\n\r\n: hello\n\nid: 7\n" CHUNK(
        "\"role\":\"assistant\",\"content\":\"a\\u00e9\",\"odd\":[1]",
        "") CHUNK("\"reasoning_content\":\"r\",\"content\":\"b\"", "")
        CHUNK("\"tool_calls\":[{\"index\":0,\"id\":\"t\",\"type\":\"function\","
              "\"function\":{\"name\":\"f\",\"arguments\":\"{\"}}]",
              "") CHUNK("\"tool_calls\":[{\"index\":0,\"function\":{"
                        "\"arguments\":\"}\"}}]",
                        "")
            CHUNK("",
                  ",\"finish_reason\":\"stop\"") "data: "
                                                 "{\"choices\":[],\"usage\":{"
                                                 "\"total_tokens\":3}}\n\n"
                                                 "data: [DONE]\n\n";
static const char whole_answer[] =
    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
    "\r\n"
    "{\"choices\":[{\"message\":{\"content\":\"a\\u00e9b\"},\"x\":1} ]}\n";
static const char error_answer[] =
    "HTTP/1.1 429 X\r\nContent-Type: application/json\r\nRetry-After: 1\r\n"
    "\r\n"
    "{\"error\":{\"message\":\"slow "
    "\\u0064own\",\"code\":\"c\",\"a\":[1]}}\n\n";

static result judge(const oai_failure *f, const char *code) {
  if (f && f->kind == OAI_NOMEM) return NO_MEMORY;
  /* a refusal without memory for its words is judged by its status */
  if (f && torture_hit && f->kind == OAI_RATE_LIMIT && !f->code[0])
    return NO_MEMORY;
  /* libcurl tells lack of memory by other names at times */
  if (f && curls_too && (!code || strcmp(f->code, code) != 0)) return NO_MEMORY;
  if (!f) return code ? WRONG : GOOD;
  if (code && strcmp(f->code, code) == 0) return GOOD;
  printf("  ended as %s, %s\n", oai_kind_name(f->kind), f->code);
  return WRONG;
}

static result pull(world *w, oai_exchange *x, const char *code) {
  oai_op op;
  oai_sse_event event;
  for (;;) switch (oai_exchange_next(x, &op, &event)) {
    case OAI_PULL_OP:
    case OAI_PULL_CHUNK:
    case OAI_PULL_DATA: continue;
    case OAI_PULL_NOMEM: return NO_MEMORY;
    case OAI_PULL_WAIT:
      if (!turn(w)) return STUCK;
      continue;
    case OAI_PULL_END: {
      result r = judge(oai_exchange_failure(x), code);
      if (r != GOOD || code) return r;
      oai_slice text = {oai_exchange_delta(x)->choices[0].text.buf.p,
                        oai_exchange_delta(x)->choices[0].text.buf.n};
      return oai_slice_is(text, "a\xc3\xa9"
                                "b")
                 ? GOOD
                 : WRONG;
    }
    }
}

/* Where libcurl lacks memory in the middle it may forget a socket; the deadline
 * is what ends that. */
static oai_request request_of(const oai_slice *parts, size_t n, bool stream) {
  double t = curls_too && torture_left ? 0.3 : 5;
  return (oai_request){.parts = parts,
                       .nparts = n,
                       .path = "/chat/completions",
                       .stream = stream,
                       .timeouts = {t, t, t, t, t},
                       .deadline = -1};
}

static oai_endpoint *endpoint_of(const world *w) {
  char url[64];
  sprintf(url, "http://127.0.0.1:%d/v1", oai_listener_port(w->listener));
  oai_endpoint *e = oai_endpoint_new();
  oai_slice name = {"X-A", 3}, value = {"b", 1};
  if (!e) return NULL;
  if (oai_endpoint_set_url(e, url, strlen(url)) ||
      oai_endpoint_set_key(e, "sk-12345678", 11) ||
      oai_header_add(&e->headers, name, value)) {
    oai_endpoint_unref(e);
    return NULL;
  }
  return e;
}

static result ask(world *w, bool stream, const char *code) {
  static const oai_slice parts[] = {{"", 0}, {"{}", 2}};
  oai_endpoint *e = endpoint_of(w);
  if (!e) return NO_MEMORY;
  oai_request r = request_of(parts, 2, stream);
  oai_exchange *x = oai_exchange_start(w->engine, e, &oai_wire_chat, &r);
  result got = x ? pull(w, x, code) : NO_MEMORY;
  oai_exchange_free(x);
  oai_endpoint_unref(e);
  return got;
}

static result ask_stream(world *w) {
  return ask(w, true, NULL);
}
static result ask_whole(world *w) {
  return ask(w, false, NULL);
}
static result ask_refused(world *w) {
  return ask(w, true, "c");
}

/* A reader that gives up at the first piece; the engine goes on. */
static result ask_cancel(world *w) {
  static const oai_slice part = {"{}", 2};
  oai_endpoint *e = endpoint_of(w);
  if (!e) return NO_MEMORY;
  oai_request r = request_of(&part, 1, true);
  oai_exchange *x = oai_exchange_start(w->engine, e, &oai_wire_chat, &r);
  result got = x ? GOOD : NO_MEMORY;
  while (got == GOOD && !oai_exchange_ready(x))
    if (!turn(w)) got = STUCK;
  if (x) oai_exchange_cancel(x);
  if (got == GOOD) got = pull(w, x, "canceled");
  oai_exchange_free(x);
  oai_endpoint_unref(e);
  return got;
}

static result talk(world *w, oai_conn *c) {
  if (!c) return NO_MEMORY;
  result got = STUCK;
  while (oai_conn_state_of(c) == OAI_CONN_CONNECTING && turn(w)) continue;
  oai_buf_status sent = oai_conn_write(c, "hello", 5);
  if (sent == OAI_BUF_NOMEM) got = NO_MEMORY;
  while (got == STUCK && turn(w)) {
    if (oai_conn_read(c).n == 5) got = GOOD;
    if (oai_conn_state_of(c) == OAI_CONN_CLOSED)
      got = judge(oai_conn_failure(c), "none");
  }
  oai_conn_free(c);
  return got;
}

static result dial(world *w) {
  char url[64], message[200] = "";
  oai_conn_options o;
  memset(&o, 0, sizeof o);
  sprintf(url, "tcp://127.0.0.1:%d", oai_listener_port(w->listener));
  o.url = url;
  o.timeout = 5;
  return talk(w, oai_conn_connect(w->engine, &o, message, sizeof message));
}

static result spawn(world *w) {
  static const char *const argv[] = {"cat", NULL};
  char message[200] = "";
  oai_spawn_options o;
  memset(&o, 0, sizeof o);
  o.argv = argv;
  return talk(w, oai_conn_spawn(w->engine, &o, message, sizeof message));
}

/* ---- one run with the k-th allocation failing --------------------------- */

static result once(result (*run)(world *w), const char *answer, long k) {
  char message[200];
  oai_listen_options o = {NULL, 0, NULL};
  world w = {NULL, NULL, NULL, answer, oai_now() + 2};
  w.listener = oai_listener_open(&o, message, sizeof message);
  if (!w.listener) return WRONG;
  torture_hit = false;
  torture_left = k;
  w.engine = oai_engine_new();
  result got = w.engine ? run(&w) : NO_MEMORY;
  oai_engine_unref(w.engine);
  torture_left = 0;
  if (w.peer) oai_peer_release(w.peer);
  oai_listener_close(w.listener);
  return got;
}

static void torture(const char *what, result (*run)(world *w),
                    const char *answer) {
  static char names[2][200]; /* a test keeps its name till the next begins */
  static unsigned turn;
  char *sentence = names[turn++ % 2];
  long k, most = torture_possible ? 20000 : 1;
  snprintf(sentence, sizeof names[0],
           "row 101: %s, and every allocation fails once%s", what,
           curls_too ? ", libcurl's too" : "");
  TEST(sentence);
  CHECK_EQ_INT(once(run, answer, 0), GOOD);
  for (k = 1; torture_possible && k < most; k++) {
    result got = once(run, answer, k);
    if (!torture_hit) break;
    bool ended = CHECK(got == GOOD || got == NO_MEMORY);
    bool leaks = !CHECK(!__lsan_do_recoverable_leak_check());
    if (!ended || leaks) printf("  with allocation %ld, result %d\n", k, got);
    if (leaks) break; /* the same leak would be found again and again */
  }
  CHECK(!torture_possible || (k > 5 && k < most));
  if (getenv("TEST_VERBOSE")) printf("  %ld allocations\n", k - 1);
}

int main(void) {
  setvbuf(stdout, NULL, _IOLBF, 0);
  if (!prepare()) return 1;
  for (int both = 0; both < 2; both++) {
    curls_too = both;
    torture("a stream", ask_stream, stream_answer);
    torture("a whole answer", ask_whole, whole_answer);
    torture("a refusal", ask_refused, error_answer);
    torture("a cancel", ask_cancel, stream_answer);
    torture("a socket", dial, NULL);
    torture("a child process", spawn, NULL);
  }
  return test_report();
}
