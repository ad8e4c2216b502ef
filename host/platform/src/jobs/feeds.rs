//! Polls the services of feeds, each in one process at a time.
//!
//! A due feed is leased for the longest time that a poll may take. The whole answer is read, within bounds, and stored
//! together with the cursor after it (`store/feeds`). If the process dies in between, the lease expires, the cursor has not
//! moved and the page is read again. Failed polls back off exponentially.

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
use larder_model::{Feed, Progress, fields, retries};
use larder_signals::Work;
use larder_signals::crash::{self, Point};
use larder_store::Moved;
use metrics::{counter, gauge};

use crate::backlog;
use crate::common::{context, operator};
use crate::feeds::{items, owner};
use crate::jobs::driver::{Job, Next};

/// Due feeds in one step.
const BATCH: u32 = 1_000;
/// How much longer than a poll a lease lasts: time for storing the result.
const LEASE_SPARE: Duration = Duration::from_secs(5);
/// Between two reports of the figures of all feeds.
const FIGURES: Duration = Duration::from_secs(5);
/// Between two pages of one feed.
const AGAIN_MS: Millis = 50;
const WHY_CHARS_MAX: usize = 500;
/// The longest delay that a service may ask for.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(3_600);
const ETAG_BYTES_MAX: usize = 1_024;

context! {
    /// The context of polling.
    Poller {
        upstreams: Upstreams,
    }
}

/// Polls the feeds that are due.
pub struct Feeds {
    poller: Poller,
    polls: Polls,
    reported: ReportedFeeds,
    reported_at: Option<Instant>,
}

impl Feeds {
    pub fn new(poller: Poller) -> Feeds {
        Feeds { poller, polls: Polls::default(), reported: ReportedFeeds::default(), reported_at: None }
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
        if self.reported_at.is_none_or(|at| at.elapsed() >= FIGURES) {
            self.reported_at = Some(Instant::now());
            self.reported.report(poller).await;
        }
        let crowded = step(poller, &self.polls).await?;
        Ok(Next::Within(match poller.store.next_feed().await {
            Ok(Some(at)) if !crowded => poll.min(Duration::from_millis((at - poller.clock.now_ms()).max(20) as u64)),
            _ => poll,
        }))
    }
}

/// Begins the polls that are due. Returns whether some must wait for a permit.
async fn step(poller: &Poller, polls: &Polls) -> larder_store::Result<bool> {
    let settings = &poller.settings.feeds;
    let most = settings.polls_max;
    let mut crowded = false;
    for mut feed in poller.store.due_feeds(poller.clock.now_ms(), BATCH).await? {
        if rests(poller, &feed).await? {
            crowded = true;
            continue;
        }
        let Some(permit) = polls.begin(&feed.owner, most) else {
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
            drop(permit);
            // The feed may have more pages, and another poll may begin.
            poller.signals.push(Work::Feeds);
        });
    }
    Ok(crowded)
}

/// Is the feed held back because its partner has reached its limit of waiting events? A feed of the operator is never held
/// back: its partners do not control how much it brings, and none of them may block the others.
async fn rests(poller: &Poller, feed: &Feed) -> larder_store::Result<bool> {
    match feed.owner.as_ref().and_then(|partner| poller.directory.tenant(partner)) {
        Some(tenant) => Ok(backlog::takes_no_events(poller, &backlog::waiting(poller, &tenant).await?)),
        None => Ok(false),
    }
}

/// The number of polls in progress, by owner.
#[derive(Clone, Default)]
struct Polls(Arc<Mutex<HashMap<Option<PartnerId>, usize>>>);

/// A permit for one poll. Dropping it releases the permit.
struct PollPermit {
    polls: Polls,
    owner: Option<PartnerId>,
}

impl Polls {
    /// `None`: all permits are taken, or this owner has its share. So slow services of one owner leave permits for the others.
    fn begin(&self, owner: &Option<PartnerId>, most: usize) -> Option<PollPermit> {
        let mut polls = self.0.lock().expect("no panic under the lock");
        let own = polls.get(owner).copied().unwrap_or_default();
        if own >= most.div_ceil(2) || polls.values().sum::<usize>() >= most {
            return None;
        }
        polls.insert(owner.clone(), own + 1);
        Some(PollPermit { polls: self.clone(), owner: owner.clone() })
    }
}

impl Drop for PollPermit {
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

/// Why a poll failed.
struct Failed {
    why: String,
    /// The delay that the service asks for.
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
            match items::take(poller, feed, &page, Some(&moved)).await {
                Ok(Some(_)) if unchanged => "unchanged",
                Ok(Some(_)) => "good",
                Ok(None) => "lost",
                // The feed is polled again when the lease expires.
                Err(err) => {
                    tracing::warn!(feed.name = %feed.name, error = %err, "the result of feed {} could not be stored", feed.name);
                    "lost"
                }
            }
        }
        Ok(Err(failed)) => fail(poller, feed, settings, failed).await,
        Err(_) => {
            let why = format!("there was no complete answer within {:?}", poller.settings.feeds.timeout);
            fail(poller, feed, settings, why.into()).await
        }
    };
    counter!("larder_feed_polls_total", "result" => result).increment(1);
}

/// A page and its entity tag.
struct Answer {
    page: Page,
    etag: Option<String>,
}

/// Fetches the next page; `None`: nothing has changed since the last one.
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
    let page = items::read(poller, feed, &body.to_bytes())?;
    let etag = fields::single(&head.headers, header::ETAG);
    let etag = etag.filter(|etag| etag.len() <= ETAG_BYTES_MAX && fields::Tag::parse(etag).is_some());
    Ok(Some(Answer { page, etag: etag.map(str::to_owned) }))
}

/// The upstream to ask, and the partner on whose behalf. The operator has an id there that no partner can have.
async fn upstream(poller: &Poller, feed: &Feed, name: &str) -> Result<(PartnerId, Arc<UpstreamView>), String> {
    let (partner, found) = match &feed.owner {
        Some(partner) => {
            poller.directory.refresh(partner).await.map_err(|err| err.to_string())?;
            (partner.clone(), poller.directory.upstream(partner, name))
        }
        None => {
            let found = poller.directory.operators_upstream(name).await.map_err(|err| err.to_string())?;
            (operator(), found)
        }
    };
    Ok((partner, found.ok_or_else(|| format!("there is no upstream {name:?}"))?))
}

/// Where the feed moves after this answer. It is polled again soon only if the cursor has moved. A service that sends the same
/// page again and again is polled once in a period.
fn next(poller: &Poller, feed: &Feed, settings: &PollSettings, answer: Option<Answer>) -> (Page, Moved) {
    let (now, holder) = (poller.clock.now_ms(), poller.holder.clone());
    let due_at_ms = now + settings.period().as_millis() as Millis;
    let Progress { cursor, etag, .. } = feed.progress.clone();
    let Some(answer) = answer else {
        return (Page::default(), Moved { holder, cursor, etag, due_at_ms, again_at_ms: due_at_ms });
    };
    let next = answer.page.next.clone().or_else(|| cursor.clone());
    let again_at_ms = if next == cursor { due_at_ms } else { due_at_ms.min(now + AGAIN_MS) };
    // After a cursor, only the entity tag of an empty page is stored: it means that there is still nothing. The tag of a page
    // with items would mean that they are unchanged. A service that once repeated a cursor would then hold the feed there.
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
            tracing::warn!(feed.name = %feed.name, error = %err, "the failure of feed {} could not be stored", feed.name);
            "lost"
        }
    }
}

/// Feeds whose figures are in the metrics.
#[derive(Default)]
struct ReportedFeeds(Vec<[String; 2]>);

impl ReportedFeeds {
    /// Sets the time of each feed's last success and of its newest item, as seconds since 1970. The reader computes the age,
    /// so it also grows when nothing is reported.
    async fn report(&mut self, poller: &Poller) {
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
