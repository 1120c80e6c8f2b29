/* core_limit: core.limit, how many requests and tokens may go out (limit.h) as
 * a Lua object. The clock is the caller's. */
#include "core.h"

#include "limit.h"

#include <math.h>

/* A limit that is not there is none; 0, a negative one or a NaN is wrong. */
static double read_limit(lua_State *L, const char *name, double missing) {
  lua_getfield(L, 1, name);
  double n = luaL_optnumber(L, -1, missing);
  lua_pop(L, 1);
  return n;
}

/* limit{ requests, tokens, per, window, burst } -> limit | nil, message */
static int core_limit(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  oai_limit_rule rule;
  rule.requests = read_limit(L, "requests", -1);
  rule.tokens = read_limit(L, "tokens", -1);
  rule.per = read_limit(L, "per", 1);
  rule.burst = read_limit(L, "burst", 1);
  lua_getfield(L, 1, "window");
  rule.window = lua_toboolean(L, -1);
  lua_pop(L, 1);
  void **box = oai_box_new(L, OAI_LIMIT);
  if (!(*box = oai_limit_new(&rule))) return luaL_error(L, "not enough memory");
  return 1;
}

static oai_limit *check(lua_State *L) {
  return oai_box_check(L, 1, OAI_LIMIT);
}

/* limit:take(now, tokens) -> 0: it may go | seconds until it may | nil: never
 */
static int limit_take(lua_State *L) {
  oai_limit *l = check(L);
  double wait =
      oai_limit_take(l, luaL_checknumber(L, 2), luaL_checknumber(L, 3));
  if (wait < 0) return luaL_error(L, "not enough memory");
  if (wait == HUGE_VAL) return 0;
  lua_pushnumber(L, wait);
  return 1;
}

/* limit:eta(now, requests, tokens) -> seconds until so much can have gone,
 * never too long */
static int limit_eta(lua_State *L) {
  oai_limit *l = check(L);
  double now = luaL_checknumber(L, 2), requests = luaL_checknumber(L, 3);
  lua_pushnumber(L, oai_limit_eta(l, now, requests, luaL_checknumber(L, 4)));
  return 1;
}

/* limit:give_back(now, at, requests, tokens): counted at `at`, not used; less
 * than 0: used besides */
static int limit_give_back(lua_State *L) {
  oai_limit *l = check(L);
  double now = luaL_checknumber(L, 2), at = luaL_checknumber(L, 3);
  double requests = luaL_checknumber(L, 4);
  oai_limit_give_back(l, now, at, requests, luaL_checknumber(L, 5));
  return 0;
}

/* limit:learn(now, "requests" | "tokens", left, seconds): what the server says
 * is left, and for how long */
static int limit_learn(lua_State *L) {
  static const char *const kinds[] = {"requests", "tokens", NULL};
  oai_limit *l = check(L);
  double now = luaL_checknumber(L, 2), left = luaL_checknumber(L, 4);
  int kind = luaL_checkoption(L, 3, NULL, kinds);
  oai_limit_learn(l, now, kind, left, luaL_checknumber(L, 5));
  return 0;
}

static int limit_close(lua_State *L) {
  oai_limit_free(oai_box_take(L, 1, OAI_LIMIT));
  return 0;
}

static const luaL_Reg methods[] = {
    {"take", limit_take},           {"eta", limit_eta},
    {"give_back", limit_give_back}, {"learn", limit_learn},
    {"close", limit_close},         {NULL, NULL}};

static const luaL_Reg functions[] = {{"limit", core_limit}, {NULL, NULL}};

void oai_open_limit(lua_State *L) {
  oai_class(L, OAI_LIMIT, methods, limit_close);
  oai_setfuncs(L, functions);
}
