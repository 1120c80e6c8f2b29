/* websocket: see websocket.h. Numbers are sections of RFC 6455. */
#include "websocket.h"

#include "utf8.h"

#include <string.h>

enum { CONTINUATION = 0, TEXT = 1, BINARY = 2, CLOSE = 8, PING = 9, PONG = 10 };
enum { WRONG = 1002, NO_TEXT = 1007, TOO_LARGE = 1009, NO_MEMORY = 1011 };

void oai_ws_init(oai_ws_reader *r, bool from_client, size_t frame_max,
                 size_t message_max) {
  memset(r, 0, sizeof *r);
  oai_buf_init(&r->message, message_max);
  r->from_client = from_client;
  r->frame_max = frame_max;
}

void oai_ws_free(oai_ws_reader *r) {
  oai_buf_free(&r->message);
}

bool oai_ws_status_ok(int status) {
  return (status >= 1000 && status <= 1003) ||
         (status >= 1007 && status <= 1014) ||
         (status >= 3000 && status <= 4999);
}

static bool breach(oai_ws_reader *r, int status, const char *why) {
  r->broken.kind = OAI_WS_BROKEN;
  r->broken.status = status;
  r->broken.why = why;
  r->over = true;
  oai_buf_free(&r->message);
  return false;
}

/* ---- the head of a frame (5.2) ------------------------------------------ */

static size_t head_size(const oai_ws_reader *r) {
  if (r->head_n < 2) return 2;
  int length = r->head[1] & 0x7F;
  return 2u +
         (length == 127   ? 8
          : length == 126 ? 2
                          : 0) +
         (r->head[1] & 0x80 ? 4 : 0);
}

/* What the first two bytes say already: who waits for the rest of a bad frame
 * may wait for ever. */
static bool judge_head(oai_ws_reader *r) {
  int length = r->head[1] & 0x7F;
  r->fin = r->head[0] & 0x80;
  r->opcode = r->head[0] & 0x0F;
  r->masked = r->head[1] & 0x80;
  if (r->head[0] & 0x70) return breach(r, WRONG, "a reserved bit is set");
  if (r->opcode > PONG || (r->opcode > BINARY && r->opcode < CLOSE))
    return breach(r, WRONG, "a frame has a reserved opcode");
  if (r->masked && !r->from_client)
    return breach(r, WRONG, "the server masked a frame");
  if (!r->masked && r->from_client)
    return breach(r, WRONG, "the client did not mask a frame");
  if (r->opcode >= CLOSE) {
    if (!r->fin) return breach(r, WRONG, "a control frame is fragmented");
    if (length > 125) return breach(r, WRONG, "a control frame is too long");
    if (r->opcode == CLOSE && length == 1)
      return breach(r, WRONG, "a close frame has half a status");
    return true;
  }
  if (r->opcode == CONTINUATION && !r->message_kind)
    return breach(r, WRONG, "a fragment goes on with no message");
  if (r->opcode != CONTINUATION && r->message_kind)
    return breach(r, WRONG, "a message begins inside another");
  return true;
}

static bool judge_length(oai_ws_reader *r) {
  int length = r->head[1] & 0x7F;
  int size = length == 127 ? 8 : length == 126 ? 2 : 0;
  unsigned long long n = size ? 0 : (unsigned long long)length;
  for (int i = 0; i < size; i++) n = n << 8 | r->head[2 + i];
  if (size == 8 && n >> 63) return breach(r, WRONG, "a length has 64 bits");
  if ((size == 2 && n < 126) || (size == 8 && n < 65536))
    return breach(r, WRONG, "a length is not in its shortest form");
  if (n > r->frame_max)
    return breach(r, TOO_LARGE, "a frame is larger than its limit");
  if (r->opcode < CLOSE && n > r->message.max - r->message.n)
    return breach(r, TOO_LARGE, "a message is larger than its limit");
  if (r->masked) memcpy(r->mask, r->head + 2 + size, 4);
  r->left = n;
  r->done = 0;
  r->control_n = 0;
  r->in_payload = true;
  if (r->opcode == TEXT || r->opcode == BINARY) {
    r->message_kind = r->opcode;
    r->checked = 0;
  }
  return true;
}

static size_t take_head(oai_ws_reader *r, const char *p, size_t n) {
  size_t taken = 0;
  while (taken < n && !r->in_payload && !r->over) {
    r->head[r->head_n++] = (unsigned char)p[taken++];
    if (r->head_n == 2 && !judge_head(r)) break;
    if (r->head_n >= 2 && r->head_n == head_size(r)) judge_length(r);
  }
  return taken;
}

/* ---- payload ------------------------------------------------------------ */

static void apply_mask(char *p, size_t n, const unsigned char mask[4],
                       unsigned long long at) {
  unsigned char turned[8];
  size_t i = 0;
  for (unsigned k = 0; k < 8; k++) turned[k] = mask[(at + k) & 3];
  for (; i + 8 <= n; i += 8)
    for (unsigned k = 0; k < 8; k++) p[i + k] ^= (char)turned[k];
  for (; i < n; i++) p[i] ^= (char)turned[i & 7];
}

/* Text is judged as it comes, not when its end has come (8.1). */
static bool judge_text(oai_ws_reader *r, bool whole) {
  const char *p = r->message.p ? r->message.p + r->checked : "";
  size_t n = r->message.n - r->checked;
  size_t good = oai_utf8_valid(p, n);
  r->checked += good;
  if (good == n || (!whole && oai_utf8_begins(p + good, n - good))) return true;
  return breach(r, NO_TEXT, "a text message is not UTF-8");
}

static size_t take_payload(oai_ws_reader *r, const char *p, size_t n) {
  char *to;
  if (n > r->left) n = (size_t)r->left;
  if (r->opcode >= CLOSE) {
    to = r->control + r->control_n;
    memcpy(to, p, n);
    r->control_n += n;
  } else {
    size_t before = r->message.n;
    if (oai_buf_append(&r->message, p, n) != OAI_BUF_OK) {
      breach(r, NO_MEMORY, "not enough memory");
      return n;
    }
    to = r->message.p + before;
  }
  if (r->masked) apply_mask(to, n, r->mask, r->done);
  r->left -= n;
  r->done += n;
  if (r->opcode < CLOSE && r->message_kind == TEXT) judge_text(r, false);
  return n;
}

static void end_close(oai_ws_reader *r, oai_ws_event *event) {
  const unsigned char *p = (const unsigned char *)r->control;
  size_t n = r->control_n;
  event->status = n ? p[0] << 8 | p[1] : 1005;
  event->data.n = n ? n - 2 : 0;
  event->data.p = r->control + (n ? 2 : 0);
  if (n && !oai_ws_status_ok(event->status))
    breach(r, WRONG, "a close frame has a status that none may send");
  else if (oai_utf8_valid(event->data.p, event->data.n) != event->data.n)
    breach(r, NO_TEXT, "the reason of a close frame is not UTF-8");
  r->over = true;
}

/* A frame is whole. */
static void end_frame(oai_ws_reader *r, oai_ws_event *event) {
  r->in_payload = false;
  r->head_n = 0;
  if (r->opcode >= CLOSE) {
    event->kind = r->opcode == CLOSE  ? OAI_WS_CLOSE
                  : r->opcode == PING ? OAI_WS_PING
                                      : OAI_WS_PONG;
    event->data.p = r->control;
    event->data.n = r->control_n;
    if (r->opcode == CLOSE) end_close(r, event);
    return;
  }
  if (!r->fin) return;
  if (r->message_kind == TEXT && !judge_text(r, true)) return;
  event->kind = r->message_kind == TEXT ? OAI_WS_TEXT : OAI_WS_BINARY;
  event->data.p = r->message.p ? r->message.p : "";
  event->data.n = r->message.n;
  r->message_kind = 0;
  r->handed = true;
}

size_t oai_ws_read(oai_ws_reader *r, const char *p, size_t n,
                   oai_ws_event *event) {
  size_t taken = 0;
  memset(event, 0, sizeof *event);
  if (r->handed) r->message.n = 0;
  r->handed = false;
  while (event->kind == OAI_WS_NONE && !r->over) {
    if (!r->in_payload) taken += take_head(r, p + taken, n - taken);
    if (r->in_payload && r->left && !r->over && taken < n)
      taken += take_payload(r, p + taken, n - taken);
    if (r->over || !r->in_payload || r->left) break;
    end_frame(r, event);
  }
  if (r->broken.kind) *event = r->broken;
  return r->over ? n : taken;
}

/* ---- writing ------------------------------------------------------------ */

oai_buf_status oai_ws_frame(oai_buf *out, int opcode, bool fin,
                            const unsigned char *mask, const char *p,
                            size_t n) {
  unsigned char head[14];
  size_t size = 2, form = n > 65535 ? 8 : n > 125 ? 2 : 0;
  head[0] = (unsigned char)(opcode | (fin ? 0x80 : 0));
  head[1] = (unsigned char)((form == 8   ? 127
                             : form == 2 ? 126
                                         : n) |
                            (mask ? 0x80 : 0));
  for (size_t i = form; i-- > 0;)
    head[size++] = (unsigned char)((unsigned long long)n >> (8 * i));
  if (mask) {
    memcpy(head + size, mask, 4);
    size += 4;
  }
  if (n > (size_t)-1 - size) return OAI_BUF_FULL;
  oai_buf_status status = oai_buf_reserve(out, size + n);
  if (status != OAI_BUF_OK) return status;
  oai_buf_append(out, (const char *)head, size);
  oai_buf_append(out, p, n);
  if (mask) apply_mask(out->p + out->n - n, n, mask, 0);
  return OAI_BUF_OK;
}
