/* exchange_internal: the exchange's struct, shared by the exchange*.c files
 * alone: reading, judging, deadlines, curl. */
#ifndef OAI_EXCHANGE_INTERNAL_H
#define OAI_EXCHANGE_INTERNAL_H

#include "exchange.h"

#include <stdint.h>

typedef enum oai_body_mode {
  OAI_BODY_UNKNOWN, /* nothing, or nothing but white space, came so far */
  OAI_BODY_STREAM,
  OAI_BODY_WHOLE
} oai_body_mode;

/* Once this much waits unread the transfer is paused. */
enum { OAI_PAUSE_AT = 256 * 1024 };
/* Pieces that waited are handed out as one up to this size. */
enum { OAI_MERGE_MAX = 4096 };
/* What is kept of a body that shows no event, and of an error's body. */
enum { OAI_HEAD_MAX = 64 * 1024, OAI_ERROR_MAX = 256 * 1024 };
/* A plain answer up to this size is told by its text and its body. */
enum { OAI_PLAIN_MAX = 64 * 1024 };

struct oai_exchange {
  oai_transfer transfer; /* first: curl's private pointer leads here */
  oai_timer timer;
  oai_waitable waitable;
  oai_engine *engine;
  oai_endpoint *endpoint;
  const oai_wire *wire;
  oai_timeouts timeouts;
  bool stream, chunks, bodyless, resumable, pull;
  bool usual; /* the handle has nothing that the next request must not have */

  /* the request */
  unsigned key_version; /* whose key is in the headers */
  oai_buf key;          /* a copy, where the endpoint's may change meanwhile */
  char *url;
  CURLU *parsed; /* the first one, as long as the handle needs it */
  struct curl_slist *headers;
  oai_slice *parts;
  char *joined; /* a small body in one piece */
  oai_form *form;
  size_t nparts, part, offset;
  curl_off_t body_size;
  char errors[CURL_ERROR_SIZE];

  /* facts that curl's callbacks note */
  int status;
  oai_buf head; /* header lines of the last answer */
  size_t header_bytes, header_lines, received;
  bool headers_done, enough, over, nul_header, headers_over, nomem, paused;
  oai_body_mode mode;
  oai_sse sse;
  oai_buf body; /* a whole body, or the start of a stream before any event */
  size_t given; /* of a pulled body: the first bytes of it, handed out */
  bool transfer_over;
  unsigned fed_step; /* in which the events that wait came */
  bool behind;       /* some of them waited through a step */
  CURLcode result;
  int hops; /* redirects followed */
  bool reconnected;

  /* what became of it */
  oai_delta delta;
  oai_pattern pattern;
  oai_failure *failure;
  bool ended, proved, draining, had_event, delta_ended, had_leftover;
  bool want_plain;
  bool plain; /* the delta has the answer's text; the rest is in the body */
  double start, total_at; /* total_at < 0: no deadline */
  double headers_at, first_content_at, content_at, finished_at, ended_at;
  double byte_at;      /* last byte after the finish */
  double moved_at;     /* of a form or a pulled body: last byte either way */
  double connected_at; /* < 0 until known */
  double grace;        /* time in which nobody stepped */
};

/* The key that was sent: what must be in no text. */
oai_slice oai_exchange_key(const oai_exchange *x);

/* exchange_setup.c: makes the easy handle ready; false: no memory. */
bool oai_exchange_setup(oai_exchange *x, oai_request *request);
/* The handle is not needed any more. */
void oai_exchange_put_away(oai_exchange *x);

/* exchange_curl.c: libcurl's callbacks. */
size_t oai_exchange_on_header(char *p, size_t size, size_t n, void *arg);
size_t oai_exchange_on_body(char *p, size_t size, size_t n, void *arg);
void oai_exchange_unpause(oai_exchange *x);
/* Name resolution, connect and TLS are behind us. */
bool oai_exchange_connected(oai_exchange *x);
/* What a transport error means before the final header; fills the failure. */
void oai_exchange_transport_failure(oai_exchange *x, oai_failure *f);

/* exchange_again.c: goes on with a second transfer where that is right. */
bool oai_exchange_again(oai_exchange *x);

/* exchange.c */
void oai_exchange_set_ready(oai_exchange *x, bool ready);
/* Reads one event; false when it ended the exchange. */
bool oai_exchange_read(oai_exchange *x, const oai_sse_event *event);

/* exchange_judge.c */
/* Called once the transfer is over and all that came was read. */
void oai_exchange_judge(oai_exchange *x);
/* The end mark came, or what stands for it: the answer is whole. */
void oai_exchange_succeed(oai_exchange *x);
void oai_exchange_fail(oai_exchange *x, oai_kind kind, const char *code);
/* The failure to fill; NULL (and nomem set) when there is no memory for it. */
oai_failure *oai_exchange_failing(oai_exchange *x);
void oai_exchange_end(oai_exchange *x);
void oai_exchange_close_socket(oai_exchange *x);
/* Complete, but the body's end is awaited for the connection's sake. */
void oai_exchange_drain(oai_exchange *x, bool on);
oai_reader oai_exchange_reader(oai_exchange *x);

/* exchange_clock.c */
/* Sets the timer to the next deadline. */
void oai_exchange_arm(oai_exchange *x);
void oai_exchange_on_timer(oai_timer *timer, double now);

#endif
