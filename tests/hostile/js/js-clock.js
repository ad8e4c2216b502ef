// tries: a clock that goes back, or tells fractions of a millisecond
// ends: answers: whole and forward
export default () => {
  let last = Date.now();
  for (let at = 0; at < 1_000; at += 1) {
    const now = Date.now();
    if (!Number.isInteger(now) || now < last || now < 1_700_000_000_000) return `${last} ${now}`;
    last = now;
  }
  return "whole and forward";
};
