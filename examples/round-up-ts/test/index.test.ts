import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { type TestEvent, TestRun } from "@larder/sdk/testing";

import roundUp from "../src/index.ts";

const saver = (settings = {}) => new TestRun().enrolment("anna", "card-001", settings);

const purchase = (amount: string, currency = "SEK", time = "2026-11-02T08:00:00Z"): TestEvent => ({
  type: "card.purchase", subject: "card-001", time, data: { amount, currency, merchant: "ICA Nära" },
});

const json = (path: string) => JSON.parse(readFileSync(path, "utf8"));

test("saves the difference to the next ten, or to what the saver chose", () => {
  const ended = saver().handle(roundUp, json("event.json"));
  assert.deepEqual([ended.saved, ended.transactions[0].memo], [["7.50 SEK"], "Round-up at Espresso House"]);
  assert.deepEqual(saver({ to: "100" }).handle(roundUp, purchase("259.90")).saved, ["40.10 SEK"]);
  assert.deepEqual(saver().handle(roundUp, purchase("60.00")).saved, []);
  assert.deepEqual(saver().handle(roundUp, purchase("-42.50")).saved, []);
});

test("stops at the cap and starts again next month and in each currency", () => {
  const anna = saver({ monthlyCap: "12.00" });
  const last = "2026-11-30T23:59:59Z";
  assert.deepEqual(anna.handle(roundUp, purchase("52.00")).saved, ["8.00 SEK"]);
  assert.deepEqual(anna.handle(roundUp, purchase("52.00", "SEK", last)).saved, ["4.00 SEK"]);
  assert.deepEqual(anna.handle(roundUp, purchase("52.00", "SEK", last)).saved, []);
  assert.deepEqual(anna.handle(roundUp, purchase("5.20", "EUR", last)).saved, ["4.80 EUR"]);
  const ended = anna.handle(roundUp, purchase("52.00", "SEK", "2026-12-01T00:00:00Z"));
  assert.deepEqual([ended.saved, ended.state["2026-11/SEK"]], [["8.00 SEK"], { amount: "12.00", currency: "SEK" }]);
});

test("what makes no sense changes nothing", () => {
  assert.match(String(saver({ to: "0" }).handle(roundUp, purchase("52.00")).error), /more than zero/);
  assert.match(String(saver().handle(roundUp, purchase("52.00", "kr")).error), /three capital letters/);
});

test("the batch in examples comes to what its README says", () => {
  const [count, totals] = [{ of: 0 }, new Map<string, number>()];
  for (const { endUser, card, monthlyCap } of json("../events/savers.json")) {
    const run = new TestRun().enrolment(endUser, card, { monthlyCap });
    for (const event of json("../events/purchases.json").filter((event: TestEvent) => event.subject === card)) {
      for (const { amount, currency } of run.handle(roundUp, event).transactions) {
        count.of += 1;
        totals.set(currency, (totals.get(currency) ?? 0) + Number(amount.replace(".", "")));
      }
    }
  }
  assert.deepEqual([count.of, Object.fromEntries(totals)], [53, { DKK: 200, EUR: 565, SEK: 18079 }]);
});
