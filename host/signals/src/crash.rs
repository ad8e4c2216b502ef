//! Crash points: the points at which crash tests abort this process, as SIGKILL would.
//!
//! `LARDER_CRASH=claimed:3` aborts the process when it reaches [`Point::Claimed`] for the third time. The points are compiled in
//! only with the feature `crash-points`, which only the tests enable.

macro_rules! points {
    ($($(#[$doc:meta])* $point:ident = $word:literal,)*) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Point { $($(#[$doc])* $point,)* }

        impl Point {
            pub const ALL: &'static [Point] = &[$(Point::$point),*];

            pub fn word(self) -> &'static str {
                match self { $(Point::$point => $word,)* }
            }
        }
    };
}

points! {
    /// Web: an event is stored, its sender has no answer yet.
    EventStored = "event_stored",
    /// Web: an execution is queued, its caller has no answer yet.
    ExecutionQueued = "execution_queued",
    /// Web: an idempotency key is reserved for a request that has not started.
    KeyTaken = "key_taken",
    /// Web: the request was served, its answer is not yet stored under its idempotency key.
    KeyUnanswered = "key_unanswered",
    /// Worker: events are matched, nothing is written yet.
    EventMatched = "event_matched",
    /// Worker: an event was routed, no notification is sent yet.
    EventRouted = "event_routed",
    /// Worker: a range of a fan-out is claimed, none of it has run.
    RangeClaimed = "range_claimed",
    /// Worker: within the transaction that commits a part of a range.
    RangeCommitting = "range_committing",
    /// Worker: a part of a range is committed, nobody has been notified.
    RangeCommitted = "range_committed",
    /// Worker: executions are claimed, none has started.
    Claimed = "claimed",
    /// Worker: a guest ran, its outcome is in memory only.
    Ran = "ran",
    /// Worker or web: within the ledger's transaction, before its commit.
    LedgerWriting = "ledger_writing",
    /// Worker or web: the ledger's transaction is committed, nobody has been notified.
    LedgerCommitted = "ledger_committed",
    /// Worker: a build is claimed.
    BuildClaimed = "build_claimed",
    /// Worker: within the transaction of a batch of a bulk action, before its commit.
    BulkWriting = "bulk_writing",
    /// Worker: a batch of a bulk action is committed, nobody has been notified.
    BulkWritten = "bulk_written",
    /// Scheduler: a firing is computed, nothing is written.
    FiringComputed = "firing_computed",
    /// Scheduler: a firing is written, no notification is sent yet.
    Fired = "fired",
    /// Scheduler: a page of a feed is read, nothing is written.
    FeedFetched = "feed_fetched",
    /// Scheduler: a page of a feed is written, no notification is sent yet.
    FeedTaken = "feed_taken",
    /// Maintenance: within a sweep, after its first batch.
    Swept = "swept",
}

/// Aborts the process here if `LARDER_CRASH` selects this point.
#[cfg(feature = "crash-points")]
pub fn point(point: Point) {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU32, Ordering};
    static WANTED: OnceLock<Option<(String, AtomicU32)>> = OnceLock::new();
    let wanted = WANTED.get_or_init(|| {
        let text = std::env::var("LARDER_CRASH").ok()?;
        let (word, count) = text.split_once(':')?;
        Some((word.to_owned(), AtomicU32::new(count.parse().ok()?)))
    });
    if let Some((word, left)) = wanted
        && word == point.word()
        && left.fetch_sub(1, Ordering::SeqCst) == 1
    {
        std::process::abort();
    }
}

#[cfg(not(feature = "crash-points"))]
#[inline(always)]
pub fn point(_: Point) {}
