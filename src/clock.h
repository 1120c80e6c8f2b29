/* clock: the monotonic clock of one Lua state. A test may freeze it: then time
 * stands still, and skips to the next thing that is due once its users find
 * nothing to do. Level 0: knows the system's clock (pollset.h); a user is
 * whatever has times on it (an engine, a listener). One thread at a time.
 *
 * It never goes back: thawed, it goes on from where it stands. */
#ifndef OAI_CLOCK_H
#define OAI_CLOCK_H

#include <stdbool.h>

typedef struct oai_clock oai_clock;

/* Embed it, zeroed. */
typedef struct oai_clock_user {
  oai_clock *clock;
  struct oai_clock_user *prev, *next;
  bool ticks; /* no descriptor wakes its owner: no skip while it has work */
  double (*due)(struct oai_clock_user *u); /* its next time; < 0: none */
  void (*moved)(struct oai_clock_user *u); /* time was frozen, moved, thawed */
} oai_clock_user;

oai_clock *oai_clock_new(void); /* NULL: no memory */
oai_clock *oai_clock_ref(oai_clock *c);
void oai_clock_unref(oai_clock *c);

/* Keeps the clock until it leaves. */
void oai_clock_join(oai_clock *c, oai_clock_user *u);
void oai_clock_leave(oai_clock_user *u);

/* Seconds. In these three NULL is the system's clock. */
double oai_clock_now(const oai_clock *c);
bool oai_clock_frozen(const oai_clock *c);
/* When, on the system's clock, a time of this one comes; 0: it has come, < 0:
 * never, as things stand. */
double oai_clock_alarm(const oai_clock *c, double at);

/* idle: real seconds of silence after which its users have nothing to do. */
void oai_clock_freeze(oai_clock *c, double idle);
void oai_clock_thaw(oai_clock *c);
double oai_clock_idle(const oai_clock *c);
/* Moves a frozen clock to the next time that anything is due, but not past
 * `until` (< 0: no limit). False: there is nothing to do, and nowhere to go. */
bool oai_clock_skip(oai_clock *c, double until);

#endif
