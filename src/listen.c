/* listen: see listen.h.
 *
 * Four lists say what is left to do, so that no step scans all peers: `fresh`
 * (not accepted), `news` (input or an end not taken), `ready` (output due) and
 * `paused` (by due time). While one of the first three holds a peer the alarm
 * is set to now: that is how work without a socket event makes the fd readable.
 */
#include "listen.h"
#include "listen_port.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#ifndef MSG_NOSIGNAL
#define MSG_NOSIGNAL 0 /* SO_NOSIGPIPE stands for it */
#endif

#define ACCEPT_RETRY 0.02 /* seconds after accept ran out of descriptors */
enum {
  INPUT_MAX = 1 << 30,
  OUTPUT_MAX = 1 << 30,
  TURN_MAX = 256 * 1024, /* bytes a peer a step, so that all get their turn */
  ACCEPT_MAX = 256,
  EVENTS_MAX = 256
};

typedef enum action_kind { BYTES, PAUSE, HALF_CLOSE, CLOSE, RESET } action_kind;

typedef struct action {
  struct action *next;
  action_kind kind;
  double seconds; /* PAUSE */
  oai_buf bytes;  /* BYTES */
  size_t at;      /* of them gone out */
  size_t piece;   /* 0: whole */
} action;

/* A member of a list, or its head. */
typedef struct node {
  struct node *prev, *next; /* NULL: in no list */
  oai_peer *peer;
} node;

struct oai_peer {
  oai_listener *listener; /* NULL once it closed */
  void *data;
  node all, fresh, news, ready, paused;
  int fd;        /* -1 once closed */
  int interest;  /* what the port watches */
  unsigned turn; /* of the step in which oai_listener_ready gave it */
  bool accepted; /* the caller has it */
  bool orphan;   /* the caller gave it back */
  bool held, eof, eof_taken, closing, blocked;
  oai_buf in;
  action *head, *tail;
  size_t pending;
  double due; /* of the pause at the head */
};

struct oai_listener {
  oai_port port;
  int fd;
  char *path;
  unsigned turn;
  double accept_due; /* 0: accepting */
  node all, fresh, news, ready, paused;
};

static void node_init(node *k, oai_peer *peer) {
  k->prev = k->next = peer ? NULL : k;
  k->peer = peer;
}

static bool node_empty(const node *head) {
  return head->next == head;
}

static void node_del(node *k) {
  if (!k->next) return;
  k->prev->next = k->next;
  k->next->prev = k->prev;
  k->prev = k->next = NULL;
}

/* Moves to the end of a list. */
static void node_add(node *head, node *k) {
  node_del(k);
  k->prev = head->prev;
  k->next = head;
  head->prev->next = k;
  head->prev = k;
}

/* The time of the next work without a socket event: 0 now, -1 never. */
static double next_due(const oai_listener *l) {
  if (!node_empty(&l->fresh) || !node_empty(&l->news) || !node_empty(&l->ready))
    return 0;
  double due = node_empty(&l->paused) ? -1 : l->paused.next->peer->due;
  if (l->accept_due && (due < 0 || l->accept_due < due)) due = l->accept_due;
  return due;
}

static void rearm(oai_listener *l) {
  if (l) oai_port_arm(&l->port, next_due(l));
}

/* --- peers ------------------------------------------------------------- */

static void peer_pop(oai_peer *p) {
  action *a = p->head;
  p->head = a->next;
  if (!p->head) p->tail = NULL;
  p->pending -= a->bytes.n - a->at;
  oai_buf_free(&a->bytes);
  free(a);
}

static void peer_free(oai_peer *p) {
  while (p->head) peer_pop(p);
  node_del(&p->all);
  node_del(&p->fresh);
  node_del(&p->news);
  node_del(&p->ready);
  node_del(&p->paused);
  oai_buf_free(&p->in);
  free(p);
}

/* Puts the peer where its state belongs. */
static void peer_sort(oai_peer *p) {
  oai_listener *l = p->listener;
  if (!l) return;
  bool news = p->in.n > 0 || (p->eof && !p->eof_taken);
  if (!news || !p->accepted || p->closing)
    node_del(&p->news);
  else if (!p->news.next)
    node_add(&l->news, &p->news);
  if (!p->head || p->blocked || p->paused.next)
    node_del(&p->ready);
  else if (!p->ready.next)
    node_add(&l->ready, &p->ready);
  int want = p->blocked ? OAI_PORT_WRITE : 0;
  if (!p->held && !p->eof && p->in.n < INPUT_MAX) want |= OAI_PORT_READ;
  if (p->fd < 0 || want == p->interest) return;
  oai_port_set(&l->port, p->fd, p->interest, want, p);
  p->interest = want;
}

/* Ends the connection: the input stays to be taken, an orphan is freed. */
static void peer_end(oai_peer *p) {
  if (p->fd >= 0) {
    oai_port_set(&p->listener->port, p->fd, p->interest, -1, p);
    close(p->fd);
    p->fd = -1;
  }
  while (p->head) peer_pop(p);
  node_del(&p->paused);
  p->blocked = false;
  p->eof = true;
  if (p->orphan)
    peer_free(p);
  else
    peer_sort(p);
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
static bool peer_send(oai_peer *p, action *a, size_t *sent, bool *more) {
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
  node *list = &p->listener->paused, *before = list;
  p->due = oai_port_now() + seconds;
  /* From the end: pauses are mostly of one length. */
  while (before->prev != list && before->prev->peer->due > p->due)
    before = before->prev;
  node_add(before, &p->paused);
}

/* The last action. An unread byte would make the kernel turn a close into a
 * reset. */
static void peer_leave(oai_peer *p, bool reset) {
  char bytes[32 * 1024];
  struct linger hard = {1, 0};
  if (reset) setsockopt(p->fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
  for (int i = 0; i < 32 && !reset && !p->held; i++)
    if (recv(p->fd, bytes, sizeof bytes, 0) <= 0) break;
  peer_end(p);
}

/* Goes on with the queue until something ends the step. */
static void peer_run(oai_peer *p) {
  size_t sent = 0;
  bool more = true;
  while (more && p->head) {
    action *a = p->head;
    if (a->kind == BYTES) {
      if (peer_send(p, a, &sent, &more)) continue;
      peer_read(p); /* what the client said before it left */
      peer_end(p);
      return;
    }
    if (a->kind == CLOSE || a->kind == RESET) {
      peer_leave(p, a->kind == RESET);
      return;
    }
    more = a->kind == HALF_CLOSE;
    if (more) {
      shutdown(p->fd, SHUT_WR);
      peer_pop(p);
    } else {
      peer_sleep(p, a->seconds);
    }
  }
  peer_sort(p);
}

static void peer_event(oai_peer *p, int what) {
  bool ok = true;
  if (what & (OAI_PORT_WRITE | OAI_PORT_BROKEN)) p->blocked = false;
  if (what & (OAI_PORT_READ | OAI_PORT_BROKEN)) {
    bool could = !p->held && !p->eof;
    ok = peer_read(p);
    /* A broken socket is reported for ever. */
    if (what & OAI_PORT_BROKEN && !could) ok = false;
  }
  if (ok)
    peer_sort(p);
  else
    peer_end(p);
}

static oai_buf_status peer_queue(oai_peer *p, action_kind kind,
                                 double seconds) {
  if (p->fd < 0) return OAI_BUF_OK;
  action *a = calloc(1, sizeof *a);
  if (!a) return OAI_BUF_NOMEM;
  a->kind = kind;
  a->seconds = seconds > 0 ? seconds : 0;
  oai_buf_init(&a->bytes, OUTPUT_MAX);
  if (p->tail)
    p->tail->next = a;
  else
    p->head = a;
  p->tail = a;
  peer_sort(p);
  rearm(p->listener);
  return OAI_BUF_OK;
}

oai_buf_status oai_peer_write(oai_peer *p, const char *bytes, size_t n,
                              size_t piece) {
  if (p->fd < 0 || n == 0) return OAI_BUF_OK;
  if (n > OUTPUT_MAX - p->pending) return OAI_BUF_FULL;
  action *last = p->tail;
  if (!last || last->kind != BYTES || last->piece || piece) {
    oai_buf_status status = peer_queue(p, BYTES, 0);
    if (status) return status;
  }
  p->tail->piece = piece;
  /* Without memory an empty action stays; it sends nothing. */
  oai_buf_status status = oai_buf_append(&p->tail->bytes, bytes, n);
  if (!status) p->pending += n;
  return status;
}

oai_buf_status oai_peer_pause(oai_peer *p, double seconds) {
  return peer_queue(p, PAUSE, seconds);
}

oai_buf_status oai_peer_shutdown(oai_peer *p) {
  return peer_queue(p, HALF_CLOSE, 0);
}

static oai_buf_status peer_finish(oai_peer *p, action_kind kind) {
  if (p->closing) return OAI_BUF_OK;
  p->closing = true;
  if (p->fd < 0) peer_sort(p);
  oai_buf_status status = peer_queue(p, kind, 0);
  rearm(p->listener);
  return status;
}

oai_buf_status oai_peer_close(oai_peer *p) {
  return peer_finish(p, CLOSE);
}

oai_buf_status oai_peer_reset(oai_peer *p) {
  return peer_finish(p, RESET);
}

void oai_peer_abort(oai_peer *p) {
  oai_listener *l = p->listener;
  if (!l) return;
  p->closing = true;
  peer_end(p);
  rearm(l);
}

void oai_peer_hold(oai_peer *p, bool hold) {
  p->held = hold;
  peer_sort(p);
}

oai_slice oai_peer_input(const oai_peer *p) {
  return (oai_slice){p->in.p, p->in.n};
}

bool oai_peer_taken(oai_peer *p) {
  bool some = p->in.n > 0;
  if (!some && p->eof) p->eof_taken = true;
  oai_buf_free(&p->in);
  peer_sort(p);
  rearm(p->listener);
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
  p->data = NULL;
  if (p->fd < 0 || !l)
    peer_free(p);
  else if (peer_finish(p, CLOSE))
    peer_end(p); /* no memory for a queue */
  rearm(l);
}

void oai_peer_set_data(oai_peer *p, void *data) {
  p->data = data;
}

void *oai_peer_data(const oai_peer *p) {
  return p->data;
}

/* --- the listener ------------------------------------------------------ */

static void adopt(oai_listener *l, int fd) {
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
  node_init(&p->all, p);
  node_init(&p->fresh, p);
  node_init(&p->news, p);
  node_init(&p->ready, p);
  node_init(&p->paused, p);
  node_add(&l->all, &p->all);
  node_add(&l->fresh, &p->fresh);
}

static void accept_all(oai_listener *l) {
  for (int i = 0; i < ACCEPT_MAX; i++) {
    int fd = accept(l->fd, NULL, NULL);
    if (fd >= 0) {
      adopt(l, fd);
      continue;
    }
    if (errno == EINTR || errno == ECONNABORTED) continue;
    if (errno == EAGAIN || errno == EWOULDBLOCK) return;
    /* No descriptors or memory: the socket stays readable, so look away. */
    oai_port_set(&l->port, l->fd, OAI_PORT_READ, 0, NULL);
    l->accept_due = oai_port_now() + ACCEPT_RETRY;
    return;
  }
}

static void wake(oai_listener *l) {
  if (node_empty(&l->paused) && !l->accept_due) return;
  double now = oai_port_now();
  while (!node_empty(&l->paused) && l->paused.next->peer->due <= now) {
    oai_peer *p = l->paused.next->peer;
    node_del(&p->paused);
    peer_pop(p);
    peer_sort(p);
  }
  if (l->accept_due && l->accept_due <= now) {
    l->accept_due = 0;
    oai_port_set(&l->port, l->fd, 0, OAI_PORT_READ, NULL);
  }
}

void oai_listener_step(oai_listener *l) {
  oai_port_event events[EVENTS_MAX];
  l->turn++;
  int n = oai_port_wait(&l->port, events, EVENTS_MAX);
  for (int i = 0; i < n; i++) {
    if (events[i].who)
      peer_event(events[i].who, events[i].what);
    else
      accept_all(l);
  }
  wake(l);
  /* Only those that are ready now: one that becomes ready again waits. */
  node turn;
  node_init(&turn, NULL);
  while (!node_empty(&l->ready)) node_add(&turn, l->ready.next);
  while (!node_empty(&turn)) {
    oai_peer *p = turn.next->peer;
    node_del(&p->ready);
    peer_run(p);
  }
  rearm(l);
}

oai_listener *oai_listener_open(const oai_listen_options *o, char *message,
                                size_t size) {
  oai_listener *l = calloc(1, sizeof *l);
  if (l && o->path) l->path = oai_copy(o->path, strlen(o->path));
  if (!l || (o->path && !l->path)) {
    snprintf(message, size, "not enough memory");
    free(l);
    return NULL;
  }
  node_init(&l->all, NULL);
  node_init(&l->fresh, NULL);
  node_init(&l->news, NULL);
  node_init(&l->ready, NULL);
  node_init(&l->paused, NULL);
  bool ok = oai_port_open(&l->port);
  l->fd = ok ? oai_port_listen(o->host, o->port, o->path) : -1;
  if (l->fd >= 0 && oai_port_set(&l->port, l->fd, -1, OAI_PORT_READ, NULL))
    return l;
  snprintf(message, size, "cannot listen at %s: %s",
           o->path   ? o->path
           : o->host ? o->host
                     : "127.0.0.1",
           strerror(errno));
  if (l->fd < 0) { /* the path is another's */
    free(l->path);
    l->path = NULL;
  }
  oai_listener_close(l);
  return NULL;
}

void oai_listener_close(oai_listener *l) {
  while (!node_empty(&l->all)) {
    oai_peer *p = l->all.next->peer;
    bool mine = !p->accepted || p->orphan;
    p->orphan = false;
    peer_end(p);
    p->listener = NULL;
    node_del(&p->all);
    node_del(&p->news);
    if (mine) peer_free(p);
  }
  if (l->fd >= 0) close(l->fd);
  oai_port_close(&l->port);
  if (l->path) unlink(l->path);
  free(l->path);
  free(l);
}

int oai_listener_fd(const oai_listener *l) {
  return l->port.fd;
}

int oai_listener_port(const oai_listener *l) {
  return oai_port_number(l->fd);
}

double oai_listener_timeout(const oai_listener *l) {
  double due = next_due(l);
  if (due <= 0) return due;
  double left = due - oai_port_now();
  return left > 0 ? left : 0;
}

bool oai_listener_waiting(const oai_listener *l) {
  return !node_empty(&l->fresh);
}

oai_peer *oai_listener_accept(oai_listener *l) {
  if (node_empty(&l->fresh)) return NULL;
  oai_peer *p = l->fresh.next->peer;
  node_del(&p->fresh);
  p->accepted = true;
  peer_sort(p);
  rearm(l);
  return p;
}

oai_peer *oai_listener_ready(oai_listener *l) {
  if (node_empty(&l->news)) return NULL;
  oai_peer *p = l->news.next->peer;
  if (p->turn == l->turn) return NULL;
  p->turn = l->turn;
  node_add(&l->news, &p->news);
  return p;
}
