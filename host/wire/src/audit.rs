//! Audit records: who changed what.

use larder_model::audit::AuditRecord;
use larder_model::ids::PartnerId;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::datetime;
use crate::pages::{Row, page};

/// One change, as it was recorded with it.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AuditObject {
    #[serde(rename = "$id")]
    pub id: String,
    #[serde(rename = "$createdAt")]
    pub created_at: String,
    /// Counts the records of the partner, or of the installation, from 1 and without a gap.
    pub number: u64,
    /// `person`, `key`, `system` (Larder by itself) or `nobody` (nobody had signed in).
    pub actor_kind: String,
    /// A key, or `admin-…` and `run-…`, as in the history of grants; or empty.
    pub actor_id: String,
    /// As it was then.
    pub actor_name: String,
    /// Such as `function.update` or `session.sign_in_failed`.
    pub action: String,
    /// What it was done to: `function`, `key`, `dead_letter` and so on.
    pub subject_kind: String,
    /// Its id or name.
    pub subject_id: String,
    /// In the records of the installation: the partner that it concerns, or empty.
    pub partner_id: String,
    /// What differed before; empty: it was not there, or nothing is kept of it. Secrets are never in it.
    #[schema(value_type = Object)]
    pub before: Value,
    /// What differs afterwards; empty: it is gone.
    #[schema(value_type = Object)]
    pub after: Value,
    /// The client's address, or empty.
    pub address: String,
    /// `api`, `console`, `cli` (a client that calls itself the command line) or `inside`.
    pub door: String,
    /// The same for all records of one request, which was answered with it as `X-Request-Id`.
    pub request_id: String,
}

page!(AuditList { total: u64, records: AuditObject });

impl Row for AuditObject {
    fn id(&self) -> &str {
        &self.id
    }
}

/// An object, if the text is one.
fn state(text: &str) -> Value {
    serde_json::from_str(text).ok().filter(Value::is_object).unwrap_or_else(|| Value::Object(Default::default()))
}

impl From<AuditRecord> for AuditObject {
    fn from(record: AuditRecord) -> AuditObject {
        let AuditRecord { id, number, about, entry, .. } = record;
        AuditObject {
            id,
            created_at: datetime(entry.created_at_ms),
            number: number as u64,
            actor_kind: entry.actor.kind.word().into(),
            actor_id: entry.actor.id,
            actor_name: entry.actor.name,
            subject_kind: entry.action.subject_kind().into(),
            action: entry.action.word().into(),
            subject_id: entry.subject,
            partner_id: about.as_ref().map(PartnerId::to_string).unwrap_or_default(),
            before: state(&entry.before),
            after: state(&entry.after),
            address: entry.address,
            door: entry.door.word().into(),
            request_id: entry.request,
        }
    }
}
