// Amounts of money: whole minor units and a currency. No number is ever an amount, because doubles lose digits.

// Decimals of ISO 4217 currencies that do not have two.
const DECIMALS = {
  BIF: 0, CLP: 0, DJF: 0, GNF: 0, ISK: 0, JPY: 0, KMF: 0, KRW: 0, PYG: 0, RWF: 0, UGX: 0, VND: 0, VUV: 0, XAF: 0, XOF: 0,
  XPF: 0, BHD: 3, IQD: 3, JOD: 3, KWD: 3, LYD: 3, OMR: 3, TND: 3,
};

const decimalsOf = (currency) => DECIMALS[currency] ?? 2;

function refuseNumber(value, what) {
  if (typeof value === "number") {
    throw new TypeError(`${what} is the number ${value}; write it as text ("${value}"): numbers lose digits of money`);
  }
}

/** Whole minor units of decimal text. */
function parse(text, currency, what) {
  refuseNumber(text, what);
  const parts = typeof text === "string" ? /^(-?)(\d{1,15})(?:\.(\d+))?$/.exec(text) : null;
  if (parts === null) throw new TypeError(`${what} must be decimal text such as "12.50", not ${JSON.stringify(text)}`);
  const [, sign, major, minor = ""] = parts;
  const decimals = decimalsOf(currency);
  if (/[1-9]/.test(minor.slice(decimals))) {
    throw new RangeError(`${what} ${text} has more decimals than ${currency} has (${decimals})`);
  }
  const units = BigInt(major + minor.slice(0, decimals).padEnd(decimals, "0"));
  return sign === "-" ? -units : units;
}

export class Money {
  #units;
  #currency;

  constructor(units, currency) {
    if (typeof units !== "bigint") throw new TypeError('use Money.of("12.50", "SEK")');
    this.#units = units;
    this.#currency = currency;
  }

  /** An amount from decimal text in major units: `Money.of("12.50", "SEK")`. */
  static of(amount, currency) {
    if (typeof currency !== "string" || !/^[A-Z]{3}$/.test(currency)) {
      throw new TypeError(`a currency is three capital letters (ISO 4217), not ${JSON.stringify(currency)}`);
    }
    return new Money(parse(amount, currency, "an amount"), currency);
  }

  static zero(currency) {
    return Money.of("0", currency);
  }

  get currency() {
    return this.#currency;
  }

  /** Decimal text with all decimals of the currency. */
  get amount() {
    const decimals = decimalsOf(this.#currency);
    const digits = String(this.#units < 0n ? -this.#units : this.#units).padStart(decimals + 1, "0");
    const major = digits.slice(0, digits.length - decimals);
    return (this.#units < 0n ? "-" : "") + (decimals > 0 ? `${major}.${digits.slice(-decimals)}` : major);
  }

  #same(other) {
    if (!(other instanceof Money)) throw new TypeError("the other amount must be a Money");
    if (other.#currency !== this.#currency) {
      throw new TypeError(`${this} and ${other} have different currencies`);
    }
    return other.#units;
  }

  plus(other) {
    return new Money(this.#units + this.#same(other), this.#currency);
  }

  minus(other) {
    return new Money(this.#units - this.#same(other), this.#currency);
  }

  /** So many per cent of it, rounded down to a whole minor unit. The share is decimal text: `"12.5"`. */
  percent(share) {
    refuseNumber(share, "a share");
    const parts = typeof share === "string" ? /^(\d{1,9})(?:\.(\d{1,6}))?$/.exec(share) : null;
    if (parts === null) throw new TypeError(`a share must be decimal text such as "12.5", not ${JSON.stringify(share)}`);
    const [, whole, rest = ""] = parts;
    const product = this.#units * BigInt(whole + rest);
    const divisor = 100n * 10n ** BigInt(rest.length);
    const quotient = product / divisor;
    return new Money(product < 0n && quotient * divisor !== product ? quotient - 1n : quotient, this.#currency);
  }

  /** The next multiple of the step, which is this amount if it is one already. The step is decimal text: `"10"`. */
  roundUpTo(step) {
    const units = parse(step, this.#currency, "a step");
    if (units <= 0n) throw new RangeError("a step must be more than zero");
    const rest = ((this.#units % units) + units) % units;
    return new Money(rest === 0n ? this.#units : this.#units - rest + units, this.#currency);
  }

  /** The smaller one of the two. */
  atMost(other) {
    const units = this.#same(other);
    return units < this.#units ? other : this;
  }

  /** Less than zero, zero, or more than zero, as this amount is less than, equal to, or more than the other. */
  compare(other) {
    const units = this.#same(other);
    return this.#units < units ? -1 : Number(this.#units > units);
  }

  equals(other) {
    return this.compare(other) === 0;
  }

  get isPositive() {
    return this.#units > 0n;
  }

  get isZero() {
    return this.#units === 0n;
  }

  toString() {
    return `${this.amount} ${this.#currency}`;
  }

  toJSON() {
    return { amount: this.amount, currency: this.#currency };
  }

  /** Adding a Money to something with `+` would make text of it. */
  [Symbol.toPrimitive](hint) {
    if (hint === "string") return this.toString();
    throw new TypeError("use plus, minus and compare: operators do not work on money");
  }
}
