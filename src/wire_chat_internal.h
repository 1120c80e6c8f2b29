/* wire_chat_internal: what wire_chat.c (the completion and its choices),
 * wire_chat_message.c (a message or a delta of one) and wire_chat_plain.c (a
 * completion that is text alone) share. */
#ifndef OAI_WIRE_CHAT_INTERNAL_H
#define OAI_WIRE_CHAT_INTERNAL_H

#include "wire_chat.h"
#include "wire_read.h"

typedef struct oai_chat {
  oai_reader *r;
  oai_scan s;
  oai_status status; /* first failure of the delta */
  oai_slice error;   /* value of an `error` member */
  bool object_error; /* "object": "error" (vLLM) */
  bool choices;      /* a choice was read */
  /* For the pattern: the last string that was added, how many were, and
   * whether something came that must not be passed over a second time. */
  oai_scan_str said;
  oai_op_kind said_as;
  unsigned said_choice, said_call, nsaid;
  bool unrepeatable;
  oai_scan_str padding; /* p is NULL without one */
} oai_chat;

/* Notes the first failure; true when there is none. */
bool oai_chat_ok(oai_chat *c, oai_status status);
/* Keeps a member that nobody knows. */
void oai_chat_keep(oai_chat *c, oai_extra **list, oai_scope scope,
                   const oai_scan_str *key);
/* Reads a `delta` or a `message`; the scan stands before it. */
void oai_chat_message(oai_chat *c, oai_choice *choice);
/* The wire's `plain`. */
oai_read oai_chat_plain(oai_reader *r, oai_slice body);

#endif
