// How a run ends. AssemblyScript has no exceptions, so these end the program where it stands.

import { exit, writeText } from "./wasi";

/** This event will never do: nothing of the run is applied. Does not return. */
export function reject(why: string): void {
  writeText(1, "Status: 422\nContent-Type: text/plain;charset=utf-8\n\n" + why);
  exit();
}

/** Run it again later: nothing of this run is applied. Does not return. */
export function retry(why: string): void {
  writeText(1, "Status: 503\nContent-Type: text/plain;charset=utf-8\n\n" + why);
  exit();
}
