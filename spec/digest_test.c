/* digest against the vectors of RFC 4648, section 10. */
#include "../src/digest.h"
#include "support/test.h"

static bool is(const char *p, size_t n, const char *want) {
  char *out = malloc(oai_base64_size(n) + 1);
  oai_base64(out, p, n);
  bool ok = CHECK_EQ_MEM(out, oai_base64_size(n), want, strlen(want));
  free(out);
  return ok;
}

int main(void) {
  static const struct {
    const char *text, *want;
  } vectors[] = {{"", ""},
                 {"f", "Zg=="},
                 {"fo", "Zm8="},
                 {"foo", "Zm9v"},
                 {"foob", "Zm9vYg=="},
                 {"fooba", "Zm9vYmE="},
                 {"foobar", "Zm9vYmFy"}};
  TEST("encodes the RFC's vectors");
  for (size_t i = 0; i < sizeof vectors / sizeof *vectors; i++)
    is(vectors[i].text, strlen(vectors[i].text), vectors[i].want);
  TEST("encodes bytes with the top bit, and NUL");
  is("\xFB\xFF\xBF", 3, "+/+/");
  is("\0\0\0", 3, "AAAA");
  is("\xFF", 1, "/w==");
  TEST("says the size of what it writes");
  CHECK_EQ_INT(oai_base64_size(0), 0);
  CHECK_EQ_INT(oai_base64_size(1), 4);
  CHECK_EQ_INT(oai_base64_size(3), 4);
  CHECK_EQ_INT(oai_base64_size(4), 8);
  return test_report();
}
