/* threads: N threads, each with a Lua state and a session of its own, in one
 * process: threads [N [SCRIPT]]. Knows only what a C host knows. */
#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

static const char script[] =
    "local number = ...\n"
    "local chat = require 'oaichat'\n"
    "local session = assert(chat.new { base_url = os.getenv 'HOSTS_URL' })\n"
    "local n = 0\n"
    "for text in session:stream('c' .. number .. ' 20 0.001') do\n"
    "  n = n + 1\n"
    "  assert(text:find('c' .. number .. '.', 1, true))\n"
    "end\n"
    "assert(n > 0)\n"
    "assert(session:send('whole 1 0').text == 'whole')\n";

static void *run(void *number) {
  lua_State *L = luaL_newstate();
  const char *why = "out of memory";
  int bad = !L;
  if (L) {
    luaL_openlibs(L);
    bad = luaL_loadstring(L, script);
    if (!bad) {
      lua_pushinteger(L, *(int *)number);
      bad = lua_pcall(L, 1, 0, 0);
    }
    if (bad) why = lua_tostring(L, -1);
  }
  if (bad) fprintf(stderr, "thread %d: %s\n", *(int *)number, why);
  if (L) lua_close(L);
  return bad ? number : NULL;
}

int main(int argc, char **argv) {
  enum { MOST = 64 };
  pthread_t threads[MOST];
  int numbers[MOST], n = argc > 1 ? atoi(argv[1]) : MOST, bad = 0;
  if (n < 1 || n > MOST) return 2;
  for (int i = 0; i < n; i++) {
    numbers[i] = i + 1;
    if (pthread_create(&threads[i], NULL, run, &numbers[i])) return 1;
  }
  for (int i = 0; i < n; i++) {
    void *failed;
    pthread_join(threads[i], &failed);
    bad += failed != NULL;
  }
  printf("%d threads, each with a Lua state: %d failed\n", n, bad);
  return bad != 0;
}
