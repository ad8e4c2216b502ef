// tries: storing a value of a megabyte
// ends: failed: up to 65536 are allowed
export default (request, run) => run.state.set("key", "x".repeat(1 << 20));
