// tries: throwing nothing at all
// ends: failed: undefined
export default () => {
  throw undefined;
};
