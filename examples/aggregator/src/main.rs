//! An API aggregator to try Larder on: sports fixtures, goals and standings behind a key.
//!
//! * `GET /fixtures`, `GET /standings`: as they follow from the goals.
//! * `GET /goals?cursor=C&limit=N`: items in the order in which they were told, behind a cursor, which the answer's `next`
//!   gives. With `ETag`: asked again with `If-None-Match`, what has not changed is answered 304.
//! * `POST /goals`: something happens: one more item. With `--push` it is told to a webhook too.
//! * `PUT /behaviour`: from now on it behaves like this, see [`Behaviour`]; `GET` tells that and what it was asked.
//!
//! Every request needs `Authorization: Bearer KEY`, but those to the identity provider beside it ([`sign_in`]).

#![allow(clippy::disallowed_methods, reason = "a server beside Larder: it has a clock and tasks of its own")]

mod league;
mod push;
mod sign_in;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Query, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use bytes::Bytes;
use clap::Parser;
use futures::stream;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use league::League;
use push::Push;

const PAGE_MAX: usize = 1_000;

#[derive(Parser)]
struct Arguments {
    #[arg(long, default_value = "127.0.0.1:8090")]
    listen: SocketAddr,
    /// What callers must know
    #[arg(long, env = "AGGREGATOR_KEY", hide_env_values = true)]
    key: String,
    /// Begin without the matchday of examples/events/goals.json
    #[arg(long)]
    empty: bool,
    /// Tell this webhook of each new goal
    #[arg(long, value_name = "URL", requires = "secret")]
    push: Option<String>,
    /// With which that is signed: whsec_ and base64
    #[arg(long, env = "AGGREGATOR_SECRET", hide_env_values = true)]
    secret: Option<String>,
}

/// How it answers, for those who depend on it to be tried.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase", tag = "is", deny_unknown_fields)]
enum Behaviour {
    #[default]
    Good,
    /// 503 to everything.
    Failing,
    /// The right answer, that much later.
    Slow { ms: u64 },
    /// A body that does not end.
    Huge,
    /// Everything again from the beginning, whatever the cursor.
    Repeating,
    /// Pages the wrong way round.
    Reordering,
    /// A `next` that is no cursor.
    WrongCursor,
}

#[derive(Clone)]
struct Server(Arc<Shared>);

struct Shared {
    authorization: String,
    league: Mutex<League>,
    behaviour: Mutex<Behaviour>,
    asked: Mutex<Asked>,
    news: Option<mpsc::UnboundedSender<Value>>,
}

/// What it was asked of goals.
#[derive(Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Asked {
    polls: u64,
    not_modified: u64,
    at_once: u64,
    at_once_max: u64,
    standings: u64,
}

/// One that is being answered; whoever hangs up ends it.
struct Poll(Server);

impl Poll {
    fn begin(server: &Server) -> Poll {
        let mut asked = locked(&server.0.asked);
        asked.at_once += 1;
        asked.at_once_max = asked.at_once_max.max(asked.at_once);
        Poll(server.clone())
    }
}

impl Drop for Poll {
    fn drop(&mut self) {
        locked(&self.0.0.asked).at_once -= 1;
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let news = match (arguments.push, arguments.secret) {
        (Some(url), Some(secret)) => {
            let (news, told) = mpsc::unbounded_channel();
            tokio::spawn(Push::new(url, &secret)?.run(told));
            Some(news)
        }
        _ => None,
    };
    let server = Server(Arc::new(Shared {
        authorization: format!("Bearer {}", arguments.key),
        league: Mutex::new(if arguments.empty { League::empty() } else { League::matchday() }),
        behaviour: Mutex::default(),
        asked: Mutex::default(),
        news,
    }));
    let sports = Router::new()
        .route("/fixtures", get(fixtures))
        .route("/standings", get(standings))
        .route("/goals", get(goals))
        .layer(middleware::from_fn_with_state(server.clone(), behave));
    let router = sports
        .route("/goals", post(tell))
        .route("/behaviour", get(behaviour).put(set_behaviour))
        .layer(middleware::from_fn_with_state(server.clone(), authorise))
        .with_state(server);
    let listener = tokio::net::TcpListener::bind(arguments.listen).await?;
    let router = router.merge(sign_in::router(listener.local_addr()?)?);
    println!("aggregator serves http://{}", listener.local_addr()?);
    Ok(axum::serve(listener, router).await?)
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no panic under the lock")
}

async fn authorise(State(server): State<Server>, request: Request, next: Next) -> Response {
    let sent = request.headers().get(header::AUTHORIZATION);
    if sent.is_none_or(|sent| sent.as_bytes() != server.0.authorization.as_bytes()) {
        return (StatusCode::UNAUTHORIZED, "the key is missing or wrong\n").into_response();
    }
    next.run(request).await
}

/// What it does to whoever depends on it.
async fn behave(State(server): State<Server>, request: Request, next: Next) -> Response {
    let behaviour = locked(&server.0.behaviour).clone();
    match behaviour {
        Behaviour::Failing => (StatusCode::SERVICE_UNAVAILABLE, "not now\n").into_response(),
        Behaviour::Huge => {
            let begin = stream::iter([Bytes::from_static(b"{\"items\":[")]);
            let endless = stream::repeat(Bytes::from_static(&[b'1'; 16 * 1024]));
            let body = stream::StreamExt::chain(begin, endless);
            Body::from_stream(stream::StreamExt::map(body, Ok::<_, std::io::Error>)).into_response()
        }
        Behaviour::Slow { ms } => {
            let _poll = (request.uri().path() == "/goals").then(|| Poll::begin(&server));
            tokio::time::sleep(Duration::from_millis(ms)).await;
            next.run(request).await
        }
        Behaviour::Good | Behaviour::Repeating | Behaviour::Reordering | Behaviour::WrongCursor => {
            next.run(request).await
        }
    }
}

async fn fixtures(State(server): State<Server>) -> Json<Value> {
    Json(json!({ "fixtures": locked(&server.0.league).fixtures() }))
}

async fn standings(State(server): State<Server>) -> Response {
    locked(&server.0.asked).standings += 1;
    let table = Json(json!({ "table": locked(&server.0.league).standings() }));
    ([(header::CACHE_CONTROL, "max-age=5")], table).into_response()
}

#[derive(Deserialize)]
struct Page {
    cursor: Option<String>,
    limit: Option<usize>,
}

async fn goals(State(server): State<Server>, Query(page): Query<Page>, headers: HeaderMap) -> Response {
    let behaviour = locked(&server.0.behaviour).clone();
    locked(&server.0.asked).polls += 1;
    let league = locked(&server.0.league);
    let from = match page.cursor.as_deref() {
        None | Some("") => 0,
        _ if matches!(behaviour, Behaviour::Repeating) => 0,
        Some(cursor) => match cursor.parse() {
            Ok(from) if from <= league.items().len() => from,
            _ => return (StatusCode::BAD_REQUEST, "this is no cursor of mine\n").into_response(),
        },
    };
    let all = &league.items()[from..];
    let mut items = all[..all.len().min(page.limit.unwrap_or(100).min(PAGE_MAX))].to_vec();
    let to = from + items.len();
    let tag = format!("\"{from}-{to}\"");
    let honest = !matches!(behaviour, Behaviour::Repeating | Behaviour::WrongCursor);
    if honest && headers.get(header::IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == tag.as_bytes()) {
        locked(&server.0.asked).not_modified += 1;
        return StatusCode::NOT_MODIFIED.into_response();
    }
    if matches!(behaviour, Behaviour::Reordering) {
        items.reverse();
    }
    let next = match behaviour {
        Behaviour::WrongCursor => json!({ "page": to }),
        Behaviour::Repeating => json!("0"),
        _ => json!(to.to_string()),
    };
    let tag = HeaderValue::from_str(&tag).expect("digits are a header");
    ([(header::ETAG, tag)], Json(json!({ "items": items, "next": next }))).into_response()
}

/// Any JSON value: what is no goal is told as well, so that those who read can be tried on it.
async fn tell(State(server): State<Server>, Json(item): Json<Value>) -> (StatusCode, Json<Value>) {
    let item = locked(&server.0.league).tell(item);
    if let Some(news) = &server.0.news {
        let _ = news.send(item.clone());
    }
    (StatusCode::CREATED, Json(item))
}

async fn behaviour(State(server): State<Server>) -> Json<Value> {
    let asked = locked(&server.0.asked).clone();
    Json(json!({ "behaviour": locked(&server.0.behaviour).clone(), "asked": asked }))
}

async fn set_behaviour(State(server): State<Server>, Json(wanted): Json<Behaviour>) -> StatusCode {
    *locked(&server.0.behaviour) = wanted;
    StatusCode::NO_CONTENT
}
