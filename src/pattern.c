/* pattern: see pattern.h. */
#include "pattern.h"

#include <string.h>

enum { PATTERN_MAX = 4096 };

void oai_pattern_init(oai_pattern *p) {
  memset(p, 0, sizeof *p);
  oai_buf_init(&p->bytes, PATTERN_MAX);
}

void oai_pattern_free(oai_pattern *p) {
  oai_buf_free(&p->bytes);
}

void oai_pattern_forget(oai_pattern *p) {
  p->before = 0;
}

void oai_pattern_learn(oai_pattern *p, oai_slice text,
                       const oai_scan_str *str) {
  size_t before = (size_t)(str->p - text.p);
  const char *after = str->p + str->n;
  p->bytes.n = 0;
  p->before = 0;
  if (oai_buf_append(&p->bytes, text.p, before) == OAI_BUF_OK &&
      oai_buf_append(&p->bytes, after, text.n - before - str->n) == OAI_BUF_OK)
    p->before = before;
}

bool oai_pattern_match(const oai_pattern *p, oai_slice text,
                       oai_scan_str *str) {
  size_t before = p->before, after = p->bytes.n - before;
  if (!before || text.n < p->bytes.n) return false;
  if (memcmp(text.p + text.n - after, p->bytes.p + before, after) != 0 ||
      memcmp(text.p, p->bytes.p, before) != 0)
    return false;
  oai_scan s;
  oai_scan_init(&s, text.p + before - 1, text.n - before + 1, 1);
  return oai_scan_string(&s, str) && str->p + str->n == text.p + text.n - after;
}
