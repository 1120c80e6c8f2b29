/* conn: sockets against listen.h in the same thread, and child processes. TLS
 * is conn_spec's. */
#include "../src/conn.h"
#include "../src/listen.h"
#include "../src/pollset.h"
#include "support/test.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MUCH = 10 * 1024 * 1024 };

#define CHECK_TEXT(got, want) CHECK(strcmp((got), (want)) == 0)

static oai_engine *engine;
static oai_listener *listener;
static oai_peer *peer;
static bool echo;

static void serve(void) {
  if (!listener) return;
  oai_listener_step(listener);
  if (!peer) peer = oai_listener_accept(listener);
  if (!peer || !echo) return;
  oai_slice in = oai_peer_input(peer);
  if (in.n && oai_peer_pending(peer) < 200000) {
    oai_peer_write(peer, in.p, in.n, 0);
    oai_peer_taken(peer);
  }
}

static void turn(void) {
  double most = listener ? oai_listener_timeout(listener) : -1;
  if (most < 0 || most > 0.05) most = 0.05;
  oai_engine_wait(engine, most, true);
  oai_engine_step(engine, -1);
  serve();
}

/* Until the condition holds, twenty seconds at most. */
#define AWAIT(condition)                                                       \
  do {                                                                         \
    double until_ = oai_now() + 20;                                            \
    while (!(condition) && oai_now() < until_) turn();                         \
    CHECK(condition);                                                          \
  } while (0)

static void begin(const char *path) {
  char message[100] = "";
  oai_listen_options o = {NULL, 0, path};
  engine = oai_engine_new();
  listener = oai_listener_open(&o, message, sizeof message);
  CHECK_TEXT(message, "");
  oai_engine_watch(engine, oai_listener_fd(listener), true);
}

static void finish(void) {
  if (peer) oai_peer_release(peer);
  if (listener) oai_listener_close(listener);
  oai_engine_unref(engine);
  peer = NULL;
  listener = NULL;
  engine = NULL;
  echo = false;
}

static oai_conn *connect_to(int port, double timeout, size_t cap) {
  char url[64], message[200] = "";
  oai_conn_options o;
  memset(&o, 0, sizeof o);
  snprintf(url, sizeof url, "tcp://127.0.0.1:%d", port);
  o.url = url;
  o.timeout = timeout;
  o.read_cap = o.write_cap = cap;
  oai_conn *c = oai_conn_connect(engine, &o, message, sizeof message);
  if (!CHECK(c != NULL)) printf("  %s\n", message);
  return c;
}

static oai_conn *dial(size_t cap) {
  return connect_to(oai_listener_port(listener), 5, cap);
}

static bool closed(const oai_conn *c) {
  return oai_conn_state_of(c) == OAI_CONN_CLOSED;
}

static const char *code(const oai_conn *c) {
  return oai_conn_failure(c) ? oai_conn_failure(c)->code : "none";
}

static size_t sent, got;
static bool differs;

static char byte_at(size_t i) {
  return (char)(i * 31 + i / 1000);
}

static void talk(oai_conn *c, size_t piece) {
  char block[8000];
  for (; sent < MUCH; sent += piece) {
    if (piece > MUCH - sent) piece = MUCH - sent;
    for (size_t i = 0; i < piece; i++) block[i] = byte_at(sent + i);
    if (oai_conn_write(c, block, piece) != OAI_BUF_OK) break;
  }
  oai_slice s = oai_conn_read(c);
  if (s.n > 7000) s.n = 7000;
  for (size_t i = 0; i < s.n; i++) differs |= s.p[i] != byte_at(got + i);
  got += s.n;
  oai_conn_consume(c, s.n);
}

static void talk_much(oai_conn *c) {
  double until = oai_now() + 60;
  sent = got = 0;
  differs = false;
  while (got < MUCH && !closed(c) && oai_now() < until) {
    talk(c, 8000);
    turn();
  }
  CHECK_EQ_INT(got, MUCH);
  CHECK(!differs);
}

static int open_files(void) {
  int n = 0;
  DIR *d = opendir("/proc/self/fd");
  while (d && readdir(d)) n++;
  if (d) closedir(d);
  return n;
}

/* ---- sockets ------------------------------------------------------------ */

static void streams(void) {
  TEST("carries 10 MB both ways through small buffers");
  begin(NULL);
  echo = true;
  oai_conn *c = dial(16 * 1024);
  CHECK_EQ_INT(oai_conn_state_of(c), OAI_CONN_CONNECTING);
  talk_much(c);
  oai_conn_free(c);
  finish();

  TEST("stops reading at its cap and goes on when something is consumed");
  begin(NULL);
  c = dial(1000);
  AWAIT(peer != NULL);
  char *much = calloc(1, 20000000);
  oai_peer_write(peer, much, 20000000, 0);
  AWAIT(oai_conn_read(c).n == 1000);
  for (int i = 0; i < 20; i++) turn();
  CHECK_EQ_INT(oai_conn_read(c).n, 1000);
  CHECK(oai_peer_pending(peer) > 0);
  oai_conn_consume(c, 999);
  AWAIT(oai_conn_read(c).n == 1000);
  free(much);
  TEST("takes a write whole or not at all, and tells when there is room");
  char block[1000] = {0};
  CHECK_EQ_INT(oai_conn_write(c, block, 999), OAI_BUF_OK);
  CHECK_EQ_INT(oai_conn_write(c, block, 2), OAI_BUF_FULL);
  CHECK_EQ_INT(oai_conn_pending(c), 999);
  AWAIT(oai_conn_pending(c) == 0);
  CHECK(oai_conn_ready(c));
  CHECK_EQ_INT(oai_conn_write(c, block, 1000), OAI_BUF_OK);
  oai_conn_free(c);
  finish();

  TEST("connects through a unix socket");
  char path[64], url[80], message[100];
  snprintf(path, sizeof path, P_tmpdir "/conn_test.%d", (int)getpid());
  snprintf(url, sizeof url, "unix:%s", path);
  begin(path);
  echo = true;
  oai_conn_options o = {url, NULL, NULL, 5, 0, 0};
  c = oai_conn_connect(engine, &o, message, sizeof message);
  oai_conn_write(c, "hello", 5);
  AWAIT(oai_conn_read(c).n == 5);
  oai_conn_free(c);
  finish();
}

static void ends(void) {
  TEST("ends without a failure when the peer closes, after the last byte");
  begin(NULL);
  oai_conn *c = dial(0);
  AWAIT(peer != NULL);
  oai_peer_write(peer, "bye", 3, 0);
  oai_peer_close(peer);
  AWAIT(closed(c));
  CHECK_EQ_INT(oai_conn_read(c).n, 3);
  CHECK_TEXT(code(c), "none");
  CHECK_EQ_INT(oai_conn_write(c, "x", 1), OAI_BUF_OK);
  oai_conn_free(c);
  finish();

  TEST("ends its own direction alone");
  begin(NULL);
  c = dial(0);
  oai_conn_write(c, "question", 8);
  CHECK(oai_conn_shutdown(c));
  AWAIT(peer && oai_peer_closed(peer));
  CHECK_EQ_INT(oai_peer_input(peer).n, 8);
  CHECK_EQ_INT(oai_conn_state_of(c), OAI_CONN_OPEN);
  oai_peer_write(peer, "answer", 6, 0);
  oai_peer_close(peer);
  AWAIT(closed(c));
  CHECK_EQ_INT(oai_conn_read(c).n, 6);
  oai_conn_free(c);
  finish();

  TEST("sends what is queued to a peer that has closed its direction");
  begin(NULL);
  c = dial(0);
  AWAIT(peer && oai_conn_state_of(c) == OAI_CONN_OPEN);
  oai_peer_shutdown(peer);
  oai_conn_write(c, "late", 4);
  AWAIT(closed(c) && oai_peer_input(peer).n == 4);
  oai_conn_free(c);
  finish();

  TEST("says that the peer reset the connection");
  begin(NULL);
  c = dial(0);
  AWAIT(peer != NULL && oai_conn_state_of(c) == OAI_CONN_OPEN);
  oai_peer_reset(peer);
  AWAIT(closed(c));
  CHECK_TEXT(code(c), "connection_reset");
  oai_conn_free(c);
  finish();
}

static void refusals(void) {
  TEST("says that nobody listens");
  begin(NULL);
  int port = oai_listener_port(listener);
  oai_listener_close(listener);
  listener = NULL;
  oai_conn *c = connect_to(port, 5, 0);
  AWAIT(closed(c));
  CHECK_TEXT(code(c), "connect");
  oai_conn_free(c);
  TEST("says that a name has no address");
  char message[200];
  oai_conn_options o = {"tcp://nowhere.invalid:1", NULL, NULL, 10, 0, 0};
  c = oai_conn_connect(engine, &o, message, sizeof message);
  AWAIT(closed(c));
  CHECK_TEXT(code(c), "dns");
  oai_conn_free(c);

  TEST("gives up connecting at its deadline");
  struct sockaddr_in a = {0};
  socklen_t n = sizeof a;
  int fd = socket(AF_INET, SOCK_STREAM, 0), full[3];
  a.sin_family = AF_INET;
  a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  CHECK(bind(fd, (struct sockaddr *)&a, n) == 0 && listen(fd, 0) == 0);
  getsockname(fd, (struct sockaddr *)&a, &n);
  for (int i = 0; i < 3; i++) {
    full[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    connect(full[i], (struct sockaddr *)&a, n);
  }
  double start = oai_now();
  c = connect_to(ntohs(a.sin_port), 0.2, 0);
  AWAIT(closed(c));
  CHECK_TEXT(code(c), "timeout");
  CHECK(oai_conn_failure(c)->kind == OAI_TIMEOUT &&
        oai_conn_failure(c)->phase == OAI_PHASE_CONNECT);
  CHECK(oai_now() - start >= 0.2 && oai_now() - start < 5);
  oai_conn_free(c);
  for (int i = 0; i < 3; i++) close(full[i]);
  close(fd);

  TEST("refuses what is no address");
  static const char *const bad[] = {
      "http://a:1",      "tcp://a",        "tcp://:1",
      "tcp://a:",        "tcp://a:0",      "tcp://a:65536",
      "tcp://a:1/x",     "tcp://u@a:1",    "tcp://a b:1",
      "tcp://[::1:1",    "tcp://a\r\nb:1", "tcp://a:1:2",
      "tcp://[::1]x]:1", "unix:a",         ""};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    o.url = bad[i];
    c = oai_conn_connect(engine, &o, message, sizeof message);
    if (!CHECK(c == NULL)) printf("  %s\n", bad[i]);
    oai_conn_free(c);
  }
  finish();
}

static void cancels(void) {
  TEST("cancels at once in every state, and gives its files back");
  begin(NULL);
  oai_conn *c = connect_to(oai_listener_port(listener), 5, 0);
  oai_conn_free(c); /* never stepped */
  int files = open_files();
  c = dial(0);
  oai_conn_cancel(c);
  CHECK_TEXT(code(c), "canceled");
  CHECK_EQ_INT(open_files(), files);
  oai_conn_free(c);
  c = dial(0);
  AWAIT(peer && oai_conn_state_of(c) == OAI_CONN_OPEN);
  oai_peer_write(peer, "kept", 4, 0);
  AWAIT(oai_conn_read(c).n == 4);
  oai_conn_cancel(c);
  oai_conn_cancel(c);
  CHECK_TEXT(code(c), "canceled");
  CHECK_EQ_INT(oai_conn_read(c).n, 4);
  oai_conn_consume(c, 4);
  AWAIT(oai_peer_closed(peer));
  oai_conn_free(c);
  oai_conn_options o = {"tcp://localhost:1", NULL, NULL, 10, 0, 0};
  char message[200];
  c = oai_conn_connect(engine, &o, message, sizeof message);
  oai_engine_step(engine, -1); /* in name resolution */
  oai_conn_free(c);
  finish();
}

static void free_it(oai_conn *c, void *arg) {
  *(int *)arg += 1;
  oai_conn_free(c);
}

static void freed_within(void) {
  TEST("may be freed by its own news");
  int calls = 0;
  begin(NULL);
  oai_conn *c = dial(0);
  oai_conn_on_change(c, free_it, &calls);
  AWAIT(calls == 1);
  c = connect_to(1, 5, 0);
  oai_conn_on_change(c, free_it, &calls);
  AWAIT(calls == 2);
  finish();
}

static void two_at_once(void) {
  TEST("keeps an idle one with unread input while others connect");
  begin(NULL);
  oai_conn *c = dial(4);
  AWAIT(peer && oai_conn_state_of(c) == OAI_CONN_OPEN);
  oai_peer *first = peer;
  oai_peer_write(first, "12345678", 8, 0);
  AWAIT(oai_conn_read(c).n == 4);
  double until = oai_now() + 1.2; /* curl prunes once a second */
  while (oai_now() < until) turn();
  peer = NULL;
  oai_conn *other = dial(0);
  AWAIT(peer && oai_conn_state_of(other) == OAI_CONN_OPEN);
  oai_conn_consume(c, 4);
  AWAIT(oai_conn_read(c).n == 4);
  CHECK_EQ_INT(memcmp(oai_conn_read(c).p, "5678", 4), 0);
  CHECK_TEXT(code(c), "none");
  oai_conn_free(c);
  oai_conn_free(other);
  oai_peer_release(first);
  finish();
}

/* ---- children ----------------------------------------------------------- */

static oai_conn *shell(const char *script, double grace, size_t cap) {
  char message[200] = "";
  const char *argv[] = {"sh", "-c", script, NULL};
  oai_spawn_options o;
  memset(&o, 0, sizeof o);
  o.argv = argv;
  o.grace = grace;
  o.read_cap = o.write_cap = cap;
  o.stderr_cap = 1000;
  oai_conn *c = oai_conn_spawn(engine, &o, message, sizeof message);
  if (!CHECK(c != NULL)) printf("  %s\n", message);
  return c;
}

static int status_of(const oai_conn *c) {
  int status = 9999;
  oai_conn_exit_status(c, &status);
  return status;
}

static bool no_children(void) {
  return waitpid(-1, NULL, WNOHANG) < 0 && errno == ECHILD;
}

static void children(void) {
  oai_conn *c = shell("exec cat", 0, 16 * 1024);
  TEST("carries 10 MB through a child");
  talk_much(c);
  TEST("a child's end of input is its shutdown; then it is reaped");
  CHECK(oai_conn_shutdown(c));
  AWAIT(closed(c));
  CHECK_TEXT(code(c), "none");
  CHECK_EQ_INT(status_of(c), 0);
  oai_conn_free(c);

  TEST("tells how a child died, after its last words");
  c = shell("echo out; echo why >&2; exit 3", 0, 0);
  AWAIT(closed(c));
  CHECK_EQ_INT(oai_conn_read(c).n, 4);
  CHECK_EQ_INT(oai_conn_stderr(c).n, 4);
  CHECK_TEXT(code(c), "connection_closed");
  CHECK_EQ_INT(status_of(c), 3);
  oai_conn_free(c);
  c = shell("kill -9 $$", 0, 0);
  AWAIT(closed(c));
  CHECK_EQ_INT(status_of(c), -9);
  oai_conn_free(c);

  TEST("a write to a child that is gone raises no SIGPIPE");
  c = shell("exec <&-; echo ready; sleep 0.2; echo more", 0, 0);
  AWAIT(oai_conn_read(c).n == 6);
  oai_conn_write(c, "x", 1);
  AWAIT(closed(c));
  CHECK_EQ_INT(oai_conn_read(c).n, 11);
  oai_conn_free(c);

  TEST("ends a child that ignores SIGTERM");
  c = shell("trap '' TERM; echo ready; while :; do sleep 0.05; done", 0.1, 0);
  AWAIT(oai_conn_read(c).n == 6);
  oai_conn_cancel(c);
  CHECK_TEXT(code(c), "canceled");
  AWAIT(status_of(c) != 9999);
  CHECK_EQ_INT(status_of(c), -9);
  oai_conn_free(c);

  TEST("keeps the last bytes of an endless stderr, and stays alive");
  c = shell("(yes >&2)& echo $!; read x; kill %1; echo end", 0.5, 0);
  AWAIT(oai_conn_stderr(c).n == 1000);
  oai_conn_write(c, "\n", 1);
  AWAIT(closed(c));
  CHECK_EQ_INT(oai_conn_stderr(c).n, 1000);
  oai_conn_free(c);
  AWAIT(no_children());
}

static void many(void) {
  TEST("starts and ends 100 children, and leaves no file and no zombie");
  int files = open_files(), before = 0;
  for (int i = 0; i < 100; i++) {
    oai_conn *c = shell("exec cat", 0, 0);
    if (i % 2) oai_conn_write(c, "x", 1);
    if (i % 4 == 1) AWAIT(oai_conn_read(c).n == 1);
    if (i % 5 == 0) oai_conn_cancel(c);
    oai_conn_free(c);
    if (i == 0) before = open_files();
  }
  CHECK_EQ_INT(open_files(), before);
  CHECK_EQ_INT(open_files(), files);
  AWAIT(no_children());

  TEST("leaves other children to their own parents");
  pid_t pid = fork();
  if (pid == 0) _exit(7);
  oai_conn *c = shell("exit 0", 0, 0);
  AWAIT(closed(c));
  oai_conn_free(c);
  int status = 0;
  CHECK_EQ_INT(waitpid(pid, &status, 0), pid);
  CHECK_EQ_INT(WEXITSTATUS(status), 7);

  TEST("an engine that goes away takes its children along");
  c = shell("trap '' TERM; while :; do sleep 0.05; done", 60, 0);
  oai_conn_free(c);
  oai_engine_unref(engine);
  CHECK(no_children());
  engine = oai_engine_new();

  TEST("says why a program cannot be started");
  char message[200] = "";
  const char *argv[] = {"/nonexistent/program", NULL};
  oai_spawn_options o;
  memset(&o, 0, sizeof o);
  o.argv = argv;
  CHECK(oai_conn_spawn(engine, &o, message, sizeof message) == NULL);
  CHECK(strstr(message, "/nonexistent/program") != NULL);
  CHECK_EQ_INT(open_files(), files);
  TEST("gives a child its folder, its environment and no other file");
  const char *show[] = {"sh", "-c", "pwd; echo $A; ls /proc/self/fd | wc -l",
                        NULL};
  const char *env[] = {"A=b", "PATH=/usr/bin:/bin", NULL};
  o.argv = show;
  o.env = env;
  o.cwd = "/";
  int leak = dup(1); /* a file of the host that has no FD_CLOEXEC */
  c = oai_conn_spawn(engine, &o, message, sizeof message);
  AWAIT(closed(c));
  oai_slice said = oai_conn_read(c);
  CHECK(said.n == 6 && memcmp(said.p, "/\nb\n4\n", 6) == 0); /* 3: ls's own */
  oai_conn_free(c);
  close(leak);
}

int main(void) {
  curl_global_init(CURL_GLOBAL_DEFAULT);
  streams();
  ends();
  refusals();
  cancels();
  freed_within();
  two_at_once();
  engine = oai_engine_new();
  children();
  many();
  oai_engine_unref(engine);
  curl_global_cleanup();
  return test_report();
}
