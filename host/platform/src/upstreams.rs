//! Named external services: a partner's own, and those of the operator, which all partners share. The text of a credential
//! goes in and never out.

use larder_egress::upstreams::Upstreams;
use larder_model::audit::Action;
use larder_model::upstreams::CredentialKind;
use larder_model::{Upstream, UpstreamSettings};
use larder_store::{Changer, OPERATORS};

use crate::audit::{self, Change, fields};
use crate::common::{Common, Owner, Sealer};
use crate::error::{Error, Result};
use crate::quotas::{Cap, Exceeded};

/// The upstreams that an owner sees: its own, and for a partner those of the operator.
pub async fn visible(common: &Common, owner: &Owner) -> Result<Vec<Upstream>> {
    let mut all = common.store.upstreams(owner.as_ref()).await?;
    if owner.is_some() {
        all.extend(common.store.upstreams(None).await?);
    }
    Ok(all)
}

/// The owner's upstream of this name.
pub async fn own(common: &Common, owner: &Owner, name: &str) -> Result<Upstream> {
    let found = common.store.upstreams(owner.as_ref()).await?.into_iter().find(|upstream| upstream.name == name);
    Ok(found.ok_or(larder_store::Error::NotFound { what: "upstream" })?)
}

/// Creates an upstream. `secret` is the text of its credential.
pub async fn create(
    sealer: &Sealer,
    owner: Owner,
    name: String,
    settings: UpstreamSettings,
    secret: Option<String>,
    by: &Changer<'_>,
) -> Result<Upstream> {
    check(&settings)?;
    let (most, has) =
        (sealer.settings.egress.upstreams_per_partner, sealer.store.upstreams(owner.as_ref()).await?.len());
    if has >= most {
        return Err(Exceeded::new(Cap::Upstreams, most as u64, has as u64).into());
    }
    let (now, secret_revision) = (sealer.clock.now_ms(), sealer.clock.ulid());
    let (created_at_ms, updated_at_ms) = (now, now);
    let mut upstream = Upstream { owner, name, settings, sealed: None, secret_revision, created_at_ms, updated_at_ms };
    if upstream.settings.credential != CredentialKind::None || secret.is_some() {
        let secret = secret.ok_or_else(|| Error::invalid("secret", "is required"))?;
        upstream.sealed = Some(seal(sealer, &upstream, &secret)?);
    }
    let change = Change::new(Action::UpstreamCreate, &upstream.name).after(fields::upstream(&upstream));
    let store = audit::of(sealer, upstream.owner.clone(), change);
    store.insert_upstream(&upstream, by).await.map_err(|err| {
        let operators = matches!(&err, larder_store::Error::Conflict { key } if key == OPERATORS);
        if operators { Error::OperatorsUpstream } else { Error::UpstreamExists.on_conflict()(err) }
    })?;
    changed(sealer, &upstream.owner).await?;
    Ok(upstream)
}

/// Replaces the settings and, if one is given, the secret.
pub async fn update(
    sealer: &Sealer,
    old: &Upstream,
    settings: UpstreamSettings,
    secret: Option<String>,
    by: &Changer<'_>,
) -> Result<Upstream> {
    check(&settings)?;
    let updated_at_ms = sealer.clock.now_ms().max(old.updated_at_ms + 1);
    let mut new = Upstream { settings, updated_at_ms, ..old.clone() };
    new.sealed = match secret {
        Some(secret) => {
            // The same text again is no change.
            if !is_sealed(sealer, old, &secret) {
                new.secret_revision = sealer.clock.ulid();
            }
            Some(seal(sealer, &new, &secret)?)
        }
        None if new.settings.credential == CredentialKind::None => None,
        // Encrypted again: what was read may be under a master key that is being replaced.
        None if old.place() == new.place() => {
            old.sealed.as_deref().map(|sealed| reseal(sealer, &new, sealed)).transpose()?
        }
        None => {
            let why = "must be given again: it belongs to the origin of the old `url` and to its kind of credential";
            return Err(Error::invalid("secret", why));
        }
    };
    let change = Change::new(Action::UpstreamUpdate, &old.name);
    let change = change.from_to(fields::upstream(old), fields::upstream(&new));
    audit::of(sealer, new.owner.clone(), change).update_upstream(old, &new, by).await?;
    changed(sealer, &new.owner).await?;
    Ok(new)
}

pub async fn delete(common: &Common, owner: &Owner, name: &str, by: &Changer<'_>) -> Result<()> {
    let old = common.store.upstreams(owner.as_ref()).await?.into_iter().find(|upstream| upstream.name == name);
    let change =
        Change::new(Action::UpstreamDelete, name).before(old.as_ref().map(fields::upstream).unwrap_or_default());
    audit::of(common, owner.clone(), change).delete_upstream(owner.as_ref(), name, by).await?;
    changed(common, owner).await
}

/// Makes a change take effect in the snapshots that contain the upstream.
async fn changed(common: &Common, owner: &Owner) -> Result<()> {
    match owner {
        Some(partner) => common.directory.reload(partner).await?,
        None => common.directory.reload_all().await?,
    }
    Ok(())
}

fn check(settings: &UpstreamSettings) -> Result<()> {
    let checked = settings.check().and_then(|()| Upstreams::check(settings));
    checked.map_err(|(name, why)| Error::invalid(name, why))
}

fn seal(sealer: &Sealer, upstream: &Upstream, secret: &str) -> Result<Vec<u8>> {
    upstream.settings.credential.check_secret(secret).map_err(|why| Error::invalid("secret", why))?;
    Ok(sealer.secrets.seal(&upstream.place().each_ref().map(String::as_str), secret.as_bytes()))
}

fn is_sealed(sealer: &Sealer, upstream: &Upstream, secret: &str) -> bool {
    let place = upstream.place();
    let opened =
        upstream.sealed.as_ref().map(|sealed| sealer.secrets.open(&place.each_ref().map(String::as_str), sealed));
    opened.is_some_and(|opened| opened.is_ok_and(|text| text[..] == *secret.as_bytes()))
}

fn reseal(sealer: &Sealer, upstream: &Upstream, sealed: &[u8]) -> Result<Vec<u8>> {
    let place = upstream.place();
    let place = place.each_ref().map(String::as_str);
    Ok(sealer.secrets.seal(&place, &sealer.secrets.open(&place, sealed)?))
}
