/* file: what a journal asks of the file system: positioned reads and writes,
 * locks, syncs, renames that last. Level 0: knows POSIX; nothing of journals.
 *
 * A call returns 0 or an errno. Files are private (0600), directories too
 * (0700); a symbolic link or anything but a regular file in place of a file is
 * refused; nothing is inherited by a child that execs. On Windows every call
 * returns ENOSYS. */
#ifndef OAI_FILE_H
#define OAI_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct oai_file oai_file;
typedef struct oai_dir oai_dir;

typedef enum oai_file_mode {
  OAI_FILE_READ,
  OAI_FILE_WRITE,  /* and read; it must be there */
  OAI_FILE_CREATE, /* as write; it must not be there */
  OAI_FILE_ENSURE  /* as write, there or not */
} oai_file_mode;

typedef struct oai_file_facts {
  uint64_t size;
  unsigned mode;    /* permissions */
  const char *kind; /* "file" "directory" "link" "other" */
} oai_file_facts;

/* Beside the errnos: something else stands in place of the file. */
enum { OAI_FILE_ODD = -1 };

int oai_file_open(oai_file **out, const char *path, oai_file_mode mode);
void oai_file_close(oai_file *f);
/* *got is less than n at the end of the file only. */
int oai_file_read(oai_file *f, uint64_t at, char *p, size_t n, size_t *got);
/* On a failure any part may have been written. */
int oai_file_write(oai_file *f, uint64_t at, const char *p, size_t n);
int oai_file_size(oai_file *f, uint64_t *size);
int oai_file_truncate(oai_file *f, uint64_t size);
/* The data and the size are on the disk. */
int oai_file_sync(oai_file *f);
/* flock, shared or exclusive; EWOULDBLOCK when it is not free for `seconds`.
 * It ends with the last close, so also with the process. */
int oai_file_lock(oai_file *f, bool exclusive, double seconds);
/* Whether the path still leads to this very file. */
int oai_file_same(oai_file *f, const char *path, bool *same);

int oai_file_stat(const char *path,
                  oai_file_facts *facts); /* no link followed */
int oai_file_rename(const char *from, const char *to);
int oai_file_remove(const char *path);
int oai_file_make_dir(const char *path); /* EEXIST: a directory is there */
/* Names made, changed and removed in it are on the disk. */
int oai_file_sync_dir(const char *path);

int oai_dir_open(oai_dir **out, const char *path);
const char *oai_dir_next(oai_dir *d); /* NULL: no more; . and .. are left out */
void oai_dir_close(oai_dir *d);

double oai_file_time(void); /* Unix seconds */
/* "ENOSPC" of an errno; "E<number>" is written to room for the rarer ones. */
const char *oai_file_code(int error, char room[16]);
const char *oai_file_reason(int error);
/* CRC-32 as in zlib (ISO 3309). */
uint32_t oai_crc32(const char *p, size_t n);

#endif
