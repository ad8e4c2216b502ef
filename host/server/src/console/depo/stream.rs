//! The stream of a page: server-sent events of what changes while somebody looks at it, and the screen that shows everything.
//!
//! Its source is the live tail, like that of `/v1/realtime`. Changes are gathered, so that a reader gets at most [`PACE`] messages;
//! whoever reads too slowly is told how much is missing. Every [`BEAT`] the rights of the session are looked up again, which does
//! not count as using it, and the page gets a new token.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use askama::Template;
use axum::extract::State;
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use http::request::Parts;
use larder_model::Execution;
use larder_model::ids::{FunctionId, PartnerId};
use larder_platform::administrators::{self, SignedIn};
use larder_platform::directory::Tenant;
use larder_signals::{TailEvent, Watch};
use larder_wire::scopes::Scope;
use serde::Serialize;
use tokio::time::{Instant, sleep_until};

use super::today;
use crate::app::App;
use crate::auth::{self, Caller};
use crate::console::account::Answer;
use crate::console::asked::Asked;
use crate::console::live::{self, Place, Ticket, Topic};
use crate::console::page::{Page, ok};
use crate::console::visitor::{Anybody, Desk, Site, Visitor};
use crate::problem::{Kind, Problem};
use crate::web;

/// The time between two messages.
const PACE: Duration = Duration::from_millis(250);
/// The time between two looks at what is true now.
const LOOKS: Duration = Duration::from_millis(900);
const BEAT: Duration = Duration::from_secs(10);
/// After that it ends, and the page asks again.
const LASTS: Duration = Duration::from_secs(3_600);
/// Runs in one message; of the others the number is told.
const ROWS_MAX: usize = 25;

#[derive(Template)]
#[template(path = "live.html")]
struct Live {
    p: Page,
    asked: Asked,
    functions: Vec<FunctionId>,
}

/// Every run as it ends, of a function or of all.
pub async fn page(State(app): State<App>, desk: Desk) -> Answer {
    desk.caller.may(Scope::ExecutionsRead)?;
    let asked = Asked::of(&desk.reader.visitor);
    let function = match asked.get("function") {
        "" => None,
        id => Some(id.parse().map_err(|why| Problem::argument("function", why))?),
    };
    let p = desk.page(&app, "live.title").watching(&desk, Topic::Live(function));
    let functions = desk.caller.tenant.functions.keys().cloned().collect();
    Ok(ok(&Live { p, asked, functions }))
}

/// A message to a page. What is not in it has not changed.
#[derive(Default, Serialize)]
struct Message {
    /// The time, as this reader reads it.
    at: String,
    /// The token for the next stream.
    #[serde(skip_serializing_if = "Option::is_none")]
    page: Option<String>,
    /// The page was cut off, and what has happened meanwhile is not known.
    #[serde(skip_serializing_if = "is_false")]
    cut: bool,
    /// Rows that the list would have on its first page.
    #[serde(skip_serializing_if = "is_zero")]
    new: u64,
    /// Changes that were not told, because the reader is too slow or there are too many.
    #[serde(skip_serializing_if = "is_zero")]
    missed: u64,
    /// Texts by the id of where they stand.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    texts: BTreeMap<&'static str, String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    rows: Vec<Row>,
    /// What the page waits for has happened.
    #[serde(skip_serializing_if = "is_false")]
    over: bool,
    /// The session or its role is gone.
    #[serde(skip_serializing_if = "is_false")]
    ended: bool,
}

/// A run on the screen that shows everything.
#[derive(Serialize)]
struct Row {
    href: String,
    id: String,
    state: &'static str,
    cells: [String; 5],
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_false(value: &bool) -> bool {
    !value
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_zero(value: &u64) -> bool {
    *value == 0
}

/// A script of the page asks: it has the cookie and the token that stands in the page.
pub async fn open(State(app): State<App>, Anybody(visitor): Anybody, parts: Parts) -> Response {
    match connect(app, visitor, &parts).await {
        Ok(response) => response,
        // It is no page: nobody sees it.
        Err(problem) => problem.into_response(),
    }
}

async fn connect(app: App, visitor: Arc<Visitor>, parts: &Parts) -> Result<Response, Problem> {
    let nobody = || Problem::new(Kind::Unauthorized, "This needs a session and the token of a page of this console");
    let Site::Partner(tenant) = &visitor.site else { return Err(Problem::no_such_route()) };
    let partner = tenant.partner.id.clone();
    let text = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok());
    if text("sec-fetch-site") != Some("same-origin") {
        return Err(nobody());
    }
    let secret = visitor.carried.clone().ok_or_else(nobody)?;
    let ticket = Ticket { secret: &secret, partner: &partner };
    let topic = text(live::HEADER).and_then(|token| ticket.read(token, app.clock.now_ms())).ok_or_else(nobody)?;
    let by = reader(&app, &secret, &partner, &topic).await?.ok_or_else(nobody)?;
    // Counts as a request, and holds the turn of a read no longer than that.
    Caller::of_person(&app, tenant.clone(), &by, parts).await?;
    let too_many =
        |whose: &str| Problem::new(Kind::TooManyCalls, format!("{whose} has reached its limit of live pages"));
    let place = app.streams.enter(&by.session.id).ok_or_else(|| too_many("The session"))?;
    let watch = app.signals.live_tail().watch_all(&partner).ok_or_else(|| too_many("The project"))?;
    let p = Page::new(&app, &visitor, "live.title");
    let now = Instant::now();
    let stream = Stream {
        cut: text("last-event-id").is_some_and(|last| !last.is_empty()) && !topic.is_state(),
        app,
        p,
        secret,
        partner,
        topic,
        watch,
        _place: place,
        gathered: None,
        sent: now,
        looked: now,
        is_stale: false,
        beat: now + BEAT,
        until: now + LASTS,
        is_first: true,
        is_over: false,
    };
    let events = futures::stream::unfold(stream, |mut stream| async move {
        let message = stream.next().await?;
        let id = stream.app.clock.ulid();
        let text = serde_json::to_string(&message).expect("an object of texts and numbers");
        Some((Ok::<_, Infallible>(Event::default().id(id).data(text)), stream))
    });
    let mut response = Sse::new(events).into_response();
    response.extensions_mut().insert(web::Streams(LASTS));
    Ok(response)
}

/// Whoever has this session, if they may see this page.
async fn reader(app: &App, secret: &str, partner: &PartnerId, topic: &Topic) -> Result<Option<SignedIn>, Problem> {
    let found = administrators::look_up_session(app, secret).await?;
    Ok(found.filter(|by| auth::person_may(app, by, partner, &[topic.scope()])))
}

struct Stream {
    app: App,
    /// Writes numbers, times and words as the page does.
    p: Page,
    secret: String,
    partner: PartnerId,
    topic: Topic,
    watch: Watch,
    _place: Place,
    /// What is sent next.
    gathered: Option<Message>,
    sent: Instant,
    looked: Instant,
    /// What is true now must be looked up.
    is_stale: bool,
    beat: Instant,
    until: Instant,
    cut: bool,
    is_first: bool,
    is_over: bool,
}

impl Stream {
    /// The next message; `None` ends the stream.
    async fn next(&mut self) -> Option<Message> {
        if self.is_over {
            return None;
        }
        if std::mem::take(&mut self.is_first) {
            self.gather().cut = self.cut;
            self.look().await;
            self.gather().page = Some(self.token());
            return Some(self.send());
        }
        let drain = self.app.life.drain();
        let counts = self.topic == Topic::Today;
        loop {
            tokio::select! {
                told = self.watch.next() => self.take(told?),
                () = sleep_until(self.sent + PACE), if self.gathered.is_some() => return Some(self.send()),
                () = sleep_until(self.looked + LOOKS), if counts || self.is_stale => self.look().await,
                () = sleep_until(self.beat) => {
                    self.beat = Instant::now() + BEAT;
                    if !self.may_go_on().await {
                        self.is_over = true;
                        self.gather().ended = true;
                    } else {
                        self.gather().page = Some(self.token());
                    }
                    return Some(self.send());
                }
                () = drain.cancelled() => return None,
                () = sleep_until(self.until) => return None,
            }
        }
    }

    fn gather(&mut self) -> &mut Message {
        self.gathered.get_or_insert_default()
    }

    fn send(&mut self) -> Message {
        self.sent = Instant::now();
        let at = self.p.look.local(self.app.clock.now_ms());
        Message { at, ..self.gathered.take().unwrap_or_default() }
    }

    fn token(&self) -> String {
        let ticket = Ticket { secret: &self.secret, partner: &self.partner };
        ticket.write(&self.topic, self.app.clock.now_ms())
    }

    async fn may_go_on(&self) -> bool {
        let found = reader(&self.app, &self.secret, &self.partner, &self.topic).await;
        // What cannot be looked up now is looked up again.
        self.tenant().is_some() && found.is_ok_and(|by| by.is_some())
    }

    fn tenant(&self) -> Option<Arc<Tenant>> {
        self.app.directory.tenant(&self.partner)
    }

    /// Says what is true now. What cannot be read is read the next time.
    async fn look(&mut self) {
        (self.looked, self.is_stale) = (Instant::now(), false);
        match self.topic.clone() {
            Topic::Today => {
                let Some(tenant) = self.tenant() else { return };
                let Ok(counts) = today::counts(&self.app, &tenant).await else { return };
                for counter in today::counters(&self.p, counts) {
                    self.gather().texts.insert(counter.id, counter.number);
                }
            }
            Topic::Run(function, id) => {
                let found = self.app.store.execution(&self.partner, &function, &id).await;
                if let Ok(Some(run)) = found {
                    self.run(&run);
                }
            }
            Topic::Deployment(function, id) => {
                let found = self.app.store.deployment(&self.partner, &function, &id).await;
                if let Ok(Some(deployment)) = found {
                    let log = self.p.clean(&deployment.build_logs).into_owned();
                    let message = self.gather();
                    message.texts.insert("build-log", log);
                    message.over = deployment.status.has_ended();
                }
            }
            _ => {}
        }
    }

    fn run(&mut self, run: &Execution) {
        let logs = self.p.clean(&run.logs).into_owned();
        let message = self.gather();
        message.texts.insert("run-log", logs);
        message.over = run.status.has_ended();
    }

    fn take(&mut self, told: TailEvent) {
        match (told, &self.topic) {
            (TailEvent::Dropped(_), topic) if topic.is_state() => self.is_stale = true,
            (TailEvent::Dropped(count), _) => self.gather().missed += count,
            (TailEvent::Ended(run), Topic::Runs(function)) if run.function == *function => self.gather().new += 1,
            (TailEvent::Ended(run), Topic::DeadLetters) if run.dead_lettered_at_ms.is_some() => self.gather().new += 1,
            (TailEvent::Ended(run), Topic::Run(_, id)) if run.id == *id => self.run(&run),
            (TailEvent::Ended(run), Topic::Live(function)) if function.as_ref().is_none_or(|f| run.function == *f) => {
                self.row(&run);
            }
            (TailEvent::Deployment(notice), Topic::Deployment(_, id)) if notice.id == *id => self.is_stale = true,
            _ => {}
        }
    }

    fn row(&mut self, run: &Execution) {
        if self.gather().rows.len() >= ROWS_MAX {
            self.gather().missed += 1;
            return;
        }
        let p = &self.p;
        let state = if run.dead_lettered_at_ms.is_some() { "buried" } else { run.status.word() };
        let row = Row {
            href: format!("{}/functions/{}/runs/{}", p.base, run.function, run.id),
            id: run.id.to_string(),
            state,
            cells: [
                run.function.to_string(),
                p.word(state).to_owned(),
                p.word(run.trigger.word()).to_owned(),
                p.ms(&run.cpu_us),
                p.look.local(run.updated_at_ms),
            ],
        };
        self.gather().rows.push(row);
    }
}
