/* wire_anthropic: reads Anthropic's Messages API: an answer is a list of blocks
 * (text, thinking, calls, what the server's own tools did), streamed as typed
 * events; see the API reference, "Messages" and "Streaming Messages".
 * Level 3. */
#ifndef OAI_WIRE_ANTHROPIC_H
#define OAI_WIRE_ANTHROPIC_H

#include "wire.h"

extern const oai_wire oai_wire_anthropic;

#endif
