/* core_json: JSON's part of the module table, how tables are told apart, and
 * the order of keys. Knows Lua. Reading is core_json_decode.c, writing
 * core_json_encode.c. */
#include "core_json.h"

#include <stdlib.h>
#include <string.h>

oai_json_mark oai_json_marked(lua_State *L, int markers) {
  oai_json_mark mark = OAI_JSON_PLAIN;
  if (!lua_istable(L, -1))
    lua_pushvalue(L, -1);
  else if (!lua_getmetatable(L, -1))
    return mark;
  lua_rawget(L, markers);
  if (lua_type(L, -1) == LUA_TSTRING) {
    const char *word = lua_tostring(L, -1);
    if (strcmp(word, "array") == 0) mark = OAI_JSON_ARRAY;
    if (strcmp(word, "object") == 0) mark = OAI_JSON_OBJECT;
    if (strcmp(word, "empty") == 0) mark = OAI_JSON_EMPTY_ARRAY;
  }
  lua_pop(L, 1);
  return mark;
}

/* What is wrong with the key on the top, given n items; NULL if nothing. */
static const char *wrong_key(lua_State *L, lua_Number n) {
  lua_Number key = lua_tonumber(L, -1);
  if (lua_type(L, -1) == LUA_TSTRING) return "mixes items with string keys";
  if (lua_type(L, -1) != LUA_TNUMBER)
    return "has a key that is neither a string nor a number";
  if (!(key >= 1 && key <= n) || key != (lua_Number)(size_t)key)
    return "is an array with holes or stray numbers as keys";
  return NULL;
}

bool oai_json_items(lua_State *L, size_t *n, const char **why) {
  size_t seen = 0;
  *n = lua_rawlen(L, -1);
  *why = NULL;
  lua_pushnil(L);
  while (lua_next(L, -2)) {
    lua_pop(L, 1);
    seen++;
    /* A string key says more than a stray number before it. */
    if (!*why || lua_type(L, -1) == LUA_TSTRING)
      *why = wrong_key(L, (lua_Number)*n);
    if (*why && lua_type(L, -1) == LUA_TSTRING) {
      lua_pop(L, 1);
      return false;
    }
  }
  if (!*why && seen != *n) *why = "is an array with holes";
  return !*why;
}

uint64_t oai_json_head(const char *p, size_t n) {
  uint64_t head = 0;
  size_t taken = n < 8 ? n : 8;
  for (size_t i = 0; i < taken; i++) head = head << 8 | (unsigned char)p[i];
  return taken ? head << 8 * (8 - taken) : 0;
}

static int compare(const void *left, const void *right) {
  const oai_json_member *a = left, *b = right;
  if (a->head != b->head) return a->head < b->head ? -1 : 1;
  int order = memcmp(a->key, b->key, a->n < b->n ? a->n : b->n);
  return order ? order : (a->n > b->n) - (a->n < b->n);
}

void oai_json_sort(oai_json_member *m, size_t n) {
  if (n > 16) {
    qsort(m, n, sizeof *m, compare);
    return;
  }
  for (size_t i = 1; i < n; i++) {
    oai_json_member moving = m[i];
    size_t at = i;
    for (; at > 0 && compare(&m[at - 1], &moving) > 0; at--) m[at] = m[at - 1];
    m[at] = moving;
  }
}

/* core.json_is_array(value): would it be written as an array? */
static int json_is_array(lua_State *L) {
  size_t n;
  const char *why;
  luaL_checkany(L, 1);
  lua_settop(L, 1);
  lua_getfield(L, LUA_REGISTRYINDEX, OAI_JSON_MARKERS);
  lua_insert(L, 1);
  oai_json_mark mark = oai_json_marked(L, 1);
  bool yes = mark == OAI_JSON_ARRAY;
  if (!yes && mark != OAI_JSON_OBJECT && lua_istable(L, 2))
    yes =
        oai_json_items(L, &n, &why) && (n > 0 || mark == OAI_JSON_EMPTY_ARRAY);
  lua_pushboolean(L, yes);
  return 1;
}

/* The text as one string; a long one, where that is asked for, as a list of
 * pieces, the last one first: what is pushed is given back at once, so that
 * there are never two of it. */
void oai_json_push_text(lua_State *L, oai_buf *b, bool in_pieces) {
  const size_t piece = 1 << 20;
  int count = (int)((b->n + piece - 1) / piece);
  if (!in_pieces || count < 4) {
    lua_pushlstring(L, b->p, b->n);
    return;
  }
  lua_createtable(L, count, 0);
  for (int i = count; i > 0; i--) {
    size_t at = (size_t)(i - 1) * piece;
    lua_pushlstring(L, b->p + at, b->n - at);
    lua_rawseti(L, -2, i);
    char *p = at ? realloc(b->p, at) : b->p;
    if (p) b->p = p;
    b->n = b->cap = at;
  }
}

static const luaL_Reg json_functions[] = {
    {"json_decode", oai_json_decode},
    {"json_encode", oai_json_encode},
    {"json_is_array", json_is_array},
    {NULL, NULL},
};

/* A new metatable in the module's table, and its word in the markers'. */
static void add_marker(lua_State *L, const char *class_name, const char *field,
                       const char *word) {
  luaL_newmetatable(L, class_name);
  lua_pushvalue(L, -1);
  lua_setfield(L, -4, field);
  lua_pushstring(L, word);
  lua_rawset(L, -3);
}

void oai_open_json(lua_State *L) {
  oai_setfuncs(L, json_functions);
  lua_newtable(L);
  add_marker(L, "oaichat.json.array", "json_array_mt", "array");
  add_marker(L, "oaichat.json.object", "json_object_mt", "object");
  lua_getfield(L, -2, "json_array_mt");
  lua_setfield(L, -2, "array_mt");
  lua_pushvalue(L, -1);
  lua_setfield(L, LUA_REGISTRYINDEX, OAI_JSON_MARKERS);
  lua_setfield(L, -2, "json_markers");
  lua_pushlightuserdata(L, NULL);
  lua_setfield(L, -2, "json_null");
  oai_json_open_encoder(L);
}
