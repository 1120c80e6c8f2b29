/* loop: libcurl's transfers over curl_multi_socket_action and epoll. */
#ifndef BENCH_LOOP_H
#define BENCH_LOOP_H

#include "result.h"

#include <curl/curl.h>
#include <sys/epoll.h>

static CURLM *multi;
static int poller;
static long active;
static long opened; /* what run() may wait for; counted by its user */
static double due = -1;

static inline int on_socket(CURL *easy, curl_socket_t fd, int what, void *arg,
                            void *known) {
  (void)easy, (void)arg;
  struct epoll_event event = {.data.fd = fd};
  if (what & CURL_POLL_IN) event.events |= EPOLLIN;
  if (what & CURL_POLL_OUT) event.events |= EPOLLOUT;
  int op = known ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;
  if (what == CURL_POLL_REMOVE) op = EPOLL_CTL_DEL, event.events = 0;
  epoll_ctl(poller, op, fd, &event);
  if (!known) curl_multi_assign(multi, fd, &poller);
  return 0;
}

static inline int on_timer(CURLM *m, long ms, void *arg) {
  (void)m, (void)arg;
  due = ms < 0 ? -1 : now() + (double)ms * 1e-3;
  return 0;
}

/* One that failed ends it all: nothing was measured. */
static inline void reap(void) {
  int left;
  for (CURLMsg *msg; (msg = curl_multi_info_read(multi, &left));) {
    long status = 0;
    CURLcode result = msg->data.result;
    curl_easy_getinfo(msg->easy_handle, CURLINFO_RESPONSE_CODE, &status);
    if (result || status != 200) {
      fprintf(stderr, "limit: %s, %ld\n", curl_easy_strerror(result), status);
      exit(1);
    }
    curl_multi_remove_handle(multi, msg->easy_handle);
    active--;
  }
}

/* Until every transfer has ended or `enough` streams are open. */
static inline void run(long enough) {
  struct epoll_event events[256];
  int running;
  while (active > 0 && opened < enough) {
    double left = due < 0 ? -1 : (due - now()) * 1e3 + 0.999;
    int n = epoll_wait(poller, events, 256, due >= 0 && left < 0 ? 0 : left);
    for (int i = 0; i < n; i++) {
      int what = (events[i].events & EPOLLOUT) ? CURL_CSELECT_OUT : 0;
      if (events[i].events & ~(unsigned)EPOLLOUT) what |= CURL_CSELECT_IN;
      curl_multi_socket_action(multi, events[i].data.fd, what, &running);
    }
    if (due >= 0 && now() >= due) {
      due = -1;
      curl_multi_socket_action(multi, CURL_SOCKET_TIMEOUT, 0, &running);
    }
    reap();
  }
}

static inline void start_loop(void) {
  multi = curl_multi_init();
  poller = epoll_create1(0);
  curl_multi_setopt(multi, CURLMOPT_SOCKETFUNCTION, on_socket);
  curl_multi_setopt(multi, CURLMOPT_TIMERFUNCTION, on_timer);
}

static inline void add_transfer(CURL *easy) {
  curl_multi_add_handle(multi, easy);
  active++;
}

#endif
