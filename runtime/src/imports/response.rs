//! `outgoing-response.body` of wasi:http, without its check of the length.
//!
//! wasi-http takes a body that is shorter than its `content-length` for a broken one. That is right for most answers and
//! wrong for those that have no body and may tell how long it would be: to `HEAD`, and 304 (RFC 9110, section 8.6). What
//! an answer may be is decided in one place, [`crate::answer`], which knows the request and the status.

use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, Resource};
use wasmtime_wasi_http::WasiHttpView;
use wasmtime_wasi_http::p2::body::{HostOutgoingBody, StreamContext};
use wasmtime_wasi_http::p2::types::HostOutgoingResponse;

use super::State;

pub fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    linker.instance("wasi:http/types@0.2.12")?.func_wrap("[method]outgoing-response.body", body)?;
    linker.allow_shadowing(false);
    Ok(())
}

type Body = Result<Resource<HostOutgoingBody>, ()>;

fn body(
    mut store: StoreContextMut<'_, State>,
    (response,): (Resource<HostOutgoingResponse>,),
) -> wasmtime::Result<(Body,)> {
    let http = store.data_mut().http();
    let (chunks, chunk_bytes) = (http.hooks.p2_outgoing_body_buffer_chunks(), http.hooks.p2_outgoing_body_chunk_size());
    let response = http.table.get_mut(&response)?;
    if response.body.is_some() {
        return Ok((Err(()),));
    }
    let (host, body) = HostOutgoingBody::new(StreamContext::Response, None, chunks, chunk_bytes);
    response.body = Some(body);
    Ok((Ok(http.table.push(host)?),))
}
