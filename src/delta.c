/* delta: see delta.h. */
#include "delta.h"

#include "utf8.h"

#include <limits.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static oai_status of_buf(oai_buf_status status) {
  return status == OAI_BUF_OK ? OAI_OK : OAI_ERR_NOMEM;
}

/* The caps that matter are on what comes in: events and responses. What is
 * assembled from them is never more than three times as large. */
static void text_init(oai_text *t) {
  oai_buf_init(&t->buf, SIZE_MAX / 4);
  t->high = 0;
}

static oai_status text_add(oai_text *t, const oai_scan_str *str) {
  oai_buf_status status;
  if (!str->escaped && !t->high)
    return of_buf(oai_buf_append(&t->buf, str->p, str->n));
  status = oai_buf_reserve(&t->buf, str->n + 3);
  if (status == OAI_BUF_OK)
    t->buf.n += oai_scan_unescape(str, t->buf.p + t->buf.n, &t->high);
  return of_buf(status);
}

static void call_free(oai_call *call) {
  oai_buf_free(&call->id.buf);
  oai_buf_free(&call->name.buf);
  oai_buf_free(&call->arguments.buf);
  oai_extras_free(call->extras);
}

static void choice_free(oai_choice *c) {
  oai_buf_free(&c->text.buf);
  oai_buf_free(&c->reasoning.buf);
  oai_buf_free(&c->refusal.buf);
  oai_buf_free(&c->finish);
  for (size_t i = 0; i < c->ncalls; i++) call_free(&c->calls[i]);
  free(c->calls);
  oai_extras_free(c->extras);
}

static void item_free(oai_item *item) {
  oai_buf_free(&item->json);
  oai_buf_free(&item->head);
  oai_extras_free(item->grown);
}

void oai_delta_init(oai_delta *d, size_t max_calls) {
  memset(d, 0, sizeof *d);
  d->max_calls = max_calls;
  oai_buf_init(&d->id, SIZE_MAX / 4);
  oai_buf_init(&d->model, SIZE_MAX / 4);
  oai_buf_init(&d->usage, SIZE_MAX / 4);
  oai_buf_init(&d->whole, SIZE_MAX / 4);
  oai_buf_init(&d->notes, SIZE_MAX / 4);
  d->sequence = d->resumed = -1;
}

void oai_delta_free(oai_delta *d) {
  for (size_t i = 0; i < d->nchoices; i++) choice_free(&d->choices[i]);
  free(d->choices);
  for (size_t i = 0; i < d->nitems; i++) item_free(&d->items[i]);
  free(d->items);
  free(d->ops);
  oai_buf_free(&d->id);
  oai_buf_free(&d->model);
  oai_buf_free(&d->usage);
  oai_buf_free(&d->whole);
  oai_buf_free(&d->notes);
  oai_extras_free(d->extras);
  oai_delta_init(d, d->max_calls);
}

/* Makes room for one more element at the end of a small array. */
static void *grow(void *p, size_t n, size_t size) {
  return n & (n - 1) ? p : realloc(p, (n ? n * 2 : 1) * size);
}

oai_status oai_delta_choice(oai_delta *d, long index, oai_choice **out) {
  for (size_t i = 0; i < d->nchoices; i++) {
    if (d->choices[i].index != index) continue;
    *out = &d->choices[i];
    return OAI_OK;
  }
  if (d->nchoices >= OAI_CHOICES_MAX) return OAI_ERR_TOO_MANY;
  void *p = grow(d->choices, d->nchoices, sizeof *d->choices);
  if (!p) return OAI_ERR_NOMEM;
  d->choices = p;
  oai_choice *c = &d->choices[d->nchoices++];
  memset(c, 0, sizeof *c);
  c->index = index;
  text_init(&c->text);
  text_init(&c->reasoning);
  text_init(&c->refusal);
  oai_buf_init(&c->finish, SIZE_MAX / 4);
  *out = c;
  return OAI_OK;
}

static oai_status push_op(oai_delta *d, oai_op op) {
  if (d->nops == d->ops_cap) {
    size_t cap = d->ops_cap ? d->ops_cap * 2 : 4;
    void *p = realloc(d->ops, cap * sizeof *d->ops);
    if (!p) return OAI_ERR_NOMEM;
    d->ops = p;
    d->ops_cap = cap;
  }
  d->ops[d->nops++] = op;
  return OAI_OK;
}

static unsigned position(const oai_delta *d, const oai_choice *c) {
  return (unsigned)(c - d->choices);
}

static oai_text *text_of(oai_choice *c, oai_op_kind which) {
  return which == OAI_OP_TEXT        ? &c->text
         : which == OAI_OP_REASONING ? &c->reasoning
                                     : &c->refusal;
}

oai_status oai_delta_text(oai_delta *d, oai_choice *c, oai_op_kind which,
                          const oai_scan_str *str) {
  oai_text *t = text_of(c, which);
  size_t at = t->buf.n;
  oai_status status = text_add(t, str);
  if (status != OAI_OK || t->buf.n == at) return status;
  return push_op(d, (oai_op){which, position(d, c), 0, at, t->buf.n - at});
}

static bool same_id(const oai_call *call, const oai_scan_str *id) {
  const oai_buf *b = &call->id.buf;
  if (!id->escaped) return b->n == id->n && memcmp(b->p, id->p, b->n) == 0;
  oai_text t;
  text_init(&t);
  bool same = text_add(&t, id) == OAI_OK && t.buf.n == b->n &&
              memcmp(b->p, t.buf.p, b->n) == 0;
  oai_buf_free(&t.buf);
  return same;
}

static oai_call *find_call(oai_choice *c, const oai_scan_str *id,
                           bool has_index, double index) {
  size_t i;
  if (id)
    for (i = c->ncalls; i-- > 0;)
      if (c->calls[i].id.buf.n && same_id(&c->calls[i], id))
        return &c->calls[i];
  if (has_index) {
    for (i = c->ncalls; i-- > 0;) {
      oai_call *call = &c->calls[i];
      if (!call->has_index || call->index != index) continue;
      /* a new id on a used index is another call */
      return id && call->id.buf.n ? NULL : call;
    }
    return NULL;
  }
  if (id || !c->ncalls) return NULL;
  return &c->calls[c->current];
}

static oai_status call_done(oai_delta *d, oai_choice *c, size_t i) {
  oai_call *call = &c->calls[i];
  if (call->done) return OAI_OK;
  call->done = true;
  return push_op(d, (oai_op){OAI_OP_CALL_DONE, position(d, c), (unsigned)i, 0,
                             call->arguments.buf.n});
}

oai_status oai_delta_call(oai_delta *d, oai_choice *c, const oai_scan_str *id,
                          bool has_index, double index, oai_call **out) {
  if (id && id->n == 0) id = NULL;
  oai_call *call = find_call(c, id, has_index, index);
  if (!call) {
    if (d->ncalls >= d->max_calls) return OAI_ERR_TOO_MANY;
    void *p = grow(c->calls, c->ncalls, sizeof *c->calls);
    if (!p) return OAI_ERR_NOMEM;
    c->calls = p;
    call = &c->calls[c->ncalls++];
    d->ncalls++;
    memset(call, 0, sizeof *call);
    text_init(&call->id);
    text_init(&call->name);
    text_init(&call->arguments);
    call->has_index = has_index;
    call->index = index;
  }
  c->current = (size_t)(call - c->calls);
  *out = call;
  return id && !call->id.buf.n ? text_add(&call->id, id) : OAI_OK;
}

oai_status oai_delta_call_name(oai_call *call, const oai_scan_str *name) {
  const oai_buf *b = &call->name.buf;
  /* servers repeat the whole name, or send it in pieces */
  if (!name->escaped && b->n == name->n && memcmp(b->p, name->p, b->n) == 0)
    return OAI_OK;
  return text_add(&call->name, name);
}

oai_status oai_delta_call_arguments(oai_delta *d, oai_choice *c, oai_call *call,
                                    const oai_scan_str *str,
                                    const oai_slice *raw) {
  size_t at = call->arguments.buf.n;
  oai_status status =
      raw   ? of_buf(oai_buf_append(&call->arguments.buf, raw->p, raw->n))
      : str ? text_add(&call->arguments, str)
            : OAI_OK;
  if (status != OAI_OK) return status;
  return push_op(d, (oai_op){OAI_OP_CALL, position(d, c),
                             (unsigned)(call - c->calls), at,
                             call->arguments.buf.n - at});
}

oai_status oai_delta_set(oai_buf *b, const oai_scan_str *str) {
  if (str->n == 0) return OAI_OK;
  if (!str->escaped && b->n == str->n && memcmp(b->p, str->p, b->n) == 0)
    return OAI_OK;
  oai_buf_status status = oai_buf_reserve(b, str->n + 3);
  if (status == OAI_BUF_OK) b->n = oai_scan_unescape(str, b->p, NULL);
  return of_buf(status);
}

oai_status oai_delta_finish(oai_delta *d, oai_choice *c,
                            const oai_scan_str *reason) {
  if (reason->n == 0) return OAI_OK;
  bool first = c->finish.n == 0;
  oai_status status = oai_delta_set(&c->finish, reason);
  if (status != OAI_OK || !first) return status;
  for (size_t i = 0; i < c->ncalls && status == OAI_OK; i++)
    status = call_done(d, c, i);
  if (status != OAI_OK) return status;
  return push_op(d, (oai_op){OAI_OP_FINISH, position(d, c), 0, 0, 0});
}

oai_status oai_delta_usage(oai_delta *d, oai_slice json) {
  if (json.n == d->usage.n && memcmp(json.p, d->usage.p, json.n) == 0)
    return OAI_OK;
  d->usage.n = 0;
  oai_status status = of_buf(oai_buf_append(&d->usage, json.p, json.n));
  if (status != OAI_OK) return status;
  return push_op(d, (oai_op){OAI_OP_USAGE, 0, 0, 0, 0});
}

oai_status oai_delta_item(oai_delta *d, double index, oai_item **out) {
  size_t at = d->nitems;
  while (at > 0 && d->items[at - 1].index > index) at--;
  if (at > 0 && d->items[at - 1].index == index) {
    *out = &d->items[at - 1];
    return OAI_OK;
  }
  if (d->nitems >= OAI_ITEMS_MAX) return OAI_ERR_FIELDS;
  void *p = grow(d->items, d->nitems, sizeof *d->items);
  if (!p) return OAI_ERR_NOMEM;
  d->items = p;
  memmove(d->items + at + 1, d->items + at,
          (d->nitems++ - at) * sizeof *d->items);
  memset(&d->items[at], 0, sizeof *d->items);
  d->items[at].index = index;
  oai_buf_init(&d->items[at].json, SIZE_MAX / 4);
  oai_buf_init(&d->items[at].head, SIZE_MAX / 4);
  *out = &d->items[at];
  return OAI_OK;
}

void oai_delta_no_items(oai_delta *d) {
  for (size_t i = 0; i < d->nitems; i++) item_free(&d->items[i]);
  d->nitems = 0;
}

oai_status oai_delta_keep(oai_buf *b, oai_slice json) {
  b->n = 0;
  return of_buf(oai_buf_append(b, json.p, json.n));
}

oai_status oai_delta_progress(oai_delta *d, oai_slice json) {
  size_t at = d->notes.n;
  oai_status status = of_buf(oai_buf_append(&d->notes, json.p, json.n));
  if (status != OAI_OK) return status;
  return push_op(d, (oai_op){OAI_OP_PROGRESS, 0, 0, at, json.n});
}

bool oai_delta_next(oai_delta *d, oai_op *out) {
  if (d->next_op == d->nops) {
    d->next_op = d->nops = 0;
    d->notes.n = 0; /* told */
    return false;
  }
  *out = d->ops[d->next_op++];
  return true;
}

bool oai_delta_merge(oai_delta *d, oai_op *op) {
  if (d->next_op == d->nops || op->kind > OAI_OP_CALL) return false;
  const oai_op *more = &d->ops[d->next_op];
  if (more->kind != op->kind || more->choice != op->choice ||
      more->call != op->call || more->at != op->at + op->n)
    return false;
  op->n += more->n;
  d->next_op++;
  return true;
}

bool oai_delta_finished(const oai_delta *d) {
  for (size_t i = 0; i < d->nchoices; i++)
    if (!d->choices[i].finish.n) return false;
  return d->nchoices > 0;
}

static oai_status text_end(oai_delta *d, oai_choice *c, oai_op_kind which) {
  static const oai_scan_str nothing = {"\\ufffd", 6, true};
  oai_text *t = text_of(c, which);
  if (!t->high) return OAI_OK;
  t->high = 0;
  return oai_delta_text(d, c, which, &nothing);
}

oai_status oai_delta_end(oai_delta *d) {
  oai_status status = OAI_OK;
  for (size_t i = 0; i < d->nchoices && status == OAI_OK; i++) {
    oai_choice *c = &d->choices[i];
    status = text_end(d, c, OAI_OP_TEXT);
    if (status == OAI_OK) status = text_end(d, c, OAI_OP_REASONING);
    if (status == OAI_OK) status = text_end(d, c, OAI_OP_REFUSAL);
    for (size_t k = 0; k < c->ncalls && status == OAI_OK; k++)
      status = call_done(d, c, k);
  }
  return status;
}

const oai_call *oai_delta_unnamed(const oai_delta *d) {
  for (size_t i = 0; i < d->nchoices; i++)
    for (size_t k = 0; k < d->choices[i].ncalls; k++)
      if (!d->choices[i].calls[k].name.buf.n) return &d->choices[i].calls[k];
  return NULL;
}

/* Insertion sort, stable: a call without an index stays where it came,
 * and bounds what may move past it. */
static void sort_calls(oai_choice *c) {
  for (size_t i = 1; i < c->ncalls; i++) {
    oai_call call = c->calls[i];
    size_t j = i;
    while (j > 0 && call.has_index && c->calls[j - 1].has_index &&
           c->calls[j - 1].index > call.index) {
      c->calls[j] = c->calls[j - 1];
      j--;
    }
    c->calls[j] = call;
  }
}

void oai_delta_sort(oai_delta *d) {
  for (size_t i = 0; i < d->nchoices; i++) sort_calls(&d->choices[i]);
}
