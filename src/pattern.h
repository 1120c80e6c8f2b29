/* pattern: the bytes around the one string that changes from chunk to chunk.
 * A stream repeats some 250 bytes of JSON around every few letters; where they
 * are the same to the byte, reading them again can bring nothing new, and only
 * the string between them is scanned. Level 1: knows buf and scan. */
#ifndef OAI_PATTERN_H
#define OAI_PATTERN_H

#include "scan.h"

typedef struct oai_pattern {
  oai_buf bytes; /* what stands before and after the string, quotes included */
  size_t before; /* how many of them stand before; 0: nothing learnt */
  int what;      /* the learner's own marks: what the string is */
  unsigned choice, call;
} oai_pattern;

void oai_pattern_init(oai_pattern *p);
void oai_pattern_free(oai_pattern *p);
void oai_pattern_forget(oai_pattern *p);
/* Learns from a text and the one string inside it that may change. Too long a
 * text, or no memory, teaches nothing. */
void oai_pattern_learn(oai_pattern *p, oai_slice text, const oai_scan_str *str);
/* The text is the pattern with another (valid) string in it. */
bool oai_pattern_match(const oai_pattern *p, oai_slice text, oai_scan_str *str);

#endif
