/* core_op: what came next of an answer, as Lua values. Decides nothing. */
#include "core_json.h"
#include "core_objects.h"

static int push_call(lua_State *L, const oai_choice *choice, const oai_op *op) {
  const oai_call *call = &choice->calls[op->call];
  bool whole = op->kind == OAI_OP_CALL_DONE;
  const char *p = call->arguments.buf.p;
  lua_pushliteral(L, "tool_call");
  lua_pushinteger(L, choice->index);
  lua_pushinteger(L, (lua_Integer)op->call + 1);
  oai_buf_push(L, &call->id.buf);
  oai_buf_push(L, &call->name.buf);
  if (whole && op->n == 0)
    lua_pushliteral(L, "{}");
  else
    lua_pushlstring(L, p ? p + op->at : "", op->n);
  lua_pushboolean(L, !whole);
  return 7;
}

int oai_op_push(lua_State *L, const oai_exchange *x, const oai_op *op) {
  const oai_delta *d = oai_exchange_delta(x);
  const oai_choice *c = d->choices ? &d->choices[op->choice] : NULL;
  switch (op->kind) {
  case OAI_OP_TEXT:
    lua_pushliteral(L, "text");
    lua_pushlstring(L, c->text.buf.p + op->at, op->n);
    break;
  case OAI_OP_REASONING:
    lua_pushliteral(L, "reasoning");
    lua_pushlstring(L, c->reasoning.buf.p + op->at, op->n);
    break;
  case OAI_OP_REFUSAL:
    lua_pushliteral(L, "refusal");
    lua_pushlstring(L, c->refusal.buf.p + op->at, op->n);
    break;
  case OAI_OP_CALL:
  case OAI_OP_CALL_DONE: return push_call(L, c, op);
  case OAI_OP_USAGE:
    lua_pushliteral(L, "usage");
    oai_json_push(L, d->usage.p, d->usage.n);
    return 2;
  case OAI_OP_FINISH:
    lua_pushliteral(L, "finish");
    oai_buf_push(L, &c->finish);
    break;
  case OAI_OP_PROGRESS:
    lua_pushliteral(L, "progress");
    oai_json_push(L, d->notes.p + op->at, op->n);
    return 2;
  }
  lua_pushinteger(L, c->index);
  return 3;
}
