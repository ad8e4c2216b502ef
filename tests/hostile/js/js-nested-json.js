// tries: JSON nested a million deep
// ends: failed: stack
export default () => JSON.parse("[".repeat(1_000_000) + "]".repeat(1_000_000)).length;
