// tries: throwing what computes for ever when it becomes text
// ends: failed: limit cpu_ms
export default () => {
  const forever = () => {
    for (;;);
  };
  throw { toString: forever, toJSON: forever, get message() { return forever(); }, get stack() { return forever(); } };
};
