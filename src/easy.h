/* easy: what every easy handle of ours has in common, and the words for what
 * libcurl reports. Level 1: knows curl and platform. */
#ifndef OAI_EASY_H
#define OAI_EASY_H

#include <curl/curl.h>

/* HTTP(S) alone, no signals, sockets closed on exec, keep-alive, a cancel that
 * waits for no resolver; the CA file, or libcurl's own with its directory left
 * out. */
void oai_easy_basics(CURL *easy, const char *ca_file);
/* `ours` is the deadline of who calls, seconds; libcurl's comes after it. */
void oai_easy_connect_limit(CURL *easy, double ours);
/* Of a connection that did not come about: dns, proxy, tls, connect,
 * connection_closed, connection_reset. */
const char *oai_easy_code(CURLcode result);

#endif
