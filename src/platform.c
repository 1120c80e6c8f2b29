/* platform: see platform.h. The once-flag is the one mutable global there is:
 * libcurl's start is a fact of the process. */
#include "platform.h"

#ifdef _WIN32

#include <io.h>
#include <windows.h>

void oai_platform_pin(const void *address) {
  HMODULE module;
  GetModuleHandleExA(GET_MODULE_HANDLE_EX_FLAG_PIN |
                         GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS,
                     (LPCSTR)address, &module);
}

static BOOL CALLBACK call(PINIT_ONCE once, PVOID start, PVOID *context) {
  (void)once;
  (void)context;
  (*(void (**)(void))start)();
  return TRUE;
}

void oai_platform_once(void (*start)(void)) {
  static INIT_ONCE once = INIT_ONCE_STATIC_INIT;
  InitOnceExecuteOnce(&once, call, &start, NULL);
}

bool oai_platform_isatty(int fd) {
  return _isatty(fd) != 0;
}

/* RtlGenRandom: in every Windows since XP, and needs no further library. */
BOOLEAN NTAPI SystemFunction036(PVOID out, ULONG n);

bool oai_platform_random(void *out, size_t n) {
  return SystemFunction036(out, (ULONG)n) != 0;
}

/* Handles are not inherited unless asked for. */
void oai_platform_close_on_exec(int fd) {
  (void)fd;
}

#else

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <unistd.h>

void oai_platform_pin(const void *address) {
#ifdef RTLD_NODELETE
  Dl_info info;
  if (dladdr(address, &info) && info.dli_fname)
    dlopen(info.dli_fname, RTLD_NOW | RTLD_NOLOAD | RTLD_NODELETE);
#else
  (void)address;
#endif
}

void oai_platform_once(void (*start)(void)) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  pthread_once(&once, start);
}

bool oai_platform_isatty(int fd) {
  return isatty(fd) != 0;
}

bool oai_platform_random(void *out, size_t n) {
  int fd = open("/dev/urandom", O_RDONLY | O_CLOEXEC);
  char *p = out;
  while (fd >= 0 && n) {
    ssize_t got = read(fd, p, n);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) break;
    p += got;
    n -= (size_t)got;
  }
  if (fd >= 0) close(fd);
  return n == 0;
}

void oai_platform_close_on_exec(int fd) {
  fcntl(fd, F_SETFD, FD_CLOEXEC);
}

#endif
