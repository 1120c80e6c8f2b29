/* delta: the reply being assembled: choices with their text, reasoning,
 * refusal and tool calls; usage, ids, the wire's own items where the answer is
 * a list of them, and the fields no wire knows. Level 2: knows buf, scan and
 * utf8; knows no wire, no HTTP, no Lua.
 *
 * A wire reads one event and calls the add functions; what a consumer may want
 * to see of it (a piece of text, a fragment of a call) is queued as an op. Ops
 * point into the assembled buffers, so that nothing is copied twice. */
#ifndef OAI_DELTA_H
#define OAI_DELTA_H

#include "buf.h"
#include "scan.h"

typedef enum oai_status {
  OAI_OK,
  OAI_ERR_NOMEM,
  OAI_ERR_TOO_MANY, /* choices or tool calls */
  OAI_ERR_FIELDS    /* fields that nobody knows */
} oai_status;

/* Text that arrives as JSON strings; a surrogate pair may be split. */
typedef struct oai_text {
  oai_buf buf;
  unsigned high;
} oai_text;

/* A field no wire knows: JSON bytes kept for raw(). Scalars: the last value.
 * Arrays and objects: all values, joined by commas. */
typedef struct oai_extra {
  oai_buf key, json;
  int scope; /* oai_scope */
  bool list; /* json holds a comma-separated list of values */
  struct oai_extra *next;
} oai_extra;

typedef struct oai_call {
  bool has_index;
  double index; /* as the server numbers it: any number */
  oai_text id, name, arguments;
  oai_extra *extras;
  bool done; /* its last op was queued */
} oai_call;

/* Where a choice's reasoning came from: the field to send back. */
typedef enum oai_reasoning_field {
  OAI_REASONING_NONE,
  OAI_REASONING_CONTENT, /* reasoning_content */
  OAI_REASONING,         /* reasoning */
  OAI_REASONING_TEXT,    /* reasoning_text */
  OAI_REASONING_DETAILS, /* reasoning_details[].text */
  OAI_REASONING_PARTS,   /* content parts of type thinking */
  OAI_REASONING_SUMMARY, /* summaries of reasoning items */
  OAI_REASONING_ITEM     /* the text of reasoning items */
} oai_reasoning_field;

typedef struct oai_choice {
  long index;
  oai_text text, reasoning, refusal;
  oai_reasoning_field reasoning_field;
  oai_buf finish; /* finish_reason; empty: none yet */
  oai_call *calls;
  size_t ncalls, current;
  oai_extra *extras; /* of the choice and of its message */
} oai_choice;

typedef enum oai_op_kind {
  OAI_OP_TEXT,
  OAI_OP_REASONING,
  OAI_OP_REFUSAL,
  OAI_OP_CALL,      /* a fragment of a call's arguments (may be empty) */
  OAI_OP_CALL_DONE, /* the call is whole */
  OAI_OP_USAGE,
  OAI_OP_FINISH,
  OAI_OP_PROGRESS /* what a tool that the server runs is doing: JSON in notes */
} oai_op_kind;

typedef struct oai_op {
  oai_op_kind kind;
  unsigned choice; /* position in choices, not its index */
  unsigned call;   /* position in calls */
  size_t at, n;    /* bytes in the text, reasoning, refusal or arguments */
} oai_op;

/* A piece of an answer that the wire has as a list: the JSON to send back. */
typedef struct oai_item {
  double index;     /* as the server numbers it */
  oai_buf json;     /* empty: begun, not whole */
  oai_buf head;     /* how it began; the wire makes json of it and of grown */
  oai_extra *grown; /* members that come in pieces */
  int what;         /* the wire's own mark */
} oai_item;

typedef enum oai_scope {
  OAI_IN_REPLY,
  OAI_IN_CHOICE,
  OAI_IN_MESSAGE,
  OAI_IN_CALL,
  OAI_IN_FUNCTION
} oai_scope;

typedef struct oai_delta {
  oai_choice *choices;
  size_t nchoices, max_calls, ncalls;
  oai_buf id, model, usage; /* usage: JSON of the last one that was not null */
  oai_extra *extras;
  oai_item *items;
  size_t nitems;
  bool opaque;     /* what items say cannot be said in the neutral fields */
  oai_buf whole;   /* the wire's own object of the answer, where it is sent */
  oai_buf notes;   /* of OAI_OP_PROGRESS */
  double sequence; /* number of the last event that has one; -1: none */
  double resumed;  /* the events up to this number were read before; -1: none */
  oai_op *ops;
  size_t nops, next_op, ops_cap;
} oai_delta;

enum { OAI_CHOICES_MAX = 128, OAI_EXTRAS_MAX = 1000, OAI_ITEMS_MAX = 1000 };

void oai_delta_init(oai_delta *d, size_t max_calls);
void oai_delta_free(oai_delta *d);

/* The choice with this index, made when new. Pointers into choices and calls
 * last until the next choice or call is made. */
oai_status oai_delta_choice(oai_delta *d, long index, oai_choice **out);
/* Appends a JSON string to one of the choice's texts, and queues an op when
 * that made characters. */
oai_status oai_delta_text(oai_delta *d, oai_choice *c, oai_op_kind which,
                          const oai_scan_str *str);
/* The call a fragment belongs to: by id first, by index second, else the
 * current one; made when new. id may be NULL, index is ignored unless given. */
oai_status oai_delta_call(oai_delta *d, oai_choice *c, const oai_scan_str *id,
                          bool has_index, double index, oai_call **out);
oai_status oai_delta_call_name(oai_call *call, const oai_scan_str *name);
/* Appends a piece of the arguments: a JSON string's text, or (raw) the JSON of
 * a server that sends an object. */
oai_status oai_delta_call_arguments(oai_delta *d, oai_choice *c, oai_call *call,
                                    const oai_scan_str *str,
                                    const oai_slice *raw);
oai_status oai_delta_finish(oai_delta *d, oai_choice *c,
                            const oai_scan_str *reason);
oai_status oai_delta_usage(oai_delta *d, oai_slice json);
/* Keeps a field nobody knows. */
oai_status oai_delta_extra(oai_extra **list, oai_scope scope,
                           const oai_scan_str *key, oai_slice json);
/* Appends to a member that comes in pieces; `between` stands before each but
 * the first. */
oai_status oai_delta_grow(oai_extra **list, int scope, const oai_scan_str *key,
                          oai_slice piece, const char *between);
void oai_extras_free(oai_extra *list);
/* Replaces a small text (id, model) unless the new one is empty. */
oai_status oai_delta_set(oai_buf *b, const oai_scan_str *str);

/* The item with this index, made when new, in the order of the indices. Lasts
 * until the next one is made. */
oai_status oai_delta_item(oai_delta *d, double index, oai_item **out);
/* Forgets the items. */
void oai_delta_no_items(oai_delta *d);
/* Replaces a buffer by JSON as it came. */
oai_status oai_delta_keep(oai_buf *b, oai_slice json);
/* Queues what a server's tool is doing. */
oai_status oai_delta_progress(oai_delta *d, oai_slice json);

/* Takes the next op; false when there is none. */
bool oai_delta_next(oai_delta *d, oai_op *out);
/* Takes the next op too when it goes on where this one ends. */
bool oai_delta_merge(oai_delta *d, oai_op *op);
/* At least one choice began and each has its finish reason. */
bool oai_delta_finished(const oai_delta *d);
/* Lone surrogates at the very end become U+FFFD; the remaining calls are
 * reported done. */
oai_status oai_delta_end(oai_delta *d);
/* Puts the calls in order of their index; once all ops were taken. */
void oai_delta_sort(oai_delta *d);
/* A call without a name, NULL when each has one. */
const oai_call *oai_delta_unnamed(const oai_delta *d);

#endif
