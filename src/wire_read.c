/* wire_read: see wire_read.h. */
#include "wire_read.h"

#include "apierror.h"

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

oai_scan oai_wire_scan(const oai_reader *r, oai_slice value) {
  oai_scan s;
  oai_scan_init(&s, value.p, value.n, r->max_depth);
  return s;
}

bool oai_wire_valid(const oai_reader *r, oai_slice text, oai_scan_error *why) {
  oai_scan s = oai_wire_scan(r, text);
  bool valid = oai_scan_skip(&s, NULL) && oai_scan_finish(&s);
  *why = s.error;
  return valid;
}

bool oai_wire_string(oai_scan *s, oai_scan_str *out) {
  out->p = NULL;
  out->n = 0;
  out->escaped = false;
  return oai_scan_peek(s) == '"' ? oai_scan_string(s, out)
                                 : oai_scan_skip(s, NULL);
}

bool oai_wire_is_null(oai_slice value) {
  return oai_slice_is(value, "null");
}

oai_slice oai_wire_member(const oai_reader *r, oai_slice object,
                          const char *name) {
  oai_slice found = {NULL, 0}, value;
  oai_scan s = oai_wire_scan(r, object);
  oai_scan_str key;
  if (!object.p || oai_scan_peek(&s) != '{' || !oai_scan_open(&s)) return found;
  while (oai_scan_key(&s, &key) && oai_scan_skip(&s, &value))
    if (oai_scan_str_is(&key, name)) found = value;
  return found;
}

oai_scan_str oai_wire_text_of(const oai_reader *r, oai_slice object,
                              const char *name) {
  oai_scan_str out = {NULL, 0, false};
  oai_slice value = oai_wire_member(r, object, name);
  oai_scan s = oai_wire_scan(r, value);
  if (value.p) oai_wire_string(&s, &out);
  return out;
}

double oai_wire_number_of(const oai_reader *r, oai_slice object,
                          const char *name, double missing) {
  oai_slice value = oai_wire_member(r, object, name);
  char text[32], *end;
  if (!value.n || value.n >= sizeof text) return missing;
  memcpy(text, value.p, value.n);
  text[value.n] = 0;
  double number = strtod(text, &end);
  return *end || !isfinite(number) ? missing : number;
}

static bool put(oai_buf *b, const char *before, const char *p, size_t n) {
  return oai_buf_append(b, before, strlen(before)) == OAI_BUF_OK &&
         oai_buf_append(b, p, n) == OAI_BUF_OK;
}

oai_status oai_wire_progress(oai_reader *r, oai_slice tool, oai_slice status,
                             const oai_scan_str *id, oai_slice data) {
  oai_buf b;
  oai_buf_init(&b, SIZE_MAX / 4);
  bool ok = put(&b, "{\"tool\":\"", tool.p, tool.n) &&
            put(&b, "\",\"status\":\"", status.p, status.n) &&
            put(&b, "\",\"id\":\"", id->p, id->n) &&
            put(&b, "\",\"data\":", data.p, data.n) && put(&b, "}", NULL, 0);
  oai_status how =
      ok ? oai_delta_progress(r->delta, (oai_slice){b.p, b.n}) : OAI_ERR_NOMEM;
  oai_buf_free(&b);
  return how;
}

oai_read oai_wire_fail(oai_reader *r, oai_kind kind, const char *code) {
  oai_failure_set(r->failure, kind, code);
  r->failure->status = r->status;
  r->failure->in_band = true;
  return OAI_READ_FAILED;
}

oai_read oai_wire_fail_scan(oai_reader *r, oai_scan_error why) {
  return why == OAI_SCAN_DEEP
             ? oai_wire_fail(r, OAI_TOO_LARGE, "too_deep")
             : oai_wire_fail(r, OAI_PROTOCOL, "malformed_event");
}

oai_read oai_wire_check(oai_reader *r, oai_status status) {
  switch (status) {
  case OAI_OK: return OAI_READ_MORE;
  case OAI_ERR_NOMEM: return OAI_READ_NOMEM;
  case OAI_ERR_FIELDS: return oai_wire_fail(r, OAI_TOO_LARGE, "too_large");
  case OAI_ERR_TOO_MANY: break;
  }
  return oai_wire_fail(r, OAI_TOO_LARGE, "too_many_tool_calls");
}

oai_read oai_wire_check_body(oai_reader *r, oai_slice body) {
  oai_scan_error why;
  if (oai_wire_valid(r, body, &why)) return OAI_READ_MORE;
  return why == OAI_SCAN_DEEP ? oai_wire_fail_scan(r, why)
                              : oai_wire_fail(r, OAI_PROTOCOL, "bad_response");
}

oai_read oai_wire_fail_body(oai_reader *r, oai_slice body) {
  oai_slice error = oai_wire_member(r, body, "error");
  if (error.p && !oai_wire_is_null(error)) {
    oai_apierror_value(r->failure, r->status, error, r->key);
    return OAI_READ_FAILED;
  }
  oai_apierror_read(r->failure, r->status, body, r->key);
  r->failure->kind = OAI_PROTOCOL;
  if (!r->failure->code[0])
    oai_failure_field(r->failure->code, sizeof r->failure->code, "bad_response",
                      12);
  return OAI_READ_FAILED;
}
