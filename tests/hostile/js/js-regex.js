// tries: a pattern that goes back for ever
// ends: failed: limit cpu_ms
export default () => /^(a+)+$/.test(`${"a".repeat(60)}b`);
