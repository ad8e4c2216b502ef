// The replacements against node's own, in a context that lacks these as QuickJS does.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import vm from "node:vm";

/** The globals of the SDK, without node's. */
function quick() {
  const source = readFileSync(new URL("../src/globals.js", import.meta.url), "utf8").replace(/^import .*$/m, "");
  const written = [];
  const stream = { blockingWriteAndFlush: (bytes) => written.push(Buffer.from(bytes).toString()) };
  const optional = (name) =>
    ({ stdout: { getStdout: () => stream }, random: { getRandomBytes: (count) => new Uint8Array(Number(count)).fill(255) } })[name];
  const context = vm.createContext({ optional });
  vm.runInContext("delete globalThis.console", context);
  vm.runInContext(source, context);
  return { run: (code) => vm.runInContext(code, context), written };
}

test("text becomes the same bytes and back", () => {
  const { run } = quick();
  for (const text of ["", "abc", "påse €", "😀x", "\ud800", "\ufeffmark"]) {
    const encoded = run(`new TextEncoder().encode(${JSON.stringify(text)})`);
    assert.deepEqual([...encoded], [...new TextEncoder().encode(text)], text);
  }
  const wrong = [[0xff], [0xc3], [0xe2, 0x82], [0xed, 0xa0, 0x80], [0xf0, 0x9f, 0x98, 0x41], [0xc0, 0x80], [0xef, 0xbb, 0xbf, 0x61]];
  for (const bytes of wrong) {
    const decoded = run(`new TextDecoder().decode(new Uint8Array(${JSON.stringify(bytes)}))`);
    assert.equal(decoded, new TextDecoder().decode(new Uint8Array(bytes)), String(bytes));
  }
  assert.throws(() => run("new TextDecoder('utf-8', { fatal: true }).decode(new Uint8Array([255]))"), /not UTF-8/);
});

test("the console writes to the logs in pieces that a stream takes", () => {
  const { run, written } = quick();
  run('console.log("a", 1n, { b: [true, null] }, new Map([["k", 1]]))');
  assert.equal(written.join(""), "a 1n { b: [true, null] } Map { k: 1 }\n");
  written.length = 0;
  run('console.log("x".repeat(10000))');
  assert.deepEqual(written.map((piece) => piece.length), [4096, 4096, 1809]);
});

test("clones share nothing, and numbers are random in every run", () => {
  const { run } = quick();
  run('const a = { d: new Date(5), m: new Map([["x", [1]]]), self: null }; a.self = a; const b = structuredClone(a);');
  assert.equal(run("b !== a && b.self === b && b.m.get('x') !== a.m.get('x') && b.d.getTime() === 5"), true);
  assert.throws(() => run("structuredClone(() => 1)"), /cannot be cloned/);
  const greatest = run("Math.random()");
  assert.ok(greatest < 1 && greatest > 0.9999999);
});

test("addresses are taken apart like a browser does", () => {
  const { run } = quick();
  for (const [text, base] of [
    ["https://Example.com:443/a/../b?x=1&y=a+b#f"], ["http://localhost:8080"], ["/c?d=e", "https://x.example/a/b"], ["d", "https://x.example/a/b"],
  ]) {
    const ours = run(`(() => { const u = new URL(${JSON.stringify(text)}${base ? `, ${JSON.stringify(base)}` : ""}); return [u.href, u.host, u.pathname, u.origin].join(" "); })()`);
    const url = new URL(text, base);
    assert.equal(ours, [url.href, url.host, url.pathname, url.origin].join(" "));
  }
  for (const query of ["x=%zz&a=%C3%A5+b", "%", "a=%ff&b=%e2%82", "a=%EF%BB%BFb", "=%41&c", "%26=%3D"]) {
    const ours = run(`JSON.stringify([...new URLSearchParams(${JSON.stringify(query)})])`);
    assert.equal(ours, JSON.stringify([...new URLSearchParams(query)]), query);
  }
  assert.throws(() => run("new URL('nowhere')"), /no http or https address/);
});
