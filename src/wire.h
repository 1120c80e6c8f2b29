/* wire: what a wire format's reader gives the exchange. A wire is a pair:
 * src/wire_<name>.c reads, lua/oaichat/wire/<name>.lua renders. Level 2: knows
 * delta, failure and sse. */
#ifndef OAI_WIRE_H
#define OAI_WIRE_H

#include "delta.h"
#include "failure.h"
#include "pattern.h"
#include "sse.h"

typedef enum oai_read {
  OAI_READ_MORE,
  OAI_READ_DONE,   /* the format's own end mark */
  OAI_READ_FAILED, /* *failure says why */
  OAI_READ_NOMEM
} oai_read;

typedef enum oai_answer {
  OAI_ANSWER_REPLY, /* assembled in the delta */
  OAI_ANSWER_BYTES, /* the bytes themselves: their clean end is the proof */
  OAI_ANSWER_JSON   /* the bytes too, proved as JSON or by an end mark */
} oai_answer;

typedef struct oai_reader {
  oai_delta *delta;
  oai_failure *failure;
  oai_slice key;        /* to mask where a peer repeats it */
  int status;           /* HTTP status of the answer */
  int max_depth;        /* of JSON */
  oai_pattern *pattern; /* of this stream's chunks; NULL: none is kept */
} oai_reader;

typedef struct oai_wire {
  const char *name;
  /* One event of a stream. */
  oai_read (*event)(oai_reader *r, const oai_sse_event *event);
  /* A whole answer with a status below 300. */
  oai_read (*body)(oai_reader *r, oai_slice body);
  oai_answer answer;
  /* A whole answer that is nothing but the text of one choice; MORE: it is not,
   * and nothing was taken. What else it has is left in the body; it needs no
   * failure. NULL: this wire tells none. */
  oai_read (*plain)(oai_reader *r, oai_slice body);
} oai_wire;

#endif
