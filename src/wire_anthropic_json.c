/* wire_anthropic_json: the JSON of a block, out of how it began and the pieces
 * that came. Pieces of strings are joined as they stand between their quotes:
 * nothing is unescaped, so what goes back is what came. */
#include "wire_anthropic_internal.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static bool put(oai_buf *b, const char *p, size_t n) {
  return oai_buf_append(b, p, n) == OAI_BUF_OK;
}

static bool put_text(oai_buf *b, const char *text) {
  return put(b, text, strlen(text));
}

static bool put_comma(oai_buf *b) {
  return b->p[b->n - 1] == '{' || put(b, ",", 1);
}

static bool put_key(oai_buf *b, const char *p, size_t n) {
  return put_comma(b) && put(b, "\"", 1) && put(b, p, n) && put(b, "\":", 2);
}

/* ---- a member out of its pieces ----------------------------------------- */

static bool put_string(oai_buf *b, oai_slice begun, const oai_buf *more) {
  bool has = begun.n > 2 && *begun.p == '"';
  return put(b, "\"", 1) && (!has || put(b, begun.p + 1, begun.n - 2)) &&
         put(b, more->p, more->n) && put(b, "\"", 1);
}

static bool put_list(const oai_reader *r, oai_buf *b, oai_slice begun,
                     const oai_buf *more) {
  oai_scan s = oai_wire_scan(r, begun);
  bool has =
      begun.n > 2 && *begun.p == '[' && oai_scan_open(&s) && oai_scan_item(&s);
  return put(b, "[", 1) &&
         (!has || (put(b, begun.p + 1, begun.n - 2) && put(b, ",", 1))) &&
         put(b, more->p, more->n) && put(b, "]", 1);
}

/* The arguments of a call must be an object: those that are cut go as none, and
 * the call itself says what came. */
static bool put_input(const oai_reader *r, oai_buf *b, oai_slice begun,
                      const oai_buf *more) {
  oai_scan_str str = {more->p, more->n, true};
  oai_scan_error why;
  char *text = malloc(more->n + 4);
  if (!text) return false;
  oai_slice json = {text, oai_scan_unescape(&str, text, NULL)};
  if (!json.n) json = begun;
  oai_scan s = oai_wire_scan(r, json);
  bool object =
      json.n && oai_scan_peek(&s) == '{' && oai_wire_valid(r, json, &why);
  bool ok = object ? put(b, json.p, json.n) : put_text(b, "{}");
  free(text);
  return ok;
}

static bool put_grown(const oai_reader *r, oai_buf *b, oai_slice begun,
                      oai_extra *e) {
  int how = e->scope;
  e->scope = OAI_GROWN_USED;
  return how == OAI_GROWS_STRING ? put_string(b, begun, &e->json)
         : how == OAI_GROWS_LIST ? put_list(r, b, begun, &e->json)
                                 : put_input(r, b, begun, &e->json);
}

/* ---- the block ---------------------------------------------------------- */

static oai_extra *grown_named(const oai_item *item, const oai_scan_str *key) {
  oai_extra *e = item->grown;
  while (e && (e->key.n != key->n || memcmp(e->key.p, key->p, key->n) != 0))
    e = e->next;
  return e;
}

static bool put_head(const oai_reader *r, oai_buf *b, const oai_item *item) {
  oai_scan s = oai_wire_scan(r, (oai_slice){item->head.p, item->head.n});
  oai_scan_str key;
  oai_slice value;
  if (oai_scan_peek(&s) != '{' || !oai_scan_open(&s)) return true;
  while (oai_scan_key(&s, &key) && oai_scan_skip(&s, &value)) {
    oai_extra *e = grown_named(item, &key);
    if (e && e->scope == OAI_GROWN_USED) continue; /* named twice */
    if (!put_key(b, key.p, key.n)) return false;
    if (!(e ? put_grown(r, b, value, e) : put(b, value.p, value.n)))
      return false;
  }
  return true;
}

static bool put_rest(const oai_reader *r, oai_buf *b, const oai_item *item) {
  static const oai_slice nothing = {NULL, 0};
  if (!item->head.n && item->grown) { /* its beginning never came */
    static const oai_scan_str thinking = {"thinking", 8, false};
    const char *type = grown_named(item, &thinking) ? "thinking" : "text";
    if (!put_key(b, "type", 4) || !put(b, "\"", 1) || !put_text(b, type) ||
        !put(b, "\"", 1))
      return false;
  }
  for (oai_extra *e = item->grown; e; e = e->next)
    if (e->scope != OAI_GROWN_USED &&
        (!put_key(b, e->key.p, e->key.n) || !put_grown(r, b, nothing, e)))
      return false;
  return true;
}

oai_status oai_anthropic_json(oai_reader *r, oai_item *item) {
  oai_buf b;
  oai_buf_init(&b, SIZE_MAX / 4);
  if (!put(&b, "{", 1) || !put_head(r, &b, item) || !put_rest(r, &b, item) ||
      !put(&b, "}", 1)) {
    oai_buf_free(&b);
    return OAI_ERR_NOMEM;
  }
  oai_buf_free(&item->json);
  item->json = b;
  oai_buf_free(&item->head);
  oai_extras_free(item->grown);
  item->grown = NULL;
  return OAI_OK;
}

static bool is_one_of(const oai_scan_str *key, const char *const *names) {
  for (; names && *names; names++)
    if (oai_scan_str_is(key, *names)) return true;
  return false;
}

static bool says_nothing(const oai_reader *r, oai_slice value) {
  oai_scan s = oai_wire_scan(r, value);
  if (!value.p || oai_wire_is_null(value)) return true;
  return *value.p == '[' && oai_scan_open(&s) && !oai_scan_item(&s);
}

/* caller: who called; {"type":"direct"} is the model itself. */
static bool is_direct(const oai_reader *r, oai_slice caller) {
  oai_scan_str by = oai_wire_text_of(r, caller, "type");
  return by.p && oai_scan_str_is(&by, "direct");
}

bool oai_anthropic_plain(const oai_reader *r, const oai_item *item) {
  static const char *const text[] = {"type", "text", NULL};
  static const char *const call[] = {"type", "id", "name", "input", NULL};
  const char *const *known = item->what == OAI_BLOCK_CALL ? call : text;
  oai_scan s = oai_wire_scan(r, (oai_slice){item->json.p, item->json.n});
  oai_scan_str key;
  oai_slice value;
  if (item->what > OAI_BLOCK_TEXT && item->what != OAI_BLOCK_CALL) return false;
  oai_scan_open(&s);
  while (oai_scan_key(&s, &key) && oai_scan_skip(&s, &value))
    if (!is_one_of(&key, known) && !says_nothing(r, value) &&
        !(oai_scan_str_is(&key, "caller") && is_direct(r, value)))
      return false;
  return true;
}

/* ---- objects ------------------------------------------------------------ */

oai_status oai_anthropic_append(const oai_reader *r, oai_buf *object,
                                oai_slice more, const char *const *but) {
  oai_scan s = oai_wire_scan(r, more);
  oai_scan_str key;
  oai_slice value;
  if (!more.p || oai_scan_peek(&s) != '{' || !oai_scan_open(&s)) return OAI_OK;
  if (object->n) /* its closing brace, and blanks before it */
    while (object->p[--object->n - 1] == ' ' ||
           strchr("\t\r\n", object->p[object->n - 1]))
      ;
  else if (!put(object, "{", 1))
    return OAI_ERR_NOMEM;
  while (oai_scan_key(&s, &key) && oai_scan_skip(&s, &value))
    if (!oai_wire_is_null(value) && !is_one_of(&key, but) &&
        !(put_key(object, key.p, key.n) && put(object, value.p, value.n)))
      return OAI_ERR_NOMEM;
  return put(object, "}", 1) ? OAI_OK : OAI_ERR_NOMEM;
}

enum { MEMBERS_MAX = 64, BASE_MAX = 8192 };

oai_status oai_anthropic_merge(const oai_reader *r, oai_buf *out,
                               oai_slice base, oai_slice over) {
  const char *names[MEMBERS_MAX + 1] = {NULL};
  char text[BASE_MAX];
  size_t n = 0, used = 0;
  oai_scan s = oai_wire_scan(r, over);
  oai_scan_str key;
  oai_slice value;
  oai_scan_open(&s);
  /* each event costs what it says, however long a server makes the sum */
  while (base.n <= BASE_MAX && n < MEMBERS_MAX && oai_scan_key(&s, &key) &&
         oai_scan_skip(&s, &value)) {
    if (oai_wire_is_null(value) || key.escaped || used + key.n >= BASE_MAX)
      continue;
    memcpy(text + used, key.p, key.n);
    text[used + key.n] = 0;
    names[n++] = text + used;
    used += key.n + 1;
  }
  oai_status status =
      base.n <= BASE_MAX ? oai_anthropic_append(r, out, base, names) : OAI_OK;
  return status == OAI_OK ? oai_anthropic_append(r, out, over, NULL) : status;
}
