// Amounts of money: whole minor units and a currency. No number is ever an amount, because doubles lose digits.

import { reject } from "./end";

const ZERO: i32 = 48;
/** Digits of whole units; with three decimals they fit 64 bits. */
const DIGITS_MAX = 15;

// ISO 4217 currencies that do not have two decimals.
const NONE = "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX VND VUV XAF XOF XPF";
const THREE = "BHD IQD JOD KWD LYD OMR TND";

function decimalsOf(currency: string): i32 {
  return NONE.includes(currency) ? 0 : THREE.includes(currency) ? 3 : 2;
}

function isCurrency(text: string): bool {
  if (text.length != 3) return false;
  for (let at = 0; at < 3; at++) {
    const code = text.charCodeAt(at);
    if (code < 65 || code > 90) return false;
  }
  return true;
}

function areDigits(text: string): bool {
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if (code < ZERO || code > ZERO + 9) return false;
  }
  return text.length > 0;
}

function number(digits: string): i64 {
  let value: i64 = 0;
  for (let at = 0; at < digits.length; at++) value = value * 10 + (digits.charCodeAt(at) - ZERO);
  return value;
}

function power(exponent: i32): i64 {
  let value: i64 = 1;
  while (exponent-- > 0) value *= 10;
  return value;
}

function floorDivide(value: i64, by: i64): i64 {
  const quotient = value / by;
  return value % by < 0 ? quotient - 1 : quotient;
}

function notText(text: string, what: string, sample: string): void {
  reject(`${what} must be decimal text such as "${sample}", not "${text}"`);
}

/** Whole minor units of decimal text. */
function parse(text: string, currency: string, what: string): i64 {
  const isNegative = text.startsWith("-");
  const point = text.indexOf(".");
  const major = text.substring(isNegative ? 1 : 0, point < 0 ? text.length : point);
  const minor = point < 0 ? "" : text.substring(point + 1);
  if (!areDigits(major) || major.length > DIGITS_MAX || (point >= 0 && !areDigits(minor))) notText(text, what, "12.50");
  const decimals = decimalsOf(currency);
  for (let at = decimals; at < minor.length; at++) {
    if (minor.charCodeAt(at) != ZERO) reject(`${what} ${text} has more decimals than ${currency} has (${decimals})`);
  }
  const units = number(major + minor.padEnd(decimals, "0").substring(0, decimals));
  return isNegative ? -units : units;
}

/** An amount in a currency. What is no amount rejects the event. */
@final
export class Money {
  private constructor(private units: i64, readonly currency: string) {}

  /** An amount from decimal text in major units: `Money.of("12.50", "SEK")`. */
  static of(amount: string, currency: string): Money {
    if (!isCurrency(currency)) reject(`a currency is three capital letters (ISO 4217), not "${currency}"`);
    return new Money(parse(amount, currency, "an amount"), currency);
  }

  static zero(currency: string): Money {
    return Money.of("0", currency);
  }

  /** Decimal text with all decimals of the currency. */
  get amount(): string {
    const decimals = decimalsOf(this.currency);
    const digits = (this.units < 0 ? 0 - <u64>this.units : <u64>this.units).toString().padStart(decimals + 1, "0");
    const major = digits.substring(0, digits.length - decimals);
    const sign = this.units < 0 ? "-" : "";
    return decimals > 0 ? `${sign}${major}.${digits.substring(digits.length - decimals)}` : sign + major;
  }

  private same(other: Money): i64 {
    if (other.currency != this.currency) reject(`${this.toString()} and ${other.toString()} have different currencies`);
    return other.units;
  }

  private sum(units: i64): Money {
    const sum = this.units + units;
    if ((this.units ^ sum) & (units ^ sum) & i64.MIN_VALUE) reject("an amount is too large");
    return new Money(sum, this.currency);
  }

  plus(other: Money): Money {
    return this.sum(this.same(other));
  }

  minus(other: Money): Money {
    return this.sum(-this.same(other));
  }

  /** So many per cent of it, rounded down to a whole minor unit. The share is decimal text: `"12.5"`. */
  percent(share: string): Money {
    const point = share.indexOf(".");
    const whole = point < 0 ? share : share.substring(0, point);
    const rest = point < 0 ? "" : share.substring(point + 1);
    const fits = areDigits(whole) && whole.length <= 9 && (point < 0 || (areDigits(rest) && rest.length <= 6));
    if (!fits) notText(share, "a share", "12.5");
    // units × factor ÷ divisor, in parts that fit: the last is below 10^16.
    const factor = number(whole + rest), divisor = 100 * power(rest.length);
    const quotient = floorDivide(this.units, divisor), left = this.units - quotient * divisor;
    const most = abs<i64>(this.units);
    if (factor >= divisor && most > 0 && factor / divisor >= i64.MAX_VALUE / 4 / most) reject("an amount is too large");
    const product = this.units * (factor / divisor) + quotient * (factor % divisor) + (left * (factor % divisor)) / divisor;
    return new Money(product, this.currency);
  }

  /** The next multiple of the step, which is this amount if it is one already. The step is decimal text: `"10"`. */
  roundUpTo(step: string): Money {
    const units = parse(step, this.currency, "a step");
    if (units <= 0) reject("a step must be more than zero");
    const rest = this.units - floorDivide(this.units, units) * units;
    return rest == 0 ? this : this.sum(units - rest);
  }

  /** The smaller one of the two. */
  atMost(other: Money): Money {
    return this.same(other) < this.units ? other : this;
  }

  /** Less than zero, zero, or more than zero, as this amount is less than, equal to, or more than the other. */
  compare(other: Money): i32 {
    const units = this.same(other);
    return this.units < units ? -1 : i32(this.units > units);
  }

  equals(other: Money): bool {
    return this.compare(other) == 0;
  }

  get isPositive(): bool {
    return this.units > 0;
  }

  get isZero(): bool {
    return this.units == 0;
  }

  toString(): string {
    return `${this.amount} ${this.currency}`;
  }
}
