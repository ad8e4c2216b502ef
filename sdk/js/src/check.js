// Run by `larder build` in node: loads a bundled function as building the component does, and writes what it handles.

import { writeFileSync } from "node:fs";
import { relative, resolve } from "node:path";
import { pathToFileURL } from "node:url";

const [bundle, report, source] = process.argv.slice(2);
const { cwd, exit } = process;
const folder = cwd();

/** What to write instead of what a function does not have. */
const INSTEAD = {
  process: "variables of the function are in run.env",
  Buffer: "use Uint8Array and TextEncoder",
  crypto: "run.sign signs for an upstream",
  setTimeout: "a function runs from beginning to end without waiting",
  setInterval: "a function runs from beginning to end without waiting",
};

/** The first place of the project's own in a stack, and the message. */
function fail(error) {
  const places = [...String(error?.stack).matchAll(/(?:file:\/\/)?(\/[^\s()]+):(\d+):(\d+)/g)];
  const own = places.map(([, file, line, column]) => [relative(folder, resolve(file)), line, column])
    .find(([file]) => !file.startsWith("..") && !file.startsWith(".larder") && !file.startsWith("node_modules"));
  const missing = /^(\w+) is not defined$/.exec(error?.message)?.[1];
  const instead = INSTEAD[missing] === undefined ? "" : `: ${INSTEAD[missing]}`;
  console.error(`${own === undefined ? source : own.join(":")}: ${error?.message ?? error}${instead}`);
  exit(1);
}

try {
  const { default: definition } = await import(pathToFileURL(bundle));
  // A standard guest of wasi:http, where the engine has `fetch` events.
  const listens = globalThis.larderListens === true;
  if (listens && definition !== undefined) {
    throw new Error("it listens for fetch and exports a function: onRequest of defineFunction answers requests, too");
  }
  if (!listens && typeof definition?.handle !== "function" && typeof definition?.serve !== "function") {
    throw new Error("write `export default defineFunction({ onEvent(event, run) { … } })`");
  }
  const handles = { event: definition?.handle !== undefined, request: listens || definition?.serve !== undefined, listens };
  writeFileSync(report, JSON.stringify(handles));
} catch (error) {
  fail(error);
}
