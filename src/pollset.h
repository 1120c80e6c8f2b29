/* pollset: the sockets an engine waits for, behind one descriptor where the
 * platform has one (epoll; kqueue), and the monotonic clock. Level 0: knows no
 * curl and no Lua. One file a platform: pollset_epoll.c, pollset_poll.c. */
#ifndef OAI_POLLSET_H
#define OAI_POLLSET_H

#include <stdbool.h>

enum { OAI_IN = 1, OAI_OUT = 2 };

typedef struct oai_ready {
  int fd, what;
} oai_ready;

typedef struct oai_pollset oai_pollset;

oai_pollset *oai_pollset_new(void); /* NULL: no memory or no descriptors */
void oai_pollset_free(oai_pollset *p);
/* what = 0 forgets the descriptor; false: no memory. */
bool oai_pollset_set(oai_pollset *p, int fd, int what);
/* Sleeps until a descriptor is ready, seconds have passed (< 0: for ever) or a
 * signal came; returns how many of out are filled. */
int oai_pollset_wait(oai_pollset *p, double seconds, oai_ready *out, int max);
/* A descriptor that is readable while any of the set is, from the time `at` on
 * (see alarm), and while signalled; -1 where the platform has none. */
int oai_pollset_fd(oai_pollset *p);
void oai_pollset_alarm(oai_pollset *p, double at); /* < 0: none */
void oai_pollset_signal(oai_pollset *p, bool on);
/* Seconds on the monotonic clock. */
double oai_now(void);

#endif
