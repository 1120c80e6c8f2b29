/* apierror: see apierror.h. */
#include "apierror.h"

#include "scan.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { DEPTH = 128, MESSAGE_MAX = 16 * 1024 };

typedef struct said {
  oai_slice message; /* raw JSON: a string or any other value */
  oai_slice code, type, param, status;
} said;

static void read_value(said *out, oai_slice json, int nesting);

/* A member that can hold the message or another error inside it. */
static void read_members(said *out, oai_scan *s, int nesting) {
  oai_scan_str key;
  oai_slice value, inner = {NULL, 0}, detail = {NULL, 0};
  while (oai_scan_key(s, &key) && oai_scan_skip(s, &value)) {
    if (oai_slice_is(value, "null")) continue;
    if (oai_scan_str_is(&key, "error"))
      inner = value;
    else if (oai_scan_str_is(&key, "message"))
      out->message = value;
    else if (oai_scan_str_is(&key, "detail"))
      detail = value;
    else if (oai_scan_str_is(&key, "code"))
      out->code = value;
    else if (oai_scan_str_is(&key, "type"))
      out->type = value;
    else if (oai_scan_str_is(&key, "param"))
      out->param = value;
    else if (oai_scan_str_is(&key, "status_code"))
      out->status = value;
  }
  if (inner.p) read_value(out, inner, nesting + 1);
  if (!out->message.p) out->message = detail;
}

static void read_value(said *out, oai_slice json, int nesting) {
  oai_scan s;
  oai_scan_init(&s, json.p, json.n, DEPTH);
  switch (nesting < 4 ? oai_scan_peek(&s) : 0) {
  case '{':
    oai_scan_open(&s);
    read_members(out, &s, nesting);
    break;
  case '[': /* Gemini wraps its error in an array */
    oai_scan_open(&s);
    if (oai_scan_item(&s)) {
      oai_slice first;
      if (oai_scan_skip(&s, &first)) read_value(out, first, nesting + 1);
    }
    break;
  default: out->message = json;
  }
  if (!out->message.p) out->message = json;
}

/* The text of a JSON string, or any other JSON with the escapes in its strings
 * undone (a key must not hide behind "\\/"); malloc'ed, at most MESSAGE_MAX. */
static char *plain(oai_slice json, size_t *n) {
  oai_scan_str str = {json.p, json.n, true};
  oai_scan s;
  oai_scan_init(&s, json.p, json.n, DEPTH);
  if (oai_scan_peek(&s) == '"' && !oai_scan_string(&s, &str)) return NULL;
  if (str.n > MESSAGE_MAX) {
    /* not inside an escape, the longest of which has 6 bytes */
    str.n = MESSAGE_MAX;
    for (size_t back = 1; back <= 6; back++)
      if (str.p[str.n - back] == '\\') str.n -= back;
  }
  char *out = malloc(str.n + 4);
  if (out) *n = oai_scan_unescape(&str, out, NULL);
  return out;
}

static void copy_field(char *field, size_t size, oai_slice json,
                       oai_slice key) {
  size_t n;
  char *text = json.p ? plain(json, &n) : NULL;
  oai_failure masked;
  if (text) {
    oai_failure_quote(&masked, (oai_slice){text, n}, key);
    oai_failure_field(field, size, masked.text, strlen(masked.text));
  }
  free(text);
}

static oai_kind by_word(const char *word) {
  static const struct {
    const char *word;
    oai_kind kind;
  } words[] = {
      {"insufficient_quota", OAI_QUOTA},
      {"billing_hard_limit_reached", OAI_QUOTA},
      {"context_length_exceeded", OAI_CONTEXT_LENGTH},
      {"exceed_context_size_error", OAI_CONTEXT_LENGTH},
      {"content_filter", OAI_CONTENT_FILTER},
      {"content_policy_violation", OAI_CONTENT_FILTER},
      {"slow_down", OAI_OVERLOADED},
      {"server_is_overloaded", OAI_OVERLOADED},
      {"overloaded_error", OAI_OVERLOADED},
      {"billing_error", OAI_QUOTA},
  };
  for (size_t i = 0; i < sizeof words / sizeof *words; i++)
    if (strcasecmp(word, words[i].word) == 0) return words[i].kind;
  return OAI_NONE;
}

/* Words that stand for a status where there is none: inside a 200 answer. */
static oai_kind by_word_in_band(const char *word) {
  static const struct {
    const char *word;
    oai_kind kind;
  } words[] = {
      {"rate_limit_exceeded", OAI_RATE_LIMIT},
      {"rate_limit_error", OAI_RATE_LIMIT},
      {"invalid_api_key", OAI_AUTHENTICATION},
      {"authentication_error", OAI_AUTHENTICATION},
      {"permission_error", OAI_PERMISSION},
      {"model_not_found", OAI_NOT_FOUND},
      {"not_found_error", OAI_NOT_FOUND},
      {"invalid_request_error", OAI_INVALID_REQUEST},
      {"request_too_large", OAI_INVALID_REQUEST},
      {"conflict_error", OAI_CONFLICT},
  };
  for (size_t i = 0; i < sizeof words / sizeof *words; i++)
    if (strcasecmp(word, words[i].word) == 0) return words[i].kind;
  return OAI_NONE;
}

/* Anthropic says with words alone what others have a code for. */
static oai_kind by_text(const oai_failure *f) {
  static const struct {
    const char *begins;
    oai_kind kind;
  } texts[] = {
      {"prompt is too long", OAI_CONTEXT_LENGTH},
      {"input length and `max_tokens` exceed context", OAI_CONTEXT_LENGTH},
      {"Your credit balance is too low", OAI_QUOTA},
      {"Output blocked by content filtering", OAI_CONTENT_FILTER},
  };
  if (f->code[0] || strcmp(f->type, "invalid_request_error") != 0)
    return OAI_NONE;
  for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
    if (strncasecmp(f->text, texts[i].begins, strlen(texts[i].begins)) == 0)
      return texts[i].kind;
  return OAI_NONE;
}

static int status_of(const char *text) {
  char *end;
  long n = strtol(text, &end, 10);
  return end != text && *end == 0 && n >= 400 && n <= 599 ? (int)n : 0;
}

static void classify(oai_failure *f, int status, const said *s) {
  static const oai_slice no_key = {NULL, 0};
  char number[16] = "";
  oai_kind kind = by_word(f->code);
  if (!kind) kind = by_word(f->type);
  if (!kind) kind = by_text(f);
  if (!kind && status >= 400) kind = oai_kind_of_status(status);
  if (!kind) {
    copy_field(number, sizeof number, s->status, no_key);
    int inner = status_of(f->code);
    if (!inner) inner = status_of(number);
    if (inner) kind = oai_kind_of_status(inner);
  }
  if (!kind) kind = by_word_in_band(f->code);
  if (!kind) kind = by_word_in_band(f->type);
  f->kind = kind ? kind : OAI_SERVER;
  f->peer = true;
  f->in_band = status < 400;
  f->status = status;
}

static void fill(oai_failure *f, int status, const said *s, oai_slice key) {
  size_t n;
  oai_failure_set(f, OAI_NONE, NULL);
  copy_field(f->code, sizeof f->code, s->code, key);
  copy_field(f->type, sizeof f->type, s->type, key);
  copy_field(f->param, sizeof f->param, s->param, key);
  char *text = plain(s->message, &n);
  if (text) oai_failure_quote(f, (oai_slice){text, n}, key);
  free(text);
  classify(f, status, s);
}

void oai_apierror_value(oai_failure *f, int status, oai_slice json,
                        oai_slice key) {
  said s;
  memset(&s, 0, sizeof s);
  read_value(&s, json, 0);
  fill(f, status, &s, key);
}

static bool is_json(oai_slice text) {
  oai_scan s;
  oai_scan_init(&s, text.p, text.n, DEPTH);
  return oai_scan_skip(&s, NULL) && oai_scan_finish(&s);
}

static oai_slice trim(oai_slice t) {
  while (t.n && strchr(" \t\r\n", *t.p) && *t.p) t.p++, t.n--;
  while (t.n && strchr(" \t\r\n", t.p[t.n - 1]) && t.p[t.n - 1]) t.n--;
  return t;
}

void oai_apierror_read(oai_failure *f, int status, oai_slice text,
                       oai_slice key) {
  said nothing;
  text = trim(text);
  if (is_json(text)) {
    oai_apierror_value(f, status, text, key);
    return;
  }
  memset(&nothing, 0, sizeof nothing);
  oai_failure_set(f, OAI_NONE, NULL);
  oai_failure_quote(f, text, key);
  classify(f, status, &nothing);
}
