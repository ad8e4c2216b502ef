/** A CloudEvents 1.0 envelope; `Data` is what the event says. */
export interface Event<Data = unknown> {
  /** Unique for its source. A delivery of the same source and id never takes effect twice. */
  readonly id: string;
  readonly source: string;
  /** What happened, in dotted words: `card.purchase`. */
  readonly type: string;
  readonly subject: string | null;
  /** When it happened. For a schedule: the nominal time of the firing. */
  readonly time: Date;
  readonly dataContentType: string;
  /** The parsed JSON; null if the event has no data or data of another type, which is in `bytes`. */
  readonly data: Data;
  readonly bytes: Uint8Array;
}

/** An amount of money. Amounts are decimal text, never numbers, because numbers lose digits. */
export class Money {
  private constructor();
  /** `Money.of("12.50", "SEK")`. Throws if the text is no amount of this currency. */
  static of(amount: string, currency: string): Money;
  static zero(currency: string): Money;
  /** ISO 4217. */
  readonly currency: string;
  /** Decimal text with all decimals of the currency. */
  readonly amount: string;
  plus(other: Money): Money;
  minus(other: Money): Money;
  /** So many per cent of it, rounded down: `percent("12.5")`. */
  percent(share: string): Money;
  /** The next multiple of the step, or the amount itself if it is one: `roundUpTo("10")`. */
  roundUpTo(step: string): Money;
  /** The smaller one of the two. */
  atMost(other: Money): Money;
  compare(other: Money): -1 | 0 | 1;
  equals(other: Money): boolean;
  readonly isPositive: boolean;
  readonly isZero: boolean;
  toString(): string;
  toJSON(): { amount: string; currency: string };
}

/** Values that outlive a run, as JSON. They belong to the function and, in a run for an enrolment, to that enrolment. */
export interface State {
  get<Value = unknown>(key: string): Value | undefined;
  bytes(key: string): Uint8Array | undefined;
  set(key: string, value: unknown): void;
  delete(key: string): void;
  /** Adds a whole number without a conflict with other runs. */
  increment(key: string, by?: number | bigint): void;
  list<Value = unknown>(prefix?: string, after?: string): { key: string; value: Value }[];
}

export interface Enrolment<Settings = Record<string, unknown>> {
  /** A pseudonym: the same in every run of this function, another in every other function. */
  readonly endUser: string;
  readonly topic: string;
  readonly settings: Settings;
}

/** What a run may do. Nothing of it is applied unless the run ends well. */
export interface Run<Settings = Record<string, unknown>> {
  /** Whom this run is for; null in a run that is not for an enrolment. */
  readonly enrolment: Enrolment<Settings> | null;
  readonly state: State;
  /** Variables of the function, and the secrets that it is granted. */
  readonly env: Readonly<Record<string, string>>;
  /** Attributes of the event that have no member of their own, such as `traceparent`. */
  readonly attributes: Readonly<Record<string, string>>;
  /** Creates a saving; gives its id. */
  save(money: Money, options?: { memo?: string; endUser?: string }): string;
  /** Sends an event when the run ends well; gives its id. */
  emit(type: string, data?: unknown, options?: { subject?: string; attributes?: Record<string, string> }): string;
  /** Refuses the event for good. */
  reject(why: string): never;
  /** Asks to be run again later. */
  retry(why: string): never;
  /** The HMAC-SHA256 of the data under the upstream's signing key, which stays with the host. */
  sign(upstream: string, data: string | Uint8Array): Uint8Array;
  /**
   * Sends a request to an outside service that is granted and gives the answer, read whole. It is sent at once, even if the run
   * fails later. Without an answer the run ends: it is retried, or refused for good where asking again would not help.
   */
  fetch(url: string | URLLike, init?: RequestInit): Response;
  log(...values: unknown[]): void;
}

/** A URL, of whatever library. */
export interface URLLike {
  readonly href: string;
}

export type HeadersInit = Record<string, string> | Iterable<readonly [string, string]>;

export interface RequestInit {
  /** GET if nothing is said. */
  method?: string;
  headers?: HeadersInit;
  body?: string | Uint8Array;
  /** A value to be sent as JSON, instead of `body`. */
  json?: unknown;
  /** Bytes of the answer that are read, 1 MiB if nothing is said; a longer one is refused. */
  bytesMax?: number;
}

/** Headers by their names, in any case. */
export class Headers implements Iterable<[string, string]> {
  constructor(init?: HeadersInit);
  append(name: string, value: string): void;
  delete(name: string): void;
  get(name: string): string | null;
  has(name: string): boolean;
  set(name: string, value: string): void;
  [Symbol.iterator](): IterableIterator<[string, string]>;
}

interface Message {
  readonly headers: Headers;
  bytes(): Uint8Array;
  text(): string;
  json<Value = any>(): Value;
}

/** An answer. Unlike the web's own it is read without waiting. */
export class Response implements Message {
  constructor(body?: string | Uint8Array | null, init?: { status?: number; headers?: HeadersInit });
  static json(value: unknown, init?: { status?: number; headers?: HeadersInit }): Response;
  readonly status: number;
  /** The status is 2xx. */
  readonly ok: boolean;
  readonly headers: Headers;
  bytes(): Uint8Array;
  text(): string;
  json<Value = any>(): Value;
  /** This answer if its status is 2xx. Otherwise the run ends: it is retried after 408, 425, 429 and 5xx, else refused for good. */
  orThrow(): this;
}

/** A request that the function answers. */
export interface Request extends Message {
  readonly method: string;
  readonly path: string;
  /** The query, as URLSearchParams. */
  readonly query: Query;
}

export interface Query extends Iterable<[string, string]> {
  get(name: string): string | null;
  getAll(name: string): string[];
  has(name: string): boolean;
}

/** The same as `run.fetch`. */
export function fetch(url: string | URLLike, init?: RequestInit): Response;

interface OnEvent<Data, Settings> {
  /** Reacts to one event, for one enrolment if the function is `per = "enrolment"`. What it returns answers a synchronous run. */
  onEvent(event: Event<Data>, run: Run<Settings>): unknown;
}

interface OnRequest<Settings> {
  /** Answers a request: a Response, or text, or a value to be sent as JSON; nothing is 204. */
  onRequest(request: Request, run: Run<Settings>): unknown;
}

export type Definition<Data, Settings> =
  | (OnEvent<Data, Settings> & Partial<OnRequest<Settings>>)
  | (Partial<OnEvent<Data, Settings>> & OnRequest<Settings>);

/** What a component exports. */
export interface LarderFunction {
  handle?(event: object): Uint8Array | undefined;
  serve?(request: object): object;
}

/** `export default defineFunction<Purchase>({ onEvent(event, run) { … } })`. */
export function defineFunction<Data = unknown, Settings = Record<string, unknown>>(
  definition: Definition<Data, Settings>,
): LarderFunction;
