/* core_conn: the Lua face of byte streams: core.connect, core.spawn and what
 * they give. It makes failures into sentences and decides nothing else. */
#include "core.h"

#ifdef _WIN32

/* conn is for POSIX alone, so far. */
void oai_open_conn(lua_State *L) {
  (void)L;
}

#else

#include "conn.h"
#include "core_objects.h"
#include "pollset.h"

#include <stdlib.h>
#include <string.h>

typedef struct oai_core_conn {
  oai_conn *c;
  oai_engine *engine;
  oai_waitable waitable;
  char *url; /* of a socket */
  bool shut;
} oai_core_conn;

static oai_core_conn *check(lua_State *L) {
  return oai_box_check(L, 1, OAI_CONN);
}

oai_conn *oai_conn_at(lua_State *L, int i, const char **url) {
  oai_core_conn *k = oai_box_check(L, i, OAI_CONN);
  *url = k->url ? k->url : "";
  return k->c;
}

static void mark(oai_core_conn *k) {
  oai_engine_mark(k->engine, &k->waitable, oai_conn_ready(k->c));
}

static void changed(oai_conn *c, void *arg) {
  (void)c;
  mark(arg);
}

/* ---- options ------------------------------------------------------------ */

static void check_names(lua_State *L, const char *const *names) {
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_settop(L, 1);
  for (lua_pushnil(L); lua_next(L, 1); lua_pop(L, 1)) {
    const char *name =
        lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : "(not a name)";
    const char *const *known = names;
    while (*known && strcmp(*known, name) != 0) known++;
    if (!*known) luaL_error(L, "unknown option %s", name);
  }
}

/* Leaves the value on the stack, where it keeps the string. NULL in *wrong: as
 * it should be. */
static const char *text(lua_State *L, int i, const char *name,
                        const char **wrong) {
  size_t n = 0;
  lua_getfield(L, i, name);
  if (lua_isnil(L, -1)) return NULL;
  if (lua_type(L, -1) != LUA_TSTRING)
    luaL_error(L, "%s: string expected, got %s", name, luaL_typename(L, -1));
  const char *p = lua_tolstring(L, -1, &n);
  if (strlen(p) != n) *wrong = "an option has a NUL byte";
  return p;
}

/* Pushes the engine and a closed box with its user value, at top. */
static oai_core_conn *push_box(lua_State *L) {
  lua_getfield(L, 1, "engine");
  if (lua_isnil(L, -1)) {
    lua_pop(L, 1);
    oai_engine_push_default(L);
  }
  oai_engine *e = oai_box_check(L, lua_gettop(L), OAI_ENGINE);
  void **box = oai_box_new(L, OAI_CONN);
  oai_core_conn *k = *box = calloc(1, sizeof *k);
  if (!k) luaL_error(L, "not enough memory");
  oai_live(L, OAI_CONN, 1);
  k->engine = oai_engine_ref(e);
  return k;
}

static int started(lua_State *L, oai_core_conn *k, const char *message) {
  if (!k->c) return oai_push_error(L, "config", "config", message);
  oai_conn_on_change(k->c, changed, k);
  mark(k);
  return 1;
}

/* connect{ url, ca_file, proxy, timeout (seconds), read_cap, write_cap (bytes),
 * engine } -> conn | nil, message, err */
static int core_connect(lua_State *L) {
  static const char *const names[] = {"url",     "ca_file",  "proxy",
                                      "timeout", "read_cap", "write_cap",
                                      "engine",  NULL};
  const char *wrong = NULL;
  char message[200];
  oai_conn_options o;
  memset(&o, 0, sizeof o);
  check_names(L, names);
  o.url = text(L, 1, "url", &wrong);
  if (!o.url) return luaL_error(L, "url: string expected, got nil");
  o.ca_file = text(L, 1, "ca_file", &wrong);
  o.proxy = text(L, 1, "proxy", &wrong);
  o.timeout = oai_opt_seconds(L, 1, "timeout", 0);
  o.read_cap = oai_opt_size(L, 1, "read_cap", 0);
  o.write_cap = oai_opt_size(L, 1, "write_cap", 0);
  oai_core_conn *k = push_box(L);
  if (wrong) return oai_push_error(L, "config", "config", wrong);
  k->url = oai_copy(o.url, strlen(o.url));
  if (!k->url) return luaL_error(L, "not enough memory");
  k->c = oai_conn_connect(k->engine, &o, message, sizeof message);
  return started(L, k, message);
}

/* Pushes an array of the strings of argv, ending with NULL. */
static const char *const *read_argv(lua_State *L, const char **wrong) {
  lua_getfield(L, 1, "argv");
  if (!lua_istable(L, -1))
    luaL_error(L, "argv: table expected, got %s", luaL_typename(L, -1));
  int list = lua_gettop(L);
  size_t n = lua_rawlen(L, list), size;
  const char **argv = lua_newuserdata(L, (n + 1) * sizeof *argv);
  if (n == 0) *wrong = "argv is empty";
  for (size_t i = 0; i < n; i++) {
    lua_rawgeti(L, list, (int)i + 1);
    if (lua_type(L, -1) != LUA_TSTRING)
      luaL_error(L, "argv[%d]: string expected, got %s", (int)i + 1,
                 luaL_typename(L, -1));
    argv[i] = lua_tolstring(L, -1, &size); /* the list keeps it */
    if (strlen(argv[i]) != size) *wrong = "an argument has a NUL byte";
    lua_pop(L, 1);
  }
  argv[n] = NULL;
  return argv;
}

static const char *env_line(lua_State *L, const char **wrong) {
  size_t n = 0, m = 0;
  if (lua_type(L, -2) != LUA_TSTRING || lua_type(L, -1) != LUA_TSTRING)
    luaL_error(L, "env must be a table of strings by name");
  const char *name = lua_tolstring(L, -2, &n),
             *value = lua_tolstring(L, -1, &m);
  if (n == 0 || strlen(name) != n || strchr(name, '=') || strlen(value) != m)
    *wrong = "env has a bad name or a NUL byte";
  return lua_pushfstring(L, "%s=%s", name, value);
}

/* The same for env = { NAME = value }; a table beside it keeps the lines. */
static const char *const *read_env(lua_State *L, const char **wrong) {
  size_t n = 0;
  lua_getfield(L, 1, "env");
  if (lua_isnil(L, -1)) return NULL;
  if (!lua_istable(L, -1))
    luaL_error(L, "env: table expected, got %s", luaL_typename(L, -1));
  int map = lua_gettop(L);
  for (lua_pushnil(L); lua_next(L, map); lua_pop(L, 1)) n++;
  const char **env = lua_newuserdata(L, (n + 1) * sizeof *env);
  lua_newtable(L);
  size_t i = 0;
  for (lua_pushnil(L); i < n && lua_next(L, map); lua_pop(L, 1)) {
    env[i++] = env_line(L, wrong);
    lua_rawseti(L, map + 2, (int)i);
  }
  env[i] = NULL;
  lua_settop(L, map + 2);
  return env;
}

/* spawn{ argv = {...}, env = {NAME = value}, cwd, read_cap, write_cap,
 * stderr_cap (bytes), grace (seconds), engine } -> conn | nil, message, err */
static int core_spawn(lua_State *L) {
  static const char *const names[] = {"argv",     "env",       "cwd",
                                      "read_cap", "write_cap", "stderr_cap",
                                      "grace",    "engine",    NULL};
  const char *wrong = NULL;
  char message[200];
  oai_spawn_options o;
  memset(&o, 0, sizeof o);
  check_names(L, names);
  o.argv = read_argv(L, &wrong);
  o.env = read_env(L, &wrong);
  o.cwd = text(L, 1, "cwd", &wrong);
  o.read_cap = oai_opt_size(L, 1, "read_cap", 0);
  o.write_cap = oai_opt_size(L, 1, "write_cap", 0);
  o.stderr_cap = oai_opt_size(L, 1, "stderr_cap", 0);
  o.grace = oai_opt_seconds(L, 1, "grace", 0);
  oai_core_conn *k = push_box(L);
  if (wrong) return oai_push_error(L, "config", "config", wrong);
  k->c = oai_conn_spawn(k->engine, &o, message, sizeof message);
  return started(L, k, message);
}

/* ---- failures ----------------------------------------------------------- */

static const char *sentence(const oai_failure *f) {
  static const char *const said[][2] = {
      {"dns", "cannot resolve the host"},
      {"connect", "cannot connect"},
      {"tls", "cannot agree on TLS"},
      {"proxy", "the proxy cannot connect"},
      {"timeout", "no connection in time"},
      {"connection_reset", "the connection was reset"},
      {"connection_closed", "the connection is closed"},
      {"canceled", "canceled"},
      {NULL, "out of memory"}};
  size_t i = 0;
  while (said[i][0] && strcmp(said[i][0], f->code) != 0) i++;
  return said[i][1];
}

static int push_failure(lua_State *L, const oai_failure *f) {
  lua_pushfstring(L, "%s%s%s", sentence(f), f->text[0] ? ": " : "", f->text);
  const char *phase = oai_phase_name(f->phase);
  oai_push_error(L, oai_kind_name(f->kind), f->code, lua_tostring(L, -1));
  lua_pushboolean(L, oai_failure_retryable(f));
  lua_setfield(L, -2, "retryable");
  if (phase) {
    lua_pushstring(L, phase);
    lua_setfield(L, -2, "phase");
  }
  return 3;
}

/* ---- methods ------------------------------------------------------------ */

/* conn:write(bytes) -> true | nil, message, err: queued whole or not at all */
static int conn_write(lua_State *L) {
  oai_core_conn *k = check(L);
  size_t n;
  const char *p = luaL_checklstring(L, 2, &n);
  if (k->shut) return luaL_error(L, "conn:write after conn:shutdown");
  if (oai_conn_state_of(k->c) == OAI_CONN_CLOSED) {
    const oai_failure *f = oai_conn_failure(k->c);
    if (f) return push_failure(L, f);
    return oai_push_error(L, "network", "connection_closed",
                          "the connection is closed");
  }
  switch (oai_conn_write(k->c, p, n)) {
  case OAI_BUF_FULL:
    return oai_push_error(L, "too_large", "write_cap",
                          "the queue of unsent bytes is full");
  case OAI_BUF_NOMEM: return luaL_error(L, "not enough memory");
  default: break;
  }
  lua_pushboolean(L, 1);
  return 1;
}

/* conn:read([max]) -> bytes ("": none yet) | nil at the end | nil, message, err
 */
static int conn_read(lua_State *L) {
  oai_core_conn *k = check(L);
  lua_Number max = luaL_optnumber(L, 2, 4e15);
  oai_slice s = oai_conn_read(k->c);
  if (s.n == 0 && oai_conn_state_of(k->c) == OAI_CONN_CLOSED) {
    const oai_failure *f = oai_conn_failure(k->c);
    if (f) return push_failure(L, f);
    lua_pushnil(L);
    return 1;
  }
  if (!(max >= 1)) return luaL_argerror(L, 2, "at least 1 expected");
  if ((double)s.n > max) s.n = (size_t)max;
  lua_pushlstring(L, s.p, s.n);
  oai_conn_consume(k->c, s.n);
  if (s.n) oai_engine_handed_out(k->engine);
  mark(k);
  return 1;
}

/* conn:shutdown() -> boolean: ends our direction once all is out; false: TLS
 * has no such thing */
static int conn_shutdown(lua_State *L) {
  oai_core_conn *k = check(L);
  bool done = oai_conn_shutdown(k->c);
  k->shut = k->shut || done;
  lua_pushboolean(L, done);
  return 1;
}

/* conn:state() -> "connecting" | "open" | "closed" */
static int conn_state(lua_State *L) {
  static const char *const names[] = {"connecting", "open", "closed"};
  lua_pushstring(L, names[oai_conn_state_of(check(L)->c)]);
  return 1;
}

/* conn:pending() -> bytes queued */
static int conn_pending(lua_State *L) {
  lua_pushinteger(L, (lua_Integer)oai_conn_pending(check(L)->c));
  return 1;
}

/* conn:ready() -> there are bytes, the end, or a connection or room that read
 * has not seen */
static int conn_ready(lua_State *L) {
  lua_pushboolean(L, oai_conn_ready(check(L)->c));
  return 1;
}

/* conn:id() -> what engine:pop() gives when it is ready */
static int conn_id(lua_State *L) {
  lua_pushlightuserdata(L, &check(L)->waitable);
  return 1;
}

/* conn:relist() -> its id: who popped it leaves the rest for a later
 * engine:pop() */
static int conn_relist(lua_State *L) {
  oai_core_conn *k = check(L);
  oai_engine_relist(k->engine, &k->waitable);
  lua_pushlightuserdata(L, &k->waitable);
  return 1;
}

/* conn:wait([seconds]) -> ready: one step of the engine; before it, unless
 * there is something to read, sleeps until something happened */
static int conn_wait(lua_State *L) {
  oai_core_conn *k = check(L);
  double seconds = luaL_optnumber(L, 2, -1);
  oai_engine_stop_at(k->engine, -1);
  if (!oai_conn_ready(k->c)) oai_engine_wait(k->engine, seconds, false);
  oai_engine_step(k->engine, -1);
  return conn_ready(L);
}

/* conn:stderr() -> the last bytes of a child's */
static int conn_stderr(lua_State *L) {
  oai_slice s = oai_conn_stderr(check(L)->c);
  lua_pushlstring(L, s.p, s.n);
  return 1;
}

/* conn:exit_status() -> status, or minus the signal | nil: it runs */
static int conn_exit_status(lua_State *L) {
  int status;
  if (oai_conn_exit_status(check(L)->c, &status))
    lua_pushinteger(L, status);
  else
    lua_pushnil(L);
  return 1;
}

static int conn_cancel(lua_State *L) {
  oai_core_conn *k = check(L);
  oai_conn_cancel(k->c);
  mark(k);
  return 0;
}

static int conn_close(lua_State *L) {
  oai_core_conn *k = oai_box_take(L, 1, OAI_CONN);
  if (!k) return 0;
  oai_live(L, OAI_CONN, -1);
  oai_engine_mark(k->engine, &k->waitable, false);
  oai_conn_free(k->c);
  oai_engine_unref(k->engine);
  free(k->url);
  free(k);
  return 0;
}

static const luaL_Reg methods[] = {{"write", conn_write},
                                   {"read", conn_read},
                                   {"shutdown", conn_shutdown},
                                   {"state", conn_state},
                                   {"pending", conn_pending},
                                   {"ready", conn_ready},
                                   {"id", conn_id},
                                   {"relist", conn_relist},
                                   {"wait", conn_wait},
                                   {"stderr", conn_stderr},
                                   {"cancel", conn_cancel},
                                   {"exit_status", conn_exit_status},
                                   {"close", conn_close},
                                   {NULL, NULL}};

static const luaL_Reg functions[] = {
    {"connect", core_connect}, {"spawn", core_spawn}, {NULL, NULL}};

void oai_open_conn(lua_State *L) {
  oai_class(L, OAI_CONN, methods, conn_close);
  oai_setfuncs(L, functions);
}

#endif
