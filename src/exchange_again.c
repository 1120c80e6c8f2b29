/* exchange_again: where one attempt takes a second transfer with the same
 * request: a redirect within the origin when the endpoint allows it, or a kept
 * HTTP/2 connection that proved dead. See exchange.h. */
#include "exchange_internal.h"

#include "pollset.h"

#include <stdlib.h>
#include <string.h>

enum { HOPS_MAX = 5 };

/* 301, 302 and 303 turn a POST into a GET (RFC 9110 15.4): another question
 * than the one that was asked. They are errors also when opted in. */
static char *next_hop(const oai_exchange *x) {
  if (!x->endpoint->redirects || !x->headers_done) return NULL;
  if (x->status != 307 && x->status != 308) return NULL;
  if (x->over || x->nul_header || x->headers_over || x->nomem) return NULL;
  if (x->result != CURLE_OK && !x->enough) return NULL;
  if (x->hops >= HOPS_MAX) return NULL;
  return oai_url_follow(x->url, oai_exchange_header(x, "location"),
                        x->endpoint->origin);
}

/* libcurl asks again by itself when a kept HTTP/1.1 connection ends without a
 * byte of answer, but not on HTTP/2. A reset of the stream is an answer. */
static bool was_dead(const oai_exchange *x) {
  long made = 1;
  /* libcurl says "partial file" when the connection ended under the stream */
  if (x->result != CURLE_HTTP2_STREAM && x->result != CURLE_HTTP2 &&
      x->result != CURLE_PARTIAL_FILE)
    return false;
  if (x->header_bytes || x->reconnected || strstr(x->errors, "(err "))
    return false;
  curl_easy_getinfo(x->transfer.easy, CURLINFO_NUM_CONNECTS, &made);
  return made == 0;
}

static void forget_answer(oai_exchange *x) {
  x->part = x->offset = x->given = 0;
  x->head.n = x->body.n = 0;
  x->received = x->header_bytes = x->header_lines = 0;
  x->status = 0;
  x->headers_done = x->enough = false;
  x->headers_at = -1;
  x->mode = OAI_BODY_UNKNOWN;
  x->errors[0] = 0;
}

bool oai_exchange_again(oai_exchange *x) {
  char *url = next_hop(x);
  if (url) {
    free(x->url);
    x->url = url;
    x->hops++;
    x->usual = false;
    curl_easy_setopt(x->transfer.easy, CURLOPT_CURLU, NULL);
    curl_easy_setopt(x->transfer.easy, CURLOPT_URL, x->url);
  } else if (was_dead(x)) {
    x->reconnected = true;
    x->usual = false;
    curl_easy_setopt(x->transfer.easy, CURLOPT_FRESH_CONNECT, 1L);
  } else {
    return false;
  }
  forget_answer(x);
  oai_engine_add(x->engine, &x->transfer);
  oai_exchange_arm(x);
  return true;
}
