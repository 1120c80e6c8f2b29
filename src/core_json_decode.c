/* core_json_decode: JSON text -> Lua values, over scan.c. Knows Lua and scan.
 *
 * It does not recurse: open tables wait on the Lua stack and their item counts
 * in an array here, so that depth costs neither C stack nor trust. All other
 * memory is Lua's, so that a memory error leaks nothing. */
#include "core_json.h"
#include "scan.h"
#include "utf8.h"

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

enum {
  OBJECT = -1,
  SCRATCH = 1024,
  HINT = 4 /* room a table gets before its size is known */
};

typedef struct decoder {
  lua_State *L;
  oai_scan s;
  bool repair;     /* invalid UTF-8 becomes U+FFFD; else it is refused */
  const char *why; /* a refusal that is not scan's; s.p is its place */
  int slot;        /* the stack index of the scratch memory; array_mt follows */
  size_t scratch_n;
  int depth;
  int items[OAI_JSON_DEPTH]; /* of each open array; OBJECT for an object */
} decoder;

static bool refuse(decoder *d, const char *at, const char *why) {
  d->s.p = at;
  d->why = why;
  return false;
}

/* Memory of n bytes that lasts until the next call. */
static char *scratch(decoder *d, size_t n) {
  if (n > d->scratch_n) {
    d->scratch_n = n < SCRATCH ? SCRATCH : n + n / 2;
    lua_newuserdata(d->L, d->scratch_n);
    lua_replace(d->L, d->slot);
  }
  return lua_touserdata(d->L, d->slot);
}

/* Scratch memory with the string's bytes repaired, and room to unescape. */
static char *repaired(decoder *d, oai_scan_str *str) {
  oai_buf b;
  char *p = scratch(d, 6 * str->n + 3);
  oai_buf_init(&b, 3 * str->n);
  b.p = p;
  b.cap = b.max;
  oai_utf8_repair(&b, str->p, str->n);
  str->p = p;
  str->n = b.n;
  return p + b.n;
}

static bool push_string(decoder *d, oai_scan_str str) {
  size_t good = oai_utf8_valid(str.p, str.n);
  char *room = NULL;
  if (good < str.n) {
    if (!d->repair)
      return refuse(d, str.p + good, "the text is not valid UTF-8");
    room = repaired(d, &str);
  }
  if (!str.escaped) {
    lua_pushlstring(d->L, str.p, str.n);
    return true;
  }
  if (!room) room = scratch(d, str.n + 3);
  lua_pushlstring(d->L, room, oai_scan_unescape(&str, room, NULL));
  return true;
}

#if LUA_VERSION_NUM >= 503
#define INTEGER_MAX ((uint64_t)LUA_MAXINTEGER)
#else
/* Every number is a double here. */
#define INTEGER_MAX (UINT64_C(1) << 53)
#endif

/* An integer as such where it fits, else its decimal text. */
static void push_integer(lua_State *L, oai_scan_num num) {
  bool minus = *num.p == '-';
  size_t i = minus;
  uint64_t v = 0, max = INTEGER_MAX;
  if (LUA_VERSION_NUM >= 503 && minus) max++;
  if (num.n - i <= 19)
    for (; i < num.n; i++) v = v * 10 + (uint64_t)(num.p[i] - '0');
  if (i < num.n || v > max)
    lua_pushlstring(L, num.p, num.n);
  else if (!minus)
    lua_pushinteger(L, (lua_Integer)v);
  else if (v == 0)
    lua_pushnumber(L, (lua_Number)-0.0);
  else /* the smallest integer has no positive twin */
    lua_pushinteger(L, -(lua_Integer)(v - 1) - 1);
}

static bool push_double(decoder *d, oai_scan_num num) {
  char small[400], *room = small;
  if (num.n + OAI_JSON_NUMBER > sizeof small)
    room = scratch(d, num.n + OAI_JSON_NUMBER);
  double v = oai_json_read_double(num.p, num.n, room);
  if (isinf(v)) return refuse(d, num.p, "the number is out of range");
  lua_pushnumber(d->L, (lua_Number)v);
  return true;
}

static bool push_scalar(decoder *d, int c) {
  oai_scan_str str;
  oai_scan_num num;
  if (c == '"') return oai_scan_string(&d->s, &str) && push_string(d, str);
  if (c == '0') {
    if (!oai_scan_number(&d->s, &num)) return false;
    if (!num.integer) return push_double(d, num);
    push_integer(d->L, num);
    return true;
  }
  if (!oai_scan_literal(&d->s)) return false;
  if (c == 'n')
    lua_pushlightuserdata(d->L, NULL);
  else
    lua_pushboolean(d->L, c == 't');
  return true;
}

static bool push_container(decoder *d, int c) {
  if (!oai_scan_open(&d->s)) return false;
  if (!lua_checkstack(d->L, LUA_MINSTACK))
    return refuse(d, d->s.p, "the Lua stack is too small for this depth");
  if (c == '{') {
    lua_createtable(d->L, 0, oai_scan_peek(&d->s) ? HINT : 0);
  } else {
    lua_createtable(d->L, oai_scan_peek(&d->s) ? HINT : 0, 0);
    lua_pushvalue(d->L, d->slot + 1);
    lua_setmetatable(d->L, -2);
  }
  d->items[d->depth++] = c == '{' ? OBJECT : 0;
  return true;
}

/* In the open container on the top: true when another value is to be read (in
 * an object its key is on the stack), false when it is closed or on error. */
static bool push_next(decoder *d, bool *ok) {
  oai_scan_str key;
  if (d->items[d->depth - 1] != OBJECT) return oai_scan_item(&d->s);
  if (!oai_scan_key(&d->s, &key)) return false;
  return *ok = push_string(d, key);
}

static bool decode(decoder *d) {
  bool ok = true;
  for (;;) {
    int c = oai_scan_peek(&d->s);
    bool opened = c == '{' || c == '[';
    if (!(opened ? push_container(d, c) : push_scalar(d, c))) return false;
    for (;;) {
      if (!opened) { /* a whole value is on the top */
        if (d->depth == 0) return oai_scan_finish(&d->s);
        int *items = &d->items[d->depth - 1];
        if (*items == OBJECT)
          lua_rawset(d->L, -3);
        else
          lua_rawseti(d->L, -2, ++*items);
      }
      if (push_next(d, &ok)) break;
      if (!ok || d->s.error != OAI_SCAN_OK) return false;
      d->depth--;
      opened = false;
    }
  }
}

/* Pushes the value; on failure the stack is as before. */
static bool run(decoder *d, lua_State *L, oai_slice text, int max_depth) {
  int top = lua_gettop(L);
  d->L = L;
  d->why = NULL;
  d->slot = top + 1;
  d->scratch_n = 0;
  d->depth = 0;
  oai_scan_init(&d->s, text.p, text.n, max_depth);
  lua_pushnil(L);
  lua_getfield(L, LUA_REGISTRYINDEX, OAI_JSON_MARKERS);
  if (lua_istable(L, -1)) {
    lua_getfield(L, -1, "array_mt");
    lua_replace(L, -2);
  }
  if (!lua_istable(L, -1)) {
    lua_pop(L, 1);
    lua_newtable(L);
  }
  bool ok = decode(d);
  if (ok) lua_replace(L, top + 1);
  lua_settop(L, top + (ok ? 1 : 0));
  return ok;
}

void oai_json_push(lua_State *L, const char *p, size_t n) {
  decoder d;
  oai_slice text = {p, n};
  d.repair = true;
  if (!lua_checkstack(L, LUA_MINSTACK) || !run(&d, L, text, OAI_JSON_DEPTH))
    lua_pushnil(L);
}

/* Pushes what is wrong, as a sentence without its place. */
static void push_reason(lua_State *L, const decoder *d, int max_depth) {
  unsigned char c = d->s.p < d->s.end ? (unsigned char)*d->s.p : 0;
  if (d->why)
    lua_pushstring(L, d->why);
  else if (d->s.error == OAI_SCAN_DEEP)
    lua_pushfstring(L, "it nests deeper than %d", max_depth);
  else if (d->s.error == OAI_SCAN_RANGE)
    lua_pushliteral(L, "the number is out of range");
  else if (d->s.start == d->s.end)
    lua_pushliteral(L, "the text is empty");
  else if (d->s.error == OAI_SCAN_CUT)
    lua_pushliteral(L, "the text ends too early");
  else if (d->s.p == d->s.start && c == 0xEF)
    lua_pushliteral(L, "it starts with a byte order mark");
  else if (c > ' ' && c < 0x7F)
    lua_pushfstring(L, "unexpected '%c'", c);
  else
    lua_pushfstring(L, "unexpected byte %d", c);
}

int oai_json_decode(lua_State *L) {
  decoder d;
  luaL_checktype(L, 1, LUA_TSTRING);
  lua_Number depth = luaL_optnumber(L, 2, OAI_JSON_DEPTH);
  luaL_argcheck(L, depth >= 1 && depth <= OAI_JSON_DEPTH, 2,
                "a depth from 1 to 1000 expected");
  oai_slice text;
  text.p = lua_tolstring(L, 1, &text.n);
  lua_settop(L, 1);
  d.repair = false;
  if (run(&d, L, text, (int)depth)) return 1;
  size_t position = (size_t)(d.s.p - d.s.start) + 1;
  char place[24];
  snprintf(place, sizeof place, "%zu", position);
  bool deep = !d.why && d.s.error == OAI_SCAN_DEEP;
  lua_pushnil(L);
  push_reason(L, &d, (int)depth);
  lua_pushfstring(L, "invalid JSON at byte %s: ", place);
  lua_insert(L, -2);
  lua_concat(L, 2);
  lua_pushinteger(L, (lua_Integer)position);
  lua_pushstring(L, deep ? "too_deep" : "decode");
  return 4;
}
