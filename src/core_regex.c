/* core_regex: core.regex, patterns of JSON Schema in bounded time. Not counted
 * by core.live(): a program is a value that a schema keeps, not a resource. */
#include "core.h"

#include "regex.h"

/* regex(pattern) -> regex | nil, message (ECMA-262 with the u flag; see
 * regex.h for what is refused) */
static int core_regex(lua_State *L) {
  size_t n;
  const char *pattern = luaL_checklstring(L, 1, &n);
  char error[OAI_REGEX_ERROR];
  void **box = oai_box_new(L, OAI_REGEX);
  *box = oai_regex_new(pattern, n, error);
  if (*box) return 1;
  if (!*error) return luaL_error(L, "not enough memory");
  lua_pushnil(L);
  lua_pushstring(L, error);
  return 2;
}

/* regex:test(text[, steps]) -> boolean, steps it took | nil, message: it would
 * take more than that many steps */
static int regex_test(lua_State *L) {
  oai_regex *re = oai_box_check(L, 1, OAI_REGEX);
  size_t n;
  const char *text = luaL_checklstring(L, 2, &n);
  lua_Number max = luaL_optnumber(L, 3, OAI_REGEX_STEPS_MAX);
  if (!(max >= 1)) max = 1;
  if (max > 1e15) max = 1e15;
  size_t left = (size_t)max;
  oai_regex_answer answer = oai_regex_test(re, text, n, &left);
  if (answer == OAI_REGEX_COSTLY) {
    lua_pushnil(L);
    lua_pushliteral(L, "the pattern takes too long on this text");
    return 2;
  }
  lua_pushboolean(L, answer == OAI_REGEX_YES);
  lua_pushinteger(L, (lua_Integer)((size_t)max - left));
  return 2;
}

static int regex_close(lua_State *L) {
  oai_regex_free(oai_box_take(L, 1, OAI_REGEX));
  return 0;
}

static const luaL_Reg methods[] = {
    {"test", regex_test}, {"close", regex_close}, {NULL, NULL}};

static const luaL_Reg functions[] = {{"regex", core_regex}, {NULL, NULL}};

void oai_open_regex(lua_State *L) {
  oai_class(L, OAI_REGEX, methods, regex_close);
  oai_setfuncs(L, functions);
}
