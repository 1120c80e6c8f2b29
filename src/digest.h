/* digest: base64 (RFC 4648, section 4), SHA-1 and SHA-256 (FIPS 180-4), the
 * HMAC of the latter (RFC 2104). Level 0: pure functions. */
#ifndef OAI_DIGEST_H
#define OAI_DIGEST_H

#include <stdbool.h>
#include <stddef.h>

enum { OAI_SHA1_SIZE = 20, OAI_SHA256_SIZE = 32 };

/* Bytes that n bytes become. */
size_t oai_base64_size(size_t n);
/* Writes oai_base64_size(n) bytes, padded, not NUL-terminated. */
void oai_base64(char *out, const char *p, size_t n);
/* The reverse, of canonical padded text only. Writes at most n / 4 * 3 bytes;
 * false when p is none. */
bool oai_base64_decode(char *out, size_t *got, const char *p, size_t n);

/* No proof of anything: RFC 6455 wants it in the opening handshake. */
void oai_sha1(unsigned char out[OAI_SHA1_SIZE], const char *p, size_t n);
void oai_sha256(unsigned char out[OAI_SHA256_SIZE], const char *p, size_t n);
void oai_hmac_sha256(unsigned char out[OAI_SHA256_SIZE], const char *key,
                     size_t key_n, const char *p, size_t n);

#endif
