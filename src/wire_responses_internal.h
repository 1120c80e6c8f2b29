/* wire_responses_internal: what wire_responses.c (events) and
 * wire_responses_item.c (items, whole responses) share. */
#ifndef OAI_WIRE_RESPONSES_INTERNAL_H
#define OAI_WIRE_RESPONSES_INTERNAL_H

#include "wire_read.h"
#include "wire_responses.h"

/* An answer has one choice. */
oai_status oai_responses_choice(oai_reader *r, oai_choice **out);
/* The call that stands at this place of the output. id may be NULL. */
oai_status oai_responses_call(oai_reader *r, const oai_scan_str *id,
                              double index, oai_choice **choice,
                              oai_call **call);
/* Reasoning comes as a summary or as the text itself: the first kind counts. */
oai_status oai_responses_reason(oai_reader *r, oai_reasoning_field field,
                                const oai_scan_str *text);
/* An item that has begun, and one that is whole. */
oai_status oai_responses_item_added(oai_reader *r, oai_slice item,
                                    double index);
oai_status oai_responses_item_done(oai_reader *r, oai_slice item, double index);
/* The response object that ends an answer; said: how, by the event's name. */
oai_read oai_responses_end(oai_reader *r, oai_slice response,
                           const oai_scan_str *said);

#endif
