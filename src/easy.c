/* easy: see easy.h. */
#include "easy.h"

#include "platform.h"

#include <math.h>

static int on_socket_made(void *arg, curl_socket_t fd, curlsocktype what) {
  (void)arg;
  (void)what;
  oai_platform_close_on_exec((int)fd);
  return CURL_SOCKOPT_OK;
}

static void set_trust(CURL *h, const char *ca_file,
                      const curl_version_info_data *v) {
  if (ca_file) curl_easy_setopt(h, CURLOPT_CAINFO, ca_file);
#if LIBCURL_VERSION_NUM >= 0x074600 /* 7.70: the struct has cainfo */
  /* hashing a CApath holds every new connection up for 20 ms */
  if (ca_file || (v->age >= CURLVERSION_SEVENTH && v->cainfo))
    curl_easy_setopt(h, CURLOPT_CAPATH, NULL);
#else
  (void)v;
#endif
}

void oai_easy_connect_limit(CURL *h, double ours) {
  /* its default of 300 s must not come first */
  curl_easy_setopt(h, CURLOPT_CONNECTTIMEOUT_MS,
                   (long)(fmin(ours + 60, 1e6) * 1e3));
}

void oai_easy_basics(CURL *h, const char *ca_file) {
  const curl_version_info_data *v = curl_version_info(CURLVERSION_NOW);
  curl_easy_setopt(h, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(h, CURLOPT_SOCKOPTFUNCTION, on_socket_made);
  curl_easy_setopt(h, CURLOPT_TCP_KEEPALIVE, 1L);
  curl_easy_setopt(h, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
  /* also for http://: a proxy gets no request, so it gets no key */
  curl_easy_setopt(h, CURLOPT_HTTPPROXYTUNNEL, 1L);
#if LIBCURL_VERSION_NUM >= 0x075500
  if (v->version_num >= 0x075500)
    curl_easy_setopt(h, CURLOPT_PROTOCOLS_STR, "http,https");
#else
  curl_easy_setopt(h, CURLOPT_PROTOCOLS,
                   (long)(CURLPROTO_HTTP | CURLPROTO_HTTPS));
#endif
#if LIBCURL_VERSION_NUM >= 0x075700
  /* a cancel in name resolution must not wait for the resolver's thread */
  if (v->version_num >= 0x075700) curl_easy_setopt(h, CURLOPT_QUICK_EXIT, 1L);
#endif
  set_trust(h, ca_file, v);
}

const char *oai_easy_code(CURLcode result) {
  switch (result) {
  case CURLE_COULDNT_RESOLVE_HOST: return "dns";
  case CURLE_COULDNT_RESOLVE_PROXY:
  case CURLE_PROXY: return "proxy";
  case CURLE_SSL_CONNECT_ERROR:
  case CURLE_SSL_CERTPROBLEM:
  case CURLE_SSL_CIPHER:
  case CURLE_PEER_FAILED_VERIFICATION:
  case CURLE_SSL_ENGINE_NOTFOUND:
  case CURLE_SSL_CACERT_BADFILE:
  case CURLE_SSL_ISSUER_ERROR:
  case CURLE_SSL_INVALIDCERTSTATUS: return "tls";
  case CURLE_PARTIAL_FILE: /* without a header: HTTP/2 */
  case CURLE_GOT_NOTHING: return "connection_closed";
  case CURLE_COULDNT_CONNECT: return "connect";
  default: return "connection_reset";
  }
}
