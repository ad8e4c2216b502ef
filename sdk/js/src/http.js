// Requests to outside services, and requests that a function answers. Nothing here waits by promises: a run goes from
// beginning to end.

import { host } from "./host.js";
import { Stop } from "./stop.js";

const encoder = new TextEncoder();
const decoder = new TextDecoder();
const BODY_BYTES_MAX = 1 << 20;

const pairsOf = (init) => {
  if (init === undefined || init === null) return [];
  return typeof init[Symbol.iterator] === "function" ? [...init] : Object.entries(init);
};

const bytesOf = (body) => {
  if (body === undefined || body === null) return new Uint8Array();
  if (body instanceof Uint8Array) return body;
  if (typeof body === "string") return encoder.encode(body);
  throw new TypeError(`a body is text or a Uint8Array, not ${typeof body}; JSON is sent by the member json`);
};

export class Headers {
  #pairs;

  constructor(init = undefined) {
    this.#pairs = pairsOf(init).map(([name, value]) => [String(name).toLowerCase(), String(value)]);
  }

  append(name, value) {
    this.#pairs.push([String(name).toLowerCase(), String(value)]);
  }

  delete(name) {
    this.#pairs = this.#pairs.filter(([own]) => own !== String(name).toLowerCase());
  }

  /** All values of the name, with commas between them; null if there is none. */
  get(name) {
    const values = this.#pairs.filter(([own]) => own === String(name).toLowerCase()).map(([, value]) => value);
    return values.length > 0 ? values.join(", ") : null;
  }

  has(name) {
    return this.get(name) !== null;
  }

  set(name, value) {
    this.delete(name);
    this.append(name, value);
  }

  *[Symbol.iterator]() {
    yield* this.#pairs.map(([name, value]) => [name, value]);
  }
}

/** What a request and an answer have in common. */
class Message {
  bytes() {
    throw new TypeError("not a message");
  }

  text() {
    return decoder.decode(this.bytes());
  }

  json() {
    return JSON.parse(this.text());
  }
}

/** An answer: of an outside service, or of this function. */
export class Response extends Message {
  #bytes;
  #of;

  constructor(body = undefined, { status = 200, headers, of = "the request" } = {}) {
    super();
    if (!Number.isInteger(status) || status < 200 || status > 999) throw new RangeError(`${status} is no status of an answer`);
    this.#bytes = bytesOf(body);
    this.#of = of;
    this.status = status;
    this.headers = new Headers(headers);
    if (typeof body === "string" && !this.headers.has("content-type")) {
      this.headers.set("content-type", "text/plain; charset=utf-8");
    }
  }

  static json(value, { status, headers } = {}) {
    const made = new Response(encoder.encode(JSON.stringify(value)), { status, headers });
    if (!made.headers.has("content-type")) made.headers.set("content-type", "application/json");
    return made;
  }

  get ok() {
    return this.status < 300;
  }

  bytes() {
    return this.#bytes;
  }

  json() {
    try {
      return super.json();
    } catch (error) {
      throw new Stop("reject", `the answer to ${this.#of} is not JSON: ${error.message}`);
    }
  }

  /** This answer if its status is 2xx. Otherwise the run ends: it is retried after 408, 425, 429 and 5xx, else refused for good. */
  orThrow() {
    if (this.ok) return this;
    const isPassing = [408, 425, 429].includes(this.status) || this.status >= 500;
    throw new Stop(isPassing ? "retry" : "reject", `${this.#of} was answered ${this.status}`);
  }
}

/** Sends a request and gives the answer, read whole. It is sent at once, even if the run fails later. */
export function fetch(url, { method = "GET", headers, body, json, bytesMax = BODY_BYTES_MAX } = {}) {
  const verb = String(method).toUpperCase();
  const address = String(url).replace(/#.*$/s, "");
  const parts = /^(https?):\/\/([^/?@\s]+)([/?]\S*)?$/i.exec(address);
  if (parts === null) throw new TypeError(`${url} is no http or https address`);
  if (body !== undefined && json !== undefined) throw new TypeError("a request has a body or json, not both");
  if ((body !== undefined || json !== undefined) && (verb === "GET" || verb === "HEAD")) {
    throw new TypeError(`${verb} has no body; write method: "POST"`);
  }
  const all = new Headers(headers);
  if (json !== undefined && !all.has("content-type")) all.set("content-type", "application/json");
  const of = `${verb} ${address}`;
  const [, scheme, authority, path = "/"] = parts;
  const { status, headers: answered, body: bytes } = host("http").send({
    of, method: verb, scheme: scheme.toLowerCase(), authority, path: path.startsWith("/") ? path : `/${path}`,
    headers: [...all], body: json === undefined ? bytesOf(body) : encoder.encode(JSON.stringify(json)), bytesMax,
  });
  return new Response(bytes, { status, headers: answered, of });
}

/** A request that this function answers. */
export class Request extends Message {
  #read;
  #bytes;

  /** `target` is path and query, `read` gives the body. */
  constructor({ method, target, headers, read }) {
    super();
    const at = target.indexOf("?");
    this.method = method;
    this.path = at < 0 ? target : target.slice(0, at);
    this.query = new URLSearchParams(at < 0 ? "" : target.slice(at + 1));
    this.headers = new Headers(headers);
    this.#read = read;
  }

  bytes() {
    this.#bytes ??= this.#read();
    return this.#bytes;
  }
}

/** What `onRequest` gives becomes an answer: text and JSON as they are, nothing 204. */
export function answerOf(answer) {
  if (answer instanceof Response) return answer;
  if (answer === undefined || answer === null) return new Response(undefined, { status: 204 });
  if (typeof answer === "string" || answer instanceof Uint8Array) return new Response(answer);
  return Response.json(answer);
}

/** What a run that ends badly is answered with. Nothing of it is applied. */
export function answerOfStop(stop, isEvent) {
  if (stop.tag === "retry") return new Response(undefined, { status: 503 });
  // Whoever sent an event is told why it is refused, so that it is not sent again.
  return isEvent ? new Response(stop.message, { status: 422 }) : new Response(undefined, { status: 500 });
}
