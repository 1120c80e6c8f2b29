/* conn_child: a conn's child process: started without a shell, its stdin and
 * stdout the stream, the end of its stderr kept, always reaped by its own id
 * and waited for only when its engine goes, 100 ms at most. See conn.h. */
#ifndef _WIN32 /* POSIX alone, so far */

#include "conn_internal.h"
#include "pollset.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <spawn.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define GRACE 2.0       /* seconds to end after stdin did */
#define POLL_FIRST 1e-3 /* seconds between looks at an ending child: … */
#define POLL_MAX 0.05   /* … doubled up to this */
enum { STDERR_CAP = 64 * 1024, PIECE = 16 * 1024, PIECES = 4 };

extern char **environ;

typedef enum stage { RUNNING, ASKED, TERMED, KILLED } stage;

/* Outlives its conn when the process does. */
struct oai_child {
  oai_timer timer;
  oai_engine *engine; /* borrowed: see fire */
  oai_conn *conn;     /* NULL: freed */
  pid_t pid;
  stage stage;
  double grace, deadline, pause;
  bool reaped, known;
  int status;
};

/* ---- the process -------------------------------------------------------- */

static bool reap(oai_child *k) {
  int status = 0;
  pid_t got = k->reaped ? 0 : waitpid(k->pid, &status, WNOHANG);
  if (k->reaped || got == 0) return k->reaped;
  if (got < 0 && errno == EINTR) return false;
  /* an error: the host ignores SIGCHLD or waits for any child */
  k->reaped = true;
  k->known = got == k->pid;
  k->status = WIFEXITED(status)     ? WEXITSTATUS(status)
              : WIFSIGNALED(status) ? -WTERMSIG(status)
                                    : 0;
  return true;
}

static void go_on(oai_child *k, double now) {
  double at = now + k->pause;
  if (at > k->deadline && k->stage != KILLED) at = k->deadline;
  /* it has its place in the heap since the start: no memory is needed */
  oai_engine_timer(k->engine, &k->timer, at);
}

static void ask_to_end(oai_child *k, stage next) {
  double now = oai_engine_now(k->engine);
  if (k->stage >= next || reap(k)) return;
  k->stage = next;
  if (next == TERMED) kill(k->pid, SIGTERM);
  k->pause = POLL_FIRST;
  k->deadline = now + k->grace;
  go_on(k, now);
}

/* The engine is going away, and only it would reap: a moment to end well, then
 * a kill, after which a process is gone within a millisecond or so. */
static void bury(oai_child *k) {
  struct timespec nap = {0, 1000000};
  for (int i = 0; i < 100 && !reap(k); i++) {
    if (i == 2 || i == 20) kill(k->pid, i == 2 ? SIGTERM : SIGKILL);
    nanosleep(&nap, NULL);
  }
  free(k);
}

static void settle(oai_conn *c);

static void fire(oai_timer *timer, double now) {
  oai_child *k = (oai_child *)((char *)timer - offsetof(oai_child, timer));
  if (now == HUGE_VAL) {
    bury(k);
  } else if (reap(k)) {
    if (k->conn)
      settle(k->conn);
    else
      free(k);
  } else {
    if (now >= k->deadline && k->stage != KILLED) {
      k->stage = k->stage == ASKED ? TERMED : KILLED;
      kill(k->pid, k->stage == TERMED ? SIGTERM : SIGKILL);
      k->deadline = now + k->grace;
    }
    k->pause = k->pause * 2 < POLL_MAX ? k->pause * 2 : POLL_MAX;
    go_on(k, now);
  }
}

void oai_child_free(oai_child *k) {
  if (!k) return;
  k->conn = NULL;
  if (!reap(k)) return; /* the timer goes on */
  oai_engine_timer_clear(k->engine, &k->timer);
  free(k);
}

bool oai_conn_exit_status(const oai_conn *c, int *status) {
  if (!c->child || !c->child->known) return false;
  *status = c->child->status;
  return true;
}

/* ---- bytes -------------------------------------------------------------- */

static void drop(oai_conn *c, oai_watch *w) {
  if (w->fd < 0) return;
  oai_engine_watch_remove(c->engine, w);
  close(w->fd);
  w->fd = -1;
}

static oai_io pipe_read(oai_conn *c, char *p, size_t room, size_t *n) {
  ssize_t got = read(c->watch.fd, p, room);
  if (got > 0) {
    *n = (size_t)got;
    return OAI_IO_OK;
  }
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return OAI_IO_AGAIN;
  /* who has stopped talking gets nothing more to read */
  c->out.n = c->out_at = 0;
  return OAI_IO_END;
}

static oai_io pipe_write(oai_conn *c, const char *p, size_t size, size_t *n) {
  if (c->in_watch.fd < 0) {
    *n = size;
    return OAI_IO_OK;
  }
  oai_sigpipe held = oai_sigpipe_hold();
  ssize_t got = write(c->in_watch.fd, p, size);
  int error = errno;
  oai_sigpipe_release(held);
  if (got < 0 && (error == EAGAIN || error == EINTR)) return OAI_IO_AGAIN;
  if (got < 0) drop(c, &c->in_watch); /* it may still have things to say */
  *n = got < 0 ? size : (size_t)got;
  return OAI_IO_OK;
}

static void child_want(oai_conn *c, int want) {
  oai_engine_watch_change(c->engine, &c->watch, want & OAI_IN);
  oai_engine_watch_change(c->engine, &c->in_watch, want & OAI_OUT);
}

static void on_stdin(oai_watch *w, int what) {
  (void)what;
  oai_conn_pump(OAI_CONN_OF(in_watch, w));
}

static void on_stdout(oai_watch *w, int what) {
  (void)what;
  oai_conn_pump(OAI_CONN_OF(watch, w));
}

/* Keeps the end of what was said; a flood gets its share of a step. */
static void read_stderr(oai_conn *c) {
  char piece[PIECE];
  for (int i = 0; i < PIECES && c->err_watch.fd >= 0; i++) {
    ssize_t got = read(c->err_watch.fd, piece, sizeof piece);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (got <= 0) {
      drop(c, &c->err_watch);
      return;
    }
    if (oai_buf_append(&c->err, piece, (size_t)got) != OAI_BUF_OK) c->err.n = 0;
    if (c->err.n > 2 * c->err_max)
      oai_buf_consume(&c->err, c->err.n - c->err_max);
  }
}

static void on_stderr(oai_watch *w, int what) {
  (void)what;
  read_stderr(OAI_CONN_OF(err_watch, w));
}

/* ---- the end ------------------------------------------------------------ */

static bool child_shutdown(oai_conn *c) {
  drop(c, &c->in_watch);
  return true;
}

static bool child_finish(oai_conn *c) {
  drop(c, &c->in_watch);
  drop(c, &c->watch);
  ask_to_end(c->child, ASKED);
  /* also one that is reaped already ends in a later step, by its timer */
  if (!c->child->timer.slot || c->child->timer.at == HUGE_VAL)
    oai_engine_timer(c->engine, &c->child->timer, oai_engine_now(c->engine));
  return false;
}

static void child_close(oai_conn *c, bool canceled) {
  drop(c, &c->in_watch);
  drop(c, &c->watch);
  drop(c, &c->err_watch);
  if (c->child) ask_to_end(c->child, canceled ? TERMED : ASKED);
}

static void settle(oai_conn *c) {
  char text[80];
  const oai_child *k = c->child;
  if (c->state == OAI_CONN_CLOSED) return;
  read_stderr(c);
  if (k->status < 0)
    snprintf(text, sizeof text, "the child was ended by signal %d", -k->status);
  else
    snprintf(text, sizeof text, "the child exited with status %d", k->status);
  if (k->known && k->status != 0)
    oai_conn_fail(c, OAI_NETWORK, "connection_closed", text);
  else
    child_close(c, false);
  oai_conn_closed(c);
  oai_conn_changed(c);
}

static const oai_conn_ops child_ops = {pipe_read,    pipe_write,
                                       child_want,   child_shutdown,
                                       child_finish, child_close};

/* ---- start -------------------------------------------------------------- */

/* Three pipes; ours[i] is the end of the child's descriptor i that we keep. */
typedef struct pipes {
  int ours[3], theirs[3];
} pipes;

static void close_all(int *fds) {
  for (int i = 0; i < 3; i++) {
    if (fds[i] >= 0) close(fds[i]);
    fds[i] = -1;
  }
}

/* Above the three that the child's ends are moved to; closed in children. */
static int move_up(int fd) {
  int up = fcntl(fd, F_DUPFD_CLOEXEC, 3);
  close(fd);
  return up;
}

static bool open_pipes(pipes *p) {
  bool ok = true;
  for (int i = 0; i < 3; i++) p->ours[i] = p->theirs[i] = -1;
  for (int i = 0; i < 3 && ok; i++) {
    int ends[2];
#ifdef __linux__
    if (pipe2(ends, O_CLOEXEC) != 0) return false;
#else
    if (pipe(ends) != 0) return false;
#endif
    p->ours[i] = move_up(ends[i == 0]);
    p->theirs[i] = move_up(ends[i != 0]);
    ok = p->ours[i] >= 0 && p->theirs[i] >= 0 &&
         fcntl(p->ours[i], F_SETFL, O_NONBLOCK) == 0;
  }
  return ok;
}

static int add_actions(posix_spawn_file_actions_t *a, const pipes *p,
                       const char *cwd) {
  int error = 0;
  for (int i = 0; i < 3 && !error; i++)
    error = posix_spawn_file_actions_adddup2(a, p->theirs[i], i);
#if defined(__GLIBC__) && defined(__GLIBC_PREREQ)
#if __GLIBC_PREREQ(2, 34)
  /* the host's other files, and those that libcurl leaves open to children */
  if (!error) error = posix_spawn_file_actions_addclosefrom_np(a, 3);
#endif
#endif
  if (!error && cwd) error = posix_spawn_file_actions_addchdir_np(a, cwd);
  return error;
}

static int spawn(const oai_spawn_options *o, const pipes *p, pid_t *pid) {
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attr;
  sigset_t none, defaults;
  char *const *env = (char *const *)o->env;
  sigemptyset(&none);
  sigemptyset(&defaults);
  sigaddset(&defaults, SIGPIPE);
  int error = posix_spawn_file_actions_init(&actions);
  if (error) return error;
  error = posix_spawnattr_init(&attr);
  if (!error) {
    posix_spawnattr_setflags(&attr,
                             POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    posix_spawnattr_setsigmask(&attr, &none);
    posix_spawnattr_setsigdefault(&attr, &defaults);
    error = add_actions(&actions, p, o->cwd);
    if (!error)
      error = posix_spawnp(pid, o->argv[0], &actions, &attr,
                           (char *const *)o->argv, env ? env : environ);
    posix_spawnattr_destroy(&attr);
  }
  posix_spawn_file_actions_destroy(&actions);
  return error;
}

static bool watch_all(oai_conn *c, pipes *p) {
  oai_engine *e = c->engine;
  c->in_watch.ready = on_stdin;
  c->watch.ready = on_stdout;
  c->err_watch.ready = on_stderr;
  c->in_watch.fd = p->ours[0];
  c->watch.fd = p->ours[1];
  c->err_watch.fd = p->ours[2];
  p->ours[0] = p->ours[1] = p->ours[2] = -1; /* the conn's now */
  return oai_engine_watch_add(e, &c->in_watch, c->in_watch.fd, 0) &&
         oai_engine_watch_add(e, &c->watch, c->watch.fd, OAI_IN) &&
         oai_engine_watch_add(e, &c->err_watch, c->err_watch.fd, OAI_IN);
}

static oai_conn *new_child(oai_engine *e, const oai_spawn_options *o) {
  oai_conn *c = oai_conn_new(e, &child_ops, o->read_cap, o->write_cap);
  if (!c) return NULL;
  c->in_watch.fd = c->watch.fd = c->err_watch.fd = -1;
  c->err_max = o->stderr_cap ? o->stderr_cap : STDERR_CAP;
  oai_buf_init(&c->err, 2 * c->err_max + PIECE);
  oai_child *k = c->child = calloc(1, sizeof *k);
  /* set, for never: its place in the heap is what the end will need */
  if (k) k->timer.fire = fire;
  if (!k || !oai_engine_timer(e, &k->timer, HUGE_VAL)) {
    free(k);
    c->child = NULL;
    oai_conn_free(c);
    return NULL;
  }
  k->engine = e;
  k->conn = c;
  k->grace = o->grace > 0 ? o->grace : GRACE;
  k->reaped = true; /* until it is started */
  return c;
}

oai_conn *oai_conn_spawn(oai_engine *e, const oai_spawn_options *o,
                         char *message, size_t size) {
  pipes p;
  oai_conn *c = new_child(e, o);
  bool opened = open_pipes(&p);
  int error = !c ? ENOMEM : !opened ? errno : spawn(o, &p, &c->child->pid);
  if (!error) {
    c->child->reaped = false;
    oai_conn_open(c);
    if (!watch_all(c, &p)) error = ENOMEM;
  }
  close_all(p.ours);
  close_all(p.theirs);
  if (!error) return c;
  snprintf(message, size, "cannot start %s: %s",
           o->argv[0] ? o->argv[0] : "nothing", strerror(error));
  oai_conn_free(c);
  return NULL;
}

#endif
