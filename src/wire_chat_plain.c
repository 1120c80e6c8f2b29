/* wire_chat_plain: reads a whole completion that says nothing but the text of
 * one choice, as most do, in one pass and without keeping the rest: who wants
 * that has the body read once more, by wire_chat.c. See wire_chat.h. */
#include "wire_chat_internal.h"

#include <string.h>

typedef struct plain {
  oai_scan s;
  oai_scan_str text, finish, id, model;
  unsigned members; /* of all objects but those that are passed over */
  unsigned choices; /* read so far; an answer with two is not plain */
} plain;

/* No more than wire_chat.c would keep: it refuses an answer that has more. */
static bool next_key(plain *p, oai_scan_str *key) {
  return p->members < OAI_EXTRAS_MAX && oai_scan_key(&p->s, key) &&
         ++p->members;
}

/* A member that says nothing: null, or an empty list. */
static bool skip_nothing(plain *p) {
  oai_slice raw;
  if (!oai_scan_skip(&p->s, &raw)) return false;
  return oai_wire_is_null(raw) || oai_slice_is(raw, "[]");
}

static bool skip_null(plain *p) {
  oai_slice raw;
  return oai_scan_skip(&p->s, &raw) && oai_wire_is_null(raw);
}

/* A string that was not there before: of two the last one would count. */
static bool take(plain *p, oai_scan_str *out) {
  return !out->p && oai_scan_peek(&p->s) == '"' && oai_scan_string(&p->s, out);
}

static bool take_or_null(plain *p, oai_scan_str *out) {
  return oai_scan_peek(&p->s) == 'n' ? oai_scan_skip(&p->s, NULL)
                                     : take(p, out);
}

static bool read_message(plain *p) {
  oai_scan_str key;
  if (p->text.p || oai_scan_peek(&p->s) != '{' || !oai_scan_open(&p->s))
    return false;
  while (next_key(p, &key)) {
    bool fine = oai_scan_str_is(&key, "content") ? take(p, &p->text)
                : oai_scan_str_is(&key, "role")  ? oai_scan_skip(&p->s, NULL)
                                                 : skip_nothing(p);
    if (!fine) return false;
  }
  return p->s.error == OAI_SCAN_OK && p->members < OAI_EXTRAS_MAX && p->text.n;
}

static bool is_first(plain *p) {
  oai_slice raw;
  return oai_scan_skip(&p->s, &raw) && oai_slice_is(raw, "0");
}

static bool read_choice(plain *p) {
  oai_scan_str key;
  if (oai_scan_peek(&p->s) != '{' || !oai_scan_open(&p->s)) return false;
  while (next_key(p, &key)) {
    bool fine =
        oai_scan_str_is(&key, "message") ? read_message(p)
        : oai_scan_str_is(&key, "index") ? is_first(p)
        : oai_scan_str_is(&key, "finish_reason")
            ? take_or_null(p, &p->finish)
            : !oai_scan_str_is(&key, "delta") && oai_scan_skip(&p->s, NULL);
    if (!fine) return false;
  }
  return p->s.error == OAI_SCAN_OK;
}

static bool read_choices(plain *p) {
  if (p->choices || oai_scan_peek(&p->s) != '[' || !oai_scan_open(&p->s))
    return false;
  while (oai_scan_item(&p->s))
    if (p->choices++ || !read_choice(p)) return false;
  return p->s.error == OAI_SCAN_OK;
}

/* "object": "error" is vLLM's way to fail. */
static bool is_no_error(plain *p) {
  oai_scan_str str;
  return oai_scan_peek(&p->s) == '"' && oai_scan_string(&p->s, &str) &&
         !oai_scan_str_is(&str, "error");
}

static bool read_completion(plain *p) {
  oai_scan_str key;
  if (oai_scan_peek(&p->s) != '{' || !oai_scan_open(&p->s)) return false;
  while (next_key(p, &key)) {
    bool fine = oai_scan_str_is(&key, "choices")  ? read_choices(p)
                : oai_scan_str_is(&key, "id")     ? take_or_null(p, &p->id)
                : oai_scan_str_is(&key, "model")  ? take_or_null(p, &p->model)
                : oai_scan_str_is(&key, "error")  ? skip_null(p)
                : oai_scan_str_is(&key, "object") ? is_no_error(p)
                                                  : oai_scan_skip(&p->s, NULL);
    if (!fine) return false;
  }
  return p->members < OAI_EXTRAS_MAX && oai_scan_finish(&p->s) && p->text.p;
}

oai_read oai_chat_plain(oai_reader *r, oai_slice body) {
  plain p;
  oai_choice *choice;
  oai_delta *d = r->delta;
  memset(&p, 0, sizeof p);
  p.s = oai_wire_scan(r, body);
  if (!read_completion(&p)) return OAI_READ_MORE;
  oai_status status = oai_delta_choice(d, 0, &choice);
  if (status == OAI_OK)
    status = oai_delta_text(d, choice, OAI_OP_TEXT, &p.text);
  if (status == OAI_OK && p.finish.p)
    status = oai_delta_finish(d, choice, &p.finish);
  if (status == OAI_OK && p.id.p) status = oai_delta_set(&d->id, &p.id);
  if (status == OAI_OK && p.model.p)
    status = oai_delta_set(&d->model, &p.model);
  return status == OAI_OK ? OAI_READ_DONE : OAI_READ_NOMEM;
}
