/* engine_internal: what engine.c and engine_ready.c share. */
#ifndef OAI_ENGINE_INTERNAL_H
#define OAI_ENGINE_INTERNAL_H

#include "engine.h"
#include "pollset.h"

enum { READY_MAX = 64, SPARE_MAX = 8 };

struct oai_engine {
  int refs;
  CURLM *multi;
  oai_pollset *set;
  /* added, not yet curl's: starting many at once would be one long step */
  oai_transfer *starting, **last_starting;
  double curl_due;      /* when curl wants to be called, real time; -1: not */
  oai_clock_user clock; /* of the timers */
  oai_timers timers;
  oai_ready ready[READY_MAX]; /* found by wait, for the next step */
  int nready;
  oai_waitable *first, *last; /* what is ready and not handed out */
  double stop_at, step_stop;
  bool handed_out;
  size_t transfers;
  size_t most; /* transfers at once, ever */
  int draining;
  oai_watch **watches; /* by descriptor */
  size_t nwatches;
  CURL *spare[SPARE_MAX]; /* reset handles: their buffers cost more */
  size_t nspare;
  bool stepping;
  unsigned steps;
};

#endif
