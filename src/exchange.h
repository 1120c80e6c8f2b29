/* exchange: ONE attempt: a request out, deadlines, an answer in. It ends in a
 * proved success or in a failure, once; it never retries. Level 4: knows the
 * engine, sse, delta and the wire it was given; knows no Lua.
 *
 * Curl's callbacks only append and note; the answer is read when it is pulled,
 * so that a cancel stops all work and a slow reader stops the sender. */
#ifndef OAI_EXCHANGE_H
#define OAI_EXCHANGE_H

#include "endpoint.h"
#include "engine.h"
#include "form.h"
#include "wire.h"

typedef struct oai_exchange oai_exchange;

typedef struct oai_request {
  const oai_slice *parts; /* the body; its bytes outlive the exchange unless
                             they are copied */
  size_t nparts;
  const char *path;           /* appended to the endpoint's base */
  const char *method;         /* NULL: POST */
  struct curl_slist *headers; /* besides the endpoint's; taken over */
  bool stream;                /* events are wanted */
  oai_timeouts timeouts;
  double deadline; /* seconds for the call this attempt is part of; < 0: none */
  oai_form *form;  /* the body instead of parts; taken over */
  bool pull;      /* a raw wire: the body is handed out as it comes, not kept */
  bool resumable; /* the answer may be gone on with: what is half there when it
                     fails stays half there */
} oai_request;

typedef enum oai_pull {
  OAI_PULL_WAIT,  /* nothing now */
  OAI_PULL_OP,    /* *op is filled */
  OAI_PULL_CHUNK, /* *event is filled, when chunks were asked for */
  OAI_PULL_DATA,  /* *event's data is a piece of the body; till the next pull */
  OAI_PULL_END,   /* succeeded or failed: see oai_exchange_failure */
  OAI_PULL_NOMEM
} oai_pull;

/* Seconds since the attempt's start; -1: not reached. */
typedef struct oai_timing {
  double connect, first_byte, first_content, total;
} oai_timing;

/* Bytes so far, and of all; -1: not known. */
typedef struct oai_progress {
  curl_off_t sent, to_send, received, to_receive;
} oai_progress;

/* The body is small and in several pieces: they are joined at the start. */
bool oai_request_copied(const oai_request *r);
/* NULL: no memory. Always takes request->headers and form over. */
oai_exchange *oai_exchange_start(oai_engine *engine, oai_endpoint *endpoint,
                                 const oai_wire *wire, oai_request *request);
/* Goes on with the answer of one that failed, which was resumable: what it
 * assembled is taken over. Called once, before anything was pulled. */
void oai_exchange_go_on_with(oai_exchange *x, oai_exchange *failed);
/* Frees everything at once, the socket too. */
void oai_exchange_free(oai_exchange *x);
/* Ends it as canceled unless it has ended; the socket is closed at once. */
void oai_exchange_cancel(oai_exchange *x);

/* From now on the raw data of each event is handed out instead of ops; on a raw
 * wire nothing else is. */
void oai_exchange_want_chunks(oai_exchange *x);
/* From now on an answer that is text alone may be told as oai_exchange_plain
 * tells it; what else it has is read when somebody asks: read_all. */
void oai_exchange_want_plain(oai_exchange *x);
oai_pull oai_exchange_next(oai_exchange *x, oai_op *op, oai_sse_event *event);
/* Something can be pulled. */
bool oai_exchange_ready(const oai_exchange *x);
oai_waitable *oai_exchange_waitable(oai_exchange *x);
bool oai_exchange_streams(const oai_exchange *x);
/* Complete; the body's end is awaited, to keep the connection. */
bool oai_exchange_draining(const oai_exchange *x);
/* Content (text, reasoning, refusal, tool arguments) has arrived. */
bool oai_exchange_has_content(const oai_exchange *x);

/* NULL: no failure (so far). */
const oai_failure *oai_exchange_failure(const oai_exchange *x);
const oai_wire *oai_exchange_wire(const oai_exchange *x);
const oai_delta *oai_exchange_delta(const oai_exchange *x);
int oai_exchange_status(const oai_exchange *x);
/* A whole answer that is text alone, behind want_plain: its text is in the
 * delta, all of it in the body. False: it is more, or its headers repeat the
 * key. Slices last as long as the exchange. */
bool oai_exchange_plain(const oai_exchange *x, oai_slice *body);
/* Puts into the delta all that a plain answer has. */
void oai_exchange_read_all(oai_exchange *x);
bool oai_exchange_nomem(const oai_exchange *x);
/* What came of the body, on a raw wire, unless events; false on any other. */
bool oai_exchange_body(const oai_exchange *x, oai_slice *body);
/* The lines of the final answer's header. */
oai_slice oai_exchange_head(const oai_exchange *x);
/* The last value of a header of the final answer; p is NULL without one. */
oai_slice oai_exchange_header(const oai_exchange *x, const char *name);
/* The headers of the final answer one by one, from *at = 0 on; false: no more.
 */
bool oai_exchange_next_header(const oai_exchange *x, size_t *at,
                              oai_slice *name, oai_slice *value);
/* The server repeats our key in these bytes. */
bool oai_exchange_shows_key(const oai_exchange *x, oai_slice bytes);
/* The endpoint has another key by now than this was sent with. */
bool oai_exchange_rekeyed(const oai_exchange *x);
oai_progress oai_exchange_progress(const oai_exchange *x);
oai_timing oai_exchange_timing(const oai_exchange *x);

#endif
