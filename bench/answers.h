/* answers: the bytes that mock sends, as OpenAI's service shapes them. */
#ifndef BENCH_ANSWERS_H
#define BENCH_ANSWERS_H

#include "text.h"

#define HEAD                                                                   \
  "{\"id\":\"chatcmpl-CZq3Xn7TfLw0dVb5KsHy8RmPu1JgE\",\"object\":\"%s\","      \
  "\"created\":1764000000,\"model\":\"gpt-4o-mini-2024-07-18\","               \
  "\"service_tier\":\"default\",\"system_fingerprint\":\"fp_11f3029f6b\","     \
  "\"choices\":["
#define USAGE                                                                  \
  "],\"usage\":{\"prompt_tokens\":31,\"completion_tokens\":%ld,"               \
  "\"total_tokens\":%ld}}"

/* As they stand in JSON. */
static const char *const TOKENS[] = {"The",
                                     " server",
                                     " sends",
                                     " each",
                                     " token",
                                     " as",
                                     " soon",
                                     " as",
                                     " it",
                                     " has",
                                     " one",
                                     ",",
                                     " and",
                                     " the",
                                     " client",
                                     " reads",
                                     " on",
                                     ":",
                                     "\\n\\n",
                                     "```",
                                     "lua",
                                     "\\n",
                                     "local",
                                     " reply",
                                     " =",
                                     " chat",
                                     ":",
                                     "send",
                                     "(\\\"",
                                     "hello",
                                     "\\\")",
                                     "\\n",
                                     "\\tprint",
                                     "(reply",
                                     ".text",
                                     ")",
                                     "\\n",
                                     "```",
                                     "\\n\\n",
                                     "1",
                                     ".",
                                     " **",
                                     "Back",
                                     "pressure",
                                     "**",
                                     " \xe2\x80\x93",
                                     " na",
                                     "\xc3\xafve",
                                     " buffers",
                                     " caf\\u00e9",
                                     " fill",
                                     " \\ud83d\\ude80",
                                     " up",
                                     "!",
                                     " \xe4\xbd\xa0\xe5\xa5\xbd",
                                     " C:\\\\tmp",
                                     " 100",
                                     "%",
                                     ".",
                                     "\\n"};
enum { TOKEN_COUNT = sizeof TOKENS / sizeof *TOKENS };

/* What an answer is asked to be, see mock.c. */
struct ask {
  long chunks, delay, coalesce, hold, bytes, turns;
  bool usage;
};

/* The JSON text of one content chunk. */
static inline const char *token(long i, long bytes) {
  static char *wide;
  static long have;
  if (bytes == 0) return TOKENS[i % TOKEN_COUNT];
  if (have == bytes) return wide;
  wide = realloc(wide, (size_t)bytes + 1);
  if (!wide) fail("realloc");
  for (long k = 0; k < bytes; k++) wide[k] = (char)('a' + k % 26);
  wide[bytes] = '\0';
  have = bytes;
  return wide;
}

static inline size_t answer_length(long chunks, long bytes) {
  size_t n = 0;
  if (bytes) return (size_t)(chunks * bytes);
  for (long i = 0; i < chunks; i++) n += decoded_length(token(i, 0));
  return n;
}

/* ---- server-sent events, each an HTTP chunk -------------------------- */

static inline void append_event(struct text *t, const char *json) {
  append_format(t, "%zx\r\ndata: %s\n\n\r\n", strlen(json) + 8, json);
}

/* The noise at an event's end evens short texts out. */
static inline void append_delta(struct text *t, const char *key,
                                const char *text, const char *rest,
                                const char *finish, bool usage) {
  static const char noise[] = "q7TzXo2LbV9dKe4m";
  size_t n = strlen(text), most = sizeof noise - 2;
  struct text json = {0};
  append_format(&json, HEAD "{\"index\":0,\"delta\":{",
                "chat.completion.chunk");
  append_format(&json, "%s%s%s},\"logprobs\":null,\"finish_reason\":%s}]", key,
                text, rest, finish);
  append_format(&json, "%s,\"obfuscation\":\"%s\"}",
                usage ? ",\"usage\":null" : "", noise + (n < most ? n : most));
  append(&json, "", 1);
  append_event(t, json.p);
  free(json.p);
}

static inline void append_role(struct text *t, bool usage) {
  append_format(t, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
                   "Cache-Control: no-cache\r\n"
                   "Transfer-Encoding: chunked\r\n\r\n");
  append_delta(t, "\"role\":\"assistant\",\"content\":\"", "",
               "\",\"refusal\":null", "null", usage);
}

/* Rendered once; the wide ones whenever another width is asked for. */
static inline void append_chunk(struct text *t, long i, const struct ask *ask) {
  static struct text tokens[2][TOKEN_COUNT], wide;
  static struct ask have;
  struct text *event = &tokens[ask->usage][i % TOKEN_COUNT];
  if (ask->bytes) {
    event = &wide;
    if (have.bytes != ask->bytes || have.usage != ask->usage) wide.n = 0;
    have = *ask;
  }
  if (event->n == 0)
    append_delta(event, "\"content\":\"", token(i, ask->bytes), "\"", "null",
                 ask->usage);
  append_text(t, event);
}

static inline void append_end(struct text *t, const struct ask *ask) {
  long n = ask->chunks;
  struct text json = {0};
  append_delta(t, "", "", "", "\"stop\"", ask->usage);
  append_format(&json, HEAD USAGE "%c", "chat.completion.chunk", n, n + 31, 0);
  if (ask->usage) append_event(t, json.p);
  free(json.p);
  append_event(t, "[DONE]");
  append(t, "0\r\n\r\n", 5);
}

/* ---- a whole answer ---------------------------------------------------- */

static inline void append_completion(struct text *t, const struct ask *ask) {
  static struct text body;
  static struct ask have = {.chunks = -1};
  long n = ask->chunks;
  if (have.chunks != n || have.bytes != ask->bytes) {
    body.n = 0;
    append_format(&body,
                  HEAD "{\"index\":0,\"message\":{\"role\":\"assistant\","
                       "\"content\":\"",
                  "chat.completion");
    for (long i = 0; i < n; i++)
      append_format(&body, "%s", token(i, ask->bytes));
    append_format(&body,
                  "\",\"refusal\":null,\"annotations\":[]},"
                  "\"logprobs\":null,\"finish_reason\":\"stop\"}" USAGE,
                  n, n + 31);
    have = *ask;
  }
  append_format(t,
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
                "Content-Length: %zu\r\n\r\n",
                body.n);
  append_text(t, &body);
}

#endif
