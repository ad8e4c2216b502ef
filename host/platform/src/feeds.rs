//! Feeds: outside services whose items become events of the partners that get them.
//!
//! * [`larder_model::feed_mapping`]: items → CloudEvents. * [`poll`]: asking, in the scheduler. * [`signature`]: who pushes.
//!
//! Both ways end in [`take`], so it does not matter in which an item comes, or whether it comes in both: it takes effect
//! once, under its source and id. A service that fails, lies or does not end stops its own feed and no other.

use std::ops::RangeInclusive;

use larder_model::Feed;
use larder_model::feed_mapping::{self, Page};
use larder_model::time::Millis;
use larder_signals::Work;
use larder_signals::crash::{self, Point};
use larder_store::{Moved, Received, Waiting};
use metrics::counter;

use crate::common::Common;

const DAY_MS: Millis = 24 * 3_600 * 1_000;

/// Reads a page that came in for this feed.
pub fn read(common: &Common, feed: &Feed, body: &[u8]) -> Result<Page, String> {
    let next = feed.settings.poll.as_ref().and_then(|poll| poll.cursor.as_ref()).map(|cursor| &cursor.next);
    feed_mapping::page(body, &feed.settings.mapping, next, common.settings.feeds.items_max, times(common))
}

/// When an item may have been published: at most a day from now, because clocks differ, and long enough after what is no
/// longer known that no item that is sent again is taken for a new one.
fn times(common: &Common) -> RangeInclusive<Millis> {
    let now = common.clock.now_ms();
    let kept = common.settings.records.events_kept().as_millis() as Millis;
    now - (kept - 2 * DAY_MS)..=now + DAY_MS
}

/// Stores what a page came to and, if it was polled, moves the feed on. `None`: it is somebody else's by now, or gone.
pub async fn take(
    common: &Common,
    feed: &Feed,
    page: &Page,
    moved: Option<&Moved>,
) -> larder_store::Result<Option<Received>> {
    let Some(taken) = common.store.take_page(feed, page, moved, &common.clock).await? else { return Ok(None) };
    crash::point(Point::FeedTaken);
    if let Some(tenant) = feed.owner.as_ref().and_then(|partner| common.directory.tenant(partner)) {
        tenant.backlog.add(Waiting { events: taken.new, ..Waiting::default() });
    }
    if taken.new > 0 {
        common.queue.push(Work::Events);
    }
    for (kind, items) in [("new", taken.new), ("duplicate", taken.duplicates), ("refused", taken.refused)] {
        counter!("larder_feed_items_total", "kind" => kind).increment(items);
    }
    if let Some(why) = &page.last_refused {
        tracing::warn!(
            feed.name = %feed.name, feed.owner = owner(feed), refused = taken.refused, why,
            "items of feed {} were refused", feed.name
        );
    }
    Ok(Some(taken))
}

/// The partner's id, or `operator`.
pub fn owner(feed: &Feed) -> &str {
    feed.owner.as_ref().map_or("operator", |partner| partner.as_str())
}
