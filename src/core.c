/* core: the entry of oaichat.core, the boxes that hold C objects, and the few
 * functions that belong to no class. */
#include "core.h"

#include "digest.h"
#include "platform.h"
#include "utf8.h"

#include <curl/curl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#if defined(_WIN32)
#define OAI_EXPORT __declspec(dllexport)
#elif defined(__GNUC__)
#define OAI_EXPORT __attribute__((visibility("default")))
#else
#define OAI_EXPORT
#endif

/* ---- live objects a class ----------------------------------------------- */

/* What each request counts first. */
static const char *const classes[] = {OAI_EXCHANGE, OAI_ENGINE,   OAI_SESSION,
                                      OAI_SSE,      OAI_TIMER,    OAI_LISTENER,
                                      OAI_PEER,     OAI_CONN,     OAI_FILE,
                                      OAI_EITHER,   OAI_WEBSOCKET};
enum { NCLASSES = sizeof classes / sizeof *classes };

/* Its address is the registry key of the counters. */
static const char live_key = 0;

static long *counters(lua_State *L) {
  lua_pushlightuserdata(L, (void *)&live_key);
  lua_rawget(L, LUA_REGISTRYINDEX);
  long *live = lua_touserdata(L, -1);
  lua_pop(L, 1);
  return live;
}

void oai_live(lua_State *L, const char *class_name, int by) {
  long *live = counters(L);
  for (int i = 0; live && i < NCLASSES; i++)
    if (strcmp(classes[i], class_name) == 0) {
      live[i] += by;
      return;
    }
}

/* live() -> { [class name] = C objects that are not closed } */
static int core_live(lua_State *L) {
  long *live = counters(L);
  lua_newtable(L);
  for (int i = 0; live && i < NCLASSES; i++) {
    if (!live[i]) continue;
    lua_pushinteger(L, live[i]);
    lua_setfield(L, -2, classes[i]);
  }
  return 1;
}

/* ---- boxes -------------------------------------------------------------- */

/* What is in a box's userdata. It is known by its size and its mark: looking
 * its metatable up would be most of what a short method costs. */
typedef struct box {
  const void *mark; /* &live_key */
  const char *class_name;
  void *object;
} box;

static box *to_box(lua_State *L, int i, const char *class_name) {
  box *b = lua_touserdata(L, i);
  if (b && lua_type(L, i) == LUA_TUSERDATA && lua_rawlen(L, i) == sizeof *b &&
      b->mark == &live_key &&
      (b->class_name == class_name || strcmp(b->class_name, class_name) == 0))
    return b;
  return NULL;
}

void **oai_box_new(lua_State *L, const char *class_name) {
  box *b = oai_newuserdata(L, sizeof *b);
  *b = (box){&live_key, class_name, NULL};
  luaL_getmetatable(L, class_name);
  lua_setmetatable(L, -2);
  return &b->object;
}

void oai_box_keeps(lua_State *L) {
  lua_newtable(L);
  lua_pushvalue(L, -1);
  lua_setuservalue(L, -3);
}

bool oai_box_is(lua_State *L, int i, const char *class_name) {
  return to_box(L, i, class_name) != NULL;
}

void *oai_box_object(lua_State *L, int i, const char *class_name) {
  box *b = to_box(L, i, class_name);
  return b ? b->object : NULL;
}

static box *need_box(lua_State *L, int i, const char *class_name) {
  box *b = to_box(L, i, class_name);
  if (b) return b;
  luaL_checkudata(L, i, class_name); /* it knows how to say what is wrong */
  luaL_argerror(L, i, class_name);
  return NULL;
}

void *oai_box_check(lua_State *L, int i, const char *class_name) {
  box *b = need_box(L, i, class_name);
  if (!b->object) luaL_error(L, "%s is closed", class_name);
  return b->object;
}

void *oai_box_take(lua_State *L, int i, const char *class_name) {
  box *b = need_box(L, i, class_name);
  void *object = b->object;
  b->object = NULL;
  return object;
}

static int box_tostring(lua_State *L) {
  const char *name = lua_tostring(L, lua_upvalueindex(1));
  box *b = to_box(L, 1, name);
  if (b && b->object)
    lua_pushfstring(L, "%s (%p)", name, b->object);
  else
    lua_pushfstring(L, "%s (closed)", name);
  return 1;
}

void oai_class(lua_State *L, const char *class_name, const luaL_Reg *methods,
               lua_CFunction close) {
  /* filled also when it is there: memory may have failed half way, once */
  luaL_newmetatable(L, class_name);
  oai_setfuncs(L, methods);
  lua_pushvalue(L, -1);
  lua_setfield(L, -2, "__index");
  lua_pushcfunction(L, close);
  lua_setfield(L, -2, "__gc");
  lua_pushcfunction(L, close);
  lua_setfield(L, -2, "__close");
  lua_pushstring(L, class_name);
  lua_pushcclosure(L, box_tostring, 1);
  lua_setfield(L, -2, "__tostring");
  lua_pop(L, 1);
}

int oai_push_error(lua_State *L, const char *kind, const char *code,
                   const char *message) {
  lua_pushnil(L);
  lua_pushstring(L, message);
  lua_createtable(L, 0, 3);
  lua_pushstring(L, kind);
  lua_setfield(L, -2, "kind");
  lua_pushstring(L, code);
  lua_setfield(L, -2, "code");
  lua_pushvalue(L, -2);
  lua_setfield(L, -2, "message");
  return 3;
}

/* ---- functions ---------------------------------------------------------- */

/* isatty(fd) -> boolean */
static int core_isatty(lua_State *L) {
  lua_pushboolean(L, oai_platform_isatty((int)luaL_checkinteger(L, 1)));
  return 1;
}

/* curl_version() -> "7.88.1", "OpenSSL/3.0.19" | nil */
static int core_curl_version(lua_State *L) {
  const curl_version_info_data *v = curl_version_info(CURLVERSION_NOW);
  lua_pushstring(L, v->version);
  lua_pushstring(L, v->ssl_version);
  return 2;
}

/* base64(bytes) -> text (RFC 4648, section 4) */
static int core_base64(lua_State *L) {
  size_t n;
  const char *p = luaL_checklstring(L, 1, &n);
  size_t size = oai_base64_size(n);
  char *out = lua_newuserdata(L, size + 1);
  oai_base64(out, p, n);
  lua_pushlstring(L, out, size);
  return 1;
}

/* unbase64(text) -> bytes | nil: no canonical base64 */
static int core_unbase64(lua_State *L) {
  size_t n, got;
  const char *p = luaL_checklstring(L, 1, &n);
  char *out = lua_newuserdata(L, n / 4 * 3 + 1);
  if (oai_base64_decode(out, &got, p, n))
    lua_pushlstring(L, out, got);
  else
    lua_pushnil(L);
  return 1;
}

/* floats(text) -> list of numbers | nil: IEEE 754 singles in base64, the lowest
 * byte first, as the embeddings endpoint gives them */
static int core_floats(lua_State *L) {
  size_t n, got;
  const char *p = luaL_checklstring(L, 1, &n);
  unsigned char *bytes = lua_newuserdata(L, n / 4 * 3 + 1);
  if (!oai_base64_decode((char *)bytes, &got, p, n) || got % 4) return 0;
  lua_createtable(L, (int)(got / 4), 0);
  for (size_t i = 0; i < got / 4; i++) {
    const unsigned char *b = bytes + 4 * i;
    uint32_t bits = (uint32_t)b[0] | (uint32_t)b[1] << 8 |
                    (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
    float value;
    memcpy(&value, &bits, sizeof value);
    lua_pushnumber(L, value);
    lua_rawseti(L, -2, (int)i + 1);
  }
  return 1;
}

/* sha256(bytes) -> 64 hexadecimal digits (FIPS 180-4) */
static int core_sha256(lua_State *L) {
  size_t n;
  const char *p = luaL_checklstring(L, 1, &n);
  unsigned char sum[OAI_SHA256_SIZE];
  char text[2 * OAI_SHA256_SIZE + 1];
  oai_sha256(sum, p, n);
  for (int i = 0; i < OAI_SHA256_SIZE; i++)
    sprintf(text + 2 * i, "%02x", sum[i]);
  lua_pushlstring(L, text, 2 * OAI_SHA256_SIZE);
  return 1;
}

/* sha1(bytes) -> 20 bytes (FIPS 180-4): for the handshake of RFC 6455 alone */
static int core_sha1(lua_State *L) {
  size_t n;
  const char *p = luaL_checklstring(L, 1, &n);
  unsigned char sum[OAI_SHA1_SIZE];
  oai_sha1(sum, p, n);
  lua_pushlstring(L, (const char *)sum, sizeof sum);
  return 1;
}

/* hmac_sha256(key, bytes) -> 32 bytes (RFC 2104) */
static int core_hmac_sha256(lua_State *L) {
  size_t key_n, n;
  const char *key = luaL_checklstring(L, 1, &key_n);
  const char *p = luaL_checklstring(L, 2, &n);
  unsigned char sum[OAI_SHA256_SIZE];
  oai_hmac_sha256(sum, key, key_n, p, n);
  lua_pushlstring(L, (const char *)sum, sizeof sum);
  return 1;
}

/* same(a, b) -> boolean: in a time that says nothing of where they differ */
static int core_same(lua_State *L) {
  size_t an, bn;
  const char *a = luaL_checklstring(L, 1, &an);
  const char *b = luaL_checklstring(L, 2, &bn);
  unsigned char differ = an != bn;
  for (size_t i = 0; i < an && i < bn; i++)
    differ |= (unsigned char)(a[i] ^ b[i]);
  lua_pushboolean(L, !differ);
  return 1;
}

/* utf8_repair(bytes) -> text: what is not UTF-8 becomes U+FFFD */
static int core_utf8_repair(lua_State *L) {
  size_t n;
  const char *p = luaL_checklstring(L, 1, &n);
  oai_buf out;
  lua_settop(L, 1);
  if (oai_utf8_valid(p, n) == n) return 1;
  char *room = lua_newuserdata(L, 3 * n); /* nothing may raise with out held */
  oai_buf_init(&out, 3 * n);
  bool ok = oai_utf8_repair(&out, p, n) == OAI_BUF_OK;
  size_t size = out.n;
  if (ok) memcpy(room, out.p, size);
  oai_buf_free(&out);
  if (!ok) return luaL_error(L, "not enough memory");
  lua_pushlstring(L, room, size);
  return 1;
}

/* random(n) -> n unpredictable bytes, as 2n hexadecimal digits; n <= 64 */
static int core_random(lua_State *L) {
  lua_Integer n = luaL_checkinteger(L, 1);
  unsigned char bytes[64];
  char text[2 * sizeof bytes + 1];
  luaL_argcheck(L, n > 0 && n <= (lua_Integer)sizeof bytes, 1, "1 to 64");
  if (!oai_platform_random(bytes, (size_t)n))
    return luaL_error(L, "the system has no random bytes");
  for (lua_Integer i = 0; i < n; i++) sprintf(text + 2 * i, "%02x", bytes[i]);
  lua_pushlstring(L, text, 2 * (size_t)n);
  return 1;
}

static const luaL_Reg functions[] = {{"base64", core_base64},
                                     {"unbase64", core_unbase64},
                                     {"floats", core_floats},
                                     {"sha1", core_sha1},
                                     {"sha256", core_sha256},
                                     {"hmac_sha256", core_hmac_sha256},
                                     {"same", core_same},
                                     {"utf8_repair", core_utf8_repair},
                                     {"random", core_random},
                                     {"live", core_live},
                                     {"isatty", core_isatty},
                                     {"curl_version", core_curl_version},
                                     {NULL, NULL}};

/* ---- loading ------------------------------------------------------------ */

OAI_EXPORT int luaopen_oaichat_core(lua_State *L);

/* lua_close unloads C modules, and libcurl with this one, while a resolver
 * thread of libcurl may still run: so the module stays. */
static void start_curl(void) {
  curl_global_init(CURL_GLOBAL_DEFAULT);
  oai_platform_pin(&live_key);
}

int luaopen_oaichat_core(lua_State *L) {
  oai_platform_once(start_curl);
  if (!counters(L)) { /* loaded once more, objects of the first time may live */
    lua_pushlightuserdata(L, (void *)&live_key);
    memset(lua_newuserdata(L, sizeof(long) * NCLASSES), 0,
           sizeof(long) * NCLASSES);
    lua_rawset(L, LUA_REGISTRYINDEX);
  }
  lua_newtable(L);
  oai_setfuncs(L, functions);
  oai_open_clock(L);
  oai_open_engine(L);
  oai_open_session(L);
  oai_open_exchange(L);
  oai_open_reply(L);
  oai_open_sse(L);
  oai_open_timer(L);
  oai_open_either(L);
  oai_open_limit(L);
  oai_open_json(L);
  oai_open_listen(L);
  oai_open_conn(L);
  oai_open_regex(L);
  oai_open_file(L);
  oai_open_bpe(L);
  oai_open_websocket(L);
  return 1;
}
