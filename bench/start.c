/* start: runs bench/client.lua on an interpreter with this checkout's build;
 * the form that BENCH_EXTRA wants. In C: a shell's own start would be counted
 * as the client's.
 *
 *   start oaichat:lua5.4 | oaichat:luajit      from the repository's
 * build/bench
 */
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int main(int argc, char **argv) {
  char self[PATH_MAX], root[PATH_MAX], text[3 * PATH_MAX];
  const char *name = argc == 2 ? strchr(argv[1], ':') : NULL;
  ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
  if (!name || n < 0) {
    fprintf(stderr, "start oaichat:INTERPRETER\n");
    return 2;
  }
  self[n] = 0;
  snprintf(root, sizeof root, "%s/../..", dirname(self));
  const char *lua = name + 1, *abi = strcmp(lua, "luajit") ? lua + 3 : "5.1";
  snprintf(text, sizeof text, "%s/lua/?.lua;%s/lua/?/init.lua;;", root, root);
  setenv("LUA_PATH", text, 1);
  snprintf(text, sizeof text, "%s/build/%s/?.so;;", root, abi);
  setenv("LUA_CPATH", text, 1);
  snprintf(text, sizeof text, "%s/bench/client.lua", root);
  execlp(lua, lua, text, (char *)NULL);
  perror(lua);
  return 1;
}
