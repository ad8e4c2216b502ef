import assert from "node:assert/strict";
import { test } from "node:test";

import { Money, defineFunction } from "@larder/sdk";
import { TestRun } from "@larder/sdk/testing";

const sek = (amount) => Money.of(amount, "SEK");

test("amounts are decimal text of their currency", () => {
  assert.equal(String(sek("12.5")), "12.50 SEK");
  assert.equal(Money.of("7", "JPY").amount, "7");
  assert.equal(Money.of("0.125", "BHD").plus(Money.of("1", "BHD")).amount, "1.125");
  assert.equal(sek("-0.05").amount, "-0.05");
  for (const [amount, currency, why] of [
    [12.5, "SEK", /number 12.5; write it as text/], ["1,5", "SEK", /decimal text/], ["", "SEK", /decimal text/],
    ["1e3", "SEK", /decimal text/], ["1.005", "SEK", /more decimals than SEK has/], ["1.5", "JPY", /more decimals/],
    ["1", "sek", /three capital letters/], [undefined, "SEK", /decimal text/],
  ]) {
    assert.throws(() => Money.of(amount, currency), why, `${amount} ${currency}`);
  }
  assert.throws(() => new Money(1, "SEK"), /Money.of/);
  assert.throws(() => sek("1").plus(Money.of("1", "EUR")), /different currencies/);
  assert.throws(() => sek("1") + sek("1"), /plus, minus and compare/);
});

test("calculations round down and never lose a digit", () => {
  assert.equal(sek("42.50").roundUpTo("10").minus(sek("42.50")).amount, "7.50");
  assert.equal(sek("40").roundUpTo("10").amount, "40.00");
  assert.equal(sek("-42.50").roundUpTo("10").amount, "-40.00");
  assert.equal(sek("0.99").percent("12.5").amount, "0.12");
  assert.equal(sek("-0.99").percent("12.5").amount, "-0.13");
  assert.equal(sek("999999999999999.98").plus(sek("0.01")).amount, "999999999999999.99");
  assert.equal(sek("5").atMost(sek("3")).amount, "3.00");
  assert.equal(sek("1").compare(sek("2")), -1);
  assert.equal(JSON.stringify(sek("1")), '{"amount":"1.00","currency":"SEK"}');
});

const counting = defineFunction({
  onEvent(event, run) {
    if (event.data.retry) run.retry("later");
    if (event.data.amount === undefined) run.reject("no amount");
    const count = (run.state.get("count") ?? 0) + 1;
    run.state.set("count", count);
    run.state.increment("sum", 5n);
    run.save(sek(event.data.amount), { memo: `for ${run.enrolment.topic}` });
    run.emit("saved", { count }, { subject: event.subject });
    return { count };
  },
});

test("a run is applied as a whole or not at all", () => {
  const run = new TestRun().enrolment("anna", "card-1", { to: "10" });
  const purchase = (data) => ({ type: "card.purchase", subject: "card-1", data });
  const first = run.handle(counting, purchase({ amount: "12.50" }));
  assert.deepEqual(first.saved, ["12.50 SEK"]);
  assert.deepEqual(first.state, { count: 1, sum: 5 });
  assert.deepEqual(first.events, [{ type: "saved", subject: "card-1", data: { count: 1 }, attributes: {} }]);
  assert.deepEqual([first.answer, first.transactions[0].memo], ['{"count":1}', "for card-1"]);
  const number = run.handle(counting, purchase({ amount: 12.5 }));
  assert.match(String(number.error), /number 12.5/);
  assert.deepEqual([number.saved, number.state.count], [[], 1]);
  assert.equal(run.handle(counting, purchase({})).rejected, "no amount");
  assert.equal(run.handle(counting, purchase({ retry: true })).retry, "later");
  const host = run.handle(counting, purchase({ amount: "0" }));
  assert.match(String(host.error), /not more than zero/);
  assert.equal(run.handle(counting, purchase({ amount: "1" })).state.count, 2);
});

test("mistakes are named", () => {
  assert.throws(() => defineFunction({}), /onEvent/);
  const late = defineFunction({ async onEvent() {} });
  assert.match(String(new TestRun().handle(late, { type: "a" }).error), /async/);
  const plain = defineFunction({ onEvent: (_, run) => run.save("12.50") });
  assert.match(String(new TestRun().handle(plain, { type: "a" }).error), /Money.of/);
  const lost = defineFunction({ onEvent: (_, run) => run.state.set("a", undefined) });
  assert.match(String(new TestRun().handle(lost, { type: "a" }).error), /delete removes/);
  const half = defineFunction({ onEvent: (_, run) => run.state.increment("a", 0.5) });
  assert.match(String(new TestRun().handle(half, { type: "a" }).error), /whole number/);
});
