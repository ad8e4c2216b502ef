//! Realtime: what happens in a project, over a WebSocket, in the messages of the replaced platform.
//!
//! Its source is the live tail (`signals`), like that of [`tail`](super::executions): executions as they end and deployments as
//! they change, from all processes. Nothing is stored: who was away reads the lists.
//!
//! A socket receives the events of its channels if its caller may read executions and functions: with a key in the header, or
//! with the session of an administrator in an `authentication` message. Only such a socket has one of the partner's places, so
//! that strangers cannot take them. Anybody may connect, and is disconnected when they do not say who they are.

use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Extension;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade};
use axum::extract::{RawQuery, State};
use axum::response::Response;
use futures::SinkExt;
use larder_model::Execution;
use larder_model::ids::{FunctionId, KeyId, PartnerId};
use larder_model::settings::Server;
use larder_platform::administrators;
use larder_signals::{TailEvent, Watch};
use larder_wire::administrators::AccountObject;
use larder_wire::deployments::DeploymentObject;
use larder_wire::executions::ExecutionObject;
use larder_wire::scopes::Scope;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::addresses::Addresses;
use crate::api::queries;
use crate::app::App;
use crate::auth::{self, Caller};
use crate::problem::{Kind, Problem};

pub const PATH: &str = "/v1/realtime";
/// Sockets of one address (of IPv6: one /64 network). The live tail bounds those of a partner that have rights.
const PER_ADDRESS: usize = 32;
/// Sockets that have not said whose they are.
const STRANGERS_MAX: usize = 256;
/// The time for that.
const STRANGER_MAX: Duration = Duration::from_secs(30);
const CHANNELS_MAX: usize = 100;
const CHANNEL_CHARS_MAX: usize = 256;
const SUBSCRIPTIONS_MAX: usize = 50;
/// Bytes of a client's message.
const MESSAGE_MAX: usize = 64 << 10;
/// How often the rights of a socket are looked up again, and its client is asked whether it is there.
const BEAT: Duration = Duration::from_secs(30);
/// How long the client may take for a message, and after a ping be silent.
const SILENT_MAX: Duration = Duration::from_secs(90);
/// After telling, a socket looks only so much later whether more has happened, and sends that together.
const REST: Duration = Duration::from_millis(100);
/// Events whose messages are kept for the other sockets of their project.
const WRITTEN_MAX: usize = 256;
/// What sockets are told of is what these scopes read.
const NEEDED: [Scope; 2] = [Scope::ExecutionsRead, Scope::FunctionsRead];
/// A subscription by the query has this name in the answer.
const OF_QUERY: &str = "0";

/// Close codes of the protocol.
#[derive(Clone, Copy)]
enum Code {
    BadMessage = 1003,
    Policy = 1008,
    TooMany = 1013,
}

/// The sockets of this process.
#[derive(Clone)]
pub struct Sockets {
    by_address: Addresses,
    strangers: Arc<Semaphore>,
    /// What was written of executions lately, by their address in memory: each is written once, however many sockets have it.
    written: Arc<Mutex<HashMap<usize, Arc<Written>>>>,
}

impl Sockets {
    pub fn new(settings: &Server) -> Sockets {
        let by_address = Addresses::new(PER_ADDRESS, settings.proxies.clone());
        Sockets { by_address, strangers: Arc::new(Semaphore::new(STRANGERS_MAX)), written: Arc::default() }
    }

    fn written(&self, app: &App, execution: &Arc<Execution>) -> Arc<Written> {
        let address = Arc::as_ptr(execution).addr();
        if let Some(written) = self.written.lock().expect("no panic under the lock").get(&address) {
            return written.clone();
        }
        let happened = Happened::execution(&execution.function, execution.id.as_str());
        let payload = json!(ExecutionObject::from((**execution).clone()));
        let written = Arc::new(Written { text: happened.write(app, &payload), happened, _of: Some(execution.clone()) });
        let mut all = self.written.lock().expect("no panic under the lock");
        if all.len() >= WRITTEN_MAX {
            all.clear();
        }
        all.insert(address, written.clone());
        written
    }
}

pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(connect))
}

/// A WebSocket with JSON messages: `connected`, `event`, `response`, `pong` and `error` come; `ping`, `authentication`,
/// `subscribe` and `unsubscribe` go. Channels are `executions`, `executions.E` and `functions.F`, each also with `.create`,
/// `.update` or `.delete` behind it.
#[utoipa::path(get, path = "/v1/realtime", tag = "realtime", operation_id = "connectRealtime",
    security((), ("key" = [])),
    params(("channels[]" = Option<Vec<String>>, Query, description = "What to receive")),
    responses((status = 101, description = "The protocol is WebSocket from here on")))]
async fn connect(
    State(app): State<App>,
    caller: Caller,
    peer: Option<Extension<SocketAddr>>,
    RawQuery(query): RawQuery,
    upgrade: Result<WebSocketUpgrade, axum::extract::ws::rejection::WebSocketUpgradeRejection>,
) -> Result<Response, Problem> {
    let upgrade = upgrade.map_err(|err| Problem::new(Kind::BadRequest, format!("This is a WebSocket: {err}")))?;
    let channels: Vec<String> = queries::pairs(query.as_deref().unwrap_or_default())
        .filter(|(name, _)| name == "channels" || name.starts_with("channels["))
        .map(|(_, channel)| channel)
        .collect();
    let channels = check(channels).map_err(|why| Problem::argument("channels", why))?;
    let address = peer.map_or([0, 0, 0, 0].into(), |Extension(peer)| peer.ip());
    let too_many = |what: &str| Problem::new(Kind::TooManyCalls, format!("{what} has reached its limit of sockets"));
    let permit = app.sockets.by_address.enter(address).ok_or_else(|| too_many("The address"))?;
    let partner = caller.partner.clone();
    let (by, watch) = match (&caller.key, NEEDED.into_iter().all(|scope| caller.has(scope))) {
        (Some(key), true) => {
            let watch = app.signals.live_tail().watch_all(&partner).ok_or_else(|| too_many("The project"))?;
            (By::Key(key.clone()), Some(watch))
        }
        _ => {
            let place = app.sockets.strangers.clone().try_acquire_owned();
            let place = place.map_err(|_| too_many("The number of callers without rights"))?;
            (By::Nobody { _place: place }, None)
        }
    };
    // It holds a permit for reading.
    drop(caller);
    let upgrade = upgrade.max_message_size(MESSAGE_MAX).max_frame_size(MESSAGE_MAX);
    Ok(upgrade.on_upgrade(move |socket| async move {
        let mut this = Socket { app, partner, by, watch, socket, subscriptions: HashMap::new(), queried: None };
        if !channels.is_empty() {
            let id = this.app.clock.ulid();
            this.queried = Some(id.clone());
            this.subscriptions.insert(id, channels);
        }
        this.serve().await;
        drop(permit);
    }))
}

/// Whose rights a socket has.
enum By {
    /// It waits for an `authentication`, and has a place among those that do.
    Nobody {
        _place: OwnedSemaphorePermit,
    },
    Key(KeyId),
    /// The token of a session.
    Session(String),
}

struct Socket {
    app: App,
    partner: PartnerId,
    by: By,
    /// What happens in the project; only a socket with rights has one.
    watch: Option<Watch>,
    socket: WebSocket,
    /// Id → channels.
    subscriptions: HashMap<String, BTreeSet<String>>,
    queried: Option<String>,
}

/// A message of a client.
#[derive(Deserialize)]
struct Said {
    r#type: String,
    #[serde(default)]
    data: Value,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Subscription {
    #[serde(default)]
    subscription_id: Option<String>,
    #[serde(default)]
    channels: Vec<String>,
}

/// The socket is closed, or must be.
struct Closed;

/// What happens next in the project, from then on. Without a watch nothing ever does.
async fn next(watch: &mut Option<Watch>, from: Instant) -> Option<TailEvent> {
    match watch {
        Some(watch) => {
            tokio::time::sleep_until(from).await;
            watch.next().await
        }
        None => std::future::pending().await,
    }
}

impl Socket {
    async fn serve(&mut self) {
        let (drain, mut beat) = (self.app.life.drain(), tokio::time::interval(BEAT));
        let (begun, mut heard, mut rested) = (Instant::now(), Instant::now(), Instant::now());
        if self.send(self.connected()).await.is_err() {
            return;
        }
        loop {
            let done = tokio::select! {
                told = next(&mut self.watch, rested) => {
                    rested = Instant::now() + REST;
                    match told {
                        Some(told) => self.tell(told).await,
                        None => Err(Closed),
                    }
                }
                said = self.socket.recv() => {
                    heard = Instant::now();
                    match said {
                        Some(Ok(Message::Text(text))) => self.hear(text.as_str()).await,
                        Some(Ok(Message::Ping(_) | Message::Pong(_))) => Ok(()),
                        Some(Ok(Message::Binary(_))) => self.refuse(Code::BadMessage, "Messages are JSON text").await,
                        Some(Ok(Message::Close(_)) | Err(_)) | None => Err(Closed),
                    }
                }
                _ = beat.tick() => self.beat(begun, heard).await,
                () = drain.cancelled() => self.refuse(Code::TooMany, "This process stops: connect again").await,
            };
            if done.is_err() {
                return;
            }
        }
    }

    fn connected(&self) -> Value {
        let channels: BTreeSet<&String> = self.subscriptions.values().flatten().collect();
        let subscriptions = self.queried.iter().map(|id| (OF_QUERY.to_owned(), json!(id)));
        let subscriptions: serde_json::Map<String, Value> = subscriptions.collect();
        json!({ "type": "connected", "data": { "channels": channels, "subscriptions": subscriptions, "user": null } })
    }

    async fn send(&mut self, message: Value) -> Result<(), Closed> {
        self.socket.send(Message::Text(message.to_string().into())).await.map_err(|_| Closed)
    }

    /// Says what is wrong and closes.
    async fn refuse(&mut self, code: Code, message: &str) -> Result<(), Closed> {
        let _ = self.send(json!({ "type": "error", "data": { "code": code as u16, "message": message } })).await;
        let close = CloseFrame { code: code as u16, reason: message.to_owned().into() };
        let _ = self.socket.send(Message::Close(Some(close))).await;
        Err(Closed)
    }

    async fn beat(&mut self, begun: Instant, heard: Instant) -> Result<(), Closed> {
        if heard.elapsed() > SILENT_MAX {
            return Err(Closed);
        }
        if matches!(self.by, By::Nobody { .. }) && begun.elapsed() > STRANGER_MAX {
            let why = "Send a key with executions.read and functions.read, or an authentication message, to stay";
            return self.refuse(Code::Policy, why).await;
        }
        if !self.may_go_on().await {
            return self.refuse(Code::Policy, "The key or session of this socket has ended").await;
        }
        self.socket.send(Message::Ping(Default::default())).await.map_err(|_| Closed)
    }

    /// Does its key or session still open the project?
    async fn may_go_on(&mut self) -> bool {
        let Some(tenant) = self.app.directory.tenant(&self.partner) else { return false };
        match &self.by {
            By::Nobody { .. } => true,
            By::Key(id) => {
                let now = self.app.clock.now_ms();
                tenant.keys.get(id).is_some_and(|key| key.expires_at_ms.is_none_or(|at| at > now))
            }
            // A socket that is open is no use of the session.
            By::Session(token) => match administrators::look_up_session(&self.app, token).await {
                Ok(found) => found.is_some_and(|by| auth::person_may(&self.app, &by, &self.partner, &NEEDED)),
                // What cannot be looked up now is looked up again.
                Err(_) => true,
            },
        }
    }

    async fn hear(&mut self, text: &str) -> Result<(), Closed> {
        let Ok(Said { r#type, data }) = serde_json::from_str::<Said>(text) else {
            return self.refuse(Code::BadMessage, "A message is a JSON object with `type`").await;
        };
        match r#type.as_str() {
            "ping" => self.send(json!({ "type": "pong" })).await,
            "authentication" => self.authenticate(&data).await,
            "subscribe" => match serde_json::from_value::<Vec<Subscription>>(data) {
                Ok(all) => self.subscribe(all).await,
                Err(err) => self.refuse(Code::BadMessage, &format!("Invalid `data` of subscribe: {err}")).await,
            },
            "unsubscribe" => match serde_json::from_value::<Vec<Subscription>>(data) {
                Ok(all) => {
                    let done: Vec<Value> = all
                        .into_iter()
                        .filter_map(|one| one.subscription_id)
                        .map(|id| {
                            let removed = self.subscriptions.remove(&id).is_some();
                            json!({ "subscriptionId": id, "removed": removed })
                        })
                        .collect();
                    self.respond("unsubscribe", json!({ "subscriptions": done })).await
                }
                Err(err) => self.refuse(Code::BadMessage, &format!("Invalid `data` of unsubscribe: {err}")).await,
            },
            other => self.refuse(Code::BadMessage, &format!("{other:?} is no type of a message")).await,
        }
    }

    async fn respond(&mut self, to: &str, mut data: Value) -> Result<(), Closed> {
        data["to"] = to.into();
        data["success"] = true.into();
        self.send(json!({ "type": "response", "data": data })).await
    }

    async fn authenticate(&mut self, data: &Value) -> Result<(), Closed> {
        let token = data["session"].as_str().unwrap_or_default().to_owned();
        let found = administrators::find_session(&self.app, &token).await.ok().flatten();
        let Some(found) = found.filter(|by| auth::person_may(&self.app, by, &self.partner, &NEEDED)) else {
            let why = "This is no session of somebody whose role in the project has executions.read and functions.read";
            return self.refuse(Code::Policy, why).await;
        };
        if self.watch.is_none() {
            self.watch = self.app.signals.live_tail().watch_all(&self.partner);
        }
        if self.watch.is_none() {
            return self.refuse(Code::TooMany, "The project has reached its limit of sockets").await;
        }
        self.by = By::Session(token);
        let user = AccountObject::new(found.administrator, &found.session);
        self.respond("authentication", json!({ "user": user })).await
    }

    async fn subscribe(&mut self, all: Vec<Subscription>) -> Result<(), Closed> {
        let mut done = Vec::new();
        for Subscription { subscription_id, channels } in all {
            let channels = match check(channels) {
                Ok(channels) => channels,
                Err(why) => return self.refuse(Code::BadMessage, &format!("Invalid `channels`: {why}")).await,
            };
            let id = subscription_id.unwrap_or_else(|| self.app.clock.ulid());
            if id.len() > CHANNEL_CHARS_MAX
                || (self.subscriptions.len() >= SUBSCRIPTIONS_MAX && !self.subscriptions.contains_key(&id))
            {
                let why = format!("A socket has at most {SUBSCRIPTIONS_MAX} subscriptions");
                return self.refuse(Code::TooMany, &why).await;
            }
            done.push(json!({ "subscriptionId": id, "channels": channels, "queries": [] }));
            self.subscriptions.insert(id, channels);
        }
        self.respond("subscribe", json!({ "subscriptions": done })).await
    }

    /// Tells this and whatever else has happened by now.
    async fn tell(&mut self, first: TailEvent) -> Result<(), Closed> {
        let mut told = Some(first);
        while let Some(event) = told {
            if let Some(message) = self.message(event).await {
                self.socket.feed(Message::Text(message.into())).await.map_err(|_| Closed)?;
            }
            told = self.watch.as_mut().and_then(Watch::next_now);
        }
        self.socket.flush().await.map_err(|_| Closed)
    }

    /// The message about this, unless no subscription has it.
    async fn message(&mut self, told: TailEvent) -> Option<String> {
        if self.subscriptions.is_empty() {
            return None;
        }
        let written = match told {
            TailEvent::Dropped(count) => {
                return Some(json!({ "type": "dropped", "data": { "count": count } }).to_string());
            }
            TailEvent::Ended(execution) => self.app.sockets.written(&self.app, &execution),
            TailEvent::Deployment(notice) => {
                let happened = Happened::deployment(&notice.function, notice.id.as_str(), notice.created);
                if self.subscribed(&happened).is_empty() {
                    return None;
                }
                let found = self.app.store.deployment(&self.partner, &notice.function, &notice.id).await.ok()??;
                let payload = json!(DeploymentObject::from(found));
                Arc::new(Written { text: happened.write(&self.app, &payload), happened, _of: None })
            }
        };
        let subscriptions = self.subscribed(&written.happened);
        (!subscriptions.is_empty()).then(|| format!("{}{}}}}}", written.text, json!(subscriptions)))
    }

    /// The subscriptions that have one of the channels.
    fn subscribed(&self, happened: &Happened) -> Vec<String> {
        let has = |channels: &BTreeSet<String>| happened.channels.iter().any(|channel| channels.contains(channel));
        self.subscriptions.iter().filter(|(_, channels)| has(channels)).map(|(id, _)| id.clone()).collect()
    }
}

/// A message about something that happened, up to the subscriptions of whoever receives it.
struct Written {
    text: String,
    happened: Happened,
    /// Nothing else has this address meanwhile.
    _of: Option<Arc<Execution>>,
}

/// Something that happened: its events, the most specific first, and the channels that tell of it.
struct Happened {
    events: Vec<String>,
    channels: Vec<String>,
}

impl Happened {
    fn execution(function: &FunctionId, id: &str) -> Happened {
        Happened::of(function, "executions", id, "update", &["executions".to_owned(), format!("executions.{id}")])
    }

    fn deployment(function: &FunctionId, id: &str, created: bool) -> Happened {
        Happened::of(function, "deployments", id, if created { "create" } else { "update" }, &[])
    }

    fn of(function: &FunctionId, kind: &str, id: &str, action: &str, channels: &[String]) -> Happened {
        let pairs = [(function.as_str(), id), ("*", id), (function.as_str(), "*"), ("*", "*")];
        let whole = pairs.map(|(function, id)| format!("functions.{function}.{kind}.{id}"));
        let events = whole.iter().map(|event| format!("{event}.{action}"));
        let tails = [format!("functions.{function}"), "functions.*".to_owned()];
        let events = events.chain(whole.iter().cloned()).chain(tails).collect();
        let channels = channels.iter().cloned().chain([format!("functions.{function}")]);
        let channels = channels.flat_map(|channel| [format!("{channel}.{action}"), channel]).collect();
        Happened { events, channels }
    }

    fn write(&self, app: &App, payload: &Value) -> String {
        let timestamp = json!(larder_wire::datetime(app.clock.now_ms()));
        let (events, channels) = (json!(self.events), json!(self.channels));
        format!(
            r#"{{"type":"event","data":{{"events":{events},"channels":{channels},"timestamp":{timestamp},"payload":{payload},"subscriptions":"#
        )
    }
}

fn check(channels: Vec<String>) -> Result<BTreeSet<String>, String> {
    if channels.len() > CHANNELS_MAX {
        return Err(format!("may have at most {CHANNELS_MAX} values"));
    }
    if channels.iter().any(|channel| channel.is_empty() || channel.chars().count() > CHANNEL_CHARS_MAX) {
        return Err(format!("have 1 to {CHANNEL_CHARS_MAX} characters"));
    }
    Ok(channels.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_told_from_the_most_specific_on() {
        let happened = Happened::execution(&"f".parse().unwrap(), "e");
        assert_eq!(
            happened.events,
            [
                "functions.f.executions.e.update",
                "functions.*.executions.e.update",
                "functions.f.executions.*.update",
                "functions.*.executions.*.update",
                "functions.f.executions.e",
                "functions.*.executions.e",
                "functions.f.executions.*",
                "functions.*.executions.*",
                "functions.f",
                "functions.*",
            ]
        );
        let channels = [
            "executions.update",
            "executions",
            "executions.e.update",
            "executions.e",
            "functions.f.update",
            "functions.f",
        ];
        assert_eq!(happened.channels, channels);
        assert_eq!(
            Happened::deployment(&"f".parse().unwrap(), "d", true).channels,
            ["functions.f.create", "functions.f"]
        );
    }
}
