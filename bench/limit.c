/* limit: bare libcurl, curl_multi_socket_action over epoll, that receives and
 * throws away: what any client of libcurl is held against. The settings and the
 * result line are those of bench/client.lua. For TLS: BENCH_CA names the file
 * of the CA, BENCH_HTTP2=1 asks for HTTP/2. */
#include "loop.h"
#include "result.h"
#include "text.h"

#include <curl/curl.h>
#include <limits.h>

#define QUESTION                                                               \
  "{\"model\":\"gpt-4o-mini\",\"messages\":[{\"role\":\"system\",\"content\":" \
  "\"You are a helpful assistant.\"},{\"role\":\"user\",\"content\":"          \
  "\"Write a long text about streams of tokens.\"}]"
#define STREAMED                                                               \
  QUESTION ",\"stream\":true,\"stream_options\":{\"include_usage\":true}}"

struct transfer {
  CURL *easy;
  double start, first; /* first: 0 until enough events came */
  long newlines;
  struct text reply;
};

static long hold;
static bool wrong; /* not the text that was expected */

/* ---- transfers --------------------------------------------------------- */

/* An event has two newlines, the first one is the role. */
static size_t on_stream(char *p, size_t size, size_t n, void *arg) {
  struct transfer *t = arg;
  const char *end = p + size * n;
  while (t->first == 0 && (p = memchr(p, '\n', (size_t)(end - p)))) {
    p++;
    if (++t->newlines < 2 * (hold + 1)) continue;
    t->first = now();
    opened++;
  }
  return size * n;
}

static size_t on_reply(char *p, size_t size, size_t n, void *arg) {
  append(&((struct transfer *)arg)->reply, p, size * n);
  return size * n;
}

static void prepare(struct transfer *t, const char *base, bool stream) {
  static struct curl_slist *headers;
  char url[1024];
  if (!headers) {
    headers = curl_slist_append(headers, "Content-Type: application/json");
    headers = curl_slist_append(headers, "Authorization: Bearer sk-bench");
    headers = curl_slist_append(headers, "Expect:");
  }
  bool http2 = *setting("BENCH_HTTP2", "0") == '1';
  long version = http2 ? CURL_HTTP_VERSION_2TLS : CURL_HTTP_VERSION_1_1;
  snprintf(url, sizeof url, "%s/chat/completions", base);
  t->easy = curl_easy_init();
  curl_easy_setopt(t->easy, CURLOPT_URL, url);
  curl_easy_setopt(t->easy, CURLOPT_HTTPHEADER, headers);
  curl_easy_setopt(t->easy, CURLOPT_HTTP_VERSION, version);
  curl_easy_setopt(t->easy, CURLOPT_PIPEWAIT, (long)http2);
  curl_easy_setopt(t->easy, CURLOPT_NOSIGNAL, 1L);
  if (getenv("BENCH_CA"))
    curl_easy_setopt(t->easy, CURLOPT_CAINFO, getenv("BENCH_CA"));
  curl_easy_setopt(t->easy, CURLOPT_POSTFIELDS,
                   stream ? STREAMED : QUESTION "}");
  curl_easy_setopt(t->easy, CURLOPT_WRITEDATA, t);
  curl_easy_setopt(t->easy, CURLOPT_WRITEFUNCTION,
                   stream ? on_stream : on_reply);
}

static void begin(struct transfer *t) {
  t->start = now();
  t->reply.n = 0;
  add_transfer(t->easy);
}

static void perform(struct transfer *t) {
  begin(t);
  run(LONG_MAX);
}

static void warm_up(bool stream) {
  struct transfer t = {0};
  prepare(&t, setting("BENCH_WARM", setting("BENCH_BASE", "")), stream);
  perform(&t);
  curl_easy_cleanup(t.easy);
  free(t.reply.p);
  opened = 0;
}

/* ---- the modes --------------------------------------------------------- */

static void finish(long streams, long chunks, size_t bytes, struct mark from,
                   double *latency, long n, const char *extra) {
  report(setting("BENCH_NAME", "limit"), !wrong, streams, chunks, bytes, from,
         latency, n, extra);
}

static struct transfer *begin_streams(long n) {
  struct transfer *all = calloc((size_t)n, sizeof *all);
  if (!all) abort();
  for (long i = 0; i < n; i++) {
    prepare(&all[i], setting("BENCH_BASE", ""), true);
    begin(&all[i]);
  }
  return all;
}

static void mode_stream(long n) {
  hold = 1;
  warm_up(true);
  struct mark from = take_mark();
  double *latency = calloc((size_t)n, sizeof *latency);
  struct transfer *all = begin_streams(n);
  run(LONG_MAX);
  for (long i = 0; i < n; i++) latency[i] = all[i].first - all[i].start;
  finish(n, n * atol(setting("BENCH_CHUNKS", "50")), 0, from, latency, n, "");
}

static void mode_idle(long n) {
  char extra[128];
  hold = atol(setting("BENCH_HOLD", "1"));
  warm_up(true);
  long before = resident_kb();
  struct mark from = take_mark();
  struct transfer *all = begin_streams(n);
  run(n);
  long after = resident_kb();
  snprintf(extra, sizeof extra,
           ",\"rss_base_kb\":%ld,\"rss_open_kb\":%ld,\"kb_per_stream\":%.2f",
           before, after, (double)(after - before) / (double)n);
  finish(n, 0, 0, from, NULL, 0, extra);
  free(all);
}

static void mode_oneshot(long n) {
  warm_up(false);
  struct transfer t = {0};
  prepare(&t, setting("BENCH_BASE", ""), false);
  double *latency = calloc((size_t)n, sizeof *latency);
  struct mark from = take_mark();
  for (long i = 0; i < n; i++) {
    perform(&t);
    latency[i] = now() - t.start;
  }
  finish(1, n, 0, from, latency, n, "");
}

static void mode_cold(long n) {
  (void)n;
  struct transfer t = {0};
  prepare(&t, setting("BENCH_BASE", ""), false);
  perform(&t);
}

/* The content of a reply, as it stands in its JSON. */
static const char *find_content(struct text *reply) {
  static const char key[] = "\"content\":\"";
  append(reply, "", 1);
  char *at = strstr(reply->p, key), *end;
  if (!at) abort();
  at += sizeof key - 1;
  for (end = at; *end != '"';) end += *end == '\\' ? 2 : 1;
  *end = '\0';
  return at;
}

static void add_message(struct text *history, const char *role,
                        const char *content) {
  append(history, "{\"role\":\"", 9);
  append(history, role, strlen(role));
  append(history, "\",\"content\":\"", 13);
  append(history, content, strlen(content));
  append(history, "\"},", 3);
}

/* One JSON text that grows: a reply is spliced in as it came. */
static void mode_turns(long n) {
  static const char opening[] = "{\"model\":\"gpt-4o-mini\",\"messages\":[";
  const char *user = setting("BENCH_USER_JSON", "hi");
  long edge = n < 40 ? n / 2 : 20;
  size_t bytes = 0;
  double first = 0, last = 0;
  struct text history = {0};
  struct transfer t = {0};
  char extra[160];
  warm_up(false);
  prepare(&t, setting("BENCH_BASE", ""), false);
  append(&history, opening, sizeof opening - 1);
  struct mark from = take_mark(), before = from;
  for (long i = 0; i < n; i++) {
    add_message(&history, "user", user);
    append(&history, "]}", 2);
    history.n -= 2;
    history.p[history.n - 1] = ' '; /* not a comma, this time */
    curl_easy_setopt(t.easy, CURLOPT_POSTFIELDSIZE_LARGE,
                     (curl_off_t)(history.n + 2));
    curl_easy_setopt(t.easy, CURLOPT_POSTFIELDS, history.p);
    perform(&t);
    history.p[history.n - 1] = ',';
    const char *content = find_content(&t.reply);
    bytes += decoded_length(content);
    add_message(&history, "assistant", content);
    struct mark after = take_mark();
    if (i < edge) first += (after.cpu - before.cpu) / (double)edge;
    if (i >= n - edge) last += (after.cpu - before.cpu) / (double)edge;
    before = after;
  }
  snprintf(extra, sizeof extra,
           ",\"turns\":%ld,\"cpu_us_turn\":%.1f,\"cpu_us_first\":%.1f,"
           "\"cpu_us_last\":%.1f",
           n, (before.cpu - from.cpu) / (double)n * 1e6, first * 1e6,
           last * 1e6);
  wrong = bytes != (size_t)n * strtoul(setting("BENCH_EXPECT", "0"), NULL, 10);
  finish(1, n, bytes, from, NULL, 0, extra);
}

int main(void) {
  const char *mode = setting("BENCH_MODE", "stream");
  void (*run_mode)(long) = !strcmp(mode, "stream")    ? mode_stream
                           : !strcmp(mode, "oneshot") ? mode_oneshot
                           : !strcmp(mode, "idle")    ? mode_idle
                           : !strcmp(mode, "turns")   ? mode_turns
                           : !strcmp(mode, "cold")    ? mode_cold
                                                      : NULL;
  if (!run_mode) {
    fprintf(stderr, "limit: no mode %s\n", mode);
    return 3;
  }
  raise_file_limit();
  curl_global_init(CURL_GLOBAL_DEFAULT);
  start_loop();
  run_mode(atol(setting("BENCH_STREAMS", "1")));
  return wrong;
}
