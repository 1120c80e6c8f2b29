/* wire_anthropic_internal: what wire_anthropic.c (events, whole messages),
 * wire_anthropic_block.c (a block as it comes) and wire_anthropic_json.c (what
 * its pieces make) share. */
#ifndef OAI_WIRE_ANTHROPIC_INTERNAL_H
#define OAI_WIRE_ANTHROPIC_INTERNAL_H

#include "wire_anthropic.h"
#include "wire_read.h"

/* What a block is: oai_item.what. */
enum {
  OAI_BLOCK_UNTOLD, /* its beginning never came */
  OAI_BLOCK_TEXT,
  OAI_BLOCK_THINKING,
  OAI_BLOCK_CALL,
  OAI_BLOCK_SERVER_CALL, /* of a tool that the server runs */
  OAI_BLOCK_RESULT,      /* and what it gave */
  OAI_BLOCK_OTHER
};

/* How a member of a block grows: oai_extra.scope. */
enum {
  OAI_GROWS_STRING, /* pieces of a string, as they stand between quotes */
  OAI_GROWS_JSON,   /* the same, of a string that holds JSON */
  OAI_GROWS_LIST,   /* elements */
  OAI_GROWN_USED    /* it stands in the block */
};

/* An answer has one choice. */
oai_status oai_anthropic_choice(oai_reader *r, oai_choice **out);
/* A block begins; `event` is NULL in a whole message. */
oai_status oai_anthropic_start(oai_reader *r, double index, oai_slice block,
                               const oai_slice *event);
/* What one event brought, where the same bytes around another text would bring
 * the like again; text.p is NULL: nothing such. */
typedef struct oai_said {
  oai_scan_str text;
  oai_op_kind what; /* OAI_OP_PROGRESS: input of a tool that the server runs */
  size_t at;        /* position of the item */
} oai_said;

/* A piece of it. */
oai_status oai_anthropic_piece(oai_reader *r, double index, oai_slice delta,
                               oai_said *said);
/* Another piece like the one that was said. */
oai_status oai_anthropic_again(oai_reader *r, const oai_said *said);
/* It is whole. */
oai_status oai_anthropic_stop(oai_reader *r, oai_item *item, bool tell);
/* The same for all that are not. */
oai_status oai_anthropic_stop_all(oai_reader *r);

/* Makes item->json of how the block began and of what came. */
oai_status oai_anthropic_json(oai_reader *r, oai_item *item);
/* Whether the neutral message says all of it. */
bool oai_anthropic_plain(const oai_reader *r, const oai_item *item);
/* Appends the members of an object, but null and those of three names, to
 * one that may be empty. */
oai_status oai_anthropic_append(const oai_reader *r, oai_buf *object,
                                oai_slice more, const char *const *but);
/* A small object with the members of another in place of its own; null replaces
 * nothing. */
oai_status oai_anthropic_merge(const oai_reader *r, oai_buf *out,
                               oai_slice base, oai_slice over);

#endif
