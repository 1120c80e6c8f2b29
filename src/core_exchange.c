/* core_exchange: the exchange's Lua face: next, text, wait, done, result,
 * cancel. Nothing here decides anything. */
#include "core.h"

#include "core_objects.h"
#include "file.h"
#include "platform.h"
#include "retry.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

static oai_core_exchange *check(lua_State *L) {
  return oai_box_check(L, 1, OAI_EXCHANGE);
}

/* ---- reading ----------------------------------------------------------------
 */

static oai_pull pull(lua_State *L, oai_core_exchange *c, oai_op *op,
                     oai_sse_event *event) {
  oai_pull got = oai_exchange_next(c->x, op, event);
  if (got == OAI_PULL_NOMEM) luaL_error(L, "not enough memory");
  if (got == OAI_PULL_END) c->over = true;
  return got;
}

static void push_slice(lua_State *L, oai_slice s) {
  if (s.n)
    lua_pushlstring(L, s.p, s.n);
  else
    lua_pushnil(L);
}

static int push_event(lua_State *L, const oai_sse_event *event) {
  lua_pushliteral(L, "chunk");
  lua_pushlstring(L, event->data.n ? event->data.p : "", event->data.n);
  push_slice(L, event->name);
  push_slice(L, event->id);
  if (event->retry >= 0)
    lua_pushnumber(L, (lua_Number)event->retry);
  else
    lua_pushnil(L);
  return 5;
}

/* exchange:next() -> what came next, or nothing when nothing is there now:
 *   "text" | "reasoning" | "refusal", piece, choice (from 0)
 *   "tool_call", choice, index (from 1), id, name, arguments, partial
 *   "usage", table · "finish", reason, choice
 *   "data", bytes: of a body that is pulled
 *   "progress", table: what a tool that the server runs is doing
 *   "chunk", data: an event's JSON, after exchange:chunks(); on the raw wire
 *   any data, and name | nil, id | nil, retry (ms) | nil */
static int exchange_next(lua_State *L) {
  oai_core_exchange *c = check(L);
  oai_op op;
  oai_sse_event event;
  switch (pull(L, c, &op, &event)) {
  case OAI_PULL_OP: return oai_op_push(L, c->x, &op);
  case OAI_PULL_CHUNK: return push_event(L, &event);
  case OAI_PULL_DATA:
    lua_pushliteral(L, "data");
    push_slice(L, event.data);
    return 2;
  default: return 0;
  }
}

/* At the end of an answer that has no choice 0: the lowest choice's text,
 * whole, so that what was heard is what the reply says. */
static int push_lowest(lua_State *L, oai_core_exchange *c) {
  const oai_delta *d = oai_exchange_delta(c->x);
  const oai_choice *low = NULL;
  for (size_t i = 0; i < d->nchoices; i++)
    if (!low || d->choices[i].index < low->index) low = &d->choices[i];
  if (c->gave_lowest || !low || low->index == 0 || !low->text.buf.n) return 0;
  c->gave_lowest = true;
  oai_buf_push(L, &low->text.buf);
  return 1;
}

/* exchange:text() -> the next piece of choice 0's text | nothing now | nil,
 * true: the end; what else comes is passed over (it stays in the reply) */
static int exchange_text(lua_State *L) {
  oai_core_exchange *c = check(L);
  oai_op op;
  oai_sse_event event;
  oai_pull got;
  while ((got = pull(L, c, &op, &event)) == OAI_PULL_OP) {
    const oai_choice *choice = oai_exchange_delta(c->x)->choices + op.choice;
    if (op.kind != OAI_OP_TEXT || choice->index != 0) continue;
    lua_pushlstring(L, choice->text.buf.p + op.at, op.n);
    return 1;
  }
  if (got != OAI_PULL_END) return 0;
  if (push_lowest(L, c)) return 1;
  lua_pushnil(L);
  lua_pushboolean(L, 1);
  return 2;
}

/* exchange:chunks(): from now on next gives the events' raw data */
static int exchange_chunks(lua_State *L) {
  oai_exchange_want_chunks(check(L)->x);
  return 0;
}

/* Reads and drops whatever there is. */
static void drain(lua_State *L, oai_core_exchange *c) {
  oai_op op;
  oai_sse_event event;
  oai_pull got;
  do got = pull(L, c, &op, &event);
  while (got == OAI_PULL_OP || got == OAI_PULL_CHUNK || got == OAI_PULL_DATA);
}

/* exchange:drain() -> done: for those who want the end alone */
static int exchange_drain(lua_State *L) {
  oai_core_exchange *c = check(L);
  if (!c->over) drain(L, c);
  lua_pushboolean(L, c->over);
  return 1;
}

/* exchange:plain() -> false: not done yet | nothing: done, and not plain |
 * text, finish_reason | nil, model | nil, id | nil, body, header lines, the
 * seconds connect | nil, first_byte, total, and the time now, as core.time()
 * tells it: a whole answer that is the text of one choice and no more. What
 * else it says, oaichat.core.answer_of reads from its body and
 * exchange:result() from here. Reads and drops as drain does. */
static int exchange_plain(lua_State *L) {
  oai_core_exchange *c = check(L);
  oai_exchange_want_plain(c->x);
  if (!c->over) drain(L, c);
  if (c->over) return oai_plain_push(L, c->x);
  lua_pushboolean(L, 0);
  return 1;
}

/* exchange:ready() -> next has something, or the end is there */
static int exchange_ready(lua_State *L) {
  oai_core_exchange *c = check(L);
  lua_pushboolean(L, c->over || oai_exchange_ready(c->x));
  return 1;
}

oai_waitable *oai_waitable_check(lua_State *L, int i) {
  if (!oai_box_is(L, i, OAI_EXCHANGE)) return oai_timer_waitable(L, i);
  oai_core_exchange *c = oai_box_check(L, i, OAI_EXCHANGE);
  return oai_exchange_waitable(c->x);
}

/* exchange:id() -> what engine:pop() gives when there is something to pull */
static int exchange_id(lua_State *L) {
  lua_pushlightuserdata(L, oai_exchange_waitable(check(L)->x));
  return 1;
}

/* exchange:relist() -> its id: who pulled leaves the rest for a later
 * engine:pop() */
static int exchange_relist(lua_State *L) {
  oai_core_exchange *c = check(L);
  oai_engine_relist(c->engine, oai_exchange_waitable(c->x));
  lua_pushlightuserdata(L, oai_exchange_waitable(c->x));
  return 1;
}

/* exchange:wait([seconds]) -> ready: sleeps until something happened on the
 * engine, does it, and says whether it was for this exchange */
static int exchange_wait(lua_State *L) {
  oai_core_exchange *c = check(L);
  double seconds = luaL_optnumber(L, 2, -1);
  oai_engine_stop_at(c->engine, -1); /* who blocks has no frame to keep */
  /* what waits to begin does so first: nothing has happened by that. Who wants
   * his turn soon has other work in between. */
  if (!c->over && seconds < 0 && oai_engine_begins(c->engine))
    oai_engine_step(c->engine, -1);
  if (!c->over && !oai_exchange_ready(c->x)) {
    oai_engine_wait(c->engine, seconds, false);
    oai_engine_step(c->engine, -1);
  }
  return exchange_ready(L);
}

/* exchange:done() -> ended, and nothing is left to pull. Of a whole answer
 * there is nothing to pull. */
static int exchange_done(lua_State *L) {
  oai_core_exchange *c = check(L);
  if (!c->over && oai_exchange_ready(c->x) && !oai_exchange_streams(c->x))
    drain(L, c);
  lua_pushboolean(L, c->over);
  return 1;
}

static int exchange_cancel(lua_State *L) {
  oai_exchange_cancel(check(L)->x);
  return 0;
}

/* "[masked]" where the server repeats the key */
static void push_header(lua_State *L, const oai_exchange *x, oai_slice value) {
  if (oai_exchange_shows_key(x, value))
    lua_pushliteral(L, "[masked]");
  else
    lua_pushlstring(L, value.p, value.n);
}

/* exchange:header(name, ...) -> value | nil, of the final answer: of the first
 * of the names that it has */
static int exchange_header(lua_State *L) {
  oai_core_exchange *c = check(L);
  for (int i = 2, last = lua_gettop(L); i <= last; i++) {
    oai_slice value = oai_exchange_header(c->x, luaL_checkstring(L, i));
    if (!value.p) continue;
    push_header(L, c->x, value);
    return 1;
  }
  lua_pushnil(L);
  return 1;
}

/* exchange:head() -> the lines of the final answer's header, and the time now,
 * as core.time() tells it | nil: they repeat the key */
static int exchange_head(lua_State *L) {
  oai_core_exchange *c = check(L);
  oai_slice head = oai_exchange_head(c->x);
  if (oai_exchange_shows_key(c->x, head)) return 0;
  lua_pushlstring(L, head.n ? head.p : "", head.n);
  lua_pushnumber(L, oai_file_time());
  return 2;
}

/* The name in lower case, which few servers write otherwise. */
static void push_name(lua_State *L, const char *p, size_t n) {
  luaL_Buffer b;
  luaL_buffinit(L, &b);
  for (size_t i = 0; i < n; i++)
    luaL_addchar(&b, (char)(p[i] >= 'A' && p[i] <= 'Z' ? p[i] + 32 : p[i]));
  luaL_pushresult(&b);
}

/* Of the prefixes from argument 2 on the one that a name begins with; 0: none.
 */
static int prefix_of(lua_State *L, int last, oai_slice name, size_t *n) {
  for (int i = 2; i <= last; i++) {
    const char *prefix = luaL_checklstring(L, i, n);
    if (name.n > *n && strncasecmp(name.p, prefix, *n) == 0) return i;
  }
  return 0;
}

/* exchange:headers(prefix, ...) -> { rest of the name = value } | nil, which
 * prefix: those whose names begin with the prefix that the first such one has;
 * prefixes are written in lower case */
static int exchange_headers(lua_State *L) {
  oai_core_exchange *c = check(L);
  size_t n, at = 0;
  int last = lua_gettop(L), found = 0;
  oai_slice name, value;
  lua_pushnil(L);
  while (oai_exchange_next_header(c->x, &at, &name, &value)) {
    int prefix = prefix_of(L, last, name, &n);
    if (!prefix || (found && prefix != found)) continue;
    if (!found) {
      found = prefix;
      lua_pop(L, 1);
      lua_newtable(L);
    }
    push_name(L, name.p + n, name.n - n);
    push_header(L, c->x, value);
    lua_rawset(L, -3);
  }
  if (!found) return 1;
  lua_pushinteger(L, found - 1);
  return 2;
}

/* exchange:result() -> reply, failure: the reply so far, whole when there is no
 * failure. Drains; raises before the end. */
static int exchange_result(lua_State *L) {
  oai_core_exchange *c = check(L);
  if (!c->over) drain(L, c);
  if (!c->over) return luaL_error(L, "the exchange is not done");
  oai_exchange_read_all(c->x);
  if (oai_exchange_nomem(c->x)) return luaL_error(L, "not enough memory");
  oai_reply_push(L, c->x);
  if (!oai_exchange_failure(c->x)) return 1;
  oai_failure_push(L, c->x);
  return 2;
}

/* exchange:retry(attempts, idempotent[, resumes]) -> seconds to wait before the
 * next one | nil, seconds that the server asked for | nil. Of one that has
 * failed; resumes: the next goes on where this one stopped. */
static int exchange_retry(lua_State *L) {
  oai_core_exchange *c = check(L);
  unsigned char dice = 0;
  oai_retry_facts facts;
  memset(&facts, 0, sizeof facts);
  facts.attempts = (int)luaL_checkinteger(L, 2);
  facts.idempotent = lua_toboolean(L, 3);
  facts.failure = oai_exchange_failure(c->x);
  luaL_argcheck(L, facts.failure && facts.attempts > 0, 1, "has not failed");
  facts.retry_after_ms = oai_exchange_header(c->x, "retry-after-ms");
  facts.retry_after = oai_exchange_header(c->x, "retry-after");
  facts.should_retry = oai_exchange_header(c->x, "x-should-retry");
  facts.content = oai_exchange_has_content(c->x) && !lua_toboolean(L, 4);
  facts.now = (double)time(NULL);
  oai_platform_random(&dice, 1);
  facts.dice = dice / 255.0;
  oai_retry verdict = oai_retry_judge(&facts);
  if (verdict.again)
    lua_pushnumber(L, verdict.wait);
  else
    lua_pushnil(L);
  if (verdict.asked < 0) return 1;
  lua_pushnumber(L, verdict.asked);
  return 2;
}

/* exchange:progress() -> bytes sent, of | nil, received, of | nil */
static int exchange_progress(lua_State *L) {
  oai_progress p = oai_exchange_progress(check(L)->x);
  curl_off_t n[] = {p.sent, p.to_send, p.received, p.to_receive};
  for (int i = 0; i < 4; i++)
    if (n[i] < 0)
      lua_pushnil(L);
    else
      lua_pushinteger(L, (lua_Integer)n[i]);
  return 4;
}

/* exchange:rekeyed() -> the endpoint has another key by now */
static int exchange_rekeyed(lua_State *L) {
  lua_pushboolean(L, oai_exchange_rekeyed(check(L)->x));
  return 1;
}

static int exchange_close(lua_State *L) {
  oai_core_exchange *c = oai_box_take(L, 1, OAI_EXCHANGE);
  if (!c) return 0;
  oai_live(L, OAI_EXCHANGE, -1);
  oai_exchange_free(c->x);
  oai_engine_unref(c->engine);
  free(c);
  return 0;
}

/* exchange:done_with(): closes it now, unless the end of a whole answer is
 * still awaited for the connection's sake: then the collector does. */
static int exchange_done_with(lua_State *L) {
  return oai_exchange_draining(check(L)->x) ? 0 : exchange_close(L);
}

static const luaL_Reg methods[] = {{"next", exchange_next},
                                   {"text", exchange_text},
                                   {"chunks", exchange_chunks},
                                   {"drain", exchange_drain},
                                   {"plain", exchange_plain},
                                   {"ready", exchange_ready},
                                   {"wait", exchange_wait},
                                   {"done", exchange_done},
                                   {"result", exchange_result},
                                   {"cancel", exchange_cancel},
                                   {"header", exchange_header},
                                   {"headers", exchange_headers},
                                   {"head", exchange_head},
                                   {"id", exchange_id},
                                   {"relist", exchange_relist},
                                   {"retry", exchange_retry},
                                   {"progress", exchange_progress},
                                   {"close", exchange_close},
                                   {"done_with", exchange_done_with},
                                   {"rekeyed", exchange_rekeyed},
                                   {NULL, NULL}};

void oai_open_exchange(lua_State *L) {
  oai_class(L, OAI_EXCHANGE, methods, exchange_close);
}
