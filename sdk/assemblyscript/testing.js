// Runs the function in a test as Larder would: the program that `larder test` compiled, in a fresh instance for each run, with
// fake state, enrolment and environment. What the run did is in the result.

import { readFileSync } from "node:fs";

const PROGRAM = ".larder/build/test.wasm";

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { fatal: true });
let compiled;

class Exit {
  constructor(code) {
    this.code = code;
  }
}

/** What the host refuses: it reaches the guest as the error of a result. */
class Refusal {
  constructor(why) {
    this.why = why;
  }
}

export class TestRun {
  #program;
  #enrolment = null;
  #env = {};
  #state = new Map();
  #keys = new Map();
  #runs = 0;

  /** Of the program that `larder test` compiled, or of another. */
  constructor(program = (compiled ??= new WebAssembly.Module(readFileSync(PROGRAM)))) {
    this.#program = program;
  }

  /** The run is for this end user. */
  enrolment(endUser, topic, settings = {}) {
    this.#enrolment = { endUser, topic, settings: JSON.stringify(settings) };
    return this;
  }

  /** The variables of the function. */
  env(variables) {
    this.#env = variables;
    return this;
  }

  /** A text that is in state before the run. */
  state(key, value) {
    this.#state.set(key, encoder.encode(value));
    return this;
  }

  /** The key of an upstream's signatures. `hmac` computes the HMAC-SHA256 of the data under it. */
  signing(upstream, hmac) {
    this.#keys.set(upstream, hmac);
    return this;
  }

  /** One run for an event. State that it wrote is there in the next one, unless the run failed. */
  handle({ data, attributes = {}, ...event }) {
    const known = { id: `test-${this.#runs + 1}`, source: "/test", time: "2026-01-02T03:04:05Z", ...event, ...attributes };
    const headers = Object.entries(known).map(([name, value]) => [`ce-${name}`, percent(value)]);
    const isJson = data !== undefined && !(data instanceof Uint8Array);
    if (isJson) headers.push(["content-type", "application/json"]);
    return this.#run("POST /", headers, isJson ? encoder.encode(JSON.stringify(data)) : (data ?? new Uint8Array()), true);
  }

  /** One request: `serve("GET /path?query", { headers, body })`. The answer is in `response`. */
  serve(request, { headers = {}, body = "" } = {}) {
    const isText = typeof body === "string" || body instanceof Uint8Array;
    const bytes = body instanceof Uint8Array ? body : encoder.encode(isText ? body : JSON.stringify(body));
    const type = isText ? {} : { "content-type": "application/json" };
    return this.#run(request, Object.entries({ ...type, ...headers }), bytes, false);
  }

  #run(request, headers, body, isEvent) {
    const run = ++this.#runs;
    const [method, target] = request.split(" ");
    const [path, query = ""] = target.split("?");
    const variables = {
      GATEWAY_INTERFACE: "CGI/1.1", REQUEST_METHOD: method, PATH_INFO: decodeURIComponent(path), QUERY_STRING: query,
      REQUEST_URI: target, ...(body.length > 0 ? { CONTENT_LENGTH: String(body.length) } : {}),
    };
    for (const [name, value] of headers) {
      const upper = name.toUpperCase().replaceAll("-", "_");
      variables[upper === "CONTENT_TYPE" ? upper : `HTTP_${upper}`] = value;
    }
    const ended = { transactions: [], events: [], logs: [], response: null, answer: null, rejected: null, retry: null, error: null };
    const state = new Map(this.#state);
    const said = this.#call({ ...variables, ...this.#env }, body, ended, this.#host(ended, state, run));
    if (ended.error === null) read(said, ended, isEvent);
    const applied = ended.error === null && ended.response.status < 500 && ended.rejected === null && ended.retry === null;
    if (applied) this.#state = state;
    // Nothing of a run that fails is applied.
    else Object.assign(ended, { transactions: [], events: [] });
    // A test that expects no saving must not pass because the run failed.
    Object.defineProperty(ended, "saved", {
      get() {
        if (ended.error !== null) throw new Error(`the run failed: ${ended.error.message}\n${ended.logs.join("\n")}`);
        const why = ended.rejected ?? ended.retry;
        if (why !== null) throw new Error(`the run ended with ${ended.retry === null ? "reject" : "retry"}: ${why}`);
        return ended.transactions.map(({ amount, currency }) => `${amount} ${currency}`);
      },
    });
    ended.state = Object.fromEntries([...this.#state].map(([key, value]) => [key, decoder.decode(value)]));
    return ended;
  }

  /** Runs the program; gives what it wrote to stdout. */
  #call(variables, body, ended, host) {
    const written = { 1: [], 2: [] };
    let instance, at = 0;
    const memory = () => new DataView(instance.exports.memory.buffer);
    const bytes = (from, length) => new Uint8Array(instance.exports.memory.buffer, from, length);
    const vectors = (from, count) =>
      Array.from({ length: count }, (_, it) => bytes(memory().getUint32(from + 8 * it, true), memory().getUint32(from + 8 * it + 4, true)));
    const lines = Object.entries(variables).map(([name, value]) => encoder.encode(`${name}=${value}\0`));
    const wasi = {
      environ_sizes_get(count, size) {
        memory().setUint32(count, lines.length, true);
        memory().setUint32(size, lines.reduce((sum, line) => sum + line.length, 0), true);
        return 0;
      },
      environ_get(pointers, text) {
        lines.forEach((line, it) => {
          memory().setUint32(pointers + 4 * it, text, true);
          bytes(text, line.length).set(line);
          text += line.length;
        });
        return 0;
      },
      fd_read(_, from, count, read) {
        const [to] = vectors(from, count);
        const part = body.subarray(at, at + to.length);
        to.set(part);
        at += part.length;
        memory().setUint32(read, part.length, true);
        return 0;
      },
      fd_write(fd, from, count, size) {
        const parts = vectors(from, count).map((part) => part.slice());
        written[fd].push(...parts);
        memory().setUint32(size, parts.reduce((sum, part) => sum + part.length, 0), true);
        return 0;
      },
      random_get: (to, size) => (crypto.getRandomValues(bytes(to, size)), 0),
      proc_exit(code) {
        throw new Exit(code);
      },
    };
    const lowered = lower(host, memory, bytes, (size) => instance.exports.cabi_realloc(0, 0, 4, size));
    const missing = WebAssembly.Module.imports(this.#program).find(({ module }) => module === "env");
    if (missing !== undefined) throw new Error(`${missing.name} of the browser is called, and Larder has none`);
    const text = (fd) => Buffer.concat(written[fd]).toString();
    try {
      instance = new WebAssembly.Instance(this.#program, { wasi_snapshot_preview1: wasi, ...lowered });
      instance.exports._start();
    } catch (error) {
      if (!(error instanceof Exit)) ended.error = error;
    }
    ended.logs = text(2).split("\n").filter((line) => line !== "");
    return Buffer.concat(written[1]);
  }

  #host(ended, state, run) {
    const whole = (key) => {
      const value = state.has(key) ? decoder.decode(state.get(key)) : "0";
      if (!/^-?\d+$/.test(value)) throw new Refusal(`there is no whole number under "${key}"`);
      return BigInt(value);
    };
    const check = (key) => {
      if (key.length < 1 || [...key].length > 255) throw new Refusal("a key has 1 to 255 characters");
    };
    return {
      create: (endUser, amount, currency, memo) => {
        if (this.#enrolment === null && endUser === null) throw new Refusal("whose saving is it? end-user is missing");
        if (this.#enrolment !== null && endUser !== null) throw new Refusal("a run for an enrolment saves for its own end user");
        if (!/[1-9]/.test(amount) || amount.startsWith("-")) throw new Refusal(`amount "${amount}" is not more than zero`);
        if (memo !== null && [...memo].length > 200) throw new Refusal("memo has more than 200 characters");
        ended.transactions.push({ endUser: endUser ?? this.#enrolment.endUser, amount, currency, memo });
        return `test-${run}-${ended.transactions.length}`;
      },
      get: (key) => (check(key), state.get(key) ?? null),
      set: (key, value) => {
        check(key);
        if (value.length > 65_536) throw new Refusal("a value has up to 65,536 bytes");
        state.set(key, value);
      },
      remove: (key) => (check(key), void state.delete(key)),
      increment: (key, by) => (check(key), void state.set(key, encoder.encode(String(whole(key) + BigInt(by))))),
      list: (prefix, after) =>
        [...state].filter(([key]) => key.startsWith(prefix) && (after === null || key > after))
          .sort(([a], [b]) => (a < b ? -1 : 1)).slice(0, 100),
      emit: (type, subject, data) => {
        ended.events.push({ type, subject, data: data.length > 0 ? JSON.parse(decoder.decode(data)) : null });
        return `test-${run}-event-${ended.events.length}`;
      },
      enrolment: () => this.#enrolment,
      sign: (upstream, data) => {
        const hmac = this.#keys.get(upstream);
        if (hmac === undefined) throw new Refusal(`the upstream ${upstream} has no signing key`);
        return hmac(data);
      },
    };
  }
}

/** The host under the canonical ABI: strings and lists are an address and a length, results lie at `to`. */
function lower(host, memory, bytes, alloc) {
  const lift = (at, size) => bytes(at, size).slice();
  const text = (at, size) => decoder.decode(lift(at, size));
  const optional = (has, at, size) => (has ? text(at, size) : null);
  const words = (to, ...values) => values.forEach((value, it) => memory().setUint32(to + 4 * it, value, true));
  const put = (value) => {
    const all = typeof value === "string" ? encoder.encode(value) : value;
    const at = alloc(all.length);
    bytes(at, all.length).set(all);
    return [at, all.length];
  };
  const answer = (to, work) => {
    try {
      const value = work();
      words(to, 0, ...(value === undefined ? [] : value));
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      words(to, 1, ...put(error.why));
    }
  };
  return {
    "larder:function/savings@0.1.0": {
      "create-transaction": (has, user, userSize, amount, amountSize, currency, currencySize, hasMemo, memo, memoSize, to) =>
        answer(to, () =>
          put(host.create(optional(has, user, userSize), text(amount, amountSize), text(currency, currencySize), optional(hasMemo, memo, memoSize)))),
    },
    "larder:function/state@0.1.0": {
      get: (key, size, to) =>
        answer(to, () => {
          const value = host.get(text(key, size));
          return value === null ? [0] : [1, ...put(value)];
        }),
      set: (key, size, value, valueSize, to) => answer(to, () => host.set(text(key, size), lift(value, valueSize))),
      delete: (key, size, to) => answer(to, () => host.remove(text(key, size))),
      increment: (key, size, by, bySize, to) => answer(to, () => host.increment(text(key, size), text(by, bySize))),
      list: (prefix, size, has, after, afterSize, to) =>
        answer(to, () => {
          const entries = host.list(text(prefix, size), optional(has, after, afterSize));
          const at = alloc(16 * entries.length);
          entries.forEach(([key, value], it) => words(at + 16 * it, ...put(key), ...put(value)));
          return [at, entries.length];
        }),
    },
    "larder:function/events@0.1.0": {
      emit: (type, size, has, subject, subjectSize, _content, _contentSize, data, dataSize, to) =>
        answer(to, () => put(host.emit(text(type, size), optional(has, subject, subjectSize), lift(data, dataSize)))),
    },
    "larder:function/enrolment@0.1.0": {
      current: (to) => {
        const it = host.enrolment();
        words(to, ...(it === null ? [0] : [1, ...put(it.endUser), ...put(it.topic), ...put(it.settings)]));
      },
    },
    "larder:function/signing@0.1.0": {
      sign: (upstream, size, data, dataSize, to) => answer(to, () => put(host.sign(text(upstream, size), lift(data, dataSize)))),
    },
  };
}

const percent = (value) => String(value).replace(/[^!#$&'()*+,./:;=?@[\]\w~-]/gu, encodeURIComponent);

/** An answer of CGI. */
function read(said, ended, isEvent) {
  const end = said.indexOf("\n\n");
  if (end < 0) {
    ended.error = new Error("the program ended without an answer");
    return;
  }
  const headers = said.subarray(0, end).toString().split("\n").map((line) => line.split(/: ?(.*)/s));
  const status = Number(headers.find(([name]) => name === "Status")?.[1].slice(0, 3) ?? 200);
  const body = said.subarray(end + 2);
  ended.answer = body.toString();
  ended.response = {
    status, headers: Object.fromEntries(headers.filter(([name]) => name !== "Status").map(([name, value]) => [name.toLowerCase(), value])),
  };
  if (isEvent && status >= 300) ended[status >= 500 ? "retry" : "rejected"] = ended.answer;
}
