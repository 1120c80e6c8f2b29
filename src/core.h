/* core: what the files of the Lua face share. Only core*.c include it.
 *
 * A Lua object is a box: a userdata with one pointer, made closed (NULL) first
 * and filled second, as liolib.c does, so that a memory error in between leaks
 * nothing. close = __gc = __close, idempotent. */
#ifndef OAI_CORE_H
#define OAI_CORE_H

#include "compat.h"

#include <stdbool.h>

#define OAI_CLOCK "oaichat.clock"
#define OAI_ENGINE "oaichat.engine"
#define OAI_SESSION "oaichat.core.session"
#define OAI_EXCHANGE "oaichat.exchange"
#define OAI_SSE "oaichat.sse"
#define OAI_TIMER "oaichat.timer"
#define OAI_EITHER "oaichat.either"
#define OAI_LIMIT "oaichat.limit"
#define OAI_CONN "oaichat.conn"
#define OAI_LISTENER "oaichat.listener"
#define OAI_PEER "oaichat.peer"
#define OAI_REGEX "oaichat.regex"
#define OAI_FILE "oaichat.file"
#define OAI_BPE "oaichat.bpe"
#define OAI_WEBSOCKET "oaichat.websocket"
#define OAI_DIRECTORY "oaichat.directory"
#define OAI_ANSWER "oaichat.answer"

/* Pushes a closed box of a class. */
void **oai_box_new(lua_State *L, const char *class_name);
/* Pushes a fresh table that the box at the top keeps, as its user value. */
void oai_box_keeps(lua_State *L);
bool oai_box_is(lua_State *L, int i, const char *class_name);
/* The object in the box at index i; NULL: it is closed, or no such box. */
void *oai_box_object(lua_State *L, int i, const char *class_name);
/* The object in the box at index i; raises "NAME is closed" on a closed one and
 * a type error on anything else. */
void *oai_box_check(lua_State *L, int i, const char *class_name);
/* Takes the object out of the box and closes it; NULL if it was closed. */
void *oai_box_take(lua_State *L, int i, const char *class_name);
/* Counts live C objects a class, for core.live(). */
void oai_live(lua_State *L, const char *class_name, int by);
/* Pushes nil, message and { kind, code, message }; returns 3. */
int oai_push_error(lua_State *L, const char *kind, const char *code,
                   const char *message);
/* Creates the metatable of a class: its methods, __gc and __close = close,
 * __tostring, __index. */
void oai_class(lua_State *L, const char *class_name, const luaL_Reg *methods,
               lua_CFunction close);

/* Each adds its functions to the module table on the top of the stack. */
void oai_open_clock(lua_State *L);
void oai_open_engine(lua_State *L);
void oai_open_session(lua_State *L);
void oai_open_exchange(lua_State *L);
void oai_open_reply(lua_State *L);
void oai_open_sse(lua_State *L);
void oai_open_timer(lua_State *L);
void oai_open_either(lua_State *L);
void oai_open_limit(lua_State *L);
void oai_open_json(lua_State *L);
void oai_open_listen(lua_State *L);
void oai_open_conn(lua_State *L);
void oai_open_regex(lua_State *L);
void oai_open_file(lua_State *L);
void oai_open_bpe(lua_State *L);
void oai_open_websocket(lua_State *L);

#endif
