/* listen: see listen.h.
 *
 * Four lists say what is left to do, so that no step scans all peers: `fresh`
 * (not accepted), `news` (input or an end not taken), `ready` (output due) and
 * `paused` (by due time). While one of the first three holds a peer the alarm
 * is set to now: that is how work without a socket event makes the fd readable.
 */
#ifndef _WIN32 /* a tool of tests and demos, for POSIX alone */

#include "listen_internal.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define ACCEPT_RETRY 0.02 /* seconds after accept ran out of descriptors */
enum { ACCEPT_MAX = 256, EVENTS_MAX = 256 };

void oai_node_init(oai_node *k, oai_peer *peer) {
  k->prev = k->next = peer ? NULL : k;
  k->peer = peer;
}

bool oai_node_empty(const oai_node *head) {
  return head->next == head;
}

void oai_node_del(oai_node *k) {
  if (!k->next) return;
  k->prev->next = k->next;
  k->next->prev = k->prev;
  k->prev = k->next = NULL;
}

void oai_node_add(oai_node *head, oai_node *k) {
  oai_node_del(k);
  k->prev = head->prev;
  k->next = head;
  head->prev->next = k;
  head->prev = k;
}

/* The time of the next work without a socket event: 0 now, -1 never. */
static double next_due(const oai_listener *l) {
  if (!oai_node_empty(&l->fresh) || !oai_node_empty(&l->news) ||
      !oai_node_empty(&l->ready))
    return 0;
  double due = oai_node_empty(&l->paused) ? -1 : l->paused.next->peer->due;
  if (l->accept_due && (due < 0 || l->accept_due < due)) due = l->accept_due;
  return due;
}

double oai_listener_now(const oai_listener *l) {
  return oai_clock_now(l->clock.clock);
}

void oai_listener_rearm(oai_listener *l) {
  if (l) oai_port_arm(&l->port, oai_clock_alarm(l->clock.clock, next_due(l)));
}

#define LISTENER_OF(u)                                                         \
  ((oai_listener *)((char *)(u)-offsetof(struct oai_listener, clock)))

static double clock_due(oai_clock_user *u) {
  oai_listener *l = LISTENER_OF(u);
  return u->ticks && oai_port_pending(&l->port) ? 0 : next_due(l);
}

static void on_moved(oai_clock_user *u) {
  oai_listener_rearm(LISTENER_OF(u));
}

void oai_listener_clock(oai_listener *l, oai_clock *clock) {
  l->clock.ticks = l->port.fd < 0;
  l->clock.due = clock_due;
  l->clock.moved = on_moved;
  oai_clock_join(clock, &l->clock);
}

static void accept_all(oai_listener *l) {
  for (int i = 0; i < ACCEPT_MAX; i++) {
    int fd = accept(l->fd, NULL, NULL);
    if (fd >= 0) {
      oai_peer_adopt(l, fd);
      continue;
    }
    if (errno == EINTR || errno == ECONNABORTED) continue;
    if (errno == EAGAIN || errno == EWOULDBLOCK) return;
    /* No descriptors or memory: the socket stays readable, so look away. */
    oai_port_set(&l->port, l->fd, OAI_PORT_READ, 0, NULL);
    l->accept_due = oai_listener_now(l) + ACCEPT_RETRY;
    return;
  }
}

static void wake(oai_listener *l) {
  if (oai_node_empty(&l->paused) && !l->accept_due) return;
  double now = oai_listener_now(l);
  while (!oai_node_empty(&l->paused) && l->paused.next->peer->due <= now) {
    oai_peer *p = l->paused.next->peer;
    oai_peer_wake(p);
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
      oai_peer_event(events[i].who, events[i].what);
    else
      accept_all(l);
  }
  wake(l);
  /* Only those that are ready now: one that becomes ready again waits. */
  oai_node turn;
  oai_node_init(&turn, NULL);
  while (!oai_node_empty(&l->ready)) oai_node_add(&turn, l->ready.next);
  while (!oai_node_empty(&turn)) {
    oai_peer *p = turn.next->peer;
    oai_node_del(&p->ready);
    oai_peer_run(p);
  }
  oai_listener_rearm(l);
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
  oai_node_init(&l->all, NULL);
  oai_node_init(&l->fresh, NULL);
  oai_node_init(&l->news, NULL);
  oai_node_init(&l->ready, NULL);
  oai_node_init(&l->paused, NULL);
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
  oai_clock_leave(&l->clock);
  while (!oai_node_empty(&l->all)) {
    oai_peer *p = l->all.next->peer;
    bool mine = !p->accepted || p->orphan;
    p->orphan = false;
    oai_peer_end(p);
    p->listener = NULL;
    oai_node_del(&p->all);
    oai_node_del(&p->news);
    if (mine) oai_peer_free(p);
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
  double left = due - oai_listener_now(l);
  return left > 0 ? left : 0;
}

bool oai_listener_waiting(const oai_listener *l) {
  return !oai_node_empty(&l->fresh);
}

oai_peer *oai_listener_accept(oai_listener *l) {
  if (oai_node_empty(&l->fresh)) return NULL;
  oai_peer *p = l->fresh.next->peer;
  oai_node_del(&p->fresh);
  p->accepted = true;
  oai_peer_sort(p);
  oai_listener_rearm(l);
  return p;
}

oai_peer *oai_listener_ready(oai_listener *l) {
  if (oai_node_empty(&l->news)) return NULL;
  oai_peer *p = l->news.next->peer;
  if (p->turn == l->turn) return NULL;
  p->turn = l->turn;
  oai_node_add(&l->news, &p->news);
  return p;
}

#endif
