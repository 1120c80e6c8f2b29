/* core_timer: a timer of the engine as a Lua object, for sleeps and deadlines
 * that park. It is ready once its time has come. */
#include "core.h"

#include "core_objects.h"

#include <stddef.h>
#include <stdlib.h>

typedef struct oai_core_timer {
  oai_timer timer;
  oai_waitable waitable;
  oai_engine *engine;
} oai_core_timer;

static void fire(oai_timer *timer, double now) {
  oai_core_timer *t =
      (oai_core_timer *)((char *)timer - offsetof(oai_core_timer, timer));
  (void)now;
  oai_engine_mark(t->engine, &t->waitable, true);
}

/* engine:timer(seconds) -> timer */
int oai_timer_push(lua_State *L) {
  oai_engine *e = oai_box_check(L, 1, OAI_ENGINE);
  double seconds = luaL_checknumber(L, 2);
  if (!(seconds >= 0)) return luaL_argerror(L, 2, "seconds must be 0 or more");
  void **box = oai_box_new(L, OAI_TIMER);
  oai_core_timer *t = *box = calloc(1, sizeof *t);
  if (!t) return luaL_error(L, "not enough memory");
  oai_live(L, OAI_TIMER, 1);
  t->engine = oai_engine_ref(e);
  t->timer.fire = fire;
  if (!oai_engine_timer(e, &t->timer, oai_engine_now(e) + seconds))
    return luaL_error(L, "not enough memory");
  return 1;
}

static oai_core_timer *check(lua_State *L) {
  return oai_box_check(L, 1, OAI_TIMER);
}

oai_waitable *oai_timer_waitable(lua_State *L, int i) {
  return &((oai_core_timer *)oai_box_check(L, i, OAI_TIMER))->waitable;
}

/* timer:id() -> what engine:pop() gives when it goes off */
static int timer_id(lua_State *L) {
  lua_pushlightuserdata(L, &check(L)->waitable);
  return 1;
}

/* timer:ready() -> its time has come */
static int timer_ready(lua_State *L) {
  lua_pushboolean(L, check(L)->waitable.ready);
  return 1;
}

/* timer:wait([seconds]) -> ready: sleeps until something happened on the engine
 * and does it */
static int timer_wait(lua_State *L) {
  oai_core_timer *t = check(L);
  double seconds = luaL_optnumber(L, 2, -1);
  oai_engine_stop_at(t->engine, -1);
  if (!t->waitable.ready) {
    oai_engine_wait(t->engine, seconds, false);
    oai_engine_step(t->engine, -1);
  }
  return timer_ready(L);
}

/* timer:fire(): its time has come now */
static int timer_fire(lua_State *L) {
  oai_core_timer *t = check(L);
  oai_engine_timer_clear(t->engine, &t->timer);
  oai_engine_mark(t->engine, &t->waitable, true);
  return 0;
}

static int timer_close(lua_State *L) {
  oai_core_timer *t = oai_box_take(L, 1, OAI_TIMER);
  if (!t) return 0;
  oai_live(L, OAI_TIMER, -1);
  if (t->engine) {
    oai_engine_timer_clear(t->engine, &t->timer);
    oai_engine_forget(t->engine, &t->waitable);
  }
  oai_engine_unref(t->engine);
  free(t);
  return 0;
}

static const luaL_Reg methods[] = {
    {"id", timer_id},     {"ready", timer_ready}, {"wait", timer_wait},
    {"fire", timer_fire}, {"close", timer_close}, {NULL, NULL}};

void oai_open_timer(lua_State *L) {
  oai_class(L, OAI_TIMER, methods, timer_close);
}
