// Larder functions in JavaScript and TypeScript: `export default defineFunction({ onEvent(event, run) { … } })`.

import "./globals.js";
import { Run, Stop } from "./run.js";

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

/** What the answer of `onEvent` becomes: text as it is, everything else JSON, nothing stays nothing. */
function answered(answer) {
  if (answer === undefined || answer === null) return undefined;
  if (answer instanceof Uint8Array) return answer;
  if (typeof answer.then === "function") {
    throw new TypeError("onEvent is async; a function runs from beginning to end without waiting: remove async and await");
  }
  return new TextEncoder().encode(typeof answer === "string" ? answer : JSON.stringify(answer));
}

/** Defines what the component exports. */
export function defineFunction(definition) {
  const { onEvent } = definition ?? {};
  if (typeof onEvent !== "function") throw new TypeError("defineFunction needs { onEvent(event, run) { … } }");
  return {
    handle(event) {
      try {
        return answered(onEvent(opened(event), new Run()));
      } catch (error) {
        // The contract's own errors are plain values; everything else is a fault of the program.
        if (error instanceof Stop) throw { tag: error.tag, val: error.message };
        console.error(error);
        throw error;
      }
    },
  };
}
