/* core_json_encoder: see core_json_encoder.h. A userdata, so that a memory
 * error leaks nothing. */
#include "core_json_encoder.h"

#include <stdlib.h>
#include <string.h>

#define ENCODER "oaichat.json.encoder"

/* What it keeps from text to text. */
enum { SPARE_MEMBERS = 32, SPARE_BYTES = 8192 };
static const char kept_encoder = 0; /* its address: the registry's key */
/* A shared table that occurs often makes a small value a huge text. */
static const size_t text_max = (size_t)1 << 30;

static void free_buffers(oai_json_encoder *e) {
  oai_buf_free(&e->out);
  free(e->members);
  free(e->frames);
  e->members = NULL;
  e->frames = NULL;
  e->members_cap = e->frames_cap = 0;
}

static int json_encoder_close(lua_State *L) {
  oai_json_encoder *e = lua_touserdata(L, 1);
  free_buffers(e);
  e->busy = true; /* a finalizer that comes later must not take it */
  return 0;
}

/* Pushes a new encoder and the table for its values, and keeps the two. */
static oai_json_encoder *new_encoder(lua_State *L) {
  oai_json_encoder *e = lua_newuserdata(L, sizeof *e);
  memset(e, 0, sizeof *e);
  oai_buf_init(&e->out, text_max);
  luaL_getmetatable(L, ENCODER);
  lua_setmetatable(L, -2);
  lua_createtable(L, SPARE_MEMBERS, 0);
  lua_pushvalue(L, -1);
  lua_setuservalue(L, -3);
  lua_pushlightuserdata(L, (void *)&kept_encoder);
  lua_pushvalue(L, -3);
  lua_rawset(L, LUA_REGISTRYINDEX);
  return e;
}

oai_json_encoder *oai_json_encoder_take(lua_State *L, size_t max_depth) {
  lua_pushlightuserdata(L, (void *)&kept_encoder);
  lua_rawget(L, LUA_REGISTRYINDEX);
  oai_json_encoder *e = lua_touserdata(L, -1);
  if (e && !e->busy) {
    lua_getuservalue(L, -1);
  } else {
    lua_pop(L, 1);
    e = new_encoder(L);
  }
  e->busy = true;
  e->out.n = e->members_n = e->members_max = e->depth = 0;
  e->why = e->type = NULL;
  e->nomem = false;
  e->max_depth = max_depth;
  return e;
}

void oai_json_encoder_give_back(lua_State *L, oai_json_encoder *e) {
  if (e->members_max > SPARE_MEMBERS) {
    lua_pushlightuserdata(L, (void *)&kept_encoder);
    lua_pushnil(L);
    lua_rawset(L, LUA_REGISTRYINDEX);
    free_buffers(e);
    return;
  }
  for (size_t i = 1; i <= e->members_max; i++) {
    lua_pushnil(L);
    lua_rawseti(L, OAI_JSON_VALUES, (int)i);
  }
  if (e->out.cap > SPARE_BYTES) oai_buf_free(&e->out);
  e->busy = false;
}

void oai_json_open_encoder(lua_State *L) {
  luaL_newmetatable(L, ENCODER);
  lua_pushcfunction(L, json_encoder_close);
  lua_setfield(L, -2, "__gc");
  lua_pop(L, 1);
}
