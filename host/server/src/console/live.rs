//! What a page may be told of while somebody looks at it.
//!
//! * [`Topic`]: what a page is told of. [`Ticket`]: the token that such a page carries.
//! * [`Streams`]: how many streams a session has open, and what is counted for them.
//!
//! Pages of functions are of the same origin and send the same cookie (ADR 0060). So a stream is opened with the cookie *and* a
//! token that stands in the page alone, which nobody reads who has not navigated to it. The token follows from the session, the
//! partner, the topic and its end, so it is stored nowhere and opens nothing else.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use larder_model::ids::{DeploymentId, ExecutionId, FunctionId, PartnerId, SessionId};
use larder_model::time::Millis;
use larder_platform::keys;
use larder_store::Waiting;
use larder_wire::scopes::Scope;
use tokio::time::Instant;

use super::depo::figures::Figures;

/// The header that carries the token.
pub const HEADER: &str = "x-larder-page";
/// How long a token opens a stream. An open stream brings new ones.
const LASTS: Duration = Duration::from_secs(600);
/// Streams of one session in a process. Tabs that nobody looks at have none.
const PER_SESSION: usize = 8;

/// What a page is told of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Topic {
    /// What waits.
    Today,
    /// That runs of a function have ended.
    Runs(FunctionId),
    /// That a run has ended.
    Run(FunctionId, ExecutionId),
    /// The state and the log of a deployment.
    Deployment(FunctionId, DeploymentId),
    /// That runs were given up.
    DeadLetters,
    /// Every run as it ends: of a function, or of all.
    Live(Option<FunctionId>),
}

impl Topic {
    fn word(&self) -> String {
        match self {
            Topic::Today => "today".into(),
            Topic::Runs(function) => format!("runs/{function}"),
            Topic::Run(function, id) => format!("run/{function}/{id}"),
            Topic::Deployment(function, id) => format!("deployment/{function}/{id}"),
            Topic::DeadLetters => "dead-letters".into(),
            Topic::Live(None) => "live".into(),
            Topic::Live(Some(function)) => format!("live/{function}"),
        }
    }

    fn from_word(word: &str) -> Option<Topic> {
        let parts: Vec<&str> = word.split('/').collect();
        Some(match parts[..] {
            ["today"] => Topic::Today,
            ["runs", function] => Topic::Runs(function.parse().ok()?),
            ["run", function, id] => Topic::Run(function.parse().ok()?, id.parse().ok()?),
            ["deployment", function, id] => Topic::Deployment(function.parse().ok()?, id.parse().ok()?),
            ["dead-letters"] => Topic::DeadLetters,
            ["live"] => Topic::Live(None),
            ["live", function] => Topic::Live(Some(function.parse().ok()?)),
            _ => return None,
        })
    }

    /// What the page itself needs.
    pub fn scope(&self) -> Scope {
        match self {
            Topic::Deployment(..) => Scope::GrantsRead,
            _ => Scope::ExecutionsRead,
        }
    }

    /// Is what is true now all that there is to know? Of a list, what has happened meanwhile is missing.
    pub fn is_state(&self) -> bool {
        matches!(self, Topic::Today | Topic::Run(..) | Topic::Deployment(..))
    }
}

/// The right of a page to a stream.
pub struct Ticket<'a> {
    /// The text in the cookie.
    pub secret: &'a str,
    pub partner: &'a PartnerId,
}

impl Ticket<'_> {
    pub fn write(&self, topic: &Topic, now: Millis) -> String {
        let rest = format!("{}.{}", now + LASTS.as_millis() as Millis, topic.word());
        let sign = hex::encode(keys::hash(&self.signed(&rest)));
        format!("{sign}.{rest}")
    }

    /// The topic of a token that is of this session and partner and has not expired.
    pub fn read(&self, token: &str, now: Millis) -> Option<Topic> {
        let (sign, rest) = token.split_once('.')?;
        let sign = <[u8; 32] as hex::FromHex>::from_hex(sign).ok()?;
        if !keys::is_text(&self.signed(rest), &sign) {
            return None;
        }
        let (until, topic) = rest.split_once('.')?;
        Topic::from_word(topic).filter(|_| until.parse().is_ok_and(|until: Millis| until > now))
    }

    /// Both parts are hashes and so of one length: no text continues another.
    fn signed(&self, rest: &str) -> String {
        let key = hex::encode(keys::hash(&format!("page of {}", self.secret)));
        let text = hex::encode(keys::hash(&format!("{} {rest}", self.partner)));
        format!("page {key} {text}")
    }
}

/// Numbers of the first page.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub waiting: Waiting,
    pub dead_letters: u64,
    pub paused: u64,
}

/// A day of a partner, by its first moment: that of another zone is another day.
type Day = (PartnerId, Millis);

/// The streams of this process. Clones share their state.
#[derive(Clone, Default)]
pub struct Streams(Arc<Shared>);

#[derive(Default)]
struct Shared {
    open: Mutex<HashMap<SessionId, usize>>,
    /// The last counts of partners whose first page somebody looks at.
    counts: Mutex<HashMap<PartnerId, (Instant, Counts)>>,
    /// The last figures of their charts, of a day that began at a time.
    figures: Mutex<HashMap<Day, (Instant, Arc<Figures>)>>,
}

/// A stream's place among those of its session.
pub struct Place {
    streams: Streams,
    session: SessionId,
}

impl Streams {
    /// `None`: the session has reached its limit.
    pub fn enter(&self, session: &SessionId) -> Option<Place> {
        let mut open = lock(&self.0.open);
        let count = open.entry(session.clone()).or_default();
        if *count >= PER_SESSION {
            return None;
        }
        *count += 1;
        Some(Place { streams: self.clone(), session: session.clone() })
    }

    /// Counts that are younger than that.
    pub fn counts(&self, partner: &PartnerId, within: Duration) -> Option<Counts> {
        let counts = lock(&self.0.counts);
        counts.get(partner).filter(|(at, _)| at.elapsed() < within).map(|(_, counts)| *counts)
    }

    /// Figures that are younger than that.
    pub fn figures(&self, partner: &PartnerId, day: Millis, within: Duration) -> Option<Arc<Figures>> {
        let figures = lock(&self.0.figures);
        let (at, known) = figures.get(&(partner.clone(), day))?;
        (at.elapsed() < within).then(|| known.clone())
    }

    pub fn keep_figures(&self, partner: &PartnerId, day: Millis, found: Arc<Figures>) {
        let mut figures = lock(&self.0.figures);
        figures.retain(|_, (at, _)| at.elapsed() < LASTS);
        figures.insert((partner.clone(), day), (Instant::now(), found));
    }

    pub fn keep_counts(&self, partner: &PartnerId, found: Counts) {
        let mut counts = lock(&self.0.counts);
        counts.retain(|_, (at, _)| at.elapsed() < LASTS);
        counts.insert(partner.clone(), (Instant::now(), found));
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = lock(&self.streams.0.open);
        if let Some(count) = open.get_mut(&self.session) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.session);
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_of_one_session_partner_topic_and_time() {
        let [acme, other]: [PartnerId; 2] = ["acme", "other"].map(|id| id.parse().unwrap());
        let own = Ticket { secret: "s", partner: &acme };
        let topics = [
            Topic::Today,
            Topic::Runs("f.1".parse().unwrap()),
            Topic::Run("f".parse().unwrap(), "e".parse().unwrap()),
            Topic::Deployment("f".parse().unwrap(), "d".parse().unwrap()),
            Topic::DeadLetters,
            Topic::Live(None),
            Topic::Live(Some("f".parse().unwrap())),
        ];
        for topic in topics {
            let token = own.write(&topic, 1_000);
            assert_eq!(own.read(&token, 1_000), Some(topic));
            assert_eq!(own.read(&token, 601_000), None);
            assert_eq!(Ticket { secret: "t", partner: &acme }.read(&token, 1_000), None);
            assert_eq!(Ticket { secret: "s", partner: &other }.read(&token, 1_000), None);
            let (sign, rest) = token.split_once('.').unwrap();
            for forged in [format!("{sign}.9{rest}"), format!("{sign}.{rest}x"), rest.to_owned(), String::new()] {
                assert_eq!(own.read(&forged, 1_000), None, "{forged}");
            }
        }
    }

    #[test]
    fn a_session_has_so_many_streams() {
        let streams = Streams::default();
        let [one, other]: [SessionId; 2] = ["one", "other"].map(|id| id.parse().unwrap());
        let mut held: Vec<Place> = (0..PER_SESSION).map(|_| streams.enter(&one).unwrap()).collect();
        assert!(streams.enter(&one).is_none() && streams.enter(&other).is_some());
        held.pop();
        assert!(streams.enter(&one).is_some());
        drop(held);
        assert!(lock(&streams.0.open).is_empty());
    }
}
