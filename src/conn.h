/* conn: a plain byte stream on the engine: a socket that curl resolves,
 * connects and encrypts, or the pipes of a child process. Level 2: knows
 * engine, buf, failure and curl; no Lua, and nothing of what the bytes mean.
 *
 * Nothing here blocks. Bytes arrive while the engine steps, up to a cap: then
 * reading stops until some are consumed, so that the peer has to wait. */
#ifndef OAI_CONN_H
#define OAI_CONN_H

#include "buf.h"
#include "engine.h"
#include "failure.h"

typedef struct oai_conn oai_conn;

typedef enum oai_conn_state {
  OAI_CONN_CONNECTING,
  OAI_CONN_OPEN,
  OAI_CONN_CLOSED
} oai_conn_state;

typedef struct oai_conn_options {
  const char *url;     /* tcp://host:port · tls://host:port · unix:/path */
  const char *ca_file; /* NULL: curl's */
  const char *proxy;   /* NULL: none; the environment is not asked */
  double timeout;      /* seconds to connect, TLS included; 0: 10 */
  size_t read_cap;     /* bytes; 0: 256 kB */
  size_t write_cap;    /* bytes; 0: 1 MB */
} oai_conn_options;

typedef struct oai_spawn_options {
  const char *const *argv; /* ends with NULL; argv[0] is sought in PATH */
  const char *const *env;  /* "NAME=value" …, NULL; NULL: the host's */
  const char *cwd;         /* NULL: the host's */
  size_t read_cap, write_cap;
  size_t stderr_cap; /* the last bytes of stderr that are kept; 0: 64 kB */
  double grace; /* seconds from the end of stdin to SIGTERM, and from there to
                   SIGKILL; 0: 2 */
} oai_spawn_options;

/* NULL with a sentence in message: the options are wrong, no memory, or the
 * program cannot be started. The options need not outlive the call. */
oai_conn *oai_conn_connect(oai_engine *e, const oai_conn_options *options,
                           char *message, size_t size);
oai_conn *oai_conn_spawn(oai_engine *e, const oai_spawn_options *options,
                         char *message, size_t size);
/* changed is called from step when there is news for the reader or room for the
 * writer; it may free the conn. */
void oai_conn_on_change(oai_conn *c, void (*changed)(oai_conn *c, void *arg),
                        void *arg);

oai_conn_state oai_conn_state_of(const oai_conn *c);
/* Why it closed; NULL: it has not, or it ended as it should. */
const oai_failure *oai_conn_failure(const oai_conn *c);
/* There are bytes, the end, a connection nobody has heard of, or room again
 * after OAI_BUF_FULL. */
bool oai_conn_ready(const oai_conn *c);

/* Queues all bytes or, with OAI_BUF_FULL, none. What is written to a closed
 * conn, or after shutdown, is dropped. */
oai_buf_status oai_conn_write(oai_conn *c, const char *p, size_t n);
/* Ends our direction once what is queued is out. False: TLS has none. */
bool oai_conn_shutdown(oai_conn *c);
size_t oai_conn_pending(const oai_conn *c); /* bytes queued */
/* What has arrived, until the next step or consume. */
oai_slice oai_conn_read(oai_conn *c);
void oai_conn_consume(oai_conn *c, size_t n);

/* A child's: the last bytes of its stderr; whether it has been reaped, then its
 * exit status, or minus the signal that ended it. An end of its stdout closes
 * its stdin and, after the grace, ends the child: CLOSED means reaped. */
oai_slice oai_conn_stderr(oai_conn *c);
bool oai_conn_exit_status(const oai_conn *c, int *status);

/* Closes at once, with the failure "canceled"; a child gets SIGTERM, after the
 * grace SIGKILL. Keeps what has arrived. */
void oai_conn_cancel(oai_conn *c);
/* Closes without a failure and frees. A child that has not ended is ended in
 * its grace by the engine; when the engine goes first, by SIGKILL. */
void oai_conn_free(oai_conn *c);

#endif
