//! Requests as audit records tell of them: by which door, from where, under which id.

use std::net::SocketAddr;

use axum::body::Body;
use http::{HeaderName, HeaderValue, Request, Response, header};
use larder_model::audit::Door;
use larder_platform::audit::{self, Asked};

use crate::app::App;
use crate::routing::Endpoint;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// What the command line calls itself.
const CLI_AGENT: &[u8] = b"larder-cli/";

/// Answers a request whose changes are recorded. It has its endpoint and the client's address as extensions.
pub async fn answer<F: Future<Output = Response<Body>>>(
    app: App,
    request: Request<Body>,
    answer: impl FnOnce(App, Request<Body>) -> F,
) -> Response<Body> {
    let id = app.clock.ulid();
    let header = HeaderValue::from_str(&id).expect("a ULID is a header's value");
    let address = request.extensions().get::<SocketAddr>().map(SocketAddr::ip);
    let asked = Asked::new(id, address, door(&request));
    let mut response = audit::asked(asked, answer(app, request)).await;
    response.headers_mut().insert(REQUEST_ID, header);
    response
}

fn door(request: &Request<Body>) -> Door {
    let agent = request.headers().get(header::USER_AGENT).map(HeaderValue::as_bytes).unwrap_or_default();
    match request.extensions().get() {
        Some(Endpoint::Console(_) | Endpoint::MetaConsole) => Door::Console,
        _ if agent.starts_with(CLI_AGENT) => Door::Cli,
        _ => Door::Api,
    }
}
