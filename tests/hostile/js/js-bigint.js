// tries: numbers of hundreds of thousands of digits, each in one operation
// ends: failed: limit cpu_ms
export default () => {
  for (;;) String(7n ** 300_000n);
};
