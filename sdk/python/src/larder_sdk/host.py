"""What a run asks of Larder. In a component that is the imported interfaces (`component`), in a test a host of the test's own
(`testing`)."""

from __future__ import annotations

from typing import Protocol

from .http import Answer, Outgoing


class Refused(Exception):
    """The host's reason."""


class Host(Protocol):
    """Each method raises `Refused` with the host's reason. `send` raises what the run ends with."""

    def create_transaction(self, end_user: str | None, amount: str, currency: str, memo: str | None) -> str: ...

    def get(self, key: str) -> bytes | None: ...

    def set(self, key: str, value: bytes) -> None: ...

    def delete(self, key: str) -> None: ...

    def increment(self, key: str, by: str) -> None: ...

    def entries(self, prefix: str, after: str | None) -> list[tuple[str, bytes]]: ...

    def emit(
        self, type: str, subject: str | None, content_type: str, data: bytes, attributes: list[tuple[str, str]]
    ) -> str: ...

    def enrolment(self) -> tuple[str, str, str] | None:
        """End user, topic, and settings as JSON."""

    def attributes(self) -> list[tuple[str, str]]: ...

    def environment(self) -> dict[str, str]: ...

    def sign(self, upstream: str, data: bytes) -> bytes: ...

    def send(self, request: Outgoing) -> Answer: ...
