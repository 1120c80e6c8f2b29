/* bpe: counts and encodes text with the byte-pair encodings cl100k_base and
 * o200k_base, as OpenAI's tiktoken does. The ranks are the bytes of a .tiktoken
 * file, which is not ours to ship. Level 0: knows unicode_class,
 * digest.
 *
 * Special tokens are plain text here. Text need not be UTF-8: a byte that is
 * none is a symbol of its own.
 *
 * An encoder of o200k_base takes 8 MB, of cl100k_base 4 MB (oai_bpe_size);
 * while it works, it takes up to 28 times the bytes of the longest word (a run
 * of letters, of spaces, of signs) that is no token, and frees them. */
#ifndef OAI_BPE_H
#define OAI_BPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
  OAI_BPE_FILE_MAX = 16000000, /* bytes of a file of ranks */
  OAI_BPE_TOKEN_MAX = 255,     /* bytes of a token */
  OAI_BPE_RANK_MAX = 16000000,
  OAI_BPE_ERROR = 160 /* bytes of a message */
};

typedef struct oai_bpe oai_bpe;

bool oai_bpe_known(const char *name);
/* An encoder by the name of its encoding. A NULL file: it estimates (see
 * oai_bpe_estimates). NULL: error has a sentence that names the line, empty
 * when memory ran out. */
oai_bpe *oai_bpe_new(const char *name, const char *file, size_t n,
                     char error[OAI_BPE_ERROR]);
void oai_bpe_free(oai_bpe *b);
/* There are no ranks: it counts what words of this length and script take on
 * the average. */
bool oai_bpe_estimates(const oai_bpe *b);
/* Bytes of memory it holds. */
size_t oai_bpe_size(const oai_bpe *b);
/* Counts the tokens of a text, and writes the first `room` of them into ids,
 * which may be NULL. false: no memory. */
bool oai_bpe_encode(oai_bpe *b, const char *text, size_t n, uint32_t *ids,
                    size_t room, size_t *count);

#endif
