import assert from "node:assert/strict";
import { test } from "node:test";

import { Money, Response, defineFunction, fetch } from "@larder/sdk";
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

test("halves of letters do not reach the host", () => {
  const cut = defineFunction({
    onEvent(event, run) {
      run.save(sek("1"), { memo: "Coffee \u{1f600}".slice(0, 8) });
      run.emit("cut", {}, { subject: "\ude00" });
      if (event.data.bad) run.reject("\ud83d");
    },
  });
  const run = new TestRun().enrolment("anna", "card-1", {});
  const ended = run.handle(cut, { type: "a", data: {} });
  assert.deepEqual([ended.transactions[0].memo, ended.events[0].subject], ["Coffee \ufffd", "\ufffd"]);
  assert.equal(run.handle(cut, { type: "a", data: { bad: true } }).rejected, "\ufffd");
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
  assert.deepEqual([number.transactions, number.state.count], [[], 1]);
  assert.throws(() => number.saved, /the run failed: .*number 12.5/);
  const rejected = run.handle(counting, purchase({}));
  assert.equal(rejected.rejected, "no amount");
  assert.throws(() => rejected.saved, /the run ended with reject: no amount/);
  assert.equal(run.handle(counting, purchase({ retry: true })).retry, "later");
  const host = run.handle(counting, purchase({ amount: "0" }));
  assert.match(String(host.error), /not more than zero/);
  assert.equal(run.handle(counting, purchase({ amount: "1" })).state.count, 2);
});

test("mistakes are named", () => {
  assert.throws(() => defineFunction({}), /onEvent/);
  assert.throws(() => defineFunction({ async onEvent() {} }), /onEvent is async/);
  assert.throws(() => defineFunction({ onRequest: 1 }), /onRequest is number/);
  const late = defineFunction({ onEvent: () => Promise.resolve() });
  assert.match(String(new TestRun().handle(late, { type: "a" }).error), /onEvent is async/);
  const plain = defineFunction({ onEvent: (_, run) => run.save("12.50") });
  assert.match(String(new TestRun().handle(plain, { type: "a" }).error), /Money.of/);
  const lost = defineFunction({ onEvent: (_, run) => run.state.set("a", undefined) });
  assert.match(String(new TestRun().handle(lost, { type: "a" }).error), /delete removes/);
  const half = defineFunction({ onEvent: (_, run) => run.state.increment("a", 0.5) });
  assert.match(String(new TestRun().handle(half, { type: "a" }).error), /whole number/);
});

const asking = defineFunction({
  onEvent(event, run) {
    if (event.data.post) return run.fetch("https://a.example/b", { method: "post", json: { c: 1 }, headers: { "X-D": "e" } }).status;
    run.state.set("asked", true);
    return fetch(`http://ledger.upstream/rates#top`).orThrow().json().rate;
  },
});

test("outside services answer, and what they do not answer ends the run", () => {
  const ask = (prepare, data = {}) => prepare(new TestRun()).handle(asking, { type: "a", data });
  const rates = "GET http://ledger.upstream/rates";
  assert.equal(ask((run) => run.answers(rates, 200, { rate: "1.5" })).answer, "1.5");
  for (const status of [408, 425, 429, 500, 503]) {
    const ended = ask((run) => run.answers(rates, status));
    assert.deepEqual([ended.retry, ended.state], [`${rates} was answered ${status}`, {}]);
    assert.equal(ended.requests.length, 1);
  }
  for (const status of [301, 400, 404]) assert.equal(ask((run) => run.answers(rates, status)).rejected, `${rates} was answered ${status}`);
  assert.match(ask((run) => run.unanswered(rates)).retry, /there is no answer/);
  assert.match(ask((run) => run).rejected, /it is not granted/);
  assert.match(ask((run) => run.answers(rates, 200, "no")).rejected, /is not JSON/);
  assert.match(ask((run) => run.answers(rates, 200, "x".repeat((1 << 20) + 1))).rejected, /more than 1048576 bytes/);
  const posted = ask((run) => run.answers("POST https://a.example/b", 201), { post: true });
  assert.deepEqual([posted.answer, posted.requests], [
    "201",
    [{ request: "POST https://a.example/b", headers: { "x-d": "e", "content-type": "application/json" }, body: '{"c":1}' }],
  ]);
  for (const [url, init, why] of [
    ["ftp://a", {}, /no http or https/], ["/a", {}, /no http or https/], ["http://u:p@a/", {}, /no http or https/],
    ["http://a/", { body: "b" }, /GET has no body/], ["http://a/", { method: "POST", body: {} }, /text or a Uint8Array/],
    ["http://a/", { method: "POST", body: "b", json: 1 }, /not both/],
  ]) {
    assert.throws(() => fetch(url, init), why);
  }
});

test("requests are answered", () => {
  const hello = defineFunction({
    onRequest(request, run) {
      if (request.method === "POST") run.state.set("saved", request.json());
      if (request.path === "/later") run.retry("later");
      if (request.path === "/never") run.reject("never");
      if (request.path === "/wrong") throw new RangeError("wrong");
      if (request.path === "/none") return undefined;
      if (request.path === "/json") return { name: request.query.get("name"), agent: request.headers.get("User-Agent") };
      return new Response("hello", { status: 201, headers: { "x-a": "b" } });
    },
  });
  const serve = (request, init) => new TestRun().serve(hello, request, init);
  const ended = serve("POST /", { body: { a: 1 } });
  assert.deepEqual([ended.response.status, ended.answer, ended.state], [201, "hello", { saved: { a: 1 } }]);
  assert.deepEqual([...ended.response.headers], [["x-a", "b"], ["content-type", "text/plain; charset=utf-8"]]);
  const json = serve("GET /json?name=Anna+B", { headers: { "user-agent": "curl" } });
  assert.deepEqual(json.response.json(), { name: "Anna B", agent: "curl" });
  assert.equal(serve("GET /none").response.status, 204);
  assert.deepEqual([serve("POST /later", { body: "1" }).response.status, serve("POST /later", { body: "1" }).state], [503, {}]);
  assert.deepEqual([serve("GET /never").response.status, serve("GET /never").answer], [500, ""]);
  const event = serve("GET /never", { headers: { "ce-id": "1" } });
  assert.deepEqual([event.response.status, event.answer], [422, "never"]);
  assert.match(String(serve("GET /wrong").error), /RangeError/);
  assert.throws(() => new Response("", { status: 99 }), /no status/);
});
