"""Money by the vectors that the other SDKs are tested with too."""

import json
import unittest
from pathlib import Path
from typing import Any

from larder_sdk import Money

VECTORS: dict[str, list[list[Any]]] = json.loads((Path(__file__).parents[2] / "vectors/money.json").read_text())


def sek(amount: str) -> Money:
    return Money(amount, "SEK")


class MoneyTest(unittest.TestCase):
    def test_amounts_are_decimal_text_of_their_currency(self) -> None:
        for amount, currency, text in VECTORS["texts"]:
            money = Money(amount, currency)
            self.assertEqual((money.amount, str(money)), (text, f"{text} {currency}"))
        for amount, currency, why in VECTORS["refused"]:
            with self.subTest(amount=amount), self.assertRaises((TypeError, ValueError)) as refused:
                Money(amount, currency)
            self.assertIn(why, str(refused.exception))

    def test_calculations_round_down_and_never_lose_a_digit(self) -> None:
        for amount, currency, step, text in VECTORS["round_up"]:
            self.assertEqual(Money(amount, currency).round_up_to(step).amount, text, (amount, step))
        for amount, currency, share, text in VECTORS["percent"]:
            self.assertEqual(Money(amount, currency).percent(share).amount, text, (amount, share))
        for name in ("plus", "minus", "at_most", "compare"):
            for one, other, expected in VECTORS[name]:
                found = getattr(sek(one), name)(sek(other))
                self.assertEqual(found.amount if isinstance(found, Money) else found, expected, (name, one, other))

    def test_currencies_do_not_mix_and_numbers_are_no_amounts(self) -> None:
        for name in ("plus", "minus", "at_most", "compare"):
            with self.assertRaisesRegex(TypeError, "1.00 SEK and 1.00 EUR have different currencies"):
                getattr(sek("1"), name)(Money("1", "EUR"))
            with self.assertRaisesRegex(TypeError, "must be a Money"):
                getattr(sek("1"), name)("1")
        with self.assertRaisesRegex(TypeError, "a step is the number 10; write it as text"):
            sek("1").round_up_to(10)  # type: ignore[arg-type]
        with self.assertRaisesRegex(TypeError, "a share is the number 0.5"):
            sek("1").percent(0.5)  # type: ignore[arg-type]
        with self.assertRaisesRegex(ValueError, "more than zero"):
            sek("1").round_up_to("0")
        with self.assertRaisesRegex(TypeError, "neither true nor false"):
            bool(sek("0"))
        with self.assertRaises(TypeError):
            sek("1") + sek("1")  # type: ignore[operator]
        self.assertNotEqual(sek("1"), Money("1", "EUR"))
        self.assertEqual(len({sek("1"), sek("1.00")}), 1)


if __name__ == "__main__":
    unittest.main()
