// tries: an iterator without an end, taken whole
// ends: failed: limit
export default () => {
  function* endless() {
    for (;;) yield 1;
  }
  return [...endless()].length;
};
