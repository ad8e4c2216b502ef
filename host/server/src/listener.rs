//! The listeners: one for the web door and the API, one for probes and metrics.

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
use hyper_util::server::graceful::GracefulShutdown;
use larder_model::settings::Server;
use larder_platform::bodies::AnswerBody;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, oneshot};
use tokio::time::Instant;
use tower::ServiceExt;

use crate::addresses::Addresses;
use crate::app::App;
use crate::client_body::{ClientBody, Pace};
use crate::problem::{Kind, Problem};
use crate::routing::{self, Door, NoDoor};
use crate::write_timeout::{self, Deadline, Patient};
use crate::{api, proxies, request_head, web};

/// Headers of one request: number and bytes.
const HEADERS_MAX: usize = 100;
const HEADER_BYTES_MAX: usize = 64 * 1024;

/// Renders the metrics of the process.
pub type Metrics = Arc<dyn Fn(&App) -> String + Send + Sync>;

/// The bound listeners. Connections that come before anything serves them wait in the operating system.
pub struct Listeners {
    /// Only of a process with the web role.
    outer: Option<TcpListener>,
    internal: TcpListener,
}

/// Binds the internal listener, for the web role also the outer one, and writes the addresses back into the settings: with
/// port 0 the system chose one.
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

/// Serves the web door and the API, if this process has the role, until it drains, and probes until it ends.
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
    let graceful = GracefulShutdown::new();
    // HTTP/1.1 only: telling it from HTTP/2 would wait for the first bytes without a deadline.
    let mut server = http1::Builder::new();
    server
        .timer(TokioTimer::new())
        .header_read_timeout(settings.client_timeout)
        .max_headers(HEADERS_MAX)
        // What is read is looked at before the buffer is full.
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
                    // Out of descriptors, mostly: whoever ends gives some back.
                    tracing::warn!(error = %err, "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            },
            () = &mut closing => break,
        };
        let Some(place) = addresses.enter(peer.ip()) else {
            metrics::counter!("larder_connections_refused_total").increment(1);
            tracing::debug!(%peer, "an address has as many connections as it may");
            continue;
        };
        let _ = TcpStream::set_nodelay(&stream, true);
        let (app, router, root, patience) = (app.clone(), router.clone(), root.clone(), settings.client_timeout);
        let deadline = Deadline::default();
        let (stream, handed_back) = Patient::new(stream, settings.client_timeout, deadline.clone()).handed_back();
        let service = {
            let app = app.clone();
            service_fn(move |request| {
                let (app, router, root, deadline) = (app.clone(), router.clone(), root.clone(), deadline.clone());
                async move { Ok::<_, Infallible>(dispatch(&app, router, &root, peer, deadline, request).await) }
            })
        };
        let connection = graceful.watch(server.serve_connection(TokioIo::new(stream), service));
        app.life.spawn_work("connection", async move {
            if let Err(err) = connection.await {
                tracing::debug!(error = %err, %peer, "a connection broke");
                // A head that cannot be read is answered at once, and its client may still be sending a body.
                if err.is_parse()
                    && let Ok(stream) = handed_back.await
                {
                    write_timeout::linger(stream, patience).await;
                }
            }
            drop((permit, place));
        });
    }
    drop(listener);
    graceful.shutdown().await;
}

/// The Host header decides which door a request comes to.
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
    let pace = Pace::of(&app.settings.server);
    let peer = proxies::client(&app.settings.server.proxies, peer, &mut head.headers);
    let (body, mut rest) = ClientBody::new(body, &head.headers, pace, account.clone());
    let mut request = Request::from_parts(head, body);
    let mut is_web = false;
    let mut is_refused = checked.is_err();
    let mut response = match checked.map(|()| routing::door(root, request.uri(), request.headers())) {
        Err(problem) => {
            drop(request);
            web::refuse(problem)
        }
        Ok(Ok(Door::Web(partner))) => {
            is_web = true;
            let named = routing::PARTNER_HEADERS.iter().any(|name| request.headers().contains_key(*name));
            let bare = || if named { None } else { app.settings.server.bare_partner.parse().ok() };
            web::serve(app, partner.or_else(bare), peer, request).await
        }
        Ok(Ok(door @ Door::Api(_))) => {
            request.extensions_mut().insert(door);
            request.extensions_mut().insert(peer);
            request.extensions_mut().insert(account.clone());
            let held = account.clone();
            let request = request.map(axum::body::Body::new);
            // On its own: a change that has begun is finished and seen by all, also when the client hangs up.
            let (tell, told) = oneshot::channel();
            app.life.spawn_work("API request", async move {
                let response = router.oneshot(request).await.unwrap_or_else(|never| match never {});
                // What was read of the body is held until here.
                drop(held);
                let _ = tell.send(response);
            });
            match told.await {
                Ok(response) => response.map(|body| body.map_err(Into::into).boxed_unsync()),
                Err(_) => web::refuse(Problem::unavailable("an API request was aborted")),
            }
        }
        Ok(Err(no_door)) => {
            drop(request);
            web::refuse(match no_door {
                NoDoor::NotOneHost => {
                    is_refused = true;
                    let message = "A request has exactly one Host header, and its target names no other host";
                    Problem::new(Kind::BadRequest, message)
                }
                // RFC 9110, section 15.5.20.
                NoDoor::NotOurs => Problem::new(Kind::Misdirected, "this host is not served here"),
            })
        }
    };
    if rest.is_read() {
        app.life.spawn_work("unread body", rest.dropped_later());
    } else if !rest.dropped().await {
        // The client may still be sending: the connection ends, but not before the answer was taken.
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        deadline.linger();
    }
    if is_refused {
        // What follows may be meant as a part of it.
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    if is_web {
        // What streams may take longer; whoever takes nothing of it is cut off all the same.
        let streams = response.extensions().get().map_or(Duration::ZERO, |web::Streams(most)| *most);
        deadline.set(Some(Instant::now() + streams.max(app.settings.server.answer_timeout)));
    }
    account.hold(response)
}

fn start_internal(app: &App, listener: TcpListener, metrics: Metrics) {
    let router = Router::new()
        .route("/health/live", get(|| async { "live\n" }))
        .route("/health/ready", get(ready))
        .route("/metrics", get(move |State(app): State<App>| async move { metrics(&app) }))
        .with_state(app.clone());
    // It answers until the very end, so that an orchestrator sees the draining process as live and not ready.
    app.life.spawn_last("internal", async move {
        if let Err(err) = axum::serve(listener, router).await {
            tracing::error!(error = %err, "the internal listener failed");
        }
    });
}

/// Ready or not, and why; with `?verbose` a line for everything that it depends on.
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
            app.queue.redis().unwrap_or_else(|| "none; work of other processes is found by polling".into())
        );
    }
    (status, text)
}
