// tries: circles of garbage for ever
// ends: failed: limit cpu_ms
export default () => {
  for (;;) {
    const one = { bytes: new Array(100).fill(0) };
    one.other = { one };
  }
};
