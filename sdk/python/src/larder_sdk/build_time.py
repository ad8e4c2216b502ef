"""Code outside of functions runs once, when the component is built, and its results are in every run: a clock that stands still, a
random number that is always the same, a secret of whoever builds. `guarded` makes an error of that."""

from __future__ import annotations

import contextlib
import datetime
import os
import random
import secrets
import sys
import time
import uuid
from collections.abc import Callable, Iterator, MutableMapping
from pathlib import Path
from typing import Any

_CLOCKS = ("time", "time_ns", "monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns", "localtime", "gmtime", "ctime")
_CHANCE = ("token_bytes", "token_hex", "token_urlsafe", "randbelow", "choice", "randbits")


class Fixed(Exception):
    """What would be the same in every run."""


@contextlib.contextmanager
def guarded(project: Path) -> Iterator[None]:
    """Modules of the project that are imported meanwhile get no clock, no randomness and no environment. Nothing is put back: this
    is for a process that ends afterwards."""
    os.environ = _Environment(project, os.environ)  # type: ignore[assignment]
    _replace(os, ("getenv",), project, "the environment is the builder's", "run.env in a run")
    numbers = [name for name in random.__all__ if name[0].islower() and name != "seed"]
    ids = [name for name in ("uuid1", "uuid4", "uuid6", "uuid7") if hasattr(uuid, name)]
    for module, names in ((os, ("urandom",)), (random, numbers), (secrets, _CHANCE), (uuid, ids)):
        _replace(module, names, project, "it is the same in every run", "a call in a run")
    _replace(time, _CLOCKS, project, "the clock stands still", "event.time or a call in a run")
    random.Random = _random(project)  # type: ignore[misc]
    datetime.datetime = _datetime(project)  # type: ignore[misc]
    datetime.date = _date(project)  # type: ignore[misc]
    yield


def _at_module_level(project: Path) -> bool:
    """Does code of the project ask, and not a library that it imports?"""
    frame = sys._getframe(2)
    while frame is not None:
        file = frame.f_code.co_filename
        if file.startswith("<frozen importlib"):
            return False
        if not file.startswith("<") and Path(file).is_relative_to(project):
            return True
        frame = frame.f_back  # type: ignore[assignment]
    return False


def _refuse(name: str, why: str, instead: str) -> Fixed:
    return Fixed(f"{name} outside of a function runs when the component is built, and {why}; instead: {instead}")


def _replace(module: Any, names: Any, project: Path, why: str, instead: str) -> None:
    for name in names:
        setattr(module, name, _guard(getattr(module, name), f"{module.__name__}.{name}()", project, why, instead))


def _guard(real: Callable[..., Any], name: str, project: Path, why: str, instead: str) -> Callable[..., Any]:
    def guard(*arguments: Any, **named: Any) -> Any:
        # Of a time that is given, these make text.
        if _at_module_level(project) and not (arguments and name in ("time.localtime()", "time.gmtime()", "time.ctime()")):
            raise _refuse(name, why, instead)
        return real(*arguments, **named)

    return guard


def _random(project: Path) -> Any:
    class Random(random.Random):
        def __init__(self, x: Any = None) -> None:
            if x is None and _at_module_level(project):
                raise _refuse("random.Random()", "its numbers are the same in every run", "one that is made in a run")
            super().__init__(x)

    return Random


def _datetime(project: Path) -> Any:
    real = datetime.datetime

    class made(datetime.datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            if _at_module_level(project):
                raise _refuse("datetime.now()", "the clock stands still", "event.time or a call in a run")
            return real.now(tz)

        @classmethod
        def utcnow(cls) -> Any:
            return cls.now(datetime.timezone.utc).replace(tzinfo=None)

        @classmethod
        def today(cls) -> Any:
            return cls.now()

    made.__name__ = "datetime"
    return made


def _date(project: Path) -> Any:
    class date(datetime.date):
        @classmethod
        def today(cls) -> Any:
            if _at_module_level(project):
                raise _refuse("date.today()", "the clock stands still", "event.time or a call in a run")
            return super().today()

    return date


class _Environment(MutableMapping[str, str]):
    def __init__(self, project: Path, real: MutableMapping[str, str]) -> None:
        self._project, self._real = project, real

    def __getitem__(self, key: str) -> str:
        if _at_module_level(self._project):
            raise _refuse(f"os.environ[{key!r}]", "the environment is the builder's", "run.env in a run")
        return self._real[key]

    def __setitem__(self, key: str, value: str) -> None:
        self._real[key] = value

    def __delitem__(self, key: str) -> None:
        del self._real[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._real)

    def __len__(self) -> int:
        return len(self._real)
