/* failure: kinds by status, what may be tried again, and quoting a peer. */
#include "../src/failure.h"
#include "../src/utf8.h"
#include "support/test.h"

#define QUOTE(text, want) quotes(text, sizeof(text) - 1, "key+12/34=", want)

static bool quotes(const char *p, size_t n, const char *key, const char *want) {
  oai_failure f;
  char *copy = malloc(n + !n);
  memcpy(copy, p, n);
  oai_failure_set(&f, OAI_SERVER, NULL);
  oai_failure_quote(&f, (oai_slice){copy, n}, (oai_slice){key, strlen(key)});
  free(copy);
  return CHECK_EQ_CSTR(f.text, want);
}

static void statuses(void) {
  static const struct {
    int status;
    oai_kind kind;
    bool again;
  } all[] = {{400, OAI_INVALID_REQUEST, false},
             {401, OAI_AUTHENTICATION, false},
             {402, OAI_QUOTA, false},
             {403, OAI_PERMISSION, false},
             {404, OAI_NOT_FOUND, false},
             {408, OAI_TIMEOUT, true},
             {409, OAI_CONFLICT, true},
             {413, OAI_INVALID_REQUEST, false},
             {422, OAI_INVALID_REQUEST, false},
             {425, OAI_INVALID_REQUEST, true},
             {429, OAI_RATE_LIMIT, true},
             {500, OAI_SERVER, true},
             {502, OAI_SERVER, true},
             {503, OAI_OVERLOADED, true},
             {504, OAI_SERVER, true},
             {529, OAI_OVERLOADED, true},
             {599, OAI_SERVER, true}};
  TEST("maps a status to a kind, and knows what may be tried again");
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
    oai_failure f;
    oai_failure_set(&f, oai_kind_of_status(all[i].status), NULL);
    f.status = all[i].status;
    bool ok = CHECK_EQ_INT(f.kind, all[i].kind);
    ok &= CHECK_EQ_INT(oai_failure_retryable(&f), all[i].again);
    if (!ok) printf("    of status %d\n", all[i].status);
  }
}

static void again(void) {
  static const oai_kind never[] = {
      OAI_QUOTA,    OAI_CONTEXT_LENGTH, OAI_CONTENT_FILTER,
      OAI_CANCELED, OAI_PROTOCOL,       OAI_TOO_LARGE,
      OAI_TOOL,     OAI_CONFIG,         OAI_NOMEM};
  oai_failure f;
  TEST("never tries again what cannot get better");
  for (size_t i = 0; i < sizeof never / sizeof *never; i++) {
    oai_failure_set(&f, never[i], NULL);
    CHECK(!oai_failure_retryable(&f));
  }
  TEST("tries a connection again, but not bad TLS");
  oai_failure_set(&f, OAI_NETWORK, "connection_reset");
  CHECK(oai_failure_retryable(&f));
  oai_failure_set(&f, OAI_NETWORK, "tls");
  CHECK(!oai_failure_retryable(&f));
  TEST("tries a timeout again only before the request was sent");
  for (int phase = OAI_PHASE_CONNECT; phase <= OAI_PHASE_TOTAL; phase++) {
    oai_failure_set(&f, OAI_TIMEOUT, "timeout");
    f.phase = (oai_phase)phase;
    CHECK_EQ_INT(oai_failure_retryable(&f), phase == OAI_PHASE_CONNECT);
  }
}

static void names(void) {
  TEST("names every kind and phase");
  CHECK_EQ_CSTR(oai_kind_name(OAI_NONE), "none");
  CHECK_EQ_CSTR(oai_kind_name(OAI_AUTHENTICATION), "authentication");
  CHECK_EQ_CSTR(oai_kind_name(OAI_INCOMPLETE_STREAM), "incomplete_stream");
  CHECK_EQ_CSTR(oai_kind_name(OAI_CONFIG), "config");
  CHECK_EQ_CSTR(oai_kind_name(OAI_NOMEM), "nomem");
  CHECK(oai_phase_name(OAI_PHASE_NONE) == NULL);
  CHECK_EQ_CSTR(oai_phase_name(OAI_PHASE_CONTENT_IDLE), "content_idle");
  CHECK_EQ_CSTR(oai_phase_name(OAI_PHASE_TOTAL), "total");
}

static void masks(void) {
  TEST("row 120: masks the key wherever it stands");
  QUOTE("key+12/34=", "[masked]");
  QUOTE("a key+12/34= b key+12/34=.", "a [masked] b [masked].");
  TEST("masks what looks like a key of anyone");
  QUOTE("Incorrect: sk-proj-abc_DEF123.", "Incorrect: [masked].");
  QUOTE("Authorization: Bearer abc.def-ghi\n", "Authorization: [masked]\\n");
  QUOTE("bearer 123456789", "[masked]");
  TEST("leaves words alone that only begin like a key");
  QUOTE("a task-list, Bearer of news", "a task-list, Bearer of news");
  TEST("row 120: masks a key that stands across the cut");
  char text[400];
  for (size_t at = 285; at <= 300; at++) {
    oai_failure f;
    memset(text, 'a', sizeof text);
    memcpy(text + at, "key+12/34=", 10);
    oai_failure_quote(&f, (oai_slice){text, sizeof text},
                      (oai_slice){"key+12/34=", 10});
    if (!CHECK(strstr(f.text, "key") == NULL)) break;
    CHECK(strlen(f.text) <= OAI_QUOTE_MAX);
  }
}

static void escapes(void) {
  TEST("escapes control characters");
  QUOTE("a\nb\rc\td\0e\x1b[31m\x7f", "a\\nb\\rc\\td\\x00e\\x1b[31m\\x7f");
  TEST("escapes C1 controls");
  QUOTE("\xC2\x80\xC2\x9B\xC2\xA0", "\\x80\\x9b\xC2\xA0");
  TEST("escapes what turns the direction of text");
  QUOTE("\xE2\x80\xAA\xE2\x80\xAE\xE2\x81\xA6\xE2\x81\xA9",
        "\\u{202a}\\u{202e}\\u{2066}\\u{2069}");
  TEST("leaves other characters alone");
  QUOTE("\xC3\xA9 \xE2\x82\xAC \xF0\x9F\x9A\x80 \"\\",
        "\xC3\xA9 \xE2\x82\xAC \xF0\x9F\x9A\x80 \"\\");
  TEST("replaces what is not UTF-8");
  QUOTE("a\xFF"
        "b\xC3",
        "a\xEF\xBF\xBD"
        "b\xEF\xBF\xBD");
}

static void cuts(void) {
  char text[1000];
  TEST("cuts at 300 bytes, between characters");
  for (size_t shift = 0; shift < 4; shift++) {
    oai_failure f;
    memset(text, 'a', sizeof text);
    for (size_t i = shift; i + 4 <= sizeof text; i += 4)
      memcpy(text + i, "\xF0\x9F\x9A\x80", 4);
    oai_failure_quote(&f, (oai_slice){text, sizeof text}, (oai_slice){"", 0});
    size_t n = strlen(f.text);
    CHECK_EQ_INT(n, shift + (300 - shift) / 4 * 4);
    CHECK_EQ_INT(oai_utf8_valid(f.text, n), n);
  }
  TEST("fits when every byte must be escaped or replaced");
  static const char worst[] = {0x1b, (char)0xFF, 0};
  for (size_t i = 0; i < sizeof worst; i++) {
    oai_failure f;
    memset(text, worst[i], sizeof text);
    oai_failure_quote(&f, (oai_slice){text, sizeof text}, (oai_slice){"", 0});
    /* a last byte that could begin a character may be cut */
    CHECK(strlen(f.text) >= (i == 1 ? 897 : 1196) && strlen(f.text) <= 1200);
  }
  TEST("cuts a field, and shows only what can be printed");
  oai_failure f;
  memset(text, 'c', 100);
  text[100] = 0;
  oai_failure_set(&f, OAI_SERVER, text);
  CHECK_EQ_INT(strlen(f.code), 63);
  oai_failure_field(f.type, sizeof f.type, "a\nb\xC3\xA9", 5);
  CHECK_EQ_CSTR(f.type, "a?b??");
}

int main(void) {
  statuses();
  again();
  names();
  masks();
  escapes();
  cuts();
  return test_report();
}
