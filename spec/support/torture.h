/* torture: allocation that fails at the k-th call, for tests that are built
 * with AddressSanitizer on Linux (its allocator stays underneath); elsewhere
 * nothing ever fails and torture_possible is false. Include it in one file. */
#ifndef OAI_TORTURE_H
#define OAI_TORTURE_H

#include <stdbool.h>
#include <stddef.h>

static long torture_left; /* calls until the one that fails; 0: none fails */
static bool torture_hit;  /* it failed */

#if defined __linux__ && defined __SANITIZE_ADDRESS__
enum { torture_possible = 1 };

void *__interceptor_malloc(size_t n);
void *__interceptor_calloc(size_t n, size_t size);
void *__interceptor_realloc(void *p, size_t n);

static bool torture_fails(void) {
  if (!torture_left || --torture_left) return false;
  return torture_hit = true;
}

void *malloc(size_t n) {
  return torture_fails() ? NULL : __interceptor_malloc(n);
}
void *calloc(size_t n, size_t size) {
  return torture_fails() ? NULL : __interceptor_calloc(n, size);
}
void *realloc(void *p, size_t n) {
  return torture_fails() ? NULL : __interceptor_realloc(p, n);
}
#else
enum { torture_possible = 0 };
#endif

#endif
