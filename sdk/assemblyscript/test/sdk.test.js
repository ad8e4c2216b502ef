// The SDK by itself: `larder test` compiles programs as this does. The path of asc is in ASC.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readFileSync, mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";

import { TestRun } from "../testing.js";

const folder = new URL("..", import.meta.url).pathname;
const output = join(mkdtempSync(join(tmpdir(), "larder-as-")), "all.wasm");
const use = ["abort=wasi/aborted", "trace=wasi/trace", "seed=wasi/seed", "console=wasi/console"].flatMap((it) => ["--use", it]);
execFileSync(process.execPath, [process.env.ASC, "test/entry.ts", "--exportStart", "_start", "-O", ...use, "-o", output], {
  cwd: folder, stdio: "inherit",
});
const program = new WebAssembly.Module(readFileSync(output));
const vectors = JSON.parse(readFileSync(join(folder, "../vectors/money.json"), "utf8"));

const calculated = (what, amount, currency, other) => {
  const ended = new TestRun(program).handle({ type: "money", data: { do: what, amount, currency, with: other } });
  assert.equal(ended.error, null, ended.logs.join("\n"));
  return ended.rejected ?? ended.state.result;
};

test("amounts are what the vectors say", () => {
  for (const [amount, currency, text] of vectors.texts) assert.equal(calculated("text", amount, currency), text);
  for (const [amount, currency, why] of vectors.refused) {
    const said = calculated("text", amount, currency);
    // What is no text is refused where the data is read.
    if (typeof amount === "string") assert.ok(said.includes(why), `${amount} ${currency}: ${said}`);
    else assert.match(said, amount === null ? /null and not text/ : /is the number .*; it must be text/, `${amount}: ${said}`);
  }
});

test("calculations come to what the vectors say", () => {
  for (const [amount, currency, step, text] of vectors.round_up) assert.equal(calculated("round_up", amount, currency, step), text, `${amount} up to ${step}`);
  for (const [amount, currency, share, text] of vectors.percent) assert.equal(calculated("percent", amount, currency, share), text, `${share} % of ${amount}`);
  for (const name of ["plus", "minus", "at_most", "compare"]) {
    for (const [one, other, text] of vectors[name]) assert.equal(calculated(name, one, "SEK", other), String(text), `${one} ${name} ${other}`);
  }
  // What does not fit is refused, and never wraps.
  assert.match(calculated("percent", "999999999999999.99", "EUR", "999999999"), /too large/);
  assert.equal(calculated("percent", "900000000000000.01", "EUR", "100"), "900000000000000.01");
  assert.match(calculated("round_up", "1", "SEK", "0"), /more than zero/);
  assert.match(calculated("percent", "1", "SEK", "-5"), /a share must be decimal text/);
});

test("JSON is read as it stands, or refused", () => {
  const json = (text) => {
    const ended = new TestRun(program).handle({ type: "json", data: new TextEncoder().encode(text) });
    return ended.rejected ?? ended.error ?? ended.state.result;
  };
  assert.equal(json(' {"x":[{},[],null,true,-1.5e+3],"a":{"b":["", -12]},"c":"\\u00e5\\ud83d\\ude00\\n\\"å"} '), '-12 å😀\n"å "å😀\\u000a\\"å"');
  for (const wrong of ["", "{", "[1,]", "{\"a\":1,}", "{a:1}", "{\"a\" 1}", "01", "1.", "+1", "nul", "\"\n\"", "\"\\x\"", "\"\\u12g4\"", "\"", "{} {}", "[".repeat(100)]) {
    assert.match(String(json(wrong)), /no JSON/, wrong);
  }
  assert.match(json('{"a":{"b":[1, 1.5]},"c":""}'), /1\.5, and no whole number/);
  assert.match(json('{"a":[],"c":""}'), /a list and not an object/);
  assert.match(json('{"a":{"b":[1,2]},"c":"1","c":"2"}'), /has no c/);
});

test("a run does what it says, and what the host refuses rejects it", () => {
  const run = new TestRun(program).enrolment("anna", "card-1", { percent: "5" }).env({ GREETING: "hej" });
  run.signing("bank", (data) => new Uint8Array(32).fill(data.length));
  const ended = run.handle({ type: "all", subject: 'Zoë "1%"', attributes: { traceparent: "00-1" }, data: {} });
  assert.deepEqual(ended.saved, [], ended.logs.join("\n"));
  assert.deepEqual(ended.events, [{ type: "goal.reached", subject: 'Zoë "1%"', data: { of: "anna" } }]);
  assert.deepEqual(ended.state, { runs: "-2", for: "anna card-1 5 hej 00-1", signed: "\u0002".repeat(32) });
  assert.match(new TestRun(program).handle({ type: "all", data: {} }).rejected, /nobody/);
  const save = (type, data, enrolled = true) => (enrolled ? new TestRun(program).enrolment("anna", "card-1") : new TestRun(program)).handle({ type, data });
  assert.deepEqual(save("save", { amount: "7.5" }).transactions, [{ endUser: "anna", amount: "7.50", currency: "SEK", memo: null }]);
  assert.deepEqual(save("save-for", { amount: "7.5" }, false).transactions[0].endUser, "bo");
  assert.match(save("save", { amount: "0" }).rejected, /not more than zero/);
  assert.match(save("save", { amount: "1" }, false).rejected, /end-user is missing/);
  assert.match(save("save", { amount: 7.5 }).rejected, /number 7.5; it must be text/);
  assert.match(save("save", { amount: "1", memo: "å".repeat(201) }).rejected, /200 characters/);
});

test("what a failed run did is not there", () => {
  const run = new TestRun(program).enrolment("anna", "card-1");
  const ended = run.handle({ type: "retry", data: {} });
  assert.deepEqual([ended.retry, ended.transactions, ended.state], ["later", [], {}]);
  assert.throws(() => ended.saved, /retry: later/);
  const trapped = run.handle({ type: "trap", data: {} });
  assert.match(trapped.logs.join(), /Index out of range at ~lib\/array\.ts:\d+:\d+/);
  assert.throws(() => trapped.saved, /the run failed/);
});

test("memory holds what the host gives while garbage is collected", () => {
  const ended = new TestRun(program).handle({ type: "busy" });
  assert.equal(ended.error ?? ended.rejected, null);
});

test("requests are answered", () => {
  const run = new TestRun(program);
  const body = new Uint8Array(100_000).map((_, at) => at);
  const echoed = run.serve("POST /echo", { headers: { "Content-Type": "text/x", "X-Own": "1" }, body });
  assert.deepEqual([echoed.response.status, echoed.response.headers], [200, { "content-type": "text/x", "x-own": "1" }]);
  const asked = run.serve("GET /a%20b?x&q=%C3%A5+%zz%2");
  assert.deepEqual([asked.response.status, JSON.parse(asked.answer)], [404, { q: "å %zz%2", path: "/a b" }]);
  assert.match(run.serve("GET /echo", { headers: { "X-Own": "a\r\nSet-Cookie: b" } }).answer, /line break/);
});
