"""Larder functions in Python.

    @on_event
    def round_up(event: Event[Purchase], run: Run) -> None:
        price = Money(event.data.amount, event.data.currency)
        run.save(price.round_up_to("10").minus(price))
"""

from .errors import NotGranted, Reject, Retry
from .event import Event, Firing
from .function import on_event, on_request
from .http import Answer
from .money import Money
from .run import Enrolment, Run, State
from .serve import Request, Response

__all__ = [
    "Answer",
    "Enrolment",
    "Event",
    "Firing",
    "Money",
    "NotGranted",
    "Reject",
    "Request",
    "Response",
    "Retry",
    "Run",
    "State",
    "on_event",
    "on_request",
]
