/* core_reply: what an exchange assembled, as Lua tables: the reply and the
 * failure. Decides nothing. */
#include "apierror.h"
#include "core_json.h"
#include "core_objects.h"
#include "file.h"

#include <stdint.h>
#include <stdlib.h>

void oai_buf_push(lua_State *L, const oai_buf *b) {
  lua_pushlstring(L, b->p ? b->p : "", b->n);
}

static void set_buf(lua_State *L, const char *name, const oai_buf *b) {
  if (!b->n) return;
  oai_buf_push(L, b);
  lua_setfield(L, -2, name);
}

static void set_string(lua_State *L, const char *name, const char *text) {
  if (!text || !*text) return;
  lua_pushstring(L, text);
  lua_setfield(L, -2, name);
}

static void set_number(lua_State *L, const char *name, double value) {
  if (value < 0) return;
  lua_pushnumber(L, value);
  lua_setfield(L, -2, name);
}

/* extras = { scope, key, json, list?, scope, … }: one flat list, since hardly
 * anyone looks at them. */
static void set_extras(lua_State *L, const oai_extra *e) {
  static const char *const scopes[] = {"reply", "choice", "message", "call",
                                       "function"};
  int n = 0, all = 0;
  if (!e) return;
  for (const oai_extra *one = e; one; one = one->next) all += 4;
  lua_createtable(L, all, 0);
  for (; e; e = e->next) {
    lua_pushstring(L, scopes[e->scope]);
    lua_rawseti(L, -2, ++n);
    oai_buf_push(L, &e->key);
    lua_rawseti(L, -2, ++n);
    oai_buf_push(L, &e->json);
    lua_rawseti(L, -2, ++n);
    lua_pushboolean(L, e->list);
    lua_rawseti(L, -2, ++n);
  }
  lua_setfield(L, -2, "extras");
}

static void push_calls(lua_State *L, const oai_choice *c) {
  lua_createtable(L, (int)c->ncalls, 0);
  for (size_t i = 0; i < c->ncalls; i++) {
    const oai_call *call = &c->calls[i];
    lua_createtable(L, 0, 4);
    set_buf(L, "id", &call->id.buf);
    oai_buf_push(L, &call->name.buf);
    lua_setfield(L, -2, "name");
    if (call->arguments.buf.n)
      oai_buf_push(L, &call->arguments.buf);
    else
      lua_pushliteral(L, "{}");
    lua_setfield(L, -2, "arguments");
    set_extras(L, call->extras);
    lua_rawseti(L, -2, (int)i + 1);
  }
}

static void push_choice(lua_State *L, const oai_choice *c) {
  static const char *const fields[] = {NULL,        "reasoning_content",
                                       "reasoning", "reasoning_text",
                                       NULL,        NULL,
                                       NULL,        NULL};
  lua_createtable(L, 0, 6);
  lua_pushinteger(L, c->index);
  lua_setfield(L, -2, "index");
  oai_buf_push(L, &c->text.buf);
  lua_setfield(L, -2, "text");
  set_buf(L, "reasoning", &c->reasoning.buf);
  set_buf(L, "refusal", &c->refusal.buf);
  set_buf(L, "finish_reason", &c->finish);
  set_string(L, "reasoning_field", fields[c->reasoning_field]);
  push_calls(L, c);
  lua_setfield(L, -2, "tool_calls");
  set_extras(L, c->extras);
}

static void push_timing(lua_State *L, const oai_exchange *x) {
  oai_timing t = oai_exchange_timing(x);
  lua_createtable(L, 0, 4);
  set_number(L, "connect", t.connect);
  set_number(L, "first_byte", t.first_byte);
  set_number(L, "first_content", t.first_content);
  set_number(L, "total", t.total);
}

/* The wire's own object and items, as JSON. */
static void set_items(lua_State *L, const oai_delta *d, const oai_wire *wire) {
  set_buf(L, "whole", &d->whole);
  if (!d->nitems && !d->whole.n) return;
  set_string(L, "api", wire->name);
  set_number(L, "sequence", d->sequence);
  int n = 0;
  lua_createtable(L, (int)d->nitems, 0);
  for (size_t i = 0; i < d->nitems; i++) {
    if (!d->items[i].json.n) continue;
    oai_buf_push(L, &d->items[i].json);
    lua_rawseti(L, -2, ++n);
  }
  lua_setfield(L, -2, "items");
  lua_pushboolean(L, d->opaque);
  lua_setfield(L, -2, "opaque");
}

/* A raw answer: what came, also of one that failed. */
static void set_body(lua_State *L, const oai_exchange *x) {
  oai_slice body;
  int status = oai_exchange_status(x);
  if (!oai_exchange_body(x, &body)) return;
  lua_pushlstring(L, body.n ? body.p : "", body.n);
  lua_setfield(L, -2, "body");
  if (!status) return;
  lua_pushinteger(L, status);
  lua_setfield(L, -2, "status");
}

static void push_answer(lua_State *L, const oai_delta *d,
                        const oai_wire *wire) {
  lua_createtable(L, 0, 8);
  set_buf(L, "id", &d->id);
  set_buf(L, "model", &d->model);
  if (d->usage.n) {
    oai_json_push(L, d->usage.p, d->usage.n);
    lua_setfield(L, -2, "usage");
  }
  lua_createtable(L, (int)d->nchoices, 0);
  for (size_t i = 0; i < d->nchoices; i++) {
    push_choice(L, &d->choices[i]);
    lua_rawseti(L, -2, (int)i + 1);
  }
  lua_setfield(L, -2, "choices");
  set_extras(L, d->extras);
  set_items(L, d, wire);
}

void oai_reply_push(lua_State *L, const oai_exchange *x) {
  push_answer(L, oai_exchange_delta(x), oai_exchange_wire(x));
  push_timing(L, x);
  lua_setfield(L, -2, "timing");
  set_body(L, x);
}

/* ---- plain answers ------------------------------------------------------ */

static void push_text(lua_State *L, const oai_buf *b) {
  if (b->n)
    oai_buf_push(L, b);
  else
    lua_pushnil(L);
}

static void push_seconds(lua_State *L, double value) {
  if (value < 0)
    lua_pushnil(L);
  else
    lua_pushnumber(L, value);
}

int oai_plain_push(lua_State *L, const oai_exchange *x) {
  oai_slice body, head = oai_exchange_head(x);
  oai_timing t = oai_exchange_timing(x);
  if (!oai_exchange_plain(x, &body)) return 0;
  const oai_delta *d = oai_exchange_delta(x);
  luaL_checkstack(L, 10, "plain");
  oai_buf_push(L, &d->choices[0].text.buf);
  push_text(L, &d->choices[0].finish);
  push_text(L, &d->model);
  push_text(L, &d->id);
  lua_pushlstring(L, body.p, body.n);
  lua_pushlstring(L, head.n ? head.p : "", head.n);
  push_seconds(L, t.connect);
  push_seconds(L, t.first_byte);
  push_seconds(L, t.total);
  lua_pushnumber(L, oai_file_time());
  return 10;
}

static int answer_close(lua_State *L) {
  oai_delta *d = oai_box_take(L, 1, OAI_ANSWER);
  if (!d) return 0;
  oai_delta_free(d);
  free(d);
  return 0;
}

/* answer_of(wire, body) -> reply, as exchange:result() gives it: all of an
 * answer of which exchange:plain() told the text */
static int core_answer_of(lua_State *L) {
  enum { DEPTH_MAX = 1000 };
  oai_failure failure;
  oai_slice body;
  const oai_wire *wire = oai_wire_named(luaL_checkstring(L, 1));
  luaL_argcheck(L, wire, 1, "unknown wire");
  body.p = luaL_checklstring(L, 2, &body.n);
  lua_settop(L, 2);
  void **box = oai_box_new(L, OAI_ANSWER); /* 3 */
  oai_delta *d = *box = malloc(sizeof *d);
  if (!d) return luaL_error(L, "not enough memory");
  oai_delta_init(d, SIZE_MAX);
  oai_reader r = {d, &failure, {NULL, 0}, 200, DEPTH_MAX, NULL};
  oai_read read = wire->body(&r, body);
  if (read == OAI_READ_DONE && oai_delta_end(d) != OAI_OK)
    read = OAI_READ_NOMEM;
  if (read != OAI_READ_DONE)
    return luaL_error(L, read == OAI_READ_NOMEM ? "not enough memory"
                                                : "this is no whole answer");
  push_answer(L, d, wire);
  lua_insert(L, 1);
  lua_replace(L, 2); /* the box: closed at once, not when it is collected */
  lua_settop(L, 2);
  lua_pushcfunction(L, answer_close);
  lua_pushvalue(L, 2);
  lua_call(L, 1, 0);
  lua_settop(L, 1);
  return 1;
}

static const luaL_Reg none[] = {{NULL, NULL}};
static const luaL_Reg functions[] = {{"answer_of", core_answer_of},
                                     {NULL, NULL}};

void oai_open_reply(lua_State *L) {
  oai_class(L, OAI_ANSWER, none, answer_close);
  oai_setfuncs(L, functions);
}

/* ---- failures ----------------------------------------------------------- */

void oai_failure_table(lua_State *L, const oai_failure *f, bool content) {
  lua_createtable(L, 0, 10);
  set_string(L, "kind", oai_kind_name(f->kind));
  set_string(L, "code", f->code);
  lua_pushboolean(L, f->peer);
  lua_setfield(L, -2, "peer");
  set_string(L, "type", f->type);
  set_string(L, "param", f->param);
  set_string(L, "phase", oai_phase_name(f->phase));
  set_string(L, "detail", f->text);
  if (f->status) {
    lua_pushinteger(L, f->status);
    lua_setfield(L, -2, "status");
  }
  lua_pushboolean(L, oai_failure_retryable(f) && !content);
  lua_setfield(L, -2, "retryable");
}

void oai_failure_push(lua_State *L, const oai_exchange *x) {
  oai_failure_table(L, oai_exchange_failure(x), oai_exchange_has_content(x));
}

/* api_error(status, body[, session]) -> failure, as exchange:result() gives
 * one: what a body says went wrong; the session's key is masked */
int oai_core_api_error(lua_State *L) {
  oai_slice body, key = {"", 0};
  oai_failure f;
  int status = (int)luaL_checkinteger(L, 1);
  body.p = luaL_checklstring(L, 2, &body.n);
  if (!lua_isnoneornil(L, 3)) {
    oai_core_session *s = oai_box_check(L, 3, OAI_SESSION);
    key = (oai_slice){s->endpoint->key.p, s->endpoint->key.n};
  }
  oai_apierror_read(&f, status, body, key);
  oai_failure_table(L, &f, false);
  return 1;
}
