/* wire_anthropic: see wire_anthropic.h. This file reads events and whole
 * messages; blocks are in wire_anthropic_block.c.
 *
 * An event is checked whole before anything of it is taken. message_stop ends
 * an answer; without it a stop reason and the body's clean end do. */
#include "wire_anthropic_internal.h"

#include "apierror.h"

#include <string.h>

typedef struct event {
  oai_slice data;
  oai_said said; /* for the pattern */
} event;

typedef oai_read read_fn(oai_reader *r, event *e);

/* ---- the message -------------------------------------------------------- */

/* The API's reasons (API reference, stop_reason) in the words of chat
 * completions; the others stay as they are. */
static oai_scan_str finish_of(const oai_scan_str *reason) {
  static const struct {
    const char *theirs;
    oai_scan_str ours;
  } words[] = {
      {"end_turn", {"stop", 4, false}},
      {"stop_sequence", {"stop", 4, false}},
      {"max_tokens", {"length", 6, false}},
      {"model_context_window_exceeded", {"length", 6, false}},
      {"tool_use", {"tool_calls", 10, false}},
      {"refusal", {"content_filter", 14, false}},
  };
  for (size_t i = 0; i < sizeof words / sizeof *words; i++)
    if (oai_scan_str_is(reason, words[i].theirs)) return words[i].ours;
  return *reason;
}

static oai_status read_finish(oai_reader *r, oai_slice object) {
  oai_choice *c;
  oai_scan_str reason = oai_wire_text_of(r, object, "stop_reason");
  oai_status status = oai_anthropic_choice(r, &c);
  if (status != OAI_OK || !reason.n) return status;
  oai_scan_str finish = finish_of(&reason);
  status = oai_anthropic_stop_all(r);
  return status == OAI_OK ? oai_delta_finish(r->delta, c, &finish) : status;
}

/* Usage is told twice: at the start what goes in, at the end what came out
 * (and, cumulative, all of it); of each count the last one is true. */
static oai_status read_usage(oai_reader *r, oai_slice object) {
  oai_delta *d = r->delta;
  oai_slice usage = oai_wire_member(r, object, "usage");
  oai_buf sum;
  if (!usage.p || *usage.p != '{') return OAI_OK;
  oai_buf_init(&sum, d->usage.max);
  oai_slice before = {d->usage.p, d->usage.n};
  oai_status status = oai_anthropic_merge(r, &sum, before, usage);
  if (status == OAI_OK && sum.n)
    status = oai_delta_usage(d, (oai_slice){sum.p, sum.n});
  oai_buf_free(&sum);
  return status;
}

static oai_status read_facts(oai_reader *r, oai_slice message) {
  oai_delta *d = r->delta;
  oai_scan_str id = oai_wire_text_of(r, message, "id");
  oai_scan_str model = oai_wire_text_of(r, message, "model");
  oai_status status = oai_delta_keep(&d->whole, message);
  if (status == OAI_OK) status = oai_delta_set(&d->id, &id);
  if (status == OAI_OK) status = oai_delta_set(&d->model, &model);
  return status == OAI_OK ? read_usage(r, message) : status;
}

/* Blocks of a message that is whole. */
static oai_status read_content(oai_reader *r, oai_slice content) {
  oai_scan s = oai_wire_scan(r, content);
  oai_slice block;
  double index = 0;
  oai_status status = OAI_OK;
  if (!content.p || oai_scan_peek(&s) != '[' || !oai_scan_open(&s))
    return OAI_OK;
  while (status == OAI_OK && oai_scan_item(&s) && oai_scan_skip(&s, &block))
    status = oai_anthropic_start(r, index++, block, NULL);
  return status == OAI_OK ? oai_anthropic_stop_all(r) : status;
}

/* ---- events ------------------------------------------------------------- */

/* The number of the event's block; of a server that gives none: 0. */
static double index_of(const oai_reader *r, const event *e) {
  return oai_wire_number_of(r, e->data, "index", 0);
}

static oai_read on_message_start(oai_reader *r, event *e) {
  oai_slice message = oai_wire_member(r, e->data, "message");
  if (!message.p || *message.p != '{') return OAI_READ_MORE;
  return oai_wire_check(r, read_facts(r, message));
}

static oai_read on_block_start(oai_reader *r, event *e) {
  oai_slice block = oai_wire_member(r, e->data, "content_block");
  return oai_wire_check(
      r, oai_anthropic_start(r, index_of(r, e), block, &e->data));
}

static oai_read on_block_delta(oai_reader *r, event *e) {
  oai_slice delta = oai_wire_member(r, e->data, "delta");
  return oai_wire_check(
      r, oai_anthropic_piece(r, index_of(r, e), delta, &e->said));
}

static oai_read on_block_stop(oai_reader *r, event *e) {
  oai_item *item;
  oai_status status = oai_delta_item(r->delta, index_of(r, e), &item);
  if (status == OAI_OK) status = oai_anthropic_stop(r, item, true);
  return oai_wire_check(r, status);
}

static oai_read on_message_delta(oai_reader *r, event *e) {
  static const char *const told[] = {"type", "delta", "usage", NULL};
  oai_slice delta = oai_wire_member(r, e->data, "delta");
  oai_status status = oai_anthropic_append(r, &r->delta->whole, delta, NULL);
  if (status == OAI_OK) /* such as context_management */
    status = oai_anthropic_append(r, &r->delta->whole, e->data, told);
  if (status == OAI_OK) status = read_usage(r, e->data);
  if (status == OAI_OK) status = read_finish(r, delta);
  return oai_wire_check(r, status);
}

static oai_read on_message_stop(oai_reader *r, event *e) {
  (void)e;
  oai_read read = oai_wire_check(r, oai_anthropic_stop_all(r));
  return read == OAI_READ_MORE ? OAI_READ_DONE : read;
}

static oai_read on_error(oai_reader *r, event *e) {
  oai_apierror_read(r->failure, r->status, e->data, r->key);
  return OAI_READ_FAILED;
}

static const struct {
  const char *type;
  read_fn *read;
} handlers[] = {
    {"content_block_delta", on_block_delta},
    {"content_block_start", on_block_start},
    {"content_block_stop", on_block_stop},
    {"message_start", on_message_start},
    {"message_delta", on_message_delta},
    {"message_stop", on_message_stop},
    {"error", on_error},
};

static oai_read read_event(oai_reader *r, event *e) {
  oai_scan_str type = oai_wire_text_of(r, e->data, "type");
  if (!type.p) { /* a gateway's {"error": …} */
    oai_slice error = oai_wire_member(r, e->data, "error");
    return error.p && !oai_wire_is_null(error) ? on_error(r, e) : OAI_READ_MORE;
  }
  for (size_t i = 0; i < sizeof handlers / sizeof *handlers; i++)
    if (oai_scan_str_is(&type, handlers[i].type)) return handlers[i].read(r, e);
  return OAI_READ_MORE; /* "new event types may be added" (API reference) */
}

/* ---- the pattern -------------------------------------------------------- */

static void learn(oai_reader *r, const event *e) {
  static const oai_scan_str no_padding = {NULL, 0, false};
  oai_pattern *p = r->pattern;
  oai_pattern_forget(p);
  if (!e->said.text.p) return;
  oai_pattern_learn(p, e->data, &e->said.text, &no_padding);
  p->what = e->said.what;
  p->call = (unsigned)e->said.at;
}

/* The event is the last one with another string in it. */
static oai_read repeat(oai_reader *r, const oai_scan_str *text) {
  const oai_pattern *p = r->pattern;
  oai_said said = {*text, (oai_op_kind)p->what, p->call};
  return oai_wire_check(r, oai_anthropic_again(r, &said));
}

/* ---- the wire ----------------------------------------------------------- */

static oai_read anthropic_event(oai_reader *r, const oai_sse_event *sse) {
  oai_scan_error why;
  oai_scan_str text;
  event e;
  memset(&e, 0, sizeof e);
  e.data = sse->data;
  if (e.data.n == 0) return OAI_READ_MORE;
  if (oai_slice_is(sse->name, "error")) return on_error(r, &e);
  if (r->pattern && oai_pattern_match(r->pattern, e.data, &text) && text.n)
    return repeat(r, &text);
  if (oai_slice_is(e.data, "[DONE]")) return OAI_READ_MORE;
  if (!oai_wire_valid(r, e.data, &why)) return oai_wire_fail_scan(r, why);
  oai_scan s = oai_wire_scan(r, e.data);
  if (oai_scan_peek(&s) != '{') return OAI_READ_MORE;
  oai_read read = read_event(r, &e);
  if (r->pattern) learn(r, &e);
  return read;
}

static oai_read anthropic_body(oai_reader *r, oai_slice body) {
  oai_read read = oai_wire_check_body(r, body);
  if (read != OAI_READ_MORE) return read;
  oai_slice content = oai_wire_member(r, body, "content");
  if (!content.p || *content.p != '[') return oai_wire_fail_body(r, body);
  oai_status status = read_facts(r, body);
  if (status == OAI_OK) status = read_content(r, content);
  if (status == OAI_OK) status = read_finish(r, body);
  return status == OAI_OK ? OAI_READ_DONE : oai_wire_check(r, status);
}

const oai_wire oai_wire_anthropic = {"anthropic", anthropic_event,
                                     anthropic_body, OAI_ANSWER_REPLY, NULL};
