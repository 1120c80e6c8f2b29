/* exchange_clock: the deadlines of an exchange, one timer for all of them. The
 * idle clocks are fair: read first, judge after; time in which the transfer was
 * paused or nobody stepped does not count. See exchange.h. */
#include "exchange_internal.h"

#include "pollset.h"

#include <stddef.h>

/* Silence after every finish reason that counts as the end (DESIGN rule 5). */
static const double QUIET = 2;
/* A timer this late was held up by the host, not by the peer. */
static const double LATE = 0.05;

/* The earliest deadline that still applies, and what missing it means. */
static double deadline(oai_exchange *x, oai_phase *phase) {
  const oai_timeouts *t = &x->timeouts;
  double at;
  if (!oai_exchange_connected(x)) {
    *phase = OAI_PHASE_CONNECT;
    at = x->start + t->connect;
  } else if (!x->stream) {
    *phase = OAI_PHASE_ATTEMPT;
    at = x->start + t->attempt;
  } else if (!x->headers_done) {
    *phase = OAI_PHASE_FIRST_BYTE;
    at = x->start + x->grace + t->first_byte;
  } else if (x->finished_at >= 0) {
    *phase = OAI_PHASE_NONE; /* quiet after the finish: the end */
    at = x->finished_at + (t->content_idle < QUIET ? t->content_idle : QUIET);
  } else if (x->first_content_at < 0) {
    *phase = OAI_PHASE_FIRST_CONTENT;
    at = x->start + x->grace + t->first_content;
  } else {
    *phase = OAI_PHASE_CONTENT_IDLE;
    at = x->content_at + t->content_idle;
  }
  if (!x->stream && *phase == OAI_PHASE_CONNECT && t->attempt < t->connect) {
    *phase = OAI_PHASE_ATTEMPT;
    at = x->start + t->attempt;
  }
  if (x->total_at >= 0 && x->total_at < at) {
    *phase = OAI_PHASE_TOTAL;
    at = x->total_at;
  }
  return at;
}

void oai_exchange_arm(oai_exchange *x, double now) {
  oai_phase phase;
  double at = deadline(x, &phase);
  if (at < now) at = now;
  if (!oai_engine_timer(x->engine, &x->timer, at)) {
    x->nomem = true;
    oai_exchange_set_ready(x, true);
  }
}

/* Time that passed while nobody stepped, or while the reader was behind, is
 * not the peer's: the idle clocks start over or are put back by it. */
static bool excused(oai_exchange *x, oai_phase phase, double late, double now) {
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
  oai_phase phase;
  double late = now - timer->at;
  if (x->draining) {
    oai_exchange_close_socket(x);
    return;
  }
  if (x->ended || x->transfer_over) return;
  if (deadline(x, &phase) > now || excused(x, phase, late, now)) {
    oai_exchange_arm(x, now);
  } else if (phase == OAI_PHASE_NONE) {
    /* an end like any other, but the socket is still open */
    oai_exchange_succeed(x);
    oai_exchange_close_socket(x);
  } else {
    fail_timeout(x, phase);
  }
}
