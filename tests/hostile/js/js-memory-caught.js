// tries: going on whenever there is no memory left
// ends: failed: limit cpu_ms
export default () => {
  for (;;) {
    try {
      const all = [];
      for (;;) all.push(new Uint8Array(1 << 20));
    } catch {}
  }
};
