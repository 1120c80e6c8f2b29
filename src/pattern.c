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

static bool add(oai_pattern *p, const char *from, const char *to) {
  return oai_buf_append(&p->bytes, from, (size_t)(to - from)) == OAI_BUF_OK;
}

void oai_pattern_learn(oai_pattern *p, oai_slice text, const oai_scan_str *said,
                       const oai_scan_str *padding) {
  const oai_scan_str *first = said, *second = NULL;
  const char *end = text.p + text.n;
  if (padding->p) {
    p->padded_first = padding->p < said->p;
    first = p->padded_first ? padding : said;
    second = p->padded_first ? said : padding;
  }
  p->bytes.n = p->before = p->between = 0;
  const char *gap = first->p + first->n;
  if (!add(p, text.p, first->p) || !add(p, gap, second ? second->p : end) ||
      (second && !add(p, second->p + second->n, end)))
    return;
  p->before = (size_t)(first->p - text.p);
  if (second) p->between = (size_t)(second->p - gap);
}

/* Steps over the string whose opening quote is behind at, to its closing one.
 */
static const char *pass_string(const char *at, const char *end,
                               oai_scan_str *str) {
  oai_scan s;
  oai_scan_init(&s, at - 1, (size_t)(end - at) + 1, 1);
  return oai_scan_string(&s, str) ? s.p - 1 : NULL;
}

bool oai_pattern_match(const oai_pattern *p, oai_slice text,
                       oai_scan_str *said) {
  const char *at = text.p, *end = at + text.n, *kept = p->bytes.p;
  size_t behind = p->bytes.n - p->before - p->between;
  oai_scan_str second;
  if (!p->before || text.n < p->bytes.n) return false;
  if (memcmp(at, kept, p->before) != 0) return false;
  at = pass_string(at + p->before, end, said);
  kept += p->before;
  if (at && p->between) {
    if ((size_t)(end - at) < p->between || memcmp(at, kept, p->between) != 0)
      return false;
    at = pass_string(at + p->between, end, &second);
    kept += p->between;
    if (p->padded_first) *said = second;
  }
  return at && (size_t)(end - at) == behind && memcmp(at, kept, behind) == 0;
}
