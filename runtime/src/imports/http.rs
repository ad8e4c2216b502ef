//! Outgoing `wasi:http`: the one door through which a guest reaches the network.
//!
//! Many toolchains import it out of habit, so it is always linked; without a [`Backend`] every call is refused. What may
//! be called, and how, is the backend's to know.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use wasmtime_wasi_http::{RequestOptions, Result, WasiBody, WasiHttpHooks};

/// A body on its way out or in.
pub type Body = UnsyncBoxBody<Bytes, Error>;

/// Where the outgoing requests of one run go.
#[async_trait]
pub trait Backend: Send + Sync {
    /// Sends one request of the guest; whatever it starts ends with the run.
    async fn send(&self, request: Request<Body>, times: Times) -> std::result::Result<Response<Body>, Error>;
}

/// What the guest is willing to wait; `None`: as long as the host does.
#[derive(Clone, Copy, Debug, Default)]
pub struct Times {
    pub connect: Option<Duration>,
    pub first_byte: Option<Duration>,
    pub between_bytes: Option<Duration>,
}

/// Why there is no answer. Guests get the nearest `error-code` of wasi:http; the text is for the function's owner.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// No grant covers it, or its bounds are used up.
    #[error("{0}")]
    Denied(String),
}

pub struct Egress {
    pub backend: Option<Arc<dyn Backend>>,
}

type Connection = Box<dyn Future<Output = Result<()>> + Send>;

impl WasiHttpHooks for Egress {
    fn send_request(
        &mut self,
        _request: Request<WasiBody>,
        _options: Option<RequestOptions>,
        _sent: Connection,
    ) -> Box<dyn Future<Output = Result<(Response<WasiBody>, Connection)>> + Send> {
        let _ = &self.backend;
        Box::new(async { Err(wasmtime_wasi_http::Error::HttpRequestDenied) })
    }

    /// Bounds what one write to a response body makes the host keep.
    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        crate::answer::CHUNK_BYTES
    }
}
