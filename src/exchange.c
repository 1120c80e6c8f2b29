/* exchange: see exchange.h. This file pulls, judges and ends; exchange_curl.c
 * talks to curl. */
#include "exchange_internal.h"

#include "apierror.h"
#include "pollset.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* Silence after every finish reason that counts as the end (DESIGN rule 5). */
static const double QUIET = 2;
/* How long a stream that is complete may take to end, to keep its socket. */
static const double DRAIN = 0.25;
/* A timer this late was held up by the host, not by the peer. */
static const double LATE = 0.05;

void oai_exchange_set_ready(oai_exchange *x, bool ready) {
  if (x->ready == ready) return;
  x->ready = ready;
  oai_engine_ready(x->engine, ready ? 1 : -1);
}

/* ---- ending ------------------------------------------------------------- */

static void close_socket(oai_exchange *x) {
  oai_engine_remove(x->engine, &x->transfer);
  oai_engine_timer_clear(x->engine, &x->timer);
  x->draining = false;
}

static void end(oai_exchange *x) {
  if (x->ended) return;
  x->ended = true;
  x->ended_at = oai_now();
  if (x->transfer.added)
    close_socket(x);
  else
    oai_engine_timer_clear(x->engine, &x->timer);
  oai_exchange_set_ready(x, true);
}

/* The failure to fill; NULL (and nomem set) when there is no memory for it. */
static oai_failure *failing(oai_exchange *x) {
  if (!x->failure) x->failure = malloc(sizeof *x->failure);
  if (!x->failure)
    x->nomem = true;
  else
    oai_failure_set(x->failure, OAI_NONE, NULL);
  return x->failure;
}

static void fail(oai_exchange *x, oai_kind kind, const char *code) {
  oai_failure *f = failing(x);
  if (f) {
    oai_failure_set(f, kind, code);
    f->status = x->headers_done ? x->status : 0;
  }
  end(x);
}

static void fail_timeout(oai_exchange *x, oai_phase phase) {
  fail(x, OAI_TIMEOUT, "timeout");
  if (x->failure) x->failure->phase = phase;
}

/* The end mark came: the answer is whole. The connection may be used again
 * when the body's end follows soon; nobody waits for that. */
static void succeed(oai_exchange *x) {
  if (!x->delta.nchoices) {
    fail(x, OAI_PROTOCOL, "empty_response");
    return;
  }
  if (oai_delta_unnamed(&x->delta)) {
    fail(x, OAI_TOOL, "invalid_tool_call");
    return;
  }
  x->proved = x->ended = true;
  x->ended_at = oai_now();
  oai_exchange_set_ready(x, true);
  oai_engine_timer_clear(x->engine, &x->timer);
  if (!x->transfer.added) return;
  x->draining = true;
  x->received = 0;
  if (!oai_engine_timer(x->engine, &x->timer, x->ended_at + DRAIN))
    close_socket(x);
  else
    oai_exchange_unpause(x);
}

/* ---- judging an answer that is over ------------------------------------- */

static oai_slice key_of(const oai_exchange *x) {
  return (oai_slice){x->endpoint->key.p, x->endpoint->key.n};
}

static oai_slice body_of(const oai_exchange *x) {
  return (oai_slice){x->body.p, x->body.n};
}

static oai_reader reader(oai_exchange *x) {
  return (oai_reader){
      &x->delta,  x->failure, key_of(x), x->status, x->endpoint->limits.depth,
      &x->pattern};
}

static void fail_quoting(oai_exchange *x, oai_kind kind, const char *code,
                         oai_slice text) {
  fail(x, kind, code);
  if (x->failure) oai_failure_quote(x->failure, text, key_of(x));
}

/* The body stopped before it was whole. */
static void fail_cut(oai_exchange *x) {
  if (x->result == CURLE_BAD_CONTENT_ENCODING)
    fail(x, OAI_PROTOCOL, "decode");
  else
    fail(x, OAI_INCOMPLETE_STREAM,
         x->result == CURLE_OK ? "incomplete" : "stream_interrupted");
}

static void judge_whole(oai_exchange *x) {
  if (x->result == CURLE_BAD_CONTENT_ENCODING ||
      (x->body.n == 0 && x->result != CURLE_OK)) {
    fail_cut(x);
    return;
  }
  if (x->body.n == 0) {
    fail(x, OAI_PROTOCOL, "empty_response");
    return;
  }
  if (!failing(x)) {
    end(x);
    return;
  }
  oai_reader r = reader(x);
  oai_read read = x->wire->body(&r, body_of(x));
  if (read == OAI_READ_NOMEM) {
    x->nomem = true;
    end(x);
  } else if (read == OAI_READ_DONE) {
    free(x->failure);
    x->failure = NULL;
    succeed(x);
  } else if (x->result != CURLE_OK && x->failure->kind == OAI_PROTOCOL) {
    fail_cut(x);
  } else {
    if (x->failure->kind == OAI_PROTOCOL && !x->failure->text[0])
      oai_failure_quote(x->failure, body_of(x), key_of(x));
    end(x);
  }
}

static bool read_event(oai_exchange *x, const oai_sse_event *event);

/* The last event may lack its blank line: it counts when it reads well. */
static bool read_leftover(oai_exchange *x) {
  oai_sse_event event;
  if (!oai_sse_finish(&x->sse, &event)) return false;
  x->had_event = true;
  if (!read_event(x, &event)) return x->ended && !x->failure;
  return true;
}

static void judge_stream(oai_exchange *x) {
  oai_slice error = {x->sse.error.p, x->sse.error.n};
  read_leftover(x);
  if (x->ended && x->failure && x->failure->kind == OAI_PROTOCOL) fail_cut(x);
  if (x->ended) return;
  error = (oai_slice){x->sse.error.p, x->sse.error.n};
  if (error.n) {
    if (failing(x)) oai_apierror_read(x->failure, x->status, error, key_of(x));
    end(x);
  } else if (x->result == CURLE_OK && oai_delta_finished(&x->delta)) {
    succeed(x);
  } else if (x->had_event || x->result != CURLE_OK) {
    fail_cut(x);
  } else if (x->received == 0) {
    fail(x, OAI_PROTOCOL, "empty_response");
  } else {
    fail_quoting(x, OAI_PROTOCOL, "bad_response", body_of(x));
  }
}

/* Called once the transfer is over and all that came was read. */
static void judge(oai_exchange *x) {
  if (x->over)
    fail(x, OAI_TOO_LARGE, "too_large");
  else if (x->headers_over)
    fail(x, OAI_PROTOCOL, "header_too_large");
  else if (x->nul_header)
    fail_quoting(x, OAI_PROTOCOL, "bad_response",
                 (oai_slice){"a NUL byte in a header", 22});
  else if (!x->headers_done) {
    if (failing(x)) oai_exchange_transport_failure(x, x->failure);
    end(x);
  } else if (x->status >= 400) {
    if (failing(x))
      oai_apierror_read(x->failure, x->status, body_of(x), key_of(x));
    end(x);
  } else if (x->status >= 300)
    fail(x, OAI_PROTOCOL, "redirect");
  else if (x->mode == OAI_BODY_STREAM)
    judge_stream(x);
  else
    judge_whole(x);
}

/* ---- reading ------------------------------------------------------------ */

static bool is_content(const oai_op *op) {
  return op->kind <= OAI_OP_REFUSAL || (op->kind == OAI_OP_CALL && op->n);
}

static void note_content(oai_exchange *x, size_t mark) {
  for (size_t i = mark; i < x->delta.nops; i++) {
    if (!is_content(&x->delta.ops[i])) continue;
    x->content_at = oai_now();
    if (x->first_content_at < 0) x->first_content_at = x->content_at;
    return;
  }
}

static void arm(oai_exchange *x, double now);

/* False when it ended the exchange. */
static bool read_event(oai_exchange *x, const oai_sse_event *event) {
  size_t mark = x->delta.nops;
  oai_failure said;
  oai_reader r = reader(x);
  r.failure = &said;
  switch (x->wire->event(&r, event)) {
  case OAI_READ_MORE: note_content(x, mark); break;
  case OAI_READ_DONE: succeed(x); return false;
  case OAI_READ_FAILED:
    note_content(x, mark);
    if (failing(x)) *x->failure = said;
    end(x);
    return false;
  case OAI_READ_NOMEM:
    x->nomem = true;
    end(x);
    return false;
  }
  if (x->finished_at < 0 && !x->transfer_over &&
      oai_delta_finished(&x->delta)) {
    x->finished_at = oai_now();
    arm(x, x->finished_at);
  }
  return true;
}

static bool close_delta(oai_exchange *x) {
  if (x->delta_ended) return false;
  x->delta_ended = true;
  if (oai_delta_end(&x->delta) != OAI_OK) x->nomem = true;
  return x->delta.nops > 0;
}

oai_pull oai_exchange_next(oai_exchange *x, oai_op *op, oai_slice *chunk) {
  oai_sse_event event;
  for (;;) {
    if (x->nomem) return OAI_PULL_NOMEM;
    bool has_op = oai_delta_next(&x->delta, op);
    if (has_op && !x->chunks) return OAI_PULL_OP;
    if (has_op) continue;
    if (x->ended) {
      if (close_delta(x)) continue;
      oai_delta_sort(&x->delta);
      oai_exchange_set_ready(x, false);
      return x->nomem ? OAI_PULL_NOMEM : OAI_PULL_END;
    }
    if (oai_sse_next(&x->sse, &event)) {
      bool go_on = read_event(x, &event);
      if (x->chunks && (go_on || x->proved) && event.data.n &&
          !oai_slice_is(event.data, "[DONE]")) {
        *chunk = event.data;
        return OAI_PULL_CHUNK;
      }
      continue;
    }
    if (x->transfer_over) {
      judge(x);
      continue;
    }
    oai_exchange_set_ready(x, false);
    if (x->paused) {
      oai_exchange_unpause(x);
      if (x->ready) continue;
    }
    return OAI_PULL_WAIT;
  }
}

/* ---- deadlines ---------------------------------------------------------- */

/* The earliest deadline that still applies, and what missing it means. */
static double deadline(oai_exchange *x, oai_phase *phase) {
  const oai_timeouts *t = &x->timeouts;
  double at;
  if (!oai_exchange_connected(x)) {
    *phase = OAI_PHASE_CONNECT;
    at = x->start + t->connect;
  } else if (!x->stream) {
    *phase = OAI_PHASE_ATTEMPT;
    at = x->start + t->attempt;
  } else if (!x->headers_done) {
    *phase = OAI_PHASE_FIRST_BYTE;
    at = x->start + x->grace + t->first_byte;
  } else if (x->finished_at >= 0) {
    *phase = OAI_PHASE_NONE; /* quiet after the finish: the end */
    at = x->finished_at + (t->content_idle < QUIET ? t->content_idle : QUIET);
  } else if (x->first_content_at < 0) {
    *phase = OAI_PHASE_FIRST_CONTENT;
    at = x->start + x->grace + t->first_content;
  } else {
    *phase = OAI_PHASE_CONTENT_IDLE;
    at = x->content_at + t->content_idle;
  }
  if (!x->stream && *phase == OAI_PHASE_CONNECT && t->attempt < t->connect) {
    *phase = OAI_PHASE_ATTEMPT;
    at = x->start + t->attempt;
  }
  if (x->total_at >= 0 && x->total_at < at) {
    *phase = OAI_PHASE_TOTAL;
    at = x->total_at;
  }
  return at;
}

static void arm(oai_exchange *x, double now) {
  oai_phase phase;
  double at = deadline(x, &phase);
  if (at < now) at = now;
  if (!oai_engine_timer(x->engine, &x->timer, at)) {
    x->nomem = true;
    oai_exchange_set_ready(x, true);
  }
}

/* Time that passed while nobody stepped, or while the reader was behind, is
 * not the peer's: the idle clocks start over or are put back by it. */
static bool excused(oai_exchange *x, oai_phase phase, double late, double now) {
  if (phase == OAI_PHASE_TOTAL || phase == OAI_PHASE_ATTEMPT ||
      phase == OAI_PHASE_CONNECT)
    return false;
  if (x->paused || oai_sse_waiting(&x->sse)) {
    x->content_at = now;
    x->grace = now - x->start;
    if (x->finished_at >= 0) x->finished_at = now;
    return true;
  }
  if (late < LATE) return false;
  x->grace += late;
  x->content_at += late;
  if (x->finished_at >= 0) x->finished_at += late;
  return true;
}

static void on_timer(oai_timer *timer, double now) {
  oai_exchange *x =
      (oai_exchange *)((char *)timer - offsetof(oai_exchange, timer));
  oai_phase phase;
  double late = now - timer->at;
  if (x->draining) {
    close_socket(x);
    return;
  }
  if (x->ended || x->transfer_over) return;
  if (deadline(x, &phase) > now || excused(x, phase, late, now)) {
    arm(x, now);
  } else if (phase == OAI_PHASE_NONE) {
    /* an end like any other, but the socket is still open */
    succeed(x);
    close_socket(x);
  } else {
    fail_timeout(x, phase);
  }
}

static void on_done(oai_transfer *transfer, CURLcode result) {
  oai_exchange *x = (oai_exchange *)transfer;
  oai_exchange_connected(x);
  oai_engine_timer_clear(x->engine, &x->timer);
  x->draining = false;
  if (x->transfer_over || x->ended) return;
  x->transfer_over = true;
  x->result = result;
  oai_exchange_set_ready(x, true);
}

/* ---- life --------------------------------------------------------------- */

static void init(oai_exchange *x, const oai_request *r) {
  const oai_limits *limits = &x->endpoint->limits;
  x->transfer.done = on_done;
  x->timer.fire = on_timer;
  x->stream = r->stream;
  x->timeouts = r->timeouts;
  x->start = oai_now();
  x->total_at = r->deadline < 0 ? -1 : x->start + r->deadline;
  x->headers_at = x->first_content_at = x->finished_at = x->ended_at =
      x->connected_at = -1;
  oai_buf_init(&x->head, limits->header_bytes);
  oai_buf_init(&x->body, limits->response_bytes);
  oai_sse_init(&x->sse, limits->event_bytes);
  oai_delta_init(&x->delta, limits->tool_calls);
  oai_pattern_init(&x->pattern);
}

oai_exchange *oai_exchange_start(oai_engine *engine, oai_endpoint *endpoint,
                                 const oai_wire *wire, oai_request *request) {
  oai_exchange *x = calloc(1, sizeof *x);
  if (!x) {
    curl_slist_free_all(request->headers);
    request->headers = NULL;
    return NULL;
  }
  x->engine = oai_engine_ref(engine);
  x->endpoint = oai_endpoint_ref(endpoint);
  x->wire = wire;
  /* a stream that ended may have left its connection a moment from free */
  if (oai_engine_transfers(engine)) oai_engine_step(engine, 0);
  init(x, request);
  if (!oai_exchange_setup(x, request) ||
      !oai_engine_add(engine, &x->transfer)) {
    oai_exchange_free(x);
    return NULL;
  }
  arm(x, x->start);
  return x;
}

void oai_exchange_cancel(oai_exchange *x) {
  if (!x->ended) fail(x, OAI_CANCELED, "canceled");
  close_socket(x);
  oai_sse_free(&x->sse);
  oai_buf_free(&x->body);
}

static void wipe_headers(struct curl_slist *list) {
  for (struct curl_slist *l = list; l; l = l->next)
    oai_wipe(l->data, strlen(l->data));
  curl_slist_free_all(list);
}

void oai_exchange_free(oai_exchange *x) {
  if (!x) return;
  close_socket(x);
  oai_exchange_set_ready(x, false);
  if (x->transfer.easy) oai_engine_easy_done(x->engine, x->transfer.easy);
  wipe_headers(x->headers);
  free(x->url);
  free(x->parts);
  free(x->joined);
  free(x->failure);
  oai_buf_free(&x->head);
  oai_buf_free(&x->body);
  oai_sse_free(&x->sse);
  oai_delta_free(&x->delta);
  oai_pattern_free(&x->pattern);
  oai_endpoint_unref(x->endpoint);
  oai_engine_unref(x->engine);
  free(x);
}

/* ---- questions ---------------------------------------------------------- */

void oai_exchange_want_chunks(oai_exchange *x) {
  x->chunks = true;
}
bool oai_exchange_ready(const oai_exchange *x) {
  return x->ready;
}
bool oai_exchange_streams(const oai_exchange *x) {
  return x->stream;
}

bool oai_exchange_has_content(const oai_exchange *x) {
  return x->first_content_at >= 0;
}

const oai_failure *oai_exchange_failure(const oai_exchange *x) {
  return x->failure;
}

const oai_delta *oai_exchange_delta(const oai_exchange *x) {
  return &x->delta;
}
int oai_exchange_status(const oai_exchange *x) {
  return x->status;
}

oai_slice oai_exchange_header(const oai_exchange *x, const char *name) {
  oai_slice found = {NULL, 0};
  size_t length = strlen(name), i = 0;
  while (i < x->head.n) {
    const char *p = x->head.p + i;
    const char *lf = memchr(p, '\n', x->head.n - i);
    size_t n = lf ? (size_t)(lf - p) : x->head.n - i;
    i += n + 1;
    if (n <= length || p[length] != ':' || strncasecmp(p, name, length))
      continue;
    const char *v = p + length + 1, *stop = p + n;
    while (v < stop && (*v == ' ' || *v == '\t')) v++;
    while (stop > v && strchr(" \t\r", stop[-1]) && stop[-1]) stop--;
    found = (oai_slice){v, (size_t)(stop - v)};
  }
  return found;
}

static double since(const oai_exchange *x, double at) {
  return at < 0 ? -1 : at - x->start;
}

oai_timing oai_exchange_timing(const oai_exchange *x) {
  return (oai_timing){since(x, x->connected_at), since(x, x->headers_at),
                      since(x, x->first_content_at), since(x, x->ended_at)};
}
