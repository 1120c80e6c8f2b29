/* exchange_curl: what libcurl tells an exchange: the callbacks for its answer,
 * which append bytes and note facts, nothing more. See exchange.h. */
#include "easy.h"
#include "exchange_internal.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { HEADER_LINES_MAX = 1000 };
/* libcurl's own cap on all headers of an answer, since 8.3 and in its patches
 */
enum { CURL_HEADERS_MAX = 300 * 1024 };
/* What may wait unread on HTTP/2, where a pause would not stop the sender: its
 * window is 32 MB, and libcurl buffers what comes. */
enum { UNREAD_MAX = 16 * OAI_PAUSE_AT };

/* ---- answer ------------------------------------------------------------- */

static size_t stop(oai_exchange *x, bool *fact) {
  *fact = true;
  oai_exchange_set_ready(x, true);
  return 0; /* curl ends the transfer with CURLE_WRITE_ERROR */
}

/* A line that begins with a blank goes on with the one before (obs-fold): one
 * space stands for the fold (RFC 9112 5.2). */
static bool keep_header(oai_exchange *x, const char *p, size_t n) {
  if (x->head.n && (*p == ' ' || *p == '\t')) {
    while (x->head.n && strchr(" \t\r\n", x->head.p[x->head.n - 1]))
      x->head.n--;
    while (n > 1 && (p[1] == ' ' || p[1] == '\t')) p++, n--;
    if (oai_buf_append(&x->head, " ", 1) != OAI_BUF_OK) return false;
    p++, n--;
  }
  return oai_buf_append(&x->head, p, n) == OAI_BUF_OK;
}

size_t oai_exchange_on_header(char *p, size_t size, size_t n, void *arg) {
  oai_exchange *x = arg;
  n *= size;
  x->header_bytes += n;
  x->header_lines++;
  if (x->header_bytes > x->endpoint->limits.header_bytes ||
      x->header_lines > HEADER_LINES_MAX)
    return stop(x, &x->headers_over);
  if (n > 5 && memcmp(p, "HTTP/", 5) == 0) {
    const char *space = memchr(p, ' ', n);
    x->head.n = 0;
    x->headers_done = false;
    x->status = space ? atoi(space) : 0;
  }
  if (memchr(p, 0, n)) return stop(x, &x->nul_header);
  if (n <= 2 && (*p == '\r' || *p == '\n')) {
    x->headers_done = x->status >= 200;
    if (x->headers_done) x->headers_at = oai_engine_now(x->engine);
    return n;
  }
  if (x->headers_done) return n; /* trailers */
  if (!keep_header(x, p, n)) return stop(x, &x->nomem);
  return n;
}

static bool is_labelled_stream(const oai_exchange *x) {
  static const char name[] = "text/event-stream";
  oai_slice type = oai_exchange_header(x, "content-type");
  return type.n >= sizeof name - 1 &&
         strncasecmp(type.p, name, sizeof name - 1) == 0;
}

/* A stream may turn out to be a JSON document or a page: by its first byte,
 * since servers of chat label all three as they like. */
static oai_body_mode mode_of(const oai_exchange *x, const char *p, size_t n) {
  if (!x->stream || x->status >= 300) return OAI_BODY_WHOLE;
  if (x->wire->answer == OAI_ANSWER_BYTES)
    return is_labelled_stream(x) ? OAI_BODY_STREAM : OAI_BODY_WHOLE;
  for (size_t i = 0; i < n; i++) {
    unsigned char c = (unsigned char)p[i];
    if (c == ' ' || c == '\t' || c == '\r' || c == '\n' || c == 0xEF ||
        c == 0xBB || c == 0xBF)
      continue;
    return c == '{' || c == '[' || c == '<' ? OAI_BODY_WHOLE : OAI_BODY_STREAM;
  }
  return OAI_BODY_UNKNOWN;
}

static oai_buf_status keep(oai_exchange *x, const char *p, size_t n) {
  size_t max = x->mode == OAI_BODY_WHOLE ? SIZE_MAX : OAI_HEAD_MAX;
  if (x->had_event) return OAI_BUF_OK;
  if (n > max - x->body.n) n = max - x->body.n;
  return oai_buf_append(&x->body, p, n);
}

static oai_buf_status take(oai_exchange *x, const char *p, size_t n) {
  if (x->mode == OAI_BODY_UNKNOWN) x->mode = mode_of(x, p, n);
  /* white space before the first byte that tells means nothing to either */
  oai_buf_status status =
      x->mode == OAI_BODY_UNKNOWN ? OAI_BUF_OK : keep(x, p, n);
  if (x->pull && x->status < 300) oai_exchange_set_ready(x, true);
  if (status != OAI_BUF_OK || x->mode == OAI_BODY_WHOLE) return status;
  unsigned step = oai_engine_steps(x->engine);
  if (!oai_sse_waiting(&x->sse))
    x->fed_step = step;
  else if (x->fed_step != step)
    x->behind = true;
  status = oai_sse_feed(&x->sse, p, n);
  if (oai_sse_waiting(&x->sse)) {
    oai_buf_free(&x->body);
    x->had_event = true;
    oai_exchange_set_ready(x, true);
  }
  return status;
}

static bool is_http2(const oai_exchange *x) {
  long version = 0;
  curl_easy_getinfo(x->transfer.easy, CURLINFO_HTTP_VERSION, &version);
  return version == CURL_HTTP_VERSION_2_0;
}

/* The host's slice is over: the rest is read when this one's turn to be pulled
 * comes. A paused h2 stream would let the others' bytes pile up instead. */
static bool step_is_spent(oai_exchange *x) {
  if (!oai_engine_step_spent(x->engine) || is_http2(x)) return false;
  oai_exchange_set_ready(x, true);
  return true;
}

size_t oai_exchange_on_body(char *p, size_t size, size_t n, void *arg) {
  oai_exchange *x = arg;
  n *= size;
  if (x->draining) return x->received += n, x->received < OAI_HEAD_MAX ? n : 0;
  size_t unread = x->pull ? x->body.n : oai_sse_waiting(&x->sse);
  if (unread > OAI_PAUSE_AT && is_http2(x)) {
    if (unread > UNREAD_MAX) return stop(x, &x->over);
  } else if (unread > OAI_PAUSE_AT || step_is_spent(x)) {
    x->paused = true;
    return CURL_WRITEFUNC_PAUSE;
  }
  x->received += n;
  x->moved_at = oai_engine_now(x->engine);
  if (x->finished_at >= 0) x->byte_at = oai_engine_now(x->engine);
  bool kept = !x->pull || x->status >= 300;
  if (kept && x->received > x->endpoint->limits.response_bytes)
    return stop(x, &x->over);
  if (x->status >= 300 && x->body.n > OAI_ERROR_MAX) return stop(x, &x->enough);
  oai_buf_status status = take(x, p, n);
  if (status == OAI_BUF_OK) return n;
  return stop(x, status == OAI_BUF_FULL ? &x->over : &x->nomem);
}

void oai_exchange_unpause(oai_exchange *x) {
  if (!x->paused || !x->transfer.added) return;
  x->paused = false;
  curl_easy_pause(x->transfer.easy, CURLPAUSE_CONT);
}

bool oai_exchange_connected(oai_exchange *x) {
  curl_off_t us = 0;
  if (x->connected_at >= 0) return true;
  /* a handle that was used before has its old times until it starts */
  if (!x->transfer.easy || x->transfer.starting) return false;
  curl_easy_getinfo(x->transfer.easy, CURLINFO_PRETRANSFER_TIME_T, &us);
  if (us > 0)
    x->connected_at =
        fmin(x->start + (double)us / 1e6, oai_engine_now(x->engine));
  return us > 0;
}

/* ---- errors ------------------------------------------------------------- */

void oai_exchange_transport_failure(oai_exchange *x, oai_failure *f) {
  long proxy = 0;
  oai_slice said = {x->errors, strlen(x->errors)};
  oai_slice key = oai_exchange_key(x);
  curl_easy_getinfo(x->transfer.easy, CURLINFO_HTTP_CONNECTCODE, &proxy);
  if (x->form && oai_form_changed(x->form)) {
    static const char why[] = "a file changed, or could not be read, while it "
                              "was sent";
    oai_failure_set(f, OAI_STORAGE, "io");
    oai_failure_quote(f, (oai_slice){why, sizeof why - 1}, key);
    return;
  }
  if (x->result == CURLE_WEIRD_SERVER_REPLY ||
      x->result == CURLE_UNSUPPORTED_PROTOCOL)
    oai_failure_set(f, OAI_PROTOCOL, "bad_response");
  else if (x->result == CURLE_BAD_CONTENT_ENCODING)
    oai_failure_set(f, OAI_PROTOCOL, "decode");
  else if ((x->result == CURLE_OUT_OF_MEMORY && x->header_bytes) ||
           (x->result == CURLE_RECV_ERROR &&
            x->header_bytes + CURL_MAX_WRITE_SIZE > CURL_HEADERS_MAX))
    /* curl's own caps on one header line and on all, below ours or not */
    oai_failure_set(f, OAI_PROTOCOL, "header_too_large");
  else if (x->result == CURLE_OPERATION_TIMEDOUT) {
    oai_failure_set(f, OAI_TIMEOUT, "timeout");
    f->phase = OAI_PHASE_CONNECT;
  } else if ((proxy && proxy != 200) ||
             (x->endpoint->proxy && x->result == CURLE_COULDNT_CONNECT)) {
    oai_failure_set(f, OAI_NETWORK, "proxy");
  } else {
    oai_failure_set(f, OAI_NETWORK, oai_easy_code(x->result));
  }
  oai_failure_quote(f, said, key);
}
