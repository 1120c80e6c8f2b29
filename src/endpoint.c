/* endpoint: see endpoint.h. */
#include "endpoint.h"

#include <ctype.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static const char no_memory[] = "not enough memory";

oai_endpoint *oai_endpoint_new(void) {
  oai_endpoint *e = calloc(1, sizeof *e);
  if (!e) return NULL;
  e->refs = 1;
  oai_buf_init(&e->key, OAI_KEY_MAX);
  e->timeouts = (oai_timeouts){10, 120, 300, 120, 600};
  e->limits = (oai_limits){16000000, 64000000, 256000, 128, 128, SIZE_MAX};
  return e;
}

oai_endpoint *oai_endpoint_ref(oai_endpoint *e) {
  e->refs++;
  return e;
}

void oai_headers_free(struct curl_slist *list) {
  for (struct curl_slist *l = list; l; l = l->next)
    oai_wipe(l->data, strlen(l->data));
  curl_slist_free_all(list);
}

static void drop_ready(oai_endpoint *e) {
  for (int i = 0; i < 2; i++) {
    oai_ready_handle *ready = &e->ready[i];
    if (ready->easy) curl_easy_cleanup(ready->easy);
    curl_url_cleanup(ready->parsed);
    oai_headers_free(ready->headers);
    free(ready->url);
    free(ready->memory);
    memset(ready, 0, sizeof *ready);
  }
}

void oai_endpoint_unref(oai_endpoint *e) {
  if (!e || --e->refs) return;
  free(e->base);
  free(e->query);
  free(e->origin);
  oai_buf_wipe(&e->key);
  oai_headers_free(e->headers);
  free(e->key_header);
  free(e->ca_file);
  if (e->proxy) oai_wipe(e->proxy, strlen(e->proxy));
  free(e->proxy);
  free(e->unix_socket);
  free(e->client_cert);
  free(e->client_key);
  curl_slist_free_all(e->resolve);
  drop_ready(e);
  free(e);
}

static bool is_loopback(const char *host) {
  unsigned a, b, c, d;
  char rest;
  if (strcasecmp(host, "localhost") == 0 || strcmp(host, "[::1]") == 0)
    return true;
  return sscanf(host, "%3u.%3u.%3u.%3u%c", &a, &b, &c, &d, &rest) == 4 &&
         a == 127;
}

static bool has_control(const char *p, size_t n) {
  for (size_t i = 0; i < n; i++)
    if ((unsigned char)p[i] < 0x20 || p[i] == 0x7F) return true;
  return false;
}

static char *part(CURLU *u, CURLUPart what, unsigned flags) {
  char *text = NULL;
  return curl_url_get(u, what, &text, flags) == CURLUE_OK ? text : NULL;
}

static char *origin_of(CURLU *u) {
  char *scheme = part(u, CURLUPART_SCHEME, 0);
  char *host = part(u, CURLUPART_HOST, 0);
  char *port = part(u, CURLUPART_PORT, CURLU_DEFAULT_PORT);
  char *origin = NULL;
  if (scheme && host && port) {
    size_t n = strlen(scheme) + strlen(host) + strlen(port) + 5;
    origin = malloc(n);
    if (origin) snprintf(origin, n, "%s://%s:%s", scheme, host, port);
    for (char *p = origin; p && *p; p++) *p = (char)tolower((unsigned char)*p);
  }
  curl_free(scheme);
  curl_free(host);
  curl_free(port);
  return origin;
}

char *oai_url_origin(const char *url) {
  CURLU *u = curl_url();
  char *origin = NULL;
  if (u && curl_url_set(u, CURLUPART_URL, url, 0) == CURLUE_OK)
    origin = origin_of(u);
  curl_url_cleanup(u);
  return origin;
}

static char *same_origin(CURLU *u, const char *origin) {
  char *there = origin_of(u);
  char *user = part(u, CURLUPART_USER, 0);
  char *pass = part(u, CURLUPART_PASSWORD, 0);
  bool same = there && strcmp(there, origin) == 0 && !user && !pass;
  free(there);
  curl_free(user);
  curl_free(pass);
  if (!same) return NULL;
  curl_url_set(u, CURLUPART_FRAGMENT, NULL, 0);
  char *text = part(u, CURLUPART_URL, 0);
  char *copy = text ? oai_copy(text, strlen(text)) : NULL;
  curl_free(text);
  return copy;
}

char *oai_url_follow(const char *url, oai_slice location, const char *origin) {
  char *next = NULL;
  if (!location.n || has_control(location.p, location.n)) return NULL;
  for (size_t i = 0; i < location.n; i++)
    if ((unsigned char)location.p[i] >= 0x80 || strchr(" \\", location.p[i]))
      return NULL; /* readers of URLs differ on these */
  char *to = oai_copy(location.p, location.n);
  CURLU *u = curl_url();
  if (to && u && curl_url_set(u, CURLUPART_URL, url, 0) == CURLUE_OK &&
      curl_url_set(u, CURLUPART_URL, to, 0) == CURLUE_OK)
    next = same_origin(u, origin);
  curl_url_cleanup(u);
  free(to);
  return next;
}

/* Fills base, query, origin and the flags from a URL that parsed. */
static const char *take_parts(oai_endpoint *e, CURLU *u) {
  const char *wrong = NULL;
  char *scheme = part(u, CURLUPART_SCHEME, 0);
  char *host = part(u, CURLUPART_HOST, 0);
  char *query = part(u, CURLUPART_QUERY, 0);
  char *user = part(u, CURLUPART_USER, 0);
  char *pass = part(u, CURLUPART_PASSWORD, 0);
  char *fragment = part(u, CURLUPART_FRAGMENT, 0);
  if (!scheme || !host || !*host)
    wrong = "base_url has no host";
  else if (strcmp(scheme, "http") != 0 && strcmp(scheme, "https") != 0)
    wrong = "base_url must start with http:// or https://";
  else if (user || pass)
    wrong = "base_url must not hold a user or password; use api_key or headers";
  else if (fragment)
    wrong = "base_url must not have a #fragment";
  else if (strchr(host, '%'))
    wrong = "base_url has a % in its host";
  if (!wrong) {
    curl_url_set(u, CURLUPART_QUERY, NULL, 0);
    char *base = part(u, CURLUPART_URL, 0);
    size_t n = base ? strlen(base) : 0;
    while (n && base[n - 1] == '/') n--;
    e->base = base ? oai_copy(base, n) : NULL;
    e->query = malloc((query ? strlen(query) : 0) + 2);
    if (e->query)
      sprintf(e->query, "%s%s", query ? "?" : "", query ? query : "");
    e->origin = origin_of(u);
    e->https = strcmp(scheme, "https") == 0;
    e->loopback = is_loopback(host);
    e->literal = *host == '[' || !host[strspn(host, "0123456789.")];
    curl_free(base);
    if (!e->base || !e->query || !e->origin) wrong = no_memory;
  }
  curl_free(scheme);
  curl_free(host);
  curl_free(query);
  curl_free(user);
  curl_free(pass);
  curl_free(fragment);
  return wrong;
}

const char *oai_endpoint_set_url(oai_endpoint *e, const char *url, size_t n) {
  const char *wrong;
  if (memchr(url, 0, n) || has_control(url, n))
    return "base_url has a control character";
  if (memchr(url, ' ', n)) return "base_url has a space";
  for (size_t i = 0; i < n; i++)
    if ((unsigned char)url[i] >= 0x80)
      return "base_url must be ASCII (punycode for hosts, %XX for paths)";
  if (!strstr(url, "://"))
    return "base_url must start with http:// or https://";
  /* curl forgives "http:///path" and takes the path for the host */
  if (strstr(url, "://")[3] == '/') return "base_url has no host";
  CURLU *u = curl_url();
  if (!u) return no_memory;
  CURLUcode code = curl_url_set(u, CURLUPART_URL, url, 0);
  if (code == CURLUE_OK)
    wrong = take_parts(e, u);
  else if (code == CURLUE_OUT_OF_MEMORY)
    wrong = no_memory;
  else if (code == CURLUE_UNSUPPORTED_SCHEME)
    wrong = "base_url must start with http:// or https://";
  else if (code == CURLUE_BAD_PORT_NUMBER)
    wrong = "base_url has a bad port";
  else
    wrong = "base_url is not a valid URL";
  curl_url_cleanup(u);
  return wrong;
}

const char *oai_endpoint_set_key(oai_endpoint *e, const char *key, size_t n) {
  while (n && (*key == ' ' || *key == '\t')) key++, n--;
  while (n && (key[n - 1] == ' ' || key[n - 1] == '\t')) n--;
  for (size_t i = 0; i < n; i++)
    if ((unsigned char)key[i] <= 0x20 || (unsigned char)key[i] >= 0x7F)
      return "api_key has a blank, a control character or a byte above 126";
  e->key.n = 0;
  switch (oai_buf_append(&e->key, key, n)) {
  case OAI_BUF_OK: return NULL;
  case OAI_BUF_FULL: return "api_key is too long";
  default: return "not enough memory";
  }
}

const char *oai_endpoint_key_refused(const oai_endpoint *e) {
  if (!e->key.n || e->https || e->loopback || e->unix_socket || e->allow_http)
    return NULL;
  return "api_key would cross the network unencrypted: use https://, or "
         "allow_http = true";
}

const char *oai_endpoint_change_key(oai_endpoint *e, const char *key, size_t n,
                                    bool *changed) {
  oai_buf old = e->key;
  oai_buf_init(&e->key, OAI_KEY_MAX);
  const char *wrong = oai_endpoint_set_key(e, key, n);
  if (!wrong && !e->key.n) wrong = "api_key is empty";
  if (!wrong) wrong = oai_endpoint_key_refused(e);
  if (wrong) {
    oai_buf_wipe(&e->key);
    e->key = old;
    return wrong;
  }
  *changed = old.n != e->key.n || (old.n && memcmp(old.p, e->key.p, old.n));
  oai_buf_wipe(&old);
  if (*changed) {
    e->key_version++;
    drop_ready(e);
  }
  return NULL;
}

static bool is_token(oai_slice s) {
  for (size_t i = 0; i < s.n; i++)
    if (!isalnum((unsigned char)s.p[i]) &&
        (!s.p[i] || !strchr("!#$%&'*+-.^_`|~", s.p[i])))
      return false;
  return s.n > 0;
}

const char *oai_header_add(struct curl_slist **list, oai_slice name,
                           oai_slice value) {
  if (!is_token(name)) return "a header name has a byte that is not allowed";
  for (size_t i = 0; i < value.n; i++)
    if (((unsigned char)value.p[i] < 0x20 && value.p[i] != '\t') ||
        value.p[i] == 0x7F)
      return "a header value has a control character";
  char *line = malloc(name.n + value.n + 3);
  if (!line) return no_memory;
  memcpy(line, name.p, name.n);
  /* curl's form for a header without a value */
  memcpy(line + name.n, value.n ? ": " : ";", value.n ? 2 : 1);
  size_t at = name.n + (value.n ? 2 : 1);
  if (value.n) memcpy(line + at, value.p, value.n);
  line[at + value.n] = 0;
  struct curl_slist *longer = curl_slist_append(*list, line);
  oai_wipe(line, at + value.n);
  free(line);
  if (!longer) return no_memory;
  *list = longer;
  return NULL;
}

bool oai_header_has(const struct curl_slist *list, const char *name) {
  size_t n = strlen(name);
  for (; list; list = list->next)
    if (strncasecmp(list->data, name, n) == 0 &&
        (list->data[n] == ':' || list->data[n] == ';'))
      return true;
  return false;
}
