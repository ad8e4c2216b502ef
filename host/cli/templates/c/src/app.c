// Saves what is missing to the next ten of each purchase.
#include <stdio.h>

#include "guide.h"

bool exports_larder_handle(larder_event_t *event, larder_option_list_u8_t *answer, larder_handler_error_t *error) {
  char amount[32], currency[4];
  int64_t price, saving;
  bool is_purchase = larder_json_text(&event->data, "amount", amount, sizeof amount) &&
                     larder_json_text(&event->data, "currency", currency, sizeof currency) &&
                     larder_hundredths(amount, &price);
  larder_event_free(event);
  answer->is_some = false;
  if (!is_purchase) return larder_reject(error, "not a purchase: it has no amount and currency as text");

  saving = (1000 - price % 1000) % 1000;
  if (saving == 0) return true;
  larder_string_t why;
  if (!larder_save(saving, currency, "Round-up", &why)) {
    // The host's words become ours.
    error->tag = LARDER_HANDLER_ERROR_REJECT;
    error->val.reject = why;
    return false;
  }
  larder_amount(saving, amount);
  printf("saved %s %s\n", amount, currency);
  return true;
}
