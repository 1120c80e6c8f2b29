/* exchange: see exchange.h. This file starts, reads and frees; how it ends is
 * exchange_judge.c, its deadlines exchange_clock.c, libcurl exchange_curl.c. */
#include "exchange_internal.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

void oai_exchange_set_ready(oai_exchange *x, bool ready) {
  oai_engine_mark(x->engine, &x->waitable, ready);
}

/* ---- reading ------------------------------------------------------------ */

static bool is_content(const oai_op *op) {
  return op->kind <= OAI_OP_REFUSAL || (op->kind == OAI_OP_CALL && op->n);
}

static void note_content(oai_exchange *x, size_t mark) {
  bool content = x->wire->answer != OAI_ANSWER_REPLY;
  for (size_t i = mark; i < x->delta.nops && !content; i++)
    content = is_content(&x->delta.ops[i]);
  if (!content) return;
  x->content_at = oai_engine_now(x->engine);
  if (x->first_content_at >= 0) return;
  x->first_content_at = x->content_at;
  oai_exchange_arm(x);
}

/* False when it ended the exchange. */
bool oai_exchange_read(oai_exchange *x, const oai_sse_event *event) {
  size_t mark = x->delta.nops;
  oai_failure said;
  oai_reader r = oai_exchange_reader(x);
  r.failure = &said;
  switch (x->wire->event(&r, event)) {
  case OAI_READ_MORE: note_content(x, mark); break;
  case OAI_READ_DONE: oai_exchange_succeed(x); return false;
  case OAI_READ_FAILED:
    note_content(x, mark);
    if (oai_exchange_failing(x)) *x->failure = said;
    oai_exchange_end(x);
    return false;
  case OAI_READ_NOMEM:
    x->nomem = true;
    oai_exchange_end(x);
    return false;
  }
  if (x->finished_at < 0 && !x->transfer_over &&
      oai_delta_finished(&x->delta)) {
    x->finished_at = oai_engine_now(x->engine);
    oai_exchange_arm(x);
  }
  return true;
}

static bool close_delta(oai_exchange *x) {
  if (x->delta_ended || (x->resumable && x->failure)) return false;
  x->delta_ended = true;
  if (oai_delta_end(&x->delta) != OAI_OK) x->nomem = true;
  return x->delta.nops > 0;
}

/* Where nobody reads the data, one without its blank line cannot be told to be
 * whole: it is handed out too if the body's end was clean. */
static bool next_event(oai_exchange *x, oai_sse_event *event) {
  if (oai_sse_next(&x->sse, event)) return true;
  if (x->wire->answer == OAI_ANSWER_REPLY) return false;
  if (!x->transfer_over || x->had_leftover) return false;
  x->had_leftover = true;
  return x->result == CURLE_OK && x->mode == OAI_BODY_STREAM &&
         oai_sse_finish(&x->sse, event);
}

/* What waits of a pulled body; what was handed out before is done with. */
static bool give_body(oai_exchange *x, oai_sse_event *event) {
  if (!x->pull || x->status >= 300) return false;
  oai_buf_consume(&x->body, x->given);
  x->given = x->body.n;
  if (x->given && x->first_content_at < 0)
    x->first_content_at = oai_engine_now(x->engine);
  memset(event, 0, sizeof *event);
  event->data = (oai_slice){x->body.p, x->body.n};
  return x->given > 0;
}

/* An event as such, not what was read from it. */
static bool is_chunk(const oai_exchange *x, const oai_sse_event *event) {
  return x->wire->answer == OAI_ANSWER_BYTES ||
         ((x->chunks || x->wire->answer == OAI_ANSWER_JSON) && event->data.n &&
          !oai_slice_is(event->data, "[DONE]"));
}

static oai_pull pull(oai_exchange *x, oai_op *op, oai_sse_event *event) {
  for (;;) {
    if (x->nomem) return OAI_PULL_NOMEM;
    bool has_op = oai_delta_next(&x->delta, op);
    if (has_op && !x->chunks) {
      oai_engine_handed_out(x->engine);
      return OAI_PULL_OP;
    }
    if (has_op) continue;
    /* still ready; what was canceled must be told all the same */
    if (!x->ended && oai_engine_spent(x->engine)) return OAI_PULL_WAIT;
    if (x->ended) {
      if (close_delta(x)) continue;
      oai_delta_sort(&x->delta);
      oai_exchange_set_ready(x, false);
      return x->nomem ? OAI_PULL_NOMEM : OAI_PULL_END;
    }
    if (give_body(x, event)) return OAI_PULL_DATA;
    if (next_event(x, event)) {
      bool go_on = oai_exchange_read(x, event);
      if ((go_on || x->proved) && is_chunk(x, event)) {
        oai_engine_handed_out(x->engine);
        return OAI_PULL_CHUNK;
      }
      continue;
    }
    if (x->transfer_over) {
      oai_exchange_judge(x);
      continue;
    }
    x->behind = false;
    oai_exchange_set_ready(x, false);
    if (x->paused) {
      oai_exchange_unpause(x);
      if (x->waitable.ready) continue;
    }
    return OAI_PULL_WAIT;
  }
}

/* The consumer was too slow: the pieces that go on where this one ends are
 * handed out with it, so that it catches up. */
static void widen(oai_exchange *x, oai_op *op) {
  oai_sse_event event;
  do {
    while (oai_delta_merge(&x->delta, op)) {
    }
    if (op->n >= OAI_MERGE_MAX || x->delta.next_op < x->delta.nops) return;
    if (x->ended || oai_engine_spent(x->engine)) return;
  } while (oai_sse_next(&x->sse, &event) && oai_exchange_read(x, &event));
  while (oai_delta_merge(&x->delta, op)) {
  }
}

oai_pull oai_exchange_next(oai_exchange *x, oai_op *op, oai_sse_event *event) {
  oai_pull got = pull(x, op, event);
  if (got == OAI_PULL_OP && x->behind) widen(x, op);
  return got;
}

/* ---- life --------------------------------------------------------------- */

static void on_done(oai_transfer *transfer, CURLcode result) {
  oai_exchange *x = (oai_exchange *)transfer;
  oai_exchange_connected(x);
  oai_engine_timer_clear(x->engine, &x->timer);
  oai_exchange_drain(x, false);
  if (x->transfer_over || x->ended) return;
  x->result = result;
  if (oai_exchange_again(x)) return;
  x->transfer_over = true;
  oai_exchange_set_ready(x, true);
}

static void init(oai_exchange *x, const oai_request *r) {
  const oai_limits *limits = &x->endpoint->limits;
  x->transfer.done = on_done;
  x->timer.fire = oai_exchange_on_timer;
  x->stream = r->stream;
  x->resumable = r->resumable;
  x->pull = r->pull;
  x->timeouts = r->timeouts;
  x->start = x->moved_at = oai_engine_now(x->engine);
  x->total_at = r->deadline < 0 ? -1 : x->start + r->deadline;
  x->headers_at = x->first_content_at = x->finished_at = x->ended_at =
      x->connected_at = -1;
  oai_buf_init(&x->key, OAI_KEY_MAX);
  oai_buf_init(&x->head, limits->header_bytes);
  /* a pulled one is bounded by the pause */
  oai_buf_init(&x->body, r->pull ? SIZE_MAX / 4 : limits->response_bytes);
  oai_sse_init(&x->sse, limits->event_bytes);
  oai_delta_init(&x->delta, limits->tool_calls);
  oai_pattern_init(&x->pattern);
}

/* What the last exchange left, so that one request behind another takes no
 * large piece from the heap. */
static oai_exchange *new_exchange(oai_endpoint *e, bool stream) {
  oai_exchange *x = e->ready[stream].memory;
  e->ready[stream].memory = NULL;
  if (x)
    memset(x, 0, sizeof *x);
  else
    x = calloc(1, sizeof *x);
  return x;
}

/* Beside a handle that stays ready. */
static void leave_memory(oai_exchange *x) {
  oai_ready_handle *ready = &x->endpoint->ready[x->stream];
  bool kept = ready->easy && !ready->memory;
  if (kept) ready->memory = x;
  oai_endpoint_unref(x->endpoint);
  if (!kept) free(x);
}

oai_exchange *oai_exchange_start(oai_engine *engine, oai_endpoint *endpoint,
                                 const oai_wire *wire, oai_request *request) {
  oai_exchange *x = new_exchange(endpoint, request->stream);
  if (!x) {
    curl_slist_free_all(request->headers);
    oai_form_free(request->form);
    request->headers = NULL;
    request->form = NULL;
    return NULL;
  }
  x->engine = oai_engine_ref(engine);
  x->endpoint = oai_endpoint_ref(endpoint);
  x->wire = wire;
  /* a stream that ended may have left its connection a moment from free */
  if (oai_engine_draining(engine)) oai_engine_step(engine, 0);
  init(x, request);
  if (!oai_exchange_setup(x, request)) {
    oai_exchange_free(x);
    return NULL;
  }
  oai_engine_add(engine, &x->transfer);
  oai_exchange_arm(x);
  return x;
}

void oai_exchange_go_on_with(oai_exchange *x, oai_exchange *failed) {
  oai_delta empty = x->delta;
  x->delta = failed->delta;
  x->delta.resumed = x->delta.sequence;
  failed->delta = empty;
}

void oai_exchange_cancel(oai_exchange *x) {
  if (!x->ended) oai_exchange_fail(x, OAI_CANCELED, "canceled");
  oai_exchange_close_socket(x);
  oai_sse_free(&x->sse);
  if (!x->plain) oai_buf_free(&x->body); /* read_all wants it */
  x->given = 0;
}

void oai_exchange_free(oai_exchange *x) {
  if (!x) return;
  oai_exchange_close_socket(x);
  oai_engine_forget(x->engine, &x->waitable);
  oai_exchange_put_away(x);
  oai_form_free(x->form);
  oai_headers_free(x->headers);
  free(x->url);
  curl_url_cleanup(x->parsed);
  free(x->parts);
  free(x->joined);
  free(x->failure);
  oai_buf_wipe(&x->key);
  oai_buf_free(&x->head);
  oai_buf_free(&x->body);
  oai_sse_free(&x->sse);
  oai_delta_free(&x->delta);
  oai_pattern_free(&x->pattern);
  oai_engine_unref(x->engine);
  leave_memory(x);
}

/* ---- questions ---------------------------------------------------------- */

void oai_exchange_want_chunks(oai_exchange *x) {
  x->chunks = true;
}
bool oai_exchange_ready(const oai_exchange *x) {
  return x->waitable.ready;
}

oai_waitable *oai_exchange_waitable(oai_exchange *x) {
  return &x->waitable;
}
bool oai_exchange_streams(const oai_exchange *x) {
  return x->stream;
}

bool oai_exchange_draining(const oai_exchange *x) {
  return x->draining;
}

bool oai_exchange_has_content(const oai_exchange *x) {
  return x->first_content_at >= 0;
}

const oai_failure *oai_exchange_failure(const oai_exchange *x) {
  return x->failure;
}

const oai_wire *oai_exchange_wire(const oai_exchange *x) {
  return x->wire;
}

const oai_delta *oai_exchange_delta(const oai_exchange *x) {
  return &x->delta;
}
int oai_exchange_status(const oai_exchange *x) {
  return x->status;
}

bool oai_exchange_nomem(const oai_exchange *x) {
  return x->nomem;
}

bool oai_exchange_body(const oai_exchange *x, oai_slice *body) {
  bool events = x->mode == OAI_BODY_STREAM;
  *body = (oai_slice){x->body.p, events ? 0 : x->body.n};
  return x->wire->answer != OAI_ANSWER_REPLY;
}

bool oai_exchange_next_header(const oai_exchange *x, size_t *at,
                              oai_slice *name, oai_slice *value) {
  while (*at < x->head.n) {
    const char *p = x->head.p + *at;
    const char *lf = memchr(p, '\n', x->head.n - *at);
    const char *stop = lf ? lf : x->head.p + x->head.n;
    const char *colon = memchr(p, ':', (size_t)(stop - p));
    *at += (size_t)(stop - p) + 1;
    if (!colon) continue;
    const char *v = colon + 1;
    while (v < stop && (*v == ' ' || *v == '\t')) v++;
    while (stop > v && strchr(" \t\r", stop[-1]) && stop[-1]) stop--;
    *name = (oai_slice){p, (size_t)(colon - p)};
    *value = (oai_slice){v, (size_t)(stop - v)};
    return true;
  }
  return false;
}

oai_slice oai_exchange_head(const oai_exchange *x) {
  return (oai_slice){x->head.p, x->head.n};
}

oai_slice oai_exchange_header(const oai_exchange *x, const char *name) {
  oai_slice found = {NULL, 0}, key, value;
  size_t at = 0, n = strlen(name);
  while (oai_exchange_next_header(x, &at, &key, &value))
    if (key.n == n && strncasecmp(key.p, name, n) == 0) found = value;
  return found;
}

oai_slice oai_exchange_key(const oai_exchange *x) {
  const oai_buf *key = x->key.n ? &x->key : &x->endpoint->key;
  return (oai_slice){key->p, key->n};
}

bool oai_exchange_rekeyed(const oai_exchange *x) {
  return x->key_version != x->endpoint->key_version;
}

bool oai_exchange_shows_key(const oai_exchange *x, oai_slice bytes) {
  oai_slice key = oai_exchange_key(x);
  const char *p = bytes.p, *end;
  if (!bytes.n) return false;
  end = p + bytes.n;
  for (; key.n && (size_t)(end - p) >= key.n; p++) {
    p = memchr(p, *key.p, (size_t)(end - p) - key.n + 1);
    if (!p) return false;
    if (memcmp(p, key.p, key.n) == 0) return true;
  }
  return false;
}

static curl_off_t length(CURL *h, CURLINFO what) {
  curl_off_t n = -1;
  return h && curl_easy_getinfo(h, what, &n) == CURLE_OK ? n : -1;
}

oai_progress oai_exchange_progress(const oai_exchange *x) {
  CURL *h = x->transfer.easy;
  bool fixed = !x->form && !x->bodyless;
  return (oai_progress){
      length(h, CURLINFO_SIZE_UPLOAD_T),
      fixed ? x->body_size : length(h, CURLINFO_CONTENT_LENGTH_UPLOAD_T),
      (curl_off_t)x->received, length(h, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T)};
}

static double since(const oai_exchange *x, double at) {
  return at < 0 ? -1 : at - x->start;
}

oai_timing oai_exchange_timing(const oai_exchange *x) {
  return (oai_timing){since(x, x->connected_at), since(x, x->headers_at),
                      since(x, x->first_content_at), since(x, x->ended_at)};
}
