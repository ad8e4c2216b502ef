// The event of this run: CloudEvents in binary mode, in the environment and on stdin.

import { decode } from "./decode";
import { Json } from "./json";
import { environment, upperCase, variable } from "./wasi";

/** A CloudEvent. */
@final
export class Event {
  /** Unique for its source. */
  readonly id: string = attribute("id");
  readonly source: string = attribute("source");
  /** What happened: `card.purchase`. */
  readonly type: string = attribute("type");
  /** Whom or what it is about; empty if it does not say. */
  readonly subject: string = attribute("subject");
  /** RFC 3339, in UTC. */
  readonly time: string = attribute("time");
  readonly dataContentType: string = variable("CONTENT_TYPE");

  constructor(readonly data: Uint8Array) {}

  /** Its data as text. */
  text(): string {
    return String.UTF8.decodeUnsafe(this.data.dataStart, this.data.length);
  }

  /** Its data as JSON. */
  json(): Json {
    return Json.parse(this.text());
  }

  /** An extension attribute such as `traceparent`; empty if it has none. */
  attribute(name: string): string {
    return attribute(name);
  }
}

export function isEvent(): bool {
  return environment().has("HTTP_CE_ID");
}

function attribute(name: string): string {
  return decode(variable("HTTP_CE_" + upperCase(name)), false);
}
