/* core_listen: the Lua face of listen: core.listen, its listeners and peers.
 * Knows listen and the boxes; no HTTP.
 *
 * A peer's user value holds its listener; the listener's maps its peers to
 * their boxes, weakly: a box that nobody keeps is collected, and then the peer
 * sends what is queued and closes. */
#include "core.h"
#ifdef _WIN32

/* The listener is a tool of tests and demos, for POSIX alone. */
void oai_open_listen(lua_State *L) {
  (void)L;
}

#else

#include "core_objects.h"
#include "listen.h"

#include <string.h>

static oai_listener *to_listener(lua_State *L) {
  return oai_box_check(L, 1, OAI_LISTENER);
}

static oai_peer *to_peer(lua_State *L) {
  return oai_box_check(L, 1, OAI_PEER);
}

/* Raises for the status of a queue, or returns the peer. */
static int queued(lua_State *L, oai_buf_status status) {
  if (status == OAI_BUF_FULL) return luaL_error(L, "too much output queued");
  if (status) return luaL_error(L, "not enough memory");
  lua_settop(L, 1);
  return 1;
}

/* Leaves the field on the stack, which keeps its string alive. */
static const char *field(lua_State *L, const char *name, int type) {
  lua_getfield(L, 1, name);
  if (!lua_isnil(L, -1) && lua_type(L, -1) != type)
    luaL_error(L, "%s must be a %s", name, lua_typename(L, type));
  return type == LUA_TSTRING ? lua_tostring(L, -1) : NULL;
}

static void check_names(lua_State *L) {
  for (lua_pushnil(L); lua_next(L, 1); lua_pop(L, 1)) {
    if (lua_type(L, -2) != LUA_TSTRING)
      luaL_error(L, "option names are strings");
    const char *name = lua_tostring(L, -2);
    if (strcmp(name, "host") && strcmp(name, "port") && strcmp(name, "path"))
      luaL_error(L, "unknown option %s", name);
  }
}

/* listen{ host, port, path } -> listener | nil, message */
static int core_listen(lua_State *L) {
  char message[256];
  oai_listen_options o = {NULL, 0, NULL};
  oai_clock *clock = oai_state_clock(L);
  lua_settop(L, 1);
  if (!lua_isnil(L, 1)) {
    luaL_checktype(L, 1, LUA_TTABLE);
    check_names(L);
    o.host = field(L, "host", LUA_TSTRING);
    o.path = field(L, "path", LUA_TSTRING);
    field(L, "port", LUA_TNUMBER);
    o.port = (int)lua_tointeger(L, -1);
    if (o.port < 0 || o.port > 65535)
      return luaL_error(L, "port must be from 0 to 65535");
  }
  void **box = oai_box_new(L, OAI_LISTENER);
  oai_box_keeps(L);
  lua_newtable(L);
  lua_pushliteral(L, "v");
  lua_setfield(L, -2, "__mode");
  lua_setmetatable(L, -2);
  lua_pop(L, 1);
  *box = oai_listener_open(&o, message, sizeof message);
  if (*box) {
    if (clock) oai_listener_clock(*box, clock);
    oai_live(L, OAI_LISTENER, 1);
    return 1;
  }
  lua_pushnil(L);
  lua_pushstring(L, message);
  return 2;
}

/* port() -> the TCP port; 0 for a unix socket */
static int listener_port(lua_State *L) {
  lua_pushinteger(L, oai_listener_port(to_listener(L)));
  return 1;
}

/* fd() -> readable while there is work | nil where there is no such fd */
static int listener_fd(lua_State *L) {
  int fd = oai_listener_fd(to_listener(L));
  if (fd < 0)
    lua_pushnil(L);
  else
    lua_pushinteger(L, fd);
  return 1;
}

/* timeout() -> seconds until work that needs no network | nil */
static int listener_timeout(lua_State *L) {
  double seconds = oai_listener_timeout(to_listener(L));
  if (seconds < 0)
    lua_pushnil(L);
  else
    lua_pushnumber(L, seconds);
  return 1;
}

/* step() does what is due; one piece a peer */
static int listener_step(lua_State *L) {
  oai_listener_step(to_listener(L));
  return 0;
}

/* accept() -> the next new peer | nil */
static int listener_accept(lua_State *L) {
  oai_listener *l = to_listener(L);
  lua_settop(L, 1);
  if (!oai_listener_waiting(l)) return 0;
  void **box = oai_box_new(L, OAI_PEER);
  oai_box_keeps(L);
  lua_pushvalue(L, 1);
  lua_rawseti(L, -2, 1);
  *box = oai_listener_accept(l);
  oai_live(L, OAI_PEER, 1);
  lua_getuservalue(L, 1);
  lua_pushlightuserdata(L, *box);
  lua_pushvalue(L, 2);
  lua_rawset(L, -3);
  lua_settop(L, 2);
  return 1;
}

/* ready() -> the next peer with input or an end to read | nil; each at most
 * once a step */
static int listener_ready(lua_State *L) {
  oai_listener *l = to_listener(L);
  oai_peer *p;
  lua_settop(L, 1);
  lua_getuservalue(L, 1);
  while ((p = oai_listener_ready(l))) {
    lua_pushlightuserdata(L, p);
    lua_rawget(L, 2);
    if (!lua_isnil(L, -1)) return 1;
    lua_pop(L, 1); /* its box waits for its finalizer */
  }
  return 0;
}

/* close() ends every connection at once */
static int listener_close(lua_State *L) {
  oai_listener *l = oai_box_take(L, 1, OAI_LISTENER);
  if (!l) return 0;
  oai_listener_close(l);
  oai_live(L, OAI_LISTENER, -1);
  return 0;
}

/* read() -> bytes, "" if there are none yet | nil at the end */
static int peer_read(lua_State *L) {
  oai_peer *p = to_peer(L);
  oai_slice in = oai_peer_input(p);
  lua_pushlstring(L, in.n ? in.p : "", in.n);
  if (!oai_peer_taken(p)) lua_pushnil(L);
  return 1;
}

/* write(bytes[, chunk]) -> peer; chunk: bytes a step */
static int peer_write(lua_State *L) {
  oai_peer *p = to_peer(L);
  size_t n;
  const char *bytes = luaL_checklstring(L, 2, &n);
  lua_Integer chunk = luaL_optinteger(L, 3, 0);
  luaL_argcheck(L, chunk >= 0, 3, "chunk must not be negative");
  return queued(L, oai_peer_write(p, bytes, n, (size_t)chunk));
}

/* pause(seconds) -> peer; 0 ends the step */
static int peer_pause(lua_State *L) {
  oai_peer *p = to_peer(L);
  double seconds = luaL_checknumber(L, 2);
  luaL_argcheck(L, seconds >= 0 && seconds < 1e9, 2, "seconds out of range");
  return queued(L, oai_peer_pause(p, seconds));
}

/* shutdown() -> peer; queues a half close */
static int peer_shutdown(lua_State *L) {
  return queued(L, oai_peer_shutdown(to_peer(L)));
}

/* close() -> peer; when the queue is out */
static int peer_close(lua_State *L) {
  return queued(L, oai_peer_close(to_peer(L)));
}

/* reset() -> peer; when the queue is out */
static int peer_reset(lua_State *L) {
  return queued(L, oai_peer_reset(to_peer(L)));
}

/* abort() -> peer; closes now */
static int peer_abort(lua_State *L) {
  oai_peer_abort(to_peer(L));
  return queued(L, OAI_BUF_OK);
}

/* hold(boolean) -> peer; while held nothing is read */
static int peer_hold(lua_State *L) {
  oai_peer *p = to_peer(L);
  luaL_checktype(L, 2, LUA_TBOOLEAN);
  oai_peer_hold(p, lua_toboolean(L, 2));
  return queued(L, OAI_BUF_OK);
}

/* pending() -> bytes queued */
static int peer_pending(lua_State *L) {
  lua_pushinteger(L, (lua_Integer)oai_peer_pending(to_peer(L)));
  return 1;
}

/* closed() -> whether the client closed its side, or all is over */
static int peer_closed(lua_State *L) {
  lua_pushboolean(L, oai_peer_closed(to_peer(L)));
  return 1;
}

static int peer_gc(lua_State *L) {
  oai_peer *p = oai_box_take(L, 1, OAI_PEER);
  if (!p) return 0;
  oai_peer_release(p);
  oai_live(L, OAI_PEER, -1);
  return 0;
}

static const luaL_Reg functions[] = {{"listen", core_listen}, {NULL, NULL}};

static const luaL_Reg listener_methods[] = {
    {"port", listener_port},       {"fd", listener_fd},
    {"timeout", listener_timeout}, {"step", listener_step},
    {"accept", listener_accept},   {"ready", listener_ready},
    {"close", listener_close},     {NULL, NULL}};

static const luaL_Reg peer_methods[] = {{"read", peer_read},
                                        {"write", peer_write},
                                        {"pause", peer_pause},
                                        {"shutdown", peer_shutdown},
                                        {"close", peer_close},
                                        {"reset", peer_reset},
                                        {"abort", peer_abort},
                                        {"hold", peer_hold},
                                        {"pending", peer_pending},
                                        {"closed", peer_closed},
                                        {NULL, NULL}};

void oai_open_listen(lua_State *L) {
  oai_class(L, OAI_LISTENER, listener_methods, listener_close);
  oai_class(L, OAI_PEER, peer_methods, peer_gc);
  oai_setfuncs(L, functions);
}

#endif
