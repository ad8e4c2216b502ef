//! Feeds, and how far each has come.
//!
//! The rule: **a cursor moves only under the claim that it was read under, in the transaction that stores what lies before
//! it**. Claims and changes count `attempt` up, so whoever was overtaken finds another number and writes nothing. What
//! came in is stored under its source and id, so a page that is read twice takes effect once.

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
/// Events of one transaction.
const EVENTS_MAX: usize = 2_000;

/// What becomes of a feed after a poll that went well.
#[derive(Clone, Debug)]
pub struct Moved {
    pub holder: String,
    pub cursor: Option<String>,
    pub etag: Option<String>,
    /// When it is polled next, and when it is if the page brought something new.
    pub due_at_ms: Millis,
    pub again_at_ms: Millis,
}

/// What came of a page.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Received {
    /// Items that nobody of the feed's partners had.
    pub new: u64,
    pub duplicates: u64,
    pub refused: u64,
}

/// A part of a page for one transaction.
struct Part<'a> {
    feed: &'a Feed,
    events: &'a [CloudEvent],
    /// What the parts before it brought.
    new_before: u64,
    /// Of the last part, with which the feed moves on.
    page: Option<&'a Page>,
    moved: Option<&'a Moved>,
    clock: &'a Clock,
}

impl Store {
    /// `Conflict` if the owner has one of this name already.
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

    /// Replaces settings, secrets and place in the queue, unless somebody else has changed it since it was read. A poll that
    /// is under way comes to nothing.
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

    /// Those of this owner, by name.
    pub async fn feeds(&self, owner: Option<&PartnerId>) -> Result<Vec<Feed>> {
        let sql = format!("-- list_feeds\n SELECT {COLUMNS} FROM feeds WHERE partner_id = ? ORDER BY name");
        self.db.rows(&sql, args![column(owner)]).await?.iter().map(feed).collect()
    }

    pub async fn feed(&self, owner: Option<&PartnerId>, name: &str) -> Result<Option<Feed>> {
        let sql = format!("-- find_feed\n SELECT {COLUMNS} FROM feeds WHERE partner_id = ? AND name = ?");
        self.db.row(&sql, args![column(owner), name]).await?.as_ref().map(feed).transpose()
    }

    /// Of all owners: for the operator's figures.
    pub async fn all_feeds(&self) -> Result<Vec<Feed>> {
        let sql = format!("-- all_feeds\n SELECT {COLUMNS} FROM feeds ORDER BY partner_id, name");
        self.db.rows(&sql, vec![]).await?.iter().map(feed).collect()
    }

    /// Feeds to be polled, of all owners, the most overdue first.
    pub async fn due_feeds(&self, now: Millis, limit: u32) -> Result<Vec<Feed>> {
        let sql = format!(
            "-- due_feeds
            SELECT {COLUMNS} FROM feeds WHERE due_at_ms <= ? ORDER BY due_at_ms LIMIT {limit}"
        );
        self.db.rows(&sql, args![now]).await?.iter().map(feed).collect()
    }

    /// When the next feed is to be polled, of all owners.
    pub async fn next_feed(&self) -> Result<Option<Millis>> {
        const NEXT: &str = "-- next_feed
            SELECT MIN(due_at_ms) FROM feeds";
        self.db.row(NEXT, vec![]).await?.map_or(Ok(None), |row| row.maybe_int(0))
    }

    /// Takes the right to poll a feed until then. `false` if somebody else has it, or the feed was changed meanwhile.
    pub async fn claim_feed(&self, feed: &mut Feed, holder: &str, until: Millis) -> Result<bool> {
        const CLAIM: &str = "-- claim_feed
            UPDATE feeds SET attempt = attempt + 1, lease_holder = ?, due_at_ms = ?
            WHERE partner_id = ? AND name = ? AND attempt = ? AND due_at_ms = ?";
        let (attempt, due) = (feed.progress.attempt, feed.progress.due_at_ms);
        let claimed = self.db.run(CLAIM, args![holder, until, owner(feed), &feed.name, attempt, due]).await?.0 == 1;
        feed.progress.attempt += i64::from(claimed);
        Ok(claimed)
    }

    /// Stores what a page came to, for each partner of the feed, and moves the feed on if it was polled. `None`: the claim is
    /// not this one's any more, or the feed is gone, and nothing of the last part is written.
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
                // Another process stored one of them at the same moment, or the answer of the commit was lost: now it is there.
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

    /// Keeps why a poll came to nothing, and when the next one is. `false`: the claim is not this one's any more.
    pub async fn fail_feed(&self, feed: &Feed, holder: &str, why: &str, due: Millis) -> Result<bool> {
        const FAIL: &str = "-- fail_feed
            UPDATE feeds SET lease_holder = NULL, due_at_ms = ?, failures = failures + 1, error = ?
            WHERE partner_id = ? AND name = ? AND attempt = ? AND lease_holder = ?";
        let args = args![due, why, owner(feed), &feed.name, feed.progress.attempt, holder];
        Ok(self.db.run(FAIL, args).await?.0 == 1)
    }

    /// Lets others poll what this holder had claimed; `None`: what anybody had, because they are all dead.
    pub async fn end_feed_leases(&self, holder: Option<&str>, now: Millis) -> Result<u64> {
        const END: &str = "-- end_feed_leases
            UPDATE feeds SET lease_holder = NULL, due_at_ms = ?, attempt = attempt + 1
            WHERE lease_holder IS NOT NULL AND lease_holder = COALESCE(?, lease_holder)";
        Ok(self.db.run(END, args![now, holder]).await?.0)
    }
}

/// The feed as it is now, kept as it is; `None` if it is gone or, for a poll, not claimed by this one any more.
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

/// Stores the events for each partner that gets them now.
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

/// Partners' feeds that poll this upstream, of one partner or of all.
pub(super) async fn polling(tx: &mut Tx<'_>, partner: Option<&PartnerId>, upstream: &str) -> Result<Vec<Feed>> {
    let of = if partner.is_some() { "= ?" } else { "<> ''" };
    let sql = format!("-- feeds_of_partners\n SELECT {COLUMNS} FROM feeds WHERE partner_id {of}");
    let args = partner.map_or_else(Vec::new, |partner| args![partner]);
    let feeds = tx.locked(Lock::Exclusive, &sql, args).await?.iter().map(feed).collect::<Result<Vec<_>>>()?;
    let polls = |feed: &Feed| feed.settings.poll.as_ref().is_some_and(|poll| poll.upstream == upstream);
    Ok(feeds.into_iter().filter(polls).collect())
}

/// Where its upstream leads, as whoever may say so has it.
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
