// tries: one buffer of two gigabytes
// ends: failed: limit memory_bytes
export default () => new ArrayBuffer(2 ** 31 - 1).byteLength;
