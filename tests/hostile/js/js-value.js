// tries: storing a value that is too large
// ends: answers: up to 65536 are allowed
export default (request, run) => {
  try {
    run.state.set("key", "x".repeat(66_000));
  } catch (error) {
    return error.message;
  }
};
