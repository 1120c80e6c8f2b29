/* sse: see sse.h. */
#include "sse.h"

#include "utf8.h"

#include <string.h>

typedef struct record {
  size_t data_n, name_n, id_n;
  int64_t retry;
} record;

enum state {
  NAME,
  DATA,
  EVENT,
  ID,
  RETRY,
  RETRY_BAD,
  ERROR_LINE,
  COMMENT,
  UNKNOWN
};

/* Longest event name, id and error line that are kept. */
enum { SMALL_MAX = 64 * 1024 };
/* A drained queue larger than this gives its memory back. */
enum { KEEP_MAX = 4096 };

void oai_sse_init(oai_sse *s, size_t max_event_bytes) {
  memset(s, 0, sizeof *s);
  s->max = max_event_bytes;
  s->retry = -1;
  oai_buf_init(&s->queue, SIZE_MAX / 2);
  oai_buf_init(&s->name, SMALL_MAX);
  oai_buf_init(&s->id, SMALL_MAX);
  oai_buf_init(&s->error, SMALL_MAX);
}

void oai_sse_free(oai_sse *s) {
  oai_buf_free(&s->queue);
  oai_buf_free(&s->name);
  oai_buf_free(&s->id);
  oai_buf_free(&s->error);
}

size_t oai_sse_waiting(const oai_sse *s) {
  return s->ready - s->head;
}

/* Bytes of data the open event has so far. */
static size_t open_bytes(const oai_sse *s) {
  return s->has_data ? s->queue.n - s->ready - sizeof(record) : 0;
}

static oai_buf_status add_data(oai_sse *s, const char *p, size_t n) {
  if (n > s->max || open_bytes(s) > s->max - n) return OAI_BUF_FULL;
  return oai_buf_append(&s->queue, p, n);
}

static oai_buf_status start_data(oai_sse *s) {
  static const record blank;
  if (s->has_data) return add_data(s, "\n", 1);
  oai_buf_status status =
      oai_buf_append(&s->queue, (const char *)&blank, sizeof blank);
  s->has_data = status == OAI_BUF_OK;
  return status;
}

static enum state field_state(const oai_sse *s) {
  static const struct {
    const char *name;
    enum state state;
  } fields[] = {{"data", DATA},
                {"event", EVENT},
                {"id", ID},
                {"retry", RETRY},
                {"error", ERROR_LINE}};
  for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
    if (strlen(fields[i].name) == s->field_n &&
        memcmp(fields[i].name, s->field, s->field_n) == 0)
      return fields[i].state;
  return UNKNOWN;
}

/* The field's name is complete: its value starts. */
static oai_buf_status start_value(oai_sse *s) {
  s->state = (unsigned char)field_state(s);
  switch (s->state) {
  case DATA: return start_data(s);
  case EVENT: s->name.n = 0; break;
  case ERROR_LINE: s->error.n = 0; break;
  case ID:
    s->id_has_nul = false;
    /* the new id goes behind the old one until it proves to have no NUL */
    s->id_old = s->id.n;
    break;
  case RETRY:
    s->number = 0;
    s->field_n = 0;
    break;
  case UNKNOWN: s->number = 0; break;
  default: break;
  }
  return OAI_BUF_OK;
}

static void add_digits(oai_sse *s, const char *p, size_t n) {
  for (; n; p++, n--) {
    if (*p < '0' || *p > '9' || s->number > INT64_MAX / 10 - 1) {
      s->state = RETRY_BAD;
      return;
    }
    s->number = s->number * 10 + (uint64_t)(*p - '0');
    s->field_n = 1;
  }
}

static oai_buf_status add_value(oai_sse *s, const char *p, size_t n) {
  switch (s->state) {
  case DATA: return add_data(s, p, n);
  case EVENT: return oai_buf_append(&s->name, p, n);
  case ID:
    if (memchr(p, 0, n)) s->id_has_nul = true;
    return oai_buf_append(&s->id, p, n);
  case RETRY: add_digits(s, p, n); return OAI_BUF_OK;
  case ERROR_LINE:
    /* a diagnosis, not data: keep what fits */
    if (oai_buf_append(&s->error, p, n) == OAI_BUF_FULL) s->state = COMMENT;
    return OAI_BUF_OK;
  case UNKNOWN:
    /* dropped, but a line that never ends is no stream of events */
    s->number += n;
    return s->number > s->max ? OAI_BUF_FULL : OAI_BUF_OK;
  default: return OAI_BUF_OK; /* comments may keep a connection for ever */
  }
}

/* Replaces what is not UTF-8, as a decoder in front of the parser would. */
static oai_buf_status clean(oai_buf *b, size_t from) {
  if (oai_utf8_valid(b->p + from, b->n - from) == b->n - from)
    return OAI_BUF_OK;
  oai_buf fixed;
  oai_buf_init(&fixed, SIZE_MAX / 2);
  oai_buf_status status = oai_utf8_repair(&fixed, b->p + from, b->n - from);
  if (status == OAI_BUF_OK) {
    b->n = from;
    status = oai_buf_append(b, fixed.p, fixed.n);
  }
  oai_buf_free(&fixed);
  return status;
}

/* The blank line: closes the open event, or drops what has no data. */
static oai_buf_status dispatch(oai_sse *s) {
  if (s->has_data) {
    record r;
    oai_buf_status status = clean(&s->queue, s->ready + sizeof r);
    if (status == OAI_BUF_OK && s->name.n) status = clean(&s->name, 0);
    if (status == OAI_BUF_OK && s->id.n) status = clean(&s->id, 0);
    r.data_n = open_bytes(s);
    r.name_n = s->name.n;
    r.id_n = s->id.n;
    r.retry = s->retry;
    if (status == OAI_BUF_OK)
      status = oai_buf_append(&s->queue, s->name.p, s->name.n);
    if (status == OAI_BUF_OK)
      status = oai_buf_append(&s->queue, s->id.p, s->id.n);
    if (status != OAI_BUF_OK) return status;
    memcpy(s->queue.p + s->ready, &r, sizeof r);
    s->ready = s->queue.n;
    s->has_data = false;
    s->retry = -1;
  }
  s->name.n = 0;
  return OAI_BUF_OK;
}

static oai_buf_status end_line(oai_sse *s) {
  oai_buf_status status = OAI_BUF_OK;
  if (s->state == NAME && s->field_n == 0) return dispatch(s);
  if (s->state == NAME) status = start_value(s); /* a field without a colon */
  if (s->state == ID) {
    if (s->id_has_nul)
      s->id.n = s->id_old;
    else
      oai_buf_consume(&s->id, s->id_old);
  }
  if (s->state == RETRY && s->field_n) s->retry = (int64_t)s->number;
  s->state = NAME;
  s->field_n = 0;
  return status;
}

/* Bytes of one line, its end not among them. */
static oai_buf_status line_bytes(oai_sse *s, const char *p, size_t n) {
  while (n && s->state == NAME) {
    if (*p == ':') {
      oai_buf_status status = OAI_BUF_OK;
      if (s->field_n == 0)
        s->state = COMMENT;
      else
        status = start_value(s);
      if (status != OAI_BUF_OK) return status;
      p++, n--;
      s->value_start = true;
      break;
    }
    if (s->field_n == sizeof s->field) { /* longer than any field we know */
      s->state = UNKNOWN;
      s->number = 0;
      break;
    }
    s->field[s->field_n++] = *p;
    p++, n--;
  }
  if (n && s->value_start) { /* one space after the colon is not data */
    s->value_start = false;
    if (*p == ' ') p++, n--;
  }
  return n ? add_value(s, p, n) : OAI_BUF_OK;
}

/* A byte order mark at the very start; bom counts its bytes seen, 4 = over. */
static oai_buf_status skip_bom(oai_sse *s, const char **p, size_t *n) {
  static const char mark[] = "\xEF\xBB\xBF";
  while (*n && s->bom < 3) {
    if (**p != mark[s->bom]) {
      unsigned seen = s->bom;
      s->bom = 4;
      return line_bytes(s, mark, seen);
    }
    s->bom++, (*p)++, (*n)--;
  }
  if (s->bom == 3) s->bom = 4;
  return OAI_BUF_OK;
}

/* Moves the records that wait to the front. */
static void compact(oai_sse *s) {
  if (s->head == 0) return;
  oai_buf_consume(&s->queue, s->head);
  s->ready -= s->head;
  s->head = 0;
  if (s->queue.n == 0 && s->queue.cap > KEEP_MAX) oai_buf_free(&s->queue);
}

static const char *line_end(const char *p, size_t n) {
  const char *lf = memchr(p, '\n', n);
  const char *cr = memchr(p, '\r', lf ? (size_t)(lf - p) : n);
  return cr ? cr : lf;
}

oai_buf_status oai_sse_feed(oai_sse *s, const char *p, size_t n) {
  oai_buf_status status = OAI_BUF_OK;
  compact(s);
  if (s->bom < 4) status = skip_bom(s, &p, &n);
  while (n && status == OAI_BUF_OK) {
    if (s->swallow_lf) {
      s->swallow_lf = false;
      if (*p == '\n') {
        p++, n--;
        continue;
      }
    }
    const char *end = line_end(p, n);
    size_t line = end ? (size_t)(end - p) : n;
    if (line) status = line_bytes(s, p, line);
    if (!end || status != OAI_BUF_OK) break;
    s->value_start = false;
    status = end_line(s);
    /* CRLF is one end, and a CR is an end at once: its LF may never come */
    s->swallow_lf = *end == '\r';
    p = end + 1;
    n -= line + 1;
  }
  return status;
}

static bool pop(oai_sse *s, oai_sse_event *out) {
  record r;
  if (s->head == s->ready) return false;
  memcpy(&r, s->queue.p + s->head, sizeof r);
  const char *p = s->queue.p + s->head + sizeof r;
  out->data = (oai_slice){p, r.data_n};
  out->name = (oai_slice){p + r.data_n, r.name_n};
  out->id = (oai_slice){p + r.data_n + r.name_n, r.id_n};
  out->retry = r.retry;
  s->head += sizeof r + r.data_n + r.name_n + r.id_n;
  return true;
}

bool oai_sse_next(oai_sse *s, oai_sse_event *out) {
  if (pop(s, out)) return true;
  compact(s);
  return false;
}

bool oai_sse_finish(oai_sse *s, oai_sse_event *out) {
  if (s->bom > 0 && s->bom < 3) s->bom = 4; /* a cut byte order mark */
  if ((s->state != NAME || s->field_n) && end_line(s) != OAI_BUF_OK)
    return false;
  return s->has_data && dispatch(s) == OAI_BUF_OK && pop(s, out);
}
