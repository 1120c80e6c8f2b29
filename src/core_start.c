/* core_start: starts an exchange out of the arguments of session:send and
 * session:stream. Whatever may raise does so before anything is held. */
#include "core.h"

#include "core_objects.h"

#include <stdlib.h>
#include <string.h>

/* resume = an exchange that failed: the new one goes on with its answer. */
static oai_exchange *resumed(lua_State *L) {
  if (!lua_istable(L, 3)) return NULL;
  lua_getfield(L, 3, "resume");
  oai_core_exchange *c =
      lua_isnil(L, -1) ? NULL : oai_box_check(L, lua_gettop(L), OAI_EXCHANGE);
  lua_pop(L, 1);
  return c ? c->x : NULL;
}

static size_t body_size(const oai_request *r) {
  size_t n = 0;
  for (size_t i = 0; i < r->nparts; i++) n += r->parts[i].n;
  return n;
}

/* What is wrong with a request whose values are fine; pushes the failure. */
static int refuse(lua_State *L, oai_request *r, const char *kind,
                  const char *code, const char *why) {
  curl_slist_free_all(r->headers);
  oai_form_free(r->form);
  return oai_push_error(L, kind, code, why);
}

static int start(lua_State *L, oai_core_session *s, oai_core_exchange *c,
                 oai_request *r) {
  static const char over[] = "the request is larger than limits.request_bytes";
  size_t nform;
  char message[300];
  bool io = false;
  /* these may raise: nothing is held yet */
  oai_exchange *failed = resumed(L);
  const oai_form_part *form = oai_read_form(L, 6, &nform);
  const char *wrong = oai_read_request(L, s, r);
  if (wrong) return refuse(L, r, "config", "config", wrong);
  if (body_size(r) > s->endpoint->limits.request_bytes)
    return refuse(L, r, "too_large", "request", over);
  if (form && oai_header_has(r->headers, "content-type"))
    return refuse(L, r, "config", "config", "Content-Type is the form's own");
  if (form &&
      !(r->form = oai_form_open(form, nform, message, sizeof message, &io)))
    return refuse(L, r, io ? "storage" : "config", io ? "io" : "config",
                  message);
  if (form && (double)oai_form_size(r->form) >
                  (double)s->endpoint->limits.request_bytes)
    return refuse(L, r, "too_large", "request", over);
  c->engine = oai_engine_ref(s->engine);
  c->x = oai_exchange_start(s->engine, s->endpoint, s->wire, r);
  if (!c->x) return luaL_error(L, "not enough memory");
  if (failed) oai_exchange_go_on_with(c->x, failed);
  lua_settop(L, 5);
  return 1;
}

/* What must outlive this call is anchored in a table at index 6: a body that is
 * not copied, and a form's parts. */
static void anchor(lua_State *L, const oai_request *r) {
  if (oai_request_copied(r) && !lua_istable(L, 3)) {
    lua_pushnil(L);
    return;
  }
  oai_box_keeps(L);
  if (!oai_request_copied(r)) oai_keep_body(L, 2, 6);
}

int oai_exchange_push(lua_State *L, bool stream) {
  oai_core_session *s = oai_box_check(L, 1, OAI_SESSION);
  oai_request r;
  oai_slice some[8], *parts = some;
  memset(&r, 0, sizeof r);
  r.stream = stream;
  if (lua_type(L, 2) != LUA_TSTRING) luaL_checktype(L, 2, LUA_TTABLE);
  lua_settop(L, 3);
  size_t n = lua_istable(L, 2) ? lua_rawlen(L, 2) : 1;
  if (n <= sizeof some / sizeof *some)
    lua_pushnil(L);
  else
    parts = lua_newuserdata(L, n * sizeof *parts); /* 4 */
  void **box = oai_box_new(L, OAI_EXCHANGE);       /* 5 */
  oai_core_exchange *c = *box = calloc(1, sizeof *c);
  if (!c) return luaL_error(L, "not enough memory");
  oai_live(L, OAI_EXCHANGE, 1);
  r.nparts = oai_read_body(L, 2, parts);
  r.parts = parts;
  anchor(L, &r);
  return start(L, s, c, &r);
}
