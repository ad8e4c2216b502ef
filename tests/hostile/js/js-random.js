// tries: numbers that repeat
// ends: answers: different
export default () => {
  const drawn = new Set(Array.from({ length: 1_000 }, () => Math.random()));
  const inside = [...drawn].every((number) => number >= 0 && number < 1);
  return drawn.size === 1_000 && inside ? "different" : `${drawn.size} of 1000`;
};
