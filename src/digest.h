/* digest: base64 (RFC 4648, section 4). Level 0: pure functions. */
#ifndef OAI_DIGEST_H
#define OAI_DIGEST_H

#include <stddef.h>

/* Bytes that n bytes become. */
size_t oai_base64_size(size_t n);
/* Writes oai_base64_size(n) bytes, padded, not NUL-terminated. */
void oai_base64(char *out, const char *p, size_t n);

#endif
