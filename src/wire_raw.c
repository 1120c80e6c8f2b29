/* wire_raw: see wire_raw.h. */
#include "wire_raw.h"

static oai_read raw_event(oai_reader *r, const oai_sse_event *event) {
  (void)r;
  (void)event;
  return OAI_READ_MORE;
}

static oai_read raw_body(oai_reader *r, oai_slice body) {
  (void)r;
  (void)body;
  return OAI_READ_DONE;
}

const oai_wire oai_wire_raw = {"raw", raw_event, raw_body, OAI_ANSWER_BYTES,
                               NULL};
