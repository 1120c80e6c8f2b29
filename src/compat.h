/* compat: what Lua 5.1, LuaJIT and 5.2 lack of the 5.4 API that the face uses.
 * Included by core*.c only. */
#ifndef OAI_COMPAT_H
#define OAI_COMPAT_H

#include <lauxlib.h>
#include <lua.h>

#if LUA_VERSION_NUM < 502
#define lua_rawlen(L, i) lua_objlen((L), (i))
#define lua_absindex(L, i)                                                     \
  ((i) > 0 || (i) <= LUA_REGISTRYINDEX ? (i) : lua_gettop(L) + (i) + 1)
/* 5.1 keeps one table with a userdata, its environment. */
#define lua_setuservalue(L, i) lua_setfenv((L), (i))
#define lua_getuservalue(L, i) lua_getfenv((L), (i))

static inline void oai_setfuncs(lua_State *L, const luaL_Reg *l) {
  for (; l->name; l++) {
    lua_pushcfunction(L, l->func);
    lua_setfield(L, -2, l->name);
  }
}
#else
#define oai_setfuncs(L, l) luaL_setfuncs((L), (l), 0)
#endif

#if LUA_VERSION_NUM < 503
/* Every number is a double here. */
#define lua_isinteger(L, i) 0
#endif

#if LUA_VERSION_NUM >= 504
#define oai_newuserdata(L, n) lua_newuserdatauv((L), (n), 1)
#else
#define oai_newuserdata(L, n) lua_newuserdata((L), (n))
#endif

#endif
