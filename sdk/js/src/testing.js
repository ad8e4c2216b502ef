// Runs a function in a test as Larder would: fake state, enrolment and clock of the event; what the run did is in the result.

import { bind } from "./host.js";
import "./globals.js";

const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** What the host refuses, as a guest receives it. */
function refused(text) {
  const error = new Error(text);
  error.payload = text;
  return error;
}

export class TestRun {
  #enrolment = null;
  #env = {};
  #state = new Map();
  #keys = new Map();
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

  /** One run. State that it wrote is there in the next one, unless the run failed. */
  handle(definition, event) {
    const run = ++this.#runs;
    const ended = { transactions: [], events: [], logs: [], answer: null, rejected: null, retry: null, error: null };
    const state = new Map(this.#state);
    bind(this.#host(ended, state, run));
    const data = event.data === undefined ? new Uint8Array() : encoder.encode(JSON.stringify(event.data));
    const envelope = {
      id: `test-${run}`, source: "/test", subject: undefined, time: "2026-01-02T03:04:05Z",
      dataContentType: event.data === undefined ? "" : "application/json", ...event, data,
    };
    try {
      const answer = definition.handle(envelope);
      ended.answer = answer === undefined ? null : decoder.decode(answer);
      this.#state = state;
    } catch (error) {
      // Nothing of a run that fails is applied.
      Object.assign(ended, { transactions: [], events: [] });
      if (error?.tag === "reject") ended.rejected = error.val;
      else if (error?.tag === "retry") ended.retry = error.val;
      else ended.error = error;
    }
    ended.saved = ended.transactions.map(({ amount, currency }) => `${amount} ${currency}`);
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
