/* core_json_encode: Lua values -> JSON text with sorted keys. Knows Lua.
 *
 * It does not recurse: open tables wait on the Lua stack, what is known of them
 * in the encoder. From the first key that is read to the last no Lua code runs:
 * no metamethod, and no finaliser either, because nothing called in between
 * steps the collector. So tables stay as they were seen, and their keys where
 * they are.
 */
#include "core_json_encoder.h"
#include "scan.h"
#include "utf8.h"

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
  MARKERS = 2, /* stack indices */
  VALUES = OAI_JSON_VALUES,
  PATH_MAX_BYTES = 200,
  KEY_MAX_BYTES = 40
};

typedef oai_json_encoder encoder;
typedef oai_json_frame frame;

static bool refuse(encoder *e, const char *why) {
  e->why = why;
  return false;
}

static bool no_memory(encoder *e) {
  e->nomem = true;
  return false;
}

/* Where n bytes can be written; the caller adds what it wrote to out.n. */
static char *room(encoder *e, size_t n) {
  if (n > e->out.cap - e->out.n) {
    oai_buf_status status = oai_buf_reserve(&e->out, n);
    if (status == OAI_BUF_NOMEM) no_memory(e);
    if (status == OAI_BUF_FULL) refuse(e, "makes the text longer than 1 GB");
    if (status != OAI_BUF_OK) return NULL;
  }
  return e->out.p + e->out.n;
}

static bool put(encoder *e, const char *p, size_t n) {
  char *o = room(e, n);
  if (!o) return false;
  memcpy(o, p, n);
  e->out.n += n;
  return true;
}

static char *put_escape(char *o, unsigned char c) {
  static const char hex[] = "0123456789abcdef";
  static const char short_form[] = "btn\0fr";
  char letter = c >= '\b' && c <= '\r' ? short_form[c - '\b'] : 0;
  if (c == '"' || c == '\\') letter = (char)c;
  *o++ = '\\';
  *o++ = letter ? letter : 'u';
  if (letter) return o;
  *o++ = '0';
  *o++ = '0';
  *o++ = hex[c >> 4];
  *o++ = hex[c & 15];
  return o;
}

/* The bytes between the quotes, which must be UTF-8. */
static bool put_escaped(encoder *e, const char *p, size_t n) {
  const char *end = p + n;
  for (;;) {
    size_t run = oai_scan_plain(p, (size_t)(end - p));
    if (!put(e, p, run)) return false;
    p += run;
    if (p == end) return true;
    char *o = room(e, 6);
    if (!o) return false;
    e->out.n = (size_t)(put_escape(o, (unsigned char)*p++) - e->out.p);
  }
}

/* The whole string, after a key with its colon; its bytes must be UTF-8. */
static bool put_string(encoder *e, const char *p, size_t n, bool key) {
  size_t run = oai_scan_plain(p, n);
  char *o = room(e, run + 3);
  if (!o) return false;
  *o = '"';
  memcpy(o + 1, p, run);
  e->out.n += run + 1;
  if (run < n && !put_escaped(e, p + run, n - run)) return false;
  o = room(e, 2);
  if (!o) return false;
  o[0] = '"';
  o[1] = ':';
  e->out.n += key ? 2 : 1;
  return true;
}

static bool put_unsigned(encoder *e, bool minus, uint64_t v) {
  char digits[24], *p = digits + sizeof digits;
  do *--p = (char)('0' + v % 10);
  while (v /= 10);
  if (minus) *--p = '-';
  return put(e, p, (size_t)(digits + sizeof digits - p));
}

static bool put_double(encoder *e, double v) {
  if (isnan(v)) return refuse(e, "is not a number (NaN)");
  if (isinf(v)) return refuse(e, "is infinite");
  if (fabs(v) <= 9007199254740992.0 && v == (double)(int64_t)v)
    return put_unsigned(e, signbit(v), (uint64_t)fabs(v));
  char *o = room(e, OAI_JSON_NUMBER);
  if (!o) return false;
  e->out.n += oai_json_write_double(v, o);
  return true;
}

static bool put_number(lua_State *L, encoder *e) {
#if LUA_VERSION_NUM >= 503
  if (lua_isinteger(L, -1)) {
    lua_Integer i = lua_tointeger(L, -1);
    uint64_t v = (uint64_t)i;
    return put_unsigned(e, i < 0, i < 0 ? 0 - v : v);
  }
#endif
  return put_double(e, (double)lua_tonumber(L, -1));
}

/* Writes and pops a value that is no table. */
static bool put_scalar(lua_State *L, encoder *e, int type) {
  size_t n;
  const char *p;
  bool ok, yes;
  switch (type) {
  case LUA_TSTRING:
    p = lua_tolstring(L, -1, &n);
    ok = oai_utf8_valid(p, n) == n ? put_string(e, p, n, false)
                                   : refuse(e, "is not valid UTF-8");
    break;
  case LUA_TNUMBER: ok = put_number(L, e); break;
  case LUA_TBOOLEAN:
    yes = lua_toboolean(L, -1);
    ok = put(e, yes ? "true" : "false", yes ? 4 : 5);
    break;
  default:
    if (type == LUA_TLIGHTUSERDATA && !lua_touserdata(L, -1)) {
      ok = put(e, "null", 4);
    } else if (oai_json_marked(L, MARKERS) == OAI_JSON_ARRAY) {
      ok = put(e, "[]", 2);
    } else {
      e->type = lua_typename(L, type);
      ok = refuse(e, "is a %s, which JSON cannot hold");
    }
  }
  lua_pop(L, 1);
  return ok;
}

/* Room for one more element: list, or its copy twice as large, or NULL. */
static void *grow(void *list, size_t n, size_t *cap, size_t size) {
  if (n < *cap) return list;
  size_t more = *cap ? *cap * 2 : 32;
  void *p = realloc(list, more * size);
  if (p) *cap = more;
  return p;
}

static bool add_member(lua_State *L, encoder *e) {
  oai_json_member *m =
      grow(e->members, e->members_n, &e->members_cap, sizeof *m);
  if (!m) return no_memory(e);
  e->members = m;
  m += e->members_n++;
  m->key = lua_tolstring(L, -2, &m->n);
  m->head = oai_json_head(m->key, m->n);
  m->slot = (int)e->members_n;
  lua_rawseti(L, VALUES, m->slot);
  if (e->members_n > e->members_max) e->members_max = e->members_n;
  bool ascii = m->n <= 8 && !(m->head & UINT64_C(0x8080808080808080));
  if (!ascii && oai_utf8_valid(m->key, m->n) < m->n)
    return refuse(e, "has a key that is not valid UTF-8");
  return true;
}

/* The table on the top as an object, into f; marked says that it must be. */
static bool take_members(lua_State *L, encoder *e, frame *f, bool marked) {
  f->first = e->members_n;
  lua_pushnil(L);
  while (lua_next(L, -2)) {
    int type = lua_type(L, -2);
    if (type == LUA_TNUMBER)
      refuse(e, marked ? "is marked as an object but has a number as a key"
                       : "mixes items with string keys");
    else if (type != LUA_TSTRING)
      refuse(e, "has a key that is neither a string nor a number");
    if (e->why) {
      lua_pop(L, 2);
      return false;
    }
    if (!add_member(L, e)) return false;
  }
  f->n = e->members_n - f->first;
  oai_json_sort(e->members + f->first, f->n);
  return true;
}

/* Decides what the table on the top is. */
static bool take_table(lua_State *L, encoder *e, frame *f) {
  oai_json_mark mark = oai_json_marked(L, MARKERS);
  bool empty, strings;
  lua_pushnil(L);
  empty = !lua_next(L, -2);
  strings = !empty && lua_type(L, -2) == LUA_TSTRING;
  if (!empty) lua_pop(L, 2);
  if (empty)
    f->array = mark == OAI_JSON_ARRAY || mark == OAI_JSON_EMPTY_ARRAY;
  else
    f->array = mark == OAI_JSON_ARRAY || (mark != OAI_JSON_OBJECT && !strings);
  if (f->array) return oai_json_items(L, &f->n, &e->why);
  return empty || take_members(L, e, f, mark == OAI_JSON_OBJECT);
}

/* The table on the top becomes the innermost frame. */
static bool open_table(lua_State *L, encoder *e) {
  frame f = {NULL, 0, 0, 0, false};
  f.table = lua_topointer(L, -1);
  f.first = e->members_n;
  for (size_t i = 0; i < e->depth; i++)
    if (e->frames[i].table == f.table)
      return refuse(e, "contains itself (a cycle)");
  if (e->depth >= e->max_depth) return refuse(e, "nests too deep");
  if (!lua_checkstack(L, LUA_MINSTACK)) return no_memory(e);
  if (!take_table(L, e, &f)) return false;
  frame *frames = grow(e->frames, e->depth, &e->frames_cap, sizeof f);
  if (!frames) return no_memory(e);
  e->frames = frames;
  frames[e->depth++] = f;
  return put(e, f.array ? "[" : "{", 1);
}

/* Begins the innermost frame's next item: its value is on the top then. */
static bool next_item(lua_State *L, encoder *e, frame *f) {
  size_t i = f->done++;
  if (i > 0 && !put(e, ",", 1)) return false;
  if (f->array) {
    lua_rawgeti(L, -1, (int)(i + 1));
    return true;
  }
  const oai_json_member *m = &e->members[f->first + i];
  lua_rawgeti(L, VALUES, m->slot);
  return put_string(e, m->key, m->n, true);
}

static bool encode(lua_State *L, encoder *e) {
  for (;;) {
    int type = lua_type(L, -1);
    if (!(type == LUA_TTABLE ? open_table(L, e) : put_scalar(L, e, type)))
      return false;
    for (;;) {
      if (e->depth == 0) return true;
      frame *f = &e->frames[e->depth - 1];
      if (f->done < f->n) {
        if (!next_item(L, e, f)) return false;
        break;
      }
      if (!put(e, f->array ? "]" : "}", 1)) return false;
      e->members_n = f->first;
      e->depth--;
      lua_pop(L, 1);
    }
  }
}

/* A key as a step of a path: name, or ["any bytes"]. */
static void put_step(encoder *e, const oai_json_member *m) {
  static const char name[] = "abcdefghijklmnopqrstuvwxyz_"
                             "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
  size_t n = m->n < KEY_MAX_BYTES ? m->n : KEY_MAX_BYTES, i = 0;
  while (i < n && m->key[i] && strchr(name, m->key[i])) i++;
  if (n && i == n && n == m->n && (m->key[0] < '0' || m->key[0] > '9')) {
    if (e->out.n) put(e, ".", 1);
    put(e, m->key, n);
    return;
  }
  put(e, "[\"", 2);
  while (n && oai_utf8_valid(m->key, n) < n) n--;
  put_escaped(e, m->key, n);
  put(e, n < m->n ? "...\"]" : "\"]", n < m->n ? 5 : 2);
}

/* Turns out into the path of the value at fault. */
static void put_path(encoder *e) {
  char index[32];
  e->out.n = 0;
  for (size_t i = 0; i < e->depth && e->out.n < PATH_MAX_BYTES; i++) {
    const frame *f = &e->frames[i];
    if (f->done == 0) break; /* the text had no room for its bracket */
    if (!f->array) {
      put_step(e, &e->members[f->first + f->done - 1]);
      continue;
    }
    put(e, index, (size_t)snprintf(index, sizeof index, "[%zu]", f->done));
  }
  if (e->out.n >= PATH_MAX_BYTES) put(e, "...", 3);
}

static int failure(lua_State *L, encoder *e) {
  put_path(e);
  if (e->nomem) return luaL_error(L, "not enough memory");
  const char *path = e->out.n ? e->out.p : "the value";
  lua_pushnil(L);
  lua_pushlstring(L, path, e->out.n ? e->out.n : strlen(path));
  lua_pushliteral(L, " ");
  lua_pushfstring(L, e->why, e->type);
  lua_concat(L, 3);
  lua_pushlstring(L, path, e->out.n);
  return 3;
}

/* json_encode(value[, depth[, in_pieces]]) -> text | list of pieces | nil,
 * message, path */
int oai_json_encode(lua_State *L) {
  luaL_checkany(L, 1);
  lua_Number depth = luaL_optnumber(L, 2, OAI_JSON_DEPTH);
  luaL_argcheck(L, depth >= 1 && depth <= OAI_JSON_DEPTH, 2,
                "a depth from 1 to 1000 expected");
  bool in_pieces = lua_toboolean(L, 3);
  lua_settop(L, 1);
  lua_getfield(L, LUA_REGISTRYINDEX, OAI_JSON_MARKERS);
  encoder *e = oai_json_encoder_take(L, (size_t)depth); /* 3, and 4: VALUES */
  lua_pushvalue(L, 1);
  if (encode(L, e)) {
    oai_json_push_text(L, &e->out, in_pieces);
    oai_json_encoder_give_back(L, e);
    return 1;
  }
  int n = failure(L, e);
  oai_json_encoder_give_back(L, e);
  return n;
}
