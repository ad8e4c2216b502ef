"""What `larder build` runs first, in the interpreter of this machine: finds in a tenth of a second what would otherwise end a build
of many seconds, or be wrong in every run.

    python -m larder_sdk.check FOLDER GRANTED..

`GRANTED` are names of interfaces that the component imports. Complaints go to stderr, each with file, line and what to do. Without one, stdout has what the component exports and what must be
imported when it is built, as JSON."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import json
import re
import sys
import sysconfig
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from . import build_time
from .errors import NotGranted
from .function import EventFunction, Mistake, RequestFunction

APP = "app"
# Of the standard library: what the interpreter in a component lacks, and what it has but cannot do.
_FETCH = "there is no network in a component; call services with run.fetch"
_WAIT = "a function runs from beginning to end, alone"
_LACKS = "the interpreter in a component lacks it"
_UNFIT = {
    **dict.fromkeys(("ftplib", "http.client", "http.server", "imaplib", "poplib", "smtplib", "socket", "socketserver"), _FETCH),
    **dict.fromkeys(("ssl", "telnetlib", "urllib.request", "xmlrpc", "requests", "httpx", "aiohttp", "urllib3"), _FETCH),
    **dict.fromkeys(("asyncio", "concurrent", "multiprocessing", "threading", "subprocess", "signal", "sched"), _WAIT),
    **dict.fromkeys(("bz2", "ctypes", "curses", "dbm", "fcntl", "grp", "lzma", "mmap", "msvcrt", "pty", "pwd", "readline"), _LACKS),
    **dict.fromkeys(("resource", "sqlite3", "syslog", "termios", "tkinter", "tty", "turtle", "winreg", "winsound"), _LACKS),
}


# What a run does → the interface that it needs.
_NEEDS = {"save": "savings", "state": "state", "emit": "events", "sign": "signing", "fetch": "fetch"}


class Complaints:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._found: list[tuple[str, int, str]] = []

    def add(self, file: Path, line: int, text: str) -> None:
        self._found.append((str(self._folder / file.relative_to(self._folder.resolve())), line, text))

    def __bool__(self) -> bool:
        return bool(self._found)

    def __str__(self) -> str:
        return "\n".join(f"{file}:{line}: {text}" for file, line, text in sorted(set(self._found)))


def main(folder: Path, granted: list[str]) -> int:
    complaints, root = Complaints(folder), folder.resolve()
    imports: list[tuple[Path, int, str, str | None]] = []
    if not (root / f"{APP}.py").is_file():
        complaints.add(root / f"{APP}.py", 1, "this file is the function; `larder new --lang python` makes one")
    for file in sorted(root.rglob("*.py")):
        try:
            tree = ast.parse(file.read_bytes(), str(file))
        except SyntaxError as err:
            complaints.add(file, err.lineno or 1, f"{err.msg}: {(err.text or '').strip()}")
            continue
        for line, text in [*_wrong(tree), *_not_granted(tree, granted)]:
            complaints.add(file, line, text)
        imports.extend((file, *one) for one in _inner_imports(tree))
    exports = [] if complaints else _load(root, complaints)
    inner = [] if complaints else [name for one in imports for name in _found(*one, complaints)]
    if complaints:
        print(complaints, file=sys.stderr)
        return 1
    print(json.dumps({"exports": exports, "imports": sorted(set(inner))}))
    return 0


def _wrong(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """What can be seen without running it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.AsyncFunctionDef):
            yield node.lineno, f"{node.name} is async; a function runs from beginning to end without waiting: remove async and await"
        elif isinstance(node, ast.Import):
            for alias in node.names:
                yield from _unfit(node.lineno, alias.name)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module is not None:
            for name in [f"{node.module}.{alias.name}" for alias in node.names]:
                yield from _unfit(node.lineno, name)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Money" and node.args:
            amount = ast.unparse(node.args[0])
            if amount.removeprefix("-").replace(".", "").replace("_", "").isdigit():
                yield node.args[0].lineno, f'an amount is text, because numbers lose digits: Money("{amount}", …)'


def _not_granted(tree: ast.Module, granted: list[str]) -> Iterator[tuple[int, str]]:
    """Uses of a run for which `larder.toml` asks no grant."""
    for function in ast.walk(tree):
        if not isinstance(function, ast.FunctionDef):
            continue
        handles = any(isinstance(one, ast.Name) and one.id in ("on_event", "on_request") for one in function.decorator_list)
        runs = {one.arg for one in function.args.args if one.annotation and re.fullmatch(r"Run(\[.*\])?", ast.unparse(one.annotation))}
        runs.update(one.arg for one in function.args.args[1:2] if handles)
        for node in ast.walk(function):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in runs:
                need = _NEEDS.get(node.attr)
                if need is not None and need not in granted:
                    yield node.lineno, f"run.{node.attr}: {NotGranted(need)}"


def _unfit(line: int, module: str) -> Iterator[tuple[int, str]]:
    parts = module.split(".")
    for name in (".".join(parts[: end + 1]) for end in range(len(parts))):
        if name in _UNFIT:
            yield line, f"{name} does not work here: {_UNFIT[name]}"


def _inner_imports(tree: ast.Module) -> Iterator[tuple[int, str, str | None]]:
    """Modules that are imported within functions, and what may be a module within them."""
    for outer in ast.walk(tree):
        if not isinstance(outer, ast.FunctionDef):
            continue
        for node in ast.walk(outer):
            if isinstance(node, ast.Import):
                yield from ((node.lineno, alias.name, None) for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module is not None:
                yield from ((node.lineno, node.module, alias.name) for alias in node.names)


def _found(file: Path, line: int, module: str, inner: str | None, complaints: Complaints) -> Iterator[str]:
    """What to import when the component is built: in a run there are no files to read modules from."""
    try:
        importlib.import_module(module)
    except Exception as err:
        complaints.add(file, line, _reason(err))
        return
    yield module
    if inner is not None and not hasattr(sys.modules[module], inner) and importlib.util.find_spec(f"{module}.{inner}"):
        yield f"{module}.{inner}"


def _load(root: Path, complaints: Complaints) -> list[str]:
    """Imports the function as a build does, and gives what it exports."""
    sys.path.insert(0, str(root))
    app = root / f"{APP}.py"
    try:
        with build_time.guarded(root):
            module = importlib.import_module(APP)
    except BaseException as err:
        complaints.add(*_place(err, root, app), _reason(err))
        return []
    for name, file in _machine_code():
        why = f"{name} is machine code ({file}), which cannot run in a component; take a package that is only Python"
        complaints.add(app, _line_of_import(app, name), why)
    functions = [one for one in vars(module).values() if isinstance(one, (EventFunction, RequestFunction))]
    exports: dict[str, EventFunction[Any, Any] | RequestFunction] = {}
    for function in functions:
        kind = "event" if isinstance(function, EventFunction) else "request"
        if exports.setdefault(kind, function) is not function:
            line = function.handler.__code__.co_firstlineno
            complaints.add(app, line, f"there is a second function below @on_{kind}; a component has one, which may tell apart what it is for")
    if not functions:
        complaints.add(app, 1, "there is no function; write `@on_event` above `def handle(event, run):`")
    return sorted(exports)


def _place(err: BaseException, root: Path, app: Path) -> tuple[Path, int]:
    """The last line of the project that led to it."""
    if isinstance(err, Mistake) and err.place is not None and Path(err.place[0]).is_relative_to(root):
        return Path(err.place[0]), err.place[1]
    if isinstance(err, SyntaxError) and err.filename and Path(err.filename).is_relative_to(root):
        return Path(err.filename), err.lineno or 1
    frames = [frame for frame in traceback.extract_tb(err.__traceback__) if Path(frame.filename).is_relative_to(root)]
    return (Path(frames[-1].filename), frames[-1].lineno or 1) if frames else (app, 1)


def _reason(err: BaseException) -> str:
    if isinstance(err, (Mistake, build_time.Fixed)):
        return str(err)
    if isinstance(err, ModuleNotFoundError) and err.name:
        top = err.name.partition(".")[0]
        return f"there is no module {err.name}; write it, or add {top} with its hashes to requirements.txt (packages that are only Python)"
    return f"{type(err).__name__}: {err}"


def _machine_code() -> list[tuple[str, str]]:
    """Packages that were loaded and are not the interpreter's own: their names and the files that no component can load."""
    own = Path(sysconfig.get_path("stdlib")).resolve()
    found: dict[str, str] = {}
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if not isinstance(file, str) or Path(file).suffix not in (".so", ".pyd", ".dylib"):
            continue
        path = Path(file).resolve()
        if "site-packages" in path.parts or not (path.is_relative_to(own) or "lib-dynload" in path.parts):
            found.setdefault(name.partition(".")[0], path.name)
    return sorted(found.items())


def _line_of_import(file: Path, package: str) -> int:
    for node in ast.walk(ast.parse(file.read_bytes())):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        if any(name.partition(".")[0] == package for name in names):
            return int(getattr(node, "lineno", 1))
    return 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
