"""Saves what the event says and counts in state how often, over the bindings of larder:function."""

import json

from componentize_py_types import Err
from wit_world import exports
from wit_world.imports import savings, state
from wit_world.imports.event_types import Event, HandlerError_Reject, HandlerError_Retry


class Handler(exports.Handler):
    def handle(self, e: Event) -> bytes | None:
        try:
            data = json.loads(e.data)
        except ValueError as err:
            raise Err(HandlerError_Reject(f"data is not JSON: {err}"))
        if data.get("retry"):
            raise Err(HandlerError_Retry("asked to"))
        try:
            before = state.get("count")
            count = 1 if before is None else int(before) + 1
            state.set("count", str(count).encode())
            wanted = savings.Transaction(
                end_user=None, amount=data["amount"], currency=data["currency"], memo="from Python"
            )
            transaction = savings.create_transaction(wanted)
        except Err as err:  # the host's text
            raise Err(HandlerError_Reject(str(err.value)))
        print(f"saved {data['amount']} {data['currency']}")
        return json.dumps({"transaction": transaction, "count": count}).encode()
