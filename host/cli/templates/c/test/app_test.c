#include <string.h>

#include "testing.h"

int main(void) {
  larder_test_run_t run = larder_test("card.purchase", "{\"amount\":\"42.50\",\"currency\":\"SEK\"}", "card-1");
  CHECK(run.saved_count == 1 && strcmp(run.saved[0], "7.50 SEK") == 0);

  run = larder_test("card.purchase", "{\"amount\":\"40\",\"currency\":\"SEK\"}", "card-1");
  CHECK(run.saved_count == 0 && run.rejected[0] == 0);

  run = larder_test("card.purchase", "{\"amount\":42.5,\"currency\":\"SEK\"}", "card-1");
  CHECK(run.saved_count == 0 && strstr(run.rejected, "not a purchase") != NULL);
  return 0;
}
