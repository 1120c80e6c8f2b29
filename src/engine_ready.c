/* engine_ready: what is ready and was not handed out, and what waits for two
 * things. See engine.h. */
#include "engine_internal.h"

static void unlist(oai_engine *e, oai_waitable *w) {
  if (!w->listed) return;
  *(w->prev ? &w->prev->next : &e->first) = w->next;
  *(w->next ? &w->next->prev : &e->last) = w->prev;
  w->prev = w->next = NULL;
  w->listed = false;
  oai_pollset_signal(e->set, e->first != NULL);
}

void oai_engine_relist(oai_engine *e, oai_waitable *w) {
  if (w->listed || !w->ready) return;
  w->prev = e->last;
  w->next = NULL;
  *(e->last ? &e->last->next : &e->first) = w;
  e->last = w;
  w->listed = true;
  oai_pollset_signal(e->set, true);
}

static void judge(oai_engine *e, oai_either *x) {
  bool ready = x->canceled || (x->a && x->a->ready) || (x->b && x->b->ready);
  oai_engine_mark(e, &x->waitable, ready);
}

void oai_engine_mark(oai_engine *e, oai_waitable *w, bool ready) {
  if (w->ready == ready) return;
  w->ready = ready;
  if (ready)
    oai_engine_relist(e, w);
  else
    unlist(e, w);
  if (w->either) judge(e, w->either);
}

oai_waitable *oai_engine_pop(oai_engine *e) {
  oai_waitable *w = e->first;
  if (w) unlist(e, w);
  return w;
}

static void leave(oai_waitable *w) {
  oai_either *x = w->either;
  if (!x) return;
  if (x->a == w) x->a = NULL;
  if (x->b == w) x->b = NULL;
  w->either = NULL;
}

void oai_engine_forget(oai_engine *e, oai_waitable *w) {
  oai_engine_mark(e, w, false);
  leave(w);
}

void oai_engine_either(oai_engine *e, oai_either *x, oai_waitable *a,
                       oai_waitable *b) {
  leave(a);
  leave(b);
  x->a = a;
  x->b = b;
  a->either = b->either = x;
  judge(e, x);
}

void oai_engine_either_cancel(oai_engine *e, oai_either *x) {
  x->canceled = true;
  judge(e, x);
}

void oai_engine_either_part(oai_engine *e, oai_either *x) {
  if (x->a) leave(x->a);
  if (x->b) leave(x->b);
  oai_engine_mark(e, &x->waitable, false);
}

void oai_engine_stop_at(oai_engine *e, double at) {
  e->stop_at = at;
  e->handed_out = false;
}

void oai_engine_handed_out(oai_engine *e) {
  e->handed_out = true;
}

bool oai_engine_spent(const oai_engine *e) {
  return e->stop_at >= 0 && e->handed_out && oai_now() >= e->stop_at;
}
