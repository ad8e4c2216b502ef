"""The host's side of a run under test: the same checks as Larder's, over dictionaries."""

from __future__ import annotations

import copy
import dataclasses
import hmac
import json
import re
import unicodedata
from dataclasses import dataclass, field
from typing import Any

from .errors import Reject, Retry
from .host import Refused
from .http import Answer, Outgoing
from .money import Money

_TEXT_CHARS_MAX = 255
_VALUE_BYTES_MAX = 65_536
_MEMO_CHARS_MAX = 200
_LIST_MAX = 100
_WHOLE_MAX = 2**63
# Invisible characters that change how text is shown.
_DECEPTIVE = re.compile(
    "[\u00ad\u061c\u180e\u200b\u200e\u200f\u2028\u2029\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufeff\ufff9-\ufffb\U000e0001]"
)


@dataclass(frozen=True)
class Transaction:
    end_user: str
    amount: str
    """Decimal text in major units with the currency's decimals."""
    currency: str
    memo: str | None


@dataclass(frozen=True)
class Emitted:
    type: str
    subject: str | None
    data: Any
    attributes: dict[str, str]


@dataclass
class FakeHost:
    """Implements `host.Host`."""

    enrolled_as: tuple[str, str, str] | None = None
    enrolled: set[str] = field(default_factory=set)
    variables: dict[str, str] = field(default_factory=dict)
    extensions: dict[str, str] = field(default_factory=dict)
    keys: dict[str, bytes] = field(default_factory=dict)
    answers: dict[str, tuple[int, list[tuple[str, str]], bytes] | None] = field(default_factory=dict)
    values: dict[str, bytes] = field(default_factory=dict)
    transactions: list[Transaction] = field(default_factory=list)
    events: list[Emitted] = field(default_factory=list)
    requests: list[Outgoing] = field(default_factory=list)

    def copy(self) -> FakeHost:
        return copy.deepcopy(self)

    def settled(self) -> FakeHost:
        """The world after a run: its state, and nothing else of it."""
        return dataclasses.replace(self, transactions=[], events=[], requests=[])

    def create_transaction(self, end_user: str | None, amount: str, currency: str, memo: str | None) -> str:
        if self.enrolled_as is not None and end_user is not None:
            raise Refused("this run is for an enrolment and saves for its own end user only: leave end_user out")
        whose = self.enrolled_as[0] if self.enrolled_as is not None else end_user
        if whose is None:
            raise Refused("end_user is missing: this run is not for an enrolment")
        if self.enrolled_as is None and whose not in self.enrolled:
            raise Refused(f'"{whose}" is not enrolled in this function')
        if not Money(amount, currency).is_positive:
            raise Refused(f'amount "{amount}" is not more than zero')
        if memo is not None:
            _check_text("memo", memo, 0, _MEMO_CHARS_MAX)
            _check_printable("memo", memo)
        self.transactions.append(Transaction(whose, amount, currency, memo))
        return f"transaction-{len(self.transactions)}"

    def get(self, key: str) -> bytes | None:
        _check_text("key", key, 1, _TEXT_CHARS_MAX)
        return self.values.get(key)

    def set(self, key: str, value: bytes) -> None:
        _check_text("key", key, 1, _TEXT_CHARS_MAX)
        _check_size("value", value)
        self.values[key] = value

    def delete(self, key: str) -> None:
        _check_text("key", key, 1, _TEXT_CHARS_MAX)
        self.values.pop(key, None)

    def increment(self, key: str, by: str) -> None:
        _check_text("key", key, 1, _TEXT_CHARS_MAX)
        if not -_WHOLE_MAX <= int(by) < _WHOLE_MAX:
            raise Refused(f'"{by}" is not a whole number of at most 64 bits')
        old = self.values.get(key, b"0")
        if re.fullmatch(rb"-?[0-9]+", old) is None:
            raise Refused(f'the value of "{key}" is not a whole number')
        new = int(old) + int(by)
        if not -_WHOLE_MAX <= new < _WHOLE_MAX:
            raise Refused(f'the value of "{key}" would be too large')
        self.values[key] = str(new).encode()

    def entries(self, prefix: str, after: str | None) -> list[tuple[str, bytes]]:
        _check_text("prefix", prefix, 0, _TEXT_CHARS_MAX)
        _check_text("after", after or "", 0, _TEXT_CHARS_MAX)
        found = sorted(key for key in self.values if key.startswith(prefix) and (after is None or key > after))
        return [(key, self.values[key]) for key in found[:_LIST_MAX]]

    def emit(
        self, type: str, subject: str | None, content_type: str, data: bytes, attributes: list[tuple[str, str]]
    ) -> str:
        for name, _ in attributes:
            if re.fullmatch("[a-z0-9]+", name) is None:
                raise Refused(f'the attribute "{name}" is not a name of an attribute: those are of a-z and 0-9')
        _check_text("type", type, 1, _TEXT_CHARS_MAX)
        if re.fullmatch(r"[!-\-/-~]+(\.[!-\-/-~]+)*", type) is None:
            raise Refused(f'type "{type}" is not made of printable words with dots between them')
        if subject is not None:
            _check_text("subject", subject, 1, _TEXT_CHARS_MAX)
            _check_printable("subject", subject)
        _check_size("data", data)
        content = json.loads(data) if content_type == "application/json" else data or None
        self.events.append(Emitted(type, subject, content, dict(attributes)))
        return f"event-{len(self.events)}"

    def enrolment(self) -> tuple[str, str, str] | None:
        return self.enrolled_as

    def attributes(self) -> list[tuple[str, str]]:
        return sorted(self.extensions.items())

    def environment(self) -> dict[str, str]:
        return dict(self.variables)

    def sign(self, upstream: str, data: bytes) -> bytes:
        if upstream not in self.keys:
            raise Refused(f'there is no signing key of the upstream "{upstream}"')
        return hmac.digest(self.keys[upstream], data, "sha256")

    def send(self, request: Outgoing) -> Answer:
        if request.name not in self.answers:
            raise Reject(f"{request.name} was refused: it is not granted")
        self.requests.append(request)
        prepared = self.answers[request.name]
        if prepared is None:
            raise Retry(f"{request.name} failed: there is no answer")
        status, headers, body = prepared
        if len(body) > request.bytes_max:
            raise Reject(f"the answer to {request.name} has more than {request.bytes_max} bytes")
        return Answer(status, headers, body, request.name)


def _check_text(what: str, text: str, least: int, most: int) -> None:
    if not least <= len(text) <= most:
        raise Refused(f"{what} has {len(text)} characters, {least} to {most} are allowed")


def _check_printable(what: str, text: str) -> None:
    if _DECEPTIVE.search(text) or any(unicodedata.category(one) == "Cc" for one in text):
        raise Refused(f"{what} has a control character, or an invisible one that changes how text is shown")


def _check_size(what: str, content: bytes) -> None:
    if len(content) > _VALUE_BYTES_MAX:
        raise Refused(f"{what} has {len(content)} bytes, up to {_VALUE_BYTES_MAX} are allowed")
