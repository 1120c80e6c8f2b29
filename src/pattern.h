/* pattern: the bytes around the strings that change from chunk to chunk: the
 * one that is said, and where a server pads its chunks the one that means
 * nothing. A stream repeats some 250 bytes of JSON around every few letters;
 * where they are the same to the byte, reading them again can bring nothing
 * new, and only the strings between them are scanned. Level 1: knows buf and
 * scan. */
#ifndef OAI_PATTERN_H
#define OAI_PATTERN_H

#include "scan.h"

typedef struct oai_pattern {
  oai_buf bytes;     /* what stands around the strings, their quotes included */
  size_t before;     /* bytes before the first string; 0: nothing learnt */
  size_t between;    /* and before the second; 0: there is none */
  bool padded_first; /* of two strings the first means nothing */
  int what;          /* the learner's own marks: what the string is */
  unsigned choice, call;
} oai_pattern;

void oai_pattern_init(oai_pattern *p);
void oai_pattern_free(oai_pattern *p);
void oai_pattern_forget(oai_pattern *p);
/* Learns from a text, the string inside it that may change, and one that means
 * nothing (p is NULL: none). Too long a text, or no memory, teaches nothing. */
void oai_pattern_learn(oai_pattern *p, oai_slice text, const oai_scan_str *said,
                       const oai_scan_str *padding);
/* The text is the pattern with other (valid) strings in it: what is said. */
bool oai_pattern_match(const oai_pattern *p, oai_slice text,
                       oai_scan_str *said);

#endif
