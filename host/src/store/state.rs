//! State of functions and enrolments. It is read here and written by [`super::ledger`] only.

use larder_runtime::imports::state::Version;

use super::db::{Row, Value};
use super::{Result, Store};
use crate::args;
use crate::ids::{EnrolmentId, FunctionId, PartnerId};

/// Whose state: a function's own, or that of one enrolment in it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Scope {
    pub partner: PartnerId,
    pub function: FunctionId,
    pub enrolment: Option<EnrolmentId>,
}

impl Scope {
    pub(super) fn enrolment_text(&self) -> &str {
        self.enrolment.as_ref().map_or("", EnrolmentId::as_str)
    }
}

pub(super) const GET: &str = "-- get_state
    SELECT value, version FROM state WHERE partner_id = ? AND function_id = ? AND enrolment_id = ? AND name = ?";
/// A range rather than a prefix match, so that the primary key serves it; the rows behind the prefix are cut off by the caller.
pub(super) const LIST: &str = "-- list_state
    SELECT name, value, version FROM state WHERE partner_id = ? AND function_id = ? AND enrolment_id = ? AND name >= ? AND name > ?
    ORDER BY name LIMIT ?";

/// The same without the values: is what a run was given still so?
pub(super) const LIST_VERSIONS: &str = "-- list_state_versions
    SELECT name, version FROM state WHERE partner_id = ? AND function_id = ? AND enrolment_id = ? AND name >= ? AND name > ?
    ORDER BY name LIMIT ?";

pub(super) const DELETE: &str = "-- delete_state
    DELETE FROM state WHERE partner_id = ? AND function_id = ? AND enrolment_id = ? AND name = ?";

impl Store {
    pub async fn get_state(&self, scope: &Scope, name: &str) -> Result<Option<(Vec<u8>, Version)>> {
        let row = self.db.row(GET, args![&scope.partner, &scope.function, scope.enrolment_text(), name]).await?;
        row.map(|row| Ok((row.bytes(0)?, row.text(1)?))).transpose()
    }

    pub async fn list_state(
        &self,
        scope: &Scope,
        prefix: &str,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<(String, Vec<u8>, Version)>> {
        listed(self.db.rows(LIST, list_args(scope, prefix, after, limit)).await?, prefix)
    }
}

pub(super) fn list_args(scope: &Scope, prefix: &str, after: Option<&str>, limit: u32) -> Vec<Value> {
    args![&scope.partner, &scope.function, scope.enrolment_text(), prefix, after.unwrap_or(""), limit]
}

pub(super) fn listed(rows: Vec<Row>, prefix: &str) -> Result<Vec<(String, Vec<u8>, Version)>> {
    let mut found = Vec::with_capacity(rows.len());
    for row in rows {
        let name = row.text(0)?;
        if !name.starts_with(prefix) {
            break;
        }
        found.push((name, row.bytes(1)?, row.text(2)?));
    }
    Ok(found)
}
