/* file against a real directory: positions, privacy, what is refused in place
 * of a file, locks between two handles, and CRC-32's published check value. */
#include "../src/file.h"
#include "support/test.h"

#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

static char dir[] = "/tmp/oai-file-XXXXXX";

static const char *at(const char *name) {
  static char path[256];
  snprintf(path, sizeof path, "%s/%s", dir, name);
  return path;
}

static oai_file *opened(const char *name, oai_file_mode mode) {
  oai_file *f = NULL;
  CHECK_EQ_INT(oai_file_open(&f, at(name), mode), 0);
  return f;
}

static void reads(oai_file *f, uint64_t from, size_t n, const char *want,
                  size_t want_n) {
  char room[64];
  size_t got;
  CHECK_EQ_INT(oai_file_read(f, from, room, n, &got), 0);
  CHECK_EQ_MEM(room, got, want, want_n);
}

static void test_bytes(void) {
  uint64_t size;
  TEST("writes and reads at any place, and reads less at the end");
  oai_file *f = opened("bytes", OAI_FILE_CREATE);
  CHECK_EQ_INT(oai_file_write(f, 0, "hello", 5), 0);
  CHECK_EQ_INT(oai_file_write(f, 8, "there", 5), 0);
  CHECK_EQ_INT(oai_file_write(f, 1, "EL", 2), 0);
  reads(f, 0, 64, "hELlo\0\0\0there", 13);
  reads(f, 3, 2, "lo", 2);
  reads(f, 100, 5, "", 0);
  CHECK_EQ_INT(oai_file_size(f, &size), 0);
  CHECK_EQ_INT(size, 13);
  CHECK_EQ_INT(oai_file_truncate(f, 3), 0);
  CHECK_EQ_INT(oai_file_sync(f), 0);
  reads(f, 0, 64, "hEL", 3);
  oai_file_close(f);
  TEST("cannot write to what is open for reading");
  f = opened("bytes", OAI_FILE_READ);
  CHECK_EQ_INT(oai_file_write(f, 0, "x", 1), EBADF);
  oai_file_close(f);
  oai_file_close(NULL);
}

static void test_open(void) {
  oai_file *f;
  struct stat facts;
  TEST("a file is there, is not there, or either, as the mode says");
  CHECK_EQ_INT(oai_file_open(&f, at("none"), OAI_FILE_READ), ENOENT);
  CHECK(f == NULL);
  CHECK_EQ_INT(oai_file_open(&f, at("none"), OAI_FILE_WRITE), ENOENT);
  CHECK_EQ_INT(oai_file_open(&f, at("bytes"), OAI_FILE_CREATE), EEXIST);
  oai_file_close(opened("ensured", OAI_FILE_ENSURE));
  oai_file_close(opened("ensured", OAI_FILE_ENSURE));
  TEST("a new file is for its owner alone");
  CHECK_EQ_INT(stat(at("ensured"), &facts), 0);
  CHECK_EQ_INT(facts.st_mode & 0777, 0600);
  TEST("a link, a pipe and a directory are refused in place of a file");
  char target[256];
  snprintf(target, sizeof target, "%s", at("bytes"));
  CHECK_EQ_INT(symlink(target, at("link")), 0);
  CHECK_EQ_INT(mkfifo(at("pipe"), 0600), 0);
  CHECK_EQ_INT(oai_file_make_dir(at("sub")), 0);
  const char *const odd[] = {"link", "pipe", "sub"};
  for (int i = 0; i < 3; i++) {
    CHECK_EQ_INT(oai_file_open(&f, at(odd[i]), OAI_FILE_READ), OAI_FILE_ODD);
    CHECK_EQ_INT(oai_file_open(&f, at(odd[i]), OAI_FILE_WRITE), OAI_FILE_ODD);
    CHECK_EQ_INT(oai_file_open(&f, at(odd[i]), OAI_FILE_ENSURE), OAI_FILE_ODD);
    CHECK_EQ_INT(oai_file_open(&f, at(odd[i]), OAI_FILE_CREATE), EEXIST);
  }
  CHECK_EQ_CSTR(oai_file_reason(OAI_FILE_ODD), "not a regular file");
}

static void test_lock(void) {
  bool same;
  TEST("a lock holds against another handle until it is closed");
  oai_file *one = opened("bytes", OAI_FILE_WRITE);
  oai_file *two = opened("bytes", OAI_FILE_READ);
  CHECK_EQ_INT(oai_file_lock(one, true, 0), 0);
  CHECK_EQ_INT(oai_file_lock(two, false, 0), EWOULDBLOCK);
  CHECK_EQ_INT(oai_file_lock(two, true, 0.01), EWOULDBLOCK);
  TEST("a handle knows whether its path leads to it");
  CHECK_EQ_INT(oai_file_same(one, at("bytes"), &same), 0);
  CHECK(same);
  CHECK_EQ_INT(oai_file_same(one, at("ensured"), &same), 0);
  CHECK(!same);
  CHECK_EQ_INT(oai_file_same(one, at("none"), &same), 0);
  CHECK(!same);
  oai_file_close(one);
  TEST("shared locks go together");
  one = opened("bytes", OAI_FILE_READ);
  CHECK_EQ_INT(oai_file_lock(one, false, 0), 0);
  CHECK_EQ_INT(oai_file_lock(two, false, 0), 0);
  oai_file_close(one);
  oai_file_close(two);
}

static void test_names(void) {
  oai_file_facts facts;
  oai_dir *d;
  char from[256];
  int n = 0;
  TEST("a directory is made for its owner, once");
  CHECK_EQ_INT(oai_file_make_dir(at("sub")), EEXIST);
  CHECK_EQ_INT(oai_file_make_dir(at("bytes")), ENOTDIR);
  CHECK_EQ_INT(oai_file_make_dir(at("no/where")), ENOENT);
  CHECK_EQ_INT(oai_file_stat(at("sub"), &facts), 0);
  CHECK_EQ_CSTR(facts.kind, "directory");
  CHECK_EQ_INT(facts.mode, 0700);
  CHECK_EQ_INT(oai_file_stat(at("link"), &facts), 0);
  CHECK_EQ_CSTR(facts.kind, "link");
  TEST("names change, last and are listed");
  snprintf(from, sizeof from, "%s", at("ensured"));
  CHECK_EQ_INT(oai_file_rename(from, at("renamed")), 0);
  CHECK_EQ_INT(oai_file_rename(from, at("renamed")), ENOENT);
  CHECK_EQ_INT(oai_file_sync_dir(dir), 0);
  CHECK_EQ_INT(oai_file_sync_dir(at("none")), ENOENT);
  CHECK_EQ_INT(oai_dir_open(&d, at("none")), ENOENT);
  if (CHECK(oai_dir_open(&d, dir) == 0)) {
    while (oai_dir_next(d)) n++;
    oai_dir_close(d);
  }
  CHECK_EQ_INT(n, 5); /* bytes link pipe sub renamed */
  const char *const all[] = {"bytes", "link", "pipe", "renamed"};
  for (int i = 0; i < 4; i++) CHECK_EQ_INT(oai_file_remove(at(all[i])), 0);
  CHECK_EQ_INT(oai_file_remove(at("bytes")), ENOENT);
  CHECK_EQ_INT(rmdir(at("sub")), 0);
}

static void test_rest(void) {
  char room[16];
  TEST("an errno has its name, a rare one its number");
  CHECK_EQ_CSTR(oai_file_code(ENOSPC, room), "ENOSPC");
  CHECK_EQ_CSTR(oai_file_code(EIO, room), "EIO");
  CHECK_EQ_CSTR(oai_file_code(OAI_FILE_ODD, room), "ENOTREG");
  CHECK_EQ_CSTR(oai_file_code(9999, room), "E9999");
  TEST("CRC-32 has its check value (ISO 3309), and 0 of nothing");
  CHECK_EQ_INT(oai_crc32("123456789", 9), 0xcbf43926);
  CHECK_EQ_INT(oai_crc32("", 0), 0);
  CHECK_EQ_INT(oai_crc32("\0", 1), 0xd202ef8d);
  TEST("the time is this century's");
  CHECK(oai_file_time() > 1.7e9 && oai_file_time() < 4.2e9);
}

int main(void) {
  if (!mkdtemp(dir)) return 1;
  test_bytes();
  test_open();
  test_lock();
  test_names();
  test_rest();
  rmdir(dir);
  return test_report();
}
