// tries: flooding the log
// ends: failed: limit cpu_ms
export default () => {
  for (;;) console.log("x".repeat(1 << 16));
};
