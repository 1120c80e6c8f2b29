/* apierror: every shape in which servers refuse (FAULTS.md, row 43). */
#include "../src/apierror.h"
#include "support/test.h"

typedef struct row {
  int status;
  const char *text;
  oai_kind kind;
  const char *said, *code;
} row;

static void read_all(const row *rows, size_t n) {
  for (size_t i = 0; i < n; i++) {
    oai_failure f;
    size_t size = strlen(rows[i].text);
    char *copy = malloc(size + !size);
    memcpy(copy, rows[i].text, size);
    oai_apierror_read(&f, rows[i].status, (oai_slice){copy, size},
                      (oai_slice){"secret/key", 10});
    bool ok = CHECK_EQ_INT(f.kind, rows[i].kind);
    ok &= CHECK_EQ_CSTR(f.text, rows[i].said);
    if (rows[i].code) ok &= CHECK_EQ_CSTR(f.code, rows[i].code);
    ok &= CHECK_EQ_INT(f.status, rows[i].status);
    ok &= CHECK_EQ_INT(f.in_band, rows[i].status < 400);
    if (!ok) printf("    of %s\n", rows[i].text);
    free(copy);
  }
}

#define READ(rows) read_all(rows, sizeof rows / sizeof *rows)

static const row shapes[] = {
    {400, "{\"error\":{\"message\":\"m\",\"code\":\"c\"}}", OAI_INVALID_REQUEST,
     "m", "c"},
    {400, "{\"error\":\"m\"}", OAI_INVALID_REQUEST, "m", ""},
    {400, "{\"error\":5}", OAI_INVALID_REQUEST, "5", ""},
    {400, "{\"error\":true}", OAI_INVALID_REQUEST, "true", NULL},
    {400, "{\"error\":[]}", OAI_INVALID_REQUEST, "[]", NULL},
    {400, "{\"error\":[\"m\"]}", OAI_INVALID_REQUEST, "m", NULL},
    {400, "{\"error\":{}}", OAI_INVALID_REQUEST, "{}", NULL},
    {400, "{\"error\":null}", OAI_INVALID_REQUEST, "{\"error\":null}", NULL},
    {400, "{\"error\":null,\"message\":\"m\"}", OAI_INVALID_REQUEST, "m", NULL},
    {400, "{\"detail\":\"m\"}", OAI_INVALID_REQUEST, "m", NULL},
    {400, "{\"detail\":[{\"msg\":\"m\"}]}", OAI_INVALID_REQUEST,
     "[{\"msg\":\"m\"}]", NULL},
    {400, "{\"message\":\"m\"}", OAI_INVALID_REQUEST, "m", NULL},
    {400, "{\"message\":null,\"error\":\"m\"}", OAI_INVALID_REQUEST, "m", NULL},
    {400, "[{\"error\":{\"message\":\"m\",\"code\":400}}]", OAI_INVALID_REQUEST,
     "m", "400"},
    {400, "[]", OAI_INVALID_REQUEST, "[]", NULL},
    {400,
     "{\"error\":{\"error\":{\"error\":{\"error\":{\"error\":"
     "\"m\"}}}}}",
     OAI_INVALID_REQUEST, "{\"error\":\"m\"}", NULL},
    {400, "null", OAI_INVALID_REQUEST, "null", NULL},
    {400, "\"m\"", OAI_INVALID_REQUEST, "m", NULL},
    {400, "7", OAI_INVALID_REQUEST, "7", NULL},
    {400, " plain words\r\n", OAI_INVALID_REQUEST, "plain words", ""},
    {502, "<html>\n<h1>Bad</h1>", OAI_SERVER, "<html>\\n<h1>Bad</h1>", ""},
    {500, "", OAI_SERVER, "", ""},
    {400, "{\"error\":{\"message\":\"cut", OAI_INVALID_REQUEST,
     "{\"error\":{\"message\":\"cut", NULL},
    {400, "{\"error\":{\"message\":{\"a\":1},\"code\":[1],\"type\":{}}}",
     OAI_INVALID_REQUEST, "{\"a\":1}", "[1]"},
};

static const row codes[] = {
    {429, "{\"error\":{\"message\":\"m\",\"code\":\"insufficient_quota\"}}",
     OAI_QUOTA, "m", "insufficient_quota"},
    {429, "{\"error\":{\"message\":\"m\",\"type\":\"insufficient_quota\"}}",
     OAI_QUOTA, "m", ""},
    {400,
     "{\"error\":{\"message\":\"m\",\"code\":\"context_length_exceeded\"}}",
     OAI_CONTEXT_LENGTH, "m", NULL},
    {400, "{\"error\":{\"message\":\"m\",\"code\":\"content_filter\"}}",
     OAI_CONTENT_FILTER, "m", NULL},
    {500, "{\"error\":{\"message\":\"m\",\"code\":\"slow_down\"}}",
     OAI_OVERLOADED, "m", NULL},
    {500, "{\"error\":{\"message\":\"m\",\"code\":\"server_is_overloaded\"}}",
     OAI_OVERLOADED, "m", NULL},
    /* a status that was sent is not overruled by a number in the body */
    {500, "{\"error\":{\"message\":\"m\",\"code\":401}}", OAI_SERVER, "m",
     "401"},
    {401, "{\"error\":{\"message\":\"m\",\"code\":\"rate_limit_exceeded\"}}",
     OAI_AUTHENTICATION, "m", NULL},
};

static const row in_band[] = {
    {200, "{\"error\":{\"message\":\"m\"}}", OAI_SERVER, "m", ""},
    {200, "{\"message\":\"m\",\"code\":429}", OAI_RATE_LIMIT, "m", "429"},
    {200, "{\"message\":\"m\",\"code\":\"503\"}", OAI_OVERLOADED, "m", NULL},
    {200, "{\"message\":\"m\",\"code\":7}", OAI_SERVER, "m", "7"},
    {200, "{\"message\":\"m\",\"code\":1e99}", OAI_SERVER, "m", NULL},
    {200, "{\"message\":\"m\",\"status_code\":401}", OAI_AUTHENTICATION, "m",
     NULL},
    {200, "{\"message\":\"m\",\"code\":\"rate_limit_exceeded\"}",
     OAI_RATE_LIMIT, "m", NULL},
    {200, "{\"message\":\"m\",\"type\":\"invalid_request_error\"}",
     OAI_INVALID_REQUEST, "m", NULL},
    {200, "{\"message\":\"m\",\"type\":\"overloaded_error\"}", OAI_OVERLOADED,
     "m", NULL},
};

static const row secrets[] = {
    {401, "{\"error\":{\"message\":\"bad secret/key!\"}}", OAI_AUTHENTICATION,
     "bad [masked]!", NULL},
    {401, "{\"error\":{\"message\":\"bad secret\\/key!\"}}", OAI_AUTHENTICATION,
     "bad [masked]!", NULL},
    {401, "{\"error\":{\"message\":\"bad \\u0073ecret/key!\"}}",
     OAI_AUTHENTICATION, "bad [masked]!", NULL},
    {422, "{\"detail\":[\"secret\\/key\"]}", OAI_INVALID_REQUEST,
     "[\"[masked]\"]", NULL},
    {401, "<b>secret/key</b>", OAI_AUTHENTICATION, "<b>[masked]</b>", NULL},
};

/* A message so long that only its beginning is read. */
static void long_message(void) {
  static const char head[] = "{\"error\":{\"message\":\"secret\\/key ";
  size_t n = 40000;
  char *text = malloc(n);
  oai_failure f;
  memset(text, 'a', n);
  memcpy(text, head, sizeof head - 1);
  memcpy(text + n - 3, "\"}}", 3);
  oai_apierror_read(&f, 400, (oai_slice){text, n},
                    (oai_slice){"secret/key", 10});
  TEST("reads a long message as text, with the key masked");
  CHECK_EQ_MEM(f.text, 12, "[masked] aaa", 12);
  CHECK_EQ_INT(strlen(f.text), OAI_QUOTE_MAX);
  free(text);
}

int main(void) {
  TEST("row 43: finds the message in every shape of an error");
  READ(shapes);
  TEST("lets the body's code win over the status");
  READ(codes);
  TEST("classifies an error inside a 200 by its code, type or number");
  READ(in_band);
  TEST("row 120: masks the key, however the JSON spells it");
  READ(secrets);
  TEST("row 120: masks the key in the fields, too");
  oai_failure f;
  static const char text[] = "{\"code\":\"secret/key\",\"type\":\"secret/"
                             "key\",\"param\":\"secret/key\"}";
  oai_apierror_read(&f, 400, (oai_slice){text, sizeof text - 1},
                    (oai_slice){"secret/key", 10});
  CHECK(!strstr(f.code, "secret/key"));
  CHECK(!strstr(f.type, "secret/key"));
  CHECK(!strstr(f.param, "secret/key"));
  long_message();
  return test_report();
}
