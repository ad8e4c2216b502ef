"""What the check says of projects with mistakes: file, line and what to do."""

import json
import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

SDK = Path(__file__).parents[1] / "src"
FINE = "from larder_sdk import Event, Money, Run, on_event\n\n\n@on_event\ndef react(event: Event, run: Run) -> None:\n    pass\n"


def check(code: str, **others: str) -> tuple[int, str, str]:
    with tempfile.TemporaryDirectory() as folder:
        sources = Path(folder, "src")
        sources.mkdir()
        for name, text in {"app": code, **others}.items():
            Path(sources, f"{name}.py").write_text(text)
        environment = {**os.environ, "PYTHONPATH": str(SDK), "PYTHONDONTWRITEBYTECODE": "1", "TOKEN": "x"}
        command = [sys.executable, "-m", "larder_sdk.check", "src", "savings"]
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
        return done.returncode, done.stdout, done.stderr


class CheckTest(unittest.TestCase):
    def test_a_function_is_described(self) -> None:
        code = (
            "import json, os, random, uuid\nfrom datetime import date, datetime, timezone\nimport logging, time\nimport helper\n"
            + FINE
            + "    import colorsys\n    from json import tool\n    from os.path import join\n    datetime.now(), random.random(), os.getenv('A')\n"
            + "\nEPOCH = datetime(2026, 1, 1, tzinfo=timezone.utc)\nDICE = random.Random(7)\nDAY = time.gmtime(0)\n"
        )
        status, out, err = check(code, helper="import uuid\nimport logging\n")
        self.assertEqual((status, err), (0, ""))
        self.assertEqual(json.loads(out), {"exports": ["event"], "imports": ["colorsys", "json", "json.tool", "os.path"]})
        both = FINE.replace("Run, on_event", "Run, on_event, on_request") + "\n\n@on_request\ndef greet(request, run):\n    pass\n"
        self.assertEqual(json.loads(check(both)[1])["exports"], ["event", "request"])

    def test_mistakes_are_named_with_their_place(self) -> None:
        same = "is the same in every run; instead: a call in a run"
        still = "the clock stands still; instead: event.time"
        for code, place, why in [
            ("x = (\n" + FINE, 1, "'(' was never closed: x = ("),
            ("import nowhere\n" + FINE, 1, "there is no module nowhere; write it, or add nowhere with its hashes to requirements.txt"),
            (FINE + "    import nowhere.at_all\n", 7, "there is no module nowhere"),
            ("import socket\n" + FINE, 1, "socket does not work here: there is no network in a component; call services with run.fetch"),
            ("from urllib import request\n" + FINE, 1, "urllib.request does not work here"),
            ("import sqlite3\n" + FINE, 1, "sqlite3 does not work here: the interpreter in a component lacks it"),
            (FINE + "    import threading\n", 7, "threading does not work here: a function runs from beginning to end, alone"),
            (FINE.replace("def react", "async def react"), 5, "react is async; a function runs from beginning to end without waiting"),
            (FINE + '    run.emit("a.b")\n', 7, "run.emit: events is not granted; add to larder.toml, below [grants]: events = ["),
            (FINE + '    run.state.set("a", 1)\n', 7, "run.state: state is not granted; add to larder.toml, below [grants]: state = true"),
            (FINE + "\ndef helper(run: Run[int]) -> None:\n    run.fetch('http://x.upstream/')\n", 9, "run.fetch: fetch is not granted"),
            (FINE + "\nasync def helper() -> None: ...\n", 8, "helper is async"),
            (FINE + '    run.save(Money(12.5, "SEK"))\n', 7, 'an amount is text, because numbers lose digits: Money("12.5", …)'),
            (FINE + '    run.save(Money(-12, "SEK"))\n', 7, 'Money("-12", …)'),
            ("import random\nR = random.random()\n" + FINE, 2, f"random.random() outside of a function runs when the component is built, and it {same}"),
            ("import random\nR = random.Random()\n" + FINE, 2, "its numbers are the same in every run"),
            ("import uuid\nR = uuid.uuid4()\n" + FINE, 2, same),
            ("import secrets\nR = secrets.token_hex()\n" + FINE, 2, same),
            ("from os import urandom\nR = urandom(8)\n" + FINE, 2, same),
            ("from datetime import datetime\nR = datetime.now()\n" + FINE, 2, still),
            ("import datetime\nR = datetime.date.today()\n" + FINE, 2, still),
            ("import time\ndef t() -> float:\n    return time.time()\nR = t()\n" + FINE, 3, still),
            ("import os\nR = os.environ['TOKEN']\n" + FINE, 2, "the environment is the builder's; instead: run.env in a run"),
            ("import os\nR = os.environ.get('TOKEN')\n" + FINE, 2, "run.env in a run"),
            ("import os\nR = os.getenv('TOKEN')\n" + FINE, 2, "run.env in a run"),
            (FINE.replace("Event, run", "dict[str, str], run"), 4, "the argument event is Event or Event[Data], not dict"),
            ("class Plain: ...\n" + FINE.replace(": Event", ": Event[Plain]"), 5, "data: no JSON can be read into Plain; write @dataclass"),
            (FINE.replace(", run: Run", ""), 4, "react is called with two arguments: def react(event, run)"),
            (FINE.replace("@on_event\n", "", 1), 1, "there is no function; write `@on_event` above"),
            (FINE + "\n\n@on_event\ndef again(event, run):\n    pass\n", 9, "there is a second function below @on_event"),
            ("from larder_sdk import Mony\n" + FINE, 1, "cannot import name 'Mony'"),
            ("1 / 0\n" + FINE, 1, "ZeroDivisionError: division by zero"),
        ]:
            with self.subTest(code=code):
                status, out, err = check(code)
                self.assertEqual((status, out), (1, ""), err)
                self.assertTrue(err.startswith(f"src/app.py:{place}: "), err)
                self.assertIn(why, err)

    def test_all_files_are_looked_at_and_all_complaints_come_at_once(self) -> None:
        status, _, err = check("import socket\nimport helper\n" + FINE, helper='from larder_sdk import Money\nM = Money(1, "SEK")\nx = [\n')
        self.assertEqual((status, [line.split(": ")[0] for line in err.splitlines()]), (1, ["src/app.py:1", "src/helper.py:3"]))
        _, _, err = check("import helper\n" + FINE, helper="\nimport time\nSTART = time.time()\n")
        self.assertTrue(err.startswith("src/helper.py:3: time.time() outside of a function"), err)


if __name__ == "__main__":
    unittest.main()
