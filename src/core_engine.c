/* core_engine: the engine's Lua face. */
#include "core.h"

#include "core_objects.h"
#include "pollset.h"

static const char default_key = 0;

static void push_new(lua_State *L) {
  void **box = oai_box_new(L, OAI_ENGINE);
  *box = oai_engine_new();
  if (!*box) luaL_error(L, "cannot make an engine: out of memory or files");
  oai_clock *clock = oai_state_clock(L);
  if (clock) oai_engine_clock(*box, clock);
  oai_live(L, OAI_ENGINE, 1);
}

void oai_engine_push_default(lua_State *L) {
  lua_pushlightuserdata(L, (void *)&default_key);
  lua_rawget(L, LUA_REGISTRYINDEX);
  if (oai_box_object(L, -1, OAI_ENGINE)) return;
  lua_pop(L, 1);
  push_new(L);
  lua_pushlightuserdata(L, (void *)&default_key);
  lua_pushvalue(L, -2);
  lua_rawset(L, LUA_REGISTRYINDEX);
}

/* engine([fresh]) -> the engine of this state, or (fresh = true) a new one */
static int core_engine(lua_State *L) {
  if (lua_toboolean(L, 1))
    push_new(L);
  else
    oai_engine_push_default(L);
  return 1;
}

static oai_engine *check(lua_State *L) {
  return oai_box_check(L, 1, OAI_ENGINE);
}

static double seconds(lua_State *L, int i, double default_value) {
  double s = luaL_optnumber(L, i, default_value);
  /* NaN is no time */
  if (s != s) luaL_argerror(L, i, "seconds expected, got nan");
  return s;
}

/* engine:fd() -> descriptor | nil: readable while there is work */
static int engine_fd(lua_State *L) {
  int fd = oai_engine_fd(check(L));
  if (fd < 0)
    lua_pushnil(L);
  else
    lua_pushinteger(L, fd);
  return 1;
}

/* engine:timeout() -> seconds until step has timed work | nil */
static int engine_timeout(lua_State *L) {
  double s = oai_engine_timeout(check(L));
  if (s < 0)
    lua_pushnil(L);
  else
    lua_pushnumber(L, s);
  return 1;
}

/* engine:step([budget]): does what is due, never sleeps */
static int engine_step(lua_State *L) {
  oai_engine *e = check(L);
  oai_engine_step(e, seconds(L, 2, -1));
  return 0;
}

/* engine:wait([seconds]): sleeps until there is work or something to pull */
static int engine_wait(lua_State *L) {
  oai_engine *e = check(L);
  oai_engine_wait(e, seconds(L, 2, -1), true);
  return 0;
}

/* engine:transfers() -> transfers under way */
static int engine_transfers(lua_State *L) {
  lua_pushinteger(L, (lua_Integer)oai_engine_transfers(check(L)));
  return 1;
}

/* engine:pop() -> id of the next thing that is ready, taken off the list | nil
 */
static int engine_pop(lua_State *L) {
  oai_waitable *w = oai_engine_pop(check(L));
  if (w)
    lua_pushlightuserdata(L, w);
  else
    lua_pushnil(L);
  return 1;
}

/* engine:budget([seconds]): what may be handed out from now on; nil: no limit
 */
static int engine_budget(lua_State *L) {
  oai_engine *e = check(L);
  double s = seconds(L, 2, -1);
  oai_engine_stop_at(e, s < 0 ? -1 : oai_now() + s);
  return 0;
}

/* engine:spent() -> the budget is used up */
static int engine_spent(lua_State *L) {
  lua_pushboolean(L, oai_engine_spent(check(L)));
  return 1;
}

/* engine:host_limit(n): at most n connections to one host; 0: no limit */
static int engine_host_limit(lua_State *L) {
  oai_engine *e = check(L);
  lua_Integer n = luaL_checkinteger(L, 2);
  luaL_argcheck(L, n >= 0 && n <= 100000, 2, "0 to 100000 expected");
  oai_engine_host_limit(e, (long)n);
  return 0;
}

static int watch(lua_State *L, bool on) {
  oai_engine *e = check(L);
  int fd = (int)luaL_checkinteger(L, 2);
  lua_pushboolean(L, oai_engine_watch(e, fd, on));
  return 1;
}

/* engine:watch(fd): wait also ends when fd is readable */
static int engine_watch(lua_State *L) {
  return watch(L, true);
}
static int engine_unwatch(lua_State *L) {
  return watch(L, false);
}

static int engine_close(lua_State *L) {
  oai_engine *e = oai_box_take(L, 1, OAI_ENGINE);
  if (e) oai_live(L, OAI_ENGINE, -1);
  oai_engine_unref(e);
  return 0;
}

static const luaL_Reg methods[] = {{"fd", engine_fd},
                                   {"timeout", engine_timeout},
                                   {"step", engine_step},
                                   {"wait", engine_wait},
                                   {"watch", engine_watch},
                                   {"unwatch", engine_unwatch},
                                   {"pop", engine_pop},
                                   {"budget", engine_budget},
                                   {"spent", engine_spent},
                                   {"timer", oai_timer_push},
                                   {"either", oai_either_push},
                                   {"host_limit", engine_host_limit},
                                   {"close", engine_close},
                                   {"transfers", engine_transfers},
                                   {NULL, NULL}};

static const luaL_Reg functions[] = {{"engine", core_engine}, {NULL, NULL}};

void oai_open_engine(lua_State *L) {
  oai_class(L, OAI_ENGINE, methods, engine_close);
  oai_setfuncs(L, functions);
}
