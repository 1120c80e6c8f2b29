/* wire_responses: reads OpenAI's Responses API: an answer is a list of items
 * (messages, reasoning, calls, what the server's own tools did), streamed as
 * typed events; see the API reference, "Responses" and "Streaming events".
 * Level 3. */
#ifndef OAI_WIRE_RESPONSES_H
#define OAI_WIRE_RESPONSES_H

#include "wire.h"

extern const oai_wire oai_wire_responses;

#endif
