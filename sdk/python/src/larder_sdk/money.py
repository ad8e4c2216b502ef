"""Amounts of money: decimals of a currency. No float and no int is ever an amount, because floats lose digits and an int does not
say whether it counts kronor or öre."""

from __future__ import annotations

import re
from decimal import ROUND_FLOOR, Context, Decimal, DivisionByZero, Inexact, InvalidOperation, Overflow

# Decimals of ISO 4217 currencies that do not have two.
_DECIMALS = {
    **dict.fromkeys("BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX VND VUV XAF XOF XPF".split(), 0),
    **dict.fromkeys("BHD IQD JOD KWD LYD OMR TND".split(), 3),
}
# What does not fit into so many digits is an error and never rounded.
_EXACT = Context(prec=80, traps=[Inexact, InvalidOperation, DivisionByZero, Overflow])
_FLOOR = Context(prec=80, rounding=ROUND_FLOOR, traps=[InvalidOperation, DivisionByZero, Overflow])

_AMOUNT = re.compile(r"-?[0-9]{1,15}(\.[0-9]+)?")
_SHARE = re.compile(r"[0-9]{1,9}(\.[0-9]{1,6})?")


def _decimals(currency: str) -> int:
    return _DECIMALS.get(currency, 2)


def _text(value: object, form: re.Pattern[str], what: str, example: str) -> str:
    if isinstance(value, (int, float, Decimal)):
        kind = "Decimal" if isinstance(value, Decimal) else "number"
        raise TypeError(f'{what} is the {kind} {value}; write it as text ("{value}"): numbers lose digits of money')
    if not isinstance(value, str) or form.fullmatch(value) is None:
        raise TypeError(f'{what} must be decimal text such as "{example}", not {value!r}')
    return value


def _parse(value: object, currency: str, what: str) -> Decimal:
    """Decimal text with no more decimals than the currency has."""
    text = _text(value, _AMOUNT, what, "12.50")
    decimals = _decimals(currency)
    if text.partition(".")[2][decimals:].strip("0"):
        raise ValueError(f"{what} {text} has more decimals than {currency} has ({decimals})")
    return _FLOOR.quantize(Decimal(text), Decimal(1).scaleb(-decimals))


class Money:
    """An amount of money from decimal text in major units: `Money("12.50", "SEK")`."""

    __slots__ = ("_currency", "_value")
    _currency: str
    _value: Decimal

    def __init__(self, amount: str, currency: str) -> None:
        if not isinstance(currency, str) or re.fullmatch("[A-Z]{3}", currency) is None:
            raise TypeError(f"a currency is three capital letters (ISO 4217), not {currency!r}")
        self._currency = currency
        # Adding zero makes zero of minus zero.
        self._value = _EXACT.add(_parse(amount, currency, "an amount"), Decimal(0))

    @staticmethod
    def zero(currency: str) -> Money:
        return Money("0", currency)

    @property
    def currency(self) -> str:
        """ISO 4217."""
        return self._currency

    @property
    def amount(self) -> str:
        """Decimal text with all decimals of the currency."""
        return f"{self._value:f}"

    @property
    def decimal(self) -> Decimal:
        return self._value

    def plus(self, other: Money) -> Money:
        return self._with(_EXACT.add(self._value, self._same(other)))

    def minus(self, other: Money) -> Money:
        return self._with(_EXACT.subtract(self._value, self._same(other)))

    def percent(self, share: str) -> Money:
        """So many per cent of it, rounded down to what the currency can express: `percent("12.5")`."""
        product = _EXACT.multiply(self._value, Decimal(_text(share, _SHARE, "a share", "12.5")))
        return self._with(_FLOOR.quantize(product.scaleb(-2, _EXACT), Decimal(1).scaleb(-_decimals(self._currency))))

    def round_up_to(self, step: str) -> Money:
        """The next multiple of the step, or the amount itself if it is one: `round_up_to("10")`."""
        size = _parse(step, self._currency, "a step")
        if size <= 0:
            raise ValueError("a step must be more than zero")
        # The rest has the sign of the amount.
        rest = _EXACT.remainder(self._value, size)
        below = _EXACT.subtract(self._value, rest)
        return self._with(_EXACT.add(below, size) if rest > 0 else below)

    def at_most(self, other: Money) -> Money:
        """The smaller one of the two."""
        return other if self._same(other) < self._value else self

    def compare(self, other: Money) -> int:
        """-1, 0 or 1, as this amount is less than, equal to, or more than the other."""
        value = self._same(other)
        return (self._value > value) - (self._value < value)

    @property
    def is_positive(self) -> bool:
        return self._value > 0

    @property
    def is_zero(self) -> bool:
        return self._value == 0

    def _same(self, other: Money) -> Decimal:
        if not isinstance(other, Money):
            raise TypeError(f'the other amount must be a Money such as Money("12.50", "SEK"), not {other!r}')
        if other._currency != self._currency:
            raise TypeError(f"{self} and {other} have different currencies")
        return other._value

    def _with(self, value: Decimal) -> Money:
        made = object.__new__(Money)
        made._currency, made._value = self._currency, _EXACT.add(value, Decimal(0))
        return made

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Money) and (self._value, self._currency) == (other._value, other._currency)

    def __hash__(self) -> int:
        return hash((self._value, self._currency))

    def __bool__(self) -> bool:
        raise TypeError("ask is_positive, is_zero or `is None`: money is neither true nor false")

    def __str__(self) -> str:
        return f"{self.amount} {self._currency}"

    def __repr__(self) -> str:
        return f'Money("{self.amount}", "{self._currency}")'
