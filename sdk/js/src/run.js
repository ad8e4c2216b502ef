// What a run may do. Nothing of it is applied unless the run ends well.

import { call, host, optional } from "./host.js";
import { fetch } from "./http.js";
import { Money } from "./money.js";
import { Stop } from "./stop.js";

const encoder = new TextEncoder();
const decoder = new TextDecoder();

const toBytes = (value) => (value instanceof Uint8Array ? value : encoder.encode(JSON.stringify(value)));

class State {
  /** The value, or undefined if there is none. */
  get(key) {
    const bytes = this.bytes(key);
    return bytes === undefined ? undefined : JSON.parse(decoder.decode(bytes));
  }

  bytes(key) {
    return call("state", "get", key) ?? undefined;
  }

  set(key, value) {
    if (value === undefined) throw new TypeError(`the value of ${key} is undefined; delete removes a value`);
    call("state", "set", key, toBytes(value));
  }

  delete(key) {
    call("state", "delete", key);
  }

  /** Adds a whole number to the one that is stored, without a conflict with other runs. */
  increment(key, by = 1) {
    if (typeof by !== "bigint" && !Number.isSafeInteger(by)) {
      throw new TypeError(`state is incremented by a whole number or a bigint, not by ${by}`);
    }
    call("state", "increment", key, String(by));
  }

  /** Entries whose key begins with the prefix, in key order, behind `after`, up to 100. */
  list(prefix = "", after = undefined) {
    return call("state", "list", prefix, after).map(({ key, value }) => ({ key, value: JSON.parse(decoder.decode(value)) }));
  }
}

export class Run {
  state = new State();
  #env;

  /** Whom this run is for: a pseudonym, the topic and the settings; null in a run that is not for an enrolment. */
  get enrolment() {
    const found = host("enrolment").current();
    if (found === undefined || found === null) return null;
    return { endUser: found.endUser, topic: found.topic, settings: JSON.parse(found.settings || "{}") };
  }

  /** Attributes of the event that have no member of their own, such as `traceparent`. */
  get attributes() {
    const all = host("attributes").current().map(({ name, value }) => [name, value]);
    return Object.fromEntries(all);
  }

  /** Variables of the function, and the secrets that it is granted. */
  get env() {
    this.#env ??= Object.fromEntries(optional("environment")?.getEnvironment() ?? []);
    return this.#env;
  }

  /** Creates a saving; gives its id. */
  save(money, { memo, endUser } = {}) {
    if (!(money instanceof Money)) {
      throw new TypeError(`run.save takes a Money such as Money.of("12.50", "SEK"), not ${typeof money} ${String(money)}`);
    }
    return call("savings", "createTransaction", { endUser, amount: money.amount, currency: money.currency, memo });
  }

  /** Sends an event when the run ends well; gives its id. */
  emit(type, data = undefined, { subject, attributes = {} } = {}) {
    const isBytes = data instanceof Uint8Array;
    const dataContentType = data === undefined ? "" : isBytes ? "application/octet-stream" : "application/json";
    const event = { type, subject, dataContentType, data: data === undefined ? new Uint8Array() : toBytes(data) };
    const extra = Object.entries(attributes).map(([name, value]) => ({ name, value: String(value) }));
    return call("events", "emitWith", event, extra);
  }

  /** Refuses the event for good. Nothing of the run is applied. */
  reject(why) {
    throw new Stop("reject", String(why));
  }

  /** Asks to be run again later. Nothing of the run is applied. */
  retry(why) {
    throw new Stop("retry", String(why));
  }

  /** The HMAC-SHA256 of the data under the upstream's signing key, which stays with the host. */
  sign(upstream, data) {
    return call("signing", "sign", upstream, typeof data === "string" ? encoder.encode(data) : data);
  }

  /** Sends a request to an outside service and gives the answer, read whole. It is sent at once, even if the run fails later. */
  fetch(url, init) {
    return fetch(url, init);
  }

  /** Writes a line to the execution's logs. */
  log(...values) {
    console.log(...values);
  }
}
