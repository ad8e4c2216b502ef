"""JSON into the types that a function names, and back. What does not fit is named with its place: `data.amount`."""

from __future__ import annotations

import json
import types
from dataclasses import MISSING, Field, fields, is_dataclass
from datetime import datetime
from decimal import Decimal, InvalidOperation
from enum import Enum
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints, is_typeddict

from .money import Money

T = TypeVar("T")
_WORDS: dict[type, str] = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}


class Unfit(ValueError):
    """The JSON does not fit the type."""


def read(value: Any, kind: Any, path: str) -> Any:
    """The value as this type."""
    origin, arguments = get_origin(kind), get_args(kind)
    if kind is Any or kind is object:
        return value
    if kind is None or kind is types.NoneType:
        return _expect(value is None, None, path, "nothing", value)
    if origin in (Union, types.UnionType):
        return _one_of(value, arguments, path)
    if origin is Literal:
        return _expect(value in arguments, value, path, " or ".join(map(repr, arguments)), value)
    if kind is list or origin is list:
        _expect(isinstance(value, list), value, path, "a list", value)
        return [read(one, arguments[0] if arguments else Any, f"{path}[{at}]") for at, one in enumerate(value)]
    if kind is dict or origin is dict:
        _expect(isinstance(value, dict), value, path, "an object", value)
        return {key: read(one, (arguments or (str, Any))[1], f"{path}.{key}") for key, one in value.items()}
    if is_typeddict(kind):
        _expect(isinstance(value, dict), value, path, "an object", value)
        missing = [key for key in kind.__required_keys__ if key not in value]
        _expect(not missing, value, f"{path}.{next(iter(missing), '')}", "there", None)
        hints = get_type_hints(kind)
        return {key: read(one, hints.get(key, Any), f"{path}.{key}") for key, one in value.items()}
    if kind is Money:
        return _money(value, path)
    if kind is Decimal:
        return _decimal(value, path)
    if issubclass(kind, datetime):
        return _time(value, kind, path)
    if is_dataclass(kind):
        return _dataclass(value, kind, path)
    if issubclass(kind, Enum):
        words = [one.value for one in kind]
        return kind(_expect(value in words, value, path, " or ".join(map(repr, words)), value))
    if kind is float:
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        return float(_expect(is_number, value, path, "a number", value))
    fits = isinstance(value, kind) and (kind is bool or not isinstance(value, bool))
    return _expect(fits, value, path, _WORDS.get(kind, kind.__name__), value)


def check(kind: Any, path: str) -> None:
    """Refuses a type that no JSON can be read into."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Literal or kind in (Any, object, None, types.NoneType, Money, Decimal, list, dict, str, int, float, bool):
        return
    if origin in (Union, types.UnionType, list, dict):
        for one in arguments:
            check(one, path)
    elif isinstance(kind, type) and (is_dataclass(kind) or is_typeddict(kind)):
        for name, hint in get_type_hints(kind).items():
            check(hint, f"{path}.{name}")
    elif not (isinstance(kind, type) and issubclass(kind, (datetime, Enum))):
        name = getattr(kind, "__name__", str(kind))
        raise TypeError(f"{path}: no JSON can be read into {name}; write @dataclass above `class {name}:`, or name a type of JSON")


def write(value: Any) -> bytes:
    """JSON of a value. Money becomes an object of amount and currency, a dataclass one of its fields."""
    return json.dumps(value, default=_plain, allow_nan=False, ensure_ascii=False, separators=(",", ":")).encode()


def _plain(value: Any) -> Any:
    if isinstance(value, Money):
        return {"amount": value.amount, "currency": value.currency}
    if is_dataclass(value) and not isinstance(value, type):
        return {field.metadata.get("json", field.name): getattr(value, field.name) for field in fields(value)}
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Enum):
        return value.value
    raise TypeError(f"{value!r} cannot be written as JSON")


def time_of(text: str) -> datetime:
    """RFC 3339. Python 3.10 knows neither `Z` nor other than three or six digits below a second."""
    whole, dot, rest = text.partition(".")
    if dot:
        digits = rest[: len(rest) - len(rest.lstrip("0123456789"))]
        text = f"{whole}.{digits[:6].ljust(6, '0')}{rest[len(digits):]}"
    return datetime.fromisoformat(text.replace("Z", "+00:00").replace("z", "+00:00"))


def _expect(fits: bool, value: T, path: str, wanted: str, found: Any) -> T:
    if fits:
        return value
    if wanted == "there":
        raise Unfit(f"{path} is missing")
    shown = "nothing" if found is None else json.dumps(found, default=str, ensure_ascii=False)
    raise Unfit(f"{path} must be {wanted}, not {shown if len(shown) <= 60 else shown[:59] + '…'}")


def _one_of(value: Any, kinds: tuple[Any, ...], path: str) -> Any:
    if value is None and types.NoneType in kinds:
        return None
    reasons = []
    for kind in kinds:
        if kind is types.NoneType:
            continue
        try:
            return read(value, kind, path)
        except Unfit as unfit:
            reasons.append(str(unfit))
    raise Unfit("; or ".join(reasons))


def _money(value: Any, path: str) -> Money:
    _expect(isinstance(value, dict), value, path, 'an object such as {"amount": "12.50", "currency": "SEK"}', value)
    for key in ("amount", "currency"):
        _expect(key in value, value, f"{path}.{key}", "there", None)
    try:
        return Money(value["amount"], value["currency"])
    except (TypeError, ValueError) as err:
        raise Unfit(f"{path}: {err}") from None


def _decimal(value: Any, path: str) -> Decimal:
    if not isinstance(value, str):
        _expect(False, value, path, 'decimal text such as "12.50", because numbers lose digits', value)
    try:
        found = Decimal(value)
    except InvalidOperation:
        found = Decimal("NaN")
    return _expect(found.is_finite(), found, path, 'decimal text such as "12.50"', value)


def _time(value: Any, kind: type[datetime], path: str) -> datetime:
    try:
        return time_of(value if isinstance(value, str) else "")
    except ValueError:
        raise Unfit(f'{path} must be a time such as "2026-11-25T06:00:00Z", not {value!r}') from None


def _dataclass(value: Any, kind: Any, path: str) -> Any:
    _expect(isinstance(value, dict), value, path, f"an object ({kind.__name__})", value)
    hints, members = get_type_hints(kind), {}
    for field in fields(kind):
        names = [field.metadata["json"]] if "json" in field.metadata else [field.name, _camel(field.name)]
        name = next((name for name in names if name in value), None)
        if name is not None and field.init:
            members[field.name] = read(value[name], hints[field.name], f"{path}.{name}")
        elif field.init and not _has_default(field):
            _expect(False, value, f"{path}.{names[0]}", "there", None)
    try:
        return kind(**members)
    except ValueError as err:  # of its __post_init__
        raise Unfit(f"{path}: {err}") from None


def _has_default(field: Field[Any]) -> bool:
    return field.default is not MISSING or field.default_factory is not MISSING


def _camel(name: str) -> str:
    """`monthly_cap` → `monthlyCap`, as JSON is mostly written."""
    first, *rest = name.split("_")
    return first + "".join(map(str.capitalize, rest))


