// Answers every request with its method, path and body. Standard web APIs: jco turns a `fetch` listener into
// wasi:http/incoming-handler.
addEventListener("fetch", (event) => event.respondWith(answer(event.request)));

async function answer(request) {
  const { pathname, search } = new URL(request.url);
  const body = await request.text();
  return new Response(`${request.method} ${pathname}${search}\n${body}`, {
    headers: { "content-type": "text/plain; charset=utf-8", "x-guest": "js-http" },
  });
}
