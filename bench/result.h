/* result: a measuring program's settings from the environment, its clocks, and
 * the result line that bench/client.lua prints too. */
#ifndef BENCH_RESULT_H
#define BENCH_RESULT_H

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>

struct mark {
  double cpu, wall;
};

static inline const char *setting(const char *name, const char *otherwise) {
  const char *value = getenv(name);
  return value && *value ? value : otherwise;
}

static inline double seconds(clockid_t id) {
  struct timespec t;
  clock_gettime(id, &t);
  return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static inline double now(void) {
  return seconds(CLOCK_MONOTONIC);
}

static inline struct mark take_mark(void) {
  return (struct mark){seconds(CLOCK_PROCESS_CPUTIME_ID), now()};
}

static inline void raise_file_limit(void) {
  struct rlimit files;
  getrlimit(RLIMIT_NOFILE, &files);
  files.rlim_cur = files.rlim_max;
  setrlimit(RLIMIT_NOFILE, &files);
}

static inline int by_size(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static inline double percentile(double *values, long n, double q) {
  if (n == 0) return 0;
  qsort(values, (size_t)n, sizeof *values, by_size);
  return values[(long)(q * (double)(n - 1) + 0.5)] * 1e3;
}

static inline void report(const char *client, bool ok, long streams,
                          long chunks, size_t bytes, struct mark from,
                          double *latency, long n, const char *extra) {
  struct mark to = take_mark();
  struct rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  printf("{\"client\":\"%s\",\"streams\":%ld,\"chunks\":%ld,"
         "\"bytes_of_text\":%zu,\"ok\":%s,\"wall_s\":%.6f,\"user_s\":%.6f,"
         "\"sys_s\":0,\"maxrss_kb\":%ld,\"ttft_ms_p50\":%.4f,"
         "\"ttft_ms_p99\":%.4f%s}\n",
         client, streams, chunks, bytes, ok ? "true" : "false",
         to.wall - from.wall, to.cpu - from.cpu, usage.ru_maxrss,
         percentile(latency, n, 0.5), percentile(latency, n, 0.99), extra);
}

static inline long resident_kb(void) {
  long kb = 0;
  char line[128];
  FILE *f = fopen("/proc/self/status", "r");
  while (f && kb == 0 && fgets(line, sizeof line, f))
    sscanf(line, "VmRSS: %ld", &kb);
  if (f) fclose(f);
  return kb;
}

#endif
