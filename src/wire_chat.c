/* wire_chat: see wire_chat.h. One reader serves chunks and whole completions:
 * they differ in the name of one member, `delta` or `message`.
 *
 * The scan checks the whole event; what it found is rolled back when the rest
 * of the event proves broken. */
#include "wire_chat.h"

#include "apierror.h"

#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct chat {
  oai_reader *r;
  oai_scan s;
  oai_status status; /* first failure of the delta */
  oai_slice error;   /* value of an `error` member */
  bool object_error; /* "object": "error" (vLLM) */
  bool choices;      /* a non-empty choices array */
} chat;

static bool ok(chat *c, oai_status status) {
  if (c->status == OAI_OK) c->status = status;
  return status == OAI_OK;
}

static bool is_null(oai_slice v) {
  return oai_slice_is(v, "null");
}

/* A string goes to *out; anything else is checked and passed over. */
static bool read_string(oai_scan *s, oai_scan_str *out) {
  out->p = NULL;
  out->n = 0;
  out->escaped = false;
  return oai_scan_peek(s) == '"' ? oai_scan_string(s, out)
                                 : oai_scan_skip(s, NULL);
}

static oai_scan sub_scan(const chat *c, oai_slice v) {
  oai_scan s;
  oai_scan_init(&s, v.p, v.n, c->r->max_depth);
  return s;
}

/* Finds one string member of an object; out->p is NULL when there is none. */
static void find_string(const chat *c, oai_slice object, const char *name,
                        oai_scan_str *out) {
  oai_scan s = sub_scan(c, object);
  oai_scan_str key, value;
  out->p = NULL;
  if (oai_scan_peek(&s) != '{' || !oai_scan_open(&s)) return;
  while (oai_scan_key(&s, &key) && read_string(&s, &value))
    if (oai_scan_str_is(&key, name)) *out = value;
}

static void keep(chat *c, oai_extra **list, oai_scope scope,
                 const oai_scan_str *key) {
  oai_slice raw;
  if (oai_scan_skip(&c->s, &raw)) ok(c, oai_delta_extra(list, scope, key, raw));
}

/* ---- content ------------------------------------------------------------ */

static void add_text(chat *c, oai_choice *choice, oai_op_kind which,
                     const oai_scan_str *str) {
  if (str->p) ok(c, oai_delta_text(c->r->delta, choice, which, str));
}

static void add_reasoning(chat *c, oai_choice *choice,
                          oai_reasoning_field field, const oai_scan_str *str) {
  if (!str->p || !str->n) return;
  if (!choice->reasoning_field) choice->reasoning_field = field;
  add_text(c, choice, OAI_OP_REASONING, str);
}

/* [{"type":"thinking","thinking":[{"text":…}]}] (Mistral), {"text":…} or a
 * plain string inside an array. */
static void add_parts(chat *c, oai_choice *choice, oai_slice array,
                      bool thinking) {
  oai_scan s = sub_scan(c, array);
  if (oai_scan_peek(&s) != '[' || !oai_scan_open(&s)) return;
  while (oai_scan_item(&s)) {
    oai_scan_str text, key;
    oai_slice part, inner = {NULL, 0};
    if (!oai_scan_skip(&s, &part)) return;
    find_string(c, part, "text", &text);
    oai_scan p = sub_scan(c, part);
    if (*part.p == '"')
      oai_scan_string(&p, &text);
    else if (*part.p == '{' && oai_scan_open(&p))
      while (oai_scan_key(&p, &key)) {
        oai_slice value;
        if (!oai_scan_skip(&p, &value)) return;
        if (oai_scan_str_is(&key, "thinking")) inner = value;
      }
    if (inner.p && *inner.p == '[' && !thinking)
      add_parts(c, choice, inner, true);
    else if (inner.p && *inner.p == '"') {
      find_string(c, part, "thinking", &text);
      add_reasoning(c, choice, OAI_REASONING_PARTS, &text);
    } else if (thinking)
      add_reasoning(c, choice, OAI_REASONING_PARTS, &text);
    else
      add_text(c, choice, OAI_OP_TEXT, &text);
  }
}

static void read_content(chat *c, oai_choice *choice) {
  oai_scan_str str;
  oai_slice raw;
  if (oai_scan_peek(&c->s) == '"') {
    if (oai_scan_string(&c->s, &str)) add_text(c, choice, OAI_OP_TEXT, &str);
  } else if (oai_scan_skip(&c->s, &raw) && *raw.p == '[') {
    add_parts(c, choice, raw, false);
  }
}

/* ---- reasoning: several fields may say the same ------------------------- */

typedef struct reasoning {
  oai_scan_str content, plain, text;
  oai_slice details;
} reasoning;

/* reasoning_details: [{"type":"reasoning.text","text":…},
 * {"type":"reasoning.summary","summary":…}] (OpenRouter). */
static void add_details(chat *c, oai_choice *choice, oai_slice array) {
  oai_scan s = sub_scan(c, array);
  if (!array.p || oai_scan_peek(&s) != '[' || !oai_scan_open(&s)) return;
  while (oai_scan_item(&s)) {
    oai_scan_str text;
    oai_slice part;
    if (!oai_scan_skip(&s, &part)) return;
    find_string(c, part, "text", &text);
    if (!text.p) find_string(c, part, "summary", &text);
    add_reasoning(c, choice, OAI_REASONING_DETAILS, &text);
  }
}

/* The first field that has text wins, so that nothing is doubled. */
static void apply_reasoning(chat *c, oai_choice *choice, const reasoning *r) {
  if (r->content.n)
    add_reasoning(c, choice, OAI_REASONING_CONTENT, &r->content);
  else if (r->plain.n)
    add_reasoning(c, choice, OAI_REASONING, &r->plain);
  else if (r->text.n)
    add_reasoning(c, choice, OAI_REASONING_TEXT, &r->text);
  else
    add_details(c, choice, r->details);
}

/* ---- tool calls --------------------------------------------------------- */

typedef struct fragment {
  oai_scan_str id, name, arguments;
  oai_slice raw_arguments; /* a server that sends an object */
  bool has_index;
  double index;
} fragment;

/* A number, or digits in a string. */
static void read_index(chat *c, fragment *f) {
  char text[32];
  oai_scan_str str;
  oai_scan_num num;
  oai_slice digits = {NULL, 0};
  int kind = oai_scan_peek(&c->s);
  if (kind == '0' && oai_scan_number(&c->s, &num))
    digits = (oai_slice){num.p, num.n};
  else if (kind == '"' && oai_scan_string(&c->s, &str))
    digits = (oai_slice){str.p, str.n};
  else
    oai_scan_skip(&c->s, NULL);
  if (!digits.n || digits.n >= sizeof text) return;
  memcpy(text, digits.p, digits.n);
  text[digits.n] = 0;
  char *end;
  double value = strtod(text, &end);
  if (*end || end == text || !isfinite(value)) return;
  f->has_index = true;
  f->index = value;
}

static void read_function(chat *c, fragment *f) {
  oai_scan_str key;
  if (oai_scan_peek(&c->s) != '{') {
    oai_scan_skip(&c->s, NULL);
    return;
  }
  oai_scan_open(&c->s);
  while (oai_scan_key(&c->s, &key)) {
    if (oai_scan_str_is(&key, "name")) {
      read_string(&c->s, &f->name);
    } else if (oai_scan_str_is(&key, "arguments")) {
      int kind = oai_scan_peek(&c->s);
      if (kind == '"')
        oai_scan_string(&c->s, &f->arguments);
      else if (kind == '{' || kind == '[')
        oai_scan_skip(&c->s, &f->raw_arguments);
      else
        oai_scan_skip(&c->s, NULL);
    } else {
      oai_scan_skip(&c->s, NULL);
    }
  }
}

/* Members of a call that nobody knows, such as Gemini's extra_content. */
static void keep_call_extras(chat *c, oai_call *call, oai_slice object) {
  static const char *const known[] = {"id", "index", "function"};
  oai_scan s = sub_scan(c, object);
  oai_scan_str key;
  oai_slice value;
  oai_scan_open(&s);
  while (oai_scan_key(&s, &key) && oai_scan_skip(&s, &value)) {
    bool is_known = false;
    for (size_t i = 0; i < 3; i++)
      if (oai_scan_str_is(&key, known[i])) is_known = true;
    if (!is_known && !is_null(value))
      ok(c, oai_delta_extra(&call->extras, OAI_IN_CALL, &key, value));
  }
}

static void apply_fragment(chat *c, oai_choice *choice, const fragment *f,
                           oai_slice object) {
  oai_delta *d = c->r->delta;
  oai_call *call;
  if (!ok(c, oai_delta_call(d, choice, f->id.p ? &f->id : NULL, f->has_index,
                            f->index, &call)))
    return;
  if (f->name.n) ok(c, oai_delta_call_name(call, &f->name));
  ok(c, oai_delta_call_arguments(
            d, choice, call, f->arguments.p ? &f->arguments : NULL,
            f->raw_arguments.p ? &f->raw_arguments : NULL));
  keep_call_extras(c, call, object);
}

static void read_call(chat *c, oai_choice *choice) {
  fragment f;
  oai_scan_str key;
  const char *from = c->s.p;
  memset(&f, 0, sizeof f);
  if (oai_scan_peek(&c->s) != '{') {
    oai_scan_skip(&c->s, NULL);
    return;
  }
  from = c->s.p;
  oai_scan_open(&c->s);
  while (oai_scan_key(&c->s, &key)) {
    if (oai_scan_str_is(&key, "id"))
      read_string(&c->s, &f.id);
    else if (oai_scan_str_is(&key, "index"))
      read_index(c, &f);
    else if (oai_scan_str_is(&key, "function"))
      read_function(c, &f);
    else
      oai_scan_skip(&c->s, NULL);
  }
  if (c->s.error == OAI_SCAN_OK)
    apply_fragment(c, choice, &f, (oai_slice){from, (size_t)(c->s.p - from)});
}

static void read_calls(chat *c, oai_choice *choice) {
  if (oai_scan_peek(&c->s) != '[') {
    oai_scan_skip(&c->s, NULL);
    return;
  }
  oai_scan_open(&c->s);
  while (oai_scan_item(&c->s)) read_call(c, choice);
}

/* ---- the message, the choice, the completion ---------------------------- */

static void read_message(chat *c, oai_choice *choice) {
  reasoning why;
  oai_scan_str key, str;
  memset(&why, 0, sizeof why);
  if (oai_scan_peek(&c->s) != '{') {
    oai_scan_skip(&c->s, NULL);
    return;
  }
  oai_scan_open(&c->s);
  while (oai_scan_key(&c->s, &key)) {
    if (oai_scan_str_is(&key, "content")) {
      read_content(c, choice);
    } else if (oai_scan_str_is(&key, "role")) {
      oai_scan_skip(&c->s, NULL);
    } else if (oai_scan_str_is(&key, "refusal")) {
      if (read_string(&c->s, &str)) add_text(c, choice, OAI_OP_REFUSAL, &str);
    } else if (oai_scan_str_is(&key, "reasoning_content")) {
      read_string(&c->s, &why.content);
    } else if (oai_scan_str_is(&key, "reasoning")) {
      read_string(&c->s, &why.plain);
    } else if (oai_scan_str_is(&key, "reasoning_text")) {
      read_string(&c->s, &why.text);
    } else if (oai_scan_str_is(&key, "reasoning_details")) {
      oai_scan at = c->s;
      oai_scan_skip(&at, &why.details);
      keep(c, &choice->extras, OAI_IN_MESSAGE, &key);
    } else if (oai_scan_str_is(&key, "tool_calls")) {
      read_calls(c, choice);
    } else {
      keep(c, &choice->extras, OAI_IN_MESSAGE, &key);
    }
  }
  if (c->s.error == OAI_SCAN_OK) apply_reasoning(c, choice, &why);
}

static void read_whole_message(chat *c, oai_choice *choice, oai_slice message) {
  oai_scan outer = c->s;
  c->s = sub_scan(c, message);
  read_message(c, choice);
  c->s = outer;
}

static long read_choice_index(chat *c, oai_slice object) {
  oai_scan s = sub_scan(c, object);
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
static bool open_choice(chat *c, oai_choice **choice) {
  oai_scan at = c->s;
  oai_scan_str key;
  oai_slice object;
  oai_scan_num num;
  if (oai_scan_open(&at) && oai_scan_key(&at, &key) &&
      oai_scan_str_is(&key, "index") && oai_scan_peek(&at) == '0' &&
      oai_scan_number(&at, &num) && num.n == 1)
    return ok(c, oai_delta_choice(c->r->delta, *num.p - '0', choice));
  at = c->s;
  if (!oai_scan_skip(&at, &object)) {
    c->s = at;
    return false;
  }
  return ok(
      c, oai_delta_choice(c->r->delta, read_choice_index(c, object), choice));
}

static void read_choice(chat *c) {
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
      read_message(c, choice);
    } else if (oai_scan_str_is(&key, "message")) {
      oai_scan_skip(&c->s, &message);
    } else if (oai_scan_str_is(&key, "finish_reason")) {
      if (read_string(&c->s, &str) && str.n) finish = str;
    } else if (oai_scan_str_is(&key, "index")) {
      oai_scan_skip(&c->s, NULL);
    } else {
      keep(c, &choice->extras, OAI_IN_CHOICE, &key);
    }
  }
  /* Perplexity repeats the text so far in `message` beside each `delta` */
  if (message.p && !delta && c->s.error == OAI_SCAN_OK)
    read_whole_message(c, choice, message);
  /* after the content, wherever it stands in the object */
  if (finish.p && c->s.error == OAI_SCAN_OK)
    ok(c, oai_delta_finish(c->r->delta, choice, &finish));
}

static void read_usage(chat *c, const oai_scan_str *key, bool nested) {
  oai_slice raw, inner = {NULL, 0};
  oai_scan at = c->s;
  oai_scan_str name;
  if (!nested) {
    if (oai_scan_skip(&c->s, &raw) && *raw.p == '{')
      ok(c, oai_delta_usage(c->r->delta, raw));
    return;
  }
  if (oai_scan_peek(&at) == '{' && oai_scan_open(&at))
    while (oai_scan_key(&at, &name) && oai_scan_skip(&at, &raw))
      if (oai_scan_str_is(&name, "usage") && *raw.p == '{') inner = raw;
  if (inner.p) ok(c, oai_delta_usage(c->r->delta, inner));
  keep(c, &c->r->delta->extras, OAI_IN_REPLY, key);
}

static void read_member(chat *c, const oai_scan_str *key) {
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
  } else if (oai_scan_str_is(key, "id")) {
    if (read_string(&c->s, &str) && !d->id.n)
      ok(c, oai_delta_set(&d->id, &str));
  } else if (oai_scan_str_is(key, "model")) {
    if (read_string(&c->s, &str)) ok(c, oai_delta_set(&d->model, &str));
  } else if (oai_scan_str_is(key, "error")) {
    oai_slice raw;
    if (oai_scan_skip(&c->s, &raw) && !is_null(raw) &&
        !oai_slice_is(raw, "false"))
      c->error = raw;
  } else {
    if (oai_scan_str_is(key, "object")) {
      oai_scan at = c->s;
      c->object_error =
          read_string(&at, &str) && str.p && oai_scan_str_is(&str, "error");
    }
    keep(c, &d->extras, OAI_IN_REPLY, key);
  }
}

static oai_read fail(oai_reader *r, oai_kind kind, const char *code) {
  oai_failure_set(r->failure, kind, code);
  r->failure->status = r->status;
  r->failure->in_band = true;
  return OAI_READ_FAILED;
}

/* Reads one completion object. */
static oai_read read_object(chat *c, oai_slice text) {
  oai_reader *r = c->r;
  size_t mark = r->delta->nops;
  oai_scan_str key;
  oai_scan_init(&c->s, text.p, text.n, r->max_depth);
  if (oai_scan_peek(&c->s) == '{') {
    oai_scan_open(&c->s);
    while (c->status == OAI_OK && oai_scan_key(&c->s, &key))
      read_member(c, &key);
  } else {
    oai_scan_skip(&c->s, NULL);
  }
  if (c->status == OAI_ERR_NOMEM) return OAI_READ_NOMEM;
  if (c->status == OAI_ERR_TOO_MANY)
    return fail(r, OAI_TOO_LARGE, "too_many_tool_calls");
  if (!oai_scan_finish(&c->s)) {
    oai_delta_rollback(r->delta, mark);
    return c->s.error == OAI_SCAN_DEEP
               ? fail(r, OAI_TOO_LARGE, "too_deep")
               : fail(r, OAI_PROTOCOL, "malformed_event");
  }
  if (!c->error.p && !c->object_error) return OAI_READ_MORE;
  oai_apierror_value(r->failure, r->status, c->error.p ? c->error : text,
                     r->key);
  return OAI_READ_FAILED;
}

static oai_read chat_event(oai_reader *r, const oai_sse_event *event) {
  chat c;
  if (oai_slice_is(event->data, "[DONE]")) return OAI_READ_DONE;
  if (event->data.n == 0) return OAI_READ_MORE;
  if (oai_slice_is(event->name, "error")) {
    oai_apierror_read(r->failure, r->status, event->data, r->key);
    return OAI_READ_FAILED;
  }
  memset(&c, 0, sizeof c);
  c.r = r;
  return read_object(&c, event->data);
}

static oai_read chat_body(oai_reader *r, oai_slice body) {
  chat c;
  memset(&c, 0, sizeof c);
  c.r = r;
  oai_read read = read_object(&c, body);
  if (read == OAI_READ_FAILED && r->failure->kind == OAI_PROTOCOL)
    oai_failure_set(r->failure, OAI_PROTOCOL, "bad_response");
  if (read != OAI_READ_MORE) return read;
  if (c.choices) return OAI_READ_DONE;
  /* {"detail": …} and the like: no completion, so what it says is why */
  oai_apierror_read(r->failure, r->status, body, r->key);
  r->failure->kind = OAI_PROTOCOL;
  if (!r->failure->code[0])
    oai_failure_field(r->failure->code, sizeof r->failure->code, "bad_response",
                      12);
  return OAI_READ_FAILED;
}

const oai_wire oai_wire_chat = {"chat", chat_event, chat_body};
