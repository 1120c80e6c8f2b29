/* listen_peer: the connections of listen: what is read and the queue of what is
 * to be done. */
#ifndef _WIN32 /* a tool of tests and demos, for POSIX alone */

#include "listen_internal.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#ifndef MSG_NOSIGNAL
#define MSG_NOSIGNAL 0 /* SO_NOSIGPIPE stands for it */
#endif

enum {
  INPUT_MAX = 1 << 30,
  OUTPUT_MAX = 1 << 30,
  TURN_MAX = 256 * 1024 /* bytes a peer a step, so that all get their turn */
};

static void peer_pop(oai_peer *p) {
  oai_action *a = p->head;
  p->head = a->next;
  if (!p->head) p->tail = NULL;
  p->pending -= a->bytes.n - a->at;
  oai_buf_free(&a->bytes);
  free(a);
}

void oai_peer_free(oai_peer *p) {
  while (p->head) peer_pop(p);
  oai_node_del(&p->all);
  oai_node_del(&p->fresh);
  oai_node_del(&p->news);
  oai_node_del(&p->ready);
  oai_node_del(&p->paused);
  oai_buf_free(&p->in);
  free(p);
}

/* Puts the peer where its state belongs. */
void oai_peer_sort(oai_peer *p) {
  oai_listener *l = p->listener;
  if (!l) return;
  bool news = p->in.n > 0 || (p->eof && !p->eof_taken);
  if (!news || !p->accepted || p->closing)
    oai_node_del(&p->news);
  else if (!p->news.next)
    oai_node_add(&l->news, &p->news);
  if (!p->head || p->blocked || p->paused.next)
    oai_node_del(&p->ready);
  else if (!p->ready.next)
    oai_node_add(&l->ready, &p->ready);
  int want = p->blocked ? OAI_PORT_WRITE : 0;
  if (!p->held && !p->eof && p->in.n < INPUT_MAX) want |= OAI_PORT_READ;
  if (p->fd < 0 || want == p->interest) return;
  oai_port_set(&l->port, p->fd, p->interest, want, p);
  p->interest = want;
}

/* Ends the connection: the input stays to be taken, an orphan is freed. */
void oai_peer_end(oai_peer *p) {
  if (p->fd >= 0) {
    oai_port_set(&p->listener->port, p->fd, p->interest, -1, p);
    close(p->fd);
    p->fd = -1;
  }
  while (p->head) peer_pop(p);
  oai_node_del(&p->paused);
  p->blocked = false;
  p->eof = true;
  if (p->orphan)
    oai_peer_free(p);
  else
    oai_peer_sort(p);
}

/* False: the connection is broken. */
static bool peer_read(oai_peer *p) {
  char bytes[32 * 1024];
  size_t total = 0;
  while (!p->held && !p->eof && total < TURN_MAX && p->in.n < INPUT_MAX) {
    size_t room = INPUT_MAX - p->in.n;
    if (room > sizeof bytes) room = sizeof bytes;
    ssize_t n = recv(p->fd, bytes, room, 0);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno == EAGAIN || errno == EWOULDBLOCK;
    total += (size_t)n;
    if (n == 0)
      p->eof = true;
    else if (!p->closing && oai_buf_append(&p->in, bytes, (size_t)n))
      return false;
    if ((size_t)n < room) break;
  }
  return true;
}

/* What a step does with the bytes at the head; *more: the step goes on with
 * what follows them. False: the connection is broken. */
static bool peer_send(oai_peer *p, oai_action *a, size_t *sent, bool *more) {
  size_t n = a->bytes.n - a->at;
  *more = false;
  if (a->piece) {
    if (*sent) return true;
    /* The kernel may have cut a piece in two. */
    size_t left = a->piece - a->at % a->piece;
    if (n > left) n = left;
  } else if (n > TURN_MAX) {
    n = TURN_MAX;
  }
  ssize_t done;
  do done = send(p->fd, a->bytes.p + a->at, n, MSG_NOSIGNAL);
  while (done < 0 && errno == EINTR);
  if (done < 0 && errno != EAGAIN && errno != EWOULDBLOCK) return false;
  if (done < 0) done = 0;
  a->at += (size_t)done;
  p->pending -= (size_t)done;
  *sent += (size_t)done;
  p->blocked = (size_t)done < n;
  if (p->blocked || a->at < a->bytes.n) return true;
  *more = !a->piece;
  peer_pop(p);
  return true;
}

static void peer_sleep(oai_peer *p, double seconds) {
  oai_node *list = &p->listener->paused, *before = list;
  p->due = oai_listener_now(p->listener) + seconds;
  /* From the end: pauses are mostly of one length. */
  while (before->prev != list && before->prev->peer->due > p->due)
    before = before->prev;
  oai_node_add(before, &p->paused);
}

/* The last action. An unread byte would make the kernel turn a close into a
 * reset. */
static void peer_leave(oai_peer *p, bool reset) {
  char bytes[32 * 1024];
  struct linger hard = {1, 0};
  if (reset) setsockopt(p->fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
  for (int i = 0; i < 32 && !reset && !p->held; i++)
    if (recv(p->fd, bytes, sizeof bytes, 0) <= 0) break;
  oai_peer_end(p);
}

/* Goes on with the queue until something ends the step. */
void oai_peer_run(oai_peer *p) {
  size_t sent = 0;
  bool more = true;
  while (more && p->head) {
    oai_action *a = p->head;
    if (a->kind == OAI_ACT_BYTES) {
      if (peer_send(p, a, &sent, &more)) continue;
      peer_read(p); /* what the client said before it left */
      oai_peer_end(p);
      return;
    }
    if (a->kind == OAI_ACT_CLOSE || a->kind == OAI_ACT_RESET) {
      peer_leave(p, a->kind == OAI_ACT_RESET);
      return;
    }
    more = a->kind == OAI_ACT_HALF_CLOSE;
    if (more) {
      shutdown(p->fd, SHUT_WR);
      peer_pop(p);
    } else {
      peer_sleep(p, a->seconds);
    }
  }
  oai_peer_sort(p);
}

void oai_peer_event(oai_peer *p, int what) {
  bool ok = true;
  if (what & (OAI_PORT_WRITE | OAI_PORT_BROKEN)) p->blocked = false;
  if (what & (OAI_PORT_READ | OAI_PORT_BROKEN)) {
    bool could = !p->held && !p->eof;
    ok = peer_read(p);
    /* A broken socket is reported for ever. */
    if (what & OAI_PORT_BROKEN && !could) ok = false;
  }
  if (ok)
    oai_peer_sort(p);
  else
    oai_peer_end(p);
}

void oai_peer_wake(oai_peer *p) {
  oai_node_del(&p->paused);
  peer_pop(p);
  oai_peer_sort(p);
}

static oai_buf_status peer_queue(oai_peer *p, oai_action_kind kind,
                                 double seconds) {
  if (p->fd < 0) return OAI_BUF_OK;
  oai_action *a = calloc(1, sizeof *a);
  if (!a) return OAI_BUF_NOMEM;
  a->kind = kind;
  a->seconds = seconds > 0 ? seconds : 0;
  oai_buf_init(&a->bytes, OUTPUT_MAX);
  if (p->tail)
    p->tail->next = a;
  else
    p->head = a;
  p->tail = a;
  oai_peer_sort(p);
  oai_listener_rearm(p->listener);
  return OAI_BUF_OK;
}

oai_buf_status oai_peer_write(oai_peer *p, const char *bytes, size_t n,
                              size_t piece) {
  if (p->fd < 0 || n == 0) return OAI_BUF_OK;
  if (n > OUTPUT_MAX - p->pending) return OAI_BUF_FULL;
  oai_action *last = p->tail;
  if (!last || last->kind != OAI_ACT_BYTES || last->at || last->piece ||
      piece) {
    oai_buf_status status = peer_queue(p, OAI_ACT_BYTES, 0);
    if (status) return status;
  }
  p->tail->piece = piece;
  /* Without memory an empty action stays; it sends nothing. */
  oai_buf_status status = oai_buf_append(&p->tail->bytes, bytes, n);
  if (!status) p->pending += n;
  return status;
}

oai_buf_status oai_peer_pause(oai_peer *p, double seconds) {
  return peer_queue(p, OAI_ACT_PAUSE, seconds);
}

oai_buf_status oai_peer_shutdown(oai_peer *p) {
  return peer_queue(p, OAI_ACT_HALF_CLOSE, 0);
}

static oai_buf_status peer_finish(oai_peer *p, oai_action_kind kind) {
  if (p->closing) return OAI_BUF_OK;
  p->closing = true;
  if (p->fd < 0) oai_peer_sort(p);
  oai_buf_status status = peer_queue(p, kind, 0);
  oai_listener_rearm(p->listener);
  return status;
}

oai_buf_status oai_peer_close(oai_peer *p) {
  return peer_finish(p, OAI_ACT_CLOSE);
}

oai_buf_status oai_peer_reset(oai_peer *p) {
  return peer_finish(p, OAI_ACT_RESET);
}

void oai_peer_abort(oai_peer *p) {
  oai_listener *l = p->listener;
  if (!l) return;
  p->closing = true;
  oai_peer_end(p);
  oai_listener_rearm(l);
}

void oai_peer_hold(oai_peer *p, bool hold) {
  p->held = hold;
  oai_peer_sort(p);
}

oai_slice oai_peer_input(const oai_peer *p) {
  return (oai_slice){p->in.p, p->in.n};
}

bool oai_peer_taken(oai_peer *p) {
  bool some = p->in.n > 0;
  if (!some && p->eof) p->eof_taken = true;
  oai_buf_free(&p->in);
  oai_peer_sort(p);
  oai_listener_rearm(p->listener);
  return some || !p->eof;
}

size_t oai_peer_pending(const oai_peer *p) {
  return p->pending;
}

bool oai_peer_closed(const oai_peer *p) {
  return p->eof;
}

void oai_peer_release(oai_peer *p) {
  oai_listener *l = p->listener;
  p->orphan = true;
  p->held = false;
  if (p->fd < 0 || !l)
    oai_peer_free(p);
  else if (peer_finish(p, OAI_ACT_CLOSE))
    oai_peer_end(p); /* no memory for a queue */
  oai_listener_rearm(l);
}

void oai_peer_adopt(oai_listener *l, int fd) {
  int one = 1;
  oai_peer *p = calloc(1, sizeof *p);
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
#ifdef SO_NOSIGPIPE
  setsockopt(fd, SOL_SOCKET, SO_NOSIGPIPE, &one, sizeof one);
#endif
  if (!p || !oai_port_prepare(fd) ||
      !oai_port_set(&l->port, fd, -1, OAI_PORT_READ, p)) {
    free(p);
    close(fd);
    return;
  }
  p->fd = fd;
  p->listener = l;
  p->interest = OAI_PORT_READ;
  oai_buf_init(&p->in, INPUT_MAX);
  oai_node_init(&p->all, p);
  oai_node_init(&p->fresh, p);
  oai_node_init(&p->news, p);
  oai_node_init(&p->ready, p);
  oai_node_init(&p->paused, p);
  oai_node_add(&l->all, &p->all);
  oai_node_add(&l->fresh, &p->fresh);
}

#endif
