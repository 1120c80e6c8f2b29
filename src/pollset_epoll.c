/* pollset on Linux: epoll; for hosts a second one around it, with a timerfd and
 * an eventfd, so that one descriptor tells a host loop everything. See
 * pollset.h. */
#include "pollset.h"

#if defined(__linux__) && !defined(OAI_PORTABLE)

#include <errno.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

struct oai_pollset {
  int epoll;               /* the sockets */
  int outer, timer, event; /* epoll, alarm and signal; -1 until asked for */
  double alarm;
  bool signalled;
};

double oai_now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

oai_pollset *oai_pollset_new(void) {
  oai_pollset *p = calloc(1, sizeof *p);
  if (!p) return NULL;
  p->outer = p->timer = p->event = -1;
  p->alarm = -1;
  p->epoll = epoll_create1(EPOLL_CLOEXEC);
  if (p->epoll >= 0) return p;
  free(p);
  return NULL;
}

void oai_pollset_free(oai_pollset *p) {
  if (!p) return;
  close(p->epoll);
  if (p->outer >= 0) close(p->outer);
  if (p->timer >= 0) close(p->timer);
  if (p->event >= 0) close(p->event);
  free(p);
}

bool oai_pollset_set(oai_pollset *p, int fd, int what) {
  struct epoll_event ev = {0};
  ev.events =
      ((what & OAI_IN) ? EPOLLIN : 0u) | ((what & OAI_OUT) ? EPOLLOUT : 0u);
  ev.data.fd = fd;
  if (what == 0) {
    /* the number may be closed already; then it left the set by itself */
    epoll_ctl(p->epoll, EPOLL_CTL_DEL, fd, &ev);
    return true;
  }
  /* numbers come back: curl may close and reopen one between two calls */
  if (epoll_ctl(p->epoll, EPOLL_CTL_MOD, fd, &ev) == 0) return true;
  return errno == ENOENT && epoll_ctl(p->epoll, EPOLL_CTL_ADD, fd, &ev) == 0;
}

int oai_pollset_wait(oai_pollset *p, double seconds, oai_ready *out, int max) {
  struct epoll_event ev[64];
  int n, kept = 0;
  int ms = seconds < 0 ? -1 : (int)fmin(ceil(seconds * 1e3), 1e9);
  n = epoll_wait(p->epoll, ev, max < 64 ? max : 64, ms);
  for (int i = 0; i < n; i++) {
    int fd = ev[i].data.fd;
    out[kept].fd = fd;
    out[kept].what =
        ((ev[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) ? OAI_IN : 0) |
        ((ev[i].events & EPOLLOUT) ? OAI_OUT : 0);
    kept++;
  }
  return kept;
}

static void arm(oai_pollset *p) {
  struct itimerspec t = {{0, 0}, {0, 0}};
  double at = p->alarm;
  if (at >= 0) {
    t.it_value.tv_sec = (time_t)at;
    t.it_value.tv_nsec = (long)((at - floor(at)) * 1e9);
    if (!t.it_value.tv_sec && !t.it_value.tv_nsec) t.it_value.tv_nsec = 1;
  }
  timerfd_settime(p->timer, TFD_TIMER_ABSTIME, &t, NULL);
}

static void raise_event(oai_pollset *p, bool on) {
  uint64_t n = 1;
  ssize_t done =
      on ? write(p->event, &n, sizeof n) : read(p->event, &n, sizeof n);
  (void)done; /* a full or an empty counter is the state we want */
}

static void add(oai_pollset *p, int fd) {
  struct epoll_event ev = {0};
  ev.events = EPOLLIN;
  ev.data.fd = fd;
  epoll_ctl(p->outer, EPOLL_CTL_ADD, fd, &ev);
}

/* A set around the set: the alarm and the signal are for hosts, and must not
 * wake a wait of ours that has its own reasons. */
int oai_pollset_fd(oai_pollset *p) {
  if (p->outer < 0) {
    p->outer = epoll_create1(EPOLL_CLOEXEC);
    p->timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    p->event = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    add(p, p->epoll);
    add(p, p->timer);
    add(p, p->event);
    arm(p);
    if (p->signalled) raise_event(p, true);
  }
  return p->outer;
}

void oai_pollset_alarm(oai_pollset *p, double at) {
  if (p->alarm == at) return;
  p->alarm = at;
  if (p->timer >= 0) arm(p);
}

void oai_pollset_signal(oai_pollset *p, bool on) {
  if (p->signalled == on) return;
  p->signalled = on;
  if (p->event >= 0) raise_event(p, on);
}

#endif
