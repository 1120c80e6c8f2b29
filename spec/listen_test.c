/* listen over real loopback sockets; the client is in the same thread. */
#include "../src/listen.h"
#include "support/test.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { CROWD = 1000 };

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static oai_listener *open_listener(void) {
  char message[200] = "";
  oai_listen_options o = {NULL, 0, NULL};
  oai_listener *l = oai_listener_open(&o, message, sizeof message);
  if (!CHECK(l != NULL)) exit(1);
  return l;
}

static int dial(const oai_listener *l) {
  struct sockaddr_in a;
  memset(&a, 0, sizeof a);
  a.sin_family = AF_INET;
  a.sin_port = htons((unsigned short)oai_listener_port(l));
  a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  int fd = socket(AF_INET, SOCK_STREAM, 0);
  if (fd < 0 || connect(fd, (struct sockaddr *)&a, sizeof a)) exit(1);
  fcntl(fd, F_SETFL, O_NONBLOCK);
  return fd;
}

/* Whether the listener says that there is something to do, within seconds. */
static bool due(const oai_listener *l, double seconds) {
  struct pollfd f = {oai_listener_fd(l), POLLIN, 0};
  double left = oai_listener_timeout(l);
  if (f.fd >= 0) return poll(&f, 1, (int)(seconds * 1000)) == 1;
  /* Without an fd the host ticks. */
  if (seconds > 0 && left != 0)
    poll(NULL, 0, left > 0 ? (int)(left * 1000) + 1 : 1);
  return true;
}

/* False where the platform gives no fd to look at. */
static bool has_fd(const oai_listener *l) {
  return oai_listener_fd(l) >= 0;
}

static oai_peer *meet(oai_listener *l) {
  for (int i = 0; i < 1000; i++) {
    due(l, 1);
    oai_listener_step(l);
    oai_peer *p = oai_listener_accept(l);
    if (p) return p;
  }
  exit(1);
}

/* What the client finds in its socket right now; "!" and the errno of a
 * failure, "." for an end. */
static oai_slice heard(int fd) {
  static char bytes[1 << 16];
  ssize_t n = recv(fd, bytes, sizeof bytes, 0);
  if (n > 0) return (oai_slice){bytes, (size_t)n};
  if (n == 0) return (oai_slice){".", 1};
  if (errno == EAGAIN) return (oai_slice){"", 0};
  return (oai_slice){errno == ECONNRESET ? "!reset" : "!other", 6};
}

static void say(int fd, const char *text) {
  CHECK(send(fd, text, strlen(text), MSG_NOSIGNAL) == (ssize_t)strlen(text));
}

/* Steps until the peer has input or an end. */
static oai_slice input(oai_listener *l, oai_peer *p) {
  for (int i = 0; i < 1000 && !oai_peer_input(p).n && !oai_peer_closed(p); i++)
    due(l, 0.01), oai_listener_step(l);
  return oai_peer_input(p);
}

static void pieces(oai_listener *l) {
  int fd = dial(l);
  oai_peer *p = meet(l);

  TEST("sends one piece a step, so that the client sees exact edges") {
    CHECK_EQ_INT(oai_peer_write(p, "abcdefgh", 8, 3), OAI_BUF_OK);
    CHECK_EQ_INT(oai_peer_pending(p), 8);
    const char *want[] = {"abc", "def", "gh", ""};
    for (int i = 0; i < 4; i++) {
      oai_listener_step(l);
      CHECK_EQ_STR(heard(fd), want[i]);
    }
    CHECK_EQ_INT(oai_peer_pending(p), 0);
  }
  TEST("keeps whole bytes out of the step of a piece") {
    oai_peer_write(p, "head", 4, 0);
    oai_peer_write(p, "ers", 3, 0);
    oai_peer_write(p, "xy", 2, 1);
    oai_peer_write(p, "tail", 4, 0);
    const char *want[] = {"headers", "x", "y", "tail"};
    for (int i = 0; i < 4; i++) {
      oai_listener_step(l);
      CHECK_EQ_STR(heard(fd), want[i]);
    }
  }
  TEST("is readable while there is something to do and quiet otherwise") {
    CHECK(!has_fd(l) || !due(l, 0));
    CHECK(oai_listener_timeout(l) < 0);
    oai_peer_write(p, "ab", 2, 1);
    CHECK(due(l, 0));
    CHECK_EQ_INT(oai_listener_timeout(l), 0);
    oai_listener_step(l);
    CHECK(due(l, 0));
    oai_listener_step(l);
    CHECK(!has_fd(l) || !due(l, 0));
    CHECK_EQ_STR(heard(fd), "ab");
  }
  TEST("stays readable until the caller has taken what came in") {
    say(fd, "hello");
    CHECK_EQ_STR(input(l, p), "hello");
    oai_listener_step(l);
    CHECK(due(l, 0));
    CHECK(oai_listener_ready(l) == p);
    CHECK(oai_listener_ready(l) == NULL);
    CHECK(oai_peer_taken(p));
    CHECK(!has_fd(l) || !due(l, 0));
    oai_listener_step(l);
    CHECK(oai_listener_ready(l) == NULL);
    CHECK(oai_peer_taken(p));
  }
  TEST("sends a long body in single bytes quickly") {
    enum { N = 50000 };
    static char body[N];
    memset(body, 'x', N);
    size_t got = 0, steps = 0;
    oai_peer_write(p, body, N, 1);
    for (; got < N && steps < 2 * N; steps++) {
      oai_listener_step(l);
      got += heard(fd).n;
    }
    CHECK_EQ_INT(got, N);
    CHECK_EQ_INT(steps, N);
  }
  close(fd);
  oai_peer_release(p);
}

static void times(oai_listener *l) {
  int fd = dial(l), other = dial(l);
  oai_peer *p = meet(l), *q = meet(l);

  TEST("pauses one peer, not another, and wakes by its fd") {
    double start = now();
    oai_peer_write(p, "a", 1, 0);
    oai_peer_pause(p, 0.05);
    oai_peer_write(p, "b", 1, 0);
    oai_peer_pause(q, 0.02);
    oai_peer_write(q, "c", 1, 0);
    oai_listener_step(l);
    CHECK_EQ_STR(heard(fd), "a");
    CHECK(oai_listener_timeout(l) > 0.001);
    CHECK(oai_listener_timeout(l) <= 0.02);
    CHECK(!has_fd(l) || !due(l, 0));
    CHECK(due(l, 1));
    oai_listener_step(l);
    CHECK(now() - start >= 0.02);
    CHECK_EQ_STR(heard(other), "c");
    CHECK_EQ_STR(heard(fd), "");
    CHECK(due(l, 1));
    oai_listener_step(l);
    CHECK(now() - start >= 0.05);
    CHECK_EQ_STR(heard(fd), "b");
    CHECK(!has_fd(l) || !due(l, 0));
  }
  TEST("ends the step at a pause of nothing") {
    oai_peer_write(p, "a", 1, 0);
    oai_peer_pause(p, 0);
    oai_peer_write(p, "b", 1, 0);
    oai_listener_step(l);
    CHECK_EQ_STR(heard(fd), "a");
    oai_listener_step(l);
    CHECK_EQ_STR(heard(fd), "b");
  }
  close(fd);
  close(other);
  oai_peer_release(p);
  oai_peer_release(q);
}

static void endings(oai_listener *l) {
  TEST("half closes: the client sees the end and is still heard") {
    int fd = dial(l);
    oai_peer *p = meet(l);
    oai_peer_write(p, "bye", 3, 0);
    oai_peer_shutdown(p);
    oai_listener_step(l);
    CHECK_EQ_STR(heard(fd), "bye");
    CHECK_EQ_STR(heard(fd), ".");
    CHECK(!oai_peer_closed(p));
    say(fd, "still here");
    CHECK_EQ_STR(input(l, p), "still here");
    oai_peer_taken(p);
    close(fd);
    CHECK_EQ_STR(input(l, p), "");
    CHECK(oai_peer_closed(p));
    oai_peer_release(p);
  }
  TEST("closes when the queue is out, and drops later input") {
    int fd = dial(l);
    oai_peer *p = meet(l);
    say(fd, "ignored");
    oai_peer_write(p, "ok", 2, 1);
    oai_peer_close(p);
    for (int i = 0; i < 3; i++) oai_listener_step(l);
    CHECK_EQ_STR(heard(fd), "ok");
    CHECK_EQ_STR(heard(fd), ".");
    CHECK(oai_peer_closed(p));
    CHECK(oai_listener_ready(l) == NULL);
    CHECK_EQ_INT(oai_peer_write(p, "x", 1, 0), OAI_BUF_OK);
    CHECK_EQ_INT(oai_peer_pending(p), 0);
    CHECK(!has_fd(l) || !due(l, 0));
    CHECK(!oai_peer_taken(p));
    oai_peer_release(p);
    close(fd);
  }
  TEST("resets after what was queued") {
    int fd = dial(l);
    oai_peer *p = meet(l);
    oai_peer_write(p, "tok", 3, 0);
    oai_peer_reset(p);
    oai_listener_step(l);
    CHECK_EQ_STR(heard(fd), "tok");
    CHECK_EQ_STR(heard(fd), "!reset");
    oai_peer_release(p);
    close(fd);
  }
  TEST("aborts now, with output queued") {
    int fd = dial(l);
    oai_peer *p = meet(l);
    oai_peer_write(p, "never", 5, 1);
    oai_peer_abort(p);
    CHECK_EQ_STR(heard(fd), ".");
    CHECK_EQ_INT(oai_peer_pending(p), 0);
    oai_peer_release(p);
    close(fd);
  }
  TEST("sends what is queued of a peer that nobody holds, then closes") {
    int fd = dial(l);
    oai_peer *p = meet(l);
    oai_peer_write(p, "abc", 3, 1);
    oai_peer_release(p);
    for (int i = 0; i < 4; i++) oai_listener_step(l);
    CHECK_EQ_STR(heard(fd), "abc");
    CHECK_EQ_STR(heard(fd), ".");
    close(fd);
  }
  TEST("hears the reset of a client, after its last words") {
    int fd = dial(l);
    oai_peer *p = meet(l);
    struct linger hard = {1, 0};
    say(fd, "last words");
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
    CHECK_EQ_STR(input(l, p), "last words");
    close(fd);
    for (int i = 0; i < 100 && !oai_peer_closed(p); i++)
      due(l, 0.01), oai_listener_step(l);
    CHECK(oai_peer_closed(p));
    CHECK(oai_listener_ready(l) == p);
    CHECK(oai_peer_taken(p));
    CHECK(!oai_peer_taken(p));
    CHECK(!has_fd(l) || !due(l, 0));
    oai_peer_release(p);
  }
  TEST("survives writing to a client that left") {
    int fd = dial(l);
    oai_peer *p = meet(l);
    close(fd);
    for (int i = 0; i < 10; i++) {
      oai_peer_write(p, "xxxx", 4, 1);
      due(l, 0.01);
      oai_listener_step(l);
    }
    CHECK(oai_peer_closed(p));
    oai_peer_taken(p);
    CHECK(!has_fd(l) || !due(l, 0));
    oai_peer_release(p);
  }
}

static void volume(oai_listener *l) {
  int fd = dial(l);
  oai_peer *p = meet(l);
  static char block[1 << 20];

  TEST("waits for a client that does not read, without spinning") {
    size_t got = 0, total = 0;
    for (int i = 0; i < 16; i++) {
      CHECK_EQ_INT(oai_peer_write(p, block, sizeof block, 0), OAI_BUF_OK);
      total += sizeof block;
    }
    for (int i = 0; i < 1000 && due(l, 0); i++) oai_listener_step(l);
    CHECK(oai_peer_pending(p) > 0);
    CHECK(!has_fd(l) || !due(l, 0));
    while (got < total) {
      oai_slice s = heard(fd);
      got += s.n;
      if (s.n == 0) due(l, 0.1), oai_listener_step(l);
    }
    CHECK_EQ_INT(got, total);
    CHECK_EQ_INT(oai_peer_pending(p), 0);
  }
  TEST("stalls the upload of a held peer and goes on later") {
    size_t sent = 0;
    ssize_t n;
    oai_peer_hold(p, true);
    for (int i = 0; i < 1000; i++) {
      n = send(fd, block, sizeof block, MSG_NOSIGNAL);
      if (n < 0) break;
      sent += (size_t)n;
      oai_listener_step(l);
    }
    CHECK(n < 0 && errno == EAGAIN);
    CHECK_EQ_INT(oai_peer_input(p).n, 0);
    CHECK(!has_fd(l) || !due(l, 0));
    oai_peer_hold(p, false);
    for (int i = 0; i < 1000 && oai_peer_input(p).n < sent; i++)
      due(l, 0.1), oai_listener_step(l);
    CHECK_EQ_INT(oai_peer_input(p).n, sent);
    oai_peer_taken(p);
  }
  close(fd);
  oai_peer_release(p);
}

/* A thousand clients, all served piece by piece in the same steps. */
static void crowd(oai_listener *l) {
  static int fds[CROWD];
  static oai_peer *peers[CROWD];
  struct rlimit r;
  getrlimit(RLIMIT_NOFILE, &r);
  r.rlim_cur = r.rlim_max;
  setrlimit(RLIMIT_NOFILE, &r);

  TEST("serves a thousand peers fairly") {
    for (int i = 0; i < CROWD; i++) {
      fds[i] = dial(l);
      peers[i] = meet(l);
      oai_peer_write(peers[i], "abc", 3, 1);
      oai_peer_pause(peers[i], i % 7 * 0.001);
      oai_peer_close(peers[i]);
    }
    for (int i = 0; i < 1000 && due(l, 0.1) && oai_listener_timeout(l) >= 0;
         i++)
      oai_listener_step(l);
    for (int i = 0; i < CROWD; i++) {
      CHECK_EQ_STR(heard(fds[i]), "abc");
      CHECK_EQ_STR(heard(fds[i]), ".");
      close(fds[i]);
      oai_peer_release(peers[i]);
    }
  }
  TEST("finds the one that speaks among a thousand") {
    for (int i = 0; i < CROWD; i++) fds[i] = dial(l), peers[i] = meet(l);
    say(fds[777], "here");
    CHECK(due(l, 1));
    oai_listener_step(l);
    CHECK(oai_listener_ready(l) == peers[777]);
    CHECK(oai_listener_ready(l) == NULL);
    for (int i = 0; i < CROWD; i++) close(fds[i]), oai_peer_release(peers[i]);
  }
}

static void lifetimes(void) {
  TEST("leaves peers dead but usable when the listener closes first") {
    oai_listener *l = open_listener();
    int fd = dial(l), unaccepted = dial(l);
    oai_peer *p = meet(l);
    say(fd, "kept");
    CHECK_EQ_STR(input(l, p), "kept");
    oai_peer_write(p, "lost", 4, 1);
    oai_peer_pause(p, 100);
    oai_listener_close(l);
    CHECK_EQ_STR(oai_peer_input(p), "kept");
    CHECK(oai_peer_taken(p));
    CHECK(!oai_peer_taken(p));
    CHECK(oai_peer_closed(p));
    CHECK_EQ_INT(oai_peer_write(p, "x", 1, 0), OAI_BUF_OK);
    oai_peer_close(p);
    oai_peer_abort(p);
    oai_peer_hold(p, true);
    oai_peer_release(p);
    CHECK(heard(unaccepted).n > 0);
    close(fd);
    close(unaccepted);
  }
  TEST("frees orphans and the connections that nobody accepted") {
    oai_listener *l = open_listener();
    int fd = dial(l), other = dial(l);
    oai_peer *p = meet(l);
    oai_peer_pause(p, 100);
    oai_peer_write(p, "x", 1, 0);
    oai_peer_release(p);
    oai_listener_step(l);
    oai_listener_close(l);
    close(fd);
    close(other);
  }
  TEST("says why it cannot listen") {
    char message[200] = "";
    oai_listen_options o = {"nowhere.example", 0, NULL};
    CHECK(oai_listener_open(&o, message, sizeof message) == NULL);
    CHECK(strstr(message, "cannot listen at nowhere.example: ") == message);
  }
  TEST("listens at a unix socket and unlinks it") {
    char message[200] = "";
    struct sockaddr_un a;
    memset(&a, 0, sizeof a);
    a.sun_family = AF_UNIX;
    snprintf(a.sun_path, sizeof a.sun_path, "/tmp/oai_listen_test.%ld",
             (long)getpid());
    oai_listen_options o = {NULL, 0, a.sun_path};
    oai_listener *l = oai_listener_open(&o, message, sizeof message);
    if (!CHECK(l != NULL)) return;
    CHECK(oai_listener_open(&o, message, sizeof message) == NULL);
    CHECK_EQ_INT(oai_listener_port(l), 0);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    CHECK_EQ_INT(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
    fcntl(fd, F_SETFL, O_NONBLOCK);
    oai_peer *p = meet(l);
    oai_peer_write(p, "hi", 2, 0);
    oai_listener_step(l);
    CHECK_EQ_STR(heard(fd), "hi");
    oai_peer_release(p);
    oai_listener_close(l);
    CHECK(access(a.sun_path, F_OK) != 0);
    close(fd);
  }
}

/* Runs the process out of descriptors. */
static void poverty(void) {
  TEST("does not spin without descriptors, and accepts when there are some") {
    oai_listener *l = open_listener();
    struct rlimit old, low;
    int fd = dial(l);
    getrlimit(RLIMIT_NOFILE, &old);
    low = old;
    low.rlim_cur = (rlim_t)fd + 1;
    setrlimit(RLIMIT_NOFILE, &low);
    due(l, 1);
    oai_listener_step(l);
    CHECK(oai_listener_accept(l) == NULL);
    CHECK(oai_listener_timeout(l) > 0.001);
    CHECK(!has_fd(l) || !due(l, 0));
    setrlimit(RLIMIT_NOFILE, &old);
    oai_peer *p = meet(l);
    CHECK(p != NULL);
    oai_peer_release(p);
    oai_listener_close(l);
    close(fd);
  }
}

int main(void) {
  oai_listener *l = open_listener();
  CHECK(oai_listener_port(l) > 0);
  pieces(l);
  times(l);
  endings(l);
  volume(l);
  crowd(l);
  oai_listener_close(l);
  lifetimes();
  poverty();
  return test_report();
}
