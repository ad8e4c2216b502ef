// The interfaces of larder.wit that this component imports. The entry that `larder build` writes binds them; the test kit
// binds its own.

const NEEDS = {
  savings: 'transactions.SEK = { max = "500.00", sum = "1000.00", period = "day" }',
  state: "state = true",
  events: 'events = ["my-function.*"]',
  http: 'http = [{ hosts = ["api.example.com"] }], or upstreams = ["NAME"]',
  signing: 'upstreams = ["NAME"]',
};

let bound = null;
let waits = false;

/** The engine runs a function until its promise has ended. */
export function allowWaiting() {
  waits = true;
}

export const mayWait = () => waits;

/** Binds the interfaces by their names. */
export function bind(interfaces) {
  bound = interfaces;
}

/** An interface, or an error that says which grant is missing. */
export function host(name) {
  if (bound === null) {
    throw new Error(`${name} works in a run, and this runs when the component is built: move it into onEvent or onRequest`);
  }
  if (bound[name] !== undefined) return bound[name];
  throw new Error(`${name} is not granted; add to larder.toml, below [grants]: ${NEEDS[name] ?? name}`);
}

/** An interface, or undefined where the component does not import it. */
export function optional(name) {
  return bound?.[name];
}

/**
 * The same with U+FFFD for halves of letters, as text is sent anywhere on the web: QuickJS' bindings end the run at the first one,
 * which `text.slice(0, 20)` makes of an emoji.
 */
export function wellFormed(value) {
  if (typeof value === "string") return value.toWellFormed();
  if (Array.isArray(value)) return value.map(wellFormed);
  if (value === null || typeof value !== "object" || ArrayBuffer.isView(value)) return value;
  return Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, wellFormed(inner)]));
}

/** Calls the host. What it refuses becomes an Error with the host's text. */
export function call(name, method, ...values) {
  const from = host(name);
  try {
    return from[method](...values.map(wellFormed));
  } catch (error) {
    throw new Error(String(error?.payload ?? error?.val ?? error?.message ?? error));
  }
}
