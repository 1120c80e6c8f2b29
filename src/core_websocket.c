/* core_websocket: core.websocket_reader and core.websocket_frame, the frames of
 * RFC 6455 for Lua. It knows no connection and answers nothing. */
#include "core.h"

#include "conn.h"
#include "core_objects.h"
#include "platform.h"
#include "websocket.h"

#include <stdlib.h>
#include <string.h>

enum { MESSAGE_BYTES = 16000000 };

static size_t read_cap(lua_State *L, const char *name, size_t missing) {
  lua_getfield(L, 1, name);
  lua_Number n = luaL_optnumber(L, -1, (lua_Number)missing);
  lua_pop(L, 1);
  if (!(n >= 1)) luaL_error(L, "%s must be 1 or more", name);
  return n > 4e15 ? (size_t)4e15 : (size_t)n;
}

/* websocket_reader{ message_bytes =, frame_bytes =, from_client = } -> reader
 */
static int core_websocket_reader(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  size_t message = read_cap(L, "message_bytes", MESSAGE_BYTES);
  size_t frame = read_cap(L, "frame_bytes", message);
  lua_getfield(L, 1, "from_client");
  bool from_client = lua_toboolean(L, -1);
  void **box = oai_box_new(L, OAI_WEBSOCKET);
  oai_ws_reader *r = *box = calloc(1, sizeof *r);
  if (!r) return luaL_error(L, "not enough memory");
  oai_ws_init(r, from_client, frame, message);
  oai_live(L, OAI_WEBSOCKET, 1);
  return 1;
}

/* reader:read(bytes, at) -> the place after what was read, kind, data, status:
 * nothing ended yet, "text", "binary", "ping", "pong", "close" with its reason
 * and status, "broken" with why and the status to close with */
static int websocket_read(lua_State *L) {
  static const char *const kinds[] = {NULL,   "text",  "binary", "ping",
                                      "pong", "close", "broken"};
  oai_ws_reader *r = oai_box_check(L, 1, OAI_WEBSOCKET);
  size_t n;
  const char *p = luaL_checklstring(L, 2, &n);
  lua_Integer at = luaL_optinteger(L, 3, 1);
  oai_ws_event e;
  luaL_argcheck(L, at >= 1 && (size_t)(at - 1) <= n, 3, "outside of the bytes");
  size_t from = (size_t)(at - 1),
         taken = oai_ws_read(r, p + from, n - from, &e);
  lua_pushinteger(L, (lua_Integer)(from + taken + 1));
  if (e.kind == OAI_WS_NONE) return 1;
  lua_pushstring(L, kinds[e.kind]);
  if (e.kind == OAI_WS_BROKEN)
    lua_pushstring(L, e.why);
  else
    lua_pushlstring(L, e.data.p, e.data.n);
  if (!e.status) return 3;
  lua_pushinteger(L, e.status);
  return 4;
}

static int websocket_close(lua_State *L) {
  oai_ws_reader *r = oai_box_take(L, 1, OAI_WEBSOCKET);
  if (!r) return 0;
  oai_live(L, OAI_WEBSOCKET, -1);
  oai_ws_free(r);
  free(r);
  return 0;
}

/* websocket_frame(opcode, bytes, more, bare) -> a frame, the last of its
 * message unless `more`, masked as a client has to unless `bare` */
static int core_websocket_frame(lua_State *L) {
  unsigned char mask[4];
  size_t n;
  lua_Integer opcode = luaL_checkinteger(L, 1);
  const char *p = luaL_checklstring(L, 2, &n);
  bool more = lua_toboolean(L, 3), bare = lua_toboolean(L, 4);
  luaL_argcheck(L, opcode >= 0 && opcode <= 15, 1, "0 to 15");
  luaL_argcheck(L, opcode < 8 || n <= 125, 2, "a control frame has 125 bytes");
  if (!bare && !oai_platform_random(mask, sizeof mask))
    return luaL_error(L, "the system has no random bytes");
  char *room = lua_newuserdata(L, n + 14); /* nothing may raise with out held */
  oai_buf out;
  oai_buf_init(&out, n + 14);
  bool ok = oai_ws_frame(&out, (int)opcode, !more, bare ? NULL : mask, p, n) ==
            OAI_BUF_OK;
  size_t size = out.n;
  if (ok) memcpy(room, out.p, size);
  oai_buf_free(&out);
  if (!ok) return luaL_error(L, "not enough memory");
  lua_pushlstring(L, room, size);
  return 1;
}

#ifndef _WIN32

/* tcp://host:port is http's, tls://host:port https's: the key goes to the
 * origin it was given for and to no other. */
static bool same_origin(const char *url, const oai_endpoint *e) {
  const char *scheme = e->https ? "tls://" : "tcp://";
  const char *host = strstr(e->origin, "://");
  return host && strncmp(url, scheme, 6) == 0 && strcmp(url + 6, host + 3) == 0;
}

/* websocket_authorize(conn, session) -> true: queued the header field with the
 * session's key, which so never becomes a Lua string | false: it has none |
 * nil, message, err */
static int core_websocket_authorize(lua_State *L) {
  const char *url;
  oai_conn *c = oai_conn_at(L, 1, &url);
  oai_core_session *s = oai_box_check(L, 2, OAI_SESSION);
  const oai_buf *key = &s->endpoint->key;
  if (!same_origin(url, s->endpoint))
    return oai_push_error(L, "config", "config",
                          "the API key belongs to another origin");
  lua_pushboolean(L, key->n > 0);
  if (!key->n) return 1;
  const char *own = s->endpoint->key_header;
  const char *name = own ? own : "Authorization";
  oai_buf line;
  oai_buf_init(&line, strlen(name) + key->n + 16);
  oai_buf_status status = oai_buf_append(&line, name, strlen(name));
  if (status == OAI_BUF_OK)
    status = oai_buf_append(&line, own ? ": " : ": Bearer ", own ? 2 : 9);
  if (status == OAI_BUF_OK) status = oai_buf_append(&line, key->p, key->n);
  if (status == OAI_BUF_OK) status = oai_buf_append(&line, "\r\n", 2);
  if (status == OAI_BUF_OK) status = oai_conn_write(c, line.p, line.n);
  oai_buf_wipe(&line);
  if (status == OAI_BUF_NOMEM) return luaL_error(L, "not enough memory");
  if (status == OAI_BUF_OK) return 1;
  return oai_push_error(L, "too_large", "write_cap",
                        "the queue of unsent bytes is full");
}

#endif

static const luaL_Reg methods[] = {
    {"read", websocket_read}, {"close", websocket_close}, {NULL, NULL}};

static const luaL_Reg functions[] = {
    {"websocket_reader", core_websocket_reader},
    {"websocket_frame", core_websocket_frame},
#ifndef _WIN32
    {"websocket_authorize", core_websocket_authorize},
#endif
    {NULL, NULL}};

void oai_open_websocket(lua_State *L) {
  oai_class(L, OAI_WEBSOCKET, methods, websocket_close);
  oai_setfuncs(L, functions);
}
