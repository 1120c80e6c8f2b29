/* platform: what differs between POSIX and Windows and is neither a socket set
 * (pollset) nor a server's socket (listen). Level 0. */
#ifndef OAI_PLATFORM_H
#define OAI_PLATFORM_H

#include <stdbool.h>
#include <stddef.h>

/* Keeps the module that holds this address loaded until the process ends. */
void oai_platform_pin(const void *address);
/* Calls start once in the process, from whichever thread comes first. */
void oai_platform_once(void (*start)(void));
bool oai_platform_isatty(int fd);
/* Unpredictable bytes of the system's generator; false: it has none to give. */
bool oai_platform_random(void *out, size_t n);
/* Children of the host must not hold our connections open. */
void oai_platform_close_on_exec(int fd);

#endif
