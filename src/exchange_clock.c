/* exchange_clock: the deadlines of an exchange, one timer for all of them. The
 * idle clocks are fair: read first, judge after; time in which the transfer was
 * paused or nobody stepped does not count. See exchange.h. */
#include "exchange_internal.h"

#include <math.h>
#include <stddef.h>

/* Silence after every finish reason that counts as the end (DESIGN rule 5). */
static const double QUIET = 2;
/* A timer this late was held up by the host, not by the peer. */
static const double LATE = 0.05;

typedef struct due {
  double at;
  oai_phase phase; /* OAI_PHASE_NONE: quiet after the finish, an end */
} due;

static void consider(due *d, oai_phase phase, double at) {
  if (at < d->at) *d = (due){at, phase};
}

/* The earliest deadline of all that still apply: they all count from the start,
 * so a phase that began unnoticed is among them already. */
static due deadline(oai_exchange *x) {
  const oai_timeouts *t = &x->timeouts;
  due d = {HUGE_VAL, OAI_PHASE_NONE};
  if (!oai_exchange_connected(x))
    consider(&d, OAI_PHASE_CONNECT, x->start + t->connect);
  if (x->total_at >= 0) consider(&d, OAI_PHASE_TOTAL, x->total_at);
  if (!x->stream) {
    /* a transfer that moves may take as long as its size wants */
    double since = x->form || x->pull ? x->moved_at : x->start;
    consider(&d, OAI_PHASE_ATTEMPT, since + t->attempt);
    return d;
  }
  if (x->finished_at >= 0) {
    /* on the json wire an event that says so may not be the last one */
    bool sure = x->wire->answer != OAI_ANSWER_JSON;
    double quiet = sure && QUIET < t->content_idle ? QUIET : t->content_idle;
    /* silence: any byte starts it over, but not for longer than content_idle */
    double silent = fmax(x->finished_at, x->byte_at) + quiet;
    double last = fmax(x->finished_at, x->content_at) + t->content_idle;
    consider(&d, OAI_PHASE_NONE, fmin(silent, last));
    return d;
  }
  double start = x->start + x->grace;
  if (!x->headers_done)
    consider(&d, OAI_PHASE_FIRST_BYTE, start + t->first_byte);
  if (x->first_content_at < 0)
    consider(&d, OAI_PHASE_FIRST_CONTENT, start + t->first_content);
  else
    consider(&d, OAI_PHASE_CONTENT_IDLE, x->content_at + t->content_idle);
  return d;
}

void oai_exchange_arm(oai_exchange *x) {
  /* never now: a deadline too short for the clock would come round for ever */
  double at = fmax(deadline(x).at, oai_engine_now(x->engine) + 0.001);
  if (oai_engine_timer(x->engine, &x->timer, at)) return;
  x->nomem = true;
  oai_exchange_set_ready(x, true);
}

/* Time that passed while nobody stepped, or while the reader was behind, is
 * not the peer's: the idle clocks start over or are put back by it. */
static bool excused(oai_exchange *x, oai_phase phase, double late, double now) {
  if (phase == OAI_PHASE_ATTEMPT && x->paused) {
    x->moved_at = now;
    return x->pull;
  }
  if (phase == OAI_PHASE_TOTAL || phase == OAI_PHASE_ATTEMPT ||
      phase == OAI_PHASE_CONNECT)
    return false;
  if (x->paused || oai_sse_waiting(&x->sse)) {
    x->content_at = now;
    x->grace = now - x->start;
    if (x->finished_at >= 0) x->finished_at = now;
    return true;
  }
  if (late < LATE) return false;
  x->grace += late;
  x->content_at += late;
  if (x->finished_at >= 0) x->finished_at += late;
  return true;
}

static void fail_timeout(oai_exchange *x, oai_phase phase) {
  oai_failure *f = oai_exchange_failing(x);
  if (f) {
    oai_failure_set(f, OAI_TIMEOUT, "timeout");
    f->phase = phase;
    f->status = x->headers_done ? x->status : 0;
  }
  oai_exchange_end(x);
}

void oai_exchange_on_timer(oai_timer *timer, double now) {
  oai_exchange *x =
      (oai_exchange *)((char *)timer - offsetof(oai_exchange, timer));
  double late = now - timer->at;
  if (x->draining) {
    oai_exchange_close_socket(x);
    return;
  }
  if (x->ended || x->transfer_over) return;
  due d = deadline(x);
  if (d.at > now || excused(x, d.phase, late, now)) {
    oai_exchange_arm(x);
  } else if (d.phase == OAI_PHASE_NONE) {
    /* an end like any other, but the socket is still open */
    oai_exchange_succeed(x);
    oai_exchange_close_socket(x);
  } else {
    fail_timeout(x, d.phase);
  }
}
