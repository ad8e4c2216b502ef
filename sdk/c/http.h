// A function that answers HTTP requests, as a CGI program: a project with `routes` in its larder.toml defines `larder_serve`
// in place of the handler. Events arrive as a POST with the header `ce-id`.
#ifndef LARDER_HTTP_H
#define LARDER_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
  const char *method;
  // Decoded.
  const char *path;
  // As it came, without the question mark.
  const char *query;
  const uint8_t *body;
  size_t length;
} larder_request_t;

typedef struct {
  int status;
  const char *content_type;
  // More headers, each with its line break.
  char *headers;
  char *body;
  size_t length;
} larder_response_t;

// What the project defines. The response is 204 and empty before it.
void larder_serve(const larder_request_t *request, larder_response_t *response);

// Answers with a status and text, as printf has it.
void larder_say(larder_response_t *response, int status, const char *format, ...) __attribute__((__format__(__printf__, 3, 4)));

// Answers with bytes, which are copied.
void larder_answer(larder_response_t *response, int status, const char *content_type, const void *body, size_t length);

// Adds a header. False, and nothing is added, if there is a line break in it.
bool larder_set_header(larder_response_t *response, const char *name, const char *value);

// Copies the first value of a name in the query, decoded. False if it is not there or does not fit; `to` is empty then.
bool larder_query(const larder_request_t *request, const char *name, char *to, size_t size);

// A header of the request, or NULL.
const char *larder_header(const char *name);

// A line for the log, as printf has it. stdout is the answer.
void larder_log(const char *format, ...) __attribute__((__format__(__printf__, 1, 2)));

#ifdef __cplusplus
}
#endif
#endif
