// tries: computing for ever
// ends: failed: limit cpu_ms
export default () => {
  for (;;);
};
