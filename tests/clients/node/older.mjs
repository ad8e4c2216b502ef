// An older release, by its number: every method of Functions and Health that it knows. Their arguments are by position.

import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { readFileSync } from "node:fs";
import { allCalled, built, methods, refused, setting, until, watched } from "./check.mjs";

const require = createRequire(import.meta.url);
const release = process.argv[2];
const sdk = require(`node-appwrite-${release}`);
const InputFile = sdk.InputFile ?? require(`node-appwrite-${release}/file`).InputFile;
const client = new sdk.Client();
client.setEndpoint(setting("LARDER_ENDPOINT")).setProject(setting("LARDER_PROJECT")).setKey(setting("LARDER_KEY"));
const component = readFileSync(setting("LARDER_COMPONENT"));
const large = readFileSync(setting("LARDER_LARGE"));

const f = watched(new sdk.Functions(client));
const has = (method) => methods(new sdk.Functions(client)).includes(method);
const id = `release-${release}`;
// The oldest list of runtimes has no word of ours, and nothing checks it.
const runtime = sdk.Runtime?.Static1 ?? "wasi-0.2";

const made = await f.create(id, "Older", runtime, ["any"]);
assert.deepEqual([made.$id, made.runtime, made.timeout], [id, runtime, 15]);
await refused(409, "function_already_exists", () => f.create(id, "Older", runtime));
assert.equal((await f.list([sdk.Query.equal("name", ["Older"])])).total, 1);
assert.equal((await f.get(id)).name, "Older");
await refused(404, "function_not_found", () => f.get("none"));
assert.equal((await f.update(id, "Older 2", undefined, ["any"])).name, "Older 2");
assert.ok((await f.listRuntimes()).total > 0);
if (has("listSpecifications")) assert.ok((await f.listSpecifications()).total > 0);

const small = await f.createDeployment(id, InputFile.fromBuffer(component, "app.wasm"), true);
await built(f, id, small.$id);
const chunked = await f.createDeployment(id, InputFile.fromBuffer(large, "large.wasm"), false, "large.wasm");
await built(f, id, chunked.$id);
const download = has("downloadDeployment") ? "downloadDeployment" : "getDeploymentDownload";
assert.ok(Buffer.from(await f[download](id, chunked.$id)).equals(large));
assert.equal((await f.listDeployments(id)).total, 2);
await refused(404, "deployment_not_found", () => f.getDeployment(id, "none"));
const activate = has("updateDeployment") ? "updateDeployment" : "updateFunctionDeployment";
assert.equal((await f[activate](id, chunked.$id)).deploymentId, chunked.$id);
// Another build of the same upload, and the end of one that has ended already.
if (has("createBuild")) {
  await f.createBuild(id, small.$id, small.buildId);
} else {
  await f.createDuplicateDeployment(id, small.$id);
}
assert.equal((await f.listDeployments(id)).total, 3);
for (const cancel of ["updateDeploymentBuild", "updateDeploymentStatus"].filter(has)) {
  await refused(400, "build_already_completed", () => f[cancel](id, small.$id));
}
if (has("createTemplateDeployment")) {
  await refused(405, "general_not_implemented", () => f.createTemplateDeployment(id, "r", "o", ".", "branch", "main"));
  await refused(405, "general_not_implemented", () => f.createVcsDeployment(id, "branch", "main"));
}
await until("all builds to end", async () =>
  (await f.listDeployments(id)).deployments.every((deployment) => deployment.status === "ready"));

const run = await f.createExecution(id, "", false, "/hello?name=Anna", "GET", { accept: "text/plain" });
assert.deepEqual([run.status, run.responseStatusCode, run.functionId], ["completed", 200, id]);
assert.ok(run.responseBody.includes("Anna"), run.responseBody);
assert.equal((await f.listExecutions(id)).total, 1);
assert.equal((await f.getExecution(id, run.$id)).$id, run.$id);
await refused(404, "execution_not_found", () => f.getExecution(id, "none"));
if (has("deleteExecution")) await f.deleteExecution(id, run.$id);

// Formats before 1.9.4 let the server choose the id.
const variable = await f.createVariable(id, "GREETING", "hello");
await refused(409, "variable_already_exists", () => f.createVariable(id, "GREETING", "again"));
assert.equal((await f.listVariables(id)).total, 1);
assert.equal((await f.getVariable(id, variable.$id)).key, "GREETING");
assert.equal((await f.updateVariable(id, variable.$id, "GREETING_2", "new")).key, "GREETING_2");
await f.deleteVariable(id, variable.$id);
await refused(404, "variable_not_found", () => f.getVariable(id, variable.$id));

await f.deleteDeployment(id, chunked.$id);
await f.delete(id);
await refused(404, "function_not_found", () => f.delete(id));
allCalled("Functions");

const health = watched(new sdk.Health(client));
const refusals = { getCertificate: () => refused(404, "health_certificate_not_found", () => health.getCertificate("bank.example")) };
for (const method of methods(health)) {
  if (refusals[method]) {
    await refusals[method]();
    continue;
  }
  const answer = await health[method](...(method === "getFailedJobs" ? ["v1-functions"] : []));
  if (method.startsWith("getQueue") && method !== "getQueue" || method === "getFailedJobs") {
    assert.equal(typeof answer.size, "number", `${method}: ${JSON.stringify(answer)}`);
  } else if (method === "getTime") {
    assert.ok(Math.abs(answer.diff) <= 2, JSON.stringify(answer));
  } else {
    assert.ok(["pass", "disabled"].includes(answer.status), `${method}: ${JSON.stringify(answer)}`);
  }
}
allCalled("Health");
