//! Outgoing HTTP: linked, because many toolchains import it out of habit, and refused.

use http::{Request, Response};
use wasmtime_wasi_http::{Error, RequestOptions, Result, WasiBody, WasiHttpHooks};

pub struct Egress;

type Connection = Box<dyn Future<Output = Result<(), Error>> + Send>;

impl WasiHttpHooks for Egress {
    fn send_request(
        &mut self,
        _request: Request<WasiBody>,
        _options: Option<RequestOptions>,
        _sent: Connection,
    ) -> Box<dyn Future<Output = Result<(Response<WasiBody>, Connection)>> + Send> {
        Box::new(async { Err(Error::HttpRequestDenied) })
    }

    /// Bounds what one write to a response body makes the host keep.
    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        crate::answer::CHUNK_BYTES
    }
}
