/* exchange_setup: makes an exchange's easy handle ready: URL, headers, body and
 * options. A handle that is done stays ready with its endpoint: the next
 * request of the same kind changes in it what differs. See exchange.h. */
#include "easy.h"
#include "exchange_internal.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* A body up to this size goes out with the headers in one write. */
enum { JOIN_MAX = 64 * 1024 };
enum { STREAM_BUFFER = 4096 };
enum { EXPECT_FROM = 512 * 1024 };

/* ---- the body ----------------------------------------------------------- */

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

static size_t size_of(const oai_request *r) {
  size_t total = 0;
  for (size_t i = 0; i < r->nparts; i++) total += r->parts[i].n;
  return total;
}

bool oai_request_copied(const oai_request *r) {
  return r->nparts > 1 && size_of(r) <= JOIN_MAX;
}

static bool join_parts(oai_exchange *x, const oai_request *r) {
  size_t total = size_of(r);
  x->body_size = (curl_off_t)total;
  if (oai_request_copied(r)) {
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

/* ---- a new handle ------------------------------------------------------- */

static bool add(struct curl_slist **list, const char *line) {
  struct curl_slist *longer = curl_slist_append(*list, line);
  if (longer) *list = longer;
  return longer != NULL;
}

/* libcurl would ask for "100 Continue" and wait a second for it, where a server
 * never answers that: from 1 MB on, before 7.86 perhaps sooner. */
static bool may_expect(const oai_exchange *x) {
  return x->form || x->body_size > EXPECT_FROM ||
         curl_version_info(CURLVERSION_NOW)->version_num < 0x075600;
}

static bool has_header(const oai_exchange *x, const char *name) {
  return oai_header_has(x->headers, name) ||
         oai_header_has(x->endpoint->headers, name);
}

/* The key, unless the caller says by himself who he is. */
static bool add_key(oai_exchange *x) {
  const oai_endpoint *e = x->endpoint;
  const char *name = e->key_header ? e->key_header : "Authorization";
  if (!e->key.n || has_header(x, name) || has_header(x, "authorization"))
    return true;
  size_t size = strlen(name) + e->key.n + 16;
  char *line = malloc(size);
  if (!line) return false;
  snprintf(line, size, "%s: %s%.*s", name, e->key_header ? "" : "Bearer ",
           (int)e->key.n, e->key.p);
  bool ok = add(&x->headers, line);
  oai_wipe(line, size);
  free(line);
  return ok;
}

#define USER_AGENT "User-Agent: oaichat/0.1"

/* libcurl takes an encoded body that is cut for a whole one: not where its end
 * is the only proof. */
static bool takes_encoded(const oai_exchange *x) {
  return !x->stream && !x->pull && x->wire->answer != OAI_ANSWER_BYTES;
}

/* What libcurl is built to decode, in the order in which it says so. */
static bool add_encodings(oai_exchange *x) {
  const curl_version_info_data *v = curl_version_info(CURLVERSION_NOW);
  char line[64] = "Accept-Encoding: ";
  if (v->features & CURL_VERSION_LIBZ) strcat(line, "deflate, gzip, ");
  if (v->features & CURL_VERSION_BROTLI) strcat(line, "br, ");
#ifdef CURL_VERSION_ZSTD
  if (v->features & CURL_VERSION_ZSTD) strcat(line, "zstd, ");
#endif
  size_t n = strlen(line);
  if (line[n - 2] != ',') return true; /* none */
  line[n - 2] = 0;
  return add(&x->headers, line);
}

/* What libcurl prints by itself for each request it prints twice; a header of
 * ours once. A proxy that tunnels is told by its own list. */
static bool set_own_headers(oai_exchange *x, bool ok) {
  static const struct curl_slist for_proxy = {(char *)USER_AGENT, NULL};
  curl_easy_setopt(x->transfer.easy, CURLOPT_PROXYHEADER,
                   (struct curl_slist *)&for_proxy);
  if (!oai_header_has(x->headers, "user-agent"))
    ok = ok && add(&x->headers, USER_AGENT);
  if (takes_encoded(x) && !oai_header_has(x->headers, "accept-encoding"))
    ok = ok && add_encodings(x);
  return ok;
}

static bool set_headers(oai_exchange *x) {
  const oai_endpoint *e = x->endpoint;
  bool ok = true;
  for (const struct curl_slist *l = e->headers; l && ok; l = l->next) {
    char name[128] = {0};
    size_t n = strcspn(l->data, ":;");
    if (n < sizeof name) memcpy(name, l->data, n);
    if (x->form && strcasecmp(name, "content-type") == 0) continue;
    if (!oai_header_has(x->headers, name)) ok = add(&x->headers, l->data);
  }
  if (!x->bodyless && !x->form && !oai_header_has(x->headers, "content-type"))
    ok = ok && add(&x->headers, "Content-Type: application/json");
  if (!oai_header_has(x->headers, "accept"))
    ok = ok && add(&x->headers, x->stream ? "Accept: text/event-stream"
                                : x->wire->answer == OAI_ANSWER_BYTES
                                    ? "Accept: */*"
                                    : "Accept: application/json");
  ok = set_own_headers(x, ok);
  if (may_expect(x)) ok = ok && add(&x->headers, "Expect:");
  ok = ok && add_key(x);
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
  /* HTTP/2 wants TLS 1.2 (RFC 9113 9.2). That also keeps libcurl from taking a
   * kept connection that speaks HTTP/1.1: only what asked for the same may. */
  if (e->http2)
    curl_easy_setopt(h, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
  curl_easy_setopt(
      h, CURLOPT_HTTP_VERSION,
      (long)(e->http2 ? CURL_HTTP_VERSION_2TLS : CURL_HTTP_VERSION_1_1));
}

static void set_options(oai_exchange *x, CURL *h) {
  /* libcurl would parse a text anew, and print it, for each request */
  if (x->parsed)
    curl_easy_setopt(h, CURLOPT_CURLU, x->parsed);
  else
    curl_easy_setopt(h, CURLOPT_URL, x->url);
  oai_easy_basics(h, x->endpoint->ca_file);
  curl_easy_setopt(h, CURLOPT_WRITEFUNCTION, oai_exchange_on_body);
  curl_easy_setopt(h, CURLOPT_HEADERFUNCTION, oai_exchange_on_header);
  /* a stream comes in drops; a large buffer would be most of its memory */
  if (x->stream) curl_easy_setopt(h, CURLOPT_BUFFERSIZE, (long)STREAM_BUFFER);
  if (takes_encoded(x)) curl_easy_setopt(h, CURLOPT_ACCEPT_ENCODING, "");
  set_route(x->endpoint, h);
}

/* "?…" of the base stands behind the path; of two question marks the second is
 * an ampersand. */
static bool set_url(oai_exchange *x, const oai_request *r) {
  const oai_endpoint *e = x->endpoint;
  size_t n = strlen(e->base) + strlen(r->path) + strlen(e->query) + 1;
  x->url = malloc(n);
  if (!x->url) return false;
  snprintf(x->url, n, "%s%s%s", e->base, r->path, e->query);
  if (*e->query && strchr(r->path, '?')) x->url[n - 1 - strlen(e->query)] = '&';
  x->parsed = curl_url();
  if (!x->parsed) return false;
  if (curl_url_set(x->parsed, CURLUPART_URL, x->url, 0) != CURLUE_OK) {
    curl_url_cleanup(x->parsed); /* libcurl says what is wrong with it */
    x->parsed = NULL;
  }
  return true;
}

static bool set_up(oai_exchange *x, oai_request *r, const char *method) {
  x->transfer.easy = oai_engine_easy(x->engine);
  if (!x->transfer.easy || !set_url(x, r)) return false;
  set_options(x, x->transfer.easy);
  if (x->bodyless) curl_easy_setopt(x->transfer.easy, CURLOPT_HTTPGET, 1L);
  if (strcmp(method, x->bodyless ? "GET" : "POST") != 0)
    curl_easy_setopt(x->transfer.easy, CURLOPT_CUSTOMREQUEST, method);
  return set_headers(x);
}

/* ---- handles that stay ready -------------------------------------------- */

static bool is_url_of(const char *url, const oai_endpoint *e,
                      const char *path) {
  size_t base = strlen(e->base), n = strlen(path);
  return strncmp(url, e->base, base) == 0 &&
         strncmp(url + base, path, n) == 0 &&
         strcmp(url + base + n, e->query) == 0;
}

static bool take_ready(oai_exchange *x, const oai_request *r) {
  oai_ready_handle *ready = &x->endpoint->ready[x->stream];
  if (!ready->easy || !is_url_of(ready->url, x->endpoint, r->path))
    return false;
  x->transfer.easy = ready->easy;
  x->url = ready->url;
  x->parsed = ready->parsed;
  x->headers = ready->headers;
  *ready = (oai_ready_handle){NULL, NULL, NULL, NULL, ready->memory};
  return true;
}

void oai_exchange_put_away(oai_exchange *x) {
  oai_ready_handle *ready = &x->endpoint->ready[x->stream];
  CURL *h = x->transfer.easy;
  x->transfer.easy = NULL;
  if (!h) return;
  if (!x->usual || ready->easy || x->key_version != x->endpoint->key_version) {
    oai_engine_easy_done(x->engine, h);
    return;
  }
  curl_easy_setopt(h, CURLOPT_ERRORBUFFER, NULL);
  curl_easy_setopt(h, CURLOPT_POSTFIELDS, NULL);
  *ready = (oai_ready_handle){h, x->url, x->parsed, x->headers, ready->memory};
  x->url = NULL;
  x->parsed = NULL;
  x->headers = NULL;
}

/* ---- what differs from request to request ------------------------------- */

static void on_moved(void *arg) {
  oai_exchange *x = arg;
  x->moved_at = oai_engine_now(x->engine);
}

static bool set_own(oai_exchange *x, CURL *h) {
  oai_easy_connect_limit(h, x->timeouts.connect);
  curl_easy_setopt(h, CURLOPT_ERRORBUFFER, x->errors);
  curl_easy_setopt(h, CURLOPT_WRITEDATA, x);
  curl_easy_setopt(h, CURLOPT_HEADERDATA, x);
  if (x->form) return oai_form_attach(x->form, h, on_moved, x);
  if (!x->bodyless) set_body(x, h);
  return true;
}

bool oai_exchange_setup(oai_exchange *x, oai_request *r) {
  const char *method = r->method ? r->method : "POST";
  x->headers = r->headers;
  const oai_buf *key = &x->endpoint->key;
  x->key_version = x->endpoint->key_version;
  x->form = r->form;
  r->headers = NULL;
  r->form = NULL;
  if (x->key_version && oai_buf_append(&x->key, key->p, key->n) != OAI_BUF_OK)
    return false;
  if (!join_parts(x, r)) return false;
  x->bodyless = x->body_size == 0 && !x->form &&
                (strcmp(method, "GET") == 0 || strcmp(method, "DELETE") == 0);
  bool usual = !x->headers && !x->bodyless && !x->form &&
               strcmp(method, "POST") == 0 && x->body_size <= EXPECT_FROM;
  if (!(usual && take_ready(x, r)) && !set_up(x, r, method)) return false;
  x->usual = usual; /* not before it has all */
  return set_own(x, x->transfer.easy);
}
