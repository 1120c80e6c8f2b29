/* pollset where there is neither epoll nor kqueue: poll(2), or WSAPoll. There
 * is no descriptor for a host loop; such hosts tick. See pollset.h. */
#include "pollset.h"

#if defined(OAI_PORTABLE) ||                                                   \
    !(defined(__linux__) || defined(__APPLE__) || defined(__FreeBSD__) ||      \
      defined(__OpenBSD__) || defined(__NetBSD__) || defined(__DragonFly__))

#include <math.h>
#include <stdlib.h>

#ifdef _WIN32
#include <winsock2.h>
typedef WSAPOLLFD pollfd_t;
#define poll_fds(p, n, ms) WSAPoll((p), (ULONG)(n), (ms))
#else
#include <poll.h>
#include <time.h>
typedef struct pollfd pollfd_t;
#define poll_fds(p, n, ms) poll((p), (nfds_t)(n), (ms))
#endif

struct oai_pollset {
  pollfd_t *fds;
  size_t n, cap;
};

double oai_now(void) {
#ifdef _WIN32
  LARGE_INTEGER count, frequency;
  QueryPerformanceCounter(&count);
  QueryPerformanceFrequency(&frequency);
  return (double)count.QuadPart / (double)frequency.QuadPart;
#else
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
#endif
}

oai_pollset *oai_pollset_new(void) {
  return calloc(1, sizeof(oai_pollset));
}

void oai_pollset_free(oai_pollset *p) {
  if (!p) return;
  free(p->fds);
  free(p);
}

static bool grow(oai_pollset *p) {
  size_t cap = p->cap ? p->cap * 2 : 16;
  void *fds = realloc(p->fds, cap * sizeof *p->fds);
  if (!fds) return false;
  p->fds = fds;
  p->cap = cap;
  return true;
}

bool oai_pollset_set(oai_pollset *p, int fd, int what) {
  size_t i = 0;
  while (i < p->n && (int)p->fds[i].fd != fd) i++;
  if (what == 0) {
    if (i < p->n) p->fds[i] = p->fds[--p->n];
    return true;
  }
  if (i == p->n) {
    if (p->n == p->cap && !grow(p)) return false;
    p->n++;
  }
#ifdef _WIN32
  p->fds[i].fd = (SOCKET)fd;
#else
  p->fds[i].fd = fd;
#endif
  p->fds[i].events = (short)(((what & OAI_IN) ? POLLIN : 0) |
                             ((what & OAI_OUT) ? POLLOUT : 0));
  p->fds[i].revents = 0;
  return true;
}

#ifdef _WIN32
static void sleep_ms(int ms) {
  Sleep(ms < 0 ? INFINITE : (DWORD)ms);
}
#endif

int oai_pollset_wait(oai_pollset *p, double seconds, oai_ready *out, int max) {
  int ms = seconds < 0 ? -1 : (int)fmin(ceil(seconds * 1e3), 1e9), n = 0;
#ifdef _WIN32
  if (p->n == 0) return sleep_ms(ms), 0; /* WSAPoll refuses an empty set */
#endif
  if (poll_fds(p->fds, p->n, ms) <= 0) return 0;
  for (size_t i = 0; i < p->n && n < max; i++) {
    int got = p->fds[i].revents;
    if (!got) continue;
    out[n].fd = (int)p->fds[i].fd;
    out[n].what = ((got & (POLLIN | POLLHUP | POLLERR)) ? OAI_IN : 0) |
                  ((got & POLLOUT) ? OAI_OUT : 0);
    n++;
  }
  return n;
}

int oai_pollset_fd(oai_pollset *p) {
  (void)p;
  return -1;
}

void oai_pollset_alarm(oai_pollset *p, double at) {
  (void)p;
  (void)at;
}

void oai_pollset_signal(oai_pollset *p, bool on) {
  (void)p;
  (void)on;
}

#endif
