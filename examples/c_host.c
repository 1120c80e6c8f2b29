/* c_host: a C program with a loop of its own and Lua inside; a slice of each
 * turn goes to the chat. cc -Wl,-E $(sh scripts/luaflags.sh lua5.4 5.4)
 * examples/c_host.c -o c_host
 *     $(pkg-config --libs lua5.4)
 *   LUA_PATH="$(make -s path)" LUA_CPATH="$(make -s cpath)" ./c_host hello */
#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <stdio.h>

static const char script[] =
    "local chat = require 'oaichat'\n"
    "local loop = require('oaichat.loop.tick').attach()\n"
    "assert(chat.new()):stream(..., {\n"
    "  on_event = function(event) io.write(event.text or '') end,\n"
    "  on_done = function(_, message) print(message or '') end,\n"
    "})\n"
    "return function()\n" /* what the host calls each turn */
    "  loop:step(0.001)\n"
    "  chat.wait(0.005)\n" /* a host with work of its own leaves this out */
    "  return chat.pending() > 0\n"
    "end\n";

static int fail(lua_State *L) {
  fprintf(stderr, "c_host: %s\n", lua_tostring(L, -1));
  lua_close(L);
  return 1;
}

int main(int argc, char **argv) {
  lua_State *L = luaL_newstate();
  if (!L) return 1;
  luaL_openlibs(L);
  if (luaL_loadstring(L, script)) return fail(L);
  lua_pushstring(L, argc > 1 ? argv[1] : "What is Lua?");
  if (lua_pcall(L, 1, 1, 0)) return fail(L);
  for (int more = 1; more;) {
    lua_pushvalue(L, -1);
    if (lua_pcall(L, 0, 1, 0)) return fail(L);
    more = lua_toboolean(L, -1);
    lua_pop(L, 1);
  }
  lua_close(L);
  return 0;
}
