// How a run ends. AssemblyScript has no exceptions, so these end the program where it stands.

import { environment, exit, writeText } from "./wasi";

/** Larder records why an event is refused. Whoever sent a request sees the answer, and the function's owner the log. */
function explain(why: string): void {
  if (!environment().has("HTTP_CE_ID")) writeText(2, why + "\n");
}

/** This event will never do: nothing of the run is applied. Does not return. */
export function reject(why: string): void {
  explain(why);
  writeText(1, "Status: 422\nContent-Type: text/plain;charset=utf-8\n\n" + why);
  exit();
}

/** Run it again later: nothing of this run is applied. Does not return. */
export function retry(why: string): void {
  explain(why);
  writeText(1, "Status: 503\nContent-Type: text/plain;charset=utf-8\n\n" + why);
  exit();
}
