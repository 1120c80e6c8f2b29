/* pattern: what the bytes around changing strings match, and what they do not;
 * and that a stream read with their help becomes what it becomes without. */
#include "../src/wire_chat.h"
#include "support/test.h"

static oai_scan_str in(const char *text, const char *part) {
  oai_scan_str s = {part ? strstr(text, part) : NULL, 0, false};
  if (s.p) s.n = strlen(part);
  return s;
}

/* What the pattern of one text says of another: the string, or NULL. */
static const char *said(const char *text, const char *word, const char *padding,
                        const char *other) {
  static char found[200];
  oai_pattern p;
  oai_pattern_init(&p);
  oai_scan_str w = in(text, word), pad = in(text, padding), out;
  oai_pattern_learn(&p, (oai_slice){text, strlen(text)}, &w, &pad);
  /* from a heap block of its own, so that a read past the end is seen */
  size_t n = strlen(other);
  char *copy = malloc(n + !n);
  memcpy(copy, other, n);
  bool matches = oai_pattern_match(&p, (oai_slice){copy, n}, &out);
  if (matches) snprintf(found, sizeof found, "%.*s", (int)out.n, out.p);
  free(copy);
  oai_pattern_free(&p);
  return matches ? found : NULL;
}

static void matches(void) {
  static const char one[] = "{\"a\":\"W\",\"b\":1}";
  static const char two[] = "{\"a\":\"W\",\"b\":1,\"p\":\"P\"}";
  static const char swapped[] = "{\"p\":\"P\",\"b\":1,\"a\":\"W\"}";
  TEST("finds another string between the same bytes");
  CHECK_EQ_CSTR(said(one, "W", NULL, "{\"a\":\"xyz\",\"b\":1}"), "xyz");
  CHECK_EQ_CSTR(said(one, "W", NULL, "{\"a\":\"\",\"b\":1}"), "");
  CHECK_EQ_CSTR(said(one, "W", NULL, "{\"a\":\"\\\"}\\u0041\",\"b\":1}"),
                "\\\"}\\u0041");
  TEST("finds it beside padding of any length, on either side");
  CHECK_EQ_CSTR(said(two, "W", "P", "{\"a\":\"x\",\"b\":1,\"p\":\"longer\"}"),
                "x");
  CHECK_EQ_CSTR(said(two, "W", "P", "{\"a\":\"\",\"b\":1,\"p\":\"\"}"), "");
  CHECK_EQ_CSTR(said(swapped, "W", "P", "{\"p\":\"\",\"b\":1,\"a\":\"xy\"}"),
                "xy");
  CHECK_EQ_CSTR(
      said(swapped, "W", "P", "{\"p\":\"\\n\",\"b\":1,\"a\":\"\\n\"}"), "\\n");
  TEST("matches nothing else");
  static const char *const no[] = {"",
                                   "{",
                                   "{\"a\":\"",
                                   "{\"a\":\"x",
                                   "{\"a\":\"x\"",
                                   "{\"a\":\"x\",\"b\":2}",
                                   "{\"a\":\"x\",\"b\":1} ",
                                   "{\"a\":\"x\",\"b\":1,\"c\":2}",
                                   "{\"a\":null,\"b\":1}",
                                   "{\"a\":\"x\",\"b\":1",
                                   "{\"A\":\"x\",\"b\":1}",
                                   "{\"a\":\"x\ny\",\"b\":1}",
                                   "{\"a\":\"\\x\",\"b\":1}",
                                   "{\"a\":\"x\",\"b\":1,\"a\":\"y\",\"b\":1}"};
  for (size_t i = 0; i < sizeof no / sizeof *no; i++)
    CHECK(!said(one, "W", NULL, no[i]));
  static const char *const not_two[] = {
      "{\"a\":\"x\",\"b\":1}",
      "{\"a\":\"x\",\"b\":1,\"p\":\"",
      "{\"a\":\"x\",\"b\":1,\"p\":\"y\"",
      "{\"a\":\"x\",\"b\":1,\"p\":1}",
      "{\"a\":\"x\",\"b\":2,\"p\":\"y\"}",
      "{\"a\":\"x\",\"b\":1,\"p\":\"y\",\"q\":1}",
      "{\"a\":\"x\",\"b\":1,\"p\":\"y\nz\"}"};
  for (size_t i = 0; i < sizeof not_two / sizeof *not_two; i++)
    CHECK(!said(two, "W", "P", not_two[i]));
}

/* ---- the same stream with and without ------------------------------------ */

static const char *const stream[] = {
    "{\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\"}}],"
    "\"obfuscation\":\"xx\"}",
    "{\"choices\":[{\"index\":0,\"delta\":{\"content\":\"b\\n\"}}],"
    "\"obfuscation\":\"\"}",
    "{\"choices\":[{\"index\":0,\"delta\":{\"content\":\"\"}}],\"obfuscation\":"
    "\"y\"}",
    "{\"choices\":[{\"index\":0,\"delta\":{\"content\":\"c\"}}],"
    "\"obfuscation\":7}",
    "{\"choices\":[{\"index\":0,\"delta\":{\"content\":\"\\ud83d\"}}],"
    "\"obfuscation\":\"1\"}",
    "{\"choices\":[{\"index\":0,\"delta\":{\"content\":\"\\ude80\"}}],"
    "\"obfuscation\":\"12\"}",
    "{\"choices\":[{\"index\":1,\"delta\":{\"content\":\"other\"}}],"
    "\"obfuscation\":\"1\"}",
    "{\"choices\":[{\"index\":1,\"delta\":{\"content\":\" "
    "one\"}}],\"obfuscation\":\"123\"}",
    "{\"obfuscation\":\"q\",\"choices\":[{\"index\":0,\"delta\":{\"content\":"
    "\"d\"}}]}",
    "{\"obfuscation\":\"qq\",\"choices\":[{\"index\":0,\"delta\":{\"content\":"
    "\"e\"}}]}",
    "{\"choices\":[{\"index\":0,\"delta\":{\"reasoning\":\"r\"}}],"
    "\"obfuscation\":\"1\"}",
    "{\"choices\":[{\"index\":0,\"delta\":{\"reasoning\":\"s\"}}],"
    "\"obfuscation\":\"2\"}",
    "{\"x\":\"1\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"f\"}}],"
    "\"obfuscation\":\"1\"}",
    "{\"x\":\"2\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"g\"}}],"
    "\"obfuscation\":\"1\"}",
};

static void read_all(oai_delta *d, oai_pattern *pattern) {
  oai_failure f;
  oai_reader r = {d, &f, {"", 0}, 200, 16, pattern};
  for (size_t i = 0; i < sizeof stream / sizeof *stream; i++) {
    oai_sse_event e = {{stream[i], strlen(stream[i])}, {"", 0}, {NULL, 0}, -1};
    CHECK_EQ_INT(oai_wire_chat.event(&r, &e), OAI_READ_MORE);
  }
  CHECK_EQ_INT(oai_delta_end(d), OAI_OK);
}

static void streams(void) {
  oai_delta with, without;
  oai_pattern p;
  oai_delta_init(&with, 8);
  oai_delta_init(&without, 8);
  oai_pattern_init(&p);
  read_all(&with, &p);
  read_all(&without, NULL);
  TEST("a stream is read the same with a pattern and without");
  CHECK_EQ_INT((long)with.nchoices, 2);
  for (size_t i = 0; i < with.nchoices; i++) {
    oai_choice *a = &with.choices[i], *b = &without.choices[i];
    CHECK_EQ_MEM(a->text.buf.p, a->text.buf.n, b->text.buf.p, b->text.buf.n);
    CHECK_EQ_INT((long)a->reasoning.buf.n, (long)b->reasoning.buf.n);
  }
  CHECK_EQ_MEM(with.choices[0].text.buf.p, with.choices[0].text.buf.n,
               "ab\nc\xF0\x9F\x9A\x80"
               "defg",
               12);
  CHECK_EQ_MEM(with.extras->json.p, with.extras->json.n, "\"2\"", 3);
  TEST("padding is nobody's data");
  CHECK(!with.extras->next && !without.extras->next);
  oai_delta_free(&with);
  oai_delta_free(&without);
  oai_pattern_free(&p);
}

int main(void) {
  matches();
  streams();
  return test_report();
}
