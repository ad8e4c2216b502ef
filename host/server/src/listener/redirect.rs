//! Requests without TLS: they are sent on to the same address with it, except what an authority asks to see whether a name is
//! ours. One request a connection.

use std::convert::Infallible;
use std::net::SocketAddr;

use axum::body::Body;
use axum::response::IntoResponse;
use http::uri::Authority;
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use hyper::body::{Body as _, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::{Behind, Door, connection};
use crate::problem::{Kind, Problem};
use crate::routing::{Endpoint, NoEndpoint};
use crate::write_timeout::{Deadline, WriteTimeout};
use crate::{proxies, request_head};

/// Where an authority looks (RFC 8555, section 8.3).
const CHALLENGES: &str = "/.well-known/acme-challenge/";

pub async fn serve(door: Door, stream: TcpStream, peer: SocketAddr) {
    let deadline = Deadline::default();
    let stream = WriteTimeout::new(stream, door.settings().server.client_timeout, deadline.clone());
    let builder = connection::builder(door.settings().server.client_timeout);
    let service = service_fn(move |request: Request<Incoming>| {
        let (door, deadline) = (door.clone(), deadline.clone());
        async move {
            if !request.body().is_end_stream() {
                deadline.linger();
            }
            let mut answer = answer(&door, peer, request).await.unwrap_or_else(IntoResponse::into_response);
            answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            Ok::<_, Infallible>(answer)
        }
    });
    if let Err(err) = builder.serve_connection(TokioIo::new(stream), service).await {
        tracing::debug!(error = %err, %peer, "a connection broke");
    }
}

async fn answer(door: &Door, peer: SocketAddr, request: Request<Incoming>) -> Result<Response<Body>, Problem> {
    let (mut head, _) = request.into_parts();
    request_head::check(&head)?;
    let settings = door.settings();
    let peer = proxies::client(&settings.server, peer, &mut head.headers);
    let endpoint = door.endpoint(door.entrance(peer.ip()), &head.uri, &head.headers);
    let host = match endpoint {
        Err(NoEndpoint::NotOneHost) => None,
        Ok(_) | Err(NoEndpoint::NotOurs | NoEndpoint::Closed(_)) => host(&head.headers),
    };
    let host = host.ok_or_else(|| Problem::new(Kind::BadRequest, "A request has exactly one Host header"))?;
    if let Behind::Core { app, .. } = &door.behind {
        app.rates.take_address(peer.ip()).await?;
    }
    if is_challenge(&head.method, &head.uri) {
        return challenge(door, &endpoint, &head.uri, &host).await.ok_or_else(Problem::no_such_route);
    }
    // A door that is closed to this client is not shown.
    match (&endpoint, &door.behind) {
        (Ok(_), _) => {}
        // A domain of a partner's own is known to the core.
        (Err(NoEndpoint::NotOurs), Behind::Front(front)) if front.names.is_ours(front, &host).await => {}
        (Err(_), _) => return Err(Problem::no_such_route()),
    }
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
    let location = HeaderValue::try_from(format!("https://{host}{}{path}", door.tls_port))
        .map_err(|_| Problem::new(Kind::BadRequest, "The request's target is no path of this server"))?;
    Ok((StatusCode::PERMANENT_REDIRECT, [(header::LOCATION, location)]).into_response())
}

/// Does a request ask whether a name is ours?
pub fn is_challenge(method: &Method, uri: &Uri) -> bool {
    uri.path().starts_with(CHALLENGES) && [Method::GET, Method::HEAD].contains(method)
}

/// What it is answered, if this was given out for this host. Nothing is looked up for a name that is not ours. The door may be
/// closed to the client: authorities ask from anywhere.
pub async fn challenge(
    door: &Door,
    endpoint: &Result<Endpoint, NoEndpoint>,
    uri: &Uri,
    host: &str,
) -> Option<Response<Body>> {
    let is_ours = match (endpoint, &door.behind) {
        (Err(NoEndpoint::NotOneHost), _) => false,
        // Of a front the core says which names are ours.
        (Err(NoEndpoint::NotOurs), behind) => matches!(behind, Behind::Front(_)),
        (Ok(_) | Err(NoEndpoint::Closed(_)), _) => true,
    };
    let token = uri.path().strip_prefix(CHALLENGES).filter(|token| is_ours && is_token(token))?;
    let text = door.certificates().challenges()?.answer(host, token).await?;
    Some(([(header::CONTENT_TYPE, "application/octet-stream")], text).into_response())
}

/// The host that a request is for, without its port.
pub fn host(headers: &http::HeaderMap) -> Option<String> {
    let authority: Authority = headers.get(header::HOST)?.to_str().ok()?.parse().ok()?;
    Some(authority.host().to_ascii_lowercase())
}

/// base64url, as authorities make them.
fn is_token(text: &str) -> bool {
    (1..=256).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
}
