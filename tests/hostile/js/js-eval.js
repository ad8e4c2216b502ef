// tries: computing for ever in code that was not there when it was built
// ends: failed: limit cpu_ms
export default () => new Function("for (;;);")();
