// Loaded first while `larder build` looks at a function: what differs from run to run is refused outside of functions, where
// it would be the same in every run.

const ONCE = "runs when the component is built, not in each run: move it into onEvent or onRequest";
const refuse = (what) => {
  throw new Error(`${what} ${ONCE}`);
};

const NODES_OWN = [
  "process", "Buffer", "crypto", "performance", "setTimeout", "setInterval", "setImmediate", "AbortController", "Blob", "FormData",
  "Request", "WebSocket", "Worker", "navigator",
];

const Original = Date;
class BuildDate extends Original {
  constructor(...values) {
    if (values.length === 0) refuse("new Date()");
    super(...values);
  }

  static now() {
    return refuse("Date.now()");
  }
}
globalThis.Date = BuildDate;
globalThis.fetch = () => refuse("fetch");
// What node has and QuickJS has not is missing here too, so that a program that looks for it finds the same.
for (const name of NODES_OWN) delete globalThis[name];
