/* cold: what a program takes from its start to its first request.
 *
 *   cold COMMAND...
 *
 * Starts COMMAND with BENCH_MODE=cold and BENCH_BASE of a socket of its own,
 * reads the CPU time of its threads when the request's first bytes are here,
 * answers, and prints a JSON line. BENCH_NAME is the client's name in it. */
#include "result.h"
#include "text.h"

#include <dirent.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PATIENCE_MS = 20000 };

#define ANSWER                                                                 \
  "{\"id\":\"chatcmpl-1\",\"object\":\"chat.completion\",\"created\":1,"       \
  "\"model\":\"gpt-4o-mini\",\"choices\":[{\"index\":0,\"message\":{"          \
  "\"role\":\"assistant\",\"content\":\"Hi\",\"refusal\":null},"               \
  "\"logprobs\":null,\"finish_reason\":\"stop\"}],\"usage\":{"                 \
  "\"prompt_tokens\":1,\"completion_tokens\":1,\"total_tokens\":2}}"

static int open_port(int *port) {
  struct sockaddr_in at = {.sin_family = AF_INET,
                           .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t n = sizeof at;
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (bind(fd, (struct sockaddr *)&at, n) || listen(fd, 8) ||
      getsockname(fd, (struct sockaddr *)&at, &n))
    fail("cold");
  *port = ntohs(at.sin_port);
  return fd;
}

/* Nanoseconds that all threads of a living process have run. */
static double run_time(pid_t pid) {
  char path[512];
  double sum = 0, ns;
  snprintf(path, sizeof path, "/proc/%d/task", (int)pid);
  DIR *tasks = opendir(path);
  for (struct dirent *task; tasks && (task = readdir(tasks));) {
    snprintf(path, sizeof path, "/proc/%d/task/%s/schedstat", (int)pid,
             task->d_name);
    FILE *f = *task->d_name == '.' ? NULL : fopen(path, "r");
    if (f && fscanf(f, "%lf", &ns) == 1) sum += ns;
    if (f) fclose(f);
  }
  if (tasks) closedir(tasks);
  return sum;
}

static pid_t start(char **command, int port) {
  char base[64];
  snprintf(base, sizeof base, "http://127.0.0.1:%d/v1", port);
  setenv("BENCH_BASE", base, 1);
  setenv("BENCH_MODE", "cold", 1);
  pid_t pid = fork();
  if (pid) return pid;
  execvp(command[0], command);
  perror(command[0]);
  _exit(127);
}

/* Reads on to the request's end, then answers. */
static void answer(int fd, struct text *request) {
  char piece[4096];
  for (ssize_t n = 1; n > 0;) {
    append(request, "", 1);
    request->n--;
    const char *body = strstr(request->p, "\r\n\r\n");
    const char *length = strcasestr(request->p, "\r\ncontent-length:");
    if (body && strlen(body + 4) >= (length ? strtoul(length + 17, 0, 10) : 0))
      break;
    n = recv(fd, piece, sizeof piece, 0);
    if (n > 0) append(request, piece, (size_t)n);
  }
  dprintf(fd,
          "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
          "Content-Length: %zu\r\nConnection: close\r\n\r\n%s",
          sizeof ANSWER - 1, ANSWER);
  shutdown(fd, SHUT_WR);
}

int main(int argc, char **argv) {
  int port, status;
  char piece[4096];
  struct rusage usage;
  struct text request = {0};
  if (argc < 2) return 2;
  struct pollfd listener = {.fd = open_port(&port), .events = POLLIN};
  double from = now();
  pid_t pid = start(argv + 1, port);
  if (poll(&listener, 1, PATIENCE_MS) != 1) fail("cold: no connection");
  int fd = accept4(listener.fd, NULL, NULL, SOCK_CLOEXEC);
  ssize_t n = recv(fd, piece, sizeof piece, 0);
  double wall = now() - from, cpu = run_time(pid);
  if (n > 0) append(&request, piece, (size_t)n);
  answer(fd, &request);
  wait4(pid, &status, 0, &usage);
  printf("{\"client\":\"%s\",\"ok\":%s,\"start_cpu_ms\":%.3f,"
         "\"start_wall_ms\":%.3f,\"wall_s\":%.6f,\"maxrss_kb\":%ld}\n",
         setting("BENCH_NAME", argv[1]), status || n <= 0 ? "false" : "true",
         cpu * 1e-6, wall * 1e3, now() - from, usage.ru_maxrss);
  return status != 0;
}
