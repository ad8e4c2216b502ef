// tries: sorting by a rule that never agrees with itself
// ends: failed: limit cpu_ms
export default () => {
  for (;;) Array.from({ length: 10_000 }, (_, at) => at).sort(() => Math.random() - 0.5);
};
