/* endpoint: URLs, keys, headers (FAULTS.md, rows 90 to 92), origins. */
#include "../src/endpoint.h"
#include "support/test.h"

static const char *set_url(oai_endpoint *e, const char *url) {
  return oai_endpoint_set_url(e, url, strlen(url));
}

static void good_urls(void) {
  static const struct {
    const char *url, *base, *query, *origin;
    bool https, loopback;
  } all[] = {
      {"https://api.openai.com/v1", "https://api.openai.com/v1", "",
       "https://api.openai.com:443", true, false},
      {"https://api.openai.com/v1/", "https://api.openai.com/v1", "",
       "https://api.openai.com:443", true, false},
      {"http://h:8080", "http://h:8080", "", "http://h:8080", false, false},
      {"http://h///", "http://h", "", "http://h:80", false, false},
      {"https://h/a?api-version=1", "https://h/a", "?api-version=1",
       "https://h:443", true, false},
      {"HTTPS://API.Example/v1", "https://API.Example/v1", "",
       "https://api.example:443", true, false},
      {"http://localhost:1/v1", "http://localhost:1/v1", "",
       "http://localhost:1", false, true},
      {"http://127.0.0.1/", "http://127.0.0.1", "", "http://127.0.0.1:80",
       false, true},
      {"http://127.9.9.9/", "http://127.9.9.9", "", "http://127.9.9.9:80",
       false, true},
      {"http://[::1]:8/", "http://[::1]:8", "", "http://[::1]:8", false, true},
      {"http://LOCALHOST", "http://LOCALHOST", "", "http://localhost:80", false,
       true},
      {"http://127.0.0.1.evil.example/", "http://127.0.0.1.evil.example", "",
       "http://127.0.0.1.evil.example:80", false, false},
      {"http://128.0.0.1/", "http://128.0.0.1", "", "http://128.0.0.1:80",
       false, false},
      {"http://localhost.evil.example", "http://localhost.evil.example", "",
       "http://localhost.evil.example:80", false, false},
  };
  TEST("row 92: takes a URL apart");
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
    oai_endpoint *e = oai_endpoint_new();
    const char *wrong = set_url(e, all[i].url);
    if (!CHECK(!wrong)) printf("    %s: %s\n", all[i].url, wrong);
    if (!wrong) {
      bool ok = CHECK_EQ_CSTR(e->query, all[i].query);
      ok &= CHECK_EQ_CSTR(e->origin, all[i].origin);
      ok &= CHECK_EQ_INT(e->https, all[i].https);
      ok &= CHECK_EQ_INT(e->loopback, all[i].loopback);
      /* a host's case means nothing */
      char *lower = oai_url_origin(e->base);
      ok &= CHECK_EQ_CSTR(lower, all[i].origin);
      ok &= CHECK_EQ_INT(strlen(e->base), strlen(all[i].base));
      free(lower);
      if (!ok) printf("    of %s (base %s)\n", all[i].url, e->base);
    }
    oai_endpoint_unref(e);
  }
}

static void bad_urls(void) {
  static const char *const all[] = {"",
                                    "api.openai.com",
                                    "api.openai.com/v1",
                                    "//api.openai.com",
                                    "ftp://h/",
                                    "file:///etc/passwd",
                                    "gopher://h/",
                                    "javascript://h/",
                                    "http://",
                                    "http:///v1",
                                    "http://user@h/",
                                    "http://user:hunter2@h/",
                                    "http://:hunter2@h/",
                                    "http://h/#fragment",
                                    "http://a%2Fb/",
                                    "http://a%00b/",
                                    "http://a b/",
                                    "http://h/a b",
                                    " http://h/",
                                    "http://h/\n",
                                    "http://h/\r\nX: y",
                                    "http://h\t/",
                                    "http://h:99999/",
                                    "http://h:x/",
                                    "http://h\xC3\xA9/",
                                    "http://[::1/",

                                    "http://h\\@evil/"};
  TEST("row 92: refuses a URL that is not plain, and repeats nothing of it");
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
    oai_endpoint *e = oai_endpoint_new();
    const char *wrong = set_url(e, all[i]);
    if (!CHECK(wrong != NULL)) printf("    %s -> %s\n", all[i], e->base);
    if (wrong) CHECK(!strstr(wrong, "hunter2"));
    oai_endpoint_unref(e);
  }
  TEST("refuses a URL with a NUL");
  oai_endpoint *e = oai_endpoint_new();
  CHECK(oai_endpoint_set_url(e, "http://h\0/", 10) != NULL);
  oai_endpoint_unref(e);
}

static bool key_is(const char *key, size_t n, const char *want) {
  oai_endpoint *e = oai_endpoint_new();
  const char *wrong = oai_endpoint_set_key(e, key, n);
  bool ok = want ? CHECK(!wrong) &&
                       CHECK_EQ_MEM(e->key.p, e->key.n, want, strlen(want))
                 : CHECK(wrong) && CHECK(!strstr(wrong, "abc"));
  if (!ok) test_show(key, n), printf("\n");
  oai_endpoint_unref(e);
  return ok;
}

#define KEY(key, want) key_is(key, sizeof(key) - 1, want)

static void keys(void) {
  TEST("row 90: trims blanks around a key");
  KEY("abc", "abc");
  KEY(" \tabc\t ", "abc");
  KEY("", "");
  KEY("  ", "");
  TEST("row 90: refuses a key that cannot stand in a header");
  KEY("abc\r\nX: y", NULL);
  KEY("abc\n", NULL);
  KEY("ab abc", NULL);
  KEY("abc\0", NULL);
  KEY("abc\x7f", NULL);
  KEY("abc\xC3\xA9", NULL);
  TEST("replaces a key");
  oai_endpoint *e = oai_endpoint_new();
  CHECK(!oai_endpoint_set_key(e, "first", 5));
  CHECK(!oai_endpoint_set_key(e, "two", 3));
  CHECK_EQ_MEM(e->key.p, e->key.n, "two", 3);
  oai_endpoint_unref(e);
}

static void headers(void) {
  static const struct {
    const char *name, *value;
    size_t n;
    const char *line;
  } all[] = {{"X-A", "b", 1, "X-A: b"},
             {"X-A", "", 0, "X-A;"},
             {"X-A", "a\tb c", 5, "X-A: a\tb c"},
             {"X-A", "\xE9", 1, "X-A: \xE9"},
             {"X-A", "a\r\nB: c", 7, NULL},
             {"X-A", "a\n", 2, NULL},
             {"X-A", "a\0b", 3, NULL},
             {"X-A", "\x7f", 1, NULL},
             {"X-A", "\x1b", 1, NULL},
             {"", "a", 1, NULL},
             {"X A", "a", 1, NULL},
             {"X:", "a", 1, NULL},
             {"X\n", "a", 1, NULL},
             {"X\xE9", "a", 1, NULL},
             {"(X)", "a", 1, NULL}};
  TEST("row 91: takes headers of RFC 9110 and refuses any other");
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
    struct curl_slist *list = NULL;
    const char *wrong =
        oai_header_add(&list, (oai_slice){all[i].name, strlen(all[i].name)},
                       (oai_slice){all[i].value, all[i].n});
    CHECK_EQ_INT(wrong == NULL, all[i].line != NULL);
    if (all[i].line && CHECK(list)) CHECK_EQ_CSTR(list->data, all[i].line);
    curl_slist_free_all(list);
  }
  TEST("refuses a header's name with a NUL");
  struct curl_slist *list = NULL;
  CHECK(oai_header_add(&list, (oai_slice){"a\0b", 3}, (oai_slice){"", 0}));
  TEST("finds a header by its name alone, in any case");
  CHECK(!oai_header_add(&list, (oai_slice){"X-Abc", 5}, (oai_slice){"1", 1}));
  CHECK(!oai_header_add(&list, (oai_slice){"X-E", 3}, (oai_slice){"", 0}));
  CHECK(oai_header_has(list, "x-aBC"));
  CHECK(oai_header_has(list, "x-e"));
  CHECK(!oai_header_has(list, "x-ab"));
  CHECK(!oai_header_has(NULL, "x-ab"));
  curl_slist_free_all(list);
}

static void origins(void) {
  static const char *const same[][2] = {{"https://h/a", "https://H:443/b?c"},
                                        {"http://h", "http://h:80/"},
                                        {"http://[::1]", "http://[::1]:80/x"}};
  static const char *const other[][2] = {{"https://h", "http://h"},
                                         {"https://h", "https://h:444"},
                                         {"https://h", "https://h.evil"},
                                         {"https://h", "https://evil/h"},
                                         {"https://h", "https://h@evil"}};
  TEST("row 45: gives one origin for one scheme, host and port");
  for (size_t i = 0; i < sizeof same / sizeof *same; i++) {
    char *a = oai_url_origin(same[i][0]), *b = oai_url_origin(same[i][1]);
    if (CHECK(a && b)) CHECK_EQ_CSTR(a, b);
    free(a);
    free(b);
  }
  TEST("row 45: gives another origin when any of them differs");
  for (size_t i = 0; i < sizeof other / sizeof *other; i++) {
    char *a = oai_url_origin(other[i][0]), *b = oai_url_origin(other[i][1]);
    if (CHECK(a && b)) CHECK(strcmp(a, b) != 0);
    free(a);
    free(b);
  }
  CHECK(oai_url_origin("nothing at all") == NULL);
}

int main(void) {
  good_urls();
  bad_urls();
  keys();
  headers();
  origins();
  return test_report();
}
