/* listen_port: see listen_port.h. */
#ifndef _WIN32 /* a tool of tests and demos, for POSIX alone */

#include "listen_port.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { BACKLOG = 1024 };

#if defined __linux__ && !defined OAI_LISTEN_POLL
#include <sys/epoll.h>
#include <sys/timerfd.h>

bool oai_port_open(oai_port *port) {
  memset(port, 0, sizeof *port);
  port->armed = -1;
  port->fd = epoll_create1(EPOLL_CLOEXEC);
  port->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
  if (port->fd < 0 || port->timer_fd < 0) return false;
  struct epoll_event e = {.events = EPOLLIN, .data = {.ptr = port}};
  return epoll_ctl(port->fd, EPOLL_CTL_ADD, port->timer_fd, &e) == 0;
}

void oai_port_close(oai_port *port) {
  if (port->fd >= 0) close(port->fd);
  if (port->timer_fd >= 0) close(port->timer_fd);
}

bool oai_port_set(oai_port *port, int fd, int had, int want, void *who) {
  int op = had < 0 ? EPOLL_CTL_ADD : EPOLL_CTL_MOD;
  struct epoll_event e = {.data = {.ptr = who}};
  if (want < 0)
    op = EPOLL_CTL_DEL;
  else if (want & OAI_PORT_READ)
    e.events |= EPOLLIN;
  if (want > 0 && want & OAI_PORT_WRITE) e.events |= EPOLLOUT;
  return epoll_ctl(port->fd, op, fd, &e) == 0;
}

void oai_port_arm(oai_port *port, double at) {
  if (at == port->armed) return;
  struct itimerspec t = {{0, 0}, {0, 0}};
  if (at == 0) t.it_value.tv_nsec = 1; /* in the past: stays readable */
  if (at > 0) {
    /* Rounded up: who wakes by the timer finds the time has come. */
    long ns = (long)((at - (double)(time_t)at) * 1e9) + 1;
    t.it_value.tv_sec = (time_t)at + (ns > 999999999);
    t.it_value.tv_nsec = ns > 999999999 ? 0 : ns;
  }
  timerfd_settime(port->timer_fd, TFD_TIMER_ABSTIME, &t, NULL);
  port->armed = at;
}

int oai_port_wait(oai_port *port, oai_port_event *events, int max) {
  struct epoll_event got[256];
  int count = 0;
  int n = epoll_wait(port->fd, got, max < 256 ? max : 256, 0);
  for (int i = 0; i < n; i++) {
    if (got[i].data.ptr == port) continue; /* the alarm */
    int what = 0;
    if (got[i].events & EPOLLIN) what |= OAI_PORT_READ;
    if (got[i].events & EPOLLOUT) what |= OAI_PORT_WRITE;
    if (got[i].events & (EPOLLERR | EPOLLHUP)) what |= OAI_PORT_BROKEN;
    events[count++] = (oai_port_event){got[i].data.ptr, what};
  }
  return count;
}

bool oai_port_pending(oai_port *port) {
  (void)port;
  return false;
}

#else

bool oai_port_open(oai_port *port) {
  memset(port, 0, sizeof *port);
  port->fd = port->timer_fd = -1;
  port->armed = -1;
  return true;
}

void oai_port_close(oai_port *port) {
  free(port->fds);
  free(port->who);
}

static bool port_grow(oai_port *port) {
  if (port->n < port->cap) return true;
  size_t cap = port->cap ? port->cap * 2 : 16;
  struct pollfd *fds = realloc(port->fds, cap * sizeof *fds);
  if (fds) port->fds = fds;
  void **who = realloc(port->who, cap * sizeof *who);
  if (who) port->who = who;
  if (fds && who) port->cap = cap;
  return fds && who;
}

bool oai_port_set(oai_port *port, int fd, int had, int want, void *who) {
  size_t i = 0;
  while (i < port->n && port->fds[i].fd != fd) i++;
  if (want < 0) {
    if (i == port->n) return false;
    port->fds[i] = port->fds[--port->n];
    port->who[i] = port->who[port->n];
    return true;
  }
  if (had < 0 && !port_grow(port)) return false;
  if (had < 0) i = port->n++;
  port->fds[i].fd = fd;
  port->fds[i].events = 0;
  if (want & OAI_PORT_READ) port->fds[i].events |= POLLIN;
  if (want & OAI_PORT_WRITE) port->fds[i].events |= POLLOUT;
  port->who[i] = who;
  return true;
}

void oai_port_arm(oai_port *port, double at) {
  port->armed = at;
}

int oai_port_wait(oai_port *port, oai_port_event *events, int max) {
  int count = 0;
  if (poll(port->fds, (nfds_t)port->n, 0) <= 0) return 0;
  for (size_t seen = 0; seen < port->n && count < max; seen++) {
    if (++port->next >= port->n) port->next = 0;
    int got = port->fds[port->next].revents, what = 0;
    if (got & POLLIN) what |= OAI_PORT_READ;
    if (got & POLLOUT) what |= OAI_PORT_WRITE;
    if (got & (POLLERR | POLLHUP | POLLNVAL)) what |= OAI_PORT_BROKEN;
    if (what) events[count++] = (oai_port_event){port->who[port->next], what};
  }
  return count;
}

bool oai_port_pending(oai_port *port) {
  return poll(port->fds, (nfds_t)port->n, 0) > 0;
}
#endif

bool oai_port_prepare(int fd) {
  int flags = fcntl(fd, F_GETFL);
  return flags >= 0 && fcntl(fd, F_SETFL, flags | O_NONBLOCK) == 0 &&
         fcntl(fd, F_SETFD, FD_CLOEXEC) == 0;
}

typedef union address {
  struct sockaddr any;
  struct sockaddr_in v4;
  struct sockaddr_in6 v6;
  struct sockaddr_un local;
} address;

/* The size of the address | 0 with errno. */
static socklen_t address_set(address *a, const char *host, int tcp_port,
                             const char *path) {
  memset(a, 0, sizeof *a);
  if (path) {
    a->local.sun_family = AF_UNIX;
    if (strlen(path) < sizeof a->local.sun_path) {
      strcpy(a->local.sun_path, path);
      return sizeof a->local;
    }
    errno = ENAMETOOLONG;
    return 0;
  }
  if (!host || strcmp(host, "localhost") == 0) host = "127.0.0.1";
  a->v4.sin_port = htons((unsigned short)tcp_port); /* v6 has it there too */
  a->v4.sin_family = AF_INET;
  if (inet_pton(AF_INET, host, &a->v4.sin_addr) == 1) return sizeof a->v4;
  a->v6.sin6_family = AF_INET6;
  if (inet_pton(AF_INET6, host, &a->v6.sin6_addr) == 1) return sizeof a->v6;
  errno = EADDRNOTAVAIL;
  return 0;
}

int oai_port_listen(const char *host, int tcp_port, const char *path) {
  address a;
  int one = 1;
  socklen_t size = address_set(&a, host, tcp_port, path);
  int fd = size ? socket(a.any.sa_family, SOCK_STREAM, 0) : -1;
  if (fd < 0) return -1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  if (oai_port_prepare(fd) && bind(fd, &a.any, size) == 0 &&
      listen(fd, BACKLOG) == 0)
    return fd;
  int error = errno;
  close(fd);
  errno = error;
  return -1;
}

int oai_port_number(int fd) {
  address a;
  socklen_t size = sizeof a;
  if (getsockname(fd, &a.any, &size)) return 0;
  if (a.any.sa_family == AF_INET) return ntohs(a.v4.sin_port);
  if (a.any.sa_family == AF_INET6) return ntohs(a.v6.sin6_port);
  return 0;
}

#endif
