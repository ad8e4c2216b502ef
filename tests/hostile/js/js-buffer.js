// tries: one buffer of a gigabyte
// ends: failed: limit memory_bytes
export default () => new ArrayBuffer(2 ** 30).byteLength;
