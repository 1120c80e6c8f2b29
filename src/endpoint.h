/* endpoint: where requests go and with what: the checked base URL, the key,
 * headers, TLS files, deadlines and caps. Level 1: knows curl's URL parser;
 * sends nothing. Shared by reference count: exchanges outlive sessions. */
#ifndef OAI_ENDPOINT_H
#define OAI_ENDPOINT_H

#include "buf.h"

#include <curl/curl.h>

/* Seconds from the attempt's start (content_idle: from the last content). */
typedef struct oai_timeouts {
  double connect, first_byte, first_content, content_idle, attempt;
} oai_timeouts;

typedef struct oai_limits {
  size_t event_bytes, response_bytes, header_bytes, tool_calls;
  int depth;
  size_t request_bytes; /* of a body of ours; SIZE_MAX: as long as it is */
} oai_limits;

/* A handle that its last request left ready for the next one. */
typedef struct oai_ready_handle {
  CURL *easy;
  char *url;
  CURLU *parsed;              /* the same */
  struct curl_slist *headers; /* the key is in them */
  void *memory;               /* of the exchange that had it */
} oai_ready_handle;

enum { OAI_KEY_MAX = 64 * 1024 }; /* bytes */

typedef struct oai_endpoint {
  int refs;
  char *base;   /* scheme://host[:port]/path without a slash at the end */
  char *query;  /* "?…" or "" */
  char *origin; /* scheme://host:port, lower case */
  bool https, loopback;
  bool literal;         /* the host is an address */
  oai_buf key;          /* wiped when freed */
  unsigned key_version; /* counts its changes */
  char *key_header;     /* where it goes, bare; NULL: Authorization: Bearer */
  bool allow_http;      /* the key may cross a network unencrypted */
  struct curl_slist *headers;
  char *ca_file, *proxy, *unix_socket, *client_cert, *client_key;
  struct curl_slist *resolve;
  bool http2, redirects;
  oai_timeouts timeouts;
  oai_limits limits;
  oai_ready_handle ready[2]; /* for whole answers, for streams */
} oai_endpoint;

oai_endpoint *oai_endpoint_new(void); /* NULL: no memory */
oai_endpoint *oai_endpoint_ref(oai_endpoint *e);
void oai_endpoint_unref(oai_endpoint *e);

/* Each returns NULL, or what is wrong in words that repeat no secret. */
const char *oai_endpoint_set_url(oai_endpoint *e, const char *url, size_t n);
/* Blanks at both ends are dropped; an empty key is no key. */
const char *oai_endpoint_set_key(oai_endpoint *e, const char *key, size_t n);
/* Why the key must not be sent there; NULL: it may. */
const char *oai_endpoint_key_refused(const oai_endpoint *e);
/* Another key for what is sent from now on: the old one is wiped, also in the
 * handles that are ready. changed: it differs. */
const char *oai_endpoint_change_key(oai_endpoint *e, const char *key, size_t n,
                                    bool *changed);
/* Appends "name: value" to a list; RFC 9110 5.1 and 5.5. */
const char *oai_header_add(struct curl_slist **list, oai_slice name,
                           oai_slice value);
bool oai_header_has(const struct curl_slist *list, const char *name);
void oai_headers_free(struct curl_slist *list); /* wipes them */
/* scheme://host:port of any URL, malloc'ed; NULL when it has none. */
char *oai_url_origin(const char *url);
/* Where a redirect from url leads, malloc'ed; NULL when that is not the same
 * scheme, host and port, or carries a user: the key stays with its origin. */
char *oai_url_follow(const char *url, oai_slice location, const char *origin);

#endif
