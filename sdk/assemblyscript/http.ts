// A request, from its environment and stdin, and the answer to it, as CGI has it.

import { decode } from "./decode";
import { reject } from "./end";
import { Json } from "./json";
import { input, upperCase, variable, write, writeText } from "./wasi";

@final
export class Request {
  readonly method: string = variable("REQUEST_METHOD");
  /** Decoded. */
  readonly path: string = variable("PATH_INFO");
  private body: Uint8Array | null = null;

  /** The first value of a name in the query, decoded. */
  query(name: string, otherwise: string = ""): string {
    const parts = variable("QUERY_STRING").split("&");
    for (let at = 0; at < parts.length; at++) {
      const equals = parts[at].indexOf("=");
      const own = equals < 0 ? parts[at] : parts[at].substring(0, equals);
      if (own.length > 0 && decode(own, true) == name) return equals < 0 ? "" : decode(parts[at].substring(equals + 1), true);
    }
    return otherwise;
  }

  /** A header; empty if there is none. */
  header(name: string): string {
    const upper = upperCase(name);
    return variable(upper == "CONTENT_TYPE" || upper == "CONTENT_LENGTH" ? upper : "HTTP_" + upper);
  }

  bytes(): Uint8Array {
    if (this.body === null) this.body = input();
    return this.body as Uint8Array;
  }

  text(): string {
    const body = this.bytes();
    return String.UTF8.decodeUnsafe(body.dataStart, body.length);
  }

  json(): Json {
    return Json.parse(this.text(), "the body");
  }
}

@final
export class Response {
  private head: string;

  constructor(private body: Uint8Array, status: i32 = 200, contentType: string = "application/octet-stream") {
    this.head = `Status: ${status}\n`;
    if (contentType.length > 0) this.header("Content-Type", contentType);
  }

  static text(text: string, status: i32 = 200, contentType: string = "text/plain;charset=utf-8"): Response {
    return new Response(Uint8Array.wrap(String.UTF8.encode(text, false, String.UTF8.ErrorMode.REPLACE)), status, contentType);
  }

  /** `text` is JSON. */
  static json(text: string, status: i32 = 200): Response {
    return Response.text(text, status, "application/json");
  }

  /** Without a body. */
  static empty(status: i32 = 204): Response {
    return new Response(new Uint8Array(0), status, "");
  }

  /** One more header. */
  header(name: string, value: string): Response {
    if (name.includes("\n") || name.includes(":") || value.includes("\n") || value.includes("\r")) {
      reject(`the header ${name} has a line break in it`);
    }
    this.head += `${name}: ${value}\n`;
    return this;
  }

  /** Writes it to stdout. */
  send(): void {
    writeText(1, this.head + "\n");
    write(1, this.body.dataStart, this.body.length);
  }
}
