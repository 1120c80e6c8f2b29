/* listen: a listener with one pollable fd, for the demo, the specs and
 * oaichat.testing. Level 1: knows buf and sockets; no Lua, no curl, no HTTP.
 *
 * Nothing here blocks. What a peer is to do is a queue of actions: bytes,
 * pauses and an end; oai_listener_step does what is due. The fd is readable
 * exactly while a step, an accept or a read would find something (Linux: epoll
 * and a timerfd; elsewhere there is no fd and the host ticks by the timeout).
 *
 * A listener owns its peers until oai_listener_accept hands one out; that one
 * is given back with oai_peer_release, before or after the listener closed. */
#ifndef OAI_LISTEN_H
#define OAI_LISTEN_H

#include "buf.h"
#include "clock.h"

typedef struct oai_listener oai_listener;
typedef struct oai_peer oai_peer;

typedef struct oai_listen_options {
  const char *host; /* a numeric address | "localhost"; NULL: 127.0.0.1 */
  int port;         /* 0: a free one */
  const char *path; /* not NULL: a unix socket there, unlinked at the end */
} oai_listen_options;

/* NULL with a sentence in message on failure. */
oai_listener *oai_listener_open(const oai_listen_options *options,
                                char *message, size_t size);
/* What pauses go by, from the start and for good; the system's without. */
void oai_listener_clock(oai_listener *l, oai_clock *clock);
/* Closes every connection at once; peers handed out live on, dead. */
void oai_listener_close(oai_listener *l);
int oai_listener_fd(const oai_listener *l);   /* -1: none */
int oai_listener_port(const oai_listener *l); /* 0: a unix socket */
/* Seconds until there is something to do without the network's help: 0 now, -1
 * never. */
double oai_listener_timeout(const oai_listener *l);
/* Reads, accepts, and takes each peer whose turn it is one step further. */
void oai_listener_step(oai_listener *l);
/* The next new connection | NULL. waiting: there is one. */
bool oai_listener_waiting(const oai_listener *l);
oai_peer *oai_listener_accept(oai_listener *l);
/* The next peer with input, or an end, that was not taken | NULL; each peer at
 * most once a step, so that a loop over it ends. */
oai_peer *oai_listener_ready(oai_listener *l);

/* Queues bytes; with piece > 0 they go out in pieces of that size, one a step,
 * never together with what was queued before or after. Bytes for a connection
 * that is gone are dropped. */
oai_buf_status oai_peer_write(oai_peer *p, const char *bytes, size_t n,
                              size_t piece);
/* Queues a pause; 0 seconds ends the step. */
oai_buf_status oai_peer_pause(oai_peer *p, double seconds);
oai_buf_status oai_peer_shutdown(oai_peer *p); /* queues a half close */
/* Queues the end: close drops further input, reset sends an RST (on a unix
 * socket it is a close). */
oai_buf_status oai_peer_close(oai_peer *p);
oai_buf_status oai_peer_reset(oai_peer *p);
void oai_peer_abort(oai_peer *p); /* closes now */
/* While held nothing is read, so that the client's upload stalls. */
void oai_peer_hold(oai_peer *p, bool hold);
/* Input that was not taken. */
oai_slice oai_peer_input(const oai_peer *p);
/* Takes the input. False: there was none and none will come. */
bool oai_peer_taken(oai_peer *p);
size_t oai_peer_pending(const oai_peer *p); /* bytes queued */
/* The client closed its side, or the connection is gone. */
bool oai_peer_closed(const oai_peer *p);
/* Ends the caller's ownership; what is queued still goes out, then a close. */
void oai_peer_release(oai_peer *p);

#endif
