/* mock: a chat-completions server for measurements. Linux, one thread, epoll.
 *
 *   mock [-p PORT]            0, the default: any; prints "port N" first. Ends
 *                             when what reads its output has gone.
 *   mock -e CHUNKS [-b BYTES] prints the text bytes of such an answer
 *
 * An answer is shaped by the request target, whatever is around it, as in
 * /chunks=1000,delay=0,coalesce=1/v1/chat/completions:
 *   chunks=50    content chunks
 *   delay=0      microseconds between a stream's writes
 *   coalesce=1   content chunks in one write
 *   hold=0       after so many chunks silence, until the peer leaves
 *   bytes=0      text bytes of each chunk; 0: short tokens of several kinds
 *   turns=0      answers after which the connection is closed; 0: never
 * "stream":true in the body gives server-sent events, each its own HTTP chunk;
 * otherwise the answer is one chat.completion. */
#include "answers.h"
#include "result.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <unistd.h>

enum { REQUEST_MAX = 64 << 20, BATCH = 256, TURNS_A_POLL = 64 };

enum place { NOWHERE, READY, TIMED };

struct conn {
  TAILQ_ENTRY(conn) link;
  enum place place;
  int fd;
  struct text in, out;
  size_t sent, head_n, body_n; /* head_n 0: no whole head yet */
  struct ask ask;
  long next, answers; /* next chunk, -1: the head */
  bool streaming, blocked, last;
  int64_t due;
};

TAILQ_HEAD(list, conn);
static struct list ready = TAILQ_HEAD_INITIALIZER(ready);
static struct list timed = TAILQ_HEAD_INITIALIZER(timed); /* by due */
static int poller;

static int64_t now_us(void) {
  return (int64_t)(now() * 1e6);
}

/* ---- connections ------------------------------------------------------- */

static void unlink_conn(struct conn *c) {
  if (c->place == READY) TAILQ_REMOVE(&ready, c, link);
  if (c->place == TIMED) TAILQ_REMOVE(&timed, c, link);
  c->place = NOWHERE;
}

static void make_ready(struct conn *c) {
  unlink_conn(c);
  TAILQ_INSERT_TAIL(&ready, c, link);
  c->place = READY;
}

/* Streams of one delay come in order: the search from the end is short. */
static void make_timed(struct conn *c) {
  struct conn *before = NULL;
  unlink_conn(c);
  TAILQ_FOREACH_REVERSE(before, &timed, list, link) {
    if (before->due <= c->due) break;
  }
  if (before)
    TAILQ_INSERT_AFTER(&timed, before, c, link);
  else
    TAILQ_INSERT_HEAD(&timed, c, link);
  c->place = TIMED;
}

static void drop(struct conn *c) {
  unlink_conn(c);
  close(c->fd);
  free(c->in.p);
  free(c->out.p);
  free(c);
}

/* ---- requests ---------------------------------------------------------- */

static long number(const char *target, const char *name, long least,
                   long value) {
  const char *at = strstr(target, name);
  if (at) value = strtol(at + strlen(name), NULL, 10);
  return value < least ? least : value;
}

static bool says_true(const char *p, const char *end, const char *key) {
  while ((p = memmem(p, (size_t)(end - p), key, strlen(key)))) {
    p += strlen(key);
    while (p < end && strchr(" \t\r\n:", *p)) p++;
    if (end - p >= 4 && !memcmp(p, "true", 4)) return true;
  }
  return false;
}

static void read_target(struct conn *c, char *target) {
  target[strcspn(target, " ")] = '\0';
  c->ask = (struct ask){.chunks = number(target, "chunks=", 0, 50),
                        .delay = number(target, "delay=", 0, 0),
                        .coalesce = number(target, "coalesce=", 1, 1),
                        .hold = number(target, "hold=", 0, 0),
                        .bytes = number(target, "bytes=", 0, 0),
                        .turns = number(target, "turns=", 0, 0)};
  c->last |= c->ask.turns > 0 && c->answers + 1 >= c->ask.turns;
}

static bool read_head(struct conn *c) {
  char *end = c->in.n ? memmem(c->in.p, c->in.n, "\r\n\r\n", 4) : NULL;
  if (!end) return false;
  end[2] = '\0';
  char *length = strcasestr(c->in.p, "\r\ncontent-length:");
  char *target = strchr(c->in.p, ' ');
  c->head_n = (size_t)(end - c->in.p) + 4;
  c->body_n = length ? strtoul(length + 17, NULL, 10) : 0;
  c->last = !target || strcasestr(c->in.p, "\r\nconnection: close");
  if (strcasestr(c->in.p, "\r\nexpect: 100-continue")) {
    append(&c->out, "HTTP/1.1 100 Continue\r\n\r\n", 25);
    make_ready(c);
  }
  if (target) read_target(c, target + 1);
  return true;
}

/* Begins the answer to the request that has come, if it has come whole. */
static void answer(struct conn *c) {
  if (c->streaming || (c->head_n == 0 && !read_head(c))) return;
  if (c->in.n - c->head_n < c->body_n) return;
  const char *body = c->in.p + c->head_n, *end = body + c->body_n;
  c->streaming = says_true(body, end, "\"stream\"");
  c->ask.usage = says_true(body, end, "\"include_usage\"");
  c->next = -1;
  c->answers++;
  if (!c->streaming) append_completion(&c->out, &c->ask);
  c->in.n -= c->head_n + c->body_n;
  memmove(c->in.p, end, c->in.n);
  c->head_n = 0;
  make_ready(c);
}

/* Everything that is sent is sent: what comes next? */
static void go_on(struct conn *c) {
  c->out.n = c->sent = 0;
  if (!c->streaming && c->last && c->head_n == 0) {
    drop(c);
  } else if (!c->streaming) {
    answer(c);
  } else if (c->ask.hold && c->next >= c->ask.hold) {
    return; /* silence */
  } else if (c->ask.delay == 0) {
    make_ready(c);
  } else { /* from the first gap on, streams opened together tick apart */
    bool first = c->next == 0;
    c->due = first ? now_us() + random() % c->ask.delay : c->due + c->ask.delay;
    make_timed(c);
  }
}

/* The next write of a stream. */
static void put_events(struct conn *c) {
  if (c->next < 0) append_role(&c->out, c->ask.usage);
  c->streaming = c->next < c->ask.chunks;
  if (!c->streaming) append_end(&c->out, &c->ask);
  long until = c->next < 0 ? 0 : c->next + c->ask.coalesce;
  if (c->next < 0) c->next = 0;
  for (; c->next < until && c->next < c->ask.chunks; c->next++)
    append_chunk(&c->out, c->next, &c->ask);
}

/* One write. */
static void step(struct conn *c) {
  unlink_conn(c);
  if (c->out.n == 0 && c->streaming) put_events(c);
  ssize_t n = send(c->fd, c->out.p + c->sent, c->out.n - c->sent, MSG_NOSIGNAL);
  if (n < 0) {
    c->blocked = errno == EAGAIN;
    if (!c->blocked) drop(c);
    return;
  }
  c->sent += (size_t)n;
  if (c->sent < c->out.n)
    make_ready(c);
  else
    go_on(c);
}

static void receive(struct conn *c) {
  ssize_t n;
  do {
    size_t room = c->in.n > 65536 ? c->in.n : 65536;
    reserve(&c->in, room);
    n = recv(c->fd, c->in.p + c->in.n, c->in.cap - c->in.n, 0);
    if (n > 0) c->in.n += (size_t)n;
  } while (n > 0 && c->in.n < REQUEST_MAX);
  if (n >= 0 || errno != EAGAIN)
    drop(c);
  else if (c->out.n == 0)
    answer(c);
}

/* ---- the loop ---------------------------------------------------------- */

static void accept_all(int listener) {
  int fd, on = 1;
  while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
    struct conn *c = calloc(1, sizeof *c);
    if (!c) fail("calloc");
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET,
                                .data.ptr = c};
    c->fd = fd;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event)) fail("epoll_ctl");
  }
}

static int wait_events(struct epoll_event *events) {
  struct conn *first = TAILQ_FIRST(&timed);
  if (!TAILQ_EMPTY(&ready) || !first)
    return epoll_wait(poller, events, BATCH, TAILQ_EMPTY(&ready) ? -1 : 0);
  int64_t left = first->due - now_us();
  if (left < 0) left = 0;
  struct timespec ts = {left / 1000000, left % 1000000 * 1000};
  struct pollfd p = {.fd = poller, .events = POLLIN};
  ppoll(&p, 1, &ts, NULL); /* epoll_wait knows milliseconds only */
  return epoll_wait(poller, events, BATCH, 0);
}

static void serve(int listener) {
  struct epoll_event events[BATCH];
  int n = wait_events(events);
  for (int i = 0; i < n; i++) {
    struct conn *c = events[i].data.ptr;
    if (events[i].data.ptr == &poller) exit(0); /* our reader has gone */
    if (!c) {
      accept_all(listener);
      continue;
    }
    if (c->blocked && events[i].events & EPOLLOUT) make_ready(c);
    if (c->place == READY) c->blocked = false;
    if (events[i].events & ~(uint32_t)EPOLLOUT) receive(c);
  }
  struct conn *c = TAILQ_FIRST(&timed);
  int64_t at = c ? now_us() : 0;
  for (; c && c->due <= at; c = TAILQ_FIRST(&timed)) make_ready(c);
  for (int i = 0; i < TURNS_A_POLL && (c = TAILQ_FIRST(&ready)); i++) step(c);
}

static int open_port(int port) {
  struct sockaddr_in at = {.sin_family = AF_INET,
                           .sin_port = htons((uint16_t)port),
                           .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t n = sizeof at;
  int on = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (bind(fd, (struct sockaddr *)&at, n) || listen(fd, 4096) ||
      getsockname(fd, (struct sockaddr *)&at, &n))
    fail("mock");
  printf("port %d\n", ntohs(at.sin_port));
  fflush(stdout);
  return fd;
}

int main(int argc, char **argv) {
  long port = 0, chunks = -1, bytes = 0;
  for (int o; (o = getopt(argc, argv, "p:e:b:")) != -1;) {
    if (o == '?') return 2;
    *(o == 'p' ? &port : o == 'e' ? &chunks : &bytes) = atol(optarg);
  }
  if (chunks >= 0) {
    printf("%zu\n", answer_length(chunks, bytes));
    return 0;
  }
  raise_file_limit();
  poller = epoll_create1(0);
  int listener = open_port((int)port);
  struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
  epoll_ctl(poller, EPOLL_CTL_ADD, listener, &event);
  struct epoll_event gone = {.events = 0, .data.ptr = &poller};
  epoll_ctl(poller, EPOLL_CTL_ADD, STDOUT_FILENO, &gone); /* a file cannot */
  for (;;) serve(listener);
}
