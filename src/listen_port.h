/* listen_port: what listen asks of the platform. Level 0: knows sockets;
 * nothing of peers.
 *
 * A port watches sockets and one alarm behind one pollable fd (Linux: epoll and
 * a timerfd). Elsewhere, or with OAI_LISTEN_POLL defined, it has no fd and
 * looks at the sockets with poll. */
#ifndef OAI_LISTEN_PORT_H
#define OAI_LISTEN_PORT_H

#include <stdbool.h>
#include <stddef.h>

enum { OAI_PORT_READ = 1, OAI_PORT_WRITE = 2, OAI_PORT_BROKEN = 4 };

typedef struct oai_port_event {
  void *who;
  int what; /* OAI_PORT_* */
} oai_port_event;

typedef struct oai_port {
  int fd; /* -1: none */
  int timer_fd;
  double armed;        /* -1 off, 0 now, else a time */
  struct pollfd *fds;  /* the sockets, where there is no epoll */
  void **who;          /* whose they are */
  size_t n, cap, next; /* next: where to look first */
} oai_port;

bool oai_port_open(oai_port *port);
void oai_port_close(oai_port *port);
/* Changes what is watched from `had` to `want`; -1 stands for not watched. */
bool oai_port_set(oai_port *port, int fd, int had, int want, void *who);
/* Makes the fd readable at a time; 0: now, -1: not. */
void oai_port_arm(oai_port *port, double at);
/* What happened until now; never sleeps. */
int oai_port_wait(oai_port *port, oai_port_event *events, int max);
/* Where there is no fd: something happened that wait would tell. */
bool oai_port_pending(oai_port *port);
/* Non-blocking, closed on exec. */
bool oai_port_prepare(int fd);
/* A listening socket | -1 with errno. path NULL: TCP at a numeric host. */
int oai_port_listen(const char *host, int tcp_port, const char *path);
int oai_port_number(int fd); /* of a listening socket; 0: none */

#endif
