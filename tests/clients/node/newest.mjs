// The newest release: every method of Functions and Proxy, the variables of Project, and ping, as they succeed and as they are refused.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import * as sdk from "node-appwrite";
import { InputFile } from "node-appwrite/file";
import { allCalled, built, refused, setting, until, watched } from "./check.mjs";

const { Client, ExecutionMethod, Functions, ID, Project, Proxy: ProxyRules, Query, Runtime } = sdk;
const client = (key = setting("LARDER_KEY")) =>
  new Client().setEndpoint(setting("LARDER_ENDPOINT")).setProject(setting("LARDER_PROJECT")).setKey(key);
const component = readFileSync(setting("LARDER_COMPONENT"));
const archive = readFileSync(setting("LARDER_ARCHIVE"));
const large = readFileSync(setting("LARDER_LARGE"));

const f = watched(new Functions(client()));
const functionId = "node";

assert.equal((await client().ping()).message, "Pong!");

// Functions.
const made = await f.create({ functionId, name: "Node", runtime: Runtime.Static1, execute: ["any"], timeout: 20 });
assert.deepEqual([made.$id, made.runtime, made.timeout, made.execute], [functionId, "static-1", 20, ["any"]]);
await refused(409, "function_already_exists", () => f.create({ functionId, name: "N", runtime: "wasi-0.2" }));
await refused(400, "general_argument_invalid", () => f.create({ functionId: "-x", name: "N", runtime: "wasi-0.2" }), "functionId");
await refused(400, "general_argument_invalid", () => f.create({ functionId: "x", name: "N", runtime: Runtime.Node22 }), "runtime");
await refused(400, "general_argument_invalid", () => f.create({ functionId: "x", name: "N", runtime: "wasi-0.2", events: ["functions.*.delete"] }), "events");
await refused(404, "installation_not_found", () => f.create({ functionId: "x", name: "N", runtime: "wasi-0.2", installationId: "i" }));
const generated = await f.create({ functionId: ID.unique(), name: "Generated", runtime: "wasi-0.2" });
assert.match(generated.$id, /^[0-9a-f]{20}$/);
const listed = await f.list({ queries: [Query.equal("runtime", ["static-1"]), Query.orderDesc("$sequence")] });
assert.deepEqual([listed.total, listed.functions[0].$id], [1, functionId]);
assert.equal((await f.list({ search: "Generated", total: false })).total, 0);
await refused(400, "general_argument_invalid", () => f.list({ queries: [Query.equal("nothing", ["x"])] }), "nothing");
assert.equal((await f.get({ functionId })).name, "Node");
await refused(404, "function_not_found", () => f.get({ functionId: "none" }));
const updated = await f.update({ functionId, name: "Node 2", execute: ["any"], enabled: true, logging: true });
assert.deepEqual([updated.name, updated.timeout, updated.runtime], ["Node 2", 15, "static-1"]);
await refused(404, "function_not_found", () => f.update({ functionId: "none", name: "x" }));
assert.ok((await f.listRuntimes()).runtimes.some((runtime) => runtime.$id === "wasi-0.2"));
assert.ok((await f.listSpecifications({ type: "runtimes" })).total > 0);
await refused(400, "general_argument_invalid", () => f.listSpecifications({ type: "other" }), "type");

// Deployments: whole, in chunks, as an archive.
const first = await f.createDeployment({ functionId, code: InputFile.fromBuffer(component, "app.wasm"), activate: true });
assert.equal(first.sourceSize, component.length);
await built(f, functionId, first.$id);
await until("the first one to be active", async () => (await f.get({ functionId })).deploymentId === first.$id);
const steps = [];
const chunked = await f.createDeployment({
  functionId, code: InputFile.fromBuffer(large, "large.wasm"), activate: false, onProgress: (step) => steps.push(step),
});
assert.equal(chunked.sourceSize, large.length);
assert.deepEqual([steps.length, steps.at(-1).progress], [Math.ceil(large.length / 5242880), 100]);
await built(f, functionId, chunked.$id);
const whole = await f.getDeploymentDownload({ functionId, deploymentId: chunked.$id });
assert.ok(Buffer.from(whole).equals(large));
const packed = await f.createDeployment({
  functionId, code: InputFile.fromBuffer(archive, "code.tar.gz"), activate: false, entrypoint: "app.wasm",
});
const ready = await built(f, functionId, packed.$id);
assert.ok(ready.buildLogs.includes("archive"), ready.buildLogs);
assert.ok(Buffer.from(await f.getDeploymentDownload({ functionId, deploymentId: packed.$id })).equals(archive));
const output = await f.getDeploymentDownload({ functionId, deploymentId: packed.$id, type: "output" });
assert.ok(Buffer.from(output).equals(component));
await refused(400, "storage_file_type_unsupported", () =>
  f.createDeployment({ functionId, code: InputFile.fromBuffer(component, "app.zip"), activate: true }), "app.zip");
await refused(404, "function_not_found", () =>
  f.createDeployment({ functionId: "none", code: InputFile.fromBuffer(component, "app.wasm"), activate: true }));
assert.equal((await f.listDeployments({ functionId, queries: [Query.equal("status", ["ready"])] })).total, 3);
await refused(400, "general_cursor_not_found", () => f.listDeployments({ functionId, queries: [Query.cursorAfter("none")] }));
assert.equal((await f.getDeployment({ functionId, deploymentId: first.$id })).status, "ready");
await refused(404, "deployment_not_found", () => f.getDeployment({ functionId, deploymentId: "none" }));
await refused(404, "deployment_not_found", () => f.getDeploymentDownload({ functionId, deploymentId: "none" }));
assert.equal((await f.updateFunctionDeployment({ functionId, deploymentId: packed.$id })).deploymentId, packed.$id);
await refused(404, "deployment_not_found", () => f.updateFunctionDeployment({ functionId, deploymentId: "none" }));
await refused(400, "build_already_completed", () => f.updateDeploymentStatus({ functionId, deploymentId: first.$id }));
const duplicate = await f.createDuplicateDeployment({ functionId, deploymentId: packed.$id });
await built(f, functionId, duplicate.$id);
await refused(404, "deployment_not_found", () => f.createDuplicateDeployment({ functionId, deploymentId: "none" }));
await refused(405, "general_not_implemented", () => f.createTemplateDeployment({
  functionId, repository: "r", owner: "o", rootDirectory: ".", type: "branch", reference: "main",
}));
await refused(405, "general_not_implemented", () => f.createVcsDeployment({ functionId, type: "branch", reference: "main" }));
await f.deleteDeployment({ functionId, deploymentId: chunked.$id });
await refused(404, "deployment_not_found", () => f.deleteDeployment({ functionId, deploymentId: chunked.$id }));

// Executions.
const run = await f.createExecution({
  functionId, xpath: "/hello?name=Anna", method: ExecutionMethod.GET, headers: { accept: "text/plain" },
});
assert.deepEqual([run.status, run.responseStatusCode, run.functionId], ["completed", 200, functionId]);
assert.ok(run.responseBody.includes("Anna"), run.responseBody);
const queued = await f.createExecution({ functionId, async: true, xpath: "/hello", method: ExecutionMethod.GET });
assert.equal(queued.status, "waiting");
await until("it to end", async () => (await f.getExecution({ functionId, executionId: queued.$id })).status === "completed");
const later = await f.createExecution({ functionId, async: true, scheduledAt: "2099-01-01T00:00:00.000+00:00" });
assert.equal(later.status, "scheduled");
await refused(400, "general_bad_request", () => f.createExecution({ functionId, scheduledAt: "2099-01-01T00:00:00.000+00:00" }));
await refused(404, "deployment_not_found", () => f.createExecution({ functionId: generated.$id }));
await refused(400, "general_argument_invalid", () => f.createExecution({ functionId, method: "BREW" }), "method");
const found = await f.listExecutions({
  functionId, queries: [Query.startsWith("requestPath", "/hello"), Query.equal("requestMethod", ["GET"]), Query.limit(10)],
});
assert.equal(found.total, 2);
await refused(404, "execution_not_found", () => f.getExecution({ functionId, executionId: "none" }));
await f.deleteExecution({ functionId, executionId: later.$id });
await refused(404, "execution_not_found", () => f.deleteExecution({ functionId, executionId: later.$id }));

// Variables, of the function and of the project.
const p = watched(new Project(client()));
const ofProject = {
  list: (of) => p.listVariables(of), create: (of) => p.createVariable(of), get: (of) => p.getVariable(of),
  update: (of) => p.updateVariable(of), delete: (of) => p.deleteVariable(of),
};
const ofFunction = {
  list: (of) => f.listVariables({ functionId, ...of }), create: (of) => f.createVariable({ functionId, ...of }),
  get: (of) => f.getVariable({ functionId, ...of }), update: (of) => f.updateVariable({ functionId, ...of }),
  delete: (of) => f.deleteVariable({ functionId, ...of }),
};
for (const [v, resourceType] of [[ofFunction, "function"], [ofProject, "project"]]) {
  const variable = await v.create({ variableId: "greeting", key: "GREETING", value: resourceType, secret: false });
  assert.deepEqual([variable.value, variable.resourceType], [resourceType, resourceType]);
  await refused(409, "variable_already_exists", () => v.create({ variableId: "other", key: "GREETING", value: "x" }));
  await refused(400, "general_argument_invalid", () => v.create({ variableId: "other", key: "A=B", value: "x" }), "key");
  assert.equal((await v.list({ queries: [Query.equal("resourceType", [resourceType])] })).total, 1);
  assert.equal((await v.get({ variableId: "greeting" })).key, "GREETING");
  await refused(404, "variable_not_found", () => v.get({ variableId: "none" }));
  assert.equal((await v.update({ variableId: "greeting", value: "new", secret: true })).value, "");
  await refused(400, "variable_cannot_unset_secret", () => v.update({ variableId: "greeting", secret: false }));
  await v.delete({ variableId: "greeting" });
  await refused(404, "variable_not_found", () => v.delete({ variableId: "greeting" }));
}

// Domains.
const r = watched(new ProxyRules(client()));
const domain = "node.functions.localhost";
const rule = await r.createFunctionRule({ domain, functionId });
assert.deepEqual([rule.domain, rule.status, rule.deploymentResourceId], [domain, "verified", functionId]);
await refused(409, "rule_already_exists", () => r.createFunctionRule({ domain, functionId }));
await refused(404, "rule_resource_not_found", () => r.createFunctionRule({ domain: `x${domain}`, functionId: "none" }));
await refused(400, "general_argument_invalid", () => r.createFunctionRule({ domain: "bank", functionId }), "domain");
assert.equal((await r.listRules({ queries: [Query.equal("domain", [domain])] })).total, 1);
assert.equal((await r.getRule({ ruleId: rule.$id })).domain, domain);
assert.equal((await r.updateRuleStatus({ ruleId: rule.$id })).status, "verified");
await refused(404, "rule_not_found", () => r.getRule({ ruleId: "none" }));
// Domains of the project's own, which nobody has proved.
for (const [own, type, make] of [
  ["api.bank.example", "api", (domain) => r.createAPIRule({ domain })],
  ["www.bank.example", "deployment", (domain) => r.createSiteRule({ domain, siteId: setting("LARDER_PROJECT") })],
  ["fn.bank.example", "deployment", (domain) => r.createFunctionRule({ domain, functionId })],
]) {
  const made = await make(own);
  assert.deepEqual([made.domain, made.type, made.status], [own, type, "unverified"]);
  await refused(400, "rule_verification_failed", () => r.updateRuleStatus({ ruleId: made.$id }));
  await r.deleteRule({ ruleId: made.$id });
}
await refused(404, "rule_resource_not_found", () => r.createSiteRule({ domain: "bank.example", siteId: "x" }));
await refused(405, "general_not_implemented", () => r.createRedirectRule({
  domain: "bank.example", url: "https://bank.example", statusCode: "301", resourceId: functionId, resourceType: "function",
}));
await r.deleteRule({ ruleId: rule.$id });
await refused(404, "rule_not_found", () => r.deleteRule({ ruleId: rule.$id }));
allCalled("Proxy");

// Callers that may not.
const wrong = new Functions(client(`${setting("LARDER_KEY").slice(0, -4)}0000`));
await refused(401, "user_unauthorized", () => wrong.list());
const ofOtherKind = new Functions(client("standard_nonsense"));
await refused(401, "general_unauthorized_scope", () => ofOtherKind.list());
const nobody = new Functions(new Client().setEndpoint(setting("LARDER_ENDPOINT")).setProject(setting("LARDER_PROJECT")));
await refused(401, "general_unauthorized_scope", () => nobody.list());
const elsewhere = new Functions(client().setProject("nowhere"));
await refused(404, "project_not_found", () => elsewhere.list());

await f.delete({ functionId: generated.$id });
await f.delete({ functionId });
await refused(404, "function_not_found", () => f.delete({ functionId }));
allCalled("Functions");
