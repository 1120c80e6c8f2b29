/* exchange_curl: an exchange's dealings with libcurl: options and callbacks.
 * The callbacks append bytes and note facts, nothing more. See exchange.h. */
#include "easy.h"
#include "exchange_internal.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* A body up to this size goes out with the headers in one write. */
enum { JOIN_MAX = 64 * 1024 };
enum { HEADER_LINES_MAX = 1000 };
enum { STREAM_BUFFER = 4096 };
/* libcurl's own cap on all headers of an answer, since 8.3 and in its patches
 */
enum { CURL_HEADERS_MAX = 300 * 1024 };
/* What may wait unread on HTTP/2, where a pause would not stop the sender: its
 * window is 32 MB, and libcurl buffers what comes. */
enum { UNREAD_MAX = 16 * OAI_PAUSE_AT };

/* ---- request ------------------------------------------------------------ */

static size_t on_read(char *out, size_t size, size_t n, void *arg) {
  oai_exchange *x = arg;
  size_t room = size * n, done = 0;
  while (done < room && x->part < x->nparts) {
    const oai_slice *p = &x->parts[x->part];
    size_t piece = p->n - x->offset;
    if (piece > room - done) piece = room - done;
    memcpy(out + done, p->p + x->offset, piece);
    done += piece;
    x->offset += piece;
    if (x->offset == p->n) x->part++, x->offset = 0;
  }
  return done;
}

/* curl rewinds when a kept connection proves dead. */
static int on_seek(void *arg, curl_off_t offset, int origin) {
  oai_exchange *x = arg;
  if (origin != SEEK_SET || offset != 0) return CURL_SEEKFUNC_CANTSEEK;
  x->part = x->offset = 0;
  return CURL_SEEKFUNC_OK;
}

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

static size_t on_header(char *p, size_t size, size_t n, void *arg) {
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
  if (x->wire->raw)
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

static size_t on_body(char *p, size_t size, size_t n, void *arg) {
  oai_exchange *x = arg;
  n *= size;
  if (x->draining) return x->received += n, x->received < OAI_HEAD_MAX ? n : 0;
  size_t unread = oai_sse_waiting(&x->sse);
  if (unread > OAI_PAUSE_AT && is_http2(x)) {
    if (unread > UNREAD_MAX) return stop(x, &x->over);
  } else if (unread > OAI_PAUSE_AT || step_is_spent(x)) {
    x->paused = true;
    return CURL_WRITEFUNC_PAUSE;
  }
  x->received += n;
  if (x->finished_at >= 0) x->byte_at = oai_engine_now(x->engine);
  if (x->received > x->endpoint->limits.response_bytes)
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
  if (!x->transfer.easy) return false;
  curl_easy_getinfo(x->transfer.easy, CURLINFO_PRETRANSFER_TIME_T, &us);
  if (us > 0)
    x->connected_at =
        fmin(x->start + (double)us / 1e6, oai_engine_now(x->engine));
  return us > 0;
}

/* ---- setup -------------------------------------------------------------- */

static bool join_parts(oai_exchange *x, const oai_request *r) {
  size_t total = 0;
  for (size_t i = 0; i < r->nparts; i++) total += r->parts[i].n;
  x->body_size = (curl_off_t)total;
  if (r->nparts <= 1) {
    x->joined = NULL;
  } else if (total <= JOIN_MAX) {
    char *p = x->joined = malloc(total + 1);
    if (!p) return false;
    for (size_t i = 0; i < r->nparts; p += r->parts[i++].n)
      if (r->parts[i].n) memcpy(p, r->parts[i].p, r->parts[i].n);
    return true;
  }
  x->parts = malloc((r->nparts ? r->nparts : 1) * sizeof *x->parts);
  if (!x->parts) return false;
  if (r->nparts) memcpy(x->parts, r->parts, r->nparts * sizeof *x->parts);
  x->nparts = r->nparts;
  return true;
}

static void set_body(oai_exchange *x, CURL *h) {
  const char *one = x->joined;
  if (!one && x->nparts == 1) one = x->parts[0].p;
  if (x->bodyless) {
    curl_easy_setopt(h, CURLOPT_HTTPGET, 1L);
    return;
  }
  curl_easy_setopt(h, CURLOPT_POST, 1L);
  curl_easy_setopt(h, CURLOPT_POSTFIELDSIZE_LARGE, x->body_size);
  if (one && x->body_size <= JOIN_MAX) {
    curl_easy_setopt(h, CURLOPT_POSTFIELDS, one); /* not copied */
    return;
  }
  curl_easy_setopt(h, CURLOPT_READFUNCTION, on_read);
  curl_easy_setopt(h, CURLOPT_READDATA, x);
  curl_easy_setopt(h, CURLOPT_SEEKFUNCTION, on_seek);
  curl_easy_setopt(h, CURLOPT_SEEKDATA, x);
}

static bool add(struct curl_slist **list, const char *line) {
  struct curl_slist *longer = curl_slist_append(*list, line);
  if (longer) *list = longer;
  return longer != NULL;
}

static bool set_headers(oai_exchange *x) {
  const oai_endpoint *e = x->endpoint;
  bool ok = true;
  bool authorized = oai_header_has(x->headers, "authorization") ||
                    oai_header_has(e->headers, "authorization");
  for (const struct curl_slist *l = e->headers; l && ok; l = l->next) {
    char name[128] = {0};
    size_t n = strcspn(l->data, ":;");
    if (n < sizeof name) memcpy(name, l->data, n);
    if (!oai_header_has(x->headers, name)) ok = add(&x->headers, l->data);
  }
  if (!x->bodyless && !oai_header_has(x->headers, "content-type"))
    ok = ok && add(&x->headers, "Content-Type: application/json");
  if (!oai_header_has(x->headers, "accept"))
    ok = ok && add(&x->headers, x->stream      ? "Accept: text/event-stream"
                                : x->wire->raw ? "Accept: */*"
                                               : "Accept: application/json");
  /* a server that never answers "100 Continue" would cost a second */
  ok = ok && add(&x->headers, "Expect:");
  if (ok && e->key.n && !authorized) {
    char *line = malloc(e->key.n + 32);
    if (!line) return false;
    sprintf(line, "Authorization: Bearer %.*s", (int)e->key.n, e->key.p);
    ok = add(&x->headers, line);
    oai_wipe(line, strlen(line));
    free(line);
  }
  curl_easy_setopt(x->transfer.easy, CURLOPT_HTTPHEADER, x->headers);
  curl_easy_setopt(x->transfer.easy, CURLOPT_HEADEROPT,
                   (long)CURLHEADER_SEPARATE);
  return ok;
}

static void set_route(const oai_endpoint *e, CURL *h) {
  /* one address: the timer that would try a second one wakes all connections
   * that began together at once, each with a piece of its handshake */
  if (e->literal || e->unix_socket)
    curl_easy_setopt(h, CURLOPT_HAPPY_EYEBALLS_TIMEOUT_MS, 600000L);
  if (e->client_cert) curl_easy_setopt(h, CURLOPT_SSLCERT, e->client_cert);
  if (e->client_key) curl_easy_setopt(h, CURLOPT_SSLKEY, e->client_key);
  if (e->proxy) {
    curl_easy_setopt(h, CURLOPT_PROXY, e->proxy);
    curl_easy_setopt(h, CURLOPT_NOPROXY, "");
  } else if (e->loopback) {
    curl_easy_setopt(h, CURLOPT_NOPROXY, "*");
  }
  if (e->unix_socket)
    curl_easy_setopt(h, CURLOPT_UNIX_SOCKET_PATH, e->unix_socket);
  if (e->resolve) curl_easy_setopt(h, CURLOPT_RESOLVE, e->resolve);
  curl_easy_setopt(
      h, CURLOPT_HTTP_VERSION,
      (long)(e->http2 ? CURL_HTTP_VERSION_2TLS : CURL_HTTP_VERSION_1_1));
}

static void set_options(oai_exchange *x, CURL *h) {
  curl_easy_setopt(h, CURLOPT_URL, x->url);
  oai_easy_basics(h, x->timeouts.connect, x->endpoint->ca_file);
  curl_easy_setopt(h, CURLOPT_ERRORBUFFER, x->errors);
  curl_easy_setopt(h, CURLOPT_USERAGENT, "oaichat/0.1");
  curl_easy_setopt(h, CURLOPT_WRITEFUNCTION, on_body);
  curl_easy_setopt(h, CURLOPT_WRITEDATA, x);
  curl_easy_setopt(h, CURLOPT_HEADERFUNCTION, on_header);
  curl_easy_setopt(h, CURLOPT_HEADERDATA, x);
  /* a stream comes in drops; a large buffer would be most of its memory */
  if (x->stream) curl_easy_setopt(h, CURLOPT_BUFFERSIZE, (long)STREAM_BUFFER);
  /* libcurl takes an encoded body that is cut for a whole one: not where its
   * end is the only proof */
  if (!x->stream && !x->wire->raw)
    curl_easy_setopt(h, CURLOPT_ACCEPT_ENCODING, "");
  set_route(x->endpoint, h);
}

bool oai_exchange_setup(oai_exchange *x, oai_request *r) {
  const oai_endpoint *e = x->endpoint;
  size_t n = strlen(e->base) + strlen(r->path) + strlen(e->query) + 1;
  const char *method = r->method ? r->method : "POST";
  x->headers = r->headers;
  r->headers = NULL;
  x->url = malloc(n);
  x->transfer.easy = oai_engine_easy(x->engine);
  if (!x->url || !x->transfer.easy || !join_parts(x, r)) return false;
  snprintf(x->url, n, "%s%s%s", e->base, r->path, e->query);
  if (*e->query && strchr(r->path, '?')) x->url[n - 1 - strlen(e->query)] = '&';
  x->bodyless = x->body_size == 0 &&
                (strcmp(method, "GET") == 0 || strcmp(method, "DELETE") == 0);
  set_options(x, x->transfer.easy);
  set_body(x, x->transfer.easy);
  if (strcmp(method, x->bodyless ? "GET" : "POST") != 0)
    curl_easy_setopt(x->transfer.easy, CURLOPT_CUSTOMREQUEST, method);
  return set_headers(x);
}

/* ---- errors ------------------------------------------------------------- */

void oai_exchange_transport_failure(oai_exchange *x, oai_failure *f) {
  long proxy = 0;
  oai_slice said = {x->errors, strlen(x->errors)};
  oai_slice key = {x->endpoint->key.p, x->endpoint->key.n};
  curl_easy_getinfo(x->transfer.easy, CURLINFO_HTTP_CONNECTCODE, &proxy);
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
