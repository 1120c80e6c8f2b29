/* wire_chat: see wire_chat.h. One reader serves chunks and whole completions:
 * they differ in the name of one member, `delta` or `message`.
 *
 * An event is checked whole before anything of it is taken: one that proves
 * broken half way leaves nothing behind. The pattern spares most events that.
 */
#include "wire_chat_internal.h"

#include "apierror.h"

#include <stdlib.h>
#include <string.h>

bool oai_chat_ok(oai_chat *c, oai_status status) {
  if (c->status == OAI_OK) c->status = status;
  return status == OAI_OK;
}

void oai_chat_keep(oai_chat *c, oai_extra **list, oai_scope scope,
                   const oai_scan_str *key) {
  oai_slice raw;
  if (!oai_scan_skip(&c->s, &raw)) return;
  oai_chat_ok(c, oai_delta_extra(list, scope, key, raw));
  /* items of an array are appended each time they come */
  if (raw.n > 2 && (*raw.p == '[' || *raw.p == '{') &&
      memchr(raw.p, '[', raw.n))
    c->unrepeatable = true;
}

static void read_whole_message(oai_chat *c, oai_choice *choice,
                               oai_slice message) {
  oai_scan outer = c->s;
  c->s = oai_wire_scan(c->r, message);
  oai_chat_message(c, choice);
  c->s = outer;
}

static long read_choice_index(oai_chat *c, oai_slice object) {
  oai_scan s = oai_wire_scan(c->r, object);
  oai_scan_str key;
  oai_scan_num num;
  char text[24];
  oai_scan_open(&s);
  while (oai_scan_key(&s, &key)) {
    if (!oai_scan_str_is(&key, "index") || oai_scan_peek(&s) != '0') {
      oai_scan_skip(&s, NULL);
    } else if (oai_scan_number(&s, &num) && num.n < sizeof text) {
      memcpy(text, num.p, num.n);
      text[num.n] = 0;
      return strtol(text, NULL, 10);
    }
  }
  return 0;
}

/* The index may stand behind the delta (llama.cpp sorts its keys): then the
 * choice is looked through once for it alone. */
static bool open_choice(oai_chat *c, oai_choice **choice) {
  oai_scan at = c->s;
  oai_scan_str key;
  oai_slice object;
  oai_scan_num num;
  if (oai_scan_open(&at) && oai_scan_key(&at, &key) &&
      oai_scan_str_is(&key, "index") && oai_scan_peek(&at) == '0' &&
      oai_scan_number(&at, &num) && num.n == 1)
    return oai_chat_ok(c, oai_delta_choice(c->r->delta, *num.p - '0', choice));
  at = c->s;
  if (!oai_scan_skip(&at, &object)) {
    c->s = at;
    return false;
  }
  return oai_chat_ok(
      c, oai_delta_choice(c->r->delta, read_choice_index(c, object), choice));
}

static void read_choice(oai_chat *c) {
  oai_choice *choice;
  oai_scan_str key, str;
  if (oai_scan_peek(&c->s) != '{') {
    oai_scan_skip(&c->s, NULL);
    return;
  }
  if (!open_choice(c, &choice)) {
    if (c->s.error == OAI_SCAN_OK) oai_scan_skip(&c->s, NULL);
    return;
  }
  c->choices = true;
  oai_scan_str finish = {NULL, 0, false};
  oai_slice message = {NULL, 0};
  bool delta = false;
  oai_scan_open(&c->s);
  while (oai_scan_key(&c->s, &key)) {
    if (oai_scan_str_is(&key, "delta")) {
      delta = true;
      oai_chat_message(c, choice);
    } else if (oai_scan_str_is(&key, "message")) {
      oai_scan_skip(&c->s, &message);
    } else if (oai_scan_str_is(&key, "finish_reason")) {
      if (oai_wire_string(&c->s, &str) && str.n) finish = str;
    } else if (oai_scan_str_is(&key, "index")) {
      oai_scan_skip(&c->s, NULL);
    } else {
      oai_chat_keep(c, &choice->extras, OAI_IN_CHOICE, &key);
    }
  }
  /* Perplexity repeats the text so far in `message` beside each `delta` */
  if (message.p && !delta && c->s.error == OAI_SCAN_OK)
    read_whole_message(c, choice, message);
  /* after the content, wherever it stands in the object */
  if (finish.p && c->s.error == OAI_SCAN_OK)
    oai_chat_ok(c, oai_delta_finish(c->r->delta, choice, &finish));
}

static void read_usage(oai_chat *c, const oai_scan_str *key, bool nested) {
  oai_slice raw, inner = {NULL, 0};
  oai_scan at = c->s;
  oai_scan_str name;
  if (!nested) {
    if (oai_scan_skip(&c->s, &raw) && *raw.p == '{')
      oai_chat_ok(c, oai_delta_usage(c->r->delta, raw));
    return;
  }
  if (oai_scan_peek(&at) == '{' && oai_scan_open(&at))
    while (oai_scan_key(&at, &name) && oai_scan_skip(&at, &raw))
      if (oai_scan_str_is(&name, "usage") && *raw.p == '{') inner = raw;
  if (inner.p) oai_chat_ok(c, oai_delta_usage(c->r->delta, inner));
  oai_chat_keep(c, &c->r->delta->extras, OAI_IN_REPLY, key);
}

static void read_member(oai_chat *c, const oai_scan_str *key) {
  oai_delta *d = c->r->delta;
  oai_scan_str str;
  if (oai_scan_str_is(key, "choices")) {
    if (oai_scan_peek(&c->s) != '[') {
      oai_scan_skip(&c->s, NULL);
      return;
    }
    oai_scan_open(&c->s);
    while (oai_scan_item(&c->s)) read_choice(c);
  } else if (oai_scan_str_is(key, "usage")) {
    read_usage(c, key, false);
  } else if (oai_scan_str_is(key, "x_groq")) {
    read_usage(c, key, true);
  } else if (oai_scan_str_is(key, "obfuscation")) {
    /* random letters that make chunks equally long (API reference,
     * stream_options.include_obfuscation): nobody's data */
    oai_wire_string(&c->s, &c->padding);
  } else if (oai_scan_str_is(key, "id")) {
    if (oai_wire_string(&c->s, &str) && !d->id.n)
      oai_chat_ok(c, oai_delta_set(&d->id, &str));
  } else if (oai_scan_str_is(key, "model")) {
    if (oai_wire_string(&c->s, &str))
      oai_chat_ok(c, oai_delta_set(&d->model, &str));
  } else if (oai_scan_str_is(key, "error")) {
    oai_slice raw;
    if (oai_scan_skip(&c->s, &raw) && !oai_wire_is_null(raw) &&
        !oai_slice_is(raw, "false"))
      c->error = raw;
  } else {
    if (oai_scan_str_is(key, "object")) {
      oai_scan at = c->s;
      c->object_error =
          oai_wire_string(&at, &str) && str.p && oai_scan_str_is(&str, "error");
    }
    oai_chat_keep(c, &d->extras, OAI_IN_REPLY, key);
  }
}

/* Reads one completion object. */
static oai_read read_object(oai_chat *c, oai_slice text) {
  oai_reader *r = c->r;
  oai_scan_str key;
  oai_scan_error why;
  if (!oai_wire_valid(r, text, &why)) return oai_wire_fail_scan(r, why);
  c->s = oai_wire_scan(r, text);
  if (oai_scan_peek(&c->s) != '{') return OAI_READ_MORE;
  oai_scan_open(&c->s);
  while (c->status == OAI_OK && oai_scan_key(&c->s, &key)) read_member(c, &key);
  if (c->status != OAI_OK) return oai_wire_check(r, c->status);
  if (!c->error.p && !c->object_error) return OAI_READ_MORE;
  oai_apierror_value(r->failure, r->status, c->error.p ? c->error : text,
                     r->key);
  return OAI_READ_FAILED;
}

/* Learns from an event that did one thing, which the same bytes around another
 * string would do again. */
static void learn(oai_chat *c, oai_slice text, size_t mark) {
  oai_pattern *p = c->r->pattern;
  oai_pattern_forget(p);
  if (c->nsaid != 1 || c->unrepeatable || c->r->delta->nops != mark + 1) return;
  oai_pattern_learn(p, text, &c->said, &c->padding);
  p->what = c->said_as;
  p->choice = c->said_choice;
  p->call = c->said_call;
}

/* The event is the last one with another string in it. */
static oai_status repeat(oai_reader *r, const oai_scan_str *str) {
  const oai_pattern *p = r->pattern;
  oai_choice *choice = &r->delta->choices[p->choice];
  if (p->what != OAI_OP_CALL)
    return oai_delta_text(r->delta, choice, (oai_op_kind)p->what, str);
  return oai_delta_call_arguments(r->delta, choice, &choice->calls[p->call],
                                  str, NULL);
}

static oai_read chat_event(oai_reader *r, const oai_sse_event *event) {
  oai_chat c;
  size_t mark = r->delta->nops;
  oai_scan_str str;
  if (event->data.n == 0) return OAI_READ_MORE;
  if (oai_slice_is(event->name, "error")) {
    oai_apierror_read(r->failure, r->status, event->data, r->key);
    return OAI_READ_FAILED;
  }
  /* an empty string could mean another field: reasoning has several */
  if (r->pattern && oai_pattern_match(r->pattern, event->data, &str) && str.n)
    return repeat(r, &str) == OAI_OK ? OAI_READ_MORE : OAI_READ_NOMEM;
  if (oai_slice_is(event->data, "[DONE]")) return OAI_READ_DONE;
  memset(&c, 0, sizeof c);
  c.r = r;
  oai_read read = read_object(&c, event->data);
  if (r->pattern && read == OAI_READ_MORE) learn(&c, event->data, mark);
  return read;
}

static oai_read chat_body(oai_reader *r, oai_slice body) {
  oai_chat c;
  memset(&c, 0, sizeof c);
  c.r = r;
  oai_read read = read_object(&c, body);
  if (read == OAI_READ_FAILED && r->failure->kind == OAI_PROTOCOL)
    return oai_wire_fail(r, OAI_PROTOCOL, "bad_response");
  if (read != OAI_READ_MORE) return read;
  if (c.choices) return OAI_READ_DONE;
  /* {"detail": …} and the like: no completion */
  return oai_wire_fail_body(r, body);
}

const oai_wire oai_wire_chat = {"chat", chat_event, chat_body, OAI_ANSWER_REPLY,
                                oai_chat_plain};
