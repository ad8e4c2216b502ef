#include "guide.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

larder_string_t larder_text(const char *text) {
  larder_string_t all = {(uint8_t *)text, strlen(text)};
  return all;
}

// JSON (RFC 8259). What follows moves `at` behind what it reads, and is false where that is not there.
struct json {
  const uint8_t *at;
  const uint8_t *end;
};

static const int DEPTH_MAX = 64;

static void skip_space(struct json *json) {
  while (json->at < json->end && (*json->at == ' ' || *json->at == '\t' || *json->at == '\n' || *json->at == '\r')) {
    json->at++;
  }
}

static bool take(struct json *json, char expected) {
  skip_space(json);
  if (json->at == json->end || *json->at != (uint8_t)expected) return false;
  json->at++;
  return true;
}

static bool hex(struct json *json, uint32_t *code) {
  *code = 0;
  for (int digit = 0; digit < 4; digit++) {
    if (json->at == json->end) return false;
    uint8_t byte = *json->at++;
    uint8_t letter = byte | 0x20;
    if (byte >= '0' && byte <= '9') {
      *code = *code * 16 + (byte - '0');
    } else if (letter >= 'a' && letter <= 'f') {
      *code = *code * 16 + (letter - 'a' + 10);
    } else {
      return false;
    }
  }
  return true;
}

struct out {
  char *to;
  size_t size;
  size_t length;
  bool fits;
};

static void put(struct out *out, uint32_t byte) {
  if (out->length + 1 < out->size) {
    out->to[out->length++] = (char)byte;
  } else {
    out->fits = false;
  }
}

static void put_code(struct out *out, uint32_t code) {
  if (code < 0x80) {
    put(out, code);
  } else if (code < 0x800) {
    put(out, 0xc0 | code >> 6);
    put(out, 0x80 | (code & 0x3f));
  } else if (code < 0x10000) {
    put(out, 0xe0 | code >> 12);
    put(out, 0x80 | (code >> 6 & 0x3f));
    put(out, 0x80 | (code & 0x3f));
  } else {
    put(out, 0xf0 | code >> 18);
    put(out, 0x80 | (code >> 12 & 0x3f));
    put(out, 0x80 | (code >> 6 & 0x3f));
    put(out, 0x80 | (code & 0x3f));
  }
}

static bool escape(struct json *json, struct out *out) {
  static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
  if (json->at == json->end) return false;
  uint8_t byte = *json->at++;
  if (byte != 'u') {
    const char *found = byte ? strchr(from, byte) : NULL;
    if (found == NULL) return false;
    put(out, (uint8_t)to[found - from]);
    return true;
  }
  uint32_t code, low;
  if (!hex(json, &code) || code == 0 || (code >= 0xdc00 && code < 0xe000)) return false;
  if (code >= 0xd800 && code < 0xdc00) {
    if (json->end - json->at < 6 || json->at[0] != '\\' || json->at[1] != 'u') return false;
    json->at += 2;
    if (!hex(json, &low) || low < 0xdc00 || low > 0xdfff) return false;
    code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
  }
  put_code(out, code);
  return true;
}

static bool string(struct json *json, struct out *out) {
  if (!take(json, '"')) return false;
  while (json->at < json->end) {
    uint8_t byte = *json->at++;
    if (byte == '"') {
      if (out->size > 0) out->to[out->length] = 0;
      return true;
    }
    if (byte < 0x20) return false;
    if (byte == '\\') {
      if (!escape(json, out)) return false;
    } else {
      put(out, byte);
    }
  }
  return false;
}

static bool skip_value(struct json *json, int depth) {
  struct out nowhere = {NULL, 0, 0, true};
  skip_space(json);
  if (json->at == json->end || depth > DEPTH_MAX) return false;
  uint8_t first = *json->at;
  if (first == '"') return string(json, &nowhere);
  if (first == '{' || first == '[') {
    char close = first == '{' ? '}' : ']';
    json->at++;
    if (take(json, close)) return true;
    do {
      if (first == '{' && !(string(json, &nowhere) && take(json, ':'))) return false;
      if (!skip_value(json, depth + 1)) return false;
    } while (take(json, ','));
    return take(json, close);
  }
  const uint8_t *begin = json->at;
  while (json->at < json->end && strchr("+-.0123456789Eaeflnrstu", *json->at) != NULL && *json->at != 0) json->at++;
  return json->at > begin;
}

// Is nothing left but space?
static bool ends(struct json *json) {
  skip_space(json);
  return json->at == json->end;
}

static struct json json_of(const larder_list_u8_t *value) {
  struct json json = {value->ptr, value->ptr + value->len};
  return json;
}

// Skips a value and says where it stands.
static bool slice(struct json *json, larder_list_u8_t *value) {
  skip_space(json);
  value->ptr = (uint8_t *)json->at;
  if (!skip_value(json, 0)) return false;
  value->len = (size_t)(json->at - value->ptr);
  return true;
}

bool larder_json_value(const larder_list_u8_t *data, const char *name, larder_list_u8_t *value) {
  struct json json = json_of(data);
  bool found = false;
  if (!take(&json, '{') || take(&json, '}')) return false;
  do {
    char key[64];
    struct out own = {key, sizeof key, 0, true};
    larder_list_u8_t member;
    if (!string(&json, &own) || !take(&json, ':') || !slice(&json, &member)) return false;
    if (own.fits && strcmp(key, name) == 0) {
      // A name that comes twice is no name.
      if (found) return false;
      *value = member;
      found = true;
    }
  } while (take(&json, ','));
  return take(&json, '}') && found && ends(&json);
}

bool larder_json_item(const larder_list_u8_t *list, size_t at, larder_list_u8_t *value) {
  struct json json = json_of(list);
  if (!take(&json, '[') || take(&json, ']')) return false;
  do {
    if (!slice(&json, value)) return false;
    if (at-- == 0) return true;
  } while (take(&json, ','));
  return false;
}

static bool is_whole(const larder_list_u8_t *value, char first) {
  struct json json = json_of(value);
  skip_space(&json);
  return json.at < json.end && *json.at == (uint8_t)first && skip_value(&json, 0) && ends(&json);
}

bool larder_json_is_object(const larder_list_u8_t *value) { return is_whole(value, '{'); }

bool larder_json_is_list(const larder_list_u8_t *value) { return is_whole(value, '['); }

bool larder_json_string(const larder_list_u8_t *value, char *to, size_t size) {
  struct json json = json_of(value);
  struct out out = {to, size, 0, true};
  if (size == 0) return false;
  to[0] = 0;
  return string(&json, &out) && out.fits && ends(&json);
}

bool larder_json_integer(const larder_list_u8_t *value, int64_t *to) {
  const uint8_t *at = value->ptr, *end = value->ptr + value->len;
  bool negative = at < end && *at == '-';
  uint64_t all = 0, most = (uint64_t)INT64_MAX + (negative ? 1 : 0);
  if (negative) at++;
  if (at == end || (*at == '0' && end - at > 1)) return false;
  for (; at < end; at++) {
    if (*at < '0' || *at > '9' || all > (most - (*at - '0')) / 10) return false;
    all = all * 10 + (*at - '0');
  }
  *to = negative ? (int64_t)(0 - all) : (int64_t)all;
  return true;
}

bool larder_json_number(const larder_list_u8_t *value, double *to) {
  char text[64], *end;
  if (value->len == 0 || value->len >= sizeof text || (*value->ptr != '-' && (*value->ptr < '0' || *value->ptr > '9'))) {
    return false;
  }
  memcpy(text, value->ptr, value->len);
  text[value->len] = 0;
  *to = strtod(text, &end);
  return *end == 0;
}

bool larder_json_boolean(const larder_list_u8_t *value, bool *to) {
  *to = value->len == 4 && memcmp(value->ptr, "true", 4) == 0;
  return *to || (value->len == 5 && memcmp(value->ptr, "false", 5) == 0);
}

bool larder_json_text(const larder_list_u8_t *data, const char *name, char *to, size_t size) {
  larder_list_u8_t value;
  return larder_json_value(data, name, &value) && larder_json_string(&value, to, size);
}

bool larder_hundredths(const char *text, int64_t *to) {
  int64_t all = 0;
  int decimals = -1, digits = 0;
  for (; *text != 0; text++) {
    if (*text == '.' && decimals < 0 && digits > 0) {
      decimals = 0;
      continue;
    }
    if (*text < '0' || *text > '9' || decimals == 2 || all > INT64_MAX / 1000) return false;
    all = all * 10 + (*text - '0');
    digits++;
    if (decimals >= 0) decimals++;
  }
  if (digits == 0 || decimals == 0) return false;
  for (int at = decimals < 0 ? 0 : decimals; at < 2; at++) {
    if (all > INT64_MAX / 10) return false;
    all *= 10;
  }
  *to = all;
  return true;
}

void larder_amount(int64_t hundredths, char to[24]) {
  snprintf(to, 24, "%s%lld.%02lld", hundredths < 0 ? "-" : "", (long long)(hundredths < 0 ? -(hundredths / 100) : hundredths / 100),
           (long long)(hundredths < 0 ? -(hundredths % 100) : hundredths % 100));
}

bool larder_save(int64_t hundredths, const char *currency, const char *memo, larder_string_t *why) {
  char amount[24];
  larder_string_t id;
  larder_savings_transaction_t transaction = {
      .amount = {0}, .currency = larder_text(currency), .end_user = {.is_some = false}, .memo = {.is_some = memo != NULL}};
  larder_amount(hundredths, amount);
  transaction.amount = larder_text(amount);
  if (memo != NULL) transaction.memo.val = larder_text(memo);
  if (!larder_savings_create_transaction(&transaction, &id, why)) return false;
  larder_string_free(&id);
  return true;
}

bool larder_reject(larder_handler_error_t *error, const char *why) {
  error->tag = LARDER_HANDLER_ERROR_REJECT;
  larder_string_dup(&error->val.reject, why);
  return false;
}

bool larder_retry(larder_handler_error_t *error, const char *why) {
  error->tag = LARDER_HANDLER_ERROR_RETRY;
  larder_string_dup(&error->val.retry, why);
  return false;
}

// The bindings ask for an object that describes their world. Larder knows it.
void __component_type_object_force_link_larder(void);
void __component_type_object_force_link_larder(void) {}
