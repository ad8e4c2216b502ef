// tries: an answer of 32 MB
// ends: failed: limit response_bytes
export default () => new Uint8Array(32 << 20);
