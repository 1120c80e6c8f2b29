/* core_objects: what the engine's, the session's and the exchange's faces know
 * of each other. */
#ifndef OAI_CORE_OBJECTS_H
#define OAI_CORE_OBJECTS_H

#include "compat.h"
#include "exchange.h"

/* What is in a session's box. */
typedef struct oai_core_session {
  oai_endpoint *endpoint;
  oai_engine *engine;
  const oai_wire *wire;
  char *path;
} oai_core_session;

/* Pushes the engine of this Lua state, made at the first need. */
void oai_engine_push_default(lua_State *L);
/* engine:timer(seconds) -> timer */
int oai_timer_push(lua_State *L);
/* Starts an exchange from the arguments (session, body, options) of
 * session:send or session:stream and pushes it. */
int oai_exchange_push(lua_State *L, bool stream);

void oai_buf_push(lua_State *L, const oai_buf *b);
/* Pushes what was assembled, and why it failed (call only when it did). */
void oai_reply_push(lua_State *L, const oai_exchange *x);
void oai_failure_push(lua_State *L, const oai_exchange *x);

/* Reads a table of options. Unknown names and wrong types raise with the
 * name; i is the table's absolute index. */
double oai_opt_seconds(lua_State *L, int i, const char *name, double missing);
size_t oai_opt_size(lua_State *L, int i, const char *name, size_t missing);
void oai_read_timeouts(lua_State *L, int options, oai_timeouts *t);
/* Header table at field `headers`: name -> value. NULL or what is wrong. */
const char *oai_read_headers(lua_State *L, int options,
                             struct curl_slist **list);

#endif
