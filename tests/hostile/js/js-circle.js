// tries: an answer that contains itself
// ends: failed: circular
export default () => {
  const circle = {};
  circle.self = circle;
  return circle;
};
