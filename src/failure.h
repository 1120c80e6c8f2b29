/* failure: the kinds, the codes and the struct that carries them from the
 * place that saw a fault to the user's `err`. Level 0: knows buf and utf8. */
#ifndef OAI_FAILURE_H
#define OAI_FAILURE_H

#include "buf.h"

/* The order is that of oai_kind_name. */
typedef enum oai_kind {
  OAI_NONE,
  OAI_AUTHENTICATION,
  OAI_PERMISSION,
  OAI_NOT_FOUND,
  OAI_INVALID_REQUEST,
  OAI_CONTEXT_LENGTH,
  OAI_CONTENT_FILTER,
  OAI_RATE_LIMIT,
  OAI_QUOTA,
  OAI_CONFLICT,
  OAI_SERVER,
  OAI_OVERLOADED,
  OAI_TIMEOUT,
  OAI_NETWORK,
  OAI_CANCELED,
  OAI_PROTOCOL,
  OAI_INCOMPLETE_STREAM,
  OAI_TOO_LARGE,
  OAI_TOOL,
  OAI_CONFIG,
  OAI_STORAGE,
  OAI_NOMEM
} oai_kind;

typedef enum oai_phase {
  OAI_PHASE_NONE,
  OAI_PHASE_CONNECT,
  OAI_PHASE_FIRST_BYTE,
  OAI_PHASE_FIRST_CONTENT,
  OAI_PHASE_CONTENT_IDLE,
  OAI_PHASE_ATTEMPT,
  OAI_PHASE_TOTAL
} oai_phase;

/* Bytes of a peer's text that may be quoted (DESIGN: cut at 300 bytes). */
enum { OAI_QUOTE_MAX = 300 };

typedef struct oai_failure {
  oai_kind kind;
  oai_phase phase; /* with OAI_TIMEOUT */
  int status;      /* HTTP status of the answer, 0 when there was none */
  bool in_band;    /* said inside a 200 answer */
  bool peer;       /* code is the peer's word, not ours */
  char code[64];   /* the peer's code, or ours (FAULTS.md) */
  char type[64];   /* the peer's error type */
  char param[64];  /* the request parameter it blames */
  /* The peer's words: masked, cut, escaped; every byte may become 4. */
  char text[OAI_QUOTE_MAX * 4 + 16];
} oai_failure;

const char *oai_kind_name(oai_kind kind);
const char *oai_phase_name(oai_phase phase); /* NULL for none */
/* By status alone: 400 413 422 invalid_request, 401 authentication, … */
oai_kind oai_kind_of_status(int status);

/* Whether trying again can help, by kind, code and status alone: connection
 * failures but tls, 408, 409, 425, 429, >= 500, a stream that broke. */
bool oai_failure_retryable(const oai_failure *f);

/* Starts a failure over. The code is copied, cut at 63 bytes. */
void oai_failure_set(oai_failure *f, oai_kind kind, const char *code);
void oai_failure_field(char *field, size_t size, const char *p, size_t n);
/* Quotes the peer: the key and anything that looks like one is masked, the
 * rest cut at OAI_QUOTE_MAX bytes between characters, control characters, C1
 * and bidirectional overrides escaped, broken UTF-8 replaced. */
void oai_failure_quote(oai_failure *f, oai_slice text, oai_slice key);

#endif
