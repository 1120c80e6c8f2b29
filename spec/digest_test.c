/* digest against the vectors of RFC 4648 (section 10), FIPS 180-4 and RFC 4231.
 */
#include "../src/digest.h"
#include "support/test.h"

static bool is(const char *p, size_t n, const char *want) {
  char *out = malloc(oai_base64_size(n) + 1);
  oai_base64(out, p, n);
  bool ok = CHECK_EQ_MEM(out, oai_base64_size(n), want, strlen(want));
  free(out);
  return ok;
}

static void hex(char *out, const unsigned char *in) {
  for (int i = 0; i < OAI_SHA256_SIZE; i++) sprintf(out + 2 * i, "%02x", in[i]);
}

static void sha_is(const char *p, size_t n, const char *want) {
  unsigned char out[OAI_SHA256_SIZE];
  char text[2 * OAI_SHA256_SIZE + 1];
  oai_sha256(out, p, n);
  hex(text, out);
  CHECK_EQ_MEM(text, 64, want, 64);
}

static void hmac_is(const char *key, size_t key_n, const char *p,
                    const char *want) {
  unsigned char out[OAI_SHA256_SIZE];
  char text[2 * OAI_SHA256_SIZE + 1];
  oai_hmac_sha256(out, key, key_n, p, strlen(p));
  hex(text, out);
  CHECK_EQ_MEM(text, 64, want, 64);
}

static void sha1_is(const char *p, size_t n, const char *want) {
  unsigned char out[OAI_SHA1_SIZE];
  char text[2 * OAI_SHA1_SIZE + 1];
  oai_sha1(out, p, n);
  for (int i = 0; i < OAI_SHA1_SIZE; i++) sprintf(text + 2 * i, "%02x", out[i]);
  CHECK_EQ_MEM(text, 40, want, 40);
}

static void test_sha1(void) {
  char a[119];
  TEST("SHA-1 of the standard's examples, and around a block");
  sha1_is("", 0, "da39a3ee5e6b4b0d3255bfef95601890afd80709");
  sha1_is("abc", 3, "a9993e364706816aba3e25717850c26c9cd0d89d");
  memset(a, 'a', sizeof a);
  sha1_is(a, 55, "c1c8bbdc22796e28c0e15163d20899b65621d65a");
  sha1_is(a, 56, "c2db330f6083854c99d4b5bfb6e8f29f201be699");
  sha1_is(a, 63, "03f09f5b158a7a8cdad920bddc29b81c18a551f5");
  sha1_is(a, 64, "0098ba824b5c16427bd7a1122a5a442a25ec644d");
  sha1_is(a, 65, "11655326c708d70319be2610e8a57d9a5b959d3b");
  sha1_is(a, 119, "ee971065aaa017e0632a8ca6c77bb3bf8b1dfc56");
}

static void test_sha256(void) {
  char million[1000];
  TEST("SHA-256 of the standard's examples");
  sha_is("", 0,
         "e3b0c44298fc1c149afbf4c8996fb924"
         "27ae41e4649b934ca495991b7852b855");
  sha_is("abc", 3,
         "ba7816bf8f01cfea414140de5dae2223"
         "b00361a396177a9cb410ff61f20015ad");
  sha_is("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", 56,
         "248d6a61d20638b8e5c026930c3e6039"
         "a33ce45964ff2167f6ecedd419db06c1");
  TEST("SHA-256 at each length around a block");
  memset(million, 'a', sizeof million);
  sha_is(million, 64,
         "ffe054fe7ae0cb6dc65c3af9b61d5209"
         "f439851db43d0ba5997337df154668eb");
  sha_is(million, 1000,
         "41edece42d63e8d9bf515a9ba6932e1c"
         "20cbc9f5a5d134645adb5db1b9737ea3");
  TEST("HMAC-SHA-256 of RFC 4231");
  hmac_is("Jefe", 4, "what do ya want for nothing?",
          "5bdcc146bf60754e6a042426089575c7"
          "5a003f089d2739839dec58b964ec3843");
  char key[131];
  memset(key, 0xaa, sizeof key);
  hmac_is(key, sizeof key,
          "Test Using Larger Than Block-Size Key - Hash Key First",
          "60e431591ee0b67f0d8a26aacbf5b77f"
          "8e0bc6213728c5140546040f0ee37f54");
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
  TEST("decodes what it encodes, and nothing else");
  for (size_t i = 0; i < sizeof vectors / sizeof *vectors; i++) {
    char out[8];
    size_t n = 0;
    CHECK(oai_base64_decode(out, &n, vectors[i].want, strlen(vectors[i].want)));
    CHECK_EQ_MEM(out, n, vectors[i].text, strlen(vectors[i].text));
  }
  test_sha1();
  test_sha256();
  return test_report();
}
