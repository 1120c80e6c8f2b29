/* file: see file.h. What is the same on every platform is at the end. */
#include "file.h"

#include "pollset.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#ifdef _WIN32

int oai_file_open(oai_file **out, const char *path, oai_file_mode mode) {
  (void)path;
  (void)mode;
  *out = NULL;
  return ENOSYS;
}

void oai_file_close(oai_file *f) {
  (void)f;
}

int oai_file_read(oai_file *f, uint64_t at, char *p, size_t n, size_t *got) {
  (void)f;
  (void)at;
  (void)p;
  (void)n;
  *got = 0;
  return ENOSYS;
}

int oai_file_write(oai_file *f, uint64_t at, const char *p, size_t n) {
  (void)f;
  (void)at;
  (void)p;
  (void)n;
  return ENOSYS;
}

int oai_file_size(oai_file *f, uint64_t *size) {
  (void)f;
  *size = 0;
  return ENOSYS;
}

int oai_file_truncate(oai_file *f, uint64_t size) {
  (void)f;
  (void)size;
  return ENOSYS;
}

int oai_file_sync(oai_file *f) {
  (void)f;
  return ENOSYS;
}

int oai_file_lock(oai_file *f, bool exclusive, double seconds) {
  (void)f;
  (void)exclusive;
  (void)seconds;
  return ENOSYS;
}

int oai_file_same(oai_file *f, const char *path, bool *same) {
  (void)f;
  (void)path;
  *same = false;
  return ENOSYS;
}

int oai_file_stat(const char *path, oai_file_facts *facts) {
  (void)path;
  (void)facts;
  return ENOSYS;
}

int oai_file_rename(const char *from, const char *to) {
  (void)from;
  (void)to;
  return ENOSYS;
}

int oai_file_remove(const char *path) {
  (void)path;
  return ENOSYS;
}

int oai_file_make_dir(const char *path) {
  (void)path;
  return ENOSYS;
}

int oai_file_sync_dir(const char *path) {
  (void)path;
  return ENOSYS;
}

int oai_dir_open(oai_dir **out, const char *path) {
  (void)path;
  *out = NULL;
  return ENOSYS;
}

const char *oai_dir_next(oai_dir *d) {
  (void)d;
  return NULL;
}

void oai_dir_close(oai_dir *d) {
  (void)d;
}

double oai_file_time(void) {
  return (double)time(NULL);
}

#else

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

struct oai_file {
  int fd;
};

struct oai_dir {
  DIR *dir;
};

static int flags_of(oai_file_mode mode) {
  switch (mode) {
  case OAI_FILE_READ: return O_RDONLY;
  case OAI_FILE_WRITE: return O_RDWR;
  case OAI_FILE_CREATE: return O_RDWR | O_CREAT | O_EXCL;
  case OAI_FILE_ENSURE: return O_RDWR | O_CREAT;
  }
  return O_RDONLY;
}

int oai_file_open(oai_file **out, const char *path, oai_file_mode mode) {
  struct stat facts;
  *out = NULL;
  /* O_NONBLOCK: a pipe in place of the file must not hold us here */
  int flags = flags_of(mode) | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK | O_NOCTTY;
  int fd;
  do fd = open(path, flags, 0600);
  while (fd < 0 && errno == EINTR);
  if (fd < 0) {
    /* BSD says EMLINK of a link, Linux ENXIO of a socket */
    bool odd =
        errno == ELOOP || errno == EMLINK || errno == ENXIO || errno == EISDIR;
    return odd ? OAI_FILE_ODD : errno;
  }
  int error = fstat(fd, &facts) != 0 ? errno : 0;
  if (!error && !S_ISREG(facts.st_mode)) error = OAI_FILE_ODD;
  if (!error) {
    *out = malloc(sizeof **out);
    if (!*out) error = ENOMEM;
  }
  if (error) {
    close(fd);
    return error;
  }
  (*out)->fd = fd;
  return 0;
}

void oai_file_close(oai_file *f) {
  if (!f) return;
  close(f->fd);
  free(f);
}

int oai_file_read(oai_file *f, uint64_t at, char *p, size_t n, size_t *got) {
  *got = 0;
  while (*got < n) {
    ssize_t one = pread(f->fd, p + *got, n - *got, (off_t)(at + *got));
    if (one == 0) break;
    if (one > 0)
      *got += (size_t)one;
    else if (errno != EINTR)
      return errno;
  }
  return 0;
}

int oai_file_write(oai_file *f, uint64_t at, const char *p, size_t n) {
  while (n) {
    ssize_t one = pwrite(f->fd, p, n, (off_t)at);
    if (one < 0) {
      if (errno == EINTR) continue;
      return errno;
    }
    if (one == 0) return EIO;
    p += one;
    n -= (size_t)one;
    at += (uint64_t)one;
  }
  return 0;
}

int oai_file_size(oai_file *f, uint64_t *size) {
  struct stat facts;
  *size = 0;
  if (fstat(f->fd, &facts) != 0) return errno;
  *size = (uint64_t)facts.st_size;
  return 0;
}

int oai_file_truncate(oai_file *f, uint64_t size) {
  int done;
  do done = ftruncate(f->fd, (off_t)size);
  while (done != 0 && errno == EINTR);
  return done != 0 ? errno : 0;
}

static int sync_fd(int fd) {
  int done;
#ifdef F_FULLFSYNC
  /* macOS: fsync leaves the data in the drive's cache */
  if (fcntl(fd, F_FULLFSYNC) == 0) return 0;
#endif
#if defined(__linux__)
  do done = fdatasync(fd);
#else
  do done = fsync(fd);
#endif
  while (done != 0 && errno == EINTR);
  return done != 0 ? errno : 0;
}

int oai_file_sync(oai_file *f) {
  return sync_fd(f->fd);
}

int oai_file_lock(oai_file *f, bool exclusive, double seconds) {
  double end = oai_now() + seconds;
  long pause = 20000; /* nanoseconds */
  for (;;) {
    if (flock(f->fd, (exclusive ? LOCK_EX : LOCK_SH) | LOCK_NB) == 0) return 0;
    if (errno == EINTR) continue;
    if (errno != EWOULDBLOCK) return errno;
    if (oai_now() >= end) return EWOULDBLOCK;
    struct timespec t = {0, pause};
    nanosleep(&t, NULL);
    if (pause < 500000) pause += pause / 2;
  }
}

int oai_file_same(oai_file *f, const char *path, bool *same) {
  struct stat ours, theirs;
  *same = false;
  if (fstat(f->fd, &ours) != 0) return errno;
  if (lstat(path, &theirs) != 0) return errno == ENOENT ? 0 : errno;
  *same = ours.st_dev == theirs.st_dev && ours.st_ino == theirs.st_ino;
  return 0;
}

int oai_file_stat(const char *path, oai_file_facts *facts) {
  struct stat s;
  memset(facts, 0, sizeof *facts);
  if (lstat(path, &s) != 0) return errno;
  facts->size = (uint64_t)s.st_size;
  facts->mode = (unsigned)(s.st_mode & 07777);
  facts->kind = S_ISREG(s.st_mode)   ? "file"
                : S_ISDIR(s.st_mode) ? "directory"
                : S_ISLNK(s.st_mode) ? "link"
                                     : "other";
  return 0;
}

int oai_file_rename(const char *from, const char *to) {
  return rename(from, to) != 0 ? errno : 0;
}

int oai_file_remove(const char *path) {
  return unlink(path) != 0 ? errno : 0;
}

int oai_file_make_dir(const char *path) {
  struct stat facts;
  if (mkdir(path, 0700) == 0) return 0;
  int error = errno;
  /* a link to a directory is the host's own choice of a place */
  if (stat(path, &facts) == 0) return S_ISDIR(facts.st_mode) ? EEXIST : ENOTDIR;
  return error;
}

int oai_file_sync_dir(const char *path) {
  int fd;
  do fd = open(path, O_RDONLY | O_CLOEXEC | O_DIRECTORY);
  while (fd < 0 && errno == EINTR);
  if (fd < 0) return errno;
  int done;
  do done = fsync(fd);
  while (done != 0 && errno == EINTR);
  int error = done != 0 ? errno : 0;
  close(fd);
  /* some file systems cannot sync a directory: there is nothing to wait for */
  return error == EINVAL || error == ENOTSUP ? 0 : error;
}

int oai_dir_open(oai_dir **out, const char *path) {
  *out = NULL;
  oai_dir *d = malloc(sizeof *d);
  if (!d) return ENOMEM;
  d->dir = opendir(path);
  if (!d->dir) {
    int error = errno;
    free(d);
    return error;
  }
  *out = d;
  return 0;
}

const char *oai_dir_next(oai_dir *d) {
  struct dirent *one;
  do one = readdir(d->dir);
  while (one && (!strcmp(one->d_name, ".") || !strcmp(one->d_name, "..")));
  return one ? one->d_name : NULL;
}

void oai_dir_close(oai_dir *d) {
  if (!d) return;
  closedir(d->dir);
  free(d);
}

double oai_file_time(void) {
  struct timespec t;
  clock_gettime(CLOCK_REALTIME, &t);
  return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

#endif

static const struct {
  int error;
  const char *code;
} codes[] = {{OAI_FILE_ODD, "ENOTREG"},
             {ENOENT, "ENOENT"},
             {EEXIST, "EEXIST"},
             {ENOSPC, "ENOSPC"},
#ifdef EDQUOT
             {EDQUOT, "EDQUOT"},
#endif
             {EFBIG, "EFBIG"},
             {EIO, "EIO"},
             {EROFS, "EROFS"},
             {EACCES, "EACCES"},
             {EPERM, "EPERM"},
             {ENOTDIR, "ENOTDIR"},
             {EWOULDBLOCK, "EWOULDBLOCK"},
             {EMFILE, "EMFILE"},
             {ENFILE, "ENFILE"},
             {ENOMEM, "ENOMEM"},
             {ENAMETOOLONG, "ENAMETOOLONG"},
             {ENOSYS, "ENOSYS"}};

const char *oai_file_code(int error, char room[16]) {
  for (size_t i = 0; i < sizeof codes / sizeof *codes; i++)
    if (codes[i].error == error) return codes[i].code;
  snprintf(room, 16, "E%d", error);
  return room;
}

const char *oai_file_reason(int error) {
  return error == OAI_FILE_ODD ? "not a regular file" : strerror(error);
}

uint32_t oai_crc32(const char *p, size_t n) {
  static const uint32_t table[16] = {
      0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac, 0x76dc4190, 0x6b6b51f4,
      0x4db26158, 0x5005713c, 0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c,
      0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c};
  uint32_t crc = 0xffffffff;
  for (size_t i = 0; i < n; i++) {
    crc ^= (unsigned char)p[i];
    crc = (crc >> 4) ^ table[crc & 15];
    crc = (crc >> 4) ^ table[crc & 15];
  }
  return ~crc;
}
