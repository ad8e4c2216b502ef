// The standard wasi:http, as components import and export it. The entry that `larder build` writes uses this where the
// function calls outside services or answers requests.

import { wellFormed } from "./host.js";
import { Stop } from "./stop.js";

const encoder = new TextEncoder();
const decoder = new TextDecoder();
/** A stream takes 4096 bytes at once. */
const PIECE = 4096;
const READ = 65536; // a u64 is a number here

const METHODS = ["get", "head", "post", "put", "delete", "connect", "options", "trace", "patch"];
/** Asking again would be refused again. */
const FINAL = /^(http-request-(denied|method-invalid|uri-|body-size|header-)|destination-ip-prohibited|http-response-(body|header-))/i;

const payload = (error) => error?.payload ?? error?.val ?? error;
const free = (resource) => resource[Symbol.dispose]();
const methodOf = (name) => (METHODS.includes(name.toLowerCase()) ? { tag: name.toLowerCase() } : { tag: "other", val: name });
const headersOf = (fields) => fields.entries().map(([name, value]) => [name, decoder.decode(value)]);

function fieldsOf(types, headers, refused) {
  const fields = new types.Fields();
  for (const [name, value] of headers) {
    try {
      fields.append(wellFormed(name), encoder.encode(value));
    } catch (error) {
      throw refused(`the header ${JSON.stringify(name)} is not allowed: ${payload(error)?.tag ?? payload(error)}`);
    }
  }
  return fields;
}

/** Writes and finishes a body. */
function write(types, body, bytes) {
  const stream = body.write();
  try {
    for (let at = 0; at < bytes.length; at += PIECE) stream.blockingWriteAndFlush(bytes.subarray(at, at + PIECE));
  } finally {
    free(stream);
  }
  types.OutgoingBody.finish(body, undefined);
}

/** Reads a body to its end. `failed` makes the error of what `wasi:io` says, `tooLong` that of more than so many bytes. */
function read(incoming, failed, bytesMax, tooLong) {
  const stream = incoming.stream();
  const pieces = [];
  let size = 0;
  try {
    for (;;) {
      const piece = stream.blockingRead(READ);
      size += piece.length;
      if (size > bytesMax) throw tooLong();
      pieces.push(piece);
    }
  } catch (error) {
    const why = payload(error);
    if (why?.tag === "last-operation-failed") throw failed(why.val);
    if (why?.tag !== "closed") throw error;
  } finally {
    free(stream);
    free(incoming);
  }
  if (pieces.length === 1) return pieces[0];
  const all = new Uint8Array(size);
  let at = 0;
  for (const piece of pieces) {
    all.set(piece, at);
    at += piece.length;
  }
  return all;
}

/** Sends what `fetch` asks for. */
export function client(types, handler) {
  return {
    send({ of, method, scheme, authority, path, headers, body, bytesMax }) {
      const refused = (what) => new Stop("reject", `${of}: ${what}`);
      const failed = (code) => {
        const word = code?.tag ?? "HTTP-response-incomplete";
        return FINAL.test(word)
          ? new Stop("reject", `${of} was refused: ${word}; the log of the run says why`)
          : new Stop("retry", `${of} failed: ${word}; the log of the run says why`);
      };
      const request = new types.OutgoingRequest(fieldsOf(types, headers, refused));
      const set = (part, name, value) => {
        try {
          request[name](wellFormed(value));
        } catch {
          throw refused(`its ${part} cannot be sent`);
        }
      };
      set("method", "setMethod", methodOf(method));
      set("scheme", "setScheme", { tag: scheme === "https" ? "HTTPS" : "HTTP" });
      set("host", "setAuthority", authority);
      set("path", "setPathWithQuery", path);
      const outgoing = request.body();
      let pending;
      try {
        pending = handler.handle(request, undefined);
      } catch (error) {
        throw failed(payload(error));
      }
      try {
        write(types, outgoing, body);
      } catch {
        // So does the answer fail, which says why.
      }
      const ready = pending.subscribe();
      ready.block();
      free(ready);
      const got = pending.get();
      free(pending);
      if (got?.tag !== "ok" || got.val?.tag !== "ok") throw failed(got?.val?.val);
      const answer = got.val.val;
      const answered = { status: answer.status(), headers: headersOf(answer.headers()) };
      const code = (error) => failed(types.httpErrorCode(error));
      const tooLong = () => refused(`the answer has more than ${bytesMax} bytes`);
      return { ...answered, body: read(answer.consume(), code, bytesMax, tooLong) };
    },
  };
}

/** Answers requests with what `serve` gives. */
export function server(types, serve) {
  return {
    handle(incoming, out) {
      const method = incoming.method();
      let unread = null;
      const unreadable = () => (unread = new Stop("reject", "the body of the request cannot be read"));
      const answer = serve({
        method: method.tag === "other" ? method.val : method.tag.toUpperCase(),
        target: incoming.pathWithQuery() ?? "/",
        headers: headersOf(incoming.headers()),
        read: () => read(incoming.consume(), unreadable, Infinity),
      });
      const fail = (why) => types.ResponseOutparam.set(out, { tag: "err", val: { tag: "internal-error", val: wellFormed(why) } });
      // Larder knows what is wrong with the body, and tells the client.
      if (unread !== null && answer.status >= 400) return fail(unread.message);
      let response;
      try {
        response = new types.OutgoingResponse(fieldsOf(types, answer.headers, (why) => new Error(why)));
        response.setStatusCode(answer.status);
      } catch (error) {
        console.error(error);
        return fail(String(error?.message ?? error));
      }
      const body = response.body();
      types.ResponseOutparam.set(out, { tag: "ok", val: response });
      try {
        write(types, body, answer.body);
      } catch {
        // Nobody reads the answer any more.
      }
    },
  };
}
