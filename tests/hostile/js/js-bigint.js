// tries: a number of millions of digits, in one operation
// ends: failed: limit
export default () => String(7n ** 3_000_000n * 7n ** 3_000_000n).length;
