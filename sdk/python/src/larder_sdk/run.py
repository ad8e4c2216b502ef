"""What a run may do. Nothing of it is applied unless the run ends well."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, NoReturn, overload

from . import reading
from .errors import Reject, Retry
from .host import Host, Refused
from .http import BODY_BYTES_MAX, Answer, Outgoing
from .money import Money

if TYPE_CHECKING:
    from typing_extensions import TypeVar  # which checkers know, installed or not

    Settings = TypeVar("Settings", default=Any)
else:
    from typing import TypeVar

    Settings = TypeVar("Settings")
T = TypeVar("T")


class State:
    """Values that outlive a run, as JSON. They belong to the function and, in a run for an enrolment, to that enrolment. If another
    run has changed what this one read, its work is dropped and it runs again."""

    def __init__(self, host: Host) -> None:
        self._host = host

    @overload
    def get(self, key: str) -> Any: ...

    @overload
    def get(self, key: str, kind: type[T]) -> T | None: ...

    @overload
    def get(self, key: str, kind: type[T], default: T) -> T: ...

    def get(self, key: str, kind: Any = Any, default: Any = None) -> Any:
        """The value, as this type if one is named; the default if there is none."""
        value = self.raw(key)
        return default if value is None else _read(key, value, kind)

    def raw(self, key: str) -> bytes | None:
        try:
            return self._host.get(key)
        except Refused as why:
            raise Reject(f"cannot get state {key!r}: {why}") from None

    def set(self, key: str, value: Any) -> None:
        """Bytes are stored as they are, everything else as JSON."""
        if value is None:
            raise TypeError(f"the value of {key} is None; delete removes a value")
        try:
            self._host.set(key, value if isinstance(value, bytes) else reading.write(value))
        except Refused as why:
            raise Reject(f"cannot set state {key!r}: {why}") from None

    def delete(self, key: str) -> None:
        try:
            self._host.delete(key)
        except Refused as why:
            raise Reject(f"cannot delete state {key!r}: {why}") from None

    def increment(self, key: str, by: int = 1) -> None:
        """Adds a whole number to the one that is stored, 0 if there is none, without a conflict with other runs."""
        if not isinstance(by, int) or isinstance(by, bool):
            raise TypeError(f"state is incremented by a whole number, not by {by!r}")
        try:
            self._host.increment(key, str(by))
        except Refused as why:
            raise Reject(f"cannot increment state {key!r}: {why}") from None

    @overload
    def list(self, prefix: str = "", after: str | None = None) -> list[tuple[str, Any]]: ...

    @overload
    def list(self, prefix: str, after: str | None, kind: type[T]) -> list[tuple[str, T]]: ...

    def list(self, prefix: str = "", after: str | None = None, kind: Any = Any) -> list[tuple[str, Any]]:
        """Up to 100 entries whose key begins with the prefix, in key order, that come after `after`."""
        try:
            entries = self._host.entries(prefix, after)
        except Refused as why:
            raise Reject(f"cannot list state {prefix!r}: {why}") from None
        return [(key, _read(key, value, kind)) for key, value in entries]


@dataclass(frozen=True)
class Enrolment(Generic[Settings]):
    """An end user's part in this function."""

    end_user: str
    """A pseudonym: the same in every run of this function, another in every other function."""
    topic: str
    settings: Settings


class Run(Generic[Settings]):
    """One run of a function."""

    def __init__(self, host: Host, settings: Any = Any) -> None:
        self._host = host
        self._settings = settings
        self.state = State(host)

    @property
    def is_for_enrolment(self) -> bool:
        return self._host.enrolment() is not None

    @property
    def enrolment(self) -> Enrolment[Settings]:
        """Whom this run is for. The event is rejected in a function that does not run `per = "enrolment"`."""
        found = self._host.enrolment()
        if found is None:
            raise Reject('this run is not for an enrolment: the function needs per = "enrolment" in larder.toml')
        end_user, topic, settings = found
        try:
            read: Settings = reading.read(json.loads(settings or "{}"), self._settings, "settings")
        except reading.Unfit as unfit:
            raise Reject(f"the settings of the enrolment of {end_user} do not fit: {unfit}") from None
        return Enrolment(end_user, topic, read)

    @property
    def attributes(self) -> Mapping[str, str]:
        """Attributes of the event that have no member of their own, such as `traceparent`."""
        return dict(self._host.attributes())

    @property
    def env(self) -> Mapping[str, str]:
        """Variables of the function, and the secrets that it is granted."""
        return self._host.environment()

    def save(self, money: Money, *, memo: str | None = None, end_user: str | None = None) -> str:
        """Creates a saving; gives its id. `end_user` only in a run that is not for an enrolment."""
        if not isinstance(money, Money):
            raise TypeError(f'run.save takes a Money such as Money("12.50", "SEK"), not {type(money).__name__} {money!r}')
        try:
            return self._host.create_transaction(end_user, money.amount, money.currency, memo)
        except Refused as why:
            raise Reject(f"cannot save {money}: {why}") from None

    def emit(
        self, type: str, data: Any = None, *, subject: str | None = None, attributes: Mapping[str, str] | None = None
    ) -> str:
        """Sends an event when the run ends well; gives its id."""
        is_bytes = isinstance(data, bytes)
        content_type = "" if data is None else "application/octet-stream" if is_bytes else "application/json"
        content = b"" if data is None else data if is_bytes else reading.write(data)
        try:
            return self._host.emit(type, subject, content_type, content, list((attributes or {}).items()))
        except Refused as why:
            raise Reject(f"cannot emit {type}: {why}") from None

    def fetch(
        self,
        url: str,
        *,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        body: bytes | str = b"",
        json: Any = None,
        bytes_max: int = BODY_BYTES_MAX,
    ) -> Answer:
        """Sends a request to an outside service, at once and even if the run fails later. Without an answer the run ends: to be made
        again later, or for good if the request was refused. So it does for a status that is not 2xx, when the answer is read by
        `ok`, `text` or `json`. More than `bytes_max` bytes of an answer are an error."""
        content = body.encode() if isinstance(body, str) else body
        sent = list((headers or {}).items())
        if json is not None:
            content = reading.write(json)
            sent.append(("content-type", "application/json"))
        return self._host.send(Outgoing(method, url, sent, content, bytes_max))

    def sign(self, upstream: str, data: bytes | str) -> bytes:
        """The HMAC-SHA256 of the data under the upstream's signing key, which stays with the host."""
        try:
            return self._host.sign(upstream, data.encode() if isinstance(data, str) else data)
        except Refused as why:
            raise Reject(f"cannot sign for {upstream}: {why}") from None

    def reject(self, why: str) -> NoReturn:
        """Refuses the event for good. Nothing of the run is applied."""
        raise Reject(str(why))

    def retry(self, why: str) -> NoReturn:
        """Asks to be run again later. Nothing of the run is applied."""
        raise Retry(str(why))

    def log(self, *values: object) -> None:
        """Writes a line to the execution's logs, as `print` does."""
        print(*values)


def _read(key: str, value: bytes, kind: Any) -> Any:
    try:
        return reading.read(json.loads(value), kind, key)
    except ValueError as err:  # not JSON, or not of this type
        raise Reject(f"the value of state {key!r} does not fit: {err}") from None
