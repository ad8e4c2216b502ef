// tries: a function that calls itself for ever
// ends: failed: limit stack_bytes
export default () => {
  const again = () => again() + 1;
  return again();
};
