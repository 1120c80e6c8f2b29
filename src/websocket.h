/* websocket: the frames of RFC 6455: reads them at any split of the bytes,
 * writes them. Level 1: knows buf and utf8; nothing of sockets, of the opening
 * handshake, or of who answers a ping. No extension is understood: a reserved
 * bit is an error. */
#ifndef OAI_WEBSOCKET_H
#define OAI_WEBSOCKET_H

#include "buf.h"

typedef enum oai_ws_kind {
  OAI_WS_NONE, /* the bytes are used up */
  OAI_WS_TEXT, /* a whole message; well-formed UTF-8 */
  OAI_WS_BINARY,
  OAI_WS_PING,
  OAI_WS_PONG,
  OAI_WS_CLOSE, /* the last one */
  OAI_WS_BROKEN /* and so it stays */
} oai_ws_kind;

typedef struct oai_ws_event {
  oai_ws_kind kind;
  oai_slice data;  /* until the next read; of a close: the reason */
  int status;      /* of a close, 1005: none was sent; of what is broken: the
                      status to close with: 1002, 1007, 1009 (7.4.1), 1011 */
  const char *why; /* of what is broken: our words */
} oai_ws_event;

typedef struct oai_ws_reader {
  oai_buf message; /* the fragments so far */
  char control[125];
  unsigned char head[14]; /* of a frame */
  unsigned char mask[4];
  size_t head_n, control_n, checked;
  unsigned long long left, done; /* bytes of the payload */
  size_t frame_max;
  int opcode;       /* of the frame */
  int message_kind; /* its first opcode; 0: no message is open */
  bool in_payload, fin, masked, from_client, over, handed;
  oai_ws_event broken;
} oai_ws_reader;

/* Caps in bytes of payload. from_client: frames must be masked, else they must
 * not be (5.1). */
void oai_ws_init(oai_ws_reader *r, bool from_client, size_t frame_max,
                 size_t message_max);
void oai_ws_free(oai_ws_reader *r);
/* Reads up to the end of a message or control frame; returns how many bytes it
 * took. What follows a close or a breach is taken and dropped. */
size_t oai_ws_read(oai_ws_reader *r, const char *p, size_t n,
                   oai_ws_event *event);

/* Appends a frame. mask: four unpredictable bytes, NULL: none. Control frames
 * longer than 125 bytes are the caller's to refuse. */
oai_buf_status oai_ws_frame(oai_buf *out, int opcode, bool fin,
                            const unsigned char *mask, const char *p, size_t n);
/* A status that may be on the wire (7.4.1 and IANA's registry). */
bool oai_ws_status_ok(int status);

#endif
