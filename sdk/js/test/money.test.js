// Money by the vectors that the other SDKs are tested with too.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { Money } from "@larder/sdk";

const vectors = JSON.parse(readFileSync(new URL("../../vectors/money.json", import.meta.url), "utf8"));
const sek = (amount) => Money.of(amount, "SEK");

test("amounts are what the vectors say", () => {
  for (const [amount, currency, text] of vectors.texts) assert.equal(Money.of(amount, currency).amount, text);
  for (const [amount, currency, why] of vectors.refused) {
    assert.throws(() => Money.of(amount, currency), (error) => error.message.includes(why), `${amount} ${currency}`);
  }
});

test("calculations come to what the vectors say", () => {
  for (const [amount, currency, step, text] of vectors.round_up) {
    assert.equal(Money.of(amount, currency).roundUpTo(step).amount, text, `${amount} up to ${step}`);
  }
  for (const [amount, currency, share, text] of vectors.percent) {
    assert.equal(Money.of(amount, currency).percent(share).amount, text, `${share} % of ${amount}`);
  }
  for (const [name, method] of [["plus", "plus"], ["minus", "minus"], ["at_most", "atMost"]]) {
    for (const [one, other, text] of vectors[name]) assert.equal(sek(one)[method](sek(other)).amount, text, `${one} ${name} ${other}`);
  }
  for (const [one, other, order] of vectors.compare) assert.equal(sek(one).compare(sek(other)), order);
});
