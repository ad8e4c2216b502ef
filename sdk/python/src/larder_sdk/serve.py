"""Answering HTTP requests."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, overload
from urllib.parse import parse_qsl

from . import reading
from .errors import Reject

T = TypeVar("T")


class Request:
    """A request to the function. Its body is read when it is asked for."""

    def __init__(
        self, method: str, target: str, headers: Mapping[str, str] | None = None, body: bytes | Callable[[], bytes] = b""
    ) -> None:
        self.method = method
        self.target = target
        """Path and query, as they came."""
        self.path, _, query = target.partition("?")
        self.query = dict(parse_qsl(query, keep_blank_values=True))
        self.headers = {name.lower(): value for name, value in (headers or {}).items()}
        """By names in small letters."""
        self._body = body

    @property
    def body(self) -> bytes:
        if not isinstance(self._body, bytes):
            self._body = self._body()
        return self._body

    def text(self) -> str:
        return self.body.decode(errors="replace")

    @overload
    def json(self) -> Any: ...

    @overload
    def json(self, kind: type[T]) -> T: ...

    def json(self, kind: Any = Any) -> Any:
        """The body as this type. One that does not fit rejects the request."""
        try:
            return reading.read(json.loads(self.body), kind, "body")
        except ValueError as err:  # not JSON, or not of this type
            raise Reject(f"the request's body does not fit: {err}") from None


class Response:
    """An answer: `Response("Hello!")`, `Response.json({"hello": "world"})`. Text and bytes are sent as they are."""

    def __init__(self, body: str | bytes = b"", *, status: int = 200, headers: Mapping[str, str] | None = None) -> None:
        self.status = status
        self.headers = {name.lower(): value for name, value in (headers or {}).items()}
        self.body = body.encode() if isinstance(body, str) else body
        if isinstance(body, str):
            self.headers.setdefault("content-type", "text/plain; charset=utf-8")

    @staticmethod
    def json(value: Any, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
        return Response(reading.write(value), status=status, headers={"content-type": "application/json", **(headers or {})})

    def __repr__(self) -> str:
        return f"Response(status={self.status}, body={self.body!r})"
