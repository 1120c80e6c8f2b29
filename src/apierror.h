/* apierror: what a provider says when it refuses, read into a failure. Every
 * wire shares it: the shapes differ less by API than by server. Level 1: knows
 * failure and scan. */
#ifndef OAI_APIERROR_H
#define OAI_APIERROR_H

#include "failure.h"

/* Reads an error answer: {"error": object | string | …}, {"detail": …},
 * {"message": …}, an array of them, plain text or HTML. status is the HTTP
 * status, or 200 for an error said in a stream or a 200 body. The key is
 * masked wherever the text repeats it. Fills all of *f; never fails. */
void oai_apierror_read(oai_failure *f, int status, oai_slice text,
                       oai_slice key);
/* Reads the value of an `error` member alone. */
void oai_apierror_value(oai_failure *f, int status, oai_slice json,
                        oai_slice key);

#endif
