//! Feeds and their progress.
//!
//! The rule: **a cursor moves only under the claim with which it was read, in the transaction that stores the events before
//! it**. Claims and changes increase `attempt`, so a holder that lost its claim finds another number and writes nothing. Events
//! are stored under their source and id, so a page that is read twice takes effect once.

use std::collections::HashSet;

use larder_model::cloudevents::CloudEvent;
use larder_model::feed_mapping::Page;
use larder_model::ids::{EventId, PartnerId};
use larder_model::time::{Clock, Millis};
use larder_model::{Feed, FeedSettings, Progress, StoredEvent, json};

use crate::db::{Lock, Row, Tx};
use crate::{Error, Result, Store, args, events};

const COLUMNS: &str = "partner_id, name, settings, sealed, attempt, next_cursor, etag, due_at_ms, good_at_ms, newest_at_ms, \
                       failures, error, items, duplicates, refused, last_refused, created_at_ms, updated_at_ms, lead";
/// The maximum number of events in one transaction.
const EVENTS_MAX: usize = 2_000;

/// The progress of a feed after a successful poll.
#[derive(Clone, Debug)]
pub struct Moved {
    pub holder: String,
    pub cursor: Option<String>,
    pub etag: Option<String>,
    /// When it is polled next, and when it is if the page contained new events.
    pub due_at_ms: Millis,
    pub again_at_ms: Millis,
}

/// The result of storing a page.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Received {
    /// Items that none of the feed's partners had stored.
    pub new: u64,
    pub duplicates: u64,
    pub refused: u64,
}

/// The part of a page that one transaction stores.
struct Part<'a> {
    feed: &'a Feed,
    events: &'a [CloudEvent],
    /// The new events of the parts before it.
    new_before: u64,
    /// Set for the last part, which moves the feed's cursor.
    page: Option<&'a Page>,
    moved: Option<&'a Moved>,
    clock: &'a Clock,
}

impl Store {
    /// Inserts a feed. `Conflict` if the owner already has one with this name.
    pub async fn insert_feed(&self, feed: &Feed) -> Result<()> {
        self.db
            .tx("insert_feed", feed, |tx, feed| {
                Box::pin(async move {
                    let Progress { attempt, due_at_ms, failures, items, duplicates, refused, .. } = &feed.progress;
                    let none = || None::<String>;
                    let row = args![
                        owner(feed),
                        &feed.name,
                        json(&feed.settings),
                        feed.sealed.clone(),
                        *attempt,
                        none(),
                        none(),
                        *due_at_ms,
                        none(),
                        none(),
                        *failures,
                        none(),
                        *items,
                        *duplicates,
                        *refused,
                        none(),
                        feed.created_at_ms,
                        feed.updated_at_ms,
                        feed.lead.clone()
                    ];
                    tx.insert(&format!("-- insert_feed\n INSERT INTO feeds ({COLUMNS})"), vec![row]).await
                })
            })
            .await
    }

    /// Replaces settings, secrets and the next poll's time, unless the feed has been changed since it was read. A poll in progress
    /// then has no effect.
    pub async fn update_feed(&self, old: &Feed, new: &Feed) -> Result<()> {
        const UPDATE: &str = "-- update_feed
            UPDATE feeds SET settings = ?, sealed = ?, attempt = attempt + 1, lease_holder = NULL, next_cursor = ?, etag = ?,
                due_at_ms = ?, failures = 0, error = NULL, updated_at_ms = ?, lead = ?
            WHERE partner_id = ? AND name = ? AND updated_at_ms = ?";
        let Progress { cursor, etag, due_at_ms, .. } = &new.progress;
        let args = args![
            json(&new.settings),
            new.sealed.clone(),
            cursor.clone(),
            etag.clone(),
            *due_at_ms,
            new.updated_at_ms,
            new.lead.clone(),
            owner(old),
            &old.name,
            old.updated_at_ms
        ];
        self.db.run(UPDATE, args).await?.exactly_one("feed")
    }

    pub async fn delete_feed(&self, owner: Option<&PartnerId>, name: &str) -> Result<()> {
        const DELETE: &str = "-- delete_feed
            DELETE FROM feeds WHERE partner_id = ? AND name = ?";
        self.db.run(DELETE, args![column(owner), name]).await?.exactly_one("feed")
    }

    /// The feeds of this owner, by name.
    pub async fn feeds(&self, owner: Option<&PartnerId>) -> Result<Vec<Feed>> {
        let sql = format!("-- list_feeds\n SELECT {COLUMNS} FROM feeds WHERE partner_id = ? ORDER BY name");
        self.db.rows(&sql, args![column(owner)]).await?.iter().map(feed).collect()
    }

    pub async fn feed(&self, owner: Option<&PartnerId>, name: &str) -> Result<Option<Feed>> {
        let sql = format!("-- find_feed\n SELECT {COLUMNS} FROM feeds WHERE partner_id = ? AND name = ?");
        self.db.row(&sql, args![column(owner), name]).await?.as_ref().map(feed).transpose()
    }

    /// The feeds of all owners, for the operator's metrics.
    pub async fn all_feeds(&self) -> Result<Vec<Feed>> {
        let sql = format!("-- all_feeds\n SELECT {COLUMNS} FROM feeds ORDER BY partner_id, name");
        self.db.rows(&sql, vec![]).await?.iter().map(feed).collect()
    }

    /// The feeds that are due, across all owners, the most overdue first.
    pub async fn due_feeds(&self, now: Millis, limit: u32) -> Result<Vec<Feed>> {
        let sql = format!(
            "-- due_feeds
            SELECT {COLUMNS} FROM feeds WHERE due_at_ms <= ? ORDER BY due_at_ms LIMIT {limit}"
        );
        self.db.rows(&sql, args![now]).await?.iter().map(feed).collect()
    }

    /// Returns when the next feed is due, across all owners.
    pub async fn next_feed(&self) -> Result<Option<Millis>> {
        const NEXT: &str = "-- next_feed
            SELECT MIN(due_at_ms) FROM feeds";
        self.db.row(NEXT, vec![]).await?.map_or(Ok(None), |row| row.maybe_int(0))
    }

    /// Claims a feed for a poll until `until`. Returns `false` if another process has claimed it or the feed was changed meanwhile.
    pub async fn claim_feed(&self, feed: &mut Feed, holder: &str, until: Millis) -> Result<bool> {
        const CLAIM: &str = "-- claim_feed
            UPDATE feeds SET attempt = attempt + 1, lease_holder = ?, due_at_ms = ?
            WHERE partner_id = ? AND name = ? AND attempt = ? AND due_at_ms = ?";
        let (attempt, due) = (feed.progress.attempt, feed.progress.due_at_ms);
        let claimed = self.db.run(CLAIM, args![holder, until, owner(feed), &feed.name, attempt, due]).await?.0 == 1;
        feed.progress.attempt += i64::from(claimed);
        Ok(claimed)
    }

    /// Stores the events of a page for each partner of the feed, and moves the cursor if the feed was polled. Returns `None`, and
    /// writes nothing of the last part, if the claim was lost or the feed was deleted.
    pub async fn take_page(
        &self,
        feed: &Feed,
        page: &Page,
        moved: Option<&Moved>,
        clock: &Clock,
    ) -> Result<Option<Received>> {
        let at_once = (EVENTS_MAX / feed.receivers().len().max(1)).max(1);
        let mut taken = Received { refused: page.refused, ..Received::default() };
        let mut rest = &page.events[..];
        loop {
            let (events, later) = rest.split_at(rest.len().min(at_once));
            let page = later.is_empty().then_some(page);
            let part = Part { feed, events, new_before: taken.new, page, moved, clock };
            let done = match self.take_part(&part).await {
                // Another process stored one of them at the same moment, or the answer of the commit was lost: now it is stored.
                Err(Error::Conflict { .. } | Error::Unknown(_)) => self.take_part(&part).await?,
                done => done?,
            };
            let Some(done) = done else { return Ok(None) };
            taken.new += done.new;
            taken.duplicates += done.duplicates;
            rest = later;
            if page.is_some() {
                return Ok(Some(taken));
            }
        }
    }

    async fn take_part(&self, part: &Part<'_>) -> Result<Option<Received>> {
        self.db
            .tx("take_feed_page", part, |tx, part| {
                Box::pin(async move {
                    let Some(now) = lock(tx, part).await? else { return Ok(None) };
                    let taken = deliver(tx, part, &now).await?;
                    count(tx, part, &now, taken).await?;
                    if let (Some(moved), Some(_)) = (part.moved, part.page) {
                        let due = if part.new_before + taken.new > 0 { moved.again_at_ms } else { moved.due_at_ms };
                        go_on(tx, part, moved, due).await?;
                    }
                    Ok(Some(taken))
                })
            })
            .await
    }

    /// Records why a poll failed, and when the next one is due. Returns `false` if the claim was lost.
    pub async fn fail_feed(&self, feed: &Feed, holder: &str, why: &str, due: Millis) -> Result<bool> {
        const FAIL: &str = "-- fail_feed
            UPDATE feeds SET lease_holder = NULL, due_at_ms = ?, failures = failures + 1, error = ?
            WHERE partner_id = ? AND name = ? AND attempt = ? AND lease_holder = ?";
        let args = args![due, why, owner(feed), &feed.name, feed.progress.attempt, holder];
        Ok(self.db.run(FAIL, args).await?.0 == 1)
    }

    /// Releases the feeds that this holder has claimed; `None` releases all claims, because all holders are dead.
    pub async fn end_feed_leases(&self, holder: Option<&str>, now: Millis) -> Result<u64> {
        const END: &str = "-- end_feed_leases
            UPDATE feeds SET lease_holder = NULL, due_at_ms = ?, attempt = attempt + 1
            WHERE lease_holder IS NOT NULL AND lease_holder = COALESCE(?, lease_holder)";
        Ok(self.db.run(END, args![now, holder]).await?.0)
    }
}

/// Reads and locks the feed; `None` if it was deleted or, for a poll, if the claim was lost.
async fn lock(tx: &mut Tx<'_>, part: &Part<'_>) -> Result<Option<Feed>> {
    let sql = format!(
        "-- lock_feed
        SELECT {COLUMNS}, lease_holder FROM feeds WHERE partner_id = ? AND name = ?"
    );
    let rows = tx.locked(Lock::Exclusive, &sql, args![owner(part.feed), &part.feed.name]).await?;
    let Some(row) = rows.first() else { return Ok(None) };
    let now = feed(row)?;
    if let Some(moved) = part.moved
        && (now.progress.attempt != part.feed.progress.attempt
            || row.maybe_text(19)?.as_deref() != Some(moved.holder.as_str()))
    {
        return Ok(None);
    }
    Ok(Some(now))
}

/// Stores the events for each partner that currently receives them.
async fn deliver(tx: &mut Tx<'_>, part: &Part<'_>, now: &Feed) -> Result<Received> {
    let created_at_ms = part.clock.now_ms();
    let mut rows = Vec::with_capacity(part.events.len() * now.receivers().len());
    for partner in now.receivers() {
        rows.extend(part.events.iter().map(|event| StoredEvent {
            partner: partner.clone(),
            row: EventId::generate(part.clock),
            id: event.id.clone(),
            source: event.source.clone(),
            kind: event.kind.clone(),
            subject: event.subject.clone(),
            time: event.time.clone(),
            data_content_type: event.data_content_type.clone(),
            data: event.data.clone().into(),
            attributes: event.attributes.clone(),
            depth: 0,
            root: None,
            created_at_ms,
        }));
    }
    let stored = events::insert_unknown(tx, &rows).await?;
    let new = stored.iter().enumerate().filter(|(_, answer)| !answer.duplicate);
    let new: HashSet<usize> = new.map(|(at, _)| at % part.events.len()).collect();
    let (new, all) = (new.len() as u64, part.events.len() as u64);
    Ok(Received { new, duplicates: all - new, refused: 0 })
}

async fn count(tx: &mut Tx<'_>, part: &Part<'_>, now: &Feed, taken: Received) -> Result<()> {
    const COUNT: &str = "-- count_feed
        UPDATE feeds SET items = items + ?, duplicates = duplicates + ?, refused = refused + ?,
            last_refused = COALESCE(?, last_refused), newest_at_ms = ?, good_at_ms = ?
        WHERE partner_id = ? AND name = ?";
    let refused = part.page.map_or(0, |page| page.refused);
    let last_refused = part.page.and_then(|page| page.last_refused.clone());
    let newest = now.progress.newest_at_ms.max(part.page.and_then(|page| page.newest_at_ms));
    let at = part.clock.now_ms();
    let args = args![taken.new, taken.duplicates, refused, last_refused, newest, at, owner(now), &now.name];
    tx.run(COUNT, args).await?.exactly_one("feed")
}

async fn go_on(tx: &mut Tx<'_>, part: &Part<'_>, moved: &Moved, due: Millis) -> Result<()> {
    const MOVE: &str = "-- move_feed
        UPDATE feeds SET lease_holder = NULL, next_cursor = ?, etag = ?, due_at_ms = ?, failures = 0, error = NULL
        WHERE partner_id = ? AND name = ?";
    let args = args![moved.cursor.clone(), moved.etag.clone(), due, owner(part.feed), &part.feed.name];
    tx.run(MOVE, args).await?.exactly_one("feed")
}

fn owner(feed: &Feed) -> &str {
    column(feed.owner.as_ref())
}

fn column(owner: Option<&PartnerId>) -> &str {
    owner.map_or("", PartnerId::as_str)
}

/// The partners' feeds that poll this upstream, of one partner or of all.
pub(super) async fn polling(tx: &mut Tx<'_>, partner: Option<&PartnerId>, upstream: &str) -> Result<Vec<Feed>> {
    let of = if partner.is_some() { "= ?" } else { "<> ''" };
    let sql = format!("-- feeds_of_partners\n SELECT {COLUMNS} FROM feeds WHERE partner_id {of}");
    let args = partner.map_or_else(Vec::new, |partner| args![partner]);
    let feeds = tx.locked(Lock::Exclusive, &sql, args).await?.iter().map(feed).collect::<Result<Vec<_>>>()?;
    let polls = |feed: &Feed| feed.settings.poll.as_ref().is_some_and(|poll| poll.upstream == upstream);
    Ok(feeds.into_iter().filter(polls).collect())
}

/// Records where its upstream leads, as it was approved.
pub(super) async fn set_lead(tx: &mut Tx<'_>, feed: &Feed, lead: &str) -> Result<()> {
    const SET: &str = "-- set_lead_of_feed
        UPDATE feeds SET lead = ? WHERE partner_id = ? AND name = ?";
    tx.run(SET, args![lead, owner(feed), &feed.name]).await?.exactly_one("feed")
}

fn feed(row: &Row) -> Result<Feed> {
    let owner = row.text(0)?;
    Ok(Feed {
        owner: if owner.is_empty() { None } else { Some(row.id(0, "feeds.partner_id")?) },
        name: row.text(1)?,
        settings: row.json::<FeedSettings>(2, "feeds.settings")?,
        sealed: row.maybe_bytes(3)?,
        progress: Progress {
            attempt: row.int(4)?,
            cursor: row.maybe_text(5)?,
            etag: row.maybe_text(6)?,
            due_at_ms: row.maybe_int(7)?,
            good_at_ms: row.maybe_int(8)?,
            newest_at_ms: row.maybe_int(9)?,
            failures: row.int(10)? as u32,
            error: row.maybe_text(11)?,
            items: row.int(12)? as u64,
            duplicates: row.int(13)? as u64,
            refused: row.int(14)? as u64,
            last_refused: row.maybe_text(15)?,
        },
        created_at_ms: row.int(16)?,
        updated_at_ms: row.int(17)?,
        lead: row.maybe_text(18)?,
    })
}
