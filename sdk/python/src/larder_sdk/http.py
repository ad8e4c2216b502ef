"""Calling outside services.

A function reaches what it is granted: `http://NAME.upstream/path` for an upstream, or the hosts of an `http` grant. A call goes out
when it is made and cannot be taken back: when the run is made again, so is the call. Larder gives it an `Idempotency-Key` that is the
same each time."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, TypeVar, overload

from . import reading
from .errors import Reject, Retry

T = TypeVar("T")
BODY_BYTES_MAX = 1 << 20
_PASSING = (408, 425, 429)


@dataclass(frozen=True)
class Outgoing:
    """A request to be sent."""

    method: str
    url: str
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""
    bytes_max: int = BODY_BYTES_MAX

    @property
    def name(self) -> str:
        """Method and address, as errors and tests name it."""
        return f"{self.method} {self.url}"


@dataclass(frozen=True)
class Answer:
    """An answer, read whole."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes
    of: str
    """What was asked."""

    def header(self, name: str) -> str | None:
        return next((value for known, value in self.headers if known.lower() == name.lower()), None)

    def ok(self) -> Answer:
        """This answer if its status is 2xx. Otherwise the run ends: 408, 425, 429 and 500 and above ask for another one later, all
        others refuse the event."""
        if 200 <= self.status <= 299:
            return self
        why = f"{self.of} was answered {self.status}"
        raise Retry(why) if self.status in _PASSING or self.status >= 500 else Reject(why)

    def text(self) -> str:
        """The body of an answer with a status of 2xx."""
        return self.ok().body.decode(errors="replace")

    @overload
    def json(self) -> Any: ...

    @overload
    def json(self, kind: type[T]) -> T: ...

    def json(self, kind: Any = Any) -> Any:
        """The body of an answer with a status of 2xx, read into a type of yours."""
        body = self.ok().body
        try:
            return reading.read(json.loads(body), kind, "answer")
        except ValueError as err:  # not JSON, or not of this type
            raise Reject(f"the answer to {self.of} does not fit: {err}") from None
