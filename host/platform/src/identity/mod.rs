//! End users: how the tokens of a partner's issuer become [`EndUser`]s.
//!
//! * [`set`], [`delete`]: the partner's settings. [`authenticate`]: a token → an end user, or a refusal.
//! * [`tokens`]: what a good token is. [`keys`]: the issuer's keys. [`crypto`]: signatures.

mod crypto;
pub mod keys;
pub(crate) mod tokens;

use std::sync::Arc;

use larder_egress::Client;
use larder_model::audit::Action;
use larder_model::ids::PartnerId;
use larder_model::{EndUser, Identity, IdentitySettings};

use crate::audit::{self, Change, fields};
use crate::common::context;
use crate::directory::Tenant;
use crate::error::{Error, Result};
use crate::identity::keys::Keys;
pub use crate::identity::tokens::Why;

context! {
    /// The context of what knows end users.
    Identities {
        egress: Client,
    }
}

/// The identity settings in a snapshot.
pub struct IdentityView {
    pub identity: Identity,
    pub keys: Arc<Keys>,
}

impl IdentityView {
    /// `old` is that of the snapshot before, whose keys are used on if they are the same.
    pub(crate) fn new(identity: Identity, old: Option<&IdentityView>) -> Option<IdentityView> {
        let same = old.filter(|old| old.keys.are_of(&identity.settings)).map(|old| old.keys.clone());
        let keys = match same {
            Some(keys) => keys,
            None => match Keys::new(&identity.partner, &identity.settings) {
                Ok(keys) => Arc::new(keys),
                Err(why) => {
                    tracing::error!(partner.id = %identity.partner, why, "stored identity settings are not usable");
                    return None;
                }
            },
        };
        Some(IdentityView { identity, keys })
    }
}

/// Why there is no end user. One text for all bad tokens: the sender learns nothing about the settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    #[error("The token is not one of an end user of this project, or is no longer valid: sign in again")]
    Token,
    #[error("The keys of the project's issuer could not be fetched yet")]
    NoKeys,
}

/// The end user that a token names.
pub async fn authenticate(ctx: &Identities, view: &IdentityView, token: &str) -> std::result::Result<EndUser, Denied> {
    let checked = check(ctx, view, token).await;
    let result = match &checked {
        Ok(Ok(_)) => "good",
        Ok(Err(why)) => why.word(),
        Err(_) => "no_keys",
    };
    metrics::counter!("larder_tokens_total", "result" => result).increment(1);
    checked?.map_err(|why| {
        tracing::debug!(partner.id = %view.identity.partner, why = why.word(), "a token was refused");
        Denied::Token
    })
}

/// The same with the reason, for those who may change the settings.
pub async fn check(
    ctx: &Identities,
    view: &IdentityView,
    token: &str,
) -> std::result::Result<std::result::Result<EndUser, Why>, Denied> {
    let set = view.keys.any(ctx).await.ok_or(Denied::NoKeys)?;
    let verify = |set: &keys::KeySet| tokens::verify(&view.identity.settings, set, token, ctx.clock.now_ms());
    Ok(match verify(&set) {
        Err(Why::UnknownKey) => match view.keys.newer(ctx, &set).await {
            Some(newer) => verify(&newer),
            None => Err(Why::UnknownKey),
        },
        verified => verified,
    })
}

/// Sets how end users prove who they are, and fetches the keys. Whether that works is in [`Keys::tried`].
pub async fn set(ctx: &Identities, partner: &PartnerId, settings: IdentitySettings, by: &str) -> Result<()> {
    settings.check().map_err(|(name, why)| Error::invalid(name, why))?;
    let now = ctx.clock.now_ms();
    let old = ctx.store.identity(partner).await?;
    let change = Change::new(Action::IdentitySet, partner.as_str());
    let before = old.as_ref().map(|old| fields::identity(&old.settings)).unwrap_or_default();
    let change = change.from_to(before, fields::identity(&settings));
    let created_at_ms = old.map_or(now, |old| old.created_at_ms);
    let identity = Identity { partner: partner.clone(), settings, created_at_ms, updated_at_ms: now };
    audit::of(ctx, partner.clone(), change).put_identity(&identity).await?;
    ctx.directory.reload(partner).await?;
    tracing::info!(
        partner.id = %partner, key.id = by, issuer = identity.settings.issuer, jwks_url = identity.settings.jwks_url,
        "the identity settings of partner {partner} were set"
    );
    if let Some(view) = ctx.directory.tenant(partner).and_then(|tenant| tenant.identity.clone()) {
        view.keys.fetch_now(ctx).await;
    }
    Ok(())
}

/// From then on no token is good.
pub async fn delete(ctx: &Identities, partner: &PartnerId, by: &str) -> Result<()> {
    let old = ctx.store.identity(partner).await?;
    let change = Change::new(Action::IdentityDelete, partner.as_str());
    let change = change.before(old.map(|old| fields::identity(&old.settings)).unwrap_or_default());
    audit::of(ctx, partner.clone(), change).delete_identity(partner).await?;
    ctx.directory.reload(partner).await?;
    tracing::info!(partner.id = %partner, key.id = by, "the identity settings of partner {partner} were deleted");
    Ok(())
}

/// The partner's settings.
pub fn find(tenant: &Tenant) -> Result<&IdentityView> {
    Ok(tenant.identity.as_deref().ok_or(larder_store::Error::NotFound { what: "identity" })?)
}
