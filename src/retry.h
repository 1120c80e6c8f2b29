/* retry: whether a failed attempt is worth another one, and when. A pure
 * function: the clock and the dice are passed in. Level 1: knows failure. */
#ifndef OAI_RETRY_H
#define OAI_RETRY_H

#include "buf.h"
#include "failure.h"

typedef struct oai_retry_facts {
  const oai_failure *failure;
  /* headers of the answer; p is NULL without one */
  oai_slice retry_after_ms, retry_after, should_retry;
  int attempts;    /* made so far, this one included */
  bool content;    /* some of the answer reached the caller */
  bool idempotent; /* the server knows the attempts for one (Idempotency-Key) */
  double now;      /* Unix seconds */
  double dice;     /* 0 to 1 */
} oai_retry_facts;

typedef struct oai_retry {
  bool again;
  double wait;  /* seconds, when again */
  double asked; /* seconds that the server asked for; < 0: none */
} oai_retry;

/* More than this a server may not make us wait. */
#define OAI_RETRY_ASKED_MAX 60.0

/* The policy of the official SDKs, and what they lack: connection failures,
 * 408, 409, 425, 429 and >= 500 again, x-should-retry first; never after
 * content, nor for what another attempt cannot change; a timeout after the
 * request was sent only where the server knows the attempts for one. */
oai_retry oai_retry_judge(const oai_retry_facts *facts);

/* Seconds of a Retry-After value: a number, or an HTTP date (RFC 9110 10.2.3,
 * 5.6.7) less now; < 0: neither, or a date that is past. */
double oai_retry_after(oai_slice value, double now);

#endif
