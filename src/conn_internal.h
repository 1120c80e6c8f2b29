/* conn_internal: what the files of conn know of each other: conn.c has the
 * buffers and the states, conn_curl.c sockets, conn_child.c child processes.
 *
 * An entry from the engine ends with oai_conn_pump or oai_conn_changed, and
 * touches the conn no more: the reader may have freed it. */
#ifndef OAI_CONN_INTERNAL_H
#define OAI_CONN_INTERNAL_H

#include "conn.h"

typedef enum oai_io {
  OAI_IO_OK,
  OAI_IO_AGAIN,
  OAI_IO_END,
  OAI_IO_FAILED
} oai_io;

typedef struct oai_conn_ops {
  oai_io (*read)(oai_conn *c, char *p, size_t room, size_t *n);
  oai_io (*write)(oai_conn *c, const char *p, size_t size, size_t *n);
  void (*want)(oai_conn *c, int want); /* OAI_IN | OAI_OUT */
  bool (*shutdown)(oai_conn *c);       /* everything is out */
  /* Both directions are over, the buffers aside. False: not at once; the
   * conn is set to closed later. */
  bool (*finish)(oai_conn *c);
  void (*close)(oai_conn *c, bool canceled); /* at once */
} oai_conn_ops;

typedef struct oai_child oai_child;

/* One of the sockets that curl tries while it connects. */
typedef struct oai_conn_try {
  oai_watch watch; /* first */
  oai_conn *conn;
  struct oai_conn_try *next;
} oai_conn_try;

struct oai_conn {
  const oai_conn_ops *ops;
  oai_engine *engine;
  oai_conn_state state;
  oai_failure failure; /* kind 0: none */
  oai_buf in, out;
  size_t out_at; /* bytes of out that are sent */
  bool shut;     /* shutdown was asked for */
  bool shut_done;
  bool ended;      /* the peer's direction is over */
  bool full;       /* reading stopped at the cap */
  bool wants_room; /* a write was refused */
  bool news;       /* connected, or room */
  oai_timer wake;  /* the connect timeout; later: read on now */
  oai_watch watch; /* the socket; a child's stdout */
  void (*changed)(oai_conn *c, void *arg);
  void *arg;
  /* a socket's */
  CURLM *multi; /* of its own: see conn_curl.c */
  CURL *easy;
  oai_timer curl_timer;
  oai_conn_try *tries;
  bool tls, proxied;
  char *held; /* a TLS write that was put off: conn_curl.c */
  size_t held_n;
  char errors[CURL_ERROR_SIZE];
  /* a child's */
  oai_child *child;
  oai_watch in_watch, err_watch;
  oai_buf err;
  size_t err_max;
};

#define OAI_CONN_OF(member, pointer)                                           \
  ((oai_conn *)((char *)(pointer)-offsetof(oai_conn, member)))

oai_conn *oai_conn_new(oai_engine *e, const oai_conn_ops *ops, size_t read_cap,
                       size_t write_cap);
void oai_conn_open(oai_conn *c);
/* Moves bytes both ways as far as it goes now. */
void oai_conn_pump(oai_conn *c);
void oai_conn_changed(oai_conn *c);
/* Sets the failure and closes; the first one counts. */
void oai_conn_fail(oai_conn *c, oai_kind kind, const char *code,
                   const char *text);
void oai_conn_closed(oai_conn *c);

/* SIGPIPE is held back while a thread writes; the host's handler stays. */
typedef struct oai_sigpipe {
  bool was_pending;
  bool was_blocked;
} oai_sigpipe;
oai_sigpipe oai_sigpipe_hold(void);
void oai_sigpipe_release(oai_sigpipe held);

void oai_child_free(oai_child *child);

#endif
