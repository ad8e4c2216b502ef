// What the suites of node share: services that note which of their methods were called, and refusals as they must be.

import assert from "node:assert/strict";

const called = new Map();

/** The same service, which notes the methods that are called. */
export function watched(service) {
  const name = service.constructor.name;
  called.set(name, { all: methods(service), called: called.get(name)?.called ?? new Set() });
  return new Proxy(service, {
    get(target, method) {
      const value = target[method];
      if (typeof value !== "function") return value;
      return (...args) => {
        called.get(name).called.add(method);
        return value.apply(target, args);
      };
    },
  });
}

export function methods(service) {
  return Object.getOwnPropertyNames(Object.getPrototypeOf(service)).filter((name) => name !== "constructor");
}

/** Fails if a method of this service was never called; `but` names those that another part is about. */
export function allCalled(service, but = []) {
  const { all, called: done } = called.get(service);
  const missing = all.filter((method) => !done.has(method) && !but.includes(method));
  assert.deepEqual(missing, [], `${service} has methods that were not called`);
  console.log(`${service}: ${done.size} methods called`);
}

/** The call is refused with this status and type. */
export async function refused(code, type, call, named = "") {
  let answer;
  try {
    answer = await call();
  } catch (error) {
    assert.equal(`${error.code} ${error.type}`, `${code} ${type}`, error.message ?? String(error));
    assert.ok(error.message.includes(named), `${JSON.stringify(named)} is not in ${error.message}`);
    return;
  }
  assert.fail(`not refused, ${code} ${type} was expected: ${JSON.stringify(answer)}`);
}

/** Asks until the answer is there, for two minutes at most. */
export async function until(what, ask) {
  const end = Date.now() + 120_000;
  while (Date.now() < end) {
    const found = await ask();
    if (found) return found;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  assert.fail(`waited in vain: ${what}`);
}

/** Waits for the end of a build. */
export async function built(functions, functionId, deploymentId) {
  const end = async () => {
    const deployment = await functions.getDeployment(functionId, deploymentId);
    return ["ready", "failed", "canceled"].includes(deployment.status) && deployment;
  };
  const deployment = await until("a build", end);
  assert.equal(deployment.status, "ready", deployment.buildLogs);
  return deployment;
}

export function setting(name) {
  assert.ok(process.env[name], `${name} is not set`);
  return process.env[name];
}
