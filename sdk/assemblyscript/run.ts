// What a run may do. What the host refuses rejects the event: its words become the reason.

import {
  begin, bytes, bytesAt, createTransaction, end, enrolmentCurrent, eventsEmit, result, signingSign, size, stateDelete, stateGet,
  stateIncrement, stateList, stateSet, tagAt, text, textAt,
} from "./abi";
import { reject } from "./end";
import { Json } from "./json";
import { Money } from "./money";
import { writeText } from "./wasi";

/** Ends a call whose result is a struct with a string in either case, or with nothing. */
function done(hasText: bool): string {
  const isError = tagAt(result, 0);
  const said = isError || hasText ? textAt(result, 1) : "";
  end();
  if (isError) reject(said);
  return said;
}

/** Creates a transaction for the end user whom this run is for, and gives its id. A memo is for them to read. */
export function save(money: Money, memo: string = ""): string {
  return transaction("", money, memo);
}

/** The same in a run that is for nobody, for somebody who is enrolled in this function. */
export function saveFor(endUser: string, money: Money, memo: string = ""): string {
  if (endUser.length == 0) reject("a saving for nobody");
  return transaction(endUser, money, memo);
}

function transaction(endUser: string, money: Money, memo: string): string {
  const amount = money.amount, currency = money.currency;
  begin();
  createTransaction(
    i32(endUser.length > 0), text(endUser), size(endUser), text(amount), size(amount), text(currency), size(currency),
    i32(memo.length > 0), text(memo), size(memo), result,
  );
  return done(true);
}

/** Sends an event when the run ends well, and gives its id. `data` is JSON. It is about nobody if `subject` is empty. */
export function emit(type: string, data: string = "", subject: string = ""): string {
  const content = data.length > 0 ? "application/json" : "";
  begin();
  eventsEmit(
    text(type), size(type), i32(subject.length > 0), text(subject), size(subject), text(content), size(content),
    text(data), size(data), result,
  );
  return done(true);
}

/** The HMAC-SHA256 of the data under the signing key of an upstream. */
export function sign(upstream: string, data: Uint8Array): Uint8Array {
  begin();
  signingSign(text(upstream), size(upstream), bytes(data), data.length, result);
  const signed = tagAt(result, 0) ? new Uint8Array(0) : bytesAt(result, 1);
  done(false);
  return signed;
}

/** Whom a run is for. */
@final
export class Enrolment {
  constructor(
    /** A pseudonym: the same in every run of this function, another in every other function. */
    readonly endUser: string,
    readonly topic: string,
    /** What the end user chose. */
    readonly settings: Json,
  ) {}
}

/** Null if the run is for nobody. */
export function enrolment(): Enrolment | null {
  begin();
  enrolmentCurrent(result);
  if (!tagAt(result, 0)) {
    end();
    return null;
  }
  const endUser = textAt(result, 1), topic = textAt(result, 3), settings = textAt(result, 5);
  end();
  return new Enrolment(endUser, topic, Json.parse(settings, "the settings"));
}

/** A line for the log. */
export function log(line: string): void {
  writeText(2, line + "\n");
}

@final
export class Entry {
  constructor(readonly key: string, readonly value: Uint8Array) {}

  text(): string {
    return String.UTF8.decodeUnsafe(this.value.dataStart, this.value.length);
  }
}

/** Values that outlive a run. */
export namespace state {
  export function getBytes(key: string): Uint8Array | null {
    begin();
    stateGet(text(key), size(key), result);
    const value = !tagAt(result, 0) && tagAt(result, 1) ? bytesAt(result, 2) : null;
    done(false);
    return value;
  }

  /** Null if there is none. */
  export function get(key: string): string | null {
    const value = getBytes(key);
    return value === null ? null : String.UTF8.decodeUnsafe(value.dataStart, value.length);
  }

  /** Values have up to 65,536 bytes. */
  export function setBytes(key: string, value: Uint8Array): void {
    begin();
    stateSet(text(key), size(key), bytes(value), value.length, result);
    done(false);
  }

  export function set(key: string, value: string): void {
    setBytes(key, Uint8Array.wrap(String.UTF8.encode(value, false, String.UTF8.ErrorMode.REPLACE)));
  }

  export function remove(key: string): void {
    begin();
    stateDelete(text(key), size(key), result);
    done(false);
  }

  /** Adds to the whole number under the key. It never makes the run conflict with another. */
  export function increment(key: string, by: i64 = 1): void {
    const number = by.toString();
    begin();
    stateIncrement(text(key), size(key), text(number), size(number), result);
    done(false);
  }

  /** Up to 100 entries whose keys begin with the prefix, behind `after`, in the order of their keys. */
  export function list(prefix: string = "", after: string = ""): Entry[] {
    begin();
    stateList(text(prefix), size(prefix), i32(after.length > 0), text(after), size(after), result);
    const entries: Entry[] = [];
    if (!tagAt(result, 0)) {
      const from: usize = load<u32>(result + 4), count = load<u32>(result + 8);
      for (let at: usize = 0; at < count; at++) entries.push(new Entry(textAt(from + 16 * at, 0), bytesAt(from + 16 * at, 2)));
    }
    done(false);
    return entries;
  }
}
