import json
import unittest
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from larder_sdk import Event, Firing, Money, Request, Response, Run, on_event, on_request
from larder_sdk.testing import TestEvent, TestRun


@dataclass
class Purchase:
    amount: str
    currency: str = "SEK"
    retry: bool = False


@dataclass
class Settings:
    monthly_cap: str | None = None


@on_event
def counting(event: Event[Purchase], run: Run[Settings]) -> Any:
    if event.data.retry:
        run.retry("later")
    if event.data.amount == "none":
        run.reject("no amount")
    count = run.state.get("count", int, 0) + 1
    run.state.set("count", count)
    run.state.increment("sum", 5)
    run.save(Money(event.data.amount, event.data.currency), memo=f"for {run.enrolment.topic}")
    run.emit("saved", {"count": count}, subject=event.subject, attributes={"traceparent": "x"})
    run.log("cap", run.enrolment.settings.monthly_cap)
    return {"count": count}


def purchase(**data: Any) -> TestEvent:
    return TestEvent("card.purchase", data, subject="card-1")


class RunTest(unittest.TestCase):
    def test_a_run_is_applied_as_a_whole_or_not_at_all(self) -> None:
        run = TestRun().enrolment("anna", "card-1", {"monthlyCap": "10"})
        first = run.handle(counting, purchase(amount="12.50"))
        self.assertEqual((first.saved, first.state, first.answer), (["12.50 SEK"], {"count": 1, "sum": 5}, '{"count":1}'))
        event = first.events[0]
        self.assertEqual((event.type, event.subject, event.data), ("saved", "card-1", {"count": 1}))
        self.assertEqual((event.attributes, first.transactions[0].memo, first.logs), ({"traceparent": "x"}, "for card-1", "cap 10\n"))

        number = run.handle(counting, purchase(amount=12.5))
        self.assertRegex(str(number.rejected), r"the data of event test-2 does not fit: data.amount must be text, not 12.5")
        self.assertEqual((number.transactions, number.state["count"]), ([], 1))
        self.assertEqual(run.handle(counting, purchase(amount="none")).rejected, "no amount")
        self.assertEqual(run.handle(counting, purchase(amount="1", retry=True)).retry, "later")
        refused = run.handle(counting, purchase(amount="0"))
        self.assertEqual(refused.rejected, 'cannot save 0.00 SEK: amount "0.00" is not more than zero')
        self.assertIsInstance(run.handle(counting, purchase(amount="1.234")).error, ValueError)
        self.assertEqual(run.handle(counting, purchase(amount="1")).state["count"], 2)

    def test_whoever_asks_for_savings_of_a_failed_run_is_told(self) -> None:
        ended = TestRun().enrolment("anna", "card-1").handle(counting, purchase(amount="none"))
        with self.assertRaisesRegex(AssertionError, "the run ended with reject: no amount"):
            _ = ended.saved

    def test_a_run_that_is_not_for_an_enrolment_saves_for_the_enrolled(self) -> None:
        @on_event
        def gift(event: Event, run: Run) -> None:
            run.save(Money("25", "SEK"), end_user=event.subject)

        run = TestRun().enrolled("anna")
        self.assertEqual(run.handle(gift, TestEvent("birthday", subject="anna")).transactions[0].end_user, "anna")
        self.assertIn('"bo" is not enrolled', str(run.handle(gift, TestEvent("birthday", subject="bo")).rejected))
        self.assertIn("end_user is missing", str(run.handle(gift, TestEvent("birthday")).rejected))
        self.assertIn("its own end user", str(run.enrolment("bo", "").handle(gift, TestEvent("a", subject="anna")).rejected))

    def test_state_is_read_as_types(self) -> None:
        @on_event
        def keep(event: Event[str], run: Run) -> Any:
            saved = run.state.get("month/SEK", Money, Money.zero("SEK"))
            run.state.set("month/SEK", saved.plus(Money(event.data, "SEK")))
            run.state.set("month", {"SEK": [1]})
            run.state.delete("gone")
            return [key for key, _ in run.state.list("month", "month")]

        run = TestRun().state("gone", 1)
        run.handle(keep, TestEvent("a", "1.50"))
        ended = run.handle(keep, TestEvent("a", "1.50"))
        self.assertEqual(ended.state, {"month/SEK": {"amount": "3.00", "currency": "SEK"}, "month": {"SEK": [1]}})
        self.assertEqual(ended.answer, '["month/SEK"]')
        wrong = run.state("month/SEK", 3).handle(keep, TestEvent("a", "1.50"))
        self.assertIn("the value of state 'month/SEK' does not fit", str(wrong.rejected))

    def test_services_answer_as_prepared(self) -> None:
        url = "http://aggregator.upstream/standings"

        @on_event
        def rank(event: Event[dict[str, str]], run: Run) -> Any:
            return run.fetch(url, method="POST", json=event.data).json(dict[str, str])["first"]

        def ended(status: int, body: Any = None) -> Any:
            return TestRun().answers(f"POST {url}", status, body).handle(rank, TestEvent("match", {"a": "b"}))

        found = ended(200, {"first": "hammarby"})
        self.assertEqual((found.answer, found.requests[0].body), ("hammarby", b'{"a":"b"}'))
        for status in (408, 425, 429, 500, 503):
            self.assertEqual(ended(status).retry, f"POST {url} was answered {status}")
        for status in (301, 400, 404):
            self.assertEqual(ended(status).rejected, f"POST {url} was answered {status}")
        self.assertIn("does not fit: answer.first must be text, not 1", ended(200, {"first": 1}).rejected)
        self.assertIn("does not fit", ended(200, b"<html>").rejected)
        self.assertIn("not granted", str(TestRun().handle(rank, TestEvent("match", {})).rejected))
        lost = TestRun().unanswered(f"POST {url}").handle(rank, TestEvent("match", {}))
        self.assertEqual((lost.retry, len(lost.requests)), (f"POST {url} failed: there is no answer", 1))

    def test_signatures_variables_and_attributes(self) -> None:
        @on_event
        def sign(_: Event, run: Run) -> Any:
            return [run.sign("bank", "what do ya want for nothing?").hex(), run.env["REGION"], run.attributes["traceparent"]]

        run = TestRun().signing_key("bank", b"Jefe").env(REGION="north").attribute("traceparent", "00-1")
        mac = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"  # RFC 4231, case 2
        self.assertEqual(json.loads(run.handle(sign, TestEvent("a")).answer or ""), [mac, "north", "00-1"])
        self.assertIn("no signing key", str(TestRun().handle(sign, TestEvent("a")).rejected))

    def test_time_passes_when_the_test_says(self) -> None:
        @on_event
        def day(event: Event[Firing], _: Run) -> str:
            return f"{event.time:%m-%d %H} {event.data.nominal.date()}"

        run = TestRun("2026-11-24T23:30:00Z")
        firing = TestEvent("larder.schedule", {"nominal": "2026-11-25T00:30:00+01:00", "timezone": "Europe/Stockholm"})
        self.assertEqual(run.handle(day, firing).answer, "11-24 23 2026-11-25")
        self.assertEqual(run.advance(days=1, hours=1).handle(day, firing).answer, "11-26 00 2026-11-25")

    def test_requests_are_answered(self) -> None:
        @on_request
        def greet(request: Request, run: Run) -> Response:
            if request.path == "/wrong":
                run.retry("later")
            run.state.increment("greeted")
            name = request.json(dict[str, str])["name"] if request.method == "POST" else request.query.get("name", "world")
            return Response.json({"hello": name}, status=201)

        run = TestRun()
        ended = run.serve(greet, Request("GET", "/hello?name=anna"))
        assert ended.response is not None
        self.assertEqual((ended.response.status, ended.response.body, ended.state), (201, b'{"hello":"anna"}', {"greeted": 1}))
        posted = run.serve(greet, Request("POST", "/hello", body=b'{"name":"bo"}'))
        assert posted.response is not None
        self.assertEqual(posted.response.body, b'{"hello":"bo"}')
        for request, status in [(Request("GET", "/wrong"), 503), (Request("POST", "/hello", body=b'{"name":1}'), 500)]:
            failed = run.serve(greet, request)
            assert failed.response is not None
            self.assertEqual((failed.response.status, failed.state["greeted"]), (status, 2))


class DataTest(unittest.TestCase):
    def test_data_is_read_into_types_or_its_place_is_named(self) -> None:
        @dataclass
        class Line:
            price: Money
            at: datetime | None = None

        @dataclass
        class Order:
            kind: Literal["card", "cash"]
            lines: list[Line]
            total: float = 0
            tags: dict[str, int] = field(default_factory=dict)
            shop: str | None = field(default=None, metadata={"json": "shop-name"})

        @on_event
        def read(event: Event[Order], _: Run) -> Any:
            return str(event.data.lines[0].price) if event.data.shop == "ICA" else event.data

        line = {"price": {"amount": "1.50", "currency": "SEK"}, "at": "2026-01-02T03:04:05.123456789Z"}
        fits = {"kind": "card", "lines": [line], "total": 2, "unknown": True, "shop-name": "ICA"}
        self.assertEqual(TestRun().handle(read, TestEvent("a", fits)).answer, "1.50 SEK")
        written = TestRun().handle(read, TestEvent("a", {**fits, "shop-name": "Coop"})).answer
        self.assertEqual(json.loads(str(written))["shop-name"], "Coop")
        changes: list[tuple[dict[str, Any], str]] = [
            ({"shop-name": 7}, "data.shop-name must be text, not 7"),
            ({"kind": "gold"}, "data.kind must be 'card' or 'cash', not \"gold\""),
            ({"lines": {}}, "data.lines must be a list, not {}"),
            ({"lines": [{}]}, "data.lines[0].price is missing"),
            ({"lines": [{"price": {"amount": 1.5, "currency": "SEK"}}]}, "data.lines[0].price: an amount is the number 1.5"),
            ({"lines": [{"price": "1"}]}, "data.lines[0].price must be an object such as"),
            ({"lines": [{**line, "at": "now"}]}, "data.lines[0].at must be a time such as"),
            ({"total": True}, "data.total must be a number, not true"),
            ({"tags": {"a": "b"}}, 'data.tags.a must be a whole number, not "b"'),
        ]
        for change, why in changes:
            self.assertIn(why, str(TestRun().handle(read, TestEvent("a", {**fits, **change})).rejected))
        self.assertIn("not JSON", str(TestRun().handle(read, TestEvent("a", raw=b"{")).rejected))
        self.assertIn("data must be an object (Order), not nothing", str(TestRun().handle(read, TestEvent("a")).rejected))

    def test_mistakes_are_named_where_they_are_made(self) -> None:
        class Plain:
            pass

        async def late(event: Any, run: Any) -> None: ...

        def lonely(event: Any) -> None: ...

        def wrong(event: dict[str, str], run: Any) -> None: ...

        def unread(event: Event[Plain], run: Any) -> None: ...

        def halves(event: Any, run: Any) -> Any:
            yield 1

        for handler, why in [
            (late, "late is async"), (lonely, "two arguments"), (wrong, "the argument event is Event or Event.Data., not dict"),
            (unread, "no JSON can be read into Plain; write @dataclass above"), (halves, "yields"), ("x", "stands above a function"),
        ]:
            with self.assertRaisesRegex(TypeError, why):
                on_event(handler)  # type: ignore[arg-type]
        wrongs: list[tuple[Any, str]] = [
            (lambda run: run.save("12.50"), "Money such as"), (lambda run: run.state.set("a", None), "delete removes"),
            (lambda run: run.state.increment("a", 0.5), "whole number"), (lambda run: run.emit("a", float("nan")), "not JSON compliant"),
            (lambda run: object(), "cannot be written as JSON"),
        ]
        for wrong_, why in wrongs:
            ended = TestRun().handle(on_event(lambda _, run: wrong_(run)), TestEvent("a"))
            self.assertRegex(str(ended.error), why)


if __name__ == "__main__":
    unittest.main()
