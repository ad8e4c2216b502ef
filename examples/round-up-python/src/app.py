"""Rounds each card purchase up and saves the difference, at most so much per calendar month.

Runs once for each enrolment whose topic is the card. What was saved in a month is kept in state under the month (`2026-11`, UTC, by
the time of the purchase), so the cap holds however many purchases arrive at once: two runs that read the same sum cannot both commit.
"""

from dataclasses import dataclass

from larder_sdk import Event, Money, Run, on_event


@dataclass
class Purchase:
    amount: str
    currency: str
    merchant: str


@dataclass
class Settings:
    """Both in the currency of the purchase."""

    to: str = "10"
    """Round up to a multiple of it."""
    monthly_cap: str | None = None


@on_event
def round_up(event: Event[Purchase], run: Run[Settings]) -> None:
    price = Money(event.data.amount, event.data.currency)
    if not price.is_positive:
        return  # a refund
    settings = run.enrolment.settings
    saving = price.round_up_to(settings.to).minus(price)

    key = f"{event.time:%Y-%m}/{price.currency}"
    saved = run.state.get(key, Money, Money.zero(price.currency))
    if settings.monthly_cap is not None:
        saving = saving.at_most(Money(settings.monthly_cap, price.currency).minus(saved))
    if saving.is_positive:
        run.state.set(key, saved.plus(saving))
        merchant = "".join(filter(str.isprintable, event.data.merchant))[:100]
        run.save(saving, memo=f"Round-up at {merchant}")
