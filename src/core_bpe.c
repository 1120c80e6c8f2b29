/* core_bpe: core.bpe, token counts by byte-pair encoding. Not counted by
 * core.live(): an encoder is a value that counters share, not a resource. */
#include "core.h"

#include "bpe.h"

/* bpe(name[, bytes of a .tiktoken file]) -> encoder | nil, message: which line
 * is wrong. Without the bytes it estimates. An unknown name raises. */
static int core_bpe(lua_State *L) {
  size_t n = 0;
  const char *name = luaL_checkstring(L, 1);
  const char *file = luaL_optlstring(L, 2, NULL, &n);
  char error[OAI_BPE_ERROR];
  luaL_argcheck(L, oai_bpe_known(name), 1, "cl100k_base or o200k_base");
  void **box = oai_box_new(L, OAI_BPE);
  *box = oai_bpe_new(name, file, n, error);
  if (*box) return 1;
  if (!*error) return luaL_error(L, "not enough memory");
  lua_pushnil(L);
  lua_pushstring(L, error);
  return 2;
}

static size_t encode(lua_State *L, uint32_t *ids, size_t room) {
  oai_bpe *b = oai_box_check(L, 1, OAI_BPE);
  size_t n, count = 0;
  const char *text = luaL_checklstring(L, 2, &n);
  if (!oai_bpe_encode(b, text, n, ids, room, &count))
    luaL_error(L, "not enough memory");
  return count;
}

/* encoder:count(text) -> tokens, estimated */
static int bpe_count(lua_State *L) {
  size_t count = encode(L, NULL, 0);
  lua_pushinteger(L, (lua_Integer)count);
  lua_pushboolean(L, oai_bpe_estimates(oai_box_check(L, 1, OAI_BPE)));
  return 2;
}

/* encoder:encode(text) -> list of ranks; raises when it only estimates */
static int bpe_encode(lua_State *L) {
  if (oai_bpe_estimates(oai_box_check(L, 1, OAI_BPE)))
    return luaL_error(L, "an encoder without ranks only counts");
  size_t count = encode(L, NULL, 0);
  if (count > INT32_MAX / sizeof(uint32_t))
    return luaL_error(L, "too many tokens for a list");
  uint32_t *ids = lua_newuserdata(L, (count + 1) * sizeof *ids);
  encode(L, ids, count);
  lua_createtable(L, (int)count, 0);
  for (size_t i = 0; i < count; i++) {
    lua_pushinteger(L, (lua_Integer)ids[i]);
    lua_rawseti(L, -2, (int)i + 1);
  }
  return 1;
}

/* encoder:size() -> bytes of memory it holds */
static int bpe_size(lua_State *L) {
  size_t size = oai_bpe_size(oai_box_check(L, 1, OAI_BPE));
  lua_pushinteger(L, (lua_Integer)size);
  return 1;
}

static int bpe_close(lua_State *L) {
  oai_bpe_free(oai_box_take(L, 1, OAI_BPE));
  return 0;
}

static const luaL_Reg methods[] = {{"count", bpe_count},
                                   {"encode", bpe_encode},
                                   {"size", bpe_size},
                                   {"close", bpe_close},
                                   {NULL, NULL}};

static const luaL_Reg functions[] = {{"bpe", core_bpe}, {NULL, NULL}};

void oai_open_bpe(lua_State *L) {
  oai_class(L, OAI_BPE, methods, bpe_close);
  oai_setfuncs(L, functions);
}
