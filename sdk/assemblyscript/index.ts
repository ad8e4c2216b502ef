// What a function in AssemblyScript has beside the standard library: events, money, and what a run may do.
//
// A function is a CGI program: Larder runs it once for each event or request. Its file says who handles them, and `serve`,
// which `larder build` calls behind it, runs the handler. What a run did is applied when it ends well, or not at all. What the
// code calls is what the function imports, and needs a grant.

import { reject } from "./end";
import { Event, isEvent } from "./event";
import { Request, Response } from "./http";
import { input, variable } from "./wasi";

export { reject, retry } from "./end";
export { Event } from "./event";
export { Request, Response } from "./http";
export { Json, Kind, quote } from "./json";
export { Money } from "./money";
export { Enrolment, Entry, emit, enrolment, log, save, saveFor, sign, state } from "./run";
export { variable } from "./wasi";

let handlesEvent: ((event: Event) => void) | null = null;
let answersRequest: ((request: Request) => Response) | null = null;

/** The function handles events, by this. */
export function onEvent(handler: (event: Event) => void): void {
  handlesEvent = handler;
}

/** The function answers HTTP requests, by this. Events come here too, as a POST, unless `onEvent` has a handler. */
export function onRequest(handler: (request: Request) => Response): void {
  answersRequest = handler;
}

/** Runs the handler for what this run is for. */
export function serve(): void {
  const event = handlesEvent, request = answersRequest;
  if (isEvent() && event !== null) {
    event(new Event(input()));
    Response.empty().send();
  } else if (request !== null) {
    request(new Request()).send();
  } else if (event !== null) {
    reject(`this function handles events, and ${variable("REQUEST_METHOD")} ${variable("PATH_INFO")} is none`);
  } else {
    reject("this function handles nothing: call onEvent or onRequest at the top level of src/index.ts");
  }
}
