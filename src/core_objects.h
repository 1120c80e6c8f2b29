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

/* What is in an exchange's box. */
typedef struct oai_core_exchange {
  oai_exchange *x;
  oai_engine *engine;
  bool over; /* next has seen the end */
  bool gave_lowest;
} oai_core_exchange;

/* What all deadlines of this Lua state go by. */
oai_clock *oai_state_clock(lua_State *L);
/* Pushes the engine of this Lua state, made at the first need. */
void oai_engine_push_default(lua_State *L);
/* engine:timer(seconds) -> timer */
int oai_timer_push(lua_State *L);
/* engine:either(exchange, exchange or timer) -> either */
int oai_either_push(lua_State *L);
/* Of the timer or the exchange at index i; raises on anything else. */
oai_waitable *oai_timer_waitable(lua_State *L, int i);
oai_waitable *oai_waitable_check(lua_State *L, int i);
/* Starts an exchange from the arguments (session, body, options) of
 * session:send or session:stream and pushes it. */
int oai_exchange_push(lua_State *L, bool stream);

/* Fills parts with the body's strings (one, or a list of them); gives their
 * number. */
size_t oai_read_body(lua_State *L, int body, oai_slice *parts);
/* Anchors them in the table at `anchor`. */
void oai_keep_body(lua_State *L, int body, int anchor);
/* Reads options.form, if the options at index 3 have one, and pushes it: what
 * it points at is anchored in the table at `anchor`. NULL: no form. Raises. */
oai_form_part *oai_read_form(lua_State *L, int anchor, size_t *n);
/* Reads the options at index 3. NULL or what is wrong. */
const char *oai_read_request(lua_State *L, oai_core_session *s, oai_request *r);

/* The conn in the box at index i, and where it leads; "": to a child. Raises.
 */
struct oai_conn *oai_conn_at(lua_State *L, int i, const char **url);

void oai_buf_push(lua_State *L, const oai_buf *b);
/* Pushes what was assembled, and why it failed (call only when it did). */
void oai_reply_push(lua_State *L, const oai_exchange *x);
/* What a plain answer is told by; 0: it is not plain. See exchange:plain(). */
int oai_plain_push(lua_State *L, const oai_exchange *x);
const oai_wire *oai_wire_named(const char *name); /* NULL: none of that name */
/* What came next: its kind, and the values exchange:next gives for it. */
int oai_op_push(lua_State *L, const oai_exchange *x, const oai_op *op);
void oai_failure_push(lua_State *L, const oai_exchange *x);
/* The same of any failure; content: some had come before it. */
void oai_failure_table(lua_State *L, const oai_failure *f, bool content);
int oai_core_api_error(lua_State *L);

/* Reads a table of options. Unknown names and wrong types raise with the
 * name; i is the table's absolute index. */
double oai_opt_seconds(lua_State *L, int i, const char *name, double missing);
size_t oai_opt_size(lua_State *L, int i, const char *name, size_t missing);
void oai_read_timeouts(lua_State *L, int options, oai_timeouts *t);
/* Header table at field `headers`: name -> value. NULL or what is wrong. */
const char *oai_read_headers(lua_State *L, int options,
                             struct curl_slist **list);

#endif
