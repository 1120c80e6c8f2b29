/* wire_raw on an exchange, against a server in the same thread: what is asked,
 * what is handed out, what proves the end. */
#include "../src/exchange.h"
#include "../src/listen.h"
#include "../src/pollset.h"
#include "../src/wire_raw.h"
#include "support/test.h"

#define OK "HTTP/1.1 200 OK\r\n"
#define EVENTS OK "Content-Type: text/event-stream\r\n"

typedef struct world {
  oai_engine *engine;
  oai_endpoint *endpoint;
  oai_listener *listener;
  oai_peer *peer;
  oai_exchange *x;
  oai_buf asked, heard;
} world;

static void up(world *w) {
  char url[64], message[200];
  oai_listen_options o = {NULL, 0, NULL};
  memset(w, 0, sizeof *w);
  w->engine = oai_engine_new();
  w->endpoint = oai_endpoint_new();
  w->listener = oai_listener_open(&o, message, sizeof message);
  if (!w->listener) exit(1);
  sprintf(url, "http://127.0.0.1:%d", oai_listener_port(w->listener));
  oai_endpoint_set_url(w->endpoint, url, strlen(url));
  oai_buf_init(&w->asked, SIZE_MAX / 4);
  oai_buf_init(&w->heard, SIZE_MAX / 4);
}

static void down(world *w) {
  oai_exchange_free(w->x);
  if (w->peer) oai_peer_release(w->peer);
  oai_listener_close(w->listener);
  CHECK_EQ_INT(oai_engine_transfers(w->engine), 0);
  oai_engine_unref(w->engine);
  oai_endpoint_unref(w->endpoint);
  oai_buf_free(&w->asked);
  oai_buf_free(&w->heard);
}

static void note(oai_buf *b, oai_slice s) {
  if (s.n) oai_buf_append(b, s.p, s.n);
  oai_buf_append(b, "|", 1);
}

/* Events as name|id|data|. */
static bool pull(world *w) {
  oai_op op;
  oai_sse_event e;
  oai_pull got;
  while ((got = oai_exchange_next(w->x, &op, &e)) == OAI_PULL_CHUNK) {
    note(&w->heard, e.name);
    note(&w->heard, e.id);
    note(&w->heard, e.data);
  }
  return got == OAI_PULL_END;
}

/* The request is whole: our peer answers and closes. */
static bool answer(world *w, const char *bytes) {
  if (!w->peer) w->peer = oai_listener_accept(w->listener);
  if (!w->peer) return false;
  oai_slice in = oai_peer_input(w->peer);
  if (in.n < 4 || memcmp(in.p + in.n - 4, "\r\n\r\n", 4) != 0) return false;
  oai_buf_append(&w->asked, in.p, in.n);
  oai_buf_append(&w->asked, "", 1);
  oai_peer_taken(w->peer);
  oai_peer_write(w->peer, bytes, strlen(bytes), 0);
  oai_peer_close(w->peer);
  return true;
}

/* Asks without a body, and reads to the end. */
static void play(world *w, const char *method, bool stream, const char *bytes) {
  oai_request r = {.path = "/a?b",
                   .method = method,
                   .stream = stream,
                   .timeouts = {5, 5, 5, 5, 5},
                   .deadline = -1};
  bool answered = false, end = false;
  up(w);
  w->x = oai_exchange_start(w->engine, w->endpoint, &oai_wire_raw, &r);
  if (!w->x) exit(1);
  for (int i = 0; i < 5000 && !end; i++) {
    oai_listener_step(w->listener);
    answered = answered || answer(w, bytes);
    oai_engine_wait(w->engine, 0.001, false);
    oai_engine_step(w->engine, -1);
    end = pull(w);
  }
  CHECK(end);
}

static bool body_is(const world *w, const char *text) {
  oai_slice body;
  return CHECK(oai_exchange_body(w->x, &body)) &&
         CHECK_EQ_INT(body.n, strlen(text)) &&
         CHECK(body.n == 0 || memcmp(body.p, text, body.n) == 0);
}

static bool heard_is(world *w, const char *text) {
  oai_buf_append(&w->heard, "", 1);
  return CHECK(strcmp(w->heard.p, text) == 0);
}

static bool fails_with(const world *w, oai_kind kind) {
  const oai_failure *f = oai_exchange_failure(w->x);
  return CHECK(f != NULL) && CHECK_EQ_INT(f->kind, kind);
}

static void whole_answers(void) {
  world w;
  TEST("hands out the body's bytes, and asks by the method") {
    play(&w, "DELETE", false, OK "Content-Length: 4\r\n\r\n{\"a\"");
    CHECK(oai_exchange_failure(w.x) == NULL);
    CHECK(strncmp(w.asked.p, "DELETE /a?b HTTP/1.1\r\n", 22) == 0);
    CHECK(strstr(w.asked.p, "Content-") == NULL);
    body_is(&w, "{\"a\"");
    down(&w);
  }
  TEST("takes an empty body for an answer") {
    play(&w, "GET", true, "HTTP/1.1 204 None\r\n\r\n");
    CHECK(oai_exchange_failure(w.x) == NULL);
    CHECK_EQ_INT(oai_exchange_status(w.x), 204);
    body_is(&w, "");
    down(&w);
  }
  TEST("takes a body that is cut for none, but keeps what came") {
    play(&w, "GET", false, OK "Content-Length: 9\r\n\r\nabc");
    fails_with(&w, OAI_INCOMPLETE_STREAM);
    body_is(&w, "abc");
    down(&w);
  }
  TEST("fails by the status") {
    play(&w, "GET", false, "HTTP/1.1 404 No\r\nContent-Length: 2\r\n\r\nno");
    fails_with(&w, OAI_NOT_FOUND);
    body_is(&w, "no");
    down(&w);
  }
  TEST("gives a body whole where a stream was wanted") {
    play(&w, "GET", true, OK "Content-Length: 8\r\n\r\ndata: 1\n");
    body_is(&w, "data: 1\n");
    heard_is(&w, "");
    down(&w);
  }
}

static void streams(void) {
  world w;
  TEST("hands out events with their names and ids, the last one unfinished") {
    play(&w, "GET", true,
         EVENTS "\r\nid: 1\ndata:\n\nevent: e\ndata: [DONE]\n\ndata: x");
    CHECK(oai_exchange_failure(w.x) == NULL);
    heard_is(&w, "|1||e|1|[DONE]||1|x|");
    body_is(&w, "");
    down(&w);
  }
  TEST("takes a stream that is cut for none, and its last line for nothing") {
    play(&w, "GET", true,
         EVENTS "Content-Length: 99\r\n\r\ndata: 1\n\ndata: 2");
    fails_with(&w, OAI_INCOMPLETE_STREAM);
    heard_is(&w, "||1|");
    down(&w);
  }
}

int main(void) {
  whole_answers();
  streams();
  return test_report();
}
