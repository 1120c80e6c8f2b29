/* digest: see digest.h. */
#include "digest.h"

size_t oai_base64_size(size_t n) {
  return (n + 2) / 3 * 4;
}

void oai_base64(char *out, const char *p, size_t n) {
  static const char digits[] =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  const unsigned char *in = (const unsigned char *)p;
  for (; n >= 3; in += 3, n -= 3) {
    *out++ = digits[in[0] >> 2];
    *out++ = digits[(in[0] & 3) << 4 | in[1] >> 4];
    *out++ = digits[(in[1] & 15) << 2 | in[2] >> 6];
    *out++ = digits[in[2] & 63];
  }
  if (!n) return;
  *out++ = digits[in[0] >> 2];
  *out++ = digits[(in[0] & 3) << 4 | (n > 1 ? in[1] >> 4 : 0)];
  *out++ = n > 1 ? digits[(in[1] & 15) << 2] : '=';
  *out++ = '=';
}
