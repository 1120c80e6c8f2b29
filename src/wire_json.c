/* wire_json: see wire_json.h. Nothing is assembled but whether an end was told:
 * by [DONE], or, before the body's clean end, by an event that says so
 * (transcript.text.done, image_generation.completed, response.failed, …). */
#include "wire_json.h"

#include "apierror.h"
#include "wire_read.h"

#include <string.h>

static bool ends_with(const oai_scan_str *text, const char *end) {
  size_t n = strlen(end);
  return text->n >= n && memcmp(text->p + text->n - n, end, n) == 0;
}

/* The parts of a response end too: of those only the whole counts. */
static bool is_end(const oai_scan_str *type) {
  static const char whole[] = "response.";
  size_t n = sizeof whole - 1;
  if (!type->p) return false;
  if (type->n < n || memcmp(type->p, whole, n) != 0)
    return ends_with(type, ".completed") || ends_with(type, ".done");
  return oai_scan_str_is(type, "response.completed") ||
         oai_scan_str_is(type, "response.incomplete") ||
         oai_scan_str_is(type, "response.failed") ||
         oai_scan_str_is(type, "response.cancelled");
}

/* Legacy completions have choices: each with a reason why it ended. */
static oai_status read_choices(oai_reader *r, oai_slice choices) {
  oai_scan s = oai_wire_scan(r, choices);
  oai_slice one;
  oai_status status = OAI_OK;
  if (!choices.p || oai_scan_peek(&s) != '[' || !oai_scan_open(&s))
    return OAI_OK;
  while (status == OAI_OK && oai_scan_item(&s) && oai_scan_skip(&s, &one)) {
    oai_choice *c;
    oai_scan_str reason = oai_wire_text_of(r, one, "finish_reason");
    double index = oai_wire_number_of(r, one, "index", 0);
    if (index < 0 || index > 1e6) continue;
    status = oai_delta_choice(r->delta, (long)index, &c);
    if (status == OAI_OK) status = oai_delta_finish(r->delta, c, &reason);
  }
  return status;
}

static oai_status note_end(oai_reader *r) {
  static const oai_scan_str stop = {"stop", 4, false};
  oai_choice *c;
  oai_status status = oai_delta_choice(r->delta, 0, &c);
  return status == OAI_OK ? oai_delta_finish(r->delta, c, &stop) : status;
}

static oai_read json_event(oai_reader *r, const oai_sse_event *event) {
  oai_scan_error why;
  oai_slice data = event->data;
  if (data.n == 0) return OAI_READ_MORE;
  if (oai_slice_is(data, "[DONE]")) return OAI_READ_DONE;
  oai_slice error = {NULL, 0};
  oai_scan_str type = {NULL, 0, false};
  if (!oai_slice_is(event->name, "error")) {
    if (!oai_wire_valid(r, data, &why)) return oai_wire_fail_scan(r, why);
    error = oai_wire_member(r, data, "error");
    type = oai_wire_text_of(r, data, "type");
  }
  bool failed = error.p && !oai_wire_is_null(error);
  if (oai_slice_is(event->name, "error") || failed ||
      (type.p && oai_scan_str_is(&type, "error"))) {
    oai_apierror_read(r->failure, r->status, data, r->key);
    return OAI_READ_FAILED;
  }
  oai_status status =
      is_end(&type) ? note_end(r)
                    : read_choices(r, oai_wire_member(r, data, "choices"));
  return oai_wire_check(r, status);
}

/* An answer whose only content is an error is one, whatever its status. A list
 * of things may have an `error` each, and a thing one that is null. */
static oai_read json_body(oai_reader *r, oai_slice body) {
  oai_scan_error why;
  if (!oai_wire_valid(r, body, &why))
    return why == OAI_SCAN_CUT
               ? oai_wire_fail(r, OAI_INCOMPLETE_STREAM, "incomplete")
           : why == OAI_SCAN_DEEP
               ? oai_wire_fail_scan(r, why)
               : oai_wire_fail(r, OAI_PROTOCOL, "bad_response");
  oai_slice error = oai_wire_member(r, body, "error");
  oai_slice id = oai_wire_member(r, body, "id");
  if (!error.p || *error.p == 'n' || *error.p == 'f' || id.p)
    return OAI_READ_DONE;
  oai_apierror_value(r->failure, r->status, error, r->key);
  return OAI_READ_FAILED;
}

const oai_wire oai_wire_json = {"json", json_event, json_body, OAI_ANSWER_JSON,
                                NULL};
