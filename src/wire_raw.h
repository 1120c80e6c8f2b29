/* wire_raw: plain HTTP: the body's bytes, or a stream's events as they are,
 * with nothing read from them. For what is no model's answer: MCP, files.
 * Level 3. */
#ifndef OAI_WIRE_RAW_H
#define OAI_WIRE_RAW_H

#include "wire.h"

extern const oai_wire oai_wire_raw;

#endif
