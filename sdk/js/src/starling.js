// On StarlingMonkey a function may wait, and web APIs are the engine's own. Loaded before the function.

import "./waiting.js";

/** What `run.fetch` does on QuickJS. */
export const http = {
  send() {
    throw new TypeError("run.fetch does not wait, and StarlingMonkey does: write `await fetch(url)`");
  },
};

/** Answers requests by the function's `serve`. */
export function listen(serve) {
  addEventListener("fetch", (event) => event.respondWith(answer(serve, event.request)));
}

async function answer(serve, request) {
  const { pathname, search } = new URL(request.url);
  const body = new Uint8Array(await request.arrayBuffer());
  const said = await serve({
    method: request.method, target: `${pathname}${search}`, headers: [...request.headers], read: () => body,
  });
  const hasNone = said.status === 204 || said.status === 205 || said.status === 304;
  return new Response(hasNone ? null : said.body, { status: said.status, headers: said.headers });
}
