/* core_request: a request out of Lua values: the body's parts, the method, the
 * path, headers and deadlines of one call. Sends nothing. */
#include "core.h"

#include "core_objects.h"

#include <string.h>

size_t oai_read_body(lua_State *L, int body, oai_slice *parts) {
  if (lua_type(L, body) == LUA_TSTRING) {
    parts[0].p = lua_tolstring(L, body, &parts[0].n);
    return 1;
  }
  size_t n = lua_rawlen(L, body);
  for (size_t i = 0; i < n; i++) {
    lua_rawgeti(L, body, (int)i + 1);
    if (lua_type(L, -1) != LUA_TSTRING)
      luaL_error(L, "body: part %d is a %s, not a string", (int)i + 1,
                 luaL_typename(L, -1));
    parts[i].p = lua_tolstring(L, -1, &parts[i].n);
    lua_pop(L, 1);
  }
  return n;
}

void oai_keep_body(lua_State *L, int body, int anchor) {
  bool one = lua_type(L, body) == LUA_TSTRING;
  size_t n = one ? 1 : lua_rawlen(L, body);
  for (size_t i = 0; i < n; i++) {
    if (one)
      lua_pushvalue(L, body);
    else
      lua_rawgeti(L, body, (int)i + 1);
    lua_rawseti(L, anchor, (int)i + 1);
  }
}

/* The path joins the base URL as it is: it must not reach into the host's name,
 * nor be cut at a fragment. */
static const char *read_path(lua_State *L, oai_request *r) {
  size_t n;
  lua_getfield(L, 3, "path");
  if (!lua_isnil(L, -1)) {
    if (lua_type(L, -1) != LUA_TSTRING)
      luaL_error(L, "path: string expected, got %s", luaL_typename(L, -1));
    r->path = lua_tolstring(L, -1, &n); /* the options keep it */
    for (size_t i = 0; i < n; i++)
      if (r->path[i] <= ' ' || r->path[i] > '~' || r->path[i] == '#')
        return "path has a character that a URL's path cannot have";
    if (n && *r->path != '/' && *r->path != '?')
      return "path must begin with a slash";
  }
  lua_pop(L, 1);
  return NULL;
}

static bool read_flag(lua_State *L, const char *name) {
  lua_getfield(L, 3, name);
  bool on = lua_toboolean(L, -1);
  lua_pop(L, 1);
  return on;
}

static void read_method(lua_State *L, oai_request *r) {
  static const char *const known[] = {"GET",   "POST",   "PUT",
                                      "PATCH", "DELETE", NULL};
  lua_getfield(L, 3, "method");
  const char *name = luaL_optstring(L, -1, "POST");
  for (size_t i = 0; known[i] && !r->method; i++)
    if (strcmp(known[i], name) == 0) r->method = known[i];
  if (!r->method) luaL_error(L, "unknown method %s", name);
  lua_pop(L, 1);
}

const char *oai_read_request(lua_State *L, oai_core_session *s,
                             oai_request *r) {
  r->path = s->path;
  r->timeouts = s->endpoint->timeouts;
  r->deadline = -1;
  if (lua_isnoneornil(L, 3)) return NULL;
  luaL_checktype(L, 3, LUA_TTABLE);
  r->deadline = oai_opt_seconds(L, 3, "deadline", -1);
  oai_read_timeouts(L, 3, &r->timeouts);
  read_method(L, r);
  r->resumable = read_flag(L, "resumable");
  r->pull = read_flag(L, "pull") && s->wire->answer != OAI_ANSWER_REPLY;
  const char *wrong = read_path(L, r);
  return wrong ? wrong : oai_read_headers(L, 3, &r->headers);
}
