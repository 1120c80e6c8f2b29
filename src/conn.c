/* conn: the buffers and the states that both kinds share. See conn.h. */
#ifndef _WIN32 /* POSIX alone, so far */

#include "conn_internal.h"
#include "pollset.h"

#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

enum { READ_CAP = 256 * 1024, WRITE_CAP = 1024 * 1024, PIECE = 16 * 1024 };

/* ---- life --------------------------------------------------------------- */

static void wake(oai_timer *timer, double now) {
  (void)now;
  oai_conn_pump(OAI_CONN_OF(wake, timer));
}

oai_conn *oai_conn_new(oai_engine *e, const oai_conn_ops *ops, size_t read_cap,
                       size_t write_cap) {
  oai_conn *c = calloc(1, sizeof *c);
  if (!c) return NULL;
  c->ops = ops;
  c->engine = oai_engine_ref(e);
  c->wake.fire = wake;
  oai_buf_init(&c->in, read_cap ? read_cap : READ_CAP);
  oai_buf_init(&c->out, write_cap ? write_cap : WRITE_CAP);
  return c;
}

void oai_conn_on_change(oai_conn *c, void (*changed)(oai_conn *c, void *arg),
                        void *arg) {
  c->changed = changed;
  c->arg = arg;
}

void oai_conn_changed(oai_conn *c) {
  if (c->changed) c->changed(c, c->arg);
}

void oai_conn_open(oai_conn *c) {
  oai_engine_timer_clear(c->engine, &c->wake);
  c->wake.fire = wake;
  c->state = OAI_CONN_OPEN;
  c->news = true;
}

void oai_conn_closed(oai_conn *c) {
  oai_engine_timer_clear(c->engine, &c->wake);
  c->state = OAI_CONN_CLOSED;
  oai_buf_free(&c->out);
  c->out_at = 0;
}

void oai_conn_fail(oai_conn *c, oai_kind kind, const char *code,
                   const char *text) {
  oai_slice said = {text, text ? strlen(text) : 0}, no_key = {NULL, 0};
  if (c->state == OAI_CONN_CLOSED) return;
  oai_failure_set(&c->failure, kind, code);
  if (text) oai_failure_quote(&c->failure, said, no_key);
  if (kind == OAI_TIMEOUT) c->failure.phase = OAI_PHASE_CONNECT;
  c->ops->close(c, true);
  oai_conn_closed(c);
}

void oai_conn_cancel(oai_conn *c) {
  oai_conn_fail(c, OAI_CANCELED, "canceled", NULL);
}

void oai_conn_free(oai_conn *c) {
  if (!c) return;
  oai_engine_timer_clear(c->engine, &c->wake);
  c->ops->close(c, false);
  oai_child_free(c->child);
  oai_buf_free(&c->in);
  oai_buf_free(&c->out);
  oai_buf_free(&c->err);
  oai_engine_unref(c->engine);
  free(c);
}

/* ---- what the reader asks ----------------------------------------------- */

oai_conn_state oai_conn_state_of(const oai_conn *c) {
  return c->state;
}

const oai_failure *oai_conn_failure(const oai_conn *c) {
  return c->failure.kind ? &c->failure : NULL;
}

bool oai_conn_ready(const oai_conn *c) {
  return c->in.n || c->news || c->state == OAI_CONN_CLOSED;
}

size_t oai_conn_pending(const oai_conn *c) {
  return c->out.n - c->out_at;
}

oai_slice oai_conn_read(oai_conn *c) {
  oai_slice s = {c->in.p ? c->in.p : "", c->in.n};
  c->news = false;
  return s;
}

oai_slice oai_conn_stderr(oai_conn *c) {
  size_t over = c->err.n > c->err_max ? c->err.n - c->err_max : 0;
  oai_slice s = {c->err.p ? c->err.p + over : "", c->err.n - over};
  return s;
}

static void set_wants(oai_conn *c) {
  bool in = !c->ended && c->in.n < c->in.max;
  bool out = oai_conn_pending(c) || (c->shut && !c->shut_done);
  c->ops->want(c, (in ? OAI_IN : 0) | (out ? OAI_OUT : 0));
}

void oai_conn_consume(oai_conn *c, size_t n) {
  oai_buf_consume(&c->in, n < c->in.n ? n : c->in.n);
  if (c->state != OAI_CONN_OPEN || !c->full || c->ended) return;
  /* TLS may hold bytes that the socket tells nothing of. No memory for a timer:
   * then the socket alone wakes us */
  if (!oai_engine_timer(c->engine, &c->wake, oai_engine_now(c->engine)))
    set_wants(c);
}

oai_buf_status oai_conn_write(oai_conn *c, const char *p, size_t n) {
  if (c->state == OAI_CONN_CLOSED || c->shut) return OAI_BUF_OK;
  if (c->out_at && n > c->out.max - c->out.n) {
    oai_buf_consume(&c->out, c->out_at);
    c->out_at = 0;
  }
  oai_buf_status status = oai_buf_append(&c->out, p, n);
  if (status == OAI_BUF_FULL) c->wants_room = true;
  if (c->state == OAI_CONN_OPEN) set_wants(c);
  return status;
}

bool oai_conn_shutdown(oai_conn *c) {
  if (c->tls) return false;
  if (c->state == OAI_CONN_CLOSED) return true;
  c->shut = true;
  if (c->state == OAI_CONN_OPEN) set_wants(c);
  return true;
}

/* ---- moving bytes ------------------------------------------------------- */

static oai_io flush(oai_conn *c) {
  while (oai_conn_pending(c)) {
    size_t n = 0;
    oai_io got =
        c->ops->write(c, c->out.p + c->out_at, oai_conn_pending(c), &n);
    if (got != OAI_IO_OK) return got;
    c->out_at += n;
  }
  c->out.n = c->out_at = 0;
  if (c->wants_room) c->news = true;
  c->wants_room = false;
  if (c->shut && !c->shut_done) c->shut_done = c->ops->shutdown(c);
  return OAI_IO_OK;
}

static oai_io fill(oai_conn *c) {
  oai_io got = OAI_IO_OK;
  c->full = false;
  while (!c->ended && got == OAI_IO_OK) {
    size_t n = 0, room = c->in.max - c->in.n;
    if (room == 0) {
      c->full = true;
      return OAI_IO_OK;
    }
    if (room > PIECE) room = PIECE;
    if (oai_buf_reserve(&c->in, room) != OAI_BUF_OK) {
      oai_conn_fail(c, OAI_NOMEM, "memory", NULL);
      return OAI_IO_FAILED;
    }
    got = c->ops->read(c, c->in.p + c->in.n, room, &n);
    c->in.n += n;
  }
  return got;
}

void oai_conn_pump(oai_conn *c) {
  size_t before = c->in.n;
  if (c->state != OAI_CONN_OPEN) return;
  /* first what has come: a peer that resets may have said why */
  oai_io got = fill(c);
  if (got == OAI_IO_END) c->ended = true;
  if (got != OAI_IO_FAILED) got = flush(c);
  bool over = c->ended && (oai_conn_pending(c) == 0 || got == OAI_IO_END);
  if (got == OAI_IO_FAILED)
    oai_conn_fail(c, OAI_NETWORK, "connection_reset", NULL);
  else if (over && c->ops->finish(c))
    oai_conn_closed(c);
  else
    set_wants(c);
  if (c->in.n != before || c->news || c->state == OAI_CONN_CLOSED)
    oai_conn_changed(c);
}

/* ---- SIGPIPE ------------------------------------------------------------ */

oai_sigpipe oai_sigpipe_hold(void) {
  oai_sigpipe held = {false, false};
  sigset_t set, old;
  sigemptyset(&old);
  sigpending(&old);
  held.was_pending = sigismember(&old, SIGPIPE) == 1;
  sigemptyset(&set);
  sigaddset(&set, SIGPIPE);
  pthread_sigmask(SIG_BLOCK, &set, &old);
  held.was_blocked = sigismember(&old, SIGPIPE) == 1;
  return held;
}

void oai_sigpipe_release(oai_sigpipe held) {
  sigset_t set;
  int signal;
  sigemptyset(&set);
  sigpending(&set);
  bool ours = sigismember(&set, SIGPIPE) == 1 && !held.was_pending;
  sigemptyset(&set);
  sigaddset(&set, SIGPIPE);
  if (ours) sigwait(&set, &signal);
  if (!held.was_blocked) pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}

#endif
