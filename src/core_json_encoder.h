/* core_json_encoder: what core_json_encode knows of a text that is being
 * written: the buffers, which one Lua state keeps from text to text. */
#ifndef OAI_CORE_JSON_ENCODER_H
#define OAI_CORE_JSON_ENCODER_H

#include "core_json.h"

/* Stack index of the table of the members' values: nothing allocates to get one
 * back. */
enum { OAI_JSON_VALUES = 4 };

/* An open table. */
typedef struct oai_json_frame {
  const void *table;
  size_t done, n; /* items or members begun, and all */
  size_t first;   /* of an object's members */
  bool array;
} oai_json_frame;

typedef struct oai_json_encoder {
  bool busy;
  oai_buf out;
  oai_json_member *members; /* of all open objects */
  size_t members_n, members_cap, members_max;
  oai_json_frame *frames;
  size_t depth, frames_cap, max_depth;
  const char *why;  /* a refusal: what the value at fault is or does */
  const char *type; /* and of which type it is, where why asks for it */
  bool nomem;
} oai_json_encoder;

/* Pushes the encoder of this Lua state and the table for its values. One that a
 * memory error has left in the middle is replaced. */
oai_json_encoder *oai_json_encoder_take(lua_State *L, size_t max_depth);
/* It keeps what the next text of usual size needs, and no value of this one. */
void oai_json_encoder_give_back(lua_State *L, oai_json_encoder *e);

#endif
