// Runs a function in a test as Larder would: fake state, enrolment and clock of the event; what the run did is in the result.

import { bind, mayWait } from "./host.js";
import "./globals.js";
import { Headers, Response, fetch } from "./http.js";
import { Stop } from "./stop.js";

// node's own answer by promises, which a function waits for on StarlingMonkey only.
if (mayWait()) globalThis.fetch = async (url, init) => fetch(url, init);
else Object.assign(globalThis, { fetch, Headers, Response });

const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** What the host refuses, as a guest receives it. */
function refused(text) {
  const error = new Error(text);
  error.payload = text;
  return error;
}

/** What is told of an answer, at once or when it is there. */
const later = (answer, told) => (typeof answer?.then === "function" ? answer.then(told) : told(answer));

export class TestRun {
  #enrolment = null;
  #env = {};
  #state = new Map();
  #keys = new Map();
  #answers = new Map();
  #runs = 0;

  /** The run is for this end user. */
  enrolment(endUser, topic, settings = {}) {
    this.#enrolment = { endUser, topic, settings: JSON.stringify(settings) };
    return this;
  }

  env(variables) {
    this.#env = variables;
    return this;
  }

  /** A value that is in state before the run. */
  state(key, value) {
    this.#state.set(key, encoder.encode(JSON.stringify(value)));
    return this;
  }

  /** The key of an upstream's signatures. `hmac` computes the HMAC-SHA256 of the data under it. */
  signing(upstream, hmac) {
    this.#keys.set(upstream, hmac);
    return this;
  }

  /** The answer to a request such as `GET http://ledger.upstream/rates`: JSON, or text as it is. Others are refused. */
  answers(request, status, body = "", headers = {}) {
    const isText = typeof body === "string" || body instanceof Uint8Array;
    const type = isText ? {} : { "content-type": "application/json" };
    const bytes = body instanceof Uint8Array ? body : encoder.encode(isText ? body : JSON.stringify(body));
    this.#answers.set(request, { status, headers: Object.entries({ ...type, ...headers }), body: bytes });
    return this;
  }

  /** There is no answer to this request, as when the service is away. */
  unanswered(request) {
    this.#answers.set(request, null);
    return this;
  }

  /** One run. State that it wrote is there in the next one, unless the run failed. */
  handle(definition, event) {
    const data = event.data === undefined ? new Uint8Array() : encoder.encode(JSON.stringify(event.data));
    const envelope = {
      id: `test-${this.#runs + 1}`, source: "/test", subject: undefined, time: "2026-01-02T03:04:05Z",
      dataContentType: event.data === undefined ? "" : "application/json", ...event, data,
    };
    return this.#run((ended) => {
      const told = (answer) => {
        ended.answer = answer === undefined ? null : decoder.decode(answer);
        return true;
      };
      return later(definition.handle(envelope), told);
    });
  }

  /** One request: `serve(fn, "GET /path?query", { headers, body })`. The answer is in `response`. */
  serve(definition, request, { headers = {}, body = "" } = {}) {
    const [method, target] = request.split(" ");
    const bytes = typeof body === "string" ? encoder.encode(body) : body instanceof Uint8Array ? body : encoder.encode(JSON.stringify(body));
    return this.#run((ended) => {
      const told = (answer) => {
        ended.response = new Response(answer.body, { status: answer.status, headers: answer.headers });
        ended.answer = decoder.decode(answer.body);
        return answer.status < 500;
      };
      return later(definition.serve({ method, target, headers: Object.entries(headers), read: () => bytes }), told);
    });
  }

  /** Applies what the run did if `work` gives true. What it gives is a promise if `work` gives one. */
  #run(work) {
    const run = ++this.#runs;
    const ended = {
      transactions: [], events: [], requests: [], logs: [], answer: null, response: null, rejected: null, retry: null, error: null,
    };
    const state = new Map(this.#state);
    bind(this.#host(ended, state, run));
    const failed = (error) => {
      if (error?.tag === "reject") ended.rejected = error.val;
      else if (error?.tag === "retry") ended.retry = error.val;
      else ended.error = error;
      return false;
    };
    let applied;
    try {
      applied = work(ended);
    } catch (error) {
      applied = failed(error);
    }
    const finish = (applied) => this.#finish(applied, ended, state);
    return typeof applied?.then === "function" ? applied.catch(failed).then(finish) : finish(applied);
  }

  #finish(applied, ended, state) {
    if (applied) this.#state = state;
    // Nothing of a run that fails is applied; requests are sent all the same.
    if (!applied) Object.assign(ended, { transactions: [], events: [] });
    // A test that expects no saving must not pass because the run failed.
    Object.defineProperty(ended, "saved", {
      get() {
        if (ended.error !== null) throw new Error(`the run failed: ${ended.error?.message ?? ended.error}`, { cause: ended.error });
        const why = ended.rejected ?? ended.retry;
        if (why !== null) throw new Error(`the run ended with ${ended.retry === null ? "reject" : "retry"}: ${why}`);
        return ended.transactions.map(({ amount, currency }) => `${amount} ${currency}`);
      },
    });
    ended.state = Object.fromEntries([...this.#state].map(([key, value]) => [key, JSON.parse(decoder.decode(value))]));
    return ended;
  }

  #host(ended, state, run) {
    const whole = (key) => BigInt(decoder.decode(state.get(key) ?? encoder.encode("0")));
    return {
      savings: {
        createTransaction: ({ endUser, amount, currency, memo }) => {
          if (this.#enrolment === null && endUser === undefined) throw refused("whose saving is it? endUser is missing");
          if (this.#enrolment !== null && endUser !== undefined) throw refused("a run for an enrolment saves for its own end user");
          if (!/[1-9]/.test(amount) || amount.startsWith("-")) throw refused(`amount "${amount}" is not more than zero`);
          if (memo !== undefined && [...memo].length > 200) throw refused("memo has more than 200 characters");
          ended.transactions.push({ endUser: endUser ?? this.#enrolment.endUser, amount, currency, memo: memo ?? null });
          return `test-${run}-${ended.transactions.length}`;
        },
      },
      state: {
        get: (key) => state.get(key),
        set: (key, value) => void state.set(key, value),
        delete: (key) => void state.delete(key),
        increment: (key, by) => void state.set(key, encoder.encode(String(whole(key) + BigInt(by)))),
        list: (prefix, after) =>
          [...state].filter(([key]) => key.startsWith(prefix) && (after === undefined || key > after))
            .sort(([a], [b]) => (a < b ? -1 : 1)).slice(0, 100).map(([key, value]) => ({ key, value })),
      },
      events: {
        emitWith: ({ type, subject, data }, attributes) => {
          const extra = Object.fromEntries(attributes.map(({ name, value }) => [name, value]));
          const content = data.length > 0 ? JSON.parse(decoder.decode(data)) : null;
          ended.events.push({ type, subject: subject ?? null, data: content, attributes: extra });
          return `test-${run}-event-${ended.events.length}`;
        },
      },
      http: {
        send: ({ of, headers, body, bytesMax }) => {
          const answer = this.#answers.get(of);
          if (answer === undefined) throw new Stop("reject", `${of} was refused: it is not granted; TestRun.answers gives it an answer`);
          ended.requests.push({ request: of, headers: Object.fromEntries(headers), body: decoder.decode(body) });
          if (answer === null) throw new Stop("retry", `${of} failed: there is no answer`);
          if (answer.body.length > bytesMax) throw new Stop("reject", `${of}: the answer has more than ${bytesMax} bytes`);
          return answer;
        },
      },
      enrolment: { current: () => this.#enrolment ?? undefined },
      attributes: { current: () => [] },
      environment: { getEnvironment: () => Object.entries(this.#env) },
      signing: {
        sign: (upstream, data) => {
          const hmac = this.#keys.get(upstream);
          if (hmac === undefined) throw refused(`the upstream ${upstream} has no signing key`);
          return hmac(data);
        },
      },
    };
  }
}
