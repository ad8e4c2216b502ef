//! An outside service that a test scripts: it answers by a closure and keeps what it was asked.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use http_body_util::{BodyExt, Full};

/// One request, as it came.
#[derive(Clone, Debug)]
pub struct Received {
    pub method: String,
    /// Path and query.
    pub target: String,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Received {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

#[derive(Clone, Debug, Default)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    pub delay: Duration,
}

impl Reply {
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Reply {
        Reply { status, body: body.into(), ..Reply::default() }
    }

    pub fn header(mut self, name: &str, value: impl Into<String>) -> Reply {
        self.headers.push((name.into(), value.into()));
        self
    }

    pub fn after(self, delay: Duration) -> Reply {
        Reply { delay, ..self }
    }
}

/// Dropping it closes its listener and its connections.
pub struct Service {
    port: u16,
    received: Arc<Mutex<Vec<Received>>>,
    accepting: tokio::task::JoinHandle<()>,
}

impl Drop for Service {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Service {
    pub async fn start(answer: impl Fn(&Received) -> Reply + Send + Sync + 'static) -> Service {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let received: Arc<Mutex<Vec<Received>>> = Arc::default();
        let accepting = tokio::spawn({
            let (received, answer) = (received.clone(), Arc::new(answer));
            async move {
                let mut connections = JoinSet::new();
                while let Ok((stream, _)) = listener.accept().await {
                    let (received, answer) = (received.clone(), answer.clone());
                    let service = service_fn(move |request: Request<Incoming>| {
                        let (received, answer) = (received.clone(), answer.clone());
                        async move { Ok::<_, Infallible>(respond(request, &received, &*answer).await) }
                    });
                    let mut http = http1::Builder::new();
                    // What it says is what the test wants it to say.
                    http.auto_date_header(false);
                    connections.spawn(http.serve_connection(TokioIo::new(stream), service));
                }
            }
        });
        Service { port, received, accepting }
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub fn received(&self) -> Vec<Received> {
        self.received.lock().expect("nobody panics").clone()
    }

    /// How many requests have come.
    pub fn count(&self) -> usize {
        self.received.lock().expect("nobody panics").len()
    }
}

async fn respond(
    request: Request<Incoming>,
    received: &Mutex<Vec<Received>>,
    answer: &(impl Fn(&Received) -> Reply + Sync),
) -> Response<Full<Bytes>> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let target = head.uri.path_and_query().map_or_else(String::new, ToString::to_string);
    let one = Received { method: head.method.to_string(), target, headers: head.headers, body };
    let reply = answer(&one);
    received.lock().expect("nobody panics").push(one);
    tokio::time::sleep(reply.delay).await;
    let mut response = Response::new(Full::from(reply.body));
    *response.status_mut() = StatusCode::from_u16(reply.status).expect("a status");
    for (name, value) in reply.headers {
        let name = name.parse::<http::HeaderName>().expect("a name");
        response.headers_mut().append(name, value.parse().expect("a value"));
    }
    response
}
