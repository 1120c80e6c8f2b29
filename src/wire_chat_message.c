/* wire_chat_message: reads one message of chat completions, or a delta of one:
 * text, reasoning, refusal, tool calls, in all the forms that servers give
 * them. See wire_chat.h. */
#include "wire_chat_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- content ------------------------------------------------------------ */

/* For the pattern: this string is what the event brought. */
static void note(oai_chat *c, const oai_scan_str *str, oai_op_kind as,
                 const oai_choice *choice, size_t call) {
  c->said = *str;
  c->said_as = as;
  c->said_choice = (unsigned)(choice - c->r->delta->choices);
  c->said_call = (unsigned)call;
  c->nsaid++;
}

static void add_text(oai_chat *c, oai_choice *choice, oai_op_kind which,
                     const oai_scan_str *str) {
  if (!str->p) return;
  note(c, str, which, choice, 0);
  oai_chat_ok(c, oai_delta_text(c->r->delta, choice, which, str));
}

static void add_reasoning(oai_chat *c, oai_choice *choice,
                          oai_reasoning_field field, const oai_scan_str *str) {
  if (!str->p || !str->n) return;
  if (!choice->reasoning_field) choice->reasoning_field = field;
  add_text(c, choice, OAI_OP_REASONING, str);
}

/* [{"type":"thinking","thinking":[{"text":…}]}] (Mistral), {"text":…} or a
 * plain string inside an array. */
static void add_parts(oai_chat *c, oai_choice *choice, oai_slice array,
                      bool thinking) {
  oai_scan s = oai_wire_scan(c->r, array);
  if (oai_scan_peek(&s) != '[' || !oai_scan_open(&s)) return;
  while (oai_scan_item(&s)) {
    oai_scan_str text, key;
    oai_slice part, inner = {NULL, 0};
    if (!oai_scan_skip(&s, &part)) return;
    text = oai_wire_text_of(c->r, part, "text");
    oai_scan p = oai_wire_scan(c->r, part);
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
      text = oai_wire_text_of(c->r, part, "thinking");
      add_reasoning(c, choice, OAI_REASONING_PARTS, &text);
    } else if (thinking)
      add_reasoning(c, choice, OAI_REASONING_PARTS, &text);
    else
      add_text(c, choice, OAI_OP_TEXT, &text);
  }
}

/* `content`: a string, or an array of parts; null and anything else: nothing.
 */
static void add_content(oai_chat *c, oai_choice *choice, oai_slice raw) {
  oai_scan_str str;
  oai_scan s = oai_wire_scan(c->r, raw);
  if (raw.p && *raw.p == '[')
    add_parts(c, choice, raw, false);
  else if (raw.p && *raw.p == '"' && oai_scan_string(&s, &str))
    add_text(c, choice, OAI_OP_TEXT, &str);
}

/* ---- reasoning: several fields may say the same ------------------------- */

typedef struct reasoning {
  oai_scan_str content, plain, text;
  oai_slice details;
} reasoning;

/* reasoning_details: [{"type":"reasoning.text","text":…},
 * {"type":"reasoning.summary","summary":…}] (OpenRouter). */
static void add_details(oai_chat *c, oai_choice *choice, oai_slice array) {
  oai_scan s = oai_wire_scan(c->r, array);
  if (!array.p || oai_scan_peek(&s) != '[' || !oai_scan_open(&s)) return;
  while (oai_scan_item(&s)) {
    oai_scan_str text;
    oai_slice part;
    if (!oai_scan_skip(&s, &part)) return;
    text = oai_wire_text_of(c->r, part, "text");
    if (!text.p) text = oai_wire_text_of(c->r, part, "summary");
    add_reasoning(c, choice, OAI_REASONING_DETAILS, &text);
  }
}

/* The first field that has text wins, so that nothing is doubled. */
static void apply_reasoning(oai_chat *c, oai_choice *choice,
                            const reasoning *r) {
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
static void read_index(oai_chat *c, fragment *f) {
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

static void read_function(oai_chat *c, fragment *f) {
  oai_scan_str key;
  if (oai_scan_peek(&c->s) != '{') {
    oai_scan_skip(&c->s, NULL);
    return;
  }
  oai_scan_open(&c->s);
  while (oai_scan_key(&c->s, &key)) {
    if (oai_scan_str_is(&key, "name")) {
      oai_wire_string(&c->s, &f->name);
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
static void keep_call_extras(oai_chat *c, oai_call *call, oai_slice object) {
  static const char *const known[] = {"id", "index", "function"};
  oai_scan s = oai_wire_scan(c->r, object);
  oai_scan_str key;
  oai_slice value;
  oai_scan_open(&s);
  while (oai_scan_key(&s, &key) && oai_scan_skip(&s, &value)) {
    bool is_known = false;
    for (size_t i = 0; i < 3; i++)
      if (oai_scan_str_is(&key, known[i])) is_known = true;
    if (is_known || oai_wire_is_null(value)) continue;
    if (*value.p == '[' || *value.p == '{') c->unrepeatable = true;
    oai_chat_ok(c, oai_delta_extra(&call->extras, OAI_IN_CALL, &key, value));
  }
}

static void apply_fragment(oai_chat *c, oai_choice *choice, const fragment *f,
                           oai_slice object) {
  oai_delta *d = c->r->delta;
  oai_call *call;
  if (!oai_chat_ok(c, oai_delta_call(d, choice, f->id.p ? &f->id : NULL,
                                     f->has_index, f->index, &call)))
    return;
  if (f->name.n) oai_chat_ok(c, oai_delta_call_name(call, &f->name));
  if (f->name.n) c->unrepeatable = true; /* a name may come in pieces */
  if (f->arguments.p)
    note(c, &f->arguments, OAI_OP_CALL, choice, (size_t)(call - choice->calls));
  oai_chat_ok(c, oai_delta_call_arguments(
                     d, choice, call, f->arguments.p ? &f->arguments : NULL,
                     f->raw_arguments.p ? &f->raw_arguments : NULL));
  keep_call_extras(c, call, object);
}

static void read_call(oai_chat *c, oai_choice *choice) {
  fragment f;
  oai_scan_str key;
  const char *from;
  memset(&f, 0, sizeof f);
  if (oai_scan_peek(&c->s) != '{') {
    oai_scan_skip(&c->s, NULL);
    return;
  }
  from = c->s.p;
  oai_scan_open(&c->s);
  while (oai_scan_key(&c->s, &key)) {
    if (oai_scan_str_is(&key, "id"))
      oai_wire_string(&c->s, &f.id);
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

static void read_calls(oai_chat *c, oai_choice *choice) {
  if (oai_scan_peek(&c->s) != '[') {
    oai_scan_skip(&c->s, NULL);
    return;
  }
  oai_scan_open(&c->s);
  while (oai_scan_item(&c->s)) read_call(c, choice);
}

/* ---- the message, the choice, the completion ---------------------------- */

void oai_chat_message(oai_chat *c, oai_choice *choice) {
  reasoning why;
  oai_slice content = {NULL, 0};
  oai_scan_str key, refusal = {NULL, 0, false};
  memset(&why, 0, sizeof why);
  if (oai_scan_peek(&c->s) != '{') {
    oai_scan_skip(&c->s, NULL);
    return;
  }
  oai_scan_open(&c->s);
  while (oai_scan_key(&c->s, &key)) {
    if (oai_scan_str_is(&key, "content")) {
      oai_scan_skip(&c->s, &content);
    } else if (oai_scan_str_is(&key, "role")) {
      oai_scan_skip(&c->s, NULL);
    } else if (oai_scan_str_is(&key, "refusal")) {
      oai_wire_string(&c->s, &refusal);
    } else if (oai_scan_str_is(&key, "reasoning_content")) {
      oai_wire_string(&c->s, &why.content);
    } else if (oai_scan_str_is(&key, "reasoning")) {
      oai_wire_string(&c->s, &why.plain);
    } else if (oai_scan_str_is(&key, "reasoning_text")) {
      oai_wire_string(&c->s, &why.text);
    } else if (oai_scan_str_is(&key, "reasoning_details")) {
      oai_scan at = c->s;
      oai_scan_skip(&at, &why.details);
      oai_chat_keep(c, &choice->extras, OAI_IN_MESSAGE, &key);
    } else if (oai_scan_str_is(&key, "tool_calls")) {
      read_calls(c, choice);
    } else {
      oai_chat_keep(c, &choice->extras, OAI_IN_MESSAGE, &key);
    }
  }
  /* at the end: of members with the same name the last one counts */
  if (c->s.error != OAI_SCAN_OK) return;
  apply_reasoning(c, choice, &why);
  add_content(c, choice, content);
  add_text(c, choice, OAI_OP_REFUSAL, &refusal);
}
