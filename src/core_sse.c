/* core_sse: core.sse, the event-stream parser for anyone's stream. */
#include "core.h"

#include "sse.h"

#include <stdlib.h>

/* The default cap of an event, as in chat.new's limits. */
enum { EVENT_BYTES = 16000000 };

typedef struct oai_core_sse {
  oai_sse sse;
  bool spent;
} oai_core_sse;

/* sse{ max_event_bytes = n } -> parser of text/event-stream (WHATWG HTML
 * 9.2.6) */
static int core_sse(lua_State *L) {
  lua_Number max = EVENT_BYTES;
  if (!lua_isnoneornil(L, 1)) {
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_getfield(L, 1, "max_event_bytes");
    max = luaL_optnumber(L, -1, EVENT_BYTES);
    if (!(max >= 1)) return luaL_error(L, "max_event_bytes must be 1 or more");
    if (max > 4e15) max = 4e15;
  }
  void **box = oai_box_new(L, OAI_SSE);
  oai_core_sse *p = *box = calloc(1, sizeof *p);
  if (!p) return luaL_error(L, "not enough memory");
  oai_sse_init(&p->sse, (size_t)max);
  oai_live(L, OAI_SSE, 1);
  return 1;
}

/* parser:feed(bytes) -> parser | nil, message, err: an event passed the cap;
 * the parser takes no more then, what was complete can still be pulled */
static int sse_feed(lua_State *L) {
  oai_core_sse *p = oai_box_check(L, 1, OAI_SSE);
  size_t n;
  const char *bytes = luaL_checklstring(L, 2, &n);
  oai_buf_status status =
      p->spent ? OAI_BUF_FULL : oai_sse_feed(&p->sse, bytes, n);
  if (status == OAI_BUF_NOMEM) return luaL_error(L, "not enough memory");
  if (status == OAI_BUF_FULL) {
    p->spent = true;
    return oai_push_error(L, "too_large", "too_large",
                          "an event is larger than max_event_bytes");
  }
  lua_settop(L, 1);
  return 1;
}

static int push_event(lua_State *L, const oai_sse_event *e) {
  lua_pushlstring(L, e->data.p, e->data.n);
  if (e->name.n)
    lua_pushlstring(L, e->name.p, e->name.n);
  else
    lua_pushnil(L);
  lua_pushlstring(L, e->id.n ? e->id.p : "", e->id.n);
  if (e->retry < 0)
    lua_pushnil(L);
  else
    lua_pushnumber(L, (lua_Number)e->retry);
  return 4;
}

/* parser:next() -> data, event (nil = "message"), id, retry (ms) | nil */
static int sse_next(lua_State *L) {
  oai_core_sse *p = oai_box_check(L, 1, OAI_SSE);
  oai_sse_event event;
  return oai_sse_next(&p->sse, &event) ? push_event(L, &event) : 0;
}

/* parser:finish() -> the event that the end of the stream cut, as next gives
 * it | nil */
static int sse_finish(lua_State *L) {
  oai_core_sse *p = oai_box_check(L, 1, OAI_SSE);
  oai_sse_event event;
  return oai_sse_finish(&p->sse, &event) ? push_event(L, &event) : 0;
}

static int sse_close(lua_State *L) {
  oai_core_sse *p = oai_box_take(L, 1, OAI_SSE);
  if (!p) return 0;
  oai_live(L, OAI_SSE, -1);
  oai_sse_free(&p->sse);
  free(p);
  return 0;
}

static const luaL_Reg methods[] = {{"feed", sse_feed},
                                   {"next", sse_next},
                                   {"finish", sse_finish},
                                   {"close", sse_close},
                                   {NULL, NULL}};

static const luaL_Reg functions[] = {{"sse", core_sse}, {NULL, NULL}};

void oai_open_sse(lua_State *L) {
  oai_class(L, OAI_SSE, methods, sse_close);
  oai_setfuncs(L, functions);
}
