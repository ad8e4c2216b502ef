// tries: a function that calls itself for ever
// ends: failed: stack
export default () => {
  const again = () => again() + 1;
  return again();
};
