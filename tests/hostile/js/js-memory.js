// tries: keeping and touching memory until there is none
// ends: failed: limit memory_bytes
export default () => {
  const all = [];
  for (;;) all.push(new Uint8Array(1 << 20).fill(1));
};
