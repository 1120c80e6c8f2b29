/* Row 101 on the side of Lua: the state's allocator fails at one call, or from
 * one call on, or malloc does, for every call (every few, when they are many).
 * What was run ends in Lua's memory error or in success, runs in the same state
 * when there is memory again, and lua_close leaves nothing behind. */
#include "support/test.h"
#include "support/torture.h"

#include <curl/curl.h>
#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <time.h>

int luaopen_oaichat_core(lua_State *L);

#if defined __linux__ && defined __SANITIZE_ADDRESS__
int __lsan_do_recoverable_leak_check(void);
void *__interceptor_malloc(size_t n);
char *__interceptor_strdup(const char *s);
void __interceptor_free(void *p);
#else
#define __interceptor_malloc malloc
#define __interceptor_calloc calloc
#define __interceptor_realloc realloc
#define __interceptor_strdup strdup
#define __interceptor_free free
static int __lsan_do_recoverable_leak_check(void) {
  return 0;
}
#endif

/* Lua 5.4 collects when an allocation fails and asks again: to fail once is to
 * fail twice. */
typedef enum mode { TWICE, FOR_GOOD, MALLOC } mode;

static const char *const modes[] = {"one of Lua's allocations fails",
                                    "Lua's allocations fail from one on",
                                    "one malloc of the module fails"};

typedef struct memory {
  mode mode;
  long left; /* calls until the one that fails; 0: none fails */
  bool hit, again;
} memory;

static bool fails(memory *m) {
  if (m->again) {
    m->again = m->mode == FOR_GOOD;
    return true;
  }
  if (!m->left || --m->left) return false;
  return m->hit = m->again = true;
}

static void *allocate(void *arg, void *p, size_t old, size_t n) {
  if (n == 0) {
    __interceptor_free(p);
    return NULL;
  }
  if ((!p || n > old) && fails(arg)) return NULL;
  return __interceptor_realloc(p, n);
}

/* What libcurl does without memory is its own affair: 7.88 may divide by zero.
 */
static bool prepare(void) {
  return curl_global_init_mem(CURL_GLOBAL_DEFAULT, __interceptor_malloc,
                              __interceptor_free, __interceptor_realloc,
                              __interceptor_strdup,
                              __interceptor_calloc) == CURLE_OK;
}

static char script[16000];
static size_t script_size;

static bool read_script(void) {
  FILE *f = fopen("spec/support/torture.lua", "rb");
  if (!f) return false;
  script_size = fread(script, 1, sizeof script, f);
  fclose(f);
  return script_size > 0 && script_size < sizeof script;
}

/* ---- a run -------------------------------------------------------------- */

static long malloc_left;

/* From here on malloc may fail: not while files are read. */
static int arm(lua_State *L) {
  (void)L;
  torture_left = malloc_left;
  return 0;
}

static int run(lua_State *L) {
  luaL_openlibs(L);
  luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
  lua_pushcfunction(L, luaopen_oaichat_core);
  lua_setfield(L, -2, "oaichat.core");
  lua_getglobal(L, "package");
  lua_pushliteral(L, "lua/?.lua;lua/?/init.lua;./?.lua");
  lua_setfield(L, -2, "path");
  lua_pushliteral(L, "");
  lua_setfield(L, -2, "cpath");
  if (luaL_loadbuffer(L, script, script_size, "=torture.lua") != LUA_OK)
    return lua_error(L);
  lua_pushstring(L, lua_touserdata(L, 1));
  lua_pushcfunction(L, arm);
  lua_call(L, 2, 0);
  return 0;
}

/* True: it ran, or lacked memory (when it may). */
static bool try_it(lua_State *L, const char *what, bool may_fail) {
  lua_settop(L, 0);
  lua_pushcfunction(L, run);
  lua_pushlightuserdata(L, (void *)what);
  int status = lua_pcall(L, 1, 0, 0);
  if (status == LUA_OK) return true;
  const char *why = lua_tostring(L, -1);
  if (may_fail && (status == LUA_ERRMEM || (why && strstr(why, "memory"))))
    return true;
  printf("  %s\n", why ? why : "(an error that is no text)");
  return false;
}

typedef struct outcome {
  bool good, hit, works; /* works: in the same state, with memory */
} outcome;

static outcome once(const char *what, mode mode, long k) {
  memory m = {mode, mode == MALLOC ? 0 : k, false, false};
  outcome o = {true, false, true};
  torture_hit = false;
  malloc_left = mode == MALLOC ? k : 0;
  lua_State *L = lua_newstate(allocate, &m);
  if (L) o.good = try_it(L, what, true);
  o.hit = m.hit || torture_hit;
  torture_left = malloc_left = m.left = 0;
  m.again = false;
  if (L && o.hit) o.works = try_it(L, what, false);
  if (L) lua_close(L);
  return o;
}

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* The calls that can fail, or fewer when that is too many to count. */
static long count(const char *what, mode mode) {
  memory m = {mode, 1000000, false, false};
  malloc_left = mode == MALLOC ? m.left : 0;
  lua_State *L = lua_newstate(allocate, &m);
  CHECK(L && try_it(L, what, false));
  long used = 1000000 - (mode == MALLOC ? torture_left : m.left);
  torture_left = malloc_left = 0;
  m.left = 0;
  if (L) lua_close(L);
  return used;
}

static void torture(const char *what, mode mode, long most) {
  static char names[2][100]; /* a test keeps its name till the next begins */
  static unsigned turn;
  char *sentence = names[turn++ % 2];
  if (mode == MALLOC && !torture_possible) return;
  snprintf(sentence, sizeof names[0], "row 101: %s: %s", what, modes[mode]);
  TEST(sentence);
  long n = count(what, mode), stride = n / most + 1;
  double from = now();
  for (long k = 1; k <= n; k += stride) {
    outcome o = once(what, mode, k);
    bool good = CHECK(o.good), works = CHECK(o.works);
    bool leaks = (k / stride % 8 == 0 || !good) &&
                 !CHECK(!__lsan_do_recoverable_leak_check());
    if (!good || !works || leaks) printf("  with allocation %ld\n", k);
    if (leaks) break; /* the same leak would be found again and again */
  }
  CHECK(!__lsan_do_recoverable_leak_check());
  if (getenv("TEST_VERBOSE"))
    printf("  every %ld. of %ld, %.1f s\n", stride, n, now() - from);
}

static const struct {
  const char *name;
  long runs; /* of each kind */
} scenes[] = {{"core", 200},     {"chat", 60},   {"responses", 20},
              {"anthropic", 20}, {"client", 20}, {"websocket", 20}};

int main(int argc, char **argv) {
  (void)argc;
  setvbuf(stdout, NULL, _IOLBF, 0);
  if (!prepare() || !read_script()) return 1;
  const char *most = getenv("TORTURE"); /* instead of runs; all: 1000000 */
  for (mode mode = TWICE; mode <= MALLOC; mode++) {
    for (size_t i = 0; i < sizeof scenes / sizeof *scenes; i++) {
      if (argv[1] && strcmp(argv[1], scenes[i].name) != 0) continue;
      torture(scenes[i].name, mode, most ? atol(most) : scenes[i].runs);
    }
  }
  return test_report();
}
