/* conn_curl: a conn's socket, through curl's CONNECT_ONLY. See conn.h.
 *
 * Each has a multi handle of its own: in a shared one, curl takes the idle
 * connection for one of its pool's and closes it when another transfer starts
 * while it has unread input or is older than CURLOPT_MAXAGE_CONN. */
#ifndef _WIN32 /* POSIX alone, so far */

#include "conn_internal.h"
#include "easy.h"
#include "pollset.h"

#include <ctype.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define CONNECT_TIMEOUT 10.0 /* seconds */
enum { URL_MAX = 512, HELD_MAX = 16 * 1024 };

/* ---- bytes -------------------------------------------------------------- */

static oai_io socket_read(oai_conn *c, char *p, size_t room, size_t *n) {
  CURLcode got = curl_easy_recv(c->easy, p, room, n);
  if (got == CURLE_AGAIN) return OAI_IO_AGAIN;
  if (got != CURLE_OK) {
    *n = 0;
    return OAI_IO_FAILED;
  }
  return *n ? OAI_IO_OK : OAI_IO_END;
}

/* OpenSSL wants a write that it put off again from the same address, and the
 * queue may move. */
static oai_io hold_back(oai_conn *c, const char **p, size_t *size) {
  if (!c->held && !(c->held = malloc(HELD_MAX))) return OAI_IO_FAILED;
  if (!c->held_n) {
    c->held_n = *size < HELD_MAX ? *size : HELD_MAX;
    memcpy(c->held, *p, c->held_n);
  }
  *p = c->held;
  *size = c->held_n;
  return OAI_IO_OK;
}

static oai_io socket_write(oai_conn *c, const char *p, size_t size, size_t *n) {
  if (c->tls && hold_back(c, &p, &size) != OAI_IO_OK) return OAI_IO_FAILED;
  oai_sigpipe held = oai_sigpipe_hold(); /* an older curl's TLS writes bare */
  CURLcode got = curl_easy_send(c->easy, p, size, n);
  oai_sigpipe_release(held);
  if (got == CURLE_AGAIN || (got == CURLE_OK && *n == 0)) return OAI_IO_AGAIN;
  c->held_n = 0;
  return got == CURLE_OK ? OAI_IO_OK : OAI_IO_FAILED;
}

static void socket_want(oai_conn *c, int want) {
  oai_engine_watch_change(c->engine, &c->watch, want);
}

static bool socket_shutdown(oai_conn *c) {
  shutdown(c->watch.fd, SHUT_WR);
  return true;
}

/* ---- the end ------------------------------------------------------------ */

static void drop_try(oai_conn *c, oai_conn_try *t) {
  oai_conn_try **at = &c->tries;
  while (*at != t) at = &(*at)->next;
  *at = t->next;
  oai_engine_watch_remove(c->engine, &t->watch);
  free(t);
}

static void socket_close(oai_conn *c, bool canceled) {
  (void)canceled;
  while (c->tries) drop_try(c, c->tries);
  oai_engine_watch_remove(c->engine, &c->watch);
  oai_engine_timer_clear(c->engine, &c->curl_timer);
  if (c->multi) {
    curl_multi_setopt(c->multi, CURLMOPT_SOCKETFUNCTION, NULL);
    curl_multi_setopt(c->multi, CURLMOPT_TIMERFUNCTION, NULL);
    if (c->easy) curl_multi_remove_handle(c->multi, c->easy);
  }
  if (c->easy) curl_easy_cleanup(c->easy);
  if (c->multi) curl_multi_cleanup(c->multi);
  free(c->held);
  c->multi = NULL;
  c->easy = NULL;
  c->held = NULL;
}

static bool socket_finish(oai_conn *c) {
  socket_close(c, false);
  return true;
}

static const oai_conn_ops socket_ops = {socket_read,   socket_write,
                                        socket_want,   socket_shutdown,
                                        socket_finish, socket_close};

/* ---- connecting --------------------------------------------------------- */

static const char *connect_code(const oai_conn *c, CURLcode result) {
  long answer = 0;
  curl_easy_getinfo(c->easy, CURLINFO_HTTP_CONNECTCODE, &answer);
  if ((answer && answer != 200) ||
      (c->proxied && result == CURLE_COULDNT_CONNECT))
    return "proxy";
  return oai_easy_code(result);
}

static void on_ready(oai_watch *w, int what) {
  (void)what;
  oai_conn_pump(OAI_CONN_OF(watch, w));
}

static void connected(oai_conn *c) {
  curl_socket_t fd = CURL_SOCKET_BAD;
  while (c->tries) drop_try(c, c->tries);
  oai_engine_timer_clear(c->engine, &c->curl_timer);
  curl_easy_getinfo(c->easy, CURLINFO_ACTIVESOCKET, &fd);
  c->watch.ready = on_ready;
  if (fd == CURL_SOCKET_BAD ||
      !oai_engine_watch_add(c->engine, &c->watch, (int)fd, OAI_IN)) {
    oai_conn_fail(c, OAI_NETWORK, "connection_closed", NULL);
    oai_conn_changed(c);
    return;
  }
  oai_conn_open(c);
  oai_conn_pump(c);
}

static void drive(oai_conn *c, curl_socket_t fd, int what) {
  int running, left;
  CURLMsg *m;
  if (curl_multi_socket_action(c->multi, fd, what, &running) != CURLM_OK) {
    oai_conn_fail(c, OAI_NOMEM, "memory", NULL);
    oai_conn_changed(c);
    return;
  }
  while ((m = curl_multi_info_read(c->multi, &left)))
    if (m->msg == CURLMSG_DONE) break;
  if (!m) return;
  CURLcode result = m->data.result;
  if (result == CURLE_OK) {
    connected(c);
    return;
  }
  if (result == CURLE_OPERATION_TIMEDOUT)
    oai_conn_fail(c, OAI_TIMEOUT, "timeout", c->errors);
  else
    oai_conn_fail(c, OAI_NETWORK, connect_code(c, result), c->errors);
  oai_conn_changed(c);
}

static void on_try(oai_watch *w, int what) {
  drive(((oai_conn_try *)w)->conn, w->fd,
        (what & OAI_IN ? CURL_CSELECT_IN : 0) |
            (what & OAI_OUT ? CURL_CSELECT_OUT : 0));
}

static void on_curl_timer(oai_timer *timer, double now) {
  (void)now;
  drive(OAI_CONN_OF(curl_timer, timer), CURL_SOCKET_TIMEOUT, 0);
}

static void on_timeout(oai_timer *timer, double now) {
  oai_conn *c = OAI_CONN_OF(wake, timer);
  (void)now;
  oai_conn_fail(c, OAI_TIMEOUT, "timeout", NULL);
  oai_conn_changed(c);
}

/* ---- what curl tells us while it connects ------------------------------- */

static int note_socket(CURL *easy, curl_socket_t fd, int what, void *arg,
                       void *known) {
  oai_conn *c = arg;
  oai_conn_try *t = known;
  int want = ((what & CURL_POLL_IN) ? OAI_IN : 0) |
             ((what & CURL_POLL_OUT) ? OAI_OUT : 0);
  (void)easy;
  if (what == CURL_POLL_REMOVE) {
    if (t) drop_try(c, t);
    return 0;
  }
  if (t) return oai_engine_watch_change(c->engine, &t->watch, want) ? 0 : -1;
  t = calloc(1, sizeof *t);
  if (!t) return -1;
  t->conn = c;
  t->watch.ready = on_try;
  t->next = c->tries;
  c->tries = t;
  if (!oai_engine_watch_add(c->engine, &t->watch, (int)fd, want)) {
    drop_try(c, t);
    return -1;
  }
  curl_multi_assign(c->multi, fd, t);
  return 0;
}

static int note_timer(CURLM *multi, long ms, void *arg) {
  oai_conn *c = arg;
  (void)multi;
  if (ms < 0) {
    oai_engine_timer_clear(c->engine, &c->curl_timer);
    return 0;
  }
  double at = oai_engine_now(c->engine) + (double)ms / 1e3;
  return oai_engine_timer(c->engine, &c->curl_timer, at) ? 0 : -1;
}

/* ---- setup -------------------------------------------------------------- */

static bool port_is_good(const char *p) {
  long port = 0;
  size_t n = strlen(p);
  for (size_t i = 0; i < n && i < 6; i++) {
    if (!isdigit((unsigned char)p[i])) return false;
    port = port * 10 + (p[i] - '0');
  }
  return n > 0 && n < 6 && port > 0 && port < 65536;
}

/* Turns tcp:// and tls:// into what curl knows; false: not such a URL. */
static bool translate(oai_conn *c, const char *url, char *out) {
  const char *host = url + 6, *port = strrchr(url, ':');
  bool v6;
  if (strncmp(url, "tcp://", 6) != 0 && strncmp(url, "tls://", 6) != 0)
    return false;
  v6 = *host == '[';
  c->tls = url[1] == 'l';
  if (port <= host || !port_is_good(port + 1)) return false;
  for (const char *p = host; p < port; p++)
    if (!isalnum((unsigned char)*p) && !strchr(v6 ? ":.[]" : "-._", *p))
      return false;
  if (v6 && (port[-1] != ']' || strchr(host, ']') != port - 1)) return false;
  int n = snprintf(out, URL_MAX, "%s://%s/", c->tls ? "https" : "http", host);
  return n > 0 && n < URL_MAX;
}

static void set_options(oai_conn *c, const oai_conn_options *o,
                        double seconds) {
  CURL *h = c->easy;
  curl_easy_setopt(h, CURLOPT_CONNECT_ONLY, 1L);
  oai_easy_basics(h, o->ca_file);
  oai_easy_connect_limit(h, seconds);
  curl_easy_setopt(h, CURLOPT_ERRORBUFFER, c->errors);
  curl_easy_setopt(h, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
  curl_easy_setopt(h, CURLOPT_PROXY, o->proxy ? o->proxy : "");
  curl_easy_setopt(h, CURLOPT_NOPROXY, o->proxy ? "" : "*");
  curl_easy_setopt(h, CURLOPT_SSL_ENABLE_ALPN, 0L);
}

static bool start(oai_conn *c, double seconds) {
  c->curl_timer.fire = on_curl_timer;
  c->wake.fire = on_timeout;
  curl_multi_setopt(c->multi, CURLMOPT_SOCKETFUNCTION, note_socket);
  curl_multi_setopt(c->multi, CURLMOPT_SOCKETDATA, c);
  curl_multi_setopt(c->multi, CURLMOPT_TIMERFUNCTION, note_timer);
  curl_multi_setopt(c->multi, CURLMOPT_TIMERDATA, c);
  return oai_engine_timer(c->engine, &c->wake,
                          oai_engine_now(c->engine) + seconds) &&
         curl_multi_add_handle(c->multi, c->easy) == CURLM_OK;
}

oai_conn *oai_conn_connect(oai_engine *e, const oai_conn_options *o,
                           char *message, size_t size) {
  char url[URL_MAX] = "http://localhost/";
  const char *path = strncmp(o->url, "unix:/", 6) == 0 ? o->url + 5 : NULL;
  double seconds = o->timeout > 0 ? o->timeout : CONNECT_TIMEOUT;
  oai_conn *c = oai_conn_new(e, &socket_ops, o->read_cap, o->write_cap);
  snprintf(message, size, "not enough memory");
  if (!c) return NULL;
  if (seconds > 1e6) seconds = 1e6;
  if (!path && !translate(c, o->url, url)) {
    snprintf(message, size,
             "url must be tcp://host:port, tls://host:port or unix:/path");
    goto fail;
  }
  c->proxied = o->proxy != NULL;
  c->multi = curl_multi_init();
  c->easy = curl_easy_init();
  if (!c->multi || !c->easy) goto fail;
  set_options(c, o, seconds);
  if (curl_easy_setopt(c->easy, CURLOPT_URL, url) != CURLE_OK ||
      (path && curl_easy_setopt(c->easy, CURLOPT_UNIX_SOCKET_PATH, path)))
    goto fail;
  if (start(c, seconds)) return c;
fail:
  oai_conn_free(c);
  return NULL;
}

#endif
