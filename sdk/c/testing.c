#include "testing.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#pragma clang diagnostic ignored "-Wunused-parameter"

#define MEMO_MAX 200

static larder_test_run_t run;
static const char *subject;
static struct state {
  char key[256];
  char *value;
  size_t length;
} states[LARDER_TEST_MAX];

static larder_string_t copy(const void *text, size_t length) {
  larder_string_t all = {malloc(length + 1), length};
  if (all.ptr == NULL) abort();
  memcpy(all.ptr, text, length);
  all.ptr[length] = 0;
  return all;
}

// A result whose payload is text, as the canonical ABI lays it out.
static void answer(uint8_t *to, bool is_err, const void *text, size_t length) {
  larder_string_t all = copy(text, length);
  *to = is_err;
  memcpy(to + sizeof(void *), &all, sizeof all);
}

static void refuse(uint8_t *to, const char *why) { answer(to, true, why, strlen(why)); }

static bool is_amount(const uint8_t *amount, size_t length) {
  size_t point = length, digits = 0, more = 0;
  for (size_t at = 0; at < length; at++) {
    if (amount[at] == '.' && point == length && at > 0) {
      point = at;
    } else if (amount[at] >= '0' && amount[at] <= '9') {
      digits++;
      more += amount[at] != '0';
    } else {
      return false;
    }
  }
  return digits > 0 && more > 0 && (point == length || (length - point >= 2 && length - point <= 3));
}

void __wasm_import_larder_savings_create_transaction(int32_t, uint8_t *, size_t, uint8_t *, size_t, uint8_t *, size_t, int32_t,
                                                     uint8_t *, size_t, uint8_t *);
void __wasm_import_larder_savings_create_transaction(int32_t has_user, uint8_t *user, size_t user_length, uint8_t *amount,
                                                     size_t amount_length, uint8_t *currency, size_t currency_length,
                                                     int32_t has_memo, uint8_t *memo, size_t memo_length, uint8_t *to) {
  (void)user;
  (void)user_length;
  (void)memo;
  if (!is_amount(amount, amount_length) || amount_length > 20) {
    refuse(to, "amount is not decimal text above zero");
  } else if (currency_length != 3) {
    refuse(to, "currency is not three letters");
  } else if (has_memo && memo_length > MEMO_MAX) {
    refuse(to, "memo has more than 200 characters");
  } else if (subject == NULL && !has_user) {
    refuse(to, "end-user is needed: the run is for no enrolment");
  } else if (run.saved_count == LARDER_TEST_MAX) {
    refuse(to, "too many transactions for this test kit");
  } else {
    snprintf(run.saved[run.saved_count++], sizeof run.saved[0], "%.*s %.3s", (int)amount_length, (char *)amount,
             (char *)currency);
    answer(to, false, "transaction", 11);
  }
}

// Where a key is; below zero where it can go, counted from -1.
static int find(const char *key, size_t length) {
  int free_one = LARDER_TEST_MAX;
  for (int at = 0; at < LARDER_TEST_MAX; at++) {
    if (states[at].value == NULL) {
      free_one = free_one == LARDER_TEST_MAX ? at : free_one;
    } else if (strlen(states[at].key) == length && memcmp(states[at].key, key, length) == 0) {
      return at;
    }
  }
  return -1 - free_one;
}

void __wasm_import_larder_state_get(uint8_t *, size_t, uint8_t *);
void __wasm_import_larder_state_get(uint8_t *key, size_t length, uint8_t *to) {
  int at = find((char *)key, length);
  to[0] = 0;
  to[sizeof(void *)] = at >= 0;
  if (at >= 0) {
    larder_string_t value = copy(states[at].value, states[at].length);
    memcpy(to + 2 * sizeof(void *), &value, sizeof value);
  }
}

void __wasm_import_larder_state_set(uint8_t *, size_t, uint8_t *, size_t, uint8_t *);
void __wasm_import_larder_state_set(uint8_t *key, size_t length, uint8_t *value, size_t value_length, uint8_t *to) {
  int at = find((char *)key, length);
  if (length == 0 || length > 255 || value_length > 65536 || at == -1 - LARDER_TEST_MAX) {
    refuse(to, "the key or the value is too long, or there are too many for this test kit");
    return;
  }
  at = at < 0 ? -1 - at : at;
  free(states[at].value);
  memcpy(states[at].key, key, length);
  states[at].key[length] = 0;
  states[at].value = (char *)copy(value, value_length).ptr;
  states[at].length = value_length;
  to[0] = 0;
}

const char *larder_test_state(const char *key) {
  int at = find(key, strlen(key));
  return at < 0 ? NULL : states[at].value;
}

#define UNKNOWN(name, parameters) \
  void name parameters;           \
  void name parameters {          \
    fprintf(stderr, "the test kit has no %s\n", &#name[14]); \
    abort();                      \
  }
UNKNOWN(__wasm_import_larder_state_delete, (uint8_t * key, size_t length, uint8_t *to))
UNKNOWN(__wasm_import_larder_state_increment, (uint8_t * key, size_t length, uint8_t *by, size_t by_length, uint8_t *to))
UNKNOWN(__wasm_import_larder_state_list,
        (uint8_t * prefix, size_t length, int32_t has, uint8_t *after, size_t after_length, uint8_t *to))
UNKNOWN(__wasm_import_larder_attributes_current, (uint8_t * to))
UNKNOWN(__wasm_import_larder_enrolment_current, (uint8_t * to))
UNKNOWN(__wasm_import_larder_signing_sign, (uint8_t * upstream, size_t length, uint8_t *data, size_t data_length, uint8_t *to))
UNKNOWN(__wasm_import_larder_events_emit,
        (uint8_t * type, size_t a, int32_t has, uint8_t *subject_, size_t b, uint8_t *content, size_t c, uint8_t *data, size_t d,
         uint8_t *to))
UNKNOWN(__wasm_import_larder_events_emit_with,
        (uint8_t * type, size_t a, int32_t has, uint8_t *subject_, size_t b, uint8_t *content, size_t c, uint8_t *data, size_t d,
         uint8_t *all, size_t e, uint8_t *to))

#ifdef LARDER_HTTP
larder_response_t larder_test_serve(const char *method, const char *target, const char *body) {
  size_t length = strcspn(target, "?");
  larder_string_t path = copy(target, length);
  larder_request_t request = {method, (char *)path.ptr, target[length] == 0 ? "" : target + length + 1, (const uint8_t *)body,
                              body == NULL ? 0 : strlen(body)};
  larder_response_t response = {204, NULL, NULL, NULL, 0};
  memset(&run, 0, sizeof run);
  larder_serve(&request, &response);
  return response;
}

void larder_test_header(const char *name, const char *value) {
  char variable[256];
  snprintf(variable, sizeof variable, "HTTP_%s", name);
  for (char *at = variable; *at != 0; at++) *at = *at == '-' ? '_' : (*at >= 'a' && *at <= 'z' ? (char)(*at - 'a' + 'A') : *at);
  bool is_own = strcmp(variable, "HTTP_CONTENT_TYPE") == 0;
  setenv(is_own ? variable + 5 : variable, value, 1);
}

// The bindings ask for it, and nobody calls it.
bool exports_larder_handle(larder_event_t *event, larder_option_list_u8_t *answer, larder_handler_error_t *error) { abort(); }
#else
larder_test_run_t larder_test(const char *type, const char *json, const char *topic) {
  memset(&run, 0, sizeof run);
  subject = topic;
  larder_event_t event = {
      .id = copy("1", 1),
      .source = copy("/test", 5),
      .type = copy(type, strlen(type)),
      .time = copy("2026-01-02T03:04:05Z", 20),
      .data_content_type = copy("application/json", 16),
  };
  event.subject.is_some = topic != NULL;
  if (topic != NULL) event.subject.val = copy(topic, strlen(topic));
  larder_string_t data = copy(json, strlen(json));
  event.data.ptr = data.ptr;
  event.data.len = data.len;
  static struct state before[LARDER_TEST_MAX];
  memcpy(before, states, sizeof states);
  for (int at = 0; at < LARDER_TEST_MAX; at++) {
    if (before[at].value != NULL) before[at].value = (char *)copy(before[at].value, before[at].length).ptr;
  }
  larder_option_list_u8_t returned = {0};
  larder_handler_error_t error = {0};
  if (!exports_larder_handle(&event, &returned, &error)) {
    bool rejected = error.tag == LARDER_HANDLER_ERROR_REJECT;
    larder_string_t *why = rejected ? &error.val.reject : &error.val.retry;
    memset(&run, 0, sizeof run);
    // Nothing that it did is applied.
    memcpy(states, before, sizeof states);
    snprintf(rejected ? run.rejected : run.retry, sizeof run.rejected, "%.*s", (int)why->len, (char *)why->ptr);
  }
  return run;
}

#endif

void larder_test_check(bool holds, const char *what, const char *file, int line) {
  if (holds) return;
  fprintf(stderr, "%s:%d: does not hold: %s\n", file, line, what);
  exit(1);
}
