// tries: an iterator without an end, taken whole
// ends: failed: limit cpu_ms
export default () => {
  function* endless() {
    for (;;) yield 1;
  }
  return [...endless()].length;
};
