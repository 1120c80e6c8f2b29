/* engine: a curl multi handle behind one descriptor, and timers. It drives
 * transfers; what they are for it does not know. Level 1: knows curl and
 * pollset; knows no Lua. One thread at a time; never shared between states. */
#ifndef OAI_ENGINE_H
#define OAI_ENGINE_H

#include "clock.h"
#include "timers.h"

#include <curl/curl.h>
#include <stdbool.h>
#include <stddef.h>

typedef struct oai_engine oai_engine;

/* One easy handle that the engine drives. Embed it. */
typedef struct oai_transfer {
  CURL *easy;
  bool added, starting;
  struct oai_transfer *next; /* of those that start after it */
  void (*done)(struct oai_transfer *t, CURLcode result); /* from step */
} oai_transfer;

/* NULL: no memory or no descriptors. An engine outlives what uses it. */
oai_engine *oai_engine_new(void);
oai_engine *oai_engine_ref(oai_engine *e);
void oai_engine_unref(oai_engine *e);
/* At most n connections to one host at a time (0: no limit); what is more waits
 * for a free one. */
void oai_engine_host_limit(oai_engine *e, long n);

/* What its timers go by, from the start and for good; the system's without. */
void oai_engine_clock(oai_engine *e, oai_clock *clock);
/* Seconds, for deadlines. What a step may cost is measured by oai_now. */
double oai_engine_now(const oai_engine *e);

/* Starts it at the next step. */
void oai_engine_add(oai_engine *e, oai_transfer *t);
/* Closes the connection unless the transfer was complete. At once, also in
 * the middle of name resolution where libcurl >= 7.87. */
void oai_engine_remove(oai_engine *e, oai_transfer *t);
/* An easy handle in its first state: a used one when there is one. */
CURL *oai_engine_easy(oai_engine *e);
void oai_engine_easy_done(oai_engine *e, CURL *easy);

/* Fires from step. One whose owner holds no reference is fired early, with now
 * = HUGE_VAL, when the engine goes away. */
bool oai_engine_timer(oai_engine *e, oai_timer *t, double at);
void oai_engine_timer_clear(oai_engine *e, oai_timer *t);

/* Something that can be ready: an exchange with something to pull, a timer that
 * went off. Embed it. Ready ones are listed once, in order; while any is listed
 * the descriptor is readable and wait (with `any`) returns at once. */
typedef struct oai_waitable {
  struct oai_waitable *prev, *next; /* in the list */
  struct oai_either *either;
  bool ready, listed;
} oai_waitable;

void oai_engine_mark(oai_engine *e, oai_waitable *w, bool ready);
/* Not ready any more, and about to go. */
void oai_engine_forget(oai_engine *e, oai_waitable *w);

/* Ready while one of the two is, or once it was canceled: for who waits for
 * both. Embed it, zeroed. A waitable is in one of them at a time. */
typedef struct oai_either {
  oai_waitable waitable;
  oai_waitable *a, *b;
  bool canceled;
} oai_either;

void oai_engine_either(oai_engine *e, oai_either *either, oai_waitable *a,
                       oai_waitable *b);
void oai_engine_either_cancel(oai_engine *e, oai_either *either);
/* Leaves the two, and is about to go. */
void oai_engine_either_part(oai_engine *e, oai_either *either);

/* Lists a ready one again, behind the others: whoever pulled left something. */
void oai_engine_relist(oai_engine *e, oai_waitable *w);
/* Takes the first off the list; NULL when it is empty. It stays ready. */
oai_waitable *oai_engine_pop(oai_engine *e);

/* Until when things may be handed out in this step; < 0: no limit. One is
 * always handed out, so that the smallest budget gets on. */
void oai_engine_stop_at(oai_engine *e, double at);
void oai_engine_handed_out(oai_engine *e);
bool oai_engine_spent(const oai_engine *e);

/* A host's descriptor that ends wait when it is readable. */
bool oai_engine_watch(oai_engine *e, int fd, bool on);

/* A descriptor of our own, not curl's: ready is called from step with OAI_IN,
 * OAI_OUT or both (an error counts as OAI_IN). Embed it, zeroed. One a
 * descriptor; remove it before closing the descriptor. Any of the three may be
 * called from ready, which may also free what the watch is in. */
typedef struct oai_watch {
  int fd;
  int want; /* OAI_IN | OAI_OUT of pollset.h; 0: nothing for now */
  bool added;
  void (*ready)(struct oai_watch *w, int what);
} oai_watch;

bool oai_engine_watch_add(oai_engine *e, oai_watch *w, int fd, int want);
bool oai_engine_watch_change(oai_engine *e, oai_watch *w, int want);
void oai_engine_watch_remove(oai_engine *e, oai_watch *w);

/* Does what is due and never sleeps; stops between two sockets once budget
 * seconds are spent (< 0: no limit). */
void oai_engine_step(oai_engine *e, double budget);
/* Within a step: its budget is used up. Libcurl reads a socket up to a hundred
 * times in one call; whoever takes the bytes should pause then. */
bool oai_engine_step_spent(const oai_engine *e);
/* How often step was called: tells what came in this step from what waits. */
unsigned oai_engine_steps(const oai_engine *e);
/* Transfers were added that the next step begins. */
bool oai_engine_begins(const oai_engine *e);
/* Sleeps until there is work for step, at most `seconds` (< 0: no limit);
 * returns early on a signal, or skips with a frozen clock. With `any`, things
 * that wait to be pulled count as work; a reader of one of them must not be
 * woken by the others. */
void oai_engine_wait(oai_engine *e, double seconds, bool any);
/* Seconds until step has timed work, 0 when there is work now; -1: only a
 * descriptor can bring some. */
double oai_engine_timeout(oai_engine *e);
int oai_engine_fd(oai_engine *e); /* -1 where the platform has none */
size_t oai_engine_transfers(const oai_engine *e);
/* Counts transfers that will leave a connection free in a moment: worth a step
 * before another one is opened. */
void oai_engine_drain(oai_engine *e, int by);
bool oai_engine_draining(const oai_engine *e);

#endif
