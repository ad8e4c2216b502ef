//! Crash points: places at which the crash tests make this process die, as SIGKILL would.
//!
//! `LARDER_CRASH=after_claim:3` ends the process when it comes to [`Point::AfterClaim`] for the third time. Compiled in
//! only with the feature `crash-points`, which nothing but the tests enables.

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
    /// Web: an event is stored, its sender not yet told.
    EventStored = "event_stored",
    /// Web: an execution is queued, its caller not yet told.
    ExecutionQueued = "execution_queued",
    /// Web: a key is taken for a request that has not begun.
    KeyTaken = "key_taken",
    /// Web: the request was served, its answer is not yet kept under its key.
    KeyUnanswered = "key_unanswered",
    /// Worker: events are matched, nothing of it is written.
    EventMatched = "event_matched",
    /// Worker: an event was handed over, nobody is woken.
    EventRouted = "event_routed",
    /// Worker: within the transaction that expands a fan-out.
    FanoutExpanding = "fanout_expanding",
    /// Worker: a page of a fan-out is written.
    FanoutExpanded = "fanout_expanded",
    /// Worker: executions are claimed, none has begun.
    Claimed = "claimed",
    /// Worker: a guest ran, its outcome is in memory only.
    Ran = "ran",
    /// Worker or web: within the ledger's transaction, before its commit.
    LedgerWriting = "ledger_writing",
    /// Worker or web: the ledger's transaction is committed, nobody knows.
    LedgerCommitted = "ledger_committed",
    /// Worker: a build is claimed.
    BuildClaimed = "build_claimed",
    /// Scheduler: a firing is computed, nothing is written.
    FiringComputed = "firing_computed",
    /// Scheduler: a firing is written, nobody is woken.
    Fired = "fired",
    /// Scheduler: a page of a feed is read, nothing is written.
    FeedFetched = "feed_fetched",
    /// Scheduler: a page of a feed is written, nobody is woken.
    FeedTaken = "feed_taken",
    /// Maintenance: within a sweep, after its first batch.
    Swept = "swept",
}

/// Dies here if the environment says so.
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
