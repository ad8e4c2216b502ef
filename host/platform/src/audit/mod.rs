//! Audit: who is behind a change, and its record.
//!
//! * [`asked`] runs the work of one request. Whoever authenticates it says [`by`] whom.
//! * [`of`] gives the store with which a service makes its change: the record is written in the same transaction.
//! * [`fields`]: what of a subject is recorded, an allow-list for each kind.
//!
//! The actor goes with the request as its trace does, so that no service can be called without one: what runs outside of a
//! request was done by Larder itself (ADR 0062).

pub mod fields;

use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use larder_model::administrators::Administrator;
use larder_model::audit::{Action, Actor, ActorKind, AuditEntry, Door};
use larder_model::ids::{AdministratorId, PartnerId};
use larder_store::{Pending, Store};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::common::{Common, Owner};

/// Of a name, as the column takes it.
const NAME_CHARS_MAX: usize = 255;
/// Of what a subject was or is; the histories of grants and deployments have the whole.
const STATE_BYTES_MAX: usize = 16 << 10;

tokio::task_local! {
    static ASKED: Asked;
}

/// A request.
pub struct Asked {
    /// The same in all its records and in its answer.
    pub request: String,
    pub address: Option<IpAddr>,
    pub door: Door,
    actor: Mutex<Actor>,
}

impl Asked {
    pub fn new(request: String, address: Option<IpAddr>, door: Door) -> Asked {
        Asked { request, address, door, actor: Mutex::new(Actor::nobody()) }
    }
}

/// Does the work of a request.
pub async fn asked<F: Future>(asked: Asked, work: F) -> F::Output {
    ASKED.scope(asked, work).await
}

/// The request is this actor's.
pub fn by(actor: Actor) {
    let _ = ASKED.try_with(|asked| *asked.actor.lock().unwrap_or_else(PoisonError::into_inner) = actor);
}

/// Somebody who has signed in.
pub fn person(administrator: &Administrator) -> Actor {
    let id = id_of(&administrator.id);
    Actor { kind: ActorKind::Person, id, name: administrator.email.clone() }
}

/// The id of somebody among keys.
pub fn id_of(administrator: &AdministratorId) -> String {
    format!("admin-{administrator}")
}

/// Who is behind what is done now.
pub fn actor() -> Actor {
    let actor = ASKED.try_with(|asked| asked.actor.lock().unwrap_or_else(PoisonError::into_inner).clone());
    actor.unwrap_or_else(|_| Actor::system())
}

/// A change: what was done, to what.
pub struct Change<'a> {
    pub action: Action,
    pub subject: &'a str,
    /// `Null`: it was not there.
    pub before: Value,
    /// `Null`: it is gone, or nothing needs to be said.
    pub after: Value,
}

impl<'a> Change<'a> {
    pub fn new(action: Action, subject: &'a str) -> Change<'a> {
        Change { action, subject, before: Value::Null, after: Value::Null }
    }

    pub fn before(self, before: Value) -> Change<'a> {
        Change { before, ..self }
    }

    pub fn after(self, after: Value) -> Change<'a> {
        Change { after, ..self }
    }

    /// What differs between the two.
    pub fn from_to(self, mut before: Value, mut after: Value) -> Change<'a> {
        if let (Value::Object(old), Value::Object(new)) = (&mut before, &mut after) {
            let same: Vec<String> =
                old.iter().filter(|(key, value)| new.get(*key) == Some(*value)).map(|(key, _)| key.clone()).collect();
            for key in same {
                let _ = (old.remove(&key), new.remove(&key));
            }
        }
        Change { before, after, ..self }
    }

    fn pending(self, common: &Common, owners: Vec<Owner>) -> Pending {
        let blank = || (String::new(), String::new(), Door::Inside);
        let (request, address, door) = ASKED
            .try_with(|asked| {
                let address = asked.address.map(|address| address.to_canonical().to_string());
                (asked.request.clone(), address.unwrap_or_default(), asked.door)
            })
            .unwrap_or_else(|_| blank());
        let actor = actor();
        let entry = AuditEntry {
            actor: Actor { name: shortened(&actor.name), ..actor },
            action: self.action,
            subject: shortened(self.subject),
            before: text(&self.before),
            after: text(&self.after),
            address,
            door,
            request,
            created_at_ms: common.clock.now_ms(),
        };
        Pending::new(entry, owners.into_iter().map(|owner| (owner, common.clock.ulid())).collect())
    }
}

fn shortened(text: &str) -> String {
    text.chars().take(NAME_CHARS_MAX).collect()
}

fn text(state: &Value) -> String {
    match state {
        Value::Null => String::new(),
        state => match state.to_string() {
            text if text.len() <= STATE_BYTES_MAX => text,
            text => serde_json::json!({ "bytes": text.len(), "sha256": hex::encode(Sha256::digest(text.as_bytes())) })
                .to_string(),
        },
    }
}

/// The store with which a service makes this change of something that is the owner's.
pub fn of(common: &Common, owner: impl Into<Owner>, change: Change<'_>) -> Store {
    common.store.recording(change.pending(common, vec![owner.into()]))
}

/// The same for a change that the installation makes and that concerns partners: each has a record of it.
pub fn of_installation<'p>(
    common: &Common,
    partners: impl IntoIterator<Item = &'p PartnerId>,
    change: Change<'_>,
) -> Store {
    let owners = std::iter::once(None).chain(partners.into_iter().cloned().map(Some)).collect();
    common.store.recording(change.pending(common, owners))
}

/// Records something that changed nothing else, such as a refusal.
pub async fn record(common: &Common, owner: impl Into<Owner>, change: Change<'_>) -> larder_store::Result<()> {
    common.store.record(change.pending(common, vec![owner.into()])).await
}
