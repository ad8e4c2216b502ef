//! Items that arrived for a feed, by a poll or a push: page → events.

use std::ops::RangeInclusive;

use larder_model::feed_mapping::{self, Page};
use larder_model::time::Millis;
use larder_model::{EventRules, Feed};
use larder_signals::Work;
use larder_signals::crash::{self, Point};
use larder_store::{Moved, Received, Waiting};
use metrics::counter;

use crate::common::Common;
use crate::feeds::owner;

const DAY_MS: Millis = 24 * 3_600 * 1_000;

/// Parses a page that arrived for this feed.
pub fn read(common: &Common, feed: &Feed, body: &[u8]) -> Result<Page, String> {
    let next = feed.settings.poll.as_ref().and_then(|poll| poll.cursor.as_ref()).map(|cursor| &cursor.next);
    let mut page =
        feed_mapping::page(body, &feed.settings.mapping, next, common.settings.feeds.items_max, times(common))?;
    // What the operator's feeds tell goes to many partners, and is no single one's to refuse.
    if let Some(tenant) = feed.owner.as_ref().and_then(|partner| common.directory.tenant(partner)) {
        refuse_unfit(&mut page, &tenant.event_rules);
    }
    Ok(page)
}

/// Refuses the items whose data are not what the functions that take them say, as items that no event could be made of.
fn refuse_unfit(page: &mut Page, rules: &EventRules) {
    let (mut refused, mut last_refused) = (0, None);
    page.events.retain(|event| match rules.check(&event.kind, &event.data_content_type, &event.data) {
        Ok(()) => true,
        Err(unfit) => {
            refused += 1;
            last_refused = Some(format!("event {:?} of type {}: {unfit}", event.id, event.kind));
            false
        }
    });
    page.refused += refused;
    page.last_refused = last_refused.or(page.last_refused.take());
}

/// The allowed publication times of items: at most a day from now, because clocks differ, and well after the oldest stored
/// events. So a repeated item is never taken for a new one.
fn times(common: &Common) -> RangeInclusive<Millis> {
    let now = common.clock.now_ms();
    let kept = common.settings.records.events_kept().as_millis() as Millis;
    now - (kept - 2 * DAY_MS)..=now + DAY_MS
}

/// Stores the items of a page and, if it was polled, advances the feed. `None`: another process has the feed, or it was deleted.
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
        common.signals.push(Work::Events);
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
