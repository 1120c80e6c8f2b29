/* sse: a text/event-stream parser, WHATWG HTML 9.2.6 exactly, at any split.
 * Level 1: knows buf and utf8; does no I/O.
 *
 * feed() takes bytes and drops what carries nothing (comments, unknown fields)
 * at once, so that memory follows the data alone; next() hands out the events
 * that are complete. */
#ifndef OAI_SSE_H
#define OAI_SSE_H

#include "buf.h"

#include <stdint.h>

typedef struct oai_sse_event {
  oai_slice data; /* valid until the next feed */
  oai_slice name; /* empty: "message" */
  oai_slice id;   /* the last event id; empty when none was ever set */
  int64_t retry;  /* ms, -1 when no retry field came since the last event */
} oai_sse_event;

typedef struct oai_sse {
  oai_buf queue;    /* records: header, data, name, id; the last may be open */
  size_t head;      /* first record not handed out */
  size_t ready;     /* end of the complete records */
  oai_buf name, id; /* fields of the event being read */
  oai_buf error;    /* last line of the form "error: …" (llama.cpp) */
  char field[8];    /* field name so far */
  unsigned field_n; /* its length */
  uint64_t number;  /* of a retry field; or bytes of an unknown one */
  int64_t retry;
  size_t max; /* bytes one event may have */
  unsigned char state, bom;
  size_t id_old; /* bytes of the id before the one being read */
  bool has_data, swallow_lf, id_has_nul, value_start;
} oai_sse;

void oai_sse_init(oai_sse *s, size_t max_event_bytes);
void oai_sse_free(oai_sse *s);
/* OAI_BUF_FULL once an event passes the cap; the parser is spent then. */
oai_buf_status oai_sse_feed(oai_sse *s, const char *p, size_t n);
bool oai_sse_next(oai_sse *s, oai_sse_event *out);
/* The event that the end of the body cut before its blank line, which the
 * standard discards; call once, after next() returned false. */
bool oai_sse_finish(oai_sse *s, oai_sse_event *out);
/* Bytes of complete events that wait. */
size_t oai_sse_waiting(const oai_sse *s);

#endif
