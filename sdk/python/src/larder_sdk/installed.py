# What of the project's pinned requirements is installed in this interpreter: `python -I installed.py FILE..`, as JSON. Runs by itself
# and in any Python 3, so that one that is too old can be named.
import json
import sys


def missing(files):
    from importlib.metadata import PackageNotFoundError, version

    for file in files:
        with open(file) as lines:
            # Packages for other interpreters than this one have a marker behind a semicolon.
            pins = [line.split()[0] for line in lines if "==" in line and ";" not in line and line[0] not in " #"]
        for pin in pins:
            name, _, wanted = pin.partition("==")
            try:
                found = version(name)
            except PackageNotFoundError:
                found = None
            if found != wanted:
                yield pin


def has(name):
    from importlib.util import find_spec

    return find_spec(name) is not None


if __name__ == "__main__":
    answer = {"version": list(sys.version_info[:2])}
    if sys.version_info >= (3, 10):
        answer["missing"] = list(missing(sys.argv[1:]))
        answer["tools"] = [name for name in ("mypy", "pyright", "pytest") if has(name)]
    print(json.dumps(answer))
