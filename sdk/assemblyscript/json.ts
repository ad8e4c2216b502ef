// JSON (RFC 8259), read. A number stays text: no amount of money is made of one.

import { reject } from "./end";

const DEPTH_MAX = 64;

export enum Kind { Null, Boolean, Number, Text, List, Object }

const KINDS: StaticArray<string> = ["null", "a boolean", "a number", "text", "a list", "an object"];

/** A value of JSON. What is asked for and not there, or of another kind, rejects the event. */
@final
export class Json {
  readonly names: string[] = [];
  readonly items: Json[] = [];

  constructor(readonly kind: Kind, private value: string = "", private place: string = "the data") {}

  /** Reads a text, of which nothing may be left. */
  static parse(text: string, place: string = "the data"): Json {
    const reader = new Reader(text, place);
    const value = reader.value(place, 0);
    if (reader.peek() >= 0) reader.refuse("something follows");
    return value;
  }

  /** The value under a name; null if there is none. A name that comes twice has none. */
  get(name: string): Json | null {
    this.expect(Kind.Object);
    const at = this.names.indexOf(name);
    return at >= 0 && this.names.indexOf(name, at + 1) < 0 ? this.items[at] : null;
  }

  /** The value under a name, which must be there. */
  need(name: string): Json {
    const value = this.get(name);
    if (value === null) reject(`${this.place} has no ${name}`);
    return value as Json;
  }

  has(name: string): bool {
    return this.get(name) !== null;
  }

  /** The text under a name, as amounts are. */
  text(name: string, otherwise: string | null = null): string {
    const value = this.get(name);
    if (value !== null) return value.asText();
    if (otherwise === null) reject(`${this.place} has no ${name}`);
    return otherwise as string;
  }

  /** The object under a name. */
  object(name: string): Json {
    const value = this.need(name);
    value.expect(Kind.Object);
    return value;
  }

  /** The values of the list under a name. */
  list(name: string): Json[] {
    return this.need(name).asList();
  }

  get isNull(): bool {
    return this.kind == Kind.Null;
  }

  /** Its own values. */
  asList(): Json[] {
    this.expect(Kind.List);
    return this.items;
  }

  /** Its own text. */
  asText(): string {
    if (this.kind == Kind.Number) reject(`${this.place} is the number ${this.value}; it must be text ("${this.value}")`);
    this.expect(Kind.Text);
    return this.value;
  }

  /** The whole number that it is. */
  asInteger(): i64 {
    this.expect(Kind.Number);
    const number = I64.parseInt(this.value);
    if (number.toString() != this.value) reject(`${this.place} is ${this.value}, and no whole number`);
    return number;
  }

  /** The number that it is, as near as a float comes to it: no amount of money. */
  asNumber(): f64 {
    this.expect(Kind.Number);
    return parseFloat(this.value);
  }

  asBoolean(): bool {
    this.expect(Kind.Boolean);
    return this.value == "true";
  }

  private expect(kind: Kind): void {
    if (this.kind != kind) reject(`${this.place} is ${KINDS[this.kind]} and not ${KINDS[kind]}`);
  }
}

/** Text as a JSON string. */
export function quote(text: string): string {
  let quoted = "\"";
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if (code == 34 || code == 92) quoted += "\\";
    quoted += code < 32 ? "\\u" + code.toString(16).padStart(4, "0") : text.charAt(at);
  }
  return quoted + "\"";
}

@final
class Reader {
  private at: i32 = 0;

  constructor(private text: string, private place: string) {}

  refuse(why: string): void {
    reject(`${this.place} is no JSON: ${why} at character ${this.at + 1}`);
  }

  /** The next character that is no space; -1 at the end. */
  peek(): i32 {
    while (this.at < this.text.length) {
      const code = this.text.charCodeAt(this.at);
      if (code != 32 && code != 9 && code != 10 && code != 13) return code;
      this.at++;
    }
    return -1;
  }

  private take(expected: i32): bool {
    const found = this.peek() == expected;
    if (found) this.at++;
    return found;
  }

  private need(expected: i32): void {
    if (!this.take(expected)) this.refuse(`${String.fromCharCode(expected)} is missing`);
  }

  private word(word: string): void {
    if (!this.text.startsWith(word, this.at)) this.refuse("a word is not known");
    this.at += word.length;
  }

  value(place: string, depth: i32): Json {
    if (depth > DEPTH_MAX) this.refuse("it is too deep");
    const first = this.peek();
    if (first == 34) return new Json(Kind.Text, this.string(), place);
    if (first == 123 || first == 91) return this.items(place, first == 123, depth);
    const begin = this.at;
    if (first == 116) this.word("true");
    else if (first == 102) this.word("false");
    else if (first == 110) this.word("null");
    else {
      this.number();
      return new Json(Kind.Number, this.text.substring(begin, this.at), place);
    }
    return new Json(first == 110 ? Kind.Null : Kind.Boolean, this.text.substring(begin, this.at), place);
  }

  private items(place: string, isObject: bool, depth: i32): Json {
    const all = new Json(isObject ? Kind.Object : Kind.List, "", place), close = isObject ? 125 : 93;
    this.at++;
    if (this.take(close)) return all;
    do {
      let name = "";
      if (isObject) {
        if (this.peek() != 34) this.refuse("a name is missing");
        name = this.string();
        this.need(58);
        all.names.push(name);
      }
      all.items.push(this.value(isObject ? name : `${place}[${all.items.length}]`, depth + 1));
    } while (this.take(44));
    this.need(close);
    return all;
  }

  private digits(): void {
    const begin = this.at;
    while (this.at < this.text.length && this.text.charCodeAt(this.at) - 48 <= 9 && this.text.charCodeAt(this.at) >= 48) this.at++;
    if (this.at == begin) this.refuse("a value is missing");
  }

  private is(first: i32, second: i32): bool {
    if (this.at == this.text.length) return false;
    const code = this.text.charCodeAt(this.at);
    if (code != first && code != second) return false;
    this.at++;
    return true;
  }

  private number(): void {
    this.is(45, 45);
    const first = this.at;
    this.digits();
    if (this.text.charCodeAt(first) == 48 && this.at > first + 1) this.refuse("a number begins with 0");
    if (this.is(46, 46)) this.digits();
    if (this.is(101, 69)) {
      this.is(43, 45);
      this.digits();
    }
  }

  private string(): string {
    let value = "", begin = ++this.at;
    while (this.at < this.text.length) {
      const code = this.text.charCodeAt(this.at);
      if (code < 32) this.refuse("a control character is in a text");
      if (code == 34 || code == 92) {
        value += this.text.substring(begin, this.at++);
        if (code == 34) return value;
        value += this.escape();
        begin = this.at;
      } else {
        this.at++;
      }
    }
    this.refuse("a text does not end");
    return value;
  }

  private escape(): string {
    const code = this.at < this.text.length ? this.text.charCodeAt(this.at++) : 0;
    if (code == 117) {
      let unit = 0;
      for (let digit = 0; digit < 4; digit++) {
        const hex = this.at < this.text.length ? this.text.charCodeAt(this.at++) : 0, letter = hex | 32;
        if (hex >= 48 && hex <= 57) unit = unit * 16 + hex - 48;
        else if (letter >= 97 && letter <= 102) unit = unit * 16 + letter - 87;
        else this.refuse("an escape is wrong");
      }
      return String.fromCharCode(unit);
    }
    const known = "\"\\/bfnrt".indexOf(String.fromCharCode(code));
    if (code == 0 || known < 0) this.refuse("an escape is wrong");
    return "\"\\/\b\f\n\r\t".charAt(known);
  }
}
