/* form: a multipart/form-data body (RFC 7578) out of memory and files, which
 * are read while they are sent and never whole. Level 1: knows buf and curl's
 * mime; sends nothing.
 *
 * A file is opened before anything is sent, and has the size it has then: one
 * that shrinks or grows meanwhile ends the request. */
#ifndef OAI_FORM_H
#define OAI_FORM_H

#include "buf.h"

#include <curl/curl.h>

typedef struct oai_form oai_form;

/* Strings are NULL where there is none. */
typedef struct oai_form_part {
  const char *name, *filename, *type;
  const char *path;        /* the file to send; NULL: data is sent */
  curl_off_t offset, size; /* of the file; size < 0: to its end */
  oai_slice data;          /* outlives the form */
} oai_form_part;

/* NULL, with a sentence in message: a file cannot be opened or is none (*io), a
 * name cannot stand in a header, or no memory. */
oai_form *oai_form_open(const oai_form_part *parts, size_t n, char *message,
                        size_t size, bool *io);
/* Bytes of its parts, without what stands between them. */
curl_off_t oai_form_size(const oai_form *f);
/* Makes it the body of a request. moved is called with arg when bytes go out.
 * The form is freed after the transfer. False: no memory. */
bool oai_form_attach(oai_form *f, CURL *h, void (*moved)(void *arg), void *arg);
/* A file was not what it was when it was opened. */
bool oai_form_changed(const oai_form *f);
void oai_form_free(oai_form *f);

#endif
