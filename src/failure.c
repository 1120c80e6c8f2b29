/* failure: see failure.h. */
#include "failure.h"

#include "utf8.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

const char *oai_kind_name(oai_kind kind) {
  static const char *const names[] = {"none",
                                      "authentication",
                                      "permission",
                                      "not_found",
                                      "invalid_request",
                                      "context_length",
                                      "content_filter",
                                      "rate_limit",
                                      "quota",
                                      "conflict",
                                      "server",
                                      "overloaded",
                                      "timeout",
                                      "network",
                                      "canceled",
                                      "protocol",
                                      "incomplete_stream",
                                      "too_large",
                                      "tool",
                                      "config",
                                      "storage",
                                      "nomem"};
  return names[kind];
}

const char *oai_phase_name(oai_phase phase) {
  static const char *const names[] = {
      NULL,           "connect", "first_byte", "first_content",
      "content_idle", "attempt", "total"};
  return names[phase];
}

oai_kind oai_kind_of_status(int status) {
  switch (status) {
  case 401: return OAI_AUTHENTICATION;
  case 402: return OAI_QUOTA;
  case 403: return OAI_PERMISSION;
  case 404: return OAI_NOT_FOUND;
  case 408: return OAI_TIMEOUT;
  case 409: return OAI_CONFLICT;
  case 429: return OAI_RATE_LIMIT;
  case 503:
  case 529: return OAI_OVERLOADED;
  default: return status >= 500 ? OAI_SERVER : OAI_INVALID_REQUEST;
  }
}

bool oai_failure_retryable(const oai_failure *f) {
  switch (f->kind) {
  case OAI_NETWORK: return strcmp(f->code, "tls") != 0;
  case OAI_RATE_LIMIT:
  case OAI_CONFLICT:
  case OAI_SERVER:
  case OAI_OVERLOADED:
  case OAI_INCOMPLETE_STREAM: return true;
  case OAI_TIMEOUT: return f->phase == OAI_PHASE_CONNECT || f->status == 408;
  default: return f->status == 425;
  }
}

void oai_failure_set(oai_failure *f, oai_kind kind, const char *code) {
  memset(f, 0, sizeof *f);
  f->kind = kind;
  if (code) oai_failure_field(f->code, sizeof f->code, code, strlen(code));
}

void oai_failure_field(char *field, size_t size, const char *p, size_t n) {
  size_t out = 0;
  for (size_t i = 0; i < n && out + 1 < size; i++)
    field[out++] = isprint((unsigned char)p[i]) ? p[i] : '?';
  field[out] = 0;
}

/* How many bytes at p look like a key: sk-… or a bearer token. */
static size_t key_like(const char *p, size_t n) {
  static const char *const marks[] = {"sk-", "Bearer ", "bearer "};
  for (size_t m = 0; m < sizeof marks / sizeof *marks; m++) {
    size_t i = strlen(marks[m]), from = i;
    if (n < i || memcmp(p, marks[m], i) != 0) continue;
    while (i < n && (isalnum((unsigned char)p[i]) || strchr("-_.+/=", p[i])) &&
           p[i])
      i++;
    while (i > from && strchr(".=/", p[i - 1])) i--; /* a sentence's end */
    if (i - from >= 8) return i;
  }
  return 0;
}

/* Writes at most OAI_QUOTE_MAX bytes with secrets replaced. */
static size_t mask(char *out, oai_slice text, oai_slice key) {
  static const char masked[] = "[masked]";
  size_t n = 0, i = 0;
  while (i < text.n && n < OAI_QUOTE_MAX) {
    size_t left = text.n - i, secret = 0;
    if (key.n >= 4 && left >= key.n && !memcmp(text.p + i, key.p, key.n))
      secret = key.n;
    if (!secret) secret = key_like(text.p + i, left);
    if (!secret) {
      out[n++] = text.p[i++];
      continue;
    }
    size_t room = OAI_QUOTE_MAX - n, take = sizeof masked - 1;
    if (take > room) take = room;
    memcpy(out + n, masked, take);
    n += take;
    i += secret;
  }
  return n;
}

/* Drops a character that the cut left half. */
static size_t whole_characters(const char *p, size_t n) {
  size_t back = n;
  while (back > 0 && n - back < 3 && (p[back - 1] & 0xC0) == 0x80) back--;
  if (back == 0 || (unsigned char)p[back - 1] < 0xC0) return n;
  return oai_utf8_valid(p + back - 1, n - back + 1) == n - back + 1 ? n
                                                                    : back - 1;
}

/* Escapes one character of valid UTF-8; returns the bytes it read. */
static size_t escape(const unsigned char *p, size_t n, char *out,
                     size_t *written) {
  if (p[0] < 0x20 || p[0] == 0x7F) {
    const char *short_form = p[0] == '\n'   ? "\\n"
                             : p[0] == '\r' ? "\\r"
                             : p[0] == '\t' ? "\\t"
                                            : NULL;
    *written = (size_t)(short_form ? sprintf(out, "%s", short_form)
                                   : sprintf(out, "\\x%02x", p[0]));
    return 1;
  }
  /* C1 controls; U+202A..E and U+2066..9 turn the direction of what follows */
  if (n >= 2 && p[0] == 0xC2 && p[1] < 0xA0) {
    *written = (size_t)sprintf(out, "\\x%02x", p[1]);
    return 2;
  }
  if (n >= 3 && p[0] == 0xE2 &&
      ((p[1] == 0x80 && p[2] >= 0xAA && p[2] <= 0xAE) ||
       (p[1] == 0x81 && p[2] >= 0xA6 && p[2] <= 0xA9))) {
    *written = (size_t)sprintf(out, "\\u{%04x}",
                               0x2000u | (p[1] & 3u) << 6 | (p[2] & 63u));
    return 3;
  }
  out[0] = (char)p[0];
  *written = 1;
  return 1;
}

void oai_failure_quote(oai_failure *f, oai_slice text, oai_slice key) {
  char raw[OAI_QUOTE_MAX];
  oai_buf clean;
  size_t n = mask(raw, text, key), out = 0;
  if (n == OAI_QUOTE_MAX) n = whole_characters(raw, n);
  oai_buf_init(&clean, OAI_QUOTE_MAX * 3);
  f->text[0] = 0;
  if (oai_utf8_repair(&clean, raw, n) == OAI_BUF_OK) {
    for (size_t i = 0, wrote; i < clean.n && out + 12 < sizeof f->text;) {
      i += escape((unsigned char *)clean.p + i, clean.n - i, f->text + out,
                  &wrote);
      out += wrote;
    }
    f->text[whole_characters(f->text, out)] = 0;
  }
  oai_buf_free(&clean);
}
