//! API keys of partners.
//!
//! The text of a key is `larder_<key id>_<64 hex digits>_<8 hex digits>`, made by [`KeyText::generate`]. The last part is a
//! checksum: a mistyped key is refused before any look-up, and scanners can find leaked keys. Only the SHA-256 of the whole
//! text is stored.
//!
//! The rule: **a key acts for its own partner only**. [`verify`] looks it up among the keys of the partner that the request
//! names, so a key of another partner is unknown there.

use hex::FromHex;
use larder_model::ApiKey;
use larder_model::audit::{Action, Actor};
use larder_model::ids::{AdministratorId, KeyId, PartnerId};
use larder_model::time::{Clock, Millis};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq;

use crate::audit::{self, Change, fields};
use crate::common::Common;
use crate::directory::Tenant;
use crate::error::{Error, Result};

const PREFIX: &str = "larder_";
/// Of one partner; all of them are in memory.
const KEYS_MAX: usize = 100;

/// What a new key is given.
pub struct NewKey {
    pub name: String,
    pub scopes: Vec<String>,
    pub expires_at_ms: Option<Millis>,
    /// Who uses it: they are the same as their key where two persons are needed.
    pub of: Option<AdministratorId>,
}

/// Creates a key. Returns its text too, which is shown once and never stored.
pub async fn create(common: &Common, partner: &PartnerId, new: NewKey) -> Result<(ApiKey, String)> {
    if common.store.keys(partner).await?.len() >= KEYS_MAX {
        return Err(Error::TooMany { of: "partner", most: KEYS_MAX as u64, what: "keys" });
    }
    if let Some(person) = &new.of
        && common.store.administrator(person).await?.is_none_or(|found| found.role_in(partner).is_none())
    {
        return Err(Error::invalid("administratorId", "is nobody who has a role in this partner"));
    }
    let KeyText { id, text } = KeyText::generate(&common.clock);
    let key = ApiKey {
        id,
        partner: partner.clone(),
        name: new.name,
        secret_hash: hex::encode(hash(&text)),
        scopes: new.scopes,
        created_at_ms: common.clock.now_ms(),
        expires_at_ms: new.expires_at_ms,
    };
    let change = Change::new(Action::KeyCreate, key.id.as_str()).after(fields::key(&key, new.of.as_ref()));
    audit::of_installation(common, [partner], change).insert_key(&key, maker(new.of).as_deref()).await?;
    common.directory.reload(partner).await?;
    Ok((key, text))
}

pub async fn delete(common: &Common, partner: &PartnerId, id: &KeyId) -> Result<()> {
    let old = common.store.keys(partner).await?.into_iter().find(|key| key.id == *id);
    let change =
        Change::new(Action::KeyDelete, id.as_str()).before(old.map(|old| fields::key(&old, None)).unwrap_or_default());
    audit::of_installation(common, [partner], change).delete_key(partner, id).await?;
    Ok(common.directory.reload(partner).await?)
}

/// Who is behind a key, for the rule of two persons. The operator's key is nobody's.
fn maker(of: Option<AdministratorId>) -> Option<String> {
    if let Some(person) = of {
        return Some(audit::id_of(&person));
    }
    let actor = audit::actor();
    (actor != Actor::operator() && !actor.id.is_empty()).then_some(actor.id)
}

/// Why a key is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    #[error("The key is of an unknown kind")]
    OtherKind,
    #[error("The key is not one of this project")]
    Unknown,
    #[error("The key has expired")]
    Expired,
}

/// The key with this text, if it is a key of this partner and has not expired.
pub fn verify<'t>(tenant: &'t Tenant, text: &str, now: Millis) -> std::result::Result<&'t ApiKey, Denied> {
    if !text.starts_with(PREFIX) {
        return Err(Denied::OtherKind);
    }
    let key = KeyText::id_of(text).and_then(|id| tenant.keys.get(&id)).ok_or(Denied::Unknown)?;
    let stored = <[u8; 32]>::from_hex(&key.secret_hash).map_err(|_| Denied::Unknown)?;
    if !is_text(text, &stored) {
        return Err(Denied::Unknown);
    }
    if key.expires_at_ms.is_some_and(|at| at <= now) { Err(Denied::Expired) } else { Ok(key) }
}

/// The SHA-256 of a key's text: the only form in which a key is stored.
pub fn hash(text: &str) -> [u8; 32] {
    Sha256::digest(text.as_bytes()).into()
}

/// Does this text have this hash? Takes the same time wherever they differ.
pub fn is_text(text: &str, stored: &[u8; 32]) -> bool {
    hash(text).ct_eq(stored).into()
}

/// The text of a new key.
pub struct KeyText {
    pub id: KeyId,
    pub text: String,
}

impl KeyText {
    pub fn generate(clock: &Clock) -> KeyText {
        let id = KeyId::generate(clock);
        KeyText { text: text(PREFIX, id.as_str()), id }
    }

    /// The public id in a key's text; `None` if the text is damaged.
    pub fn id_of(text: &str) -> Option<KeyId> {
        id_of(PREFIX, text)?.parse().ok()
    }
}

/// A new text with this id.
pub(crate) fn text(prefix: &str, id: &str) -> String {
    let mut secret = [0; 32];
    getrandom::fill(&mut secret).expect("the operating system gives random bytes");
    let body = format!("{prefix}{id}_{}", hex::encode(secret.as_slice()));
    format!("{body}_{}", checksum(&body))
}

/// The id in a text with this prefix; `None` if the text is damaged.
pub(crate) fn id_of<'t>(prefix: &str, text: &'t str) -> Option<&'t str> {
    let (body, sum) = text.rsplit_once('_')?;
    if sum != checksum(body) {
        return None;
    }
    let (id, secret) = body.strip_prefix(prefix)?.rsplit_once('_')?;
    <[u8; 32]>::from_hex(secret).ok()?;
    Some(id)
}

fn checksum(body: &str) -> String {
    hex::encode(&hash(body)[..4])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_is_read_from_intact_key_texts_only() {
        let key = KeyText::generate(&Clock::System);
        assert_eq!(KeyText::id_of(&key.text), Some(key.id.clone()));
        assert_eq!(key.text.len(), "larder_".len() + 26 + 1 + 64 + 1 + 8);
        for at in 0..key.text.len() {
            let mut bytes = key.text.clone().into_bytes();
            bytes[at] = if bytes[at] == b'0' { b'1' } else { b'0' };
            assert_eq!(KeyText::id_of(std::str::from_utf8(&bytes).unwrap()), None, "byte {at}");
        }
        for text in ["", "larder_", "larder___", &key.text[..key.text.len() - 9], &format!("{}0", key.text)] {
            assert_eq!(KeyText::id_of(text), None, "{text}");
        }
    }

    #[test]
    fn generated_keys_differ() {
        let (a, b) = (KeyText::generate(&Clock::System), KeyText::generate(&Clock::System));
        assert_ne!(a.id, b.id);
        assert_ne!(hash(&a.text), hash(&b.text));
    }
}
