/* form: see form.h. */
#define _FILE_OFFSET_BITS 64
#include "form.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

typedef struct source {
  oai_form *form;
  oai_slice data;
  FILE *file; /* NULL: data */
  curl_off_t size, at, offset;
  bool to_end; /* of the file */
  char *name, *filename, *type;
} source;

struct oai_form {
  curl_mime *mime;
  void (*moved)(void *arg);
  void *arg;
  bool changed;
  size_t n;
  source sources[];
};

/* ---- opening ------------------------------------------------------------ */

/* curl escapes quotes and line ends, older ones do not: what would end a header
 * line is refused. */
static bool is_plain(const char *text) {
  for (; text && *text; text++)
    if ((unsigned char)*text < ' ' || *text == 127) return false;
  return true;
}

static char *copy(const char *text, bool *ok) {
  char *out = text ? malloc(strlen(text) + 1) : NULL;
  if (out) memcpy(out, text, strlen(text) + 1);
  if (text && !out) *ok = false;
  return out;
}

static const char *base_of(const char *path) {
  const char *name = path;
  for (const char *p = path; *p; p++)
    if (*p == '/' || *p == '\\') name = p + 1;
  return name;
}

static bool go_to(FILE *file, curl_off_t offset, int origin) {
#ifdef _WIN32
  return _fseeki64(file, offset, origin) == 0;
#else
  return fseeko(file, (off_t)offset, origin) == 0;
#endif
}

static curl_off_t place_in(FILE *file) {
#ifdef _WIN32
  return _ftelli64(file);
#else
  return ftello(file);
#endif
}

static const char *open_file(source *s, const oai_form_part *p) {
  struct stat facts;
  /* before it is opened: a pipe would wait for its writer */
  if (stat(p->path, &facts) != 0) return strerror(errno);
  if ((facts.st_mode & S_IFMT) != S_IFREG) return "it is no regular file";
  s->file = fopen(p->path, "rb");
  if (!s->file) return strerror(errno);
  if (fstat(fileno(s->file), &facts) != 0) return strerror(errno);
  if ((facts.st_mode & S_IFMT) != S_IFREG) return "it is no regular file";
  if (!go_to(s->file, 0, SEEK_END)) return strerror(errno);
  s->size = place_in(s->file) - p->offset;
  s->offset = p->offset;
  s->to_end = p->size < 0 || p->size >= s->size;
  if (s->size < 0) return "it ends before the part that is to be sent";
  if (!s->to_end) s->size = p->size;
  return go_to(s->file, s->offset, SEEK_SET) ? NULL : strerror(errno);
}

/* What servers look at; curl knows fewer. */
static const char *type_of(const char *filename) {
  static const char *const types[][2] = {
      {".json", "application/json"}, {".jsonl", "application/jsonl"},
      {".txt", "text/plain"},        {".pdf", "application/pdf"},
      {".png", "image/png"},         {".jpg", "image/jpeg"},
      {".jpeg", "image/jpeg"},       {".webp", "image/webp"},
      {".gif", "image/gif"},         {".mp3", "audio/mpeg"},
      {".wav", "audio/wav"},         {".m4a", "audio/mp4"},
      {".ogg", "audio/ogg"},         {".flac", "audio/flac"},
      {".webm", "audio/webm"}};
  const char *dot = strrchr(filename, '.');
  for (size_t i = 0; dot && i < sizeof types / sizeof *types; i++)
    if (strcmp(dot, types[i][0]) == 0) return types[i][1];
  return "application/octet-stream";
}

static const char *open_part(source *s, const oai_form_part *p) {
  bool ok = true;
  if (!is_plain(p->name) || !is_plain(p->filename) || !is_plain(p->type))
    return "a name, file name or type of a form has a control character";
  s->name = copy(p->name, &ok);
  const char *filename =
      p->filename || !p->path ? p->filename : base_of(p->path);
  s->filename = copy(filename, &ok);
  s->type = copy(p->type || !filename ? p->type : type_of(filename), &ok);
  if (!ok) return "not enough memory";
  s->data = p->data;
  s->size = (curl_off_t)p->data.n;
  return NULL;
}

oai_form *oai_form_open(const oai_form_part *parts, size_t n, char *message,
                        size_t size, bool *io) {
  oai_form *f = calloc(1, sizeof *f + n * sizeof *f->sources);
  if (!f) snprintf(message, size, "not enough memory");
  for (size_t i = 0; f && i < n; i++) {
    f->n = i + 1;
    f->sources[i].form = f;
    const char *wrong = open_part(&f->sources[i], &parts[i]);
    *io = !wrong && parts[i].path;
    if (*io) wrong = open_file(&f->sources[i], &parts[i]);
    if (!wrong) continue;
    if (*io)
      snprintf(message, size, "%s: %s", parts[i].path, wrong);
    else
      snprintf(message, size, "%s", wrong);
    oai_form_free(f);
    return NULL;
  }
  return f;
}

/* ---- sending ------------------------------------------------------------ */

static size_t give_up(source *s) {
  s->form->changed = true;
  return CURL_READFUNC_ABORT;
}

static size_t on_read(char *out, size_t size, size_t n, void *arg) {
  source *s = arg;
  size_t room = size * n;
  curl_off_t left = s->size - s->at;
  if (s->form->moved) s->form->moved(s->form->arg);
  if ((curl_off_t)room > left) room = (size_t)left;
  if (!s->file) {
    if (room) memcpy(out, s->data.p + s->at, room);
  } else if (room && fread(out, 1, room, s->file) != room) {
    return give_up(s); /* it shrank, or cannot be read */
  } else if (s->to_end && (curl_off_t)room == left && fgetc(s->file) != EOF) {
    return give_up(s); /* it grew; curl asks no more behind the last byte */
  }
  s->at += (curl_off_t)room;
  return room;
}

/* curl rewinds when a kept connection proves dead, or for a redirect. */
static int on_seek(void *arg, curl_off_t offset, int origin) {
  source *s = arg;
  if (origin != SEEK_SET || offset < 0 || offset > s->size)
    return CURL_SEEKFUNC_CANTSEEK;
  if (s->file && !go_to(s->file, s->offset + offset, SEEK_SET))
    return CURL_SEEKFUNC_FAIL;
  s->at = offset;
  return CURL_SEEKFUNC_OK;
}

static bool add_part(oai_form *f, source *s) {
  curl_mimepart *part = curl_mime_addpart(f->mime);
  return part && curl_mime_name(part, s->name) == CURLE_OK &&
         curl_mime_data_cb(part, s->size, on_read, on_seek, NULL, s) ==
             CURLE_OK &&
         (!s->filename || curl_mime_filename(part, s->filename) == CURLE_OK) &&
         (!s->type || curl_mime_type(part, s->type) == CURLE_OK);
}

bool oai_form_attach(oai_form *f, CURL *h, void (*moved)(void *arg),
                     void *arg) {
  f->moved = moved;
  f->arg = arg;
  f->mime = curl_mime_init(h);
  if (!f->mime) return false;
  for (size_t i = 0; i < f->n; i++)
    if (!add_part(f, &f->sources[i])) return false;
  return curl_easy_setopt(h, CURLOPT_MIMEPOST, f->mime) == CURLE_OK;
}

curl_off_t oai_form_size(const oai_form *f) {
  curl_off_t sum = 0;
  for (size_t i = 0; i < f->n; i++) sum += f->sources[i].size;
  return sum;
}

bool oai_form_changed(const oai_form *f) {
  return f->changed;
}

void oai_form_free(oai_form *f) {
  if (!f) return;
  curl_mime_free(f->mime);
  for (size_t i = 0; i < f->n; i++) {
    source *s = &f->sources[i];
    if (s->file) fclose(s->file);
    free(s->name);
    free(s->filename);
    free(s->type);
  }
  free(f);
}
