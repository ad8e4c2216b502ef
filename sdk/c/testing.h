// A double of Larder for tests that run on this machine: `larder test` compiles them with it.
#ifndef LARDER_TESTING_H
#define LARDER_TESTING_H

#include "larder.h"

#ifdef __cplusplus
extern "C" {
#endif

#define LARDER_TEST_MAX 64

// What one run did.
typedef struct {
  // "7.50 SEK", in the order of the calls. Nothing of a run that failed.
  int saved_count;
  char saved[LARDER_TEST_MAX][32];
  // Why the event was rejected, or is to be retried; empty if it was handled.
  char rejected[512];
  char retry[512];
} larder_test_run_t;

// Runs the handler for an event of this type with this JSON. `topic`: of the enrolment that the run is for, or NULL.
larder_test_run_t larder_test(const char *type, const char *json, const char *topic);

#ifdef LARDER_HTTP
#include "http.h"

// The answer of the project to a request: `target` is a path and what is asked for, `body` may be NULL. `body` of the response
// ends with a zero, and is NULL where nothing was answered. The test does not free it.
larder_response_t larder_test_serve(const char *method, const char *target, const char *body);

// A header of the requests from here on.
void larder_test_header(const char *name, const char *value);
#endif

// What a run before has left under a key, or NULL.
const char *larder_test_state(const char *key);

// Ends the process, and says where, unless the condition holds.
void larder_test_check(bool holds, const char *what, const char *file, int line);
#define CHECK(condition) larder_test_check((condition), #condition, __FILE__, __LINE__)

#ifdef __cplusplus
}
#endif
#endif
