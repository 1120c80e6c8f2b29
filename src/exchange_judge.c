/* exchange_judge: how an exchange ends: proved, or with a failure that says
 * what was wrong. Reads facts; waits for nothing. See exchange.h. */
#include "exchange_internal.h"

#include "apierror.h"
#include "utf8.h"

#include <stdlib.h>
#include <string.h>

/* How long a stream that is complete may take to end, to keep its socket. */
static const double DRAIN = 0.25;

/* ---- ending ------------------------------------------------------------- */

void oai_exchange_drain(oai_exchange *x, bool on) {
  if (x->draining == on) return;
  x->draining = on;
  oai_engine_drain(x->engine, on ? 1 : -1);
}

void oai_exchange_close_socket(oai_exchange *x) {
  /* HTTP/2 would end the stream alone, and that with its next write */
  if (x->transfer.added) {
    x->usual = false;
    curl_easy_setopt(x->transfer.easy, CURLOPT_FORBID_REUSE, 1L);
  }
  oai_engine_remove(x->engine, &x->transfer);
  oai_engine_timer_clear(x->engine, &x->timer);
  oai_exchange_drain(x, false);
}

void oai_exchange_end(oai_exchange *x) {
  if (x->ended) return;
  x->ended = true;
  x->ended_at = oai_engine_now(x->engine);
  oai_exchange_close_socket(x);
  oai_exchange_set_ready(x, true);
}

/* The failure to fill; NULL (and nomem set) when there is no memory for it. */
oai_failure *oai_exchange_failing(oai_exchange *x) {
  if (!x->failure) x->failure = malloc(sizeof *x->failure);
  if (!x->failure)
    x->nomem = true;
  else
    oai_failure_set(x->failure, OAI_NONE, NULL);
  return x->failure;
}

void oai_exchange_fail(oai_exchange *x, oai_kind kind, const char *code) {
  oai_failure *f = oai_exchange_failing(x);
  if (f) {
    oai_failure_set(f, kind, code);
    f->status = x->headers_done ? x->status : 0;
  }
  oai_exchange_end(x);
}

/* The end mark came: the answer is whole. The connection may be used again
 * when the body's end follows soon; nobody waits for that. */
void oai_exchange_succeed(oai_exchange *x) {
  if (!x->delta.nchoices && x->wire->answer == OAI_ANSWER_REPLY) {
    oai_exchange_fail(x, OAI_PROTOCOL, "empty_response");
    return;
  }
  if (oai_delta_unnamed(&x->delta)) {
    oai_exchange_fail(x, OAI_TOOL, "invalid_tool_call");
    return;
  }
  x->proved = x->ended = true;
  x->ended_at = oai_engine_now(x->engine);
  oai_exchange_set_ready(x, true);
  oai_engine_timer_clear(x->engine, &x->timer);
  if (!x->transfer.added) return;
  oai_exchange_drain(x, true);
  x->received = 0;
  if (!oai_engine_timer(x->engine, &x->timer, x->ended_at + DRAIN))
    oai_exchange_close_socket(x);
  else
    oai_exchange_unpause(x);
}

/* ---- judging an answer that is over ------------------------------------- */

static oai_slice body_of(const oai_exchange *x) {
  return (oai_slice){x->body.p, x->body.n};
}

oai_reader oai_exchange_reader(oai_exchange *x) {
  return (oai_reader){&x->delta,
                      x->failure,
                      oai_exchange_key(x),
                      x->status,
                      x->endpoint->limits.depth,
                      &x->pattern};
}

static void fail_quoting(oai_exchange *x, oai_kind kind, const char *code,
                         oai_slice text) {
  oai_exchange_fail(x, kind, code);
  if (x->failure) oai_failure_quote(x->failure, text, oai_exchange_key(x));
}

/* libcurl takes an encoded body that is cut for a whole one. */
static bool cut_in_decoding(const oai_exchange *x) {
  oai_slice coded = oai_exchange_header(x, "content-encoding");
  return x->result == CURLE_OK && !x->stream && coded.n &&
         !oai_slice_is(coded, "identity") &&
         (x->body.n == 0 || x->body.p[0] == '{');
}

/* The body stopped before it was whole. */
static void fail_cut(oai_exchange *x) {
  if (x->result == CURLE_BAD_CONTENT_ENCODING || cut_in_decoding(x))
    oai_exchange_fail(x, OAI_PROTOCOL, "decode");
  else
    oai_exchange_fail(x, OAI_INCOMPLETE_STREAM,
                      x->result == CURLE_OK ? "incomplete"
                                            : "stream_interrupted");
}

/* What the server sent instead: its media type, and how it begins. */
static void quote_body(oai_exchange *x) {
  oai_slice type = oai_exchange_header(x, "content-type");
  oai_failure *f = x->failure;
  if (!f) return;
  if (type.p) {
    oai_failure masked;
    oai_failure_quote(&masked, type, oai_exchange_key(x));
    oai_failure_field(f->type, sizeof f->type, masked.text,
                      strlen(masked.text));
  }
  if (!f->text[0]) oai_failure_quote(f, body_of(x), oai_exchange_key(x));
}

/* The text of an answer that is nothing else; false: it is more than that. */
static bool take_plain(oai_exchange *x) {
  oai_read read;
  if (!x->want_plain || x->stream || x->resumable || !x->wire->plain ||
      x->body.n > OAI_PLAIN_MAX || x->result != CURLE_OK)
    return false;
  oai_reader r = oai_exchange_reader(x);
  read = x->wire->plain(&r, body_of(x));
  if (read == OAI_READ_MORE) return false;
  x->plain = read == OAI_READ_DONE;
  if (x->plain) {
    oai_exchange_succeed(x);
  } else {
    x->nomem = true;
    oai_exchange_end(x);
  }
  return true;
}

/* What is not UTF-8 becomes U+FFFD, as in a stream: who keeps the answer has to
 * be able to send it again. False: no memory. */
static bool clean_body(oai_exchange *x) {
  oai_buf fixed;
  if (x->wire->answer != OAI_ANSWER_REPLY ||
      oai_utf8_valid(x->body.p, x->body.n) == x->body.n)
    return true;
  oai_buf_init(&fixed, SIZE_MAX / 4);
  bool ok = oai_utf8_repair(&fixed, x->body.p, x->body.n) == OAI_BUF_OK;
  if (ok) {
    oai_buf_free(&x->body);
    x->body = fixed;
  } else {
    oai_buf_free(&fixed);
  }
  return ok;
}

static void judge_whole(oai_exchange *x) {
  if (x->result == CURLE_BAD_CONTENT_ENCODING ||
      (x->body.n == 0 && (x->result != CURLE_OK || cut_in_decoding(x)))) {
    fail_cut(x);
    return;
  }
  if (x->body.n == 0) {
    /* 204: there is nothing to say */
    if (x->status == 204 && x->wire->answer == OAI_ANSWER_JSON)
      oai_exchange_succeed(x);
    else
      oai_exchange_fail(x, OAI_PROTOCOL, "empty_response");
    return;
  }
  if (!clean_body(x)) x->nomem = true;
  if (!x->nomem && take_plain(x)) return;
  if (x->nomem || !oai_exchange_failing(x)) {
    oai_exchange_end(x);
    return;
  }
  oai_reader r = oai_exchange_reader(x);
  oai_read read = x->wire->body(&r, body_of(x));
  if (read == OAI_READ_NOMEM) {
    x->nomem = true;
    oai_exchange_end(x);
  } else if (read == OAI_READ_DONE) {
    free(x->failure);
    x->failure = NULL;
    oai_exchange_succeed(x);
  } else if ((x->result != CURLE_OK || cut_in_decoding(x)) &&
             x->failure->kind == OAI_PROTOCOL) {
    fail_cut(x);
  } else {
    if (x->failure->kind == OAI_PROTOCOL) quote_body(x);
    oai_exchange_end(x);
  }
}

/* The last event may lack its blank line: it counts when it reads well. */
static void read_leftover(oai_exchange *x) {
  oai_sse_event event;
  if (!oai_sse_finish(&x->sse, &event)) return;
  x->had_event = true;
  oai_exchange_read(x, &event);
  if (x->failure && x->failure->kind == OAI_PROTOCOL) fail_cut(x);
}

static void judge_stream(oai_exchange *x) {
  read_leftover(x);
  if (x->ended) return;
  oai_slice error = {x->sse.error.p, x->sse.error.n};
  if (error.n) {
    if (oai_exchange_failing(x))
      oai_apierror_read(x->failure, x->status, error, oai_exchange_key(x));
    oai_exchange_end(x);
  } else if (x->result == CURLE_OK && oai_delta_finished(&x->delta)) {
    oai_exchange_succeed(x);
  } else if (x->had_event || x->result != CURLE_OK) {
    fail_cut(x);
  } else if (x->received == 0) {
    oai_exchange_fail(x, OAI_PROTOCOL, "empty_response");
  } else {
    oai_exchange_fail(x, OAI_PROTOCOL, "bad_response");
    quote_body(x);
  }
}

void oai_exchange_want_plain(oai_exchange *x) {
  x->want_plain = true;
}

bool oai_exchange_plain(const oai_exchange *x, oai_slice *body) {
  *body = body_of(x);
  return x->plain && !x->failure &&
         !oai_exchange_shows_key(x, oai_exchange_head(x));
}

void oai_exchange_read_all(oai_exchange *x) {
  oai_failure none;
  if (!x->plain) return;
  oai_reader r = oai_exchange_reader(x);
  r.failure = &none;
  x->plain = false;
  oai_delta_free(&x->delta);
  if (x->wire->body(&r, body_of(x)) != OAI_READ_DONE ||
      oai_delta_end(&x->delta) != OAI_OK)
    x->nomem = true;
  x->delta.next_op = x->delta.nops; /* they were taken */
}

/* Bytes prove nothing; their end does. */
static void judge_raw(oai_exchange *x) {
  if (x->result == CURLE_OK)
    oai_exchange_succeed(x);
  else
    fail_cut(x);
}

/* Called once the transfer is over and all that came was read. */
void oai_exchange_judge(oai_exchange *x) {
  if (x->over)
    oai_exchange_fail(x, OAI_TOO_LARGE, "too_large");
  else if (x->headers_over)
    oai_exchange_fail(x, OAI_PROTOCOL, "header_too_large");
  else if (x->nul_header)
    fail_quoting(x, OAI_PROTOCOL, "bad_response",
                 (oai_slice){"a NUL byte in a header", 22});
  else if (!x->headers_done) {
    if (oai_exchange_failing(x)) oai_exchange_transport_failure(x, x->failure);
    oai_exchange_end(x);
  } else if (x->status >= 400) {
    if (oai_exchange_failing(x))
      oai_apierror_read(x->failure, x->status, body_of(x), oai_exchange_key(x));
    oai_exchange_end(x);
  } else if (x->status >= 300)
    oai_exchange_fail(x, OAI_PROTOCOL, "redirect");
  else if (x->wire->answer == OAI_ANSWER_BYTES || x->pull)
    judge_raw(x);
  else if (x->mode == OAI_BODY_STREAM)
    judge_stream(x);
  else
    judge_whole(x);
}
