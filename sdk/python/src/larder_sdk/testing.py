"""Runs a function natively, without Larder, under the host's rules: with pytest, unittest or nothing.

    run = TestRun().enrolment("anna", "card-1")
    ended = run.handle(round_up, TestEvent("card.purchase", {"amount": "42.50", "currency": "SEK"}))
    assert ended.saved == ["7.50 SEK"]

The rules are those of `larder.wit`: amounts above zero with no more decimals than their currency, an enrolled run saves for its own
end user only and any other for the enrolled, bounded keys, values and texts, and **nothing of a run that failed is applied**. Limits
of time, memory and number of effects are Larder's and not simulated."""

from __future__ import annotations

import contextlib
import io
import json
import sys
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, ClassVar

from . import reading
from .errors import Reject, Retry
from .fake import Emitted, FakeHost, Transaction
from .function import EventFunction, RequestFunction
from .http import Outgoing
from .serve import Request, Response

__all__ = ["Emitted", "Ended", "TestEvent", "TestRun", "Transaction"]


@dataclass(frozen=True)
class TestEvent:
    """An event to run a function on. Without a time it happens when the run's clock says."""

    __test__: ClassVar[bool] = False  # nothing that pytest runs

    type: str
    data: Any = None
    subject: str | None = None
    id: str | None = None
    source: str = "/test"
    time: str | None = None
    content_type: str = "application/json"
    raw: bytes | None = None
    """Data that is not JSON, or not the JSON that the function expects."""

    @staticmethod
    def from_json(text: str | bytes) -> TestEvent:
        """A CloudEvent in JSON, as `larder events send` takes it."""
        event = json.loads(text)
        if not isinstance(event, dict) or event.get("specversion") != "1.0":
            raise ValueError('not a CloudEvent in JSON: specversion is not "1.0"')
        missing = [name for name in ("id", "source", "type") if not event.get(name)]
        if missing:
            raise ValueError(f"not a CloudEvent in JSON: {missing[0]} is missing")
        kind = event.get("datacontenttype", "application/json")
        own = {name: event.get(name) for name in ("data", "subject", "id", "time")}
        return TestEvent(event["type"], source=event["source"], content_type=kind, **own)


@dataclass
class Ended:
    """What a run did."""

    transactions: list[Transaction] = field(default_factory=list)
    events: list[Emitted] = field(default_factory=list)
    requests: list[Outgoing] = field(default_factory=list)
    """What it sent to outside services, which nothing takes back."""
    state: dict[str, Any] = field(default_factory=dict)
    """State after the run."""
    answer: str | None = None
    response: Response | None = None
    rejected: str | None = None
    """Why the function refused the event."""
    retry: str | None = None
    """Why it asked to be run again."""
    error: BaseException | None = None
    """What it raised, if that was neither."""
    logs: str = ""

    @property
    def saved(self) -> list[str]:
        """The transactions in short: `["12.50 SEK"]`. An error if the run failed."""
        if self.error is not None:
            raise AssertionError(f"the run failed: {self.error!r}") from self.error
        if self.rejected is not None or self.retry is not None:
            raise AssertionError(f"the run ended with {'reject' if self.retry is None else 'retry'}: {self.rejected or self.retry}")
        return [f"{one.amount} {one.currency}" for one in self.transactions]


@dataclass
class _Wire:
    id: str
    source: str
    type: str
    subject: str | None
    time: str
    data_content_type: str
    data: bytes


class TestRun:
    """The world that a function runs in. State is kept from one run to the next, unless the run failed."""

    __test__ = False  # nothing that pytest runs

    def __init__(self, time: str = "2026-11-21T12:00:00Z") -> None:
        """A run that is not for an enrolment. `time` is when events happen that do not say."""
        self._host = FakeHost()
        self._now = reading.time_of(time)
        self._runs = 0

    def enrolment(self, end_user: str, topic: str, settings: Any = None) -> TestRun:
        """Runs are for this end user."""
        text = "{}" if settings is None else reading.write(settings).decode()
        self._host.enrolled_as = (end_user, topic, text)
        return self

    def enrolled(self, *end_users: str) -> TestRun:
        """They are enrolled, so that a run which is not for an enrolment may save for them."""
        self._host.enrolled.update(end_users)
        return self

    def env(self, **variables: str) -> TestRun:
        self._host.variables.update(variables)
        return self

    def attribute(self, name: str, value: str) -> TestRun:
        """Events come with this attribute: `dataschema` or an extension."""
        self._host.extensions[name] = value
        return self

    def state(self, key: str, value: Any) -> TestRun:
        """A value that an earlier run left."""
        self._host.set(key, value if isinstance(value, bytes) else reading.write(value))
        return self

    def signing_key(self, upstream: str, key: bytes) -> TestRun:
        """Requests to this upstream can be signed, under this key."""
        self._host.keys[upstream] = key
        return self

    def answers(self, request: str, status: int = 200, body: Any = None, headers: dict[str, str] | None = None) -> TestRun:
        """This request, such as `GET http://aggregator.upstream/standings`, is answered so. What is not named is refused, as without
        a grant."""
        content = b"" if body is None else body if isinstance(body, bytes) else reading.write(body)
        self._host.answers[request] = (status, list((headers or {"content-type": "application/json"}).items()), content)
        return self

    def unanswered(self, request: str) -> TestRun:
        """There is no answer to this request, as when the service is away."""
        self._host.answers[request] = None
        return self

    def at(self, time: str) -> TestRun:
        """Sets the clock that events happen by."""
        self._now = reading.time_of(time)
        return self

    def advance(self, **by: float) -> TestRun:
        """Moves the clock: `advance(days=1)`."""
        self._now += timedelta(**by)
        return self

    @property
    def now(self) -> datetime:
        return self._now

    def stored(self, key: str) -> Any:
        """What is in state under a key now."""
        value = self._host.values.get(key)
        return None if value is None else json.loads(value)

    def handle(self, function: EventFunction[Any, Any], event: TestEvent) -> Ended:
        """One run for an event."""
        if not isinstance(function, EventFunction):
            raise TypeError(f"handle takes what stands below @on_event, not {function!r}")
        self._runs += 1
        raw = event.raw if event.raw is not None else b"" if event.data is None else reading.write(event.data)
        time = event.time or self._now.isoformat().replace("+00:00", "Z")
        kind = event.content_type if raw else ""
        wire = _Wire(event.id or f"test-{self._runs}", event.source, event.type, event.subject, time, kind, raw)

        def handle(host: FakeHost, ended: Ended) -> bool:
            answer = function.handle(wire, host)
            ended.answer = None if answer is None else answer.decode(errors="replace")
            return True

        return self._run(handle)

    def serve(self, function: RequestFunction, request: Request) -> Ended:
        """One run for an HTTP request. It is applied if the answer's status is below 500."""
        if not isinstance(function, RequestFunction):
            raise TypeError(f"serve takes what stands below @on_request, not {function!r}")

        def serve(host: FakeHost, ended: Ended) -> bool:
            ended.response = function.serve(request, host)
            return ended.response.status < 500

        return self._run(serve)

    def _run(self, what: Any) -> Ended:
        ended, host, written = Ended(), self._host.copy(), io.StringIO()
        applies = False
        try:
            with contextlib.redirect_stdout(written):
                applies = what(host, ended)
        except Reject as stop:
            ended.rejected = stop.why
        except Retry as stop:
            ended.retry = stop.why
        except Exception as error:
            ended.error = error
        ended.logs = written.getvalue()
        sys.stdout.write(ended.logs)
        ended.requests = host.requests
        if applies:
            ended.transactions, ended.events = host.transactions, host.events
            self._host = host.settled()
        ended.state = {key: _value(value) for key, value in self._host.values.items()}
        return ended


def _value(stored: bytes) -> Any:
    try:
        return json.loads(stored)
    except ValueError:
        return stored
