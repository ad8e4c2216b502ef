// tries: throwing what cannot become text
// ends: failed: trap
export default () => {
  throw Symbol("odd");
};
