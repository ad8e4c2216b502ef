//! `http-error-code` of wasi:http, for the bodies of outside answers.
//!
//! wasi-http 48 gives a body's failure to the guest as an error of its own type, and then looks for the guest's type in it: the
//! guest finds no code, and cannot tell what is refused for good, such as an answer that is too large, from what may pass.

use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, Resource};
use wasmtime_wasi_http::Error;
use wasmtime_wasi_http::p2::bindings::http::types::ErrorCode;

use super::State;

pub fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    linker.instance("wasi:http/types@0.2.12")?.func_wrap("http-error-code", http_error_code)?;
    linker.allow_shadowing(false);
    Ok(())
}

fn http_error_code(
    store: StoreContextMut<'_, State>,
    (error,): (Resource<wasmtime::Error>,),
) -> wasmtime::Result<(Option<ErrorCode>,)> {
    let error = store.data().table.get(&error)?;
    let own = || error.downcast_ref::<ErrorCode>().cloned();
    Ok((error.downcast_ref::<Error>().map(code).or_else(own),))
}

/// Of what [`super::http`] ends a body with.
fn code(error: &Error) -> ErrorCode {
    match error {
        Error::HttpResponseBodySize(most) => ErrorCode::HttpResponseBodySize(*most),
        Error::HttpResponseTimeout => ErrorCode::HttpResponseTimeout,
        Error::HttpResponseIncomplete => ErrorCode::HttpResponseIncomplete,
        Error::HttpProtocolError => ErrorCode::HttpProtocolError,
        Error::HttpRequestDenied => ErrorCode::HttpRequestDenied,
        Error::ConnectionTerminated => ErrorCode::ConnectionTerminated,
        Error::DestinationUnavailable => ErrorCode::DestinationUnavailable,
        Error::InternalError(_) => ErrorCode::InternalError(None),
        // It ended before it was complete, whatever ended it.
        _ => ErrorCode::HttpResponseIncomplete,
    }
}
