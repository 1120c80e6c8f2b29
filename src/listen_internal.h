/* listen_internal: what listen.c and listen_peer.c share. */
#ifndef OAI_LISTEN_INTERNAL_H
#define OAI_LISTEN_INTERNAL_H

#include "listen.h"
#include "listen_port.h"

typedef enum oai_action_kind {
  OAI_ACT_BYTES,
  OAI_ACT_PAUSE,
  OAI_ACT_HALF_CLOSE,
  OAI_ACT_CLOSE,
  OAI_ACT_RESET
} oai_action_kind;

typedef struct oai_action {
  struct oai_action *next;
  oai_action_kind kind;
  double seconds; /* of a pause */
  oai_buf bytes;  /* to send */
  size_t at;      /* of them gone out */
  size_t piece;   /* 0: whole */
} oai_action;

/* A member of a list, or its head. */
typedef struct oai_node {
  struct oai_node *prev, *next; /* NULL: in no list */
  oai_peer *peer;
} oai_node;

struct oai_peer {
  oai_listener *listener; /* NULL once it closed */
  oai_node all, fresh, news, ready, paused;
  int fd;        /* -1 once closed */
  int interest;  /* what the port watches */
  unsigned turn; /* of the step in which oai_listener_ready gave it */
  bool accepted; /* the caller has it */
  bool orphan;   /* the caller gave it back */
  bool held, eof, eof_taken, closing, blocked;
  oai_buf in;
  oai_action *head, *tail;
  size_t pending;
  double due; /* of the pause at the head */
};

struct oai_listener {
  oai_port port;
  oai_clock_user clock;
  int fd;
  char *path;
  unsigned turn;
  double accept_due; /* 0: accepting */
  oai_node all, fresh, news, ready, paused;
};

/* A head points at itself. */
void oai_node_init(oai_node *k, oai_peer *peer);
bool oai_node_empty(const oai_node *head);
void oai_node_del(oai_node *k);
/* Moves to the end of a list. */
void oai_node_add(oai_node *head, oai_node *k);

/* On the clock of the pauses. */
double oai_listener_now(const oai_listener *l);
/* Sets the alarm; NULL: nothing. */
void oai_listener_rearm(oai_listener *l);
/* Takes over an accepted socket; closes it on failure. */
void oai_peer_adopt(oai_listener *l, int fd);
void oai_peer_free(oai_peer *p);
void oai_peer_sort(oai_peer *p); /* into the lists where its state belongs */
/* These may free an orphan. */
void oai_peer_end(oai_peer *p); /* closes; the input stays to be taken */
void oai_peer_event(oai_peer *p, int what);
void oai_peer_run(oai_peer *p);  /* one step of the queue */
void oai_peer_wake(oai_peer *p); /* its pause is over */

#endif
