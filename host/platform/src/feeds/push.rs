//! The push endpoint of a feed, and the secrets that authenticate its senders.

use bytes::Bytes;
use http::HeaderMap;
use larder_model::Feed;
use larder_model::time::Millis;
use larder_store::Received;

use crate::common::{Owner, Sealer};
use crate::error::{Error, Result};
use crate::feeds::{items, owner};
use crate::standard_webhooks::{Secret, Signed};
use crate::{backlog, bodies};

/// Of one push endpoint, including those that are being replaced.
const SECRETS_MAX: usize = 4;

/// Takes what a service pushes, if it is signed by Standard Webhooks under a secret of the feed: that is the credential.
/// Returns when the items are stored, once, however often they are sent; and why the last refused item was refused.
pub async fn take<B>(
    sealer: &Sealer,
    of: &Owner,
    name: &str,
    headers: &HeaderMap,
    body: B,
) -> Result<(Received, Option<String>)>
where
    B: http_body::Body<Data = Bytes> + Unpin,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let now = sealer.clock.now_ms();
    let signed = Signed::read(headers, now).map_err(|_| Error::PushRefused)?;
    // Before the body is read: a request without a feed or a signature costs nothing.
    let feed = sealer.store.feed(of.as_ref(), name).await?.ok_or(Error::PushRefused)?;
    let secrets = secrets(sealer, &feed)?;
    if secrets.is_empty() {
        return Err(Error::PushRefused);
    }
    let body = bodies::whole(body, sealer.settings.feeds.bytes_max).await?;
    if let Err(why) = signed.verify(&body, &secrets, now) {
        tracing::warn!(feed.name = %feed.name, feed.owner = owner(&feed), %why, "a push to feed {} was refused", feed.name);
        return Err(Error::PushRefused);
    }
    let page = items::read(sealer, &feed, &body).map_err(|why| Error::invalid("body", why))?;
    if let Some(tenant) = feed.owner.as_ref().and_then(|partner| sealer.directory.tenant(partner)) {
        backlog::admit_events(sealer, &tenant, 0).await??;
    }
    let received = items::take(sealer, &feed, &page, None).await?.ok_or(Error::PushRefused)?;
    Ok((received, page.last_refused))
}

/// Puts a new secret in front of those that the feed keeps. Returns its text if it was generated; a caller that gave one has it.
pub(super) fn put_first(
    sealer: &Sealer,
    feed: &mut Feed,
    given: Option<Secret>,
    mut kept: Vec<Secret>,
) -> Option<String> {
    let generated = given.is_none();
    let secret = given.unwrap_or_else(Secret::generate);
    let text = generated.then(|| secret.text.clone());
    // If the same one is given again, it is valid for as long as the new one.
    kept.retain(|known| known.text != secret.text);
    kept.insert(0, secret);
    seal(sealer, feed, &kept);
    text
}

/// The secrets that stay valid beside a new one, none of them for longer than `until`.
pub(super) fn still_valid(sealer: &Sealer, feed: &Feed, now: Millis, until: Millis) -> Result<Vec<Secret>> {
    let all = secrets(sealer, feed)?.into_iter();
    let kept =
        all.map(|secret| Secret { until_ms: Some(secret.until_ms.map_or(until, |known| known.min(until))), ..secret });
    Ok(kept.filter(|secret| secret.until_ms.is_none_or(|until| now < until)).take(SECRETS_MAX - 1).collect())
}

/// Encrypts the secrets again: what was read may be under a master key that is being replaced.
pub(super) fn reseal(sealer: &Sealer, feed: &mut Feed) -> Result<()> {
    let all = secrets(sealer, feed)?;
    seal(sealer, feed, &all);
    Ok(())
}

fn seal(sealer: &Sealer, feed: &mut Feed, secrets: &[Secret]) {
    feed.sealed = Some(sealer.secrets.seal(&feed.place(), larder_model::json(&secrets).as_bytes()));
}

/// The secrets of its push endpoint, the newest first.
fn secrets(sealer: &Sealer, feed: &Feed) -> Result<Vec<Secret>> {
    let Some(sealed) = &feed.sealed else { return Ok(vec![]) };
    let opened = sealer.secrets.open(&feed.place(), sealed)?;
    let parsed = serde_json::from_slice(&opened);
    let broken =
        |err: serde_json::Error| larder_store::Error::BadRow { table: "feeds", column: "sealed", why: err.to_string() };
    Ok(parsed.map_err(broken)?)
}
