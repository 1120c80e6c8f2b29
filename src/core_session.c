/* core_session: core.new and the session's Lua face. A session here is an
 * endpoint with its key, deadlines and caps; the conversation is Lua's. */
#include "core.h"

#include "core_objects.h"
#include "digest.h"
#include "wire_anthropic.h"
#include "wire_chat.h"
#include "wire_json.h"
#include "wire_raw.h"
#include "wire_responses.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- reading options; names and values were checked by the Lua layer ---- */

double oai_opt_seconds(lua_State *L, int i, const char *name, double missing) {
  lua_getfield(L, i, name);
  double value = missing;
  if (!lua_isnil(L, -1)) {
    if (lua_type(L, -1) != LUA_TNUMBER)
      luaL_error(L, "%s: seconds expected, got %s", name, luaL_typename(L, -1));
    value = lua_tonumber(L, -1);
    if (!(value >= 0)) luaL_error(L, "%s must not be negative", name);
  }
  lua_pop(L, 1);
  return value;
}

size_t oai_opt_size(lua_State *L, int i, const char *name, size_t missing) {
  double value = oai_opt_seconds(L, i, name, (double)missing);
  return value > 4e15 ? (size_t)4e15 : (size_t)value;
}

/* Pushes the table at a field and returns true, or pushes nothing. */
static bool field_table(lua_State *L, int options, const char *name) {
  lua_getfield(L, options, name);
  if (lua_istable(L, -1)) return true;
  if (!lua_isnil(L, -1))
    luaL_error(L, "%s: table expected, got %s", name, luaL_typename(L, -1));
  lua_pop(L, 1);
  return false;
}

void oai_read_timeouts(lua_State *L, int options, oai_timeouts *t) {
  if (!field_table(L, options, "timeouts")) return;
  int i = lua_gettop(L);
  t->connect = oai_opt_seconds(L, i, "connect", t->connect);
  t->first_byte = oai_opt_seconds(L, i, "first_byte", t->first_byte);
  t->first_content = oai_opt_seconds(L, i, "first_content", t->first_content);
  t->content_idle = oai_opt_seconds(L, i, "content_idle", t->content_idle);
  t->attempt = oai_opt_seconds(L, i, "attempt", t->attempt);
  lua_pop(L, 1);
}

static void read_limits(lua_State *L, int options, oai_limits *l) {
  if (!field_table(L, options, "limits")) return;
  int i = lua_gettop(L);
  l->event_bytes = oai_opt_size(L, i, "event_bytes", l->event_bytes);
  l->response_bytes = oai_opt_size(L, i, "response_bytes", l->response_bytes);
  l->header_bytes = oai_opt_size(L, i, "header_bytes", l->header_bytes);
  l->tool_calls = oai_opt_size(L, i, "tool_calls", l->tool_calls);
  l->request_bytes = oai_opt_size(L, i, "request_bytes", l->request_bytes);
  size_t depth = oai_opt_size(L, i, "depth", (size_t)l->depth);
  /* the scanner recurses; small C stacks are 256 kB */
  l->depth = depth > 1000 ? 1000 : (int)depth;
  lua_pop(L, 1);
}

const char *oai_read_headers(lua_State *L, int options,
                             struct curl_slist **list) {
  const char *wrong = NULL;
  if (!field_table(L, options, "headers")) return NULL;
  lua_pushnil(L);
  while (!wrong && lua_next(L, -2)) {
    oai_slice name, value;
    if (lua_type(L, -2) != LUA_TSTRING || lua_type(L, -1) != LUA_TSTRING) {
      wrong = "headers must be a table of strings by name";
      lua_pop(L, 2);
      break;
    }
    name.p = lua_tolstring(L, -2, &name.n);
    value.p = lua_tolstring(L, -1, &value.n);
    wrong = oai_header_add(list, name, value);
    lua_pop(L, wrong ? 2 : 1);
  }
  lua_pop(L, 1);
  return wrong;
}

/* Copies a string option; a NUL in it would cut it silently. */
static const char *read_text(lua_State *L, int options, const char *name,
                             char **out) {
  const char *wrong = NULL;
  size_t n;
  lua_getfield(L, options, name);
  if (lua_type(L, -1) == LUA_TSTRING) {
    const char *p = lua_tolstring(L, -1, &n);
    if (strlen(p) != n)
      wrong = "a file name, path or proxy has a NUL byte";
    else if (!(*out = oai_copy(p, n)))
      wrong = "not enough memory";
  } else if (!lua_isnil(L, -1)) {
    luaL_error(L, "%s: string expected, got %s", name, luaL_typename(L, -1));
  }
  lua_pop(L, 1);
  return wrong;
}

static bool read_flag(lua_State *L, int options, const char *name) {
  lua_getfield(L, options, name);
  bool on = lua_toboolean(L, -1);
  lua_pop(L, 1);
  return on;
}

/* resolve = { "host:port:address", … } as CURLOPT_RESOLVE has it. */
static const char *read_resolve(lua_State *L, int options, oai_endpoint *e) {
  const char *wrong = NULL;
  if (!field_table(L, options, "resolve")) return NULL;
  size_t n = lua_rawlen(L, -1);
  for (size_t i = 1; i <= n && !wrong; i++) {
    lua_rawgeti(L, -1, (int)i);
    const char *line = lua_tostring(L, -1);
    struct curl_slist *longer =
        line ? curl_slist_append(e->resolve, line) : NULL;
    if (longer)
      e->resolve = longer;
    else
      wrong = "resolve must be a list of \"host:port:address\"";
    lua_pop(L, 1);
  }
  lua_pop(L, 1);
  return wrong;
}

/* ---- the key ------------------------------------------------------------ */

/* Who is asked without a base URL, and whose key the environment has. */
static const struct {
  const char *origin, *key, *url;
} officials[] = {
    {"https://api.openai.com:443", "OPENAI_API_KEY", "OPENAI_BASE_URL"},
    {"https://api.anthropic.com:443", "ANTHROPIC_API_KEY", NULL},
};

static const char *official_key(const oai_endpoint *e) {
  for (size_t i = 0; i < sizeof officials / sizeof *officials; i++)
    if (strcmp(e->origin, officials[i].origin) == 0) return officials[i].key;
  return NULL;
}

/* The variable whose key may go to this origin: an official one's own, and
 * OPENAI_API_KEY where OPENAI_BASE_URL says so. */
static const char *variable_of(const oai_endpoint *e) {
  const char *name = official_key(e);
  for (size_t i = 0; i < sizeof officials / sizeof *officials && !name; i++) {
    const char *url = officials[i].url ? getenv(officials[i].url) : NULL;
    char *origin = url && *url ? oai_url_origin(url) : NULL;
    if (origin && strcmp(origin, e->origin) == 0) name = officials[i].key;
    free(origin);
  }
  return name;
}

/* The environment's key goes nowhere else, and never becomes a Lua string. */
static const char *environment_key(oai_endpoint *e) {
  const char *name = variable_of(e);
  const char *key = name ? getenv(name) : NULL;
  return key && *key ? oai_endpoint_set_key(e, key, strlen(key)) : NULL;
}

/* key_env = a variable whose key is wanted; key_env_url: only there. */
static const char *named_key(lua_State *L, int options, oai_endpoint *e,
                             bool *named) {
  const char *wrong = NULL;
  lua_getfield(L, options, "key_env");
  lua_getfield(L, options, "key_env_url");
  const char *name = lua_tostring(L, -2), *url = lua_tostring(L, -1);
  char *origin = url ? oai_url_origin(url) : NULL;
  const char *key = name ? getenv(name) : NULL;
  *named = name != NULL;
  if (key && *key && (!url || (origin && strcmp(origin, e->origin) == 0)))
    wrong = oai_endpoint_set_key(e, key, strlen(key));
  free(origin);
  lua_pop(L, 2);
  return wrong;
}

/* key_of = another session: at the same origin its key serves here too. */
static const char *inherited_key(lua_State *L, int options, oai_endpoint *e) {
  bool named;
  const char *wrong = named_key(L, options, e, &named);
  if (named) return wrong;
  lua_getfield(L, options, "key_of");
  oai_core_session *s =
      lua_isnil(L, -1) ? NULL : oai_box_check(L, lua_gettop(L), OAI_SESSION);
  if (!s || strcmp(s->endpoint->origin, e->origin) != 0)
    wrong = environment_key(e);
  else if (s->endpoint->key.n)
    wrong = oai_endpoint_set_key(e, s->endpoint->key.p, s->endpoint->key.n);
  lua_pop(L, 1);
  return wrong;
}

static const char *read_key(lua_State *L, int options, oai_endpoint *e) {
  const char *wrong = NULL;
  size_t n;
  lua_getfield(L, options, "api_key");
  if (lua_type(L, -1) == LUA_TSTRING) {
    const char *key = lua_tolstring(L, -1, &n);
    wrong = oai_endpoint_set_key(e, key, n);
    if (!wrong && !e->key.n) wrong = "api_key is empty";
  } else if (lua_isnil(L, -1)) {
    wrong = inherited_key(L, options, e);
  } else if (lua_toboolean(L, -1)) { /* false: no key at all */
    luaL_error(L, "api_key: string or false expected, got %s",
               luaL_typename(L, -1));
  }
  lua_pop(L, 1);
  if (wrong) return wrong;
  if (!e->key.n && official_key(e) &&
      !oai_header_has(e->headers, "authorization") &&
      !(e->key_header && oai_header_has(e->headers, e->key_header)) &&
      !read_flag(L, options, "key_later"))
    return strcmp(official_key(e), "OPENAI_API_KEY") == 0
               ? "no API key: set api_key or OPENAI_API_KEY"
               : "no API key: set api_key or ANTHROPIC_API_KEY";
  return oai_endpoint_key_refused(e);
}

/* ---- new ---------------------------------------------------------------- */

static const char *read_endpoint(lua_State *L, int options, oai_endpoint *e) {
  const char *wrong;
  size_t n;
  lua_getfield(L, options, "base_url");
  const char *url = luaL_checklstring(L, -1, &n);
  wrong = oai_endpoint_set_url(e, url, n);
  lua_pop(L, 1);
  if (!wrong) wrong = oai_read_headers(L, options, &e->headers);
  if (!wrong) wrong = read_text(L, options, "ca_file", &e->ca_file);
  if (!wrong) wrong = read_text(L, options, "proxy", &e->proxy);
  if (!wrong) wrong = read_text(L, options, "unix_socket", &e->unix_socket);
  if (!wrong) wrong = read_text(L, options, "client_cert", &e->client_cert);
  if (!wrong) wrong = read_text(L, options, "client_key", &e->client_key);
  if (!wrong) wrong = read_text(L, options, "key_header", &e->key_header);
  if (!wrong) wrong = read_resolve(L, options, e);
  e->allow_http = read_flag(L, options, "allow_http");
  if (!wrong) wrong = read_key(L, options, e);
  e->http2 = read_flag(L, options, "http2");
  e->redirects = read_flag(L, options, "redirects");
  oai_read_timeouts(L, options, &e->timeouts);
  read_limits(L, options, &e->limits);
  return wrong;
}

const oai_wire *oai_wire_named(const char *name) {
  static const oai_wire *const wires[] = {&oai_wire_chat, &oai_wire_responses,
                                          &oai_wire_anthropic, &oai_wire_raw,
                                          &oai_wire_json};
  for (size_t i = 0; i < sizeof wires / sizeof *wires; i++)
    if (strcmp(wires[i]->name, name) == 0) return wires[i];
  return NULL;
}

static oai_engine *read_engine(lua_State *L, int options) {
  lua_getfield(L, options, "engine");
  if (lua_isnil(L, -1)) {
    lua_pop(L, 1);
    oai_engine_push_default(L);
  }
  oai_engine *e = oai_engine_ref(oai_box_check(L, lua_gettop(L), OAI_ENGINE));
  lua_pop(L, 1);
  return e;
}

/* new{ base_url, api_key, headers, timeouts, limits, wire, path, engine,
 *      allow_http, ca_file, proxy, unix_socket, client_cert, client_key,
 *      resolve, http2, redirects, key_of, key_header, key_env, key_env_url,
 *      key_later } -> session | nil, message, err */
static int core_new(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_settop(L, 1);
  void **box = oai_box_new(L, OAI_SESSION);
  oai_core_session *s = *box = calloc(1, sizeof *s);
  if (!s) return luaL_error(L, "not enough memory");
  oai_live(L, OAI_SESSION, 1);
  s->endpoint = oai_endpoint_new();
  if (!s->endpoint) return luaL_error(L, "not enough memory");
  lua_getfield(L, 1, "wire");
  s->wire = oai_wire_named(luaL_optstring(L, -1, "chat"));
  if (!s->wire) return luaL_error(L, "unknown wire");
  lua_getfield(L, 1, "path");
  const char *path = luaL_optstring(L, -1, "/chat/completions");
  s->path = oai_copy(path, strlen(path));
  if (!s->path) return luaL_error(L, "not enough memory");
  lua_pop(L, 2);
  const char *wrong = read_endpoint(L, 1, s->endpoint);
  if (wrong) return oai_push_error(L, "config", "config", wrong);
  s->engine = read_engine(L, 1);
  return 1;
}

/* ---- methods ------------------------------------------------------------ */

/* session:send(body[, options]) -> exchange: the whole answer */
static int session_send(lua_State *L) {
  return oai_exchange_push(L, false);
}

/* session:stream(body[, options]) -> exchange: events as they come */
static int session_stream(lua_State *L) {
  return oai_exchange_push(L, true);
}

/* session:origin() -> "https://host:port" */
static int session_origin(lua_State *L) {
  oai_core_session *s = oai_box_check(L, 1, OAI_SESSION);
  lua_pushstring(L, s->endpoint->origin);
  return 1;
}

/* session:set_key(key) -> changed | nil, message, err: for what is sent from
 * now on */
static int session_set_key(lua_State *L) {
  oai_core_session *s = oai_box_check(L, 1, OAI_SESSION);
  size_t n;
  bool changed = false;
  const char *key = luaL_checklstring(L, 2, &n);
  const char *wrong = oai_endpoint_change_key(s->endpoint, key, n, &changed);
  if (wrong) return oai_push_error(L, "config", "config", wrong);
  lua_pushboolean(L, changed);
  return 1;
}

/* session:has_key() -> boolean */
static int session_has_key(lua_State *L) {
  oai_core_session *s = oai_box_check(L, 1, OAI_SESSION);
  lua_pushboolean(L, s->endpoint->key.n > 0);
  return 1;
}

/* session:identity(model) -> 64 hexadecimal digits: what a limit, a cool-down
 * and a circuit belong to. SHA-256 over the base URL with its path, the key and
 * the model, a NUL between them; none of the key can be told from it. */
static int session_identity(lua_State *L) {
  oai_core_session *s = oai_box_check(L, 1, OAI_SESSION);
  const oai_endpoint *e = s->endpoint;
  size_t model_n, base_n = strlen(e->base);
  const char *model = luaL_checklstring(L, 2, &model_n);
  size_t n = base_n + 1 + e->key.n + 1 + model_n;
  char *bytes = malloc(n), text[2 * OAI_SHA256_SIZE + 1];
  unsigned char sum[OAI_SHA256_SIZE];
  if (!bytes) return luaL_error(L, "not enough memory");
  memcpy(bytes, e->base, base_n + 1);
  if (e->key.n) memcpy(bytes + base_n + 1, e->key.p, e->key.n);
  bytes[base_n + 1 + e->key.n] = 0;
  memcpy(bytes + base_n + 1 + e->key.n + 1, model, model_n);
  oai_sha256(sum, bytes, n);
  oai_wipe(bytes, n);
  free(bytes);
  for (size_t i = 0; i < sizeof sum; i++) sprintf(text + 2 * i, "%02x", sum[i]);
  lua_pushlstring(L, text, 2 * sizeof sum);
  return 1;
}

static int session_close(lua_State *L) {
  oai_core_session *s = oai_box_take(L, 1, OAI_SESSION);
  if (!s) return 0;
  oai_live(L, OAI_SESSION, -1);
  oai_endpoint_unref(s->endpoint);
  oai_engine_unref(s->engine);
  free(s->path);
  free(s);
  return 0;
}

static const luaL_Reg methods[] = {
    {"send", session_send},       {"stream", session_stream},
    {"origin", session_origin},   {"identity", session_identity},
    {"set_key", session_set_key}, {"has_key", session_has_key},
    {"close", session_close},     {NULL, NULL}};

static const luaL_Reg functions[] = {
    {"new", core_new}, {"api_error", oai_core_api_error}, {NULL, NULL}};

void oai_open_session(lua_State *L) {
  oai_class(L, OAI_SESSION, methods, session_close);
  oai_setfuncs(L, functions);
}
