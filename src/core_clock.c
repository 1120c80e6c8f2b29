/* core_clock: the clock of this Lua state: core.now, and core.clock for tests,
 * which may freeze it. Knows clock and the boxes. */
#include "core.h"

#include "clock.h"
#include "core_objects.h"

static const char clock_key = 0;

/* The box, which is made with the module, and is closed at the state's end. */
static oai_clock *push_clock(lua_State *L) {
  lua_pushlightuserdata(L, (void *)&clock_key);
  lua_rawget(L, LUA_REGISTRYINDEX);
  return oai_box_object(L, -1, OAI_CLOCK);
}

oai_clock *oai_state_clock(lua_State *L) {
  oai_clock *c = push_clock(L);
  lua_pop(L, 1);
  return c;
}

/* now() -> seconds on the monotonic clock, which a test may have frozen */
static int core_now(lua_State *L) {
  lua_pushnumber(L, oai_clock_now(oai_state_clock(L)));
  return 1;
}

/* clock() -> the clock of this Lua state: deadlines, pauses and now() go by it
 */
static int core_clock(lua_State *L) {
  push_clock(L);
  return 1;
}

static oai_clock *check(lua_State *L) {
  return oai_box_check(L, 1, OAI_CLOCK);
}

/* clock:freeze([idle]): time stands still, and skips to what is due next once
 * an engine that waits has heard nothing for so many (real) seconds */
static int clock_freeze(lua_State *L) {
  oai_clock *c = check(L);
  lua_Number idle = luaL_optnumber(L, 2, 0.001);
  luaL_argcheck(L, idle >= 0 && idle <= 60, 2, "0 to 60 seconds expected");
  oai_clock_freeze(c, idle);
  return 0;
}

/* clock:thaw(): time goes on from where it stands */
static int clock_thaw(lua_State *L) {
  oai_clock_thaw(check(L));
  return 0;
}

/* clock:frozen() -> boolean */
static int clock_frozen(lua_State *L) {
  lua_pushboolean(L, oai_clock_frozen(check(L)));
  return 1;
}

/* clock:skip() -> whether there was anything to skip to */
static int clock_skip(lua_State *L) {
  lua_pushboolean(L, oai_clock_skip(check(L), -1));
  return 1;
}

static int clock_gc(lua_State *L) {
  oai_clock_unref(oai_box_take(L, 1, OAI_CLOCK));
  return 0;
}

static const luaL_Reg methods[] = {{"freeze", clock_freeze},
                                   {"thaw", clock_thaw},
                                   {"frozen", clock_frozen},
                                   {"skip", clock_skip},
                                   {NULL, NULL}};

static const luaL_Reg functions[] = {
    {"now", core_now}, {"clock", core_clock}, {NULL, NULL}};

void oai_open_clock(lua_State *L) {
  oai_class(L, OAI_CLOCK, methods, clock_gc);
  if (!oai_state_clock(L)) { /* loaded once more, it is there */
    lua_pushlightuserdata(L, (void *)&clock_key);
    void **box = oai_box_new(L, OAI_CLOCK);
    *box = oai_clock_new();
    if (!*box) luaL_error(L, "not enough memory");
    lua_rawset(L, LUA_REGISTRYINDEX);
  }
  oai_setfuncs(L, functions);
}
