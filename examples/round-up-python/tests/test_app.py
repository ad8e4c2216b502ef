import json
import unittest
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any

from app import round_up
from larder_sdk.testing import Ended, TestEvent, TestRun

PROJECT = Path(__file__).parents[1]


def saver(settings: dict[str, str]) -> TestRun:
    return TestRun().enrolment("anna", "card-001", settings)


def buy(run: TestRun, amount: str, currency: str = "SEK", time: str = "2026-11-02T08:00:00Z") -> Ended:
    data = {"amount": amount, "currency": currency, "merchant": "ICA Nära"}
    return run.handle(round_up, TestEvent("card.purchase", data, subject="card-001", time=time))


def read(path: str) -> Any:
    return json.loads((PROJECT / path).read_text())


class RoundUpTest(unittest.TestCase):
    def test_saves_the_difference_to_the_next_ten_or_to_what_the_saver_chose(self) -> None:
        ended = saver({}).handle(round_up, TestEvent.from_json((PROJECT / "event.json").read_text()))
        self.assertEqual((ended.saved, ended.transactions[0].memo), (["7.50 SEK"], "Round-up at Espresso House"))
        self.assertEqual(buy(saver({"to": "100"}), "259.90").saved, ["40.10 SEK"])
        self.assertEqual(buy(saver({}), "60.00").saved, [])
        self.assertEqual(buy(saver({}), "-42.50").saved, [])

    def test_stops_at_the_cap_and_starts_again_next_month_and_in_each_currency(self) -> None:
        anna, last = saver({"monthlyCap": "12.00"}), "2026-11-30T23:59:59Z"
        self.assertEqual(buy(anna, "52.00").saved, ["8.00 SEK"])
        self.assertEqual(buy(anna, "52.00", time=last).saved, ["4.00 SEK"])
        self.assertEqual(buy(anna, "52.00", time=last).saved, [])
        self.assertEqual(buy(anna, "5.20", "EUR", last).saved, ["4.80 EUR"])
        self.assertEqual(buy(anna, "52.00", time="2026-12-01T00:00:00Z").saved, ["8.00 SEK"])
        self.assertEqual(anna.stored("2026-11/SEK"), {"amount": "12.00", "currency": "SEK"})

    def test_what_makes_no_sense_changes_nothing(self) -> None:
        self.assertRegex(str(buy(saver({"to": "0"}), "52.00").error), "more than zero")
        self.assertRegex(str(buy(saver({}), "52.00", "kr").error), "three capital letters")

    def test_the_batch_in_examples_comes_to_what_its_readme_says(self) -> None:
        count, totals = 0, Counter[str]()
        purchases = read("../events/purchases.json")
        for one in read("../events/savers.json"):
            run = TestRun().enrolment(one["endUser"], one["card"], {"monthlyCap": one["monthlyCap"]})
            for event in purchases:
                if event["subject"] == one["card"]:
                    for saved in run.handle(round_up, TestEvent.from_json(json.dumps(event))).transactions:
                        count += 1
                        totals[saved.currency] += int(Decimal(saved.amount) * 100)
        self.assertEqual((count, dict(totals)), (53, {"DKK": 200, "EUR": 565, "SEK": 18079}))


if __name__ == "__main__":
    unittest.main()
