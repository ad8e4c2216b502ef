"""`@on_event` and `@on_request`: what a component exports."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from typing import Any, Generic, TypeVar, get_args, get_origin, get_type_hints

from . import reading
from .errors import Reject, Retry
from .event import Event, opened
from .host import Host
from .run import Run
from .serve import Request, Response

E = TypeVar("E")
S = TypeVar("S")


class Mistake(TypeError):
    """A handler that cannot be one."""

    def __init__(self, why: str, handler: object) -> None:
        super().__init__(why)
        code = getattr(handler, "__code__", None)
        self.place: tuple[str, int] | None = None if code is None else (code.co_filename, code.co_firstlineno)


class EventFunction(Generic[E, S]):
    """A function of events."""

    def __init__(self, handler: Callable[[Event[E], Run[S]], object]) -> None:
        self.handler = handler
        hints = _hints(handler, "event")
        self.data = _argument(handler, hints[0], Event, "event")
        self.settings = _argument(handler, hints[1], Run, "run")

    def __call__(self, event: Event[E], run: Run[S]) -> object:
        return self.handler(event, run)

    def handle(self, wire: Any, host: Host) -> bytes | None:
        """One run: the answer's bytes, `Stop`, or the fault of the program."""
        return _answer(self.handler(opened(wire, self.data), Run(host, self.settings)))


class RequestFunction:
    """A function of HTTP requests."""

    def __init__(self, handler: Callable[[Request, Run[Any]], Response]) -> None:
        self.handler = handler
        self.settings = _argument(handler, _hints(handler, "request")[1], Run, "run")

    def __call__(self, request: Request, run: Run[Any]) -> Response:
        return self.handler(request, run)

    def serve(self, request: Request, host: Host) -> Response:
        """One run. An error answers 503 (`Retry`) or 500 (`Reject`), and nothing of the run is applied."""
        try:
            response = self.handler(request, Run(host, self.settings))
        except (Retry, Reject) as stop:
            # The log of the run is where the function's owner looks.
            print(stop.why, file=sys.stderr)
            return Response(f"{stop.why}\n", status=503 if isinstance(stop, Retry) else 500)
        if not isinstance(response, Response):
            raise TypeError(f"{self.handler.__name__} must return a Response, not {response!r}")
        return response


def on_event(handler: Callable[[Event[E], Run[S]], object]) -> EventFunction[E, S]:
    """The function reacts to each event by this handler, for one enrolment if it is `per = "enrolment"`. What the handler returns
    answers a synchronous run: text and bytes as they are, everything else as JSON, None as nothing."""
    return EventFunction(handler)


def on_request(handler: Callable[[Request, Run[Any]], Response]) -> RequestFunction:
    """The function answers each HTTP request by this handler."""
    return RequestFunction(handler)


def _hints(handler: Callable[..., object], first: str) -> tuple[Any, Any]:
    """The types of the two arguments, None where none is named."""
    name = getattr(handler, "__name__", "the handler")
    if not callable(handler) or isinstance(handler, type):
        raise Mistake(f"on_{first} stands above a function: def handle({first}, run)", handler)
    if inspect.iscoroutinefunction(handler) or inspect.isasyncgenfunction(handler):
        raise Mistake(f"{name} is async; a function runs from beginning to end without waiting: remove async and await", handler)
    if inspect.isgeneratorfunction(handler):
        raise Mistake(f"{name} yields; a function runs from beginning to end: return instead", handler)
    parameters = list(inspect.signature(handler).parameters)
    if len(parameters) != 2:
        raise Mistake(f"{name} is called with two arguments: def {name}({first}, run)", handler)
    hints = get_type_hints(handler)
    return hints.get(parameters[0]), hints.get(parameters[1])


def _argument(handler: object, hint: Any, wanted: Any, name: str) -> Any:
    """`Purchase` of `Event[Purchase]`."""
    if hint is None or hint is Any or hint is wanted:
        return Any
    if get_origin(hint) is not wanted:
        of = "Data" if wanted is Event else "Settings"
        shown = getattr(hint, "__name__", str(hint))
        raise Mistake(f"the argument {name} is {wanted.__name__} or {wanted.__name__}[{of}], not {shown}", handler)
    kind = get_args(hint)[0]
    try:
        reading.check(kind, "data" if wanted is Event else "settings")
    except TypeError as err:
        raise Mistake(str(err), handler) from None
    return kind


def _answer(answer: object) -> bytes | None:
    if answer is None or isinstance(answer, bytes):
        return answer
    if inspect.isawaitable(answer):
        raise TypeError("the handler returned something to await; a function runs from beginning to end without waiting")
    return answer.encode() if isinstance(answer, str) else reading.write(answer)
