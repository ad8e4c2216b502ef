// Larder functions in JavaScript and TypeScript: `export default defineFunction({ onEvent(event, run) { … } })`.

import "./globals.js";
import { mayWait, wellFormed } from "./host.js";
import { Request, answerOf, answerOfStop } from "./http.js";
import { Run } from "./run.js";
import { Stop } from "./stop.js";

export { Headers, Response, fetch } from "./http.js";
export { Money } from "./money.js";

const decoder = new TextDecoder();

/** The event with its data as the content type says. */
function opened(event) {
  const { id, source, type, subject, time, dataContentType, data: bytes } = event;
  const isJson = dataContentType === "" ? bytes.length > 0 : /^application\/([\w.-]+\+)?json\b/.test(dataContentType);
  let data = null;
  if (isJson) {
    try {
      data = JSON.parse(decoder.decode(bytes));
    } catch (error) {
      throw new Stop("reject", `the event's data is not JSON: ${error.message}`);
    }
  }
  return { id, source, type, subject: subject ?? null, time: new Date(time), dataContentType, data, bytes };
}

/** What a handler comes to: at once, or later where the engine waits. */
function settled(work, handler, done, failed) {
  try {
    const answer = work();
    if (typeof answer?.then !== "function") return done(answer);
    if (!mayWait()) throw new TypeError(late(handler));
    return answer.then(done).catch(failed);
  } catch (error) {
    return failed(error);
  }
}

const late = (handler) =>
  `${handler} is async; a function runs from beginning to end without waiting: remove async and await, or set engine = "starling"`;

/** What the answer of `onEvent` becomes: text as it is, everything else JSON, nothing stays nothing. */
function answered(answer) {
  if (answer === undefined || answer === null) return undefined;
  if (answer instanceof Uint8Array) return answer;
  return new TextEncoder().encode(typeof answer === "string" ? answer : JSON.stringify(answer));
}

/** Errors other than those of the contract are faults of the program. */
function fault(error) {
  console.error(error);
  throw error;
}

/** Defines what the component exports. */
export function defineFunction(definition) {
  const { onEvent, onRequest } = definition ?? {};
  if (onEvent === undefined && onRequest === undefined) {
    throw new TypeError("defineFunction needs { onEvent(event, run) { … } } or { onRequest(request, run) { … } }");
  }
  const defined = {};
  for (const [name, handler] of Object.entries({ onEvent, onRequest })) {
    if (handler === undefined) continue;
    if (typeof handler !== "function") throw new TypeError(`${name} is ${typeof handler}, and must be a function`);
    if (handler.constructor.name === "AsyncFunction" && !mayWait()) throw new TypeError(late(name));
  }
  if (onEvent !== undefined) {
    defined.handle = (event) =>
      settled(() => onEvent(opened(event), new Run()), "onEvent", answered, (error) => {
        // The contract's own errors are plain values.
        if (error instanceof Stop) throw { tag: error.tag, val: wellFormed(error.message) };
        return fault(error);
      });
  }
  if (onRequest !== undefined) {
    defined.serve = (incoming) => {
      const request = new Request(incoming);
      const told = (answer) => ({ status: answer.status, headers: [...answer.headers], body: answer.bytes() });
      return settled(() => onRequest(request, new Run()), "onRequest", (answer) => told(answerOf(answer)), (error) => {
        if (!(error instanceof Stop)) return fault(error);
        console.error(error.message);
        return told(answerOfStop(error, request.headers.has("ce-id")));
      });
    };
  }
  return defined;
}
