#include "http.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *need(void *memory) {
  if (memory == NULL) abort();
  return memory;
}

void larder_answer(larder_response_t *response, int status, const char *content_type, const void *body, size_t length) {
  free(response->body);
  response->status = status;
  response->content_type = content_type;
  response->body = need(malloc(length + 1));
  if (length > 0) memcpy(response->body, body, length);
  response->body[length] = 0;
  response->length = length;
}

void larder_say(larder_response_t *response, int status, const char *format, ...) {
  va_list arguments, again;
  va_start(arguments, format);
  va_copy(again, arguments);
  int length = vsnprintf(NULL, 0, format, arguments);
  va_end(arguments);
  if (length < 0) abort();
  char *text = need(malloc((size_t)length + 1));
  vsnprintf(text, (size_t)length + 1, format, again);
  va_end(again);
  larder_answer(response, status, "text/plain;charset=utf-8", text, (size_t)length);
  free(text);
}

bool larder_set_header(larder_response_t *response, const char *name, const char *value) {
  if (strpbrk(name, "\r\n:") != NULL || strpbrk(value, "\r\n") != NULL) return false;
  size_t before = response->headers == NULL ? 0 : strlen(response->headers);
  size_t more = strlen(name) + strlen(value) + sizeof ": \n";
  response->headers = need(realloc(response->headers, before + more));
  snprintf(response->headers + before, more, "%s: %s\n", name, value);
  return true;
}

static int digit(char hex) {
  if (hex >= '0' && hex <= '9') return hex - '0';
  char letter = hex | 0x20;
  return letter >= 'a' && letter <= 'f' ? letter - 'a' + 10 : -1;
}

// The decoded text between two places. What is no encoding stays as it stands.
static bool decode(const char *from, const char *end, char *to, size_t size) {
  size_t length = 0;
  for (; from < end; from++) {
    char byte = *from == '+' ? ' ' : *from;
    if (byte == '%' && end - from > 2 && digit(from[1]) >= 0 && digit(from[2]) >= 0) {
      byte = (char)(digit(from[1]) * 16 + digit(from[2]));
      from += 2;
    }
    // A zero would end the text for whoever reads it.
    if (byte == 0 || length + 1 >= size) return false;
    to[length++] = byte;
  }
  to[length] = 0;
  return true;
}

bool larder_query(const larder_request_t *request, const char *name, char *to, size_t size) {
  if (size == 0) return false;
  for (const char *at = request->query; *at != 0;) {
    const char *end = at + strcspn(at, "&"), *equals = memchr(at, '=', (size_t)(end - at));
    const char *name_end = equals == NULL ? end : equals;
    char own[128];
    if (decode(at, name_end, own, sizeof own) && strcmp(own, name) == 0) {
      if (decode(equals == NULL ? end : equals + 1, end, to, size)) return true;
      break;
    }
    at = *end == 0 ? end : end + 1;
  }
  to[0] = 0;
  return false;
}

const char *larder_header(const char *name) {
  char variable[256] = "HTTP_";
  size_t length = 5;
  for (; *name != 0 && length + 1 < sizeof variable; name++) {
    variable[length++] = *name == '-' ? '_' : (*name >= 'a' && *name <= 'z' ? (char)(*name - 'a' + 'A') : *name);
  }
  if (*name != 0) return NULL;
  variable[length] = 0;
  bool is_own = strcmp(variable, "HTTP_CONTENT_TYPE") == 0 || strcmp(variable, "HTTP_CONTENT_LENGTH") == 0;
  return getenv(is_own ? variable + 5 : variable);
}

void larder_log(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  vfprintf(stderr, format, arguments);
  va_end(arguments);
  fputc('\n', stderr);
}

#ifndef LARDER_TEST
static const char *variable(const char *name) {
  const char *value = getenv(name);
  return value == NULL ? "" : value;
}

int main(void) {
  size_t room = 4096, length = 0;
  char *body = need(malloc(room));
  for (size_t read; (read = fread(body + length, 1, room - length, stdin)) > 0;) {
    length += read;
    if (length == room) body = need(realloc(body, room *= 2));
  }
  // A body that was cut off must not look as if it had ended.
  if (ferror(stdin)) {
    larder_log("the request cannot be read");
    return 1;
  }
  larder_request_t request = {variable("REQUEST_METHOD"), variable("PATH_INFO"), variable("QUERY_STRING"), (uint8_t *)body, length};
  larder_response_t response = {204, NULL, NULL, NULL, 0};
  larder_serve(&request, &response);
  printf("Status: %d\n", response.status);
  if (response.content_type != NULL) printf("Content-Type: %s\n", response.content_type);
  printf("%s\n", response.headers == NULL ? "" : response.headers);
  fwrite(response.body, 1, response.length, stdout);
  return fflush(stdout) == 0 ? 0 : 1;
}
#endif
