/* buf: bytes up to a cap. Level 0: knows malloc and nothing else.
 *
 * A failed append leaves the buffer as it was, so that a caller can report the
 * failure and still hand out what had arrived. */
#ifndef OAI_BUF_H
#define OAI_BUF_H

#include <stdbool.h>
#include <stddef.h>

/* Bytes owned by someone else. */
typedef struct oai_slice {
  const char *p;
  size_t n;
} oai_slice;

typedef enum oai_buf_status {
  OAI_BUF_OK,
  OAI_BUF_FULL,
  OAI_BUF_NOMEM
} oai_buf_status;

typedef struct oai_buf {
  char *p;    /* NULL while empty and never grown */
  size_t n;   /* bytes in use */
  size_t cap; /* bytes allocated */
  size_t max; /* bytes allowed */
} oai_buf;

void oai_buf_init(oai_buf *b, size_t max);
/* Frees the memory; the buffer stays usable with its cap. */
void oai_buf_free(oai_buf *b);
/* Makes room for n more bytes. */
oai_buf_status oai_buf_reserve(oai_buf *b, size_t n);
oai_buf_status oai_buf_append(oai_buf *b, const char *p, size_t n);
/* Drops the first n bytes. */
void oai_buf_consume(oai_buf *b, size_t n);
/* Overwrites the bytes before freeing them: for secrets. */
void oai_buf_wipe(oai_buf *b);
/* The same for memory that is not a buf; not optimised away. */
void oai_wipe(void *p, size_t n);
/* A malloc'ed, NUL-terminated copy | NULL. */
char *oai_copy(const char *p, size_t n);
bool oai_slice_is(oai_slice s, const char *text);

#endif
