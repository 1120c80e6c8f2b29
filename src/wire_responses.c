/* wire_responses: see wire_responses.h. This file reads events; items and the
 * response object are in wire_responses_item.c.
 *
 * An event is checked whole before anything of it is taken. Only the event that
 * ends a response (completed, incomplete, failed) ends the answer: whatever
 * stops before it is incomplete. */
#include "wire_responses_internal.h"

#include "apierror.h"

#include <stdlib.h>
#include <string.h>

/* The members of an event that mean something to us; the others' bytes stay in
 * `data`. */
typedef struct event {
  oai_slice data, response, item;
  oai_scan_str type, delta, item_id, arguments;
  double index, sequence;
} event;

typedef oai_read read_fn(oai_reader *r, const event *e);

static double number(oai_scan *s) {
  char text[32];
  oai_scan_num num;
  if (oai_scan_peek(s) != '0') return oai_scan_skip(s, NULL), -1;
  if (!oai_scan_number(s, &num) || !num.integer || num.n >= sizeof text)
    return -1;
  memcpy(text, num.p, num.n);
  text[num.n] = 0;
  return strtod(text, NULL);
}

static void read_members(oai_reader *r, event *e) {
  oai_scan s = oai_wire_scan(r, e->data);
  oai_scan_str key;
  oai_scan_open(&s);
  while (oai_scan_key(&s, &key)) {
    if (oai_scan_str_is(&key, "type"))
      oai_wire_string(&s, &e->type);
    else if (oai_scan_str_is(&key, "delta"))
      oai_wire_string(&s, &e->delta);
    else if (oai_scan_str_is(&key, "output_index"))
      e->index = number(&s);
    else if (oai_scan_str_is(&key, "sequence_number"))
      e->sequence = number(&s);
    else if (oai_scan_str_is(&key, "item_id"))
      oai_wire_string(&s, &e->item_id);
    else if (oai_scan_str_is(&key, "response"))
      oai_scan_skip(&s, &e->response);
    else if (oai_scan_str_is(&key, "item"))
      oai_scan_skip(&s, &e->item);
    else if (oai_scan_str_is(&key, "arguments"))
      oai_wire_string(&s, &e->arguments);
    else
      oai_scan_skip(&s, NULL);
  }
}

/* ---- text --------------------------------------------------------------- */

static oai_read add_text(oai_reader *r, const event *e, oai_op_kind which) {
  oai_choice *c;
  oai_status status = oai_responses_choice(r, &c);
  if (status == OAI_OK && e->delta.n)
    status = oai_delta_text(r->delta, c, which, &e->delta);
  return oai_wire_check(r, status);
}

static oai_read on_text(oai_reader *r, const event *e) {
  return add_text(r, e, OAI_OP_TEXT);
}

static oai_read on_refusal(oai_reader *r, const event *e) {
  return add_text(r, e, OAI_OP_REFUSAL);
}

static oai_read on_summary(oai_reader *r, const event *e) {
  return oai_wire_check(
      r, oai_responses_reason(r, OAI_REASONING_SUMMARY, &e->delta));
}

static oai_read on_thought(oai_reader *r, const event *e) {
  return oai_wire_check(r,
                        oai_responses_reason(r, OAI_REASONING_ITEM, &e->delta));
}

/* Summaries come in parts, each a paragraph. */
static oai_read on_summary_part(oai_reader *r, const event *e) {
  static const oai_scan_str gap = {"\\n\\n", 4, true};
  oai_choice *c;
  oai_status status = oai_responses_choice(r, &c);
  (void)e;
  if (status == OAI_OK && c->reasoning.buf.n)
    status = oai_responses_reason(r, OAI_REASONING_SUMMARY, &gap);
  return oai_wire_check(r, status);
}

/* ---- calls and items ---------------------------------------------------- */

static oai_read add_arguments(oai_reader *r, const event *e,
                              const oai_scan_str *text, bool if_none) {
  oai_choice *c;
  oai_call *call;
  oai_status status = oai_responses_call(r, NULL, e->index, &c, &call);
  if (status == OAI_OK && text->n && !(if_none && call->arguments.buf.n))
    status = oai_delta_call_arguments(r->delta, c, call, text, NULL);
  return oai_wire_check(r, status);
}

static oai_read on_arguments(oai_reader *r, const event *e) {
  return add_arguments(r, e, &e->delta, false);
}

/* Also of a call whose item was not announced. */
static oai_read on_arguments_done(oai_reader *r, const event *e) {
  oai_choice *c;
  oai_call *call;
  oai_scan_str name = oai_wire_text_of(r, e->data, "name");
  oai_status status = oai_responses_call(r, NULL, e->index, &c, &call);
  if (status == OAI_OK && name.n && !call->name.buf.n)
    status = oai_delta_call_name(call, &name);
  if (status != OAI_OK) return oai_wire_check(r, status);
  return add_arguments(r, e, &e->arguments, true);
}

static oai_read on_item_added(oai_reader *r, const event *e) {
  if (!e->item.p) return OAI_READ_MORE;
  return oai_wire_check(r, oai_responses_item_added(r, e->item, e->index));
}

static oai_read on_item_done(oai_reader *r, const event *e) {
  if (!e->item.p || e->index < 0) return OAI_READ_MORE;
  return oai_wire_check(r, oai_responses_item_done(r, e->item, e->index));
}

/* ---- the response ------------------------------------------------------- */

static oai_read on_created(oai_reader *r, const event *e) {
  oai_delta *d = r->delta;
  if (!e->response.p) return OAI_READ_MORE;
  oai_scan_str id = oai_wire_text_of(r, e->response, "id");
  oai_scan_str model = oai_wire_text_of(r, e->response, "model");
  oai_status status = oai_delta_keep(&d->whole, e->response);
  if (status == OAI_OK) status = oai_delta_set(&d->id, &id);
  if (status == OAI_OK) status = oai_delta_set(&d->model, &model);
  return oai_wire_check(r, status);
}

static oai_read on_end(oai_reader *r, const event *e) {
  enum { PREFIX = sizeof "response." - 1 };
  oai_scan_str said = {e->type.p + PREFIX, e->type.n - PREFIX, false};
  if (e->response.p && *e->response.p == '{')
    return oai_responses_end(r, e->response, &said);
  return oai_wire_fail(r, OAI_PROTOCOL, "malformed_event");
}

static oai_read on_error(oai_reader *r, const event *e) {
  oai_apierror_read(r->failure, r->status, e->data, r->key);
  return OAI_READ_FAILED;
}

static const struct {
  const char *type;
  read_fn *read;
} handlers[] = {
    {"response.output_text.delta", on_text},
    {"response.reasoning_summary_text.delta", on_summary},
    {"response.reasoning_text.delta", on_thought},
    {"response.function_call_arguments.delta", on_arguments},
    {"response.refusal.delta", on_refusal},
    {"response.reasoning_summary_part.added", on_summary_part},
    {"response.function_call_arguments.done", on_arguments_done},
    {"response.output_item.added", on_item_added},
    {"response.output_item.done", on_item_done},
    {"response.created", on_created},
    {"response.completed", on_end},
    {"response.incomplete", on_end},
    {"response.failed", on_end},
    {"response.cancelled", on_end},
    {"error", on_error},
};

/* ---- what the server's tools are doing ---------------------------------- */

static const char *find(const char *p, size_t n, const char *what) {
  size_t k = strlen(what);
  for (size_t i = 0; i + k <= n; i++)
    if (memcmp(p + i, what, k) == 0) return p + i;
  return NULL;
}

/* response.web_search_call.searching: tool "web_search", status "searching";
 * response.mcp_call_arguments.delta: tool "mcp", status "arguments.delta". */
static bool split_type(const oai_scan_str *type, oai_slice *tool,
                       oai_slice *status) {
  static const char prefix[] = "response.", list[] = "mcp_list_tools";
  size_t skip = sizeof prefix - 1;
  if (type->escaped || type->n <= skip || memcmp(type->p, prefix, skip) != 0)
    return false;
  const char *p = type->p + skip, *end = type->p + type->n, *at;
  if ((at = find(p, (size_t)(end - p), "_call")) && at > p) {
    *tool = (oai_slice){p, (size_t)(at - p)};
    at += 5;
  } else if (find(p, (size_t)(end - p), list) == p) {
    *tool = (oai_slice){p, sizeof list - 1};
    at = p + sizeof list - 1;
  } else {
    return false;
  }
  if (at < end) at++; /* the dot, or the line before "arguments" */
  *status = (oai_slice){at, (size_t)(end - at)};
  return true;
}

static oai_read tell_progress(oai_reader *r, const event *e) {
  oai_slice tool, status;
  if (!split_type(&e->type, &tool, &status)) return OAI_READ_MORE;
  return oai_wire_check(
      r, oai_wire_progress(r, tool, status, &e->item_id, e->data));
}

/* ---- the wire ----------------------------------------------------------- */

static oai_read read_event(oai_reader *r, const event *e) {
  for (size_t i = 0; i < sizeof handlers / sizeof *handlers; i++)
    if (oai_scan_str_is(&e->type, handlers[i].type))
      return handlers[i].read(r, e);
  return tell_progress(r, e);
}

static oai_read responses_event(oai_reader *r, const oai_sse_event *sse) {
  oai_scan_error why;
  event e;
  if (sse->data.n == 0 || oai_slice_is(sse->data, "[DONE]"))
    return OAI_READ_MORE;
  memset(&e, 0, sizeof e);
  e.data = sse->data;
  e.index = e.sequence = -1;
  if (oai_slice_is(sse->name, "error")) return on_error(r, &e);
  if (!oai_wire_valid(r, e.data, &why)) return oai_wire_fail_scan(r, why);
  oai_scan s = oai_wire_scan(r, e.data);
  if (oai_scan_peek(&s) != '{') return OAI_READ_MORE;
  read_members(r, &e);
  if (e.sequence >= 0 && e.sequence <= r->delta->resumed) return OAI_READ_MORE;
  if (e.sequence > r->delta->sequence) r->delta->sequence = e.sequence;
  if (!e.type.p) { /* a gateway's {"error": …} */
    oai_slice error = oai_wire_member(r, e.data, "error");
    return error.p && !oai_wire_is_null(error) ? on_error(r, &e)
                                               : OAI_READ_MORE;
  }
  return read_event(r, &e);
}

static oai_read responses_body(oai_reader *r, oai_slice body) {
  static const oai_scan_str nothing = {NULL, 0, false};
  oai_read read = oai_wire_check_body(r, body);
  if (read != OAI_READ_MORE) return read;
  oai_slice output = oai_wire_member(r, body, "output");
  return output.p && *output.p == '[' ? oai_responses_end(r, body, &nothing)
                                      : oai_wire_fail_body(r, body);
}

const oai_wire oai_wire_responses = {"responses", responses_event,
                                     responses_body, OAI_ANSWER_REPLY, NULL};
