// Loaded first while `larder build` looks at a function for StarlingMonkey, which has web APIs and may wait. One that listens
// for `fetch` is a whole component by itself.
import "./waiting.js";

globalThis.addEventListener = (type) => {
  if (type === "fetch") globalThis.larderListens = true;
};
for (const [name, what] of [["fetch", "fetch"], ["setTimeout", "setTimeout"], ["setInterval", "setInterval"]]) {
  globalThis[name] = () => {
    throw new Error(`${what} runs when the component is built, not in each run: move it into onEvent or onRequest`);
  };
}
for (const name of ["process", "Buffer", "setImmediate", "WebSocket", "Worker", "navigator"]) delete globalThis[name];
