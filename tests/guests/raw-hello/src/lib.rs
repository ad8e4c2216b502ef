//! Greets whatever it is asked, by the bindings of `wasi:http` alone: no framework, no `main` and what runs before one. Beside
//! `hello-http` it shows what a framework costs in an instance that serves one call.

#![cfg(target_family = "wasm")]

use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{Fields, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam};

const HELLO: &[u8] = b"Hello, world!\n";

struct Hello;

impl Guest for Hello {
    fn handle(_: IncomingRequest, to: ResponseOutparam) {
        let headers = Fields::new();
        let values = [("content-type", "text/plain; charset=utf-8"), ("content-length", "14")];
        for (name, value) in values {
            headers.append(name, value.as_bytes()).expect("a header");
        }
        let response = OutgoingResponse::new(headers);
        let body = response.body().expect("its body");
        ResponseOutparam::set(to, Ok(response));
        let stream = body.write().expect("its stream");
        stream.blocking_write_and_flush(HELLO).expect("a reader");
        drop(stream);
        OutgoingBody::finish(body, None).expect("the whole body");
    }
}

wasip2::http::proxy::export!(Hello);
