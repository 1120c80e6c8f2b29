/* wire_json: an endpoint that answers with a JSON document or, when it streams,
 * with JSON events: the bytes are the answer, as on the raw wire, but a whole
 * document or an end mark has to prove it. For what is no chat. Level 3. */
#ifndef OAI_WIRE_JSON_H
#define OAI_WIRE_JSON_H

#include "wire.h"

extern const oai_wire oai_wire_json;

#endif
