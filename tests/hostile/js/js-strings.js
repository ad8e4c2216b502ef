// tries: a string of half a gigabyte
// ends: failed: limit memory_bytes
export default () => "x".repeat(2 ** 29).length;
