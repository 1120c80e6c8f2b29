/* wire_anthropic_block: reads one block of an answer as it comes: how it
 * begins, its pieces, its end. See wire_anthropic.h. */
#include "wire_anthropic_internal.h"

#include <math.h>
#include <string.h>

oai_status oai_anthropic_choice(oai_reader *r, oai_choice **out) {
  return oai_delta_choice(r->delta, 0, out);
}

static bool ends_with(const oai_scan_str *text, const char *end) {
  size_t n = strlen(end);
  return text->n >= n && memcmp(text->p + text->n - n, end, n) == 0;
}

static int what_is(const oai_scan_str *type) {
  if (oai_scan_str_is(type, "text")) return OAI_BLOCK_TEXT;
  if (oai_scan_str_is(type, "thinking")) return OAI_BLOCK_THINKING;
  if (oai_scan_str_is(type, "tool_use")) return OAI_BLOCK_CALL;
  if (ends_with(type, "_tool_use")) return OAI_BLOCK_SERVER_CALL;
  if (ends_with(type, "_tool_result")) return OAI_BLOCK_RESULT;
  return OAI_BLOCK_OTHER;
}

/* ---- what is told ------------------------------------------------------- */

static oai_status add_text(oai_reader *r, oai_op_kind which,
                           const oai_scan_str *text) {
  oai_choice *c;
  oai_status status = oai_anthropic_choice(r, &c);
  if (status != OAI_OK || !text->n) return status;
  /* a name of no field of chat completions: nothing is sent back by it */
  if (which == OAI_OP_REASONING) c->reasoning_field = OAI_REASONING_ITEM;
  return oai_delta_text(r->delta, c, which, text);
}

static oai_status call_at(oai_reader *r, const oai_scan_str *id, double index,
                          oai_choice **c, oai_call **call) {
  oai_status status = oai_anthropic_choice(r, c);
  if (status != OAI_OK) return status;
  return oai_delta_call(r->delta, *c, id && id->n ? id : NULL, true, index,
                        call);
}

static oai_status begin_call(oai_reader *r, oai_slice block, double index) {
  oai_choice *c;
  oai_call *call;
  oai_scan_str id = oai_wire_text_of(r, block, "id");
  oai_scan_str name = oai_wire_text_of(r, block, "name");
  oai_status status = call_at(r, &id, index, &c, &call);
  if (status == OAI_OK && name.n && !call->name.buf.n)
    status = oai_delta_call_name(call, &name);
  if (status != OAI_OK) return status;
  return oai_delta_call_arguments(r->delta, c, call, NULL, NULL);
}

static oai_slice slice_of(const char *text) {
  return (oai_slice){text, strlen(text)};
}

/* What a tool of the server does; `data` is the event, or the call's block. */
static oai_status tell_call(oai_reader *r, oai_slice block, const char *status,
                            oai_slice data) {
  oai_scan_str name = oai_wire_text_of(r, block, "name");
  oai_scan_str id = oai_wire_text_of(r, block, "id");
  return oai_wire_progress(r, (oai_slice){name.p, name.n}, slice_of(status),
                           &id, data);
}

/* web_search_tool_result: tool "web_search". One that failed has is_error, or
 * its content is an object whose type ends so. */
static oai_status tell_result(oai_reader *r, oai_slice block,
                              const oai_scan_str *type, oai_slice data) {
  oai_scan_str id = oai_wire_text_of(r, block, "tool_use_id");
  oai_slice content = oai_wire_member(r, block, "content");
  oai_slice is_error = oai_wire_member(r, block, "is_error");
  oai_scan_str kind = oai_wire_text_of(r, content, "type");
  bool failed = (is_error.p && oai_slice_is(is_error, "true")) ||
                (kind.p && ends_with(&kind, "_error"));
  size_t tail = sizeof "_tool_result" - 1;
  return oai_wire_progress(r, (oai_slice){type->p, type->n - tail},
                           slice_of(failed ? "failed" : "completed"), &id,
                           data);
}

/* ---- a block begins ----------------------------------------------------- */

/* The item that begins here. A server that uses a number twice means another
 * block: the one before is whole, and stands just before it. */
static oai_status new_item(oai_reader *r, double index, oai_item **out) {
  oai_status status = oai_delta_item(r->delta, index, out);
  if (status != OAI_OK || !((*out)->head.n || (*out)->json.n)) return status;
  status = oai_anthropic_stop(r, *out, false);
  if (status != OAI_OK) return status;
  (*out)->index = nextafter(index, -INFINITY);
  return oai_delta_item(r->delta, index, out);
}

/* What stands in the beginning of a block already: all of it, where an answer
 * is not streamed. */
static oai_status tell_start(oai_reader *r, double index, oai_slice block,
                             int what, const oai_slice *event) {
  static const oai_scan_str gap = {"\\n\\n", 4, true};
  oai_choice *c;
  oai_status status = oai_anthropic_choice(r, &c);
  oai_scan_str type = oai_wire_text_of(r, block, "type");
  oai_scan_str text = oai_wire_text_of(
      r, block, what == OAI_BLOCK_THINKING ? "thinking" : "text");
  if (status != OAI_OK) return status;
  switch (what) {
  case OAI_BLOCK_TEXT: return add_text(r, OAI_OP_TEXT, &text);
  case OAI_BLOCK_THINKING:
    if (c->reasoning.buf.n) status = add_text(r, OAI_OP_REASONING, &gap);
    return status == OAI_OK ? add_text(r, OAI_OP_REASONING, &text) : status;
  case OAI_BLOCK_CALL: return begin_call(r, block, index);
  case OAI_BLOCK_SERVER_CALL:
    return event ? tell_call(r, block, "in_progress", *event) : OAI_OK;
  case OAI_BLOCK_RESULT:
    return event ? tell_result(r, block, &type, *event) : OAI_OK;
  default: return OAI_OK;
  }
}

oai_status oai_anthropic_start(oai_reader *r, double index, oai_slice block,
                               const oai_slice *event) {
  oai_item *item;
  oai_scan_str type = oai_wire_text_of(r, block, "type");
  if (!block.p || *block.p != '{') return OAI_OK;
  oai_status status = new_item(r, index, &item);
  if (status == OAI_OK) status = oai_delta_keep(&item->head, block);
  if (status != OAI_OK) return status;
  item->what = what_is(&type);
  return tell_start(r, index, block, item->what, event);
}

/* ---- its pieces --------------------------------------------------------- */

/* A string makes its member longer; of all else citations alone are known. */
static oai_status grow(oai_item *item, const oai_scan_str *key, oai_scan *s) {
  static const oai_scan_str input = {"input", 5, false},
                            citations = {"citations", 9, false};
  oai_scan_str str;
  oai_slice value;
  if (oai_scan_peek(s) == '"' && oai_scan_string(s, &str)) {
    bool json = oai_scan_str_is(key, "partial_json");
    return oai_delta_grow(&item->grown,
                          json ? OAI_GROWS_JSON : OAI_GROWS_STRING,
                          json ? &input : key, (oai_slice){str.p, str.n}, "");
  }
  if (!oai_scan_skip(s, &value) || oai_wire_is_null(value) ||
      !oai_scan_str_is(key, "citation"))
    return OAI_OK;
  return oai_delta_grow(&item->grown, OAI_GROWS_LIST, &citations, value, ",");
}

/* Keeps what came for the block's JSON: {"type":"x_delta","x":"…"} makes the
 * member x longer, of blocks that nobody knows yet too. */
static oai_status keep_piece(oai_reader *r, oai_item *item, oai_slice delta,
                             int *members) {
  oai_scan s = oai_wire_scan(r, delta);
  oai_scan_str key;
  oai_status status = OAI_OK;
  oai_scan_open(&s);
  while (status == OAI_OK && oai_scan_key(&s, &key)) {
    if (oai_scan_str_is(&key, "type") || oai_scan_str_is(&key, "id")) {
      oai_scan_skip(&s, NULL);
    } else {
      ++*members;
      status = grow(item, &key, &s);
    }
  }
  return status;
}

static oai_status add_arguments(oai_reader *r, double index,
                                const oai_scan_str *json) {
  oai_choice *c;
  oai_call *call;
  oai_status status = call_at(r, NULL, index, &c, &call);
  if (status != OAI_OK || !json->n) return status;
  return oai_delta_call_arguments(r->delta, c, call, json, NULL);
}

/* What the piece is for whoever reads along; false: for nobody. */
static bool read_piece(const oai_reader *r, const oai_item *item,
                       oai_slice delta, oai_said *said) {
  oai_scan_str type = oai_wire_text_of(r, delta, "type");
  const char *member;
  if (oai_scan_str_is(&type, "text_delta")) {
    said->what = OAI_OP_TEXT;
    member = "text";
  } else if (oai_scan_str_is(&type, "thinking_delta")) {
    said->what = OAI_OP_REASONING;
    member = "thinking";
  } else if (oai_scan_str_is(&type, "input_json_delta")) {
    bool ours = item->what == OAI_BLOCK_CALL || item->what == OAI_BLOCK_UNTOLD;
    said->what = ours ? OAI_OP_CALL : OAI_OP_PROGRESS;
    member = "partial_json";
  } else {
    return false;
  }
  said->text = oai_wire_text_of(r, delta, member);
  return true;
}

static oai_status tell_piece(oai_reader *r, const oai_item *item,
                             const oai_said *said) {
  switch (said->what) {
  case OAI_OP_CALL: return add_arguments(r, item->index, &said->text);
  case OAI_OP_PROGRESS: return OAI_OK;
  default: return add_text(r, said->what, &said->text);
  }
}

oai_status oai_anthropic_piece(oai_reader *r, double index, oai_slice delta,
                               oai_said *said) {
  oai_item *item;
  int members = 0;
  if (!delta.p || *delta.p != '{') return OAI_OK;
  oai_status status = oai_delta_item(r->delta, index, &item);
  if (status == OAI_OK && item->json.n) /* it was over */
    status = new_item(r, index, &item);
  if (status == OAI_OK) status = keep_piece(r, item, delta, &members);
  if (status != OAI_OK || !read_piece(r, item, delta, said)) return status;
  said->at = (size_t)(item - r->delta->items);
  status = tell_piece(r, item, said);
  if (members != 1 || !said->text.n) said->text.p = NULL;
  return status;
}

oai_status oai_anthropic_again(oai_reader *r, const oai_said *said) {
  static const oai_scan_str text = {"text", 4, false},
                            thinking = {"thinking", 8, false},
                            input = {"input", 5, false};
  oai_item *item = &r->delta->items[said->at];
  bool plain = said->what == OAI_OP_TEXT || said->what == OAI_OP_REASONING;
  const oai_scan_str *key = said->what == OAI_OP_TEXT ? &text
                            : plain                   ? &thinking
                                                      : &input;
  oai_status status =
      oai_delta_grow(&item->grown, plain ? OAI_GROWS_STRING : OAI_GROWS_JSON,
                     key, (oai_slice){said->text.p, said->text.n}, "");
  return status == OAI_OK ? tell_piece(r, item, said) : status;
}

/* ---- its end ------------------------------------------------------------ */

/* Arguments that came in one piece, with the block. */
static oai_status take_input(oai_reader *r, const oai_item *item) {
  oai_choice *c;
  oai_call *call;
  oai_slice json = {item->json.p, item->json.n};
  oai_slice input = oai_wire_member(r, json, "input");
  oai_scan_str id = oai_wire_text_of(r, json, "id");
  oai_status status = call_at(r, &id, item->index, &c, &call);
  if (status != OAI_OK || call->arguments.buf.n) return status;
  if (!input.p || input.n <= 2 || (*input.p != '{' && *input.p != '['))
    return OAI_OK;
  return oai_delta_call_arguments(r->delta, c, call, NULL, &input);
}

/* In the neutral message the text stands before the calls. */
static bool behind_a_call(const oai_reader *r, const oai_item *item) {
  oai_slice json = {item->json.p, item->json.n};
  oai_scan_str text = oai_wire_text_of(r, json, "text");
  for (const oai_item *i = r->delta->items; i < item && text.n; i++)
    if (i->what == OAI_BLOCK_CALL) return true;
  return false;
}

oai_status oai_anthropic_stop(oai_reader *r, oai_item *item, bool tell) {
  if (item->json.n || (!item->head.n && !item->grown)) return OAI_OK;
  oai_status status = oai_anthropic_json(r, item);
  if (status != OAI_OK) return status;
  if (!oai_anthropic_plain(r, item) || behind_a_call(r, item))
    r->delta->opaque = true;
  if (item->what == OAI_BLOCK_CALL) return take_input(r, item);
  if (item->what != OAI_BLOCK_SERVER_CALL || !tell) return OAI_OK;
  oai_slice json = {item->json.p, item->json.n};
  return tell_call(r, json, "running", json);
}

oai_status oai_anthropic_stop_all(oai_reader *r) {
  oai_status status = OAI_OK;
  for (size_t i = 0; i < r->delta->nitems && status == OAI_OK; i++)
    status = oai_anthropic_stop(r, &r->delta->items[i], false);
  return status;
}
