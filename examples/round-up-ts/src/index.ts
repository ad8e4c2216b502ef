// Rounds each card purchase up and saves the difference, at most so much per calendar month.
//
// Runs once for each enrolment whose topic is the card. What was saved in a month is kept in state under the month (`2026-11`, UTC,
// by the time of the purchase), so the cap holds however many purchases arrive at once: two runs that read the same sum cannot
// both commit.

import { type Event, Money, type Run, defineFunction } from "@larder/sdk";

interface Purchase {
  amount: string;
  currency: string;
  merchant: string;
}

/** `to`: round up to a multiple of it. `monthlyCap`: none if absent. Both in the currency of the purchase. */
interface Settings {
  to?: string;
  monthlyCap?: string;
}

function onEvent(event: Event<Purchase>, run: Run<Settings>) {
  const price = Money.of(event.data.amount, event.data.currency);
  if (!price.isPositive) return; // a refund
  const { to = "10", monthlyCap } = run.enrolment?.settings ?? {};
  const difference = price.roundUpTo(to).minus(price);

  const key = `${event.time.toISOString().slice(0, 7)}/${price.currency}`;
  const before = run.state.get<{ amount: string; currency: string }>(key);
  const saved = before === undefined ? Money.zero(price.currency) : Money.of(before.amount, before.currency);
  const saving =
    monthlyCap === undefined ? difference : difference.atMost(Money.of(monthlyCap, price.currency).minus(saved));
  if (saving.isPositive) {
    run.state.set(key, saved.plus(saving));
    const merchant = event.data.merchant.replace(/\p{Cc}/gu, "").slice(0, 100);
    run.save(saving, { memo: `Round-up at ${merchant}` });
  }
}

export default defineFunction<Purchase, Settings>({ onEvent });
