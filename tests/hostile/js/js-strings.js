// tries: a string that doubles for ever
// ends: failed: limit memory_bytes
export default () => {
  let text = "ab";
  for (;;) text = `${text}${text}${text.length}`;
};
