/* bpe_internal: an encoder, between the files that load it, split a text into
 * words and merge the bytes of a word. */
#ifndef OAI_BPE_INTERNAL_H
#define OAI_BPE_INTERNAL_H

#include "bpe.h"
#include "unicode_class.h"

#define OAI_BPE_NONE UINT32_MAX

/* Open addressing, at most half full; n = 0: free. */
typedef struct oai_bpe_slot {
  uint32_t tag; /* the upper half of the hash */
  uint32_t rank;
  uint32_t at : 24, n : 8; /* in the pool */
} oai_bpe_slot;

/* The length in bytes of the word that a text begins with; n > 0. */
typedef size_t oai_bpe_split(const oai_classes *c, const unsigned char *p,
                             const unsigned char *end);

struct oai_bpe {
  oai_classes classes;
  oai_bpe_split *split;
  oai_bpe_slot *slots; /* NULL: it estimates */
  size_t mask;         /* number of slots - 1 */
  char *pool;          /* the bytes of all tokens */
  size_t pool_n;
  size_t longest; /* bytes of the longest token */
  uint32_t byte[256];
  uint32_t *pair; /* [first * 256 + second]: most look-ups are of two bytes */
};

oai_bpe_split oai_bpe_split_cl100k, oai_bpe_split_o200k;

uint64_t oai_bpe_hash(const char *p, size_t n);
/* The rank of a token | OAI_BPE_NONE. */
uint32_t oai_bpe_rank(const oai_bpe *b, const char *p, size_t n);
/* Fills the tables from a file; false with a message, empty when memory ran
 * out. */
bool oai_bpe_load(oai_bpe *b, const char *file, size_t n,
                  char error[OAI_BPE_ERROR]);

/* Where tokens go. */
typedef struct oai_bpe_out {
  uint32_t *ids;
  size_t room, n;
} oai_bpe_out;

/* Merges the bytes of a word that is no token; false: no memory. */
bool oai_bpe_merge(const oai_bpe *b, const char *p, size_t n, oai_bpe_out *out);
/* Tokens of a word, in 1/64, on the average. */
unsigned oai_bpe_guess(const oai_bpe *b, const char *p, size_t n);

#endif
