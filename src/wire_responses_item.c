/* wire_responses_item: reads the items of a response, and the response object
 * that ends an answer. See wire_responses.h. */
#include "wire_responses_internal.h"

#include "apierror.h"

#include <stdint.h>
#include <string.h>

oai_status oai_responses_choice(oai_reader *r, oai_choice **out) {
  return oai_delta_choice(r->delta, 0, out);
}

oai_status oai_responses_call(oai_reader *r, const oai_scan_str *id,
                              double index, oai_choice **choice,
                              oai_call **call) {
  oai_status status = oai_responses_choice(r, choice);
  if (status != OAI_OK) return status;
  return oai_delta_call(r->delta, *choice, id && id->n ? id : NULL, index >= 0,
                        index, call);
}

oai_status oai_responses_reason(oai_reader *r, oai_reasoning_field field,
                                const oai_scan_str *text) {
  oai_choice *c;
  oai_status status = oai_responses_choice(r, &c);
  if (status != OAI_OK || !text->n) return status;
  if (!c->reasoning_field) c->reasoning_field = field;
  return c->reasoning_field == field
             ? oai_delta_text(r->delta, c, OAI_OP_REASONING, text)
             : OAI_OK;
}

/* What a whole text has beyond what came of it; nothing where it is another. */
static oai_scan_str rest_of(const oai_text *came, const oai_buf *whole) {
  size_t n = came->buf.n;
  if (came->high || whole->n <= n || memcmp(whole->p, came->buf.p, n) != 0)
    return (oai_scan_str){NULL, 0, false};
  return (oai_scan_str){whole->p + n, whole->n - n, false};
}

static oai_status unescape(oai_buf *b, const oai_scan_str *str) {
  if (oai_buf_reserve(b, str->n + 3) != OAI_BUF_OK) return OAI_ERR_NOMEM;
  b->n += oai_scan_unescape(str, b->p + b->n, NULL);
  return OAI_OK;
}

/* ---- items -------------------------------------------------------------- */

/* A piece of the arguments got lost on the way. */
static oai_status add_rest(oai_reader *r, oai_choice *choice, oai_call *call,
                           const oai_scan_str *arguments) {
  oai_buf whole;
  if (arguments->n <= call->arguments.buf.n) return OAI_OK;
  oai_buf_init(&whole, SIZE_MAX / 4);
  oai_status status = unescape(&whole, arguments);
  oai_scan_str rest = rest_of(&call->arguments, &whole);
  if (status == OAI_OK && rest.n)
    status = oai_delta_call_arguments(r->delta, choice, call, &rest, NULL);
  oai_buf_free(&whole);
  return status;
}

/* What a whole call says of itself, where the events have not said it. */
static oai_status read_call(oai_reader *r, oai_slice item, double index,
                            bool whole) {
  oai_choice *choice;
  oai_call *call;
  oai_scan_str id = oai_wire_text_of(r, item, "call_id");
  oai_scan_str name = oai_wire_text_of(r, item, "name");
  oai_scan_str arguments = oai_wire_text_of(r, item, "arguments");
  oai_status status = oai_responses_call(r, &id, index, &choice, &call);
  if (status == OAI_OK && name.n && !call->name.buf.n)
    status = oai_delta_call_name(call, &name);
  if (status != OAI_OK) return status;
  if (call->arguments.buf.n)
    return whole ? add_rest(r, choice, call, &arguments) : OAI_OK;
  if (whole && !arguments.n) return OAI_OK;
  return oai_delta_call_arguments(r->delta, choice, call, &arguments, NULL);
}

oai_status oai_responses_item_added(oai_reader *r, oai_slice item,
                                    double index) {
  oai_scan_str type = oai_wire_text_of(r, item, "type");
  if (oai_scan_str_is(&type, "function_call"))
    return read_call(r, item, index, false);
  oai_choice *choice; /* it has begun, whatever it says */
  return oai_responses_choice(r, &choice);
}

/* Whether the neutral message says all of it. `phase` tells a commentary from
 * the answer; it must go back with its message (API reference). */
static bool is_plain(const oai_reader *r, oai_slice item,
                     const oai_scan_str *type) {
  if (oai_scan_str_is(type, "function_call")) return true;
  if (!oai_scan_str_is(type, "message")) return false;
  oai_slice phase = oai_wire_member(r, item, "phase");
  return !phase.p || oai_wire_is_null(phase);
}

oai_status oai_responses_item_done(oai_reader *r, oai_slice item,
                                   double index) {
  oai_item *kept;
  if (*item.p != '{') return OAI_OK; /* it is none */
  oai_scan_str type = oai_wire_text_of(r, item, "type");
  oai_status status = oai_delta_item(r->delta, index, &kept);
  if (status == OAI_OK) status = oai_delta_keep(&kept->json, item);
  if (status != OAI_OK) return status;
  if (!is_plain(r, item, &type)) r->delta->opaque = true;
  if (!oai_scan_str_is(&type, "function_call")) return OAI_OK;
  return read_call(r, item, index, true);
}

/* ---- what was not streamed ---------------------------------------------- */

typedef oai_status part_fn(oai_reader *r, oai_slice part);

static oai_status each(oai_reader *r, oai_slice array, part_fn *fn) {
  oai_scan s = oai_wire_scan(r, array);
  oai_slice part;
  oai_status status = OAI_OK;
  if (!array.p || oai_scan_peek(&s) != '[' || !oai_scan_open(&s)) return OAI_OK;
  while (status == OAI_OK && oai_scan_item(&s) && oai_scan_skip(&s, &part))
    status = fn(r, part);
  return status;
}

static oai_status add_content(oai_reader *r, oai_slice part) {
  oai_choice *c;
  oai_status status = oai_responses_choice(r, &c);
  oai_scan_str text = oai_wire_text_of(r, part, "text");
  oai_scan_str refusal = oai_wire_text_of(r, part, "refusal");
  if (status == OAI_OK && text.p)
    status = oai_delta_text(r->delta, c, OAI_OP_TEXT, &text);
  if (status == OAI_OK && refusal.p)
    status = oai_delta_text(r->delta, c, OAI_OP_REFUSAL, &refusal);
  return status;
}

static oai_status add_summary(oai_reader *r, oai_slice part) {
  static const oai_scan_str gap = {"\\n\\n", 4, true};
  oai_choice *c;
  oai_status status = oai_responses_choice(r, &c);
  oai_scan_str text = oai_wire_text_of(r, part, "text");
  if (status != OAI_OK || !text.n) return status;
  if (c->reasoning.buf.n)
    status = oai_responses_reason(r, OAI_REASONING_SUMMARY, &gap);
  if (status != OAI_OK) return status;
  return oai_responses_reason(r, OAI_REASONING_SUMMARY, &text);
}

static oai_status add_thought(oai_reader *r, oai_slice part) {
  oai_scan_str text = oai_wire_text_of(r, part, "text");
  return oai_responses_reason(r, OAI_REASONING_ITEM, &text);
}

typedef struct missing {
  bool content, reasoning;
} missing;

static oai_status read_item(oai_reader *r, oai_slice item, double index,
                            const missing *m) {
  oai_scan_str type = oai_wire_text_of(r, item, "type");
  oai_status status = oai_responses_item_done(r, item, index);
  if (status == OAI_OK && m->content && oai_scan_str_is(&type, "message"))
    status = each(r, oai_wire_member(r, item, "content"), add_content);
  if (status != OAI_OK || !m->reasoning || !oai_scan_str_is(&type, "reasoning"))
    return status;
  status = each(r, oai_wire_member(r, item, "summary"), add_summary);
  if (status != OAI_OK) return status;
  return each(r, oai_wire_member(r, item, "content"), add_thought);
}

static oai_status gather(const oai_reader *r, oai_slice item, oai_buf *whole) {
  oai_slice content = oai_wire_member(r, item, "content"), part;
  oai_scan_str type = oai_wire_text_of(r, item, "type");
  oai_scan s = oai_wire_scan(r, content);
  oai_status status = OAI_OK;
  if (!oai_scan_str_is(&type, "message") || !content.p ||
      oai_scan_peek(&s) != '[' || !oai_scan_open(&s))
    return OAI_OK;
  while (status == OAI_OK && oai_scan_item(&s) && oai_scan_skip(&s, &part)) {
    oai_scan_str text = oai_wire_text_of(r, part, "text");
    if (text.p) status = unescape(whole, &text);
  }
  return status;
}

/* The end of the text, where its events got lost. */
static oai_status add_end(oai_reader *r, oai_choice *c, oai_slice output) {
  oai_buf whole;
  oai_slice item;
  oai_status status = OAI_OK;
  oai_scan s = oai_wire_scan(r, output);
  oai_scan_open(&s);
  oai_buf_init(&whole, SIZE_MAX / 4);
  while (status == OAI_OK && oai_scan_item(&s) && oai_scan_skip(&s, &item))
    status = gather(r, item, &whole);
  oai_scan_str rest = rest_of(&c->text, &whole);
  if (status == OAI_OK && rest.n)
    status = oai_delta_text(r->delta, c, OAI_OP_TEXT, &rest);
  oai_buf_free(&whole);
  return status;
}

/* The list is the truth; its texts are taken where no event brought any. */
static oai_status read_output(oai_reader *r, oai_slice output) {
  oai_choice *c;
  oai_slice item;
  double index = 0;
  oai_status status = oai_responses_choice(r, &c);
  if (status != OAI_OK) return status;
  missing m = {!c->text.buf.n && !c->refusal.buf.n, !c->reasoning.buf.n};
  oai_scan s = oai_wire_scan(r, output);
  if (!output.p || oai_scan_peek(&s) != '[' || !oai_scan_open(&s))
    return OAI_OK;
  oai_scan ahead = s;
  size_t n = 0;
  while (oai_scan_item(&ahead) && oai_scan_skip(&ahead, NULL)) n++;
  if (n >= r->delta->nitems) oai_delta_no_items(r->delta);
  while (status == OAI_OK && oai_scan_item(&s) && oai_scan_skip(&s, &item))
    status = read_item(r, item, index++, &m);
  if (status == OAI_OK && c->text.buf.n && !m.content)
    status = add_end(r, c, output);
  return status;
}

/* ---- the response ------------------------------------------------------- */

static oai_read fail_response(oai_reader *r, oai_slice response) {
  oai_slice error = oai_wire_member(r, response, "error");
  if (!error.p || oai_wire_is_null(error))
    return oai_wire_fail(r, OAI_SERVER, "response_failed");
  oai_apierror_value(r->failure, r->status, error, r->key);
  return OAI_READ_FAILED;
}

/* max_output_tokens, content_filter (API reference, incomplete_details), in
 * the words of chat completions. */
static oai_scan_str finish_of(const oai_reader *r, oai_slice response,
                              const oai_choice *c, bool incomplete) {
  static const oai_scan_str length = {"length", 6, false},
                            stop = {"stop", 4, false},
                            calls = {"tool_calls", 10, false};
  if (!incomplete) return c->ncalls ? calls : stop;
  oai_slice details = oai_wire_member(r, response, "incomplete_details");
  oai_scan_str reason = oai_wire_text_of(r, details, "reason");
  if (oai_scan_str_is(&reason, "max_output_tokens") || !reason.n) return length;
  return reason;
}

static oai_status read_facts(oai_reader *r, oai_slice response) {
  oai_delta *d = r->delta;
  oai_scan_str id = oai_wire_text_of(r, response, "id");
  oai_scan_str model = oai_wire_text_of(r, response, "model");
  oai_slice usage = oai_wire_member(r, response, "usage");
  oai_status status = oai_delta_keep(&d->whole, response);
  if (status == OAI_OK) status = oai_delta_set(&d->id, &id);
  if (status == OAI_OK) status = oai_delta_set(&d->model, &model);
  if (status == OAI_OK && usage.p && *usage.p == '{')
    status = oai_delta_usage(d, usage);
  return status;
}

oai_read oai_responses_end(oai_reader *r, oai_slice response,
                           const oai_scan_str *said) {
  oai_choice *c;
  oai_scan_str word = oai_wire_text_of(r, response, "status");
  if (!word.n || oai_scan_str_is(said, "failed") ||
      oai_scan_str_is(said, "cancelled"))
    word = *said;
  bool incomplete = oai_scan_str_is(&word, "incomplete");
  oai_status status = read_facts(r, response);
  if (status != OAI_OK) return oai_wire_check(r, status);
  if (oai_scan_str_is(&word, "failed")) return fail_response(r, response);
  if (oai_scan_str_is(&word, "cancelled"))
    return oai_wire_fail(r, OAI_CANCELED, "response_cancelled");
  if (oai_scan_str_is(&word, "queued") || oai_scan_str_is(&word, "in_progress"))
    return oai_wire_fail(r, OAI_INCOMPLETE_STREAM, "in_progress");
  status = read_output(r, oai_wire_member(r, response, "output"));
  if (status == OAI_OK) status = oai_responses_choice(r, &c);
  if (status != OAI_OK) return oai_wire_check(r, status);
  oai_scan_str finish = finish_of(r, response, c, incomplete);
  status = oai_delta_finish(r->delta, c, &finish);
  return status == OAI_OK ? OAI_READ_DONE : oai_wire_check(r, status);
}
