//! Feeds: external services whose items become events of the partners that receive them.
//!
//! * [`larder_model::feed_mapping`]: items → CloudEvents.
//! * [`crate::jobs::feeds`] polls, in the scheduler. [`push`] takes what they push.
//!
//! Polled and pushed items both end in [`items::take`]. An item that arrives both ways takes effect once, under its source and
//! id. A service that fails, lies or never ends its answer stops only its own feed.

pub mod items;
pub mod push;

use std::time::Duration;

use larder_model::audit::Action;
use larder_model::time::Millis;
use larder_model::{Feed, FeedSettings, Progress};
use larder_signals::Work;

use self::push::{put_first, reseal, still_valid};
use crate::audit::{self, Change, fields};
use crate::common::{Common, Owner, Sealer};
use crate::error::{Error, Result};
use crate::quotas::{Cap, Exceeded};
use crate::standard_webhooks::Secret;

/// A feed after a change, and the text of a secret that was generated for it, which is shown once.
pub struct Changed {
    pub feed: Feed,
    pub secret: Option<String>,
}

/// The partner's id, or `operator`.
pub fn owner(feed: &Feed) -> &str {
    feed.owner.as_ref().map_or("operator", |partner| partner.as_str())
}

/// The feeds that an owner sees: its own, and for a partner those of the operator that deliver to it, unless it has one with
/// the same name.
pub async fn visible(common: &Common, owner: &Owner) -> Result<Vec<Feed>> {
    let mut all = common.store.feeds(owner.as_ref()).await?;
    if let Some(partner) = owner {
        for shared in common.store.feeds(None).await? {
            if shared.settings.partners.contains(partner) && !all.iter().any(|own| own.name == shared.name) {
                all.push(shared);
            }
        }
    }
    Ok(all)
}

/// The owner's feed of this name.
pub async fn own(common: &Common, owner: &Owner, name: &str) -> Result<Feed> {
    let found = common.store.feed(owner.as_ref(), name).await?;
    Ok(found.ok_or(larder_store::Error::NotFound { what: "feed" })?)
}

/// Creates a feed. `given` is the sender's own secret for pushes; without it one is generated.
pub async fn create(
    sealer: &Sealer,
    owner: Owner,
    name: String,
    settings: FeedSettings,
    given: Option<Secret>,
) -> Result<Changed> {
    check(sealer, &owner, &settings)?;
    let (most, has) = (sealer.settings.feeds.per_partner, sealer.store.feeds(owner.as_ref()).await?.len());
    if has >= most {
        return Err(Exceeded::new(Cap::Feeds, most as u64, has as u64).into());
    }
    let now = sealer.clock.now_ms();
    let due_at_ms = settings.poll.as_ref().map(|_| now);
    let progress = Progress { due_at_ms, ..Progress::default() };
    let lead = lead(sealer, &owner, &settings).await?;
    let mut feed = Feed { owner, name, settings, sealed: None, lead, progress, created_at_ms: now, updated_at_ms: now };
    let secret = match (feed.settings.push, given) {
        (true, given) => put_first(sealer, &mut feed, given, vec![]),
        (false, None) => None,
        (false, Some(_)) => {
            return Err(Error::invalid("secret", "applies only to a feed that accepts pushes: set `push`"));
        }
    };
    let change = Change::new(Action::FeedCreate, &feed.name).after(fields::feed(&feed.settings));
    audit::of(sealer, feed.owner.clone(), change).insert_feed(&feed).await.map_err(Error::FeedExists.on_conflict())?;
    sealer.signals.push(Work::Feeds);
    Ok(Changed { feed, secret })
}

/// Replaces the settings. A poll in progress has no effect any more.
pub async fn update(sealer: &Sealer, old: &Feed, settings: FeedSettings, given: Option<Secret>) -> Result<Changed> {
    check(sealer, &old.owner, &settings)?;
    let now = sealer.clock.now_ms();
    let lead = lead(sealer, &old.owner, &settings).await?;
    let mut new = Feed { settings, lead, updated_at_ms: now.max(old.updated_at_ms + 1), ..old.clone() };
    new.progress.due_at_ms = new.settings.poll.as_ref().map(|_| now);
    // A cursor and a tag belong to what was asked for.
    let asks = |feed: &Feed| feed.settings.poll.clone().map(|poll| (poll.upstream, poll.path, poll.cursor));
    if asks(old) != asks(&new) {
        (new.progress.cursor, new.progress.etag) = (None, None);
    }
    if given.is_some() && (old.settings.push || !new.settings.push) {
        let why = "can be set only when a feed starts to accept pushes; afterwards use POST /v1/feeds/NAME/secret";
        return Err(Error::invalid("secret", why));
    }
    let mut secret = None;
    if !new.settings.push {
        new.sealed = None;
    } else if old.settings.push {
        reseal(sealer, &mut new)?;
    } else {
        secret = put_first(sealer, &mut new, given, vec![]);
    }
    let change = Change::new(Action::FeedUpdate, &old.name);
    let change = change.from_to(fields::feed(&old.settings), fields::feed(&new.settings));
    audit::of(sealer, old.owner.clone(), change).update_feed(old, &new).await?;
    sealer.signals.push(Work::Feeds);
    Ok(Changed { feed: new, secret })
}

/// Replaces the secret for pushes. The present ones stay valid for the time `keep`.
pub async fn rotate_secret(sealer: &Sealer, old: &Feed, given: Option<Secret>, keep: Duration) -> Result<Changed> {
    if !old.settings.push {
        return Err(Error::NoPush);
    }
    let now = sealer.clock.now_ms();
    let kept = still_valid(sealer, old, now, now + keep.as_millis() as Millis)?;
    let mut new = Feed { updated_at_ms: now.max(old.updated_at_ms + 1), ..old.clone() };
    let secret = put_first(sealer, &mut new, given, kept);
    let change = Change::new(Action::FeedRotateSecret, &old.name)
        .after(serde_json::json!({ "oldSecretsEndAfterSeconds": keep.as_secs() }));
    audit::of(sealer, old.owner.clone(), change).update_feed(old, &new).await?;
    Ok(Changed { feed: new, secret })
}

pub async fn delete(common: &Common, owner: &Owner, name: &str) -> Result<()> {
    let old = common.store.feed(owner.as_ref(), name).await?;
    let change = Change::new(Action::FeedDelete, name);
    let change = change.before(old.map(|feed| fields::feed(&feed.settings)).unwrap_or_default());
    Ok(audit::of(common, owner.clone(), change).delete_feed(owner.as_ref(), name).await?)
}

fn check(common: &Common, owner: &Owner, settings: &FeedSettings) -> Result<()> {
    settings.check(owner.is_none()).map_err(|(name, why)| Error::invalid(&name, why))?;
    let tenants = common.directory.tenants();
    match settings.partners.iter().find(|partner| !tenants.contains_key(partner)) {
        Some(unknown) => Err(Error::invalid("partners", format!("there is no partner {unknown}"))),
        None => Ok(()),
    }
}

/// Where the upstream that the feed names leads. Feeds of the operator poll upstreams of the operator.
async fn lead(common: &Common, owner: &Owner, settings: &FeedSettings) -> Result<Option<String>> {
    match (owner, &settings.poll) {
        (Some(partner), Some(poll)) => Ok(Some(common.store.lead_of_upstream(partner, &poll.upstream).await?)),
        _ => Ok(None),
    }
}
