"""What a function reacts to."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Generic

from . import reading
from .errors import Reject

if TYPE_CHECKING:
    from typing_extensions import TypeVar  # which checkers know, installed or not

    Data = TypeVar("Data", default=Any)
else:
    from typing import TypeVar

    Data = TypeVar("Data")
_IS_JSON = re.compile(r"(|application/([\w.-]+\+)?json|[\w.-]+/json)(\s*;.*)?", re.IGNORECASE)


@dataclass(frozen=True)
class Event(Generic[Data]):
    """A CloudEvents 1.0 envelope, its data read into the type that the function names."""

    id: str
    """Unique for its source. A delivery of the same source and id never takes effect twice."""
    source: str
    type: str
    """What happened, in dotted words: `card.purchase`."""
    subject: str | None
    time: datetime
    """When it happened. For a schedule: the nominal time of the firing."""
    data: Data
    """What the event says; None if it has no data or data of another type than JSON, which is in `raw`."""
    data_content_type: str
    raw: bytes


@dataclass(frozen=True)
class Firing:
    """The data of a schedule's event: `nominal.date()` is the day in the schedule's time zone."""

    nominal: datetime
    timezone: str


def opened(wire: Any, kind: Any) -> Event[Any]:
    """The event of the wire with its data as this type."""
    content_type, raw = wire.data_content_type, bytes(wire.data)
    data = None
    if raw and _IS_JSON.fullmatch(content_type.strip()):
        try:
            data = json.loads(raw)
        except ValueError as err:
            raise Reject(f"the event's data is not JSON: {err}") from None
    try:
        data = reading.read(data, kind, "data")
    except reading.Unfit as unfit:
        raise Reject(f"the data of event {wire.id} does not fit: {unfit}") from None
    return Event(wire.id, wire.source, wire.type, wire.subject, reading.time_of(wire.time), data, content_type, raw)
