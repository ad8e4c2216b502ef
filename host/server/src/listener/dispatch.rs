//! One request → its endpoint → its answer.

use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use bytes::Bytes;
use http::uri::Scheme;
use http::{HeaderMap, HeaderValue, Method, Request, Response, Uri, Version, header};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use larder_platform::bodies::AnswerBody;
use larder_platform::tls::Certificate;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::connection::Via;
use super::{Behind, Door, redirect};
use crate::app::App;
use crate::client_body::{BodyLimits, ClientBody, Received, UnreadBody};
use crate::front::Front;
use crate::front::told::{self, Told};
use crate::problem::{Kind, Problem};
use crate::routing::{self, Endpoint, Entrance, NoEndpoint};
use crate::{api, audited, console, cors, me, proxies, request_head, web};

/// What becomes of a request.
struct Answered {
    response: Response<AnswerBody>,
    /// Of the web endpoint.
    is_web: bool,
    /// What follows on the connection may belong to it.
    is_refused: bool,
}

/// Routes a request to its endpoint, by the Host header; a front passes it on.
pub async fn dispatch(door: &Door, via: Via, request: Request<Received>) -> Response<AnswerBody> {
    let (settings, bodies) = match &door.behind {
        Behind::Core { app, .. } => (&app.settings, &app.bodies),
        Behind::Front(front) => (&front.settings, &front.bodies),
    };
    let Via { peer, certificate, front, deadline } = via;
    deadline.set(None);
    if front.as_ref().is_some_and(|front| *front.closing.borrow()) {
        deadline.linger();
        return told::not_begun();
    }
    let (mut head, body) = request.into_parts();
    let is_http2 = head.version == Version::HTTP_2;
    let checked = request_head::check(&head);
    let told = match &front {
        Some(_) => told::read(&mut head.headers),
        None => Ok(Told {
            client: proxies::client(&settings.server, peer, &mut head.headers),
            is_secure: certificate.is_some(),
        }),
    };
    let (checked, told) = match told {
        Ok(told) => (checked, told),
        Err(problem) => (checked.and(Err(problem)), Told { client: peer, is_secure: false }),
    };
    if told.is_secure {
        secure(&mut head);
    }
    let account = bodies.account();
    let limits = BodyLimits::of(&settings.server);
    let (body, mut unread) = ClientBody::new(body, &head.headers, limits, account.clone());
    let request = Request::from_parts(head, body);
    let checked = checked.and_then(|()| match &certificate {
        Some(certificate) => is_for(certificate, request.headers()),
        None => Ok(()),
    });
    let entrance = match &front {
        Some(front) => Entrance::Front(&front.link.front),
        None => door.entrance(told.client.ip()),
    };
    let answered = match &door.behind {
        Behind::Core { app, router, pages } => {
            answer(app, (router, pages), door, entrance, checked, &told, request).await
        }
        Behind::Front(front) => pass_on(front, door, certificate.as_deref(), checked, &told, request).await,
    };
    let Answered { mut response, is_web, is_refused } = answered;
    // What was begun never says otherwise, whatever a function writes: it would be sent again.
    told::begun(response.headers_mut());
    // What is answered here concerns one client. A function whose answers may be kept says so.
    response.headers_mut().entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    if let Some(hsts) = door.hsts.as_ref().filter(|_| certificate.is_some()) {
        response.headers_mut().insert(header::STRICT_TRANSPORT_SECURITY, hsts.clone());
    }
    let mut refused_later = None;
    if is_http2 {
        // What is not read of a request is refused once its answer is sent, and ends with its stream alone.
        refused_later = Some(unread);
    } else if unread.is_read() {
        door.life().spawn_work("unread body", unread.discard_later());
    } else if !unread.discard().await {
        // The client may still be sending. The connection is closed once the client has read the answer.
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        deadline.linger();
    }
    if is_refused && !is_http2 {
        // What follows on the connection may belong to the refused request.
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    if is_web {
        // A streamed answer may take longer. A client that stops reading it is disconnected all the same.
        let streams = response.extensions().get().map_or(Duration::ZERO, |web::Streams(most)| *most);
        deadline.set(Some(Instant::now() + streams.max(settings.server.answer_timeout)));
    }
    let response = account.hold(response);
    match refused_later {
        Some(unread) => response.map(|body| Beside { body, _unread: unread }.boxed_unsync()),
        None => response,
    }
}

/// Answers a request here.
async fn answer(
    app: &App,
    (router, pages): (&Router, &Router),
    door: &Door,
    entrance: Entrance<'_>,
    checked: Result<(), Problem>,
    told: &Told,
    request: Request<ClientBody>,
) -> Answered {
    let (router, pages, peer) = (router.clone(), pages.clone(), told.client);
    let (mut is_web, mut is_refused) = (false, checked.is_err());
    let limited = match &checked {
        Ok(()) => app.rates.take_address(peer.ip()).await,
        Err(_) => Ok(()),
    };
    let checked = checked.and_then(|()| limited.map_err(Problem::from));
    let is_socket = request_head::is_websocket(request.headers());
    let endpoint = checked.map(|()| door.endpoint(entrance, request.uri(), request.headers()));
    if let Some(response) = challenge(door, told, &endpoint, asked(&request)).await {
        return Answered { response, is_web: false, is_refused };
    }
    let response = match endpoint {
        Ok(Ok(Endpoint::Web(_) | Endpoint::Function(_) | Endpoint::Console(_) | Endpoint::MetaConsole))
            if is_socket =>
        {
            not_a_socket(&mut is_refused)
        }
        Ok(Ok(Endpoint::Api(_))) if is_socket && request.uri().path() != api::realtime::PATH => {
            not_a_socket(&mut is_refused)
        }
        Err(problem) => {
            drop(request);
            refuse_head(problem)
        }
        Ok(Ok(Endpoint::Web(partner))) => {
            is_web = true;
            let named = routing::PARTNER_HEADERS.iter().any(|name| request.headers().contains_key(*name));
            let bare = || if named { None } else { app.settings.server.bare_partner.parse().ok() };
            let partner = partner.or_else(bare);
            if me::is_reserved(request.uri().path()) {
                in_a_task(app, Endpoint::Web(partner), peer, request, |app, request| me::serve(app, router, request))
                    .await
            } else {
                web::serve(app, web::At::Partner(partner), peer, request).await
            }
        }
        Ok(Ok(Endpoint::Function(domain))) => {
            is_web = true;
            web::serve(app, web::At::Domain(domain), peer, request).await
        }
        Ok(Ok(endpoint @ (Endpoint::Console(_) | Endpoint::MetaConsole))) => {
            in_a_task(app, endpoint, peer, request, |app, request| console::serve(app, pages, request)).await
        }
        Ok(Ok(endpoint @ Endpoint::Api(_))) => {
            in_a_task(app, endpoint, peer, request, |app, request| cors::serve_api(app, router, request)).await
        }
        Ok(Err(no_endpoint)) => {
            drop(request);
            closed(no_endpoint, told, &mut is_refused)
        }
    };
    Answered { response, is_web, is_refused }
}

/// Passes a request on to a core if it is for a door that is open to everybody. The core looks once more.
async fn pass_on(
    front: &Front,
    door: &Door,
    certificate: Option<&Certificate>,
    checked: Result<(), Problem>,
    told: &Told,
    request: Request<ClientBody>,
) -> Answered {
    let mut is_refused = checked.is_err();
    let found = checked.map(|()| door.endpoint(Entrance::AtFront, request.uri(), request.headers()));
    if let Some(response) = challenge(door, told, &found, asked(&request)).await {
        return Answered { response, is_web: false, is_refused };
    }
    let found = match found {
        // A domain of a partner's own is known to the core.
        Ok(Err(NoEndpoint::NotOurs)) => {
            let host = redirect::host(request.headers()).unwrap_or_default();
            let is_shown = certificate.is_some_and(|certificate| certificate.covers(&host));
            let is_ours = is_shown || front.names.is_ours(front, &host).await;
            Ok(if is_ours { Ok(()) } else { Err(NoEndpoint::NotOurs) })
        }
        found => found.map(|found| found.map(drop)),
    };
    let response = match found {
        Err(problem) => {
            drop(request);
            refuse_head(problem)
        }
        Ok(Ok(())) if request_head::is_websocket(request.headers()) => not_a_socket(&mut is_refused),
        Ok(Ok(())) => front.pass_on(told, request).await,
        Ok(Err(no_endpoint)) => {
            drop(request);
            closed(no_endpoint, told, &mut is_refused)
        }
    };
    Answered { response, is_web: false, is_refused }
}

/// What an authority is answered that asks without TLS whether a name is ours.
async fn challenge(
    door: &Door,
    told: &Told,
    endpoint: &Result<Result<Endpoint, NoEndpoint>, Problem>,
    (method, uri, headers): (&Method, &Uri, &HeaderMap),
) -> Option<Response<AnswerBody>> {
    let (Ok(endpoint), false) = (endpoint, told.is_secure) else { return None };
    if !redirect::is_challenge(method, uri) {
        return None;
    }
    let answer = redirect::challenge(door, endpoint, uri, &redirect::host(headers)?).await?;
    Some(answer.map(|body| body.map_err(Into::into).boxed_unsync()))
}

fn asked<B>(request: &Request<B>) -> (&Method, &Uri, &HeaderMap) {
    (request.method(), request.uri(), request.headers())
}

/// The answer to a head that cannot be served.
fn refuse_head(problem: Problem) -> Response<AnswerBody> {
    let mut response = web::refuse(problem);
    if response.status() == StatusCode::METHOD_NOT_ALLOWED {
        response.headers_mut().insert(header::ALLOW, request_head::ALLOW);
    }
    response
}

/// The answer where no door is open.
fn closed(why: NoEndpoint, told: &Told, is_refused: &mut bool) -> Response<AnswerBody> {
    if let NoEndpoint::Closed(door) = why {
        metrics::counter!("larder_doors_closed_total", "door" => door.to_string()).increment(1);
        tracing::debug!(door, client = %told.client.ip(), "a door was closed to a request");
    }
    web::refuse(match why {
        NoEndpoint::NotOneHost => {
            *is_refused = true;
            Problem::new(Kind::BadRequest, "A request has exactly one Host header, and its target names no other host")
        }
        // RFC 9110, section 15.5.20: by TLS a client has asked for somebody by name.
        NoEndpoint::NotOurs if told.is_secure => Problem::new(Kind::Misdirected, "this host is not served here"),
        // Where nothing is, and what this client may not reach, are answered alike.
        NoEndpoint::NotOurs | NoEndpoint::Closed(_) => Problem::no_such_route(),
    })
}

/// Is the host of a request one for which this certificate was shown? Else it is another server's (RFC 9110, section 15.5.20).
/// Whether there is exactly one host is asked later.
fn is_for(certificate: &Certificate, headers: &HeaderMap) -> Result<(), Problem> {
    match redirect::host(headers) {
        Some(host) if !certificate.covers(&host) => {
            let message = "this host is not one of the certificate that this connection began with";
            Err(Problem::new(Kind::Misdirected, message))
        }
        Some(_) | None => Ok(()),
    }
}

/// Writes into the target that the request came by TLS, for those who are told.
fn secure(head: &mut http::request::Parts) {
    let mut parts = head.uri.clone().into_parts();
    parts.scheme = Some(Scheme::HTTPS);
    if parts.authority.is_none() {
        parts.authority = head.headers.get(header::HOST).and_then(|host| host.to_str().ok()?.parse().ok());
    }
    if let Ok(uri) = Uri::from_parts(parts) {
        head.uri = uri;
    }
}

/// An answer, and what was not read of its request: if that is dropped first, HTTP/2 ends both.
struct Beside {
    body: AnswerBody,
    _unread: UnreadBody,
}

impl Body for Beside {
    type Data = Bytes;
    type Error = <AnswerBody as Body>::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A WebSocket is wanted where there is none. The connection is closed: what follows on it may be no HTTP.
fn not_a_socket(is_refused: &mut bool) -> Response<AnswerBody> {
    *is_refused = true;
    web::refuse(Problem::new(Kind::NotOffered, "WebSocket is not served here"))
}

/// Answers in a task of its own: a change that has begun is finished even if the client disconnects.
async fn in_a_task<F: Future<Output = Response<axum::body::Body>> + Send>(
    app: &App,
    endpoint: Endpoint,
    peer: SocketAddr,
    mut request: Request<ClientBody>,
    answer: impl FnOnce(App, Request<axum::body::Body>) -> F + Send + 'static,
) -> Response<AnswerBody> {
    let account = request.body().account().clone();
    request.extensions_mut().insert(endpoint);
    request.extensions_mut().insert(peer);
    request.extensions_mut().insert(account.clone());
    let (own, request) = (app.clone(), request.map(axum::body::Body::new));
    let (sender, receiver) = oneshot::channel();
    app.life.spawn_work("API request", async move {
        let response = audited::answer(own, request, answer).await;
        // The part of the body that was read is charged until here.
        drop(account);
        let _ = sender.send(response);
    });
    match receiver.await {
        Ok(response) => response.map(|body| body.map_err(Into::into).boxed_unsync()),
        Err(_) => web::refuse(Problem::unavailable("an API request was aborted")),
    }
}
