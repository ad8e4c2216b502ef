//! What fronts ask for themselves: names with their certificates, answers to challenges, a new certificate of their own.
//!
//! They ask by connections of their own protocol, so no request of a client is ever read here.

use std::convert::Infallible;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use larder_model::Digest;
use larder_model::doors::Host;
use larder_platform::fronts::{self, Link};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, watch};
use tokio_rustls::server::TlsStream;

use super::{Behind, Door, connection, fronts as listener};
use crate::app::App;
use crate::front::control::{CertificateOfName, NameAnswer};
use crate::write_timeout::{Deadline, WriteTimeout};

/// Questions of all fronts that this process works on at once.
static AT_ONCE: Semaphore = Semaphore::const_new(8);

pub async fn serve(door: Door, stream: TlsStream<TcpStream>, link: Link, mut closing: watch::Receiver<bool>) {
    let Behind::Core { app, .. } = &door.behind else { return };
    let stream = WriteTimeout::new(stream, app.settings.server.client_timeout, Deadline::default());
    let service = service_fn(|request: Request<Incoming>| {
        let (app, door, link) = (app.clone(), door.clone(), link.clone());
        async move { Ok::<_, Infallible>(answer(&app, &door, &link, request).await) }
    });
    let connection = connection::builder(listener::IDLE_MAX).serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = async { drop(closing.wait_for(|closing| *closing).await) } => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(err) = ended {
        tracing::debug!(error = %err, front = link.front.name, "a connection of a front broke");
    }
}

async fn answer(app: &App, door: &Door, link: &Link, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let _permit = AT_ONCE.acquire().await;
    let path = request.uri().path().to_owned();
    let known = request.uri().query().unwrap_or_default();
    let parts: Vec<&str> = path.split('/').skip(1).collect();
    // Whatever an authority may ask for is public; certificates are of what the front serves alone.
    let is_ours = |name: &str| door.host(name) != Host::Unknown;
    let found = match (request.method(), &parts[..]) {
        (&Method::GET, ["ping"]) => Ok(Some(Bytes::new())),
        (&Method::GET, ["names", name]) => {
            let is_ours = link.front.serves(&door.host(name), name);
            name_answer(app, name, is_ours, known).await.map(Some)
        }
        (&Method::GET, ["challenges", name]) if is_ours(name) => {
            fronts::challenge(&app.fronts, name, None).await.map(|found| found.map(Into::into))
        }
        (&Method::GET, ["challenges", name, token]) if is_ours(name) => {
            fronts::challenge(&app.fronts, name, Some(token)).await.map(|found| found.map(Into::into))
        }
        (&Method::POST, ["renewal"]) => {
            let renewed = fronts::renew(&app.fronts, link).await;
            if renewed.is_ok() {
                tracing::info!(front = link.front.name, "the front {} has a new certificate", link.front.name);
            }
            renewed.map(|pem| Some(pem.into()))
        }
        _ => Ok(None),
    };
    let (status, body) = match found {
        Ok(Some(body)) => (StatusCode::OK, body),
        Ok(None) => (StatusCode::NOT_FOUND, Bytes::new()),
        Err(err) => {
            tracing::warn!(error = %err, front = link.front.name, path, "a front could not be answered: {err}");
            (StatusCode::SERVICE_UNAVAILABLE, Bytes::new())
        }
    };
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    response
}

/// Is the name one that the front serves, and which certificate has it? `known` is the digest of the chain that the front has.
async fn name_answer(app: &App, name: &str, is_ours: bool, known: &str) -> larder_platform::Result<Bytes> {
    let mut answer = NameAnswer { is_ours, ..NameAnswer::default() };
    if is_ours && let Some((chain, key)) = fronts::certificate(&app.fronts, name).await? {
        let digest = Digest::of(chain.as_bytes()).to_string();
        answer.is_unchanged = digest == known;
        answer.certificate = (!answer.is_unchanged).then_some(CertificateOfName { chain, key });
    }
    Ok(serde_json::to_vec(&answer).expect("texts serialise").into())
}
