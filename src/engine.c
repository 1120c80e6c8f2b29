/* engine: see engine.h. The program is curl's docs/examples/multi-uv.c:
 * curl_multi_socket_action, told which sockets are ready. */
#include "engine_internal.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

enum { KEPT_MIN = 4, KEPT_MAX = 256 }; /* connections for the next request */
/* With a frozen clock and nothing due, somebody may tick: seconds. */
static const double LOOK_AGAIN = 0.005;

/* On the system's clock. */
static double next_due(const oai_engine *e) {
  double due = e->starting ? 0 : e->curl_due;
  double timer = oai_clock_alarm(e->clock.clock, oai_timers_next(&e->timers));
  return timer >= 0 && (due < 0 || timer < due) ? timer : due;
}

/* ---- what curl tells us; it only notes facts ---------------------------- */

static int on_socket(CURL *easy, curl_socket_t fd, int what, void *arg,
                     void *known) {
  oai_engine *e = arg;
  (void)easy;
  (void)known;
  int want = what == CURL_POLL_IN      ? OAI_IN
             : what == CURL_POLL_OUT   ? OAI_OUT
             : what == CURL_POLL_INOUT ? OAI_IN | OAI_OUT
                                       : 0;
  return oai_pollset_set(e->set, (int)fd, want) ? 0 : -1;
}

static int on_timer(CURLM *multi, long ms, void *arg) {
  oai_engine *e = arg;
  (void)multi;
  e->curl_due = ms < 0 ? -1 : oai_now() + (double)ms / 1e3;
  if (!e->stepping) oai_pollset_alarm(e->set, next_due(e));
  return 0;
}

/* ---- life --------------------------------------------------------------- */

oai_engine *oai_engine_new(void) {
  oai_engine *e = calloc(1, sizeof *e);
  if (!e) return NULL;
  e->refs = 1;
  e->curl_due = e->stop_at = -1;
  e->last_starting = &e->starting;
  e->multi = curl_multi_init();
  e->set = oai_pollset_new();
  if (!e->multi || !e->set) {
    oai_engine_unref(e);
    return NULL;
  }
  curl_multi_setopt(e->multi, CURLMOPT_SOCKETFUNCTION, on_socket);
  curl_multi_setopt(e->multi, CURLMOPT_SOCKETDATA, e);
  curl_multi_setopt(e->multi, CURLMOPT_TIMERFUNCTION, on_timer);
  curl_multi_setopt(e->multi, CURLMOPT_TIMERDATA, e);
  curl_multi_setopt(e->multi, CURLMOPT_PIPELINING, (long)CURLPIPE_NOTHING);
  return e;
}

/* ---- the clock ---------------------------------------------------------- */

#define ENGINE_OF(u)                                                           \
  ((oai_engine *)((char *)(u)-offsetof(struct oai_engine, clock)))

static double timers_due(oai_clock_user *u) {
  return oai_timers_next(&ENGINE_OF(u)->timers);
}

static void on_moved(oai_clock_user *u) {
  oai_pollset_alarm(ENGINE_OF(u)->set, next_due(ENGINE_OF(u)));
}

void oai_engine_clock(oai_engine *e, oai_clock *clock) {
  e->clock.due = timers_due;
  e->clock.moved = on_moved;
  oai_clock_join(clock, &e->clock);
}

double oai_engine_now(const oai_engine *e) {
  return oai_clock_now(e->clock.clock);
}

oai_engine *oai_engine_ref(oai_engine *e) {
  e->refs++;
  return e;
}

void oai_engine_unref(oai_engine *e) {
  if (!e || --e->refs) return;
  oai_timers_end(&e->timers);
  oai_clock_leave(&e->clock);
  while (e->nspare) curl_easy_cleanup(e->spare[--e->nspare]);
  if (e->multi) curl_multi_cleanup(e->multi);
  oai_pollset_free(e->set);
  free(e->watches);
  free(e);
}

/* ---- timers ------------------------------------------------------------- */

bool oai_engine_timer(oai_engine *e, oai_timer *t, double at) {
  if (!oai_timers_set(&e->timers, t, at)) return false;
  if (!e->stepping) oai_pollset_alarm(e->set, next_due(e));
  return true;
}

void oai_engine_timer_clear(oai_engine *e, oai_timer *t) {
  oai_timers_clear(&e->timers, t);
}

/* ---- transfers ---------------------------------------------------------- */

CURL *oai_engine_easy(oai_engine *e) {
  return e->nspare ? e->spare[--e->nspare] : curl_easy_init();
}

void oai_engine_easy_done(oai_engine *e, CURL *easy) {
  if (e->nspare == SPARE_MAX) {
    curl_easy_cleanup(easy);
    return;
  }
  curl_easy_reset(easy);
  e->spare[e->nspare++] = easy;
}

/* libcurl keeps four connections for each transfer that runs: the end of a
 * burst would close what the next one needs. It keeps as many as ever ran at
 * once. */
static void note_burst(oai_engine *e) {
  if (e->transfers <= e->most || e->most == KEPT_MAX) return;
  e->most = e->transfers;
  if (e->most > KEPT_MIN)
    curl_multi_setopt(e->multi, CURLMOPT_MAXCONNECTS, (long)e->most);
}

void oai_engine_add(oai_engine *e, oai_transfer *t) {
  curl_easy_setopt(t->easy, CURLOPT_PRIVATE, t);
  t->added = t->starting = true;
  t->next = NULL;
  *e->last_starting = t;
  e->last_starting = &t->next;
  e->transfers++;
  note_burst(e);
  if (!e->stepping) oai_pollset_alarm(e->set, next_due(e));
}

static void withdraw(oai_engine *e, oai_transfer *t) {
  oai_transfer **at = &e->starting;
  while (*at != t) at = &(*at)->next;
  *at = t->next;
  if (!*at) e->last_starting = at;
  t->starting = false;
}

void oai_engine_remove(oai_engine *e, oai_transfer *t) {
  if (!t->added) return;
  t->added = false;
  e->transfers--;
  if (t->starting)
    withdraw(e, t);
  else
    curl_multi_remove_handle(e->multi, t->easy);
}

static void serve_curl_timer(oai_engine *e);

/* One at least, so that the smallest budget gets on. */
static void start_some(oai_engine *e) {
  for (bool one = false; e->starting && !(one && oai_engine_step_spent(e));
       one = true) {
    oai_transfer *t = e->starting;
    withdraw(e, t);
    if (curl_multi_add_handle(e->multi, t->easy) == CURLM_OK) {
      serve_curl_timer(e);
      continue;
    }
    t->added = false;
    e->transfers--;
    t->done(t, CURLE_OUT_OF_MEMORY);
  }
}

static void reap(oai_engine *e) {
  int left;
  for (CURLMsg *m; (m = curl_multi_info_read(e->multi, &left));) {
    oai_transfer *t = NULL;
    CURLcode result = m->data.result;
    if (m->msg != CURLMSG_DONE) continue;
    curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, &t);
    oai_engine_remove(e, t);
    t->done(t, result);
  }
}

bool oai_engine_watch(oai_engine *e, int fd, bool on) {
  return oai_pollset_set(e->set, fd, on ? OAI_IN : 0);
}

/* ---- descriptors of our own --------------------------------------------- */

/* What wait found for a descriptor says nothing of its next owner. */
static void forget_ready(oai_engine *e, int fd) {
  for (int i = 0; i < e->nready; i++)
    if (e->ready[i].fd == fd) e->ready[i].fd = -1;
}

bool oai_engine_watch_add(oai_engine *e, oai_watch *w, int fd, int want) {
  if ((size_t)fd >= e->nwatches) {
    size_t n = (size_t)fd + 16;
    void *p = realloc(e->watches, n * sizeof *e->watches);
    if (!p) return false;
    e->watches = p;
    memset(e->watches + e->nwatches, 0, (n - e->nwatches) * sizeof(void *));
    e->nwatches = n;
  }
  forget_ready(e, fd);
  if (!oai_pollset_set(e->set, fd, want)) return false;
  e->watches[fd] = w;
  w->fd = fd;
  w->want = want;
  w->added = true;
  return true;
}

bool oai_engine_watch_change(oai_engine *e, oai_watch *w, int want) {
  if (!w->added || w->want == want) return w->added;
  w->want = want;
  return oai_pollset_set(e->set, w->fd, want);
}

void oai_engine_watch_remove(oai_engine *e, oai_watch *w) {
  if (!w->added) return;
  w->added = false;
  e->watches[w->fd] = NULL;
  forget_ready(e, w->fd);
  oai_pollset_set(e->set, w->fd, 0);
}

/* ---- step and wait ------------------------------------------------------ */

/* Out of memory, curl stops in the middle and names no time: ask it again. */
static void act(oai_engine *e, curl_socket_t fd, int what) {
  int running;
  CURLMcode code = curl_multi_socket_action(e->multi, fd, what, &running);
  if (code != CURLM_OK && e->curl_due < 0) e->curl_due = oai_now() + 0.01;
}

static void serve_curl_timer(oai_engine *e) {
  if (e->curl_due < 0 || oai_now() < e->curl_due) return;
  e->curl_due = -1; /* first: the call may set it again */
  act(e, CURL_SOCKET_TIMEOUT, 0);
}

static void serve_socket(oai_engine *e, oai_ready r) {
  oai_watch *w =
      r.fd >= 0 && (size_t)r.fd < e->nwatches ? e->watches[r.fd] : NULL;
  if (w)
    w->ready(w, r.what);
  else if (r.fd >= 0)
    act(e, r.fd,
        (r.what & OAI_IN ? CURL_CSELECT_IN : 0) |
            (r.what & OAI_OUT ? CURL_CSELECT_OUT : 0));
}

bool oai_engine_step_spent(const oai_engine *e) {
  return e->stepping && e->step_stop >= 0 && oai_now() >= e->step_stop;
}

bool oai_engine_begins(const oai_engine *e) {
  return e->starting != NULL;
}

unsigned oai_engine_steps(const oai_engine *e) {
  return e->steps;
}

void oai_engine_step(oai_engine *e, double budget) {
  int i;
  if (e->stepping) return; /* a callback of a host that steps us from inside */
  e->stepping = true;
  e->steps++;
  e->step_stop = budget < 0 ? -1 : oai_now() + budget;
  serve_curl_timer(e);
  start_some(e);
  if (!e->nready) e->nready = oai_pollset_wait(e->set, 0, e->ready, READY_MAX);
  for (i = 0; i < e->nready; i++) {
    serve_socket(e, e->ready[i]);
    if (oai_engine_step_spent(e)) {
      i++;
      break;
    }
  }
  e->nready -= i;
  memmove(e->ready, e->ready + i, (size_t)e->nready * sizeof *e->ready);
  serve_curl_timer(e);
  reap(e);
  oai_timers_fire(&e->timers, oai_engine_now(e)); /* read first, judge after */
  oai_pollset_alarm(e->set, next_due(e));
  e->stepping = false;
}

static double timeout(const oai_engine *e, bool any) {
  if (e->nready || (any && e->first)) return 0;
  double due = next_due(e);
  if (due < 0) return -1;
  due -= oai_now();
  return due > 0 ? due : 0;
}

double oai_engine_timeout(oai_engine *e) {
  return timeout(e, true);
}

/* Time stands still: sleeps until a descriptor is ready, or else skips to what
 * is due. What curl times goes by the system's clock all the same. */
static void wait_frozen(oai_engine *e, double seconds, double most) {
  oai_clock *clock = e->clock.clock;
  double idle = oai_clock_idle(clock), now = oai_clock_now(clock);
  bool soon = most >= 0 && most <= idle;
  e->nready = oai_pollset_wait(e->set, soon ? most : idle, e->ready, READY_MAX);
  if (e->nready || soon) return;
  if (oai_clock_skip(clock, seconds < 0 ? -1 : now + seconds)) return;
  if (most < 0 || most > LOOK_AGAIN) most = LOOK_AGAIN;
  e->nready = oai_pollset_wait(e->set, most, e->ready, READY_MAX);
}

void oai_engine_wait(oai_engine *e, double seconds, bool any) {
  double most = timeout(e, any);
  if (most == 0) return;
  if (oai_clock_frozen(e->clock.clock)) {
    wait_frozen(e, seconds, most);
    return;
  }
  if (seconds >= 0 && (most < 0 || seconds < most)) most = seconds;
  e->nready = oai_pollset_wait(e->set, most, e->ready, READY_MAX);
}

int oai_engine_fd(oai_engine *e) {
  int fd = oai_pollset_fd(e->set);
  oai_pollset_alarm(e->set, next_due(e));
  return fd;
}

size_t oai_engine_transfers(const oai_engine *e) {
  return e->transfers;
}

void oai_engine_drain(oai_engine *e, int by) {
  e->draining += by;
}

bool oai_engine_draining(const oai_engine *e) {
  return e->draining > 0;
}

void oai_engine_host_limit(oai_engine *e, long n) {
  curl_multi_setopt(e->multi, CURLMOPT_MAX_HOST_CONNECTIONS, n);
}
