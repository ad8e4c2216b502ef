// What QuickJS lacks and programs expect. Nothing is replaced that exists, with one exception: the engine seeds Math.random
// when the component is built, so every run would see the same numbers.

import { optional } from "./host.js";

const define = (name, value) => {
  if (globalThis[name] === undefined) Object.defineProperty(globalThis, name, { value, configurable: true, writable: true });
};

class Encoder {
  get encoding() {
    return "utf-8";
  }

  encode(text = "") {
    const bytes = [];
    for (const character of String(text)) {
      let code = character.codePointAt(0);
      if (code >= 0xd800 && code <= 0xdfff) code = 0xfffd; // a lone surrogate
      if (code < 0x80) bytes.push(code);
      else if (code < 0x800) bytes.push(0xc0 | (code >> 6), 0x80 | (code & 63));
      else if (code < 0x10000) bytes.push(0xe0 | (code >> 12), 0x80 | ((code >> 6) & 63), 0x80 | (code & 63));
      else bytes.push(0xf0 | (code >> 18), 0x80 | ((code >> 12) & 63), 0x80 | ((code >> 6) & 63), 0x80 | (code & 63));
    }
    return Uint8Array.from(bytes);
  }
}

/** The smallest second byte after a first one, where it is not 0x80, and the greatest where it is not 0xbf. */
const LEAST = { 0xe0: 0xa0, 0xf0: 0x90 };
const MOST = { 0xed: 0x9f, 0xf4: 0x8f };

class Decoder {
  #fatal;
  #keepsMark;

  constructor(label = "utf-8", { fatal = false, ignoreBOM = false } = {}) {
    if (!/^utf-?8$/i.test(String(label).trim())) throw new RangeError(`TextDecoder knows utf-8 only, not ${label}`);
    this.#fatal = fatal;
    this.#keepsMark = ignoreBOM;
  }

  get encoding() {
    return "utf-8";
  }

  decode(input = new Uint8Array()) {
    const bytes = ArrayBuffer.isView(input)
      ? new Uint8Array(input.buffer, input.byteOffset, input.byteLength)
      : new Uint8Array(input);
    const text = [];
    const wrong = () => {
      if (this.#fatal) throw new TypeError("the bytes are not UTF-8");
      text.push("\ufffd");
    };
    for (let at = 0; at < bytes.length; ) {
      const first = bytes[at++];
      if (first < 0x80) {
        text.push(String.fromCharCode(first));
        continue;
      }
      const more = first >= 0xc2 && first <= 0xdf ? 1 : first >= 0xe0 && first <= 0xef ? 2 : first >= 0xf0 && first <= 0xf4 ? 3 : 0;
      let code = first & (0x3f >> more);
      let read = 0;
      for (; read < more; read++) {
        const next = bytes[at];
        const [least, most] = read === 0 ? [LEAST[first] ?? 0x80, MOST[first] ?? 0xbf] : [0x80, 0xbf];
        if (next === undefined || next < least || next > most) break;
        code = (code << 6) | (next & 63);
        at++;
      }
      if (more === 0 || read < more) wrong();
      else text.push(String.fromCodePoint(code));
    }
    if (!this.#keepsMark && text[0] === "\ufeff") text.shift();
    return text.join("");
  }
}

/** Values as people want to read them in a log. */
function shown(value, depth = 0) {
  if (typeof value === "string") return depth === 0 ? value : JSON.stringify(value);
  if (typeof value === "bigint") return `${value}n`;
  if (typeof value === "function") return `[function ${value.name || "anonymous"}]`;
  if (value === null || typeof value !== "object") return String(value);
  if (value instanceof Error) {
    // QuickJS's stack is only the places.
    const stack = value.stack ?? "";
    return stack.startsWith(String(value)) ? stack : `${value}\n${stack}`.trimEnd();
  }
  if (depth > 3) return "…";
  if (Array.isArray(value)) return `[${value.map((one) => shown(one, depth + 1)).join(", ")}]`;
  if (value instanceof Map) return `Map ${shown(Object.fromEntries(value), depth + 1)}`;
  if (value instanceof Set) return `Set ${shown([...value], depth + 1)}`;
  if (value instanceof Date || typeof value.toJSON === "function" || ArrayBuffer.isView(value)) return String(value);
  const members = Object.entries(value).map(([name, one]) => `${name}: ${shown(one, depth + 1)}`);
  return members.length > 0 ? `{ ${members.join(", ")} }` : "{}";
}

/** A stream takes 4096 bytes at once. */
const PIECE = 4096;

function print(name, method, values) {
  const bytes = new TextEncoder().encode(`${values.map((value) => shown(value)).join(" ")}\n`);
  const stream = optional(name)?.[method]();
  for (let at = 0; stream !== undefined && at < bytes.length; at += PIECE) {
    stream.blockingWriteAndFlush(bytes.subarray(at, at + PIECE));
  }
}

const out = (...values) => print("stdout", "getStdout", values);
const err = (...values) => print("stderr", "getStderr", values);

define("TextEncoder", Encoder);
define("TextDecoder", Decoder);
define("console", { log: out, info: out, debug: out, dir: out, warn: err, error: err, trace: err });
define("structuredClone", (value) => clone(value, new Map()));

/** What the structured clone algorithm copies, of what this engine has (HTML, section 2.7). */
function clone(value, seen) {
  if (typeof value === "function" || typeof value === "symbol") throw new TypeError(`${String(value)} cannot be cloned`);
  if (value === null || typeof value !== "object") return value;
  if (seen.has(value)) return seen.get(value);
  const keep = (copy) => (seen.set(value, copy), copy);
  if (value instanceof Date) return keep(new Date(value));
  if (value instanceof RegExp) return keep(new RegExp(value.source, value.flags));
  if (value instanceof ArrayBuffer) return keep(value.slice(0));
  if (ArrayBuffer.isView(value)) return keep(new value.constructor(value));
  if (value instanceof Map) {
    const copy = keep(new Map());
    value.forEach((one, key) => copy.set(clone(key, seen), clone(one, seen)));
    return copy;
  }
  if (value instanceof Set) {
    const copy = keep(new Set());
    value.forEach((one) => copy.add(clone(one, seen)));
    return copy;
  }
  const copy = keep(Array.isArray(value) ? [] : value instanceof Error ? new value.constructor(value.message) : {});
  for (const [name, one] of Object.entries(value)) copy[name] = clone(one, seen);
  return copy;
}

/** Of a query. What is no encoding stays as it is, and what is no UTF-8 becomes U+FFFD: it comes from anybody. */
function decode(text) {
  const parts = text.replaceAll("+", " ").split(/((?:%[0-9a-f]{2})+)/i);
  const decoded = (part) => new TextDecoder("utf-8", { ignoreBOM: true }).decode(Uint8Array.from(part.slice(1).split("%"), (byte) => parseInt(byte, 16)));
  return parts.map((part, at) => (at % 2 === 1 ? decoded(part) : part)).join("");
}

class Parameters {
  #pairs = [];

  constructor(init = "") {
    if (typeof init === "string") {
      for (const pair of init.replace(/^\?/, "").split("&").filter(Boolean)) {
        const at = pair.indexOf("=");
        this.#pairs.push(at < 0 ? [decode(pair), ""] : [decode(pair.slice(0, at)), decode(pair.slice(at + 1))]);
      }
    } else {
      const pairs = typeof init[Symbol.iterator] === "function" ? init : Object.entries(init);
      for (const [name, value] of pairs) this.append(name, value);
    }
  }

  append(name, value) {
    this.#pairs.push([String(name), String(value)]);
  }

  delete(name) {
    this.#pairs = this.#pairs.filter(([own]) => own !== name);
  }

  get(name) {
    return this.#pairs.find(([own]) => own === name)?.[1] ?? null;
  }

  getAll(name) {
    return this.#pairs.filter(([own]) => own === name).map(([, value]) => value);
  }

  has(name) {
    return this.#pairs.some(([own]) => own === name);
  }

  set(name, value) {
    const at = this.#pairs.findIndex(([own]) => own === name);
    if (at < 0) return this.append(name, value);
    this.#pairs = this.#pairs.filter(([own], other) => own !== name || other === at);
    this.#pairs[at][1] = String(value);
  }

  *[Symbol.iterator]() {
    yield* this.#pairs;
  }

  toString() {
    const encode = (text) => encodeURIComponent(text).replaceAll("%20", "+");
    return this.#pairs.map(([name, value]) => `${encode(name)}=${encode(value)}`).join("&");
  }
}

/** Absolute http and https addresses (RFC 3986), which is what a function can call. */
class Address {
  constructor(text, base = undefined) {
    const absolute = /^(https?):\/\/(?:[^/?#@]*@)?([^/?#:]+|\[[^\]]+\])(?::(\d+))?([^?#]*)(\?[^#]*)?(#.*)?$/i;
    let parts = absolute.exec(String(text));
    if (parts === null && base !== undefined) {
      const of = new Address(String(base));
      const path = String(text).startsWith("/") ? String(text) : of.pathname.replace(/[^/]*$/, "") + String(text);
      parts = absolute.exec(of.origin + path);
    }
    if (parts === null) throw new TypeError(`${text} is no http or https address`);
    const [, scheme, hostname, port = "", path, search = "", hash = ""] = parts;
    this.protocol = `${scheme.toLowerCase()}:`;
    this.hostname = hostname.toLowerCase();
    this.port = port === (this.protocol === "https:" ? "443" : "80") ? "" : port;
    const segments = [];
    for (const segment of (path || "/").slice(1).split("/")) {
      if (segment === "..") segments.pop();
      else if (segment !== ".") segments.push(segment);
    }
    this.pathname = `/${segments.join("/")}`;
    this.searchParams = new Parameters(search);
    this.hash = hash;
  }

  get host() {
    return this.port === "" ? this.hostname : `${this.hostname}:${this.port}`;
  }

  get origin() {
    return `${this.protocol}//${this.host}`;
  }

  get search() {
    const text = this.searchParams.toString();
    return text === "" ? "" : `?${text}`;
  }

  get href() {
    return this.origin + this.pathname + this.search + this.hash;
  }

  toString() {
    return this.href;
  }

  toJSON() {
    return this.href;
  }
}

define("URLSearchParams", Parameters);
define("URL", Address);

// Tests run in node, whose numbers are good.
if (typeof process === "undefined") {
  Math.random = () => {
    const bytes = optional("random")?.getRandomBytes(7);
    if (bytes === undefined) throw new Error("Math.random works while a run is going on, not while the program is built");
    // 53 bits: all that a double holds below 1.
    const [a, b, c, d, e, f, g] = bytes;
    return ((a & 31) * 2 ** 48 + (b * 2 ** 40 + c * 2 ** 32 + d * 2 ** 24 + e * 2 ** 16 + f * 2 ** 8 + g)) / 2 ** 53;
  };
}
