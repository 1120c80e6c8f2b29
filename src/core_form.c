/* core_form: a form out of Lua values: { {name =, value =}, {name =, data =,
 * filename =, type =}, {name =, path =, filename =, type =}, … }. Opens
 * nothing.
 */
#include "core.h"

#include "core_objects.h"

#include <string.h>

/* A string of the part at the top; the anchor keeps it. */
static oai_slice field(lua_State *L, int anchor, int part, const char *name) {
  oai_slice out = {NULL, 0};
  lua_getfield(L, -1, name);
  if (lua_type(L, -1) == LUA_TSTRING) {
    out.p = lua_tolstring(L, -1, &out.n);
    lua_pushvalue(L, -1);
    lua_rawseti(L, anchor, (int)lua_rawlen(L, anchor) + 1);
  } else if (!lua_isnil(L, -1)) {
    luaL_error(L, "form[%d].%s: string expected, got %s", part, name,
               luaL_typename(L, -1));
  }
  lua_pop(L, 1);
  return out;
}

static const char *text(lua_State *L, int anchor, int part, const char *name) {
  oai_slice s = field(L, anchor, part, name);
  if (s.p && strlen(s.p) != s.n)
    luaL_error(L, "form[%d].%s has a NUL byte", part, name);
  return s.p;
}

static void read_part(lua_State *L, int anchor, int i, oai_form_part *p) {
  oai_slice value = field(L, anchor, i, "value");
  oai_slice data = field(L, anchor, i, "data");
  p->name = text(L, anchor, i, "name");
  p->filename = text(L, anchor, i, "filename");
  p->type = text(L, anchor, i, "type");
  p->path = text(L, anchor, i, "path");
  p->data = data.p ? data : value;
  lua_getfield(L, -1, "offset");
  lua_getfield(L, -2, "size");
  p->offset = (curl_off_t)luaL_optnumber(L, -2, 0);
  p->size = (curl_off_t)luaL_optnumber(L, -1, -1);
  lua_pop(L, 2);
  if (p->offset < 0) luaL_error(L, "form[%d].offset is negative", i);
  if (!p->name) luaL_error(L, "form[%d].name is missing", i);
  if ((value.p != NULL) + (data.p != NULL) + (p->path != NULL) != 1)
    luaL_error(L, "form[%d]: one of value, data and path expected", i);
}

oai_form_part *oai_read_form(lua_State *L, int anchor, size_t *n) {
  *n = 0;
  if (!lua_istable(L, 3)) return NULL;
  lua_getfield(L, 3, "form");
  if (lua_isnil(L, -1)) return NULL;
  if (!lua_istable(L, -1))
    luaL_error(L, "form: table expected, got %s", luaL_typename(L, -1));
  *n = lua_rawlen(L, -1);
  oai_form_part *parts = lua_newuserdata(L, (*n ? *n : 1) * sizeof *parts);
  memset(parts, 0, (*n ? *n : 1) * sizeof *parts);
  for (size_t i = 0; i < *n; i++) {
    lua_rawgeti(L, -2, (int)i + 1);
    if (!lua_istable(L, -1))
      luaL_error(L, "form[%d]: table expected, got %s", (int)i + 1,
                 luaL_typename(L, -1));
    read_part(L, anchor, (int)i + 1, &parts[i]);
    lua_pop(L, 1);
  }
  return parts;
}
