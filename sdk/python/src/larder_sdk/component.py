"""The host of a component: the interfaces that it imports. The entry that `larder build` writes binds them."""

from __future__ import annotations

import os
import sys
import traceback
from types import ModuleType
from typing import Any, NoReturn

from .errors import NotGranted, Reject, Retry, Stop
from .function import EventFunction, RequestFunction
from .host import Refused
from .http import Answer, Outgoing
from .serve import Request

# Where the build finds files, and where they are in the project.
_FOLDERS = {'"/1/': '"', '"/2/': '"src/'}
# One blocking write takes no more.
_PIECE = 4096
_READ = 65_536
_METHODS = ("get", "head", "post", "put", "delete", "connect", "options", "trace", "patch")
# Of wasi:http, as Python names them: a request that would be refused again. Everything else may pass.
_FINAL = {
    "HttpRequestDenied",
    "DestinationIpProhibited",
    "HttpRequestMethodInvalid",
    "HttpRequestUriInvalid",
    "HttpRequestUriTooLong",
    "HttpRequestBodySize",
    "HttpRequestHeaderSectionSize",
    "HttpRequestHeaderSize",
    "HttpResponseBodySize",
    "HttpResponseHeaderSectionSize",
    "HttpResponseHeaderSize",
}


class Component:
    """Implements `host.Host` over the bindings. `ok` and `err` are the classes of results, and `bound` the modules by name."""

    def __init__(self, ok: Any, err: Any, **bound: ModuleType) -> None:
        self._ok, self._err, self._bound = ok, err, bound

    # What the component exports.

    def handle(self, function: EventFunction[Any, Any], event: Any) -> bytes | None:
        types: Any = self._bound["event_types"]
        try:
            return function.handle(event, self)
        except Retry as stop:
            raise self._err(types.HandlerError_Retry(stop.why)) from None
        except Stop as stop:
            raise self._err(types.HandlerError_Reject(stop.why)) from None
        except Exception as error:
            _end(error)

    def serve(self, function: RequestFunction, incoming: Any, out: Any) -> None:
        types: Any = self._bound["types"]
        headers = {name.lower(): bytes(value).decode("latin-1") for name, value in incoming.headers().entries()}
        request = Request(_method_name(incoming.method()), incoming.path_with_query() or "/", headers, lambda: self._body(incoming))
        try:
            response = function.serve(request, self)
        except Exception as error:
            _end(error)
        fields = types.Fields.from_list([(name, value.encode("latin-1", "replace")) for name, value in response.headers.items()])
        outgoing = types.OutgoingResponse(fields)
        outgoing.set_status_code(response.status)
        body = outgoing.body()
        types.ResponseOutparam.set(out, self._ok(outgoing))
        self._write(body, response.body)

    # What a run asks for.

    def create_transaction(self, end_user: str | None, amount: str, currency: str, memo: str | None) -> str:
        savings = self._interface("savings")
        given: str = self._call(savings.create_transaction, savings.Transaction(end_user, amount, currency, memo))
        return given

    def get(self, key: str) -> bytes | None:
        found = self._call(self._interface("state").get, key)
        return None if found is None else bytes(found)

    def set(self, key: str, value: bytes) -> None:
        self._call(self._interface("state").set, key, value)

    def delete(self, key: str) -> None:
        self._call(self._interface("state").delete, key)

    def increment(self, key: str, by: str) -> None:
        self._call(self._interface("state").increment, key, by)

    def entries(self, prefix: str, after: str | None) -> list[tuple[str, bytes]]:
        found = self._call(self._interface("state").list, prefix, after)
        return [(entry.key, bytes(entry.value)) for entry in found]

    def emit(
        self, type: str, subject: str | None, content_type: str, data: bytes, attributes: list[tuple[str, str]]
    ) -> str:
        events, types = self._interface("events"), self._interface("event_types")
        event = events.NewEvent(type, subject, content_type, data)
        given: str = self._call(events.emit_with, event, [types.Attribute(name, value) for name, value in attributes])
        return given

    def enrolment(self) -> tuple[str, str, str] | None:
        found = self._interface("enrolment").current()
        return None if found is None else (found.end_user, found.topic, found.settings)

    def attributes(self) -> list[tuple[str, str]]:
        return [(one.name, one.value) for one in self._interface("attributes").current()]

    def environment(self) -> dict[str, str]:
        return dict(os.environ)

    def sign(self, upstream: str, data: bytes) -> bytes:
        return bytes(self._call(self._interface("signing").sign, upstream, data))

    def send(self, request: Outgoing) -> Answer:
        handler, types = self._interface("fetch"), self._interface("types")
        outgoing = self._outgoing(request)
        body = outgoing.body()
        try:
            pending = handler.handle(outgoing, None)
            try:
                self._write(body, request.body)
            except self._err:
                pass  # Then there is no answer either, which says why.
            with pending.subscribe() as pollable:
                pollable.block()
            outcome = pending.get()
            answered = outcome.value.value if isinstance(outcome.value, self._ok) else None
            if answered is None:
                raise self._err(outcome.value.value)
        except self._err as err:
            raise _failed(request, err.value) from None
        headers = [(name, bytes(value).decode(errors="replace")) for name, value in answered.headers().entries()]
        try:
            content = self._body(answered, request.bytes_max)
        except OverflowError:
            raise Reject(f"the answer to {request.name} has more than {request.bytes_max} bytes") from None
        except self._err as err:
            failed = getattr(err.value, "value", None)
            code = None if failed is None else types.http_error_code(failed)
            raise _failed(request, code) from None
        return Answer(answered.status(), headers, content, request.name)

    def _interface(self, name: str) -> Any:
        if name in self._bound:
            return self._bound[name]
        raise NotGranted(name)

    def _call(self, function: Any, *arguments: Any) -> Any:
        try:
            return function(*arguments)
        except self._err as err:
            raise Refused(str(err.value)) from None

    def _outgoing(self, request: Outgoing) -> Any:
        types = self._interface("types")

        def unusable(what: str) -> Reject:
            return Reject(f"{request.name}: {what} cannot be sent")

        scheme, separator, rest = request.url.partition("://")
        if not separator:
            raise unusable("an address without a scheme")
        at = min((at for at in (rest.find("/"), rest.find("?")) if at >= 0), default=len(rest))
        authority, path = rest[:at], rest[at:]
        fields = types.Fields()
        for name, value in request.headers:
            try:
                fields.append(name, value.encode())
            except self._err:
                raise unusable(f"header {name!r}") from None
        outgoing = types.OutgoingRequest(fields)
        known = request.method.lower() in _METHODS
        method = getattr(types, f"Method_{request.method.capitalize()}")() if known else types.Method_Other(request.method)
        schemes = {"http": types.Scheme_Http, "https": types.Scheme_Https}
        for what, change, value in (
            ("its method", outgoing.set_method, method),
            ("its scheme", outgoing.set_scheme, schemes[scheme]() if scheme in schemes else types.Scheme_Other(scheme)),
            ("its host", outgoing.set_authority, authority),
            ("its path", outgoing.set_path_with_query, path if path.startswith("/") else f"/{path}"),
        ):
            try:
                change(value)
            except self._err:
                raise unusable(what) from None
        return outgoing

    def _write(self, body: Any, content: bytes) -> None:
        with body.write() as stream:
            for start in range(0, len(content), _PIECE):
                stream.blocking_write_and_flush(content[start : start + _PIECE])
        types: Any = self._bound["types"]
        types.OutgoingBody.finish(body, None)

    def _body(self, message: Any, most: int | None = None) -> bytes:
        """The body of an incoming message. `OverflowError` if it has more bytes than that."""
        streams: Any = self._bound["streams"]
        parts, size = [], 0
        body = message.consume()
        with body.stream() as stream:
            while most is None or size <= most:
                try:
                    parts.append(bytes(stream.blocking_read(_READ)))
                except self._err as err:
                    if isinstance(err.value, streams.StreamError_Closed):
                        return b"".join(parts)
                    raise
                size += len(parts[-1])
        raise OverflowError


def _end(error: Exception) -> NoReturn:
    """A fault of the program: its stack is in the logs, and nothing of the run is applied."""
    text = "".join(traceback.format_exception(error))
    for folder, own in _FOLDERS.items():
        text = text.replace(folder, own)
    sys.stdout.flush()
    sys.stderr.write(text)
    sys.stderr.flush()
    # An exception that is left to the interpreter ends the same way, with six more lines about the interpreter.
    os.abort()


def _method_name(method: Any) -> str:
    other = getattr(method, "value", None)
    return other if isinstance(other, str) else type(method).__name__.removeprefix("Method_").upper()


def _failed(request: Outgoing, code: Any) -> Stop:
    """Is it worth trying again?"""
    word = "HttpResponseIncomplete" if code is None else type(code).__name__.removeprefix("ErrorCode_")
    if word in _FINAL:
        return Reject(f"{request.name} was refused: {word}; the log of the run says why")
    return Retry(f"{request.name} failed: {word}; the log of the run says why")
