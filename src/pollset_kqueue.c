/* pollset on macOS and the BSDs: kqueue, with EVFILT_TIMER and EVFILT_USER in
 * it so that its own descriptor tells a host loop everything. Compiled there
 * only; not run in CI. See pollset.h. */
#include "pollset.h"

#if !defined(OAI_PORTABLE) &&                                                  \
    (defined(__APPLE__) || defined(__FreeBSD__) || defined(__OpenBSD__) ||     \
     defined(__NetBSD__) || defined(__DragonFly__))

#include <fcntl.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/event.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

enum { TIMER_IDENT = 1, USER_IDENT = 2 };

struct oai_pollset {
  int queue;
  bool exported, signalled;
  double alarm;
};

double oai_now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static bool change(oai_pollset *p, uintptr_t ident, int filter, int flags,
                   unsigned fflags, intptr_t data) {
  struct kevent ev;
  EV_SET(&ev, ident, (short)filter, (unsigned short)flags, fflags, data, NULL);
  return kevent(p->queue, &ev, 1, NULL, 0, NULL) == 0;
}

oai_pollset *oai_pollset_new(void) {
  oai_pollset *p = calloc(1, sizeof *p);
  if (!p) return NULL;
  p->alarm = -1;
  p->queue = kqueue();
  if (p->queue >= 0) {
    fcntl(p->queue, F_SETFD, FD_CLOEXEC);
    return p;
  }
  free(p);
  return NULL;
}

void oai_pollset_free(oai_pollset *p) {
  if (!p) return;
  close(p->queue);
  free(p);
}

bool oai_pollset_set(oai_pollset *p, int fd, int what) {
  /* deleting a filter that is not there fails, and that is fine */
  bool in = change(p, (uintptr_t)fd, EVFILT_READ,
                   (what & OAI_IN) ? EV_ADD : EV_DELETE, 0, 0);
  bool out = change(p, (uintptr_t)fd, EVFILT_WRITE,
                    (what & OAI_OUT) ? EV_ADD : EV_DELETE, 0, 0);
  return (in || !(what & OAI_IN)) && (out || !(what & OAI_OUT));
}

int oai_pollset_wait(oai_pollset *p, double seconds, oai_ready *out, int max) {
  struct kevent ev[64];
  struct timespec t, *until = NULL;
  int kept = 0;
  if (seconds >= 0) {
    t.tv_sec = (time_t)seconds;
    t.tv_nsec = (long)((seconds - floor(seconds)) * 1e9);
    until = &t;
  }
  int n = kevent(p->queue, NULL, 0, ev, max < 64 ? max : 64, until);
  for (int i = 0; i < n; i++) {
    if (ev[i].filter != EVFILT_READ && ev[i].filter != EVFILT_WRITE) continue;
    out[kept].fd = (int)ev[i].ident;
    out[kept].what = ev[i].filter == EVFILT_READ ? OAI_IN : OAI_OUT;
    kept++;
  }
  return kept;
}

static void arm(oai_pollset *p) {
  if (p->alarm < 0) {
    change(p, TIMER_IDENT, EVFILT_TIMER, EV_DELETE, 0, 0);
    return;
  }
  double ms = ceil((p->alarm - oai_now()) * 1e3);
  change(p, TIMER_IDENT, EVFILT_TIMER, EV_ADD | EV_ONESHOT, 0,
         ms > 0 ? (intptr_t)ms : 0);
}

static void raise_event(oai_pollset *p, bool on) {
  change(p, USER_IDENT, EVFILT_USER, on ? EV_ADD : EV_DELETE, 0, 0);
  if (on) change(p, USER_IDENT, EVFILT_USER, 0, NOTE_TRIGGER, 0);
}

int oai_pollset_fd(oai_pollset *p) {
  if (!p->exported) {
    p->exported = true;
    arm(p);
    if (p->signalled) raise_event(p, true);
  }
  return p->queue;
}

void oai_pollset_alarm(oai_pollset *p, double at) {
  if (p->alarm == at) return;
  p->alarm = at;
  if (p->exported) arm(p);
}

void oai_pollset_signal(oai_pollset *p, bool on) {
  if (p->signalled == on) return;
  p->signalled = on;
  if (p->exported) raise_event(p, on);
}

#endif
