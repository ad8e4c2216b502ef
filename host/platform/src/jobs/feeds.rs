//! Asking the services of feeds, each by one process at a time.
//!
//! A due feed is claimed for as long as a poll may take; the answer is read whole, within bounds, and stored together with
//! the cursor behind it (`store/feeds`). A process that dies in between leaves a lease that runs out and a cursor that has
//! not moved: the page is read again. What failed rests, longer each time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Empty, LengthLimitError, Limited};
use larder_egress::Tenants;
use larder_egress::upstreams::{UpstreamView, Upstreams};
use larder_model::feed_mapping::Page;
use larder_model::feeds::PollSettings;
use larder_model::grants::leads;
use larder_model::ids::PartnerId;
use larder_model::outgoing::Times;
use larder_model::time::Millis;
use larder_model::{Feed, Progress, fields};
use larder_signals::Work;
use larder_signals::crash::{self, Point};
use larder_store::Moved;
use metrics::{counter, gauge};

use crate::backlog;
use crate::common::context;
use crate::execution::retries;
use crate::feeds::owner;
use crate::jobs::driver::{Job, Next};

/// Due feeds that are looked at in one step.
const BATCH: u32 = 1_000;
/// How much longer than a poll a claim lasts: for storing what came of it.
const LEASE_SPARE: Duration = Duration::from_secs(5);
/// Between two looks at the figures of all feeds.
const FIGURES: Duration = Duration::from_secs(5);
/// Between two pages of one feed.
const AGAIN_MS: Millis = 50;
const OPERATOR: &str = "OPERATOR";
const WHY_CHARS_MAX: usize = 500;
/// The longest rest that a service may ask for.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(3_600);
const ETAG_BYTES_MAX: usize = 1_024;

context! {
    /// What polling uses.
    Poller {
        upstreams: Upstreams,
    }
}

/// Polls the feeds that are due.
pub struct Feeds {
    poller: Poller,
    polls: Polls,
    told: Told,
    told_at: Option<Instant>,
}

impl Feeds {
    pub fn new(poller: Poller) -> Feeds {
        Feeds { poller, polls: Polls::default(), told: Told::default(), told_at: None }
    }
}

impl Job for Feeds {
    const WORK: Work = Work::Feeds;
    type Permit = ();

    fn poll(&self) -> Duration {
        self.poller.settings.feeds.poll
    }

    async fn acquire(&mut self) {}

    async fn step(&mut self, (): ()) -> larder_store::Result<Next> {
        let (poller, poll) = (&self.poller, self.poll());
        if self.told_at.is_none_or(|at| at.elapsed() >= FIGURES) {
            self.told_at = Some(Instant::now());
            self.told.tell(poller).await;
        }
        let crowded = step(poller, &self.polls).await?;
        Ok(Next::Within(match poller.store.next_feed().await {
            Ok(Some(at)) if !crowded => poll.min(Duration::from_millis((at - poller.clock.now_ms()).max(20) as u64)),
            _ => poll,
        }))
    }
}

/// Begins the polls that are due; gives whether there was no room for some, which wait until there is.
async fn step(poller: &Poller, polls: &Polls) -> larder_store::Result<bool> {
    let settings = &poller.settings.feeds;
    let most = settings.polls_max;
    let mut crowded = false;
    for mut feed in poller.store.due_feeds(poller.clock.now_ms(), BATCH).await? {
        if rests(poller, &feed).await? {
            crowded = true;
            continue;
        }
        let Some(turn) = polls.begin(&feed.owner, most) else {
            crowded = true;
            continue;
        };
        let until = poller.clock.now_ms() + (settings.timeout + LEASE_SPARE).as_millis() as Millis;
        if !poller.store.claim_feed(&mut feed, &poller.holder, until).await? {
            continue;
        }
        let poller = poller.clone();
        poller.life.clone().spawn_work("poll of a feed", async move {
            poll(&poller, &feed).await;
            drop(turn);
            // There may be more of it, and there is room for another.
            poller.queue.push(Work::Feeds);
        });
    }
    Ok(crowded)
}

/// As many events of its partner wait as may: the feed stays where it is. One of the operator's goes on, as its partners have
/// no part in how much it brings, and none of them shall hold up the others.
async fn rests(poller: &Poller, feed: &Feed) -> larder_store::Result<bool> {
    match feed.owner.as_ref().and_then(|partner| poller.directory.tenant(partner)) {
        Some(tenant) => Ok(backlog::takes_no_events(poller, &backlog::waiting(poller, &tenant).await?)),
        None => Ok(false),
    }
}

/// How many polls are under way, by owner.
#[derive(Clone, Default)]
struct Polls(Arc<Mutex<HashMap<Option<PartnerId>, usize>>>);

struct Turn {
    polls: Polls,
    owner: Option<PartnerId>,
}

impl Polls {
    /// `None`: all turns are taken, or this owner has its share, so that slow services of one leave room for the others'.
    fn begin(&self, owner: &Option<PartnerId>, most: usize) -> Option<Turn> {
        let mut polls = self.0.lock().expect("no panic under the lock");
        let own = polls.get(owner).copied().unwrap_or_default();
        if own >= most.div_ceil(2) || polls.values().sum::<usize>() >= most {
            return None;
        }
        polls.insert(owner.clone(), own + 1);
        Some(Turn { polls: self.clone(), owner: owner.clone() })
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut polls = self.polls.0.lock().expect("no panic under the lock");
        if let Some(own) = polls.get_mut(&self.owner) {
            *own -= 1;
            if *own == 0 {
                polls.remove(&self.owner);
            }
        }
    }
}

/// Why a poll came to nothing.
struct Failed {
    why: String,
    /// How long the service wants to be left alone.
    retry_after: Option<Duration>,
}

impl From<String> for Failed {
    fn from(why: String) -> Failed {
        Failed { why, retry_after: None }
    }
}

async fn poll(poller: &Poller, feed: &Feed) {
    let Some(settings) = &feed.settings.poll else { return };
    let result = match tokio::time::timeout(poller.settings.feeds.timeout, fetch(poller, feed, settings)).await {
        Ok(Ok(answer)) => {
            crash::point(Point::FeedFetched);
            let unchanged = answer.is_none();
            let (page, moved) = next(poller, feed, settings, answer);
            match crate::feeds::take(poller, feed, &page, Some(&moved)).await {
                Ok(Some(_)) if unchanged => "unchanged",
                Ok(Some(_)) => "good",
                Ok(None) => "lost",
                // The lease ends and it is polled again.
                Err(err) => {
                    tracing::warn!(feed.name = %feed.name, error = %err, "what came of feed {} could not be stored", feed.name);
                    "lost"
                }
            }
        }
        Ok(Err(failed)) => fail(poller, feed, settings, failed).await,
        Err(_) => {
            let why = format!("there was no whole answer within {:?}", poller.settings.feeds.timeout);
            fail(poller, feed, settings, why.into()).await
        }
    };
    counter!("larder_feed_polls_total", "result" => result).increment(1);
}

/// A page and what it was tagged with.
struct Answer {
    page: Page,
    etag: Option<String>,
}

/// Asks for the next page; `None`: nothing has changed since the last one.
async fn fetch(poller: &Poller, feed: &Feed, settings: &PollSettings) -> Result<Option<Answer>, Failed> {
    let cursor = settings.cursor.as_ref().zip(feed.progress.cursor.as_ref());
    let mut path = settings.path.clone();
    if let Some((settings, cursor)) = cursor {
        path.push(if path.contains('?') { '&' } else { '?' });
        let query = form_urlencoded::Serializer::new(String::new()).append_pair(&settings.parameter, cursor).finish();
        path.push_str(&query);
    }
    let mut request = Request::get(format!("http://{}.upstream{path}", settings.upstream))
        .header(header::ACCEPT, "application/json")
        .header(header::CACHE_CONTROL, "no-cache");
    if let Some(etag) = &feed.progress.etag {
        request = request.header(header::IF_NONE_MATCH, etag);
    }
    let request = request
        .body(Empty::<Bytes>::new().map_err(|never| match never {}).boxed_unsync())
        .map_err(|err| format!("its path cannot be asked for: {err}"))?;
    let (partner, upstream) = upstream(poller, feed, &settings.upstream).await?;
    let named = feed.lead.as_ref().is_none_or(|lead| *lead == leads::of_upstream(&upstream.upstream));
    if !named {
        let name = &settings.upstream;
        let why = format!(
            "the upstream {name:?} leads elsewhere than when the feed was saved: a key with the scope feeds.write can save it again"
        );
        return Err(why.into());
    }
    let answer =
        poller.upstreams.send(&partner, &upstream, request, Times::default()).await.map_err(|err| err.to_string())?;
    let (head, body) = answer.into_parts();
    if head.status == StatusCode::NOT_MODIFIED && feed.progress.etag.is_some() {
        return Ok(None);
    }
    if head.status == StatusCode::NO_CONTENT {
        return Ok(Some(Answer { page: Page::default(), etag: None }));
    }
    if head.status != StatusCode::OK {
        let retry_after =
            fields::retry_after(&head.headers, poller.clock.now_ms()).map(|wait| wait.min(RETRY_AFTER_MAX));
        return Err(Failed { why: format!("it answered {}", head.status), retry_after });
    }
    let most = poller.settings.feeds.bytes_max;
    let body = Limited::new(body, most).collect().await.map_err(|err| match err.downcast::<LengthLimitError>() {
        Ok(_) => format!("its answer has more than {most} bytes"),
        Err(err) => err.to_string(),
    })?;
    let page = crate::feeds::read(poller, feed, &body.to_bytes())?;
    let etag = fields::single(&head.headers, header::ETAG);
    let etag = etag.filter(|etag| etag.len() <= ETAG_BYTES_MAX && fields::Tag::parse(etag).is_some());
    Ok(Some(Answer { page, etag: etag.map(str::to_owned) }))
}

/// Whom to ask, and on whose behalf. The operator has a name there that no partner can have.
async fn upstream(poller: &Poller, feed: &Feed, name: &str) -> Result<(PartnerId, Arc<UpstreamView>), String> {
    let (partner, found) = match &feed.owner {
        Some(partner) => {
            poller.directory.refresh(partner).await.map_err(|err| err.to_string())?;
            (partner.clone(), poller.directory.upstream(partner, name))
        }
        None => {
            let found = poller.directory.operators_upstream(name).await.map_err(|err| err.to_string())?;
            (OPERATOR.parse().expect("an id"), found)
        }
    };
    Ok((partner, found.ok_or_else(|| format!("there is no upstream {name:?}"))?))
}

/// Where the feed goes after this answer. Where there is more behind the cursor it is asked again soon, if this page
/// brought something new: a service that sends the same over and over is asked once in a period.
fn next(poller: &Poller, feed: &Feed, settings: &PollSettings, answer: Option<Answer>) -> (Page, Moved) {
    let (now, holder) = (poller.clock.now_ms(), poller.holder.clone());
    let due_at_ms = now + settings.period().as_millis() as Millis;
    let Progress { cursor, etag, .. } = feed.progress.clone();
    let Some(answer) = answer else {
        return (Page::default(), Moved { holder, cursor, etag, due_at_ms, again_at_ms: due_at_ms });
    };
    let next = answer.page.next.clone().or_else(|| cursor.clone());
    let again_at_ms = if next == cursor { due_at_ms } else { due_at_ms.min(now + AGAIN_MS) };
    // Behind a cursor a tag is kept of an empty page only: that there is still nothing. Of a page with items it would say that
    // they are the same, and a service that once gave the cursor of a page that we have would keep us there.
    let at_the_end = answer.page.events.is_empty() && answer.page.refused == 0 && next == cursor;
    let etag = answer.etag.filter(|_| settings.cursor.is_none() || at_the_end);
    (answer.page, Moved { holder, cursor: next, etag, due_at_ms, again_at_ms })
}

async fn fail(poller: &Poller, feed: &Feed, settings: &PollSettings, failed: Failed) -> &'static str {
    let rest = retries::delay(
        settings.period(),
        poller.settings.feeds.rest_max.max(settings.period()),
        feed.progress.failures,
    );
    let rest = rest.max(failed.retry_after.unwrap_or_default());
    let why: String = failed.why.chars().take(WHY_CHARS_MAX).collect();
    tracing::warn!(
        feed.name = %feed.name, feed.owner = owner(feed), why, rest_ms = rest.as_millis() as u64,
        "feed {} could not be polled", feed.name
    );
    match poller.store.fail_feed(feed, &poller.holder, &why, poller.clock.now_ms() + rest.as_millis() as Millis).await {
        Ok(true) => "failed",
        Ok(false) => "lost",
        Err(err) => {
            tracing::warn!(feed.name = %feed.name, error = %err, "that feed {} failed could not be stored", feed.name);
            "lost"
        }
    }
}

/// Feeds whose figures stand in the metrics.
#[derive(Default)]
struct Told(Vec<[String; 2]>);

impl Told {
    /// When each feed last went well and how new its newest item is, as seconds since 1970: the age is for the asker to
    /// compute, and grows also when nobody tells.
    async fn tell(&mut self, poller: &Poller) {
        const GOOD: &str = "larder_feed_good_timestamp_seconds";
        const NEWEST: &str = "larder_feed_newest_item_timestamp_seconds";
        let Ok(feeds) = poller.store.all_feeds().await else { return };
        let labels = |[owner, name]: &[String; 2]| [("owner", owner.clone()), ("feed", name.clone())];
        let all: Vec<[String; 2]> = feeds.iter().map(|feed| [owner(feed).to_owned(), feed.name.clone()]).collect();
        for gone in self.0.iter().filter(|known| !all.contains(known)) {
            gauge!(GOOD, &labels(gone)).set(f64::NAN);
            gauge!(NEWEST, &labels(gone)).set(f64::NAN);
        }
        for (feed, key) in feeds.iter().zip(&all) {
            let seconds = |at: Option<Millis>| at.map_or(f64::NAN, |at| at as f64 / 1_000.0);
            gauge!(GOOD, &labels(key)).set(seconds(feed.progress.good_at_ms));
            gauge!(NEWEST, &labels(key)).set(seconds(feed.progress.newest_at_ms));
        }
        self.0 = all;
    }
}
