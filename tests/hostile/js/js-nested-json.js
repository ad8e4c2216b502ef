// tries: JSON nested a million deep
// ends: failed: limit stack_bytes
export default () => JSON.parse("[".repeat(1_000_000) + "]".repeat(1_000_000)).length;
