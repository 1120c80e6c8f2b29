/* core_either: two waitables as one Lua object, for who waits for whichever
 * comes first: an exchange and a timer, or two exchanges. */
#include "core.h"

#include "core_objects.h"

#include <stdlib.h>

typedef struct oai_core_either {
  oai_either either;
  oai_engine *engine;
} oai_core_either;

/* engine:either(a, b) -> either; a and b are exchanges or timers of this
 * engine, and in no other one any more */
int oai_either_push(lua_State *L) {
  oai_engine *e = oai_box_check(L, 1, OAI_ENGINE);
  oai_waitable *a = oai_waitable_check(L, 2);
  oai_waitable *b = oai_waitable_check(L, 3);
  luaL_argcheck(L, a != b, 3, "two different ones expected");
  void **box = oai_box_new(L, OAI_EITHER);
  oai_core_either *x = *box = calloc(1, sizeof *x);
  if (!x) return luaL_error(L, "not enough memory");
  oai_live(L, OAI_EITHER, 1);
  x->engine = oai_engine_ref(e);
  oai_engine_either(e, &x->either, a, b);
  return 1;
}

static oai_core_either *check(lua_State *L) {
  return oai_box_check(L, 1, OAI_EITHER);
}

/* either:id() -> what engine:pop() gives when one of them is ready */
static int either_id(lua_State *L) {
  lua_pushlightuserdata(L, &check(L)->either.waitable);
  return 1;
}

/* either:ready() -> one of them is, or it was canceled */
static int either_ready(lua_State *L) {
  lua_pushboolean(L, check(L)->either.waitable.ready);
  return 1;
}

/* either:relist() -> its id: what is left of it comes in a later engine:pop()
 */
static int either_relist(lua_State *L) {
  oai_core_either *x = check(L);
  oai_engine_relist(x->engine, &x->either.waitable);
  lua_pushlightuserdata(L, &x->either.waitable);
  return 1;
}

/* either:wait([seconds]) -> ready: sleeps until something happened on the
 * engine and does it */
static int either_wait(lua_State *L) {
  oai_core_either *x = check(L);
  double seconds = luaL_optnumber(L, 2, -1);
  oai_engine_stop_at(x->engine, -1);
  if (!x->either.waitable.ready) {
    oai_engine_wait(x->engine, seconds, false);
    oai_engine_step(x->engine, -1);
  }
  return either_ready(L);
}

/* either:cancel(): ready from now on; what it is made of is left alone */
static int either_cancel(lua_State *L) {
  oai_core_either *x = check(L);
  oai_engine_either_cancel(x->engine, &x->either);
  return 0;
}

static int either_canceled(lua_State *L) {
  lua_pushboolean(L, check(L)->either.canceled);
  return 1;
}

static int either_close(lua_State *L) {
  oai_core_either *x = oai_box_take(L, 1, OAI_EITHER);
  if (!x) return 0;
  oai_live(L, OAI_EITHER, -1);
  if (x->engine) oai_engine_either_part(x->engine, &x->either);
  oai_engine_unref(x->engine);
  free(x);
  return 0;
}

static const luaL_Reg methods[] = {
    {"id", either_id},         {"ready", either_ready},
    {"relist", either_relist}, {"wait", either_wait},
    {"cancel", either_cancel}, {"canceled", either_canceled},
    {"close", either_close},   {NULL, NULL}};

void oai_open_either(lua_State *L) {
  oai_class(L, OAI_EITHER, methods, either_close);
}
