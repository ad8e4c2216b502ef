// What a function in C or Zig needs beside the interfaces of `larder.h`: text of JSON, and money in whole hundredths.
#ifndef LARDER_GUIDE_H
#define LARDER_GUIDE_H

#include "larder.h"

#ifdef __cplusplus
extern "C" {
#endif

// A string of these bytes, which are not copied.
larder_string_t larder_text(const char *text);

// Copies the text that a JSON object has under a name, as UTF-8 that ends with a zero. False if `json` is no object, has no
// text under the name, or the text does not fit.
bool larder_json_text(const larder_list_u8_t *json, const char *name, char *to, size_t size);

// The value that a JSON object has under a name, as it stands in `json`. False if `json` is no object or has no such name.
bool larder_json_value(const larder_list_u8_t *json, const char *name, larder_list_u8_t *value);

// The value at a place of a JSON list, from 0, as it stands in `list`. False if it is no list or ends before.
bool larder_json_item(const larder_list_u8_t *list, size_t at, larder_list_u8_t *value);

// One value of JSON: is it an object or a list; what is it as text, a whole number, a number, true or false. No amount of money is
// made of a number.
bool larder_json_is_object(const larder_list_u8_t *value);
bool larder_json_is_list(const larder_list_u8_t *value);
bool larder_json_string(const larder_list_u8_t *value, char *to, size_t size);
bool larder_json_integer(const larder_list_u8_t *value, int64_t *to);
bool larder_json_number(const larder_list_u8_t *value, double *to);
bool larder_json_boolean(const larder_list_u8_t *value, bool *to);

// Decimal text with up to two decimals, as in "12.5", to hundredths. False for anything else, and below zero.
bool larder_hundredths(const char *text, int64_t *to);

// Writes an amount such as "12.50".
void larder_amount(int64_t hundredths, char to[24]);

// Creates a transaction. False if it is refused; `why` says why, and is freed with larder_string_free.
bool larder_save(int64_t hundredths, const char *currency, const char *memo, larder_string_t *why);

// Ends the handler: this event will never do.
bool larder_reject(larder_handler_error_t *error, const char *why);

// Ends the handler: run it again later.
bool larder_retry(larder_handler_error_t *error, const char *why);

#ifdef __cplusplus
}
#endif
#endif
