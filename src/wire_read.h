/* wire_read: what the readers of all wire formats share: looking into JSON
 * without a tree, and saying what was wrong with it. Level 3: knows wire,
 * scan and apierror; no format. */
#ifndef OAI_WIRE_READ_H
#define OAI_WIRE_READ_H

#include "wire.h"

/* The whole text is one JSON document. */
bool oai_wire_valid(const oai_reader *r, oai_slice text, oai_scan_error *why);
/* Reads a value by itself. */
oai_scan oai_wire_scan(const oai_reader *r, oai_slice value);
/* A string goes to *out; anything else is checked and passed over: out->p is
 * NULL then. */
bool oai_wire_string(oai_scan *s, oai_scan_str *out);
bool oai_wire_is_null(oai_slice value);
/* The last member of that name of an object; p is NULL without one. */
oai_slice oai_wire_member(const oai_reader *r, oai_slice object,
                          const char *name);
/* The same, of one that is a string. */
oai_scan_str oai_wire_text_of(const oai_reader *r, oai_slice object,
                              const char *name);
/* The same, of one that is a number; else `missing`. */
double oai_wire_number_of(const oai_reader *r, oai_slice object,
                          const char *name, double missing);

/* Tells what a tool that the server runs is doing: {"tool":…,"status":…,"id":
 * …,"data":…}. */
oai_status oai_wire_progress(oai_reader *r, oai_slice tool, oai_slice status,
                             const oai_scan_str *id, oai_slice data);

/* Each fills the reader's failure and gives OAI_READ_FAILED (or NOMEM). */
oai_read oai_wire_fail(oai_reader *r, oai_kind kind, const char *code);
oai_read oai_wire_fail_scan(oai_reader *r, oai_scan_error why);
/* What a failure of the delta means for the answer; OAI_READ_MORE: none. */
oai_read oai_wire_check(oai_reader *r, oai_status status);
/* OAI_READ_MORE: the body is one JSON document. */
oai_read oai_wire_check_body(oai_reader *r, oai_slice body);
/* A whole answer that has nothing of what was asked for: its error, or else
 * what it says, is why. */
oai_read oai_wire_fail_body(oai_reader *r, oai_slice body);

#endif
