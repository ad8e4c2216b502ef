"""How a run ends badly. Nothing of it is applied in any case."""

from __future__ import annotations


class Stop(Exception):
    """The function's own end of a run."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


class Reject(Stop):
    """This event will never do: final, and kept with its reason. What the host refuses is one too: it would refuse the same again."""


class Retry(Stop):
    """Something passing: run it again later."""


class NotGranted(Exception):
    """The function calls what `larder.toml` does not ask for."""

    LINES = {
        "savings": 'transactions.SEK = { max = "500.00", sum = "1000.00", period = "day" }',
        "state": "state = true",
        "events": 'events = ["my-function.*"]',
        "signing": 'upstreams = ["NAME"]',
        "fetch": 'upstreams = ["NAME"]',
    }

    def __init__(self, name: str) -> None:
        super().__init__(f"{name} is not granted; add to larder.toml, below [grants]: {self.LINES[name]}")
