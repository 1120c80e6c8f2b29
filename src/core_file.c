/* core_file: core.file, the file system as a journal sees it. A failure is nil,
 * a reason and the errno's name. */
#include "core.h"

#include "file.h"

#include <errno.h>
#include <stdio.h>

static int fail(lua_State *L, int error) {
  char room[16];
  lua_pushnil(L);
  lua_pushstring(L, oai_file_reason(error));
  lua_pushstring(L, oai_file_code(error, room));
  return 3;
}

static int answer(lua_State *L, int error) {
  if (error) return fail(L, error);
  lua_pushboolean(L, 1);
  return 1;
}

static uint64_t check_size(lua_State *L, int i) {
  lua_Number n = luaL_checknumber(L, i);
  luaL_argcheck(L, n >= 0 && n < 9007199254740992.0, i, "size out of range");
  return (uint64_t)n;
}

/* The C calls would stop at a NUL: such a path is not what it looks like. */
static const char *check_path(lua_State *L, int i) {
  size_t n;
  const char *path = luaL_checklstring(L, i, &n);
  for (size_t k = 0; k < n; k++)
    if (!path[k]) luaL_argerror(L, i, "path has a NUL");
  return path;
}

/* ---- files -------------------------------------------------------------- */

static oai_file *check(lua_State *L) {
  return oai_box_check(L, 1, OAI_FILE);
}

/* file.open(path, mode) -> file | nil, reason, code. mode: "read", "write" (it
 * is there), "create" (it is not), "ensure" (either) */
static int file_open(lua_State *L) {
  static const char *const modes[] = {"read", "write", "create", "ensure",
                                      NULL};
  const char *path = check_path(L, 1);
  int mode = luaL_checkoption(L, 2, NULL, modes);
  void **box = oai_box_new(L, OAI_FILE);
  oai_file *f;
  int error = oai_file_open(&f, path, (oai_file_mode)mode);
  if (error) return fail(L, error);
  *box = f;
  oai_live(L, OAI_FILE, 1);
  return 1;
}

/* file:read(offset, n) -> bytes, fewer at the end */
static int file_read(lua_State *L) {
  oai_file *f = check(L);
  uint64_t at = check_size(L, 2);
  size_t n = (size_t)check_size(L, 3);
  char *room = lua_newuserdata(L, n + 1);
  size_t got;
  int error = oai_file_read(f, at, room, n, &got);
  if (error) return fail(L, error);
  lua_pushlstring(L, room, got);
  return 1;
}

/* file:write(offset, bytes) -> true */
static int file_write(lua_State *L) {
  size_t n;
  oai_file *f = check(L);
  uint64_t at = check_size(L, 2);
  const char *p = luaL_checklstring(L, 3, &n);
  return answer(L, oai_file_write(f, at, p, n));
}

/* file:size() -> bytes */
static int file_size(lua_State *L) {
  uint64_t size;
  int error = oai_file_size(check(L), &size);
  if (error) return fail(L, error);
  lua_pushinteger(L, (lua_Integer)size);
  return 1;
}

/* file:truncate(size) -> true */
static int file_truncate(lua_State *L) {
  oai_file *f = check(L);
  return answer(L, oai_file_truncate(f, check_size(L, 2)));
}

/* file:sync() -> true: data and size are on the disk */
static int file_sync(lua_State *L) {
  return answer(L, oai_file_sync(check(L)));
}

/* file:lock("shared"|"exclusive", seconds) -> true; code "EWOULDBLOCK": it was
 * not free in that time, in which this thread sleeps */
static int file_lock(lua_State *L) {
  static const char *const kinds[] = {"shared", "exclusive", NULL};
  oai_file *f = check(L);
  int exclusive = luaL_checkoption(L, 2, NULL, kinds);
  double seconds = luaL_checknumber(L, 3);
  return answer(L, oai_file_lock(f, exclusive, seconds));
}

/* file:same(path) -> boolean: the path leads to this file */
static int file_same(lua_State *L) {
  bool same;
  oai_file *f = check(L);
  int error = oai_file_same(f, check_path(L, 2), &same);
  if (error) return fail(L, error);
  lua_pushboolean(L, same);
  return 1;
}

static int file_close(lua_State *L) {
  oai_file *f = oai_box_take(L, 1, OAI_FILE);
  if (f) oai_live(L, OAI_FILE, -1);
  oai_file_close(f);
  return 0;
}

/* ---- names -------------------------------------------------------------- */

/* file.rename(from, to) -> true */
static int file_rename(lua_State *L) {
  const char *from = check_path(L, 1);
  return answer(L, oai_file_rename(from, check_path(L, 2)));
}

/* file.remove(path) -> true */
static int file_remove(lua_State *L) {
  return answer(L, oai_file_remove(check_path(L, 1)));
}

/* file.mkdir(path) -> true: made, with mode 0700; false: a directory is there
 */
static int file_mkdir(lua_State *L) {
  int error = oai_file_make_dir(check_path(L, 1));
  if (error && error != EEXIST) return fail(L, error);
  lua_pushboolean(L, !error);
  return 1;
}

/* file.sync_dir(path) -> true: its names are on the disk */
static int file_sync_dir(lua_State *L) {
  return answer(L, oai_file_sync_dir(check_path(L, 1)));
}

/* file.stat(path) -> { size, mode, kind }; a link is not followed */
static int file_stat(lua_State *L) {
  oai_file_facts facts;
  int error = oai_file_stat(check_path(L, 1), &facts);
  if (error) return fail(L, error);
  lua_createtable(L, 0, 3);
  lua_pushinteger(L, (lua_Integer)facts.size);
  lua_setfield(L, -2, "size");
  lua_pushinteger(L, (lua_Integer)facts.mode);
  lua_setfield(L, -2, "mode");
  lua_pushstring(L, facts.kind);
  lua_setfield(L, -2, "kind");
  return 1;
}

static int dir_close(lua_State *L) {
  oai_dir_close(oai_box_take(L, 1, OAI_DIRECTORY));
  return 0;
}

/* file.list(path) -> names, in no order */
static int file_list(lua_State *L) {
  const char *path = check_path(L, 1);
  void **box = oai_box_new(L, OAI_DIRECTORY);
  oai_dir *dir;
  int error = oai_dir_open(&dir, path);
  if (error) return fail(L, error);
  *box = dir;
  lua_newtable(L);
  const char *name;
  for (int i = 1; (name = oai_dir_next(dir)); i++) {
    lua_pushstring(L, name);
    lua_rawseti(L, -2, i);
  }
  *box = NULL;
  oai_dir_close(dir);
  return 1;
}

/* ---- else --------------------------------------------------------------- */

/* file.crc32(bytes) -> 8 hexadecimal digits */
static int file_crc32(lua_State *L) {
  size_t n;
  const char *p = luaL_checklstring(L, 1, &n);
  char text[9];
  snprintf(text, sizeof text, "%08lx", (unsigned long)oai_crc32(p, n));
  lua_pushlstring(L, text, 8);
  return 1;
}

/* time() -> Unix seconds */
static int core_time(lua_State *L) {
  lua_pushnumber(L, oai_file_time());
  return 1;
}

static const luaL_Reg methods[] = {
    {"read", file_read}, {"write", file_write},       {"size", file_size},
    {"sync", file_sync}, {"truncate", file_truncate}, {"lock", file_lock},
    {"same", file_same}, {"close", file_close},       {NULL, NULL}};

static const luaL_Reg dir_methods[] = {{"close", dir_close}, {NULL, NULL}};

static const luaL_Reg members[] = {
    {"open", file_open},   {"rename", file_rename},     {"remove", file_remove},
    {"mkdir", file_mkdir}, {"sync_dir", file_sync_dir}, {"stat", file_stat},
    {"list", file_list},   {"crc32", file_crc32},       {NULL, NULL}};

static const luaL_Reg functions[] = {{"time", core_time}, {NULL, NULL}};

void oai_open_file(lua_State *L) {
  oai_class(L, OAI_FILE, methods, file_close);
  oai_class(L, OAI_DIRECTORY, dir_methods, dir_close);
  oai_setfuncs(L, functions);
  lua_newtable(L);
  oai_setfuncs(L, members);
  lua_setfield(L, -2, "file");
}
