/* delta_extra: the fields that no wire knows, kept as JSON. See delta.h. */
#include "delta.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

void oai_extras_free(oai_extra *e) {
  while (e) {
    oai_extra *next = e->next;
    oai_buf_free(&e->key);
    oai_buf_free(&e->json);
    free(e);
    e = next;
  }
}

static oai_extra *extra_for(oai_extra **list, int scope,
                            const oai_scan_str *key, bool *full) {
  oai_extra **p = list;
  *full = false;
  for (int n = 0; *p; p = &(*p)->next) {
    if ((*p)->scope == scope && (*p)->key.n == key->n &&
        memcmp((*p)->key.p, key->p, key->n) == 0)
      return *p;
    /* looked through for each field: a long list would cost a server nothing
     * and us its square */
    if ((*full = ++n >= OAI_EXTRAS_MAX)) return NULL;
  }
  oai_extra *e = calloc(1, sizeof *e);
  if (!e) return NULL;
  oai_buf_init(&e->key, SIZE_MAX / 4);
  oai_buf_init(&e->json, SIZE_MAX / 4);
  e->scope = scope;
  if (oai_buf_append(&e->key, key->p, key->n) != OAI_BUF_OK) {
    free(e);
    return NULL;
  }
  return *p = e;
}

oai_status oai_delta_extra(oai_extra **list, oai_scope scope,
                           const oai_scan_str *key, oai_slice json) {
  bool full;
  oai_extra *e = extra_for(list, scope, key, &full);
  if (!e) return full ? OAI_ERR_FIELDS : OAI_ERR_NOMEM;
  if (e->json.n == json.n && memcmp(e->json.p, json.p, json.n) == 0 &&
      *json.p != '[')
    return OAI_OK; /* the same again: the case of every chunk */
  bool container = *json.p == '[' || *json.p == '{';
  if (!container && oai_slice_is(json, "null") && e->json.n) return OAI_OK;
  if (!container || !e->list)
    e->json.n = 0;
  else if (oai_buf_append(&e->json, ",", 1) != OAI_BUF_OK)
    return OAI_ERR_NOMEM;
  e->list = container;
  return oai_buf_append(&e->json, json.p, json.n) == OAI_BUF_OK ? OAI_OK
                                                                : OAI_ERR_NOMEM;
}

oai_status oai_delta_grow(oai_extra **list, int scope, const oai_scan_str *key,
                          oai_slice piece, const char *between) {
  bool full;
  oai_extra *e = extra_for(list, scope, key, &full);
  if (!e) return full ? OAI_ERR_FIELDS : OAI_ERR_NOMEM;
  if (e->json.n && *between &&
      oai_buf_append(&e->json, between, strlen(between)) != OAI_BUF_OK)
    return OAI_ERR_NOMEM;
  return oai_buf_append(&e->json, piece.p, piece.n) == OAI_BUF_OK
             ? OAI_OK
             : OAI_ERR_NOMEM;
}
