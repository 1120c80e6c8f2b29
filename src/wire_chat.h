/* wire_chat: reads the chat completions API (platform.openai.com/docs/
 * api-reference/chat) and what its imitators make of it. Level 3. */
#ifndef OAI_WIRE_CHAT_H
#define OAI_WIRE_CHAT_H

#include "wire.h"

extern const oai_wire oai_wire_chat;

#endif
