//! The listeners: one for the web endpoint and the API, one for probes and metrics.

use std::convert::Infallible;
use std::fmt::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::routing::get;
use http::{HeaderValue, Request, Response, header};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use larder_model::settings::Server;
use larder_platform::bodies::AnswerBody;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, oneshot, watch};
use tokio::time::Instant;

use crate::addresses::Addresses;
use crate::app::App;
use crate::client_body::{BodyLimits, ClientBody};
use crate::problem::{Kind, Problem};
use crate::routing::{self, Endpoint, NoEndpoint};
use crate::write_timeout::{self, Deadline, WriteTimeout};
use crate::{api, cors, me, proxies, request_head, web};

/// Headers of one request: number and bytes.
const HEADERS_MAX: usize = 100;
const HEADER_BYTES_MAX: usize = 64 * 1024;

/// Renders the metrics of the process.
pub type Metrics = Arc<dyn Fn(&App) -> String + Send + Sync>;

/// The bound listeners. Connections that arrive before they are served wait in the operating system.
pub struct Listeners {
    /// Only of a process with the web role.
    outer: Option<TcpListener>,
    internal: TcpListener,
}

/// Binds the internal listener and, for the web role, the outer one. Writes the addresses back into the settings, because
/// the system chooses the port if it is 0.
pub async fn bind(settings: &mut Server, outer: bool) -> anyhow::Result<Listeners> {
    let bind = async |key: &str, at: &mut SocketAddr| {
        let listener = TcpListener::bind(*at).await.with_context(|| format!("{key}: {at} cannot be bound"))?;
        *at = listener.local_addr()?;
        anyhow::Ok(listener)
    };
    Ok(Listeners {
        outer: if outer { Some(bind("server.listen", &mut settings.listen).await?) } else { None },
        internal: bind("server.internal", &mut settings.internal).await?,
    })
}

/// Serves the web endpoint and the API until the process drains, if it has the web role; and probes until it ends.
pub fn start(app: &App, listeners: Listeners, metrics: Metrics) -> anyhow::Result<()> {
    start_internal(app, listeners.internal, metrics);
    let Some(outer) = listeners.outer else { return Ok(()) };
    let router = api::router(app.clone());
    let root: Arc<str> = app.settings.root_host().context("server.root_url has no host")?.into();
    app.life.spawn("web", accept(app.clone(), outer, router, root));
    Ok(())
}

async fn accept(app: App, listener: TcpListener, router: Router, root: Arc<str>) {
    let settings = &app.settings.server;
    let connections = Arc::new(Semaphore::new(settings.connections_max));
    let addresses = Addresses::new(settings.connections_per_address, settings.proxies.clone());
    let (close, closing_connections) = watch::channel(false);
    // HTTP/1.1 only: detecting HTTP/2 would wait for the first bytes without a deadline.
    let mut server = http1::Builder::new();
    server
        .timer(TokioTimer::new())
        .header_read_timeout(settings.client_timeout)
        .max_headers(HEADERS_MAX)
        // The head is parsed before the buffer is full.
        .max_header_size(HEADER_BYTES_MAX)
        .max_buf_size(HEADER_BYTES_MAX);
    let closing = async {
        app.life.drain().cancelled().await;
        tokio::time::sleep(settings.drain_delay).await;
    };
    tokio::pin!(closing);
    loop {
        let next = async {
            let permit = connections.clone().acquire_owned().await.expect("never closed");
            (permit, listener.accept().await)
        };
        let (permit, stream, peer) = tokio::select! {
            (permit, accepted) = next => match accepted {
                Ok((stream, peer)) => (permit, stream, peer),
                Err(err) => {
                    // Usually the process is out of descriptors until another connection closes.
                    tracing::warn!(error = %err, "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            },
            () = &mut closing => break,
        };
        let Some(address_permit) = addresses.enter(peer.ip()) else {
            metrics::counter!("larder_connections_refused_total").increment(1);
            tracing::debug!(%peer, "an address has reached its limit of connections");
            continue;
        };
        let _ = TcpStream::set_nodelay(&stream, true);
        let (app, router, root, timeout) = (app.clone(), router.clone(), root.clone(), settings.client_timeout);
        let deadline = Deadline::default();
        let (stream, handed_back) = WriteTimeout::new(stream, settings.client_timeout, deadline.clone()).handed_back();
        let service = {
            let app = app.clone();
            service_fn(move |request| {
                let (app, router, root, deadline) = (app.clone(), router.clone(), root.clone(), deadline.clone());
                async move { Ok::<_, Infallible>(dispatch(&app, router, &root, peer, deadline, request).await) }
            })
        };
        let connection = server.serve_connection(TokioIo::new(stream), service).with_upgrades();
        let mut closing = closing_connections.clone();
        app.life.spawn_work("connection", async move {
            // The connection hands its stream back when it is dropped at the end of this block.
            let ended = {
                let mut connection = std::pin::pin!(connection);
                tokio::select! {
                    ended = connection.as_mut() => ended,
                    () = async { drop(closing.wait_for(|closing| *closing).await) } => {
                        connection.as_mut().graceful_shutdown();
                        connection.await
                    }
                }
            };
            if let Err(err) = ended {
                tracing::debug!(error = %err, %peer, "a connection broke");
                // A malformed head is answered at once, and its client may still be sending a body.
                if err.is_parse()
                    && let Ok(stream) = handed_back.await
                {
                    write_timeout::linger(stream, timeout).await;
                }
            }
            drop((permit, address_permit));
        });
    }
    drop(listener);
    let _ = close.send(true);
    // Each connection holds a permit to its end.
    let _ = connections.acquire_many(settings.connections_max.try_into().unwrap_or(u32::MAX)).await;
}

/// Routes a request to its endpoint, by the Host header.
async fn dispatch(
    app: &App,
    router: Router,
    root: &str,
    peer: SocketAddr,
    deadline: Deadline,
    request: Request<Incoming>,
) -> Response<AnswerBody> {
    deadline.set(None);
    let (mut head, body) = request.into_parts();
    let checked = request_head::check(&head);
    let account = app.bodies.account();
    let limits = BodyLimits::of(&app.settings.server);
    let peer = proxies::client(&app.settings.server.proxies, peer, &mut head.headers);
    let (body, mut unread) = ClientBody::new(body, &head.headers, limits, account.clone());
    let request = Request::from_parts(head, body);
    let mut is_web = false;
    let mut is_refused = checked.is_err();
    let limited = match &checked {
        Ok(()) => app.rates.take_address(peer.ip()).await,
        Err(_) => Ok(()),
    };
    let checked = checked.and_then(|()| limited.map_err(Problem::from));
    let functions = &app.settings.server.functions_domain;
    let is_socket = request_head::is_websocket(request.headers());
    let mut response = match checked.map(|()| routing::endpoint(root, functions, request.uri(), request.headers())) {
        Ok(Ok(Endpoint::Web(_) | Endpoint::Function(_))) if is_socket => not_a_socket(&mut is_refused),
        Ok(Ok(Endpoint::Api(_))) if is_socket && request.uri().path() != api::realtime::PATH => {
            not_a_socket(&mut is_refused)
        }
        Err(problem) => {
            drop(request);
            let mut response = web::refuse(problem);
            if response.status() == StatusCode::METHOD_NOT_ALLOWED {
                response.headers_mut().insert(header::ALLOW, request_head::ALLOW);
            }
            response
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
        Ok(Ok(endpoint @ Endpoint::Api(_))) => {
            in_a_task(app, endpoint, peer, request, |app, request| cors::serve_api(app, router, request)).await
        }
        Ok(Err(no_endpoint)) => {
            drop(request);
            web::refuse(match no_endpoint {
                NoEndpoint::NotOneHost => {
                    is_refused = true;
                    let message = "A request has exactly one Host header, and its target names no other host";
                    Problem::new(Kind::BadRequest, message)
                }
                // RFC 9110, section 15.5.20.
                NoEndpoint::NotOurs => Problem::new(Kind::Misdirected, "this host is not served here"),
            })
        }
    };
    if unread.is_read() {
        app.life.spawn_work("unread body", unread.discard_later());
    } else if !unread.discard().await {
        // The client may still be sending. The connection is closed once the client has read the answer.
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        deadline.linger();
    }
    if is_refused {
        // What follows on the connection may belong to the refused request.
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    if is_web {
        // A streamed answer may take longer. A client that stops reading it is disconnected all the same.
        let streams = response.extensions().get().map_or(Duration::ZERO, |web::Streams(most)| *most);
        deadline.set(Some(Instant::now() + streams.max(app.settings.server.answer_timeout)));
    }
    account.hold(response)
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
        let response = answer(own, request).await;
        // The part of the body that was read is charged until here.
        drop(account);
        let _ = sender.send(response);
    });
    match receiver.await {
        Ok(response) => response.map(|body| body.map_err(Into::into).boxed_unsync()),
        Err(_) => web::refuse(Problem::unavailable("an API request was aborted")),
    }
}

fn start_internal(app: &App, listener: TcpListener, metrics: Metrics) {
    let router = Router::new()
        .route("/health/live", get(|| async { "live\n" }))
        .route("/health/ready", get(ready))
        .route("/metrics", get(move |State(app): State<App>| async move { metrics(&app) }))
        .with_state(app.clone());
    // It serves until the process ends, so that an orchestrator sees the draining process as live and not ready.
    app.life.spawn_last("internal", async move {
        if let Err(err) = axum::serve(listener, router).await {
            tracing::error!(error = %err, "the internal listener failed");
        }
    });
}

/// Whether the process is ready, and why not. With `?verbose`, a line for each dependency.
async fn ready(State(app): State<App>, RawQuery(query): RawQuery) -> (StatusCode, String) {
    let draining = app.life.is_draining();
    let database = match app.store.ping().await {
        Ok(()) if app.ledger.writes() => Ok("ok".to_owned()),
        Ok(()) => Err("the last outcome could not be written".to_owned()),
        Err(err) => Err(err.to_string()),
    };
    let (status, mut text) = match (draining, &database) {
        (true, _) => (StatusCode::SERVICE_UNAVAILABLE, "draining\n".to_owned()),
        (false, Ok(_)) => (StatusCode::OK, "ready\n".to_owned()),
        (false, Err(why)) => (StatusCode::SERVICE_UNAVAILABLE, format!("database: {why}\n")),
    };
    if query.is_some_and(|query| query.split('&').any(|part| part == "verbose" || part.starts_with("verbose="))) {
        let kind = if app.store.is_embedded() { "embedded" } else { "MariaDB" };
        let _ = writeln!(text, "database ({kind}): {}", database.unwrap_or_else(|why| why));
        for warning in app.store.warnings() {
            let _ = writeln!(text, "warning: {warning}");
        }
        let _ = writeln!(
            text,
            "redis: {}",
            app.signals.redis().unwrap_or_else(|| "none; work of other processes is found by polling".into())
        );
    }
    (status, text)
}
