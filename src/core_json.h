/* core_json: what the JSON files of the Lua face share.
 *
 * Markers are how a table says what it is: the registry field OAI_JSON_MARKERS
 * holds a table from a metatable (or, for lua-cjson's empty_array, from the
 * value itself) to one of the words below, and in its field array_mt the
 * metatable that decoded arrays get. */
#ifndef OAI_CORE_JSON_H
#define OAI_CORE_JSON_H

#include "buf.h"
#include "core.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define OAI_JSON_MARKERS "oaichat.json"
/* Depth that decode and encode allow at most, and by default. */
#define OAI_JSON_DEPTH 1000

typedef enum oai_json_mark {
  OAI_JSON_PLAIN,      /* no marker: the keys decide */
  OAI_JSON_ARRAY,      /* "array" */
  OAI_JSON_OBJECT,     /* "object" */
  OAI_JSON_EMPTY_ARRAY /* "empty": an array if empty, else the keys decide */
} oai_json_mark;

/* Pushes the decoded value of bytes that scan has proved valid. Invalid UTF-8
 * is repaired; text that is no JSON after all, deeper than OAI_JSON_DEPTH or
 * has a number beyond a double pushes nil. Raises only out of memory. */
void oai_json_push(lua_State *L, const char *p, size_t n);
/* What the value on the top is marked as; markers is their table's index. */
oai_json_mark oai_json_marked(lua_State *L, int markers);
/* The table on the top as an array: true when its keys are exactly 1..*n. Else
 * *why says, as the end of a sentence, what is wrong. Calls no metamethods. */
bool oai_json_items(lua_State *L, size_t *n, const char **why);

/* A member of an object that is being written. */
typedef struct oai_json_member {
  const char *key;
  size_t n;
  uint64_t head; /* oai_json_head of the key: most keys differ there */
  int slot;      /* where the encoder keeps its value */
} oai_json_member;

/* The first 8 bytes as a number, the first of all in the highest place. */
uint64_t oai_json_head(const char *p, size_t n);
/* By the bytes of the keys. */
void oai_json_sort(oai_json_member *m, size_t n);

/* core.json_decode(text[, max_depth]) -> value | nil, message, position, code
 * (position: the byte, from 1; code: "decode" or "too_deep"). */
int oai_json_decode(lua_State *L);
/* core.json_encode(value[, max_depth]) -> text | nil, message, path (""
 * where the value itself is at fault). */
int oai_json_encode(lua_State *L);
/* Room for the text of a double, and for an exponent. */
#define OAI_JSON_NUMBER 40
/* The number of n bytes that scan found, correctly rounded, in any locale;
 * infinite when it is out of range. room has n + OAI_JSON_NUMBER bytes. */
double oai_json_read_double(const char *p, size_t n, char *room);
/* Writes the shortest text that reads back as v, a finite number that is not an
 * integer below 2^53; returns its length. room has OAI_JSON_NUMBER bytes. */
size_t oai_json_write_double(double v, char *room);
/* Makes the encoder's metatable. */
void oai_json_open_encoder(lua_State *L);

/* The text as one string; a long one, where that is asked for, as a list of
 * pieces. The buffer is used up. */
void oai_json_push_text(lua_State *L, oai_buf *b, bool in_pieces);

#endif
