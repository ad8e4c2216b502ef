//! Enrolments: the end users that take part in functions.

use std::collections::HashMap;

use larder_model::ids::{EnrolmentId, FunctionId, PartnerId};
use larder_model::time::Millis;
use larder_model::{Enrolment, EnrolmentStatus, PausedBy};

use crate::db::{Row, Value, by_partner, one_of, parts};
use crate::listing::{self, Column, Kind, Listing, Page, Source};
use crate::{Error, Removal, Removed, Result, Store, args, removals};

pub(super) const COLUMNS: &str =
    "partner_id, id, function_id, end_user, topic, settings, status, paused_by, created_at_ms, updated_at_ms";
pub(super) const SOURCE: Source = Source {
    name: "enrolments",
    table: "enrolments",
    columns: COLUMNS,
    id: "id",
    indexed: &[],
    by_time: true,
    long: &[],
};
/// Of one end user, by the index `enrolments_by_end_user`.
pub(super) const MINE: Source = Source { name: "my_enrolments", ..SOURCE };

/// The columns by which lists of enrolments can be filtered.
pub const FILTERS: &[Column] = &[
    Column { attribute: "$id", column: "id", kind: Kind::Text },
    Column { attribute: "$createdAt", column: "created_at_ms", kind: Kind::Time },
    Column { attribute: "$updatedAt", column: "updated_at_ms", kind: Kind::Time },
    Column { attribute: "functionId", column: "function_id", kind: Kind::Text },
    Column { attribute: "endUser", column: "end_user", kind: Kind::Text },
    Column { attribute: "topic", column: "topic", kind: Kind::Text },
    Column { attribute: "status", column: "status", kind: Kind::Text },
];

/// The same for end users, of their own.
pub const MY_FILTERS: &[Column] = &[
    Column { attribute: "$id", column: "id", kind: Kind::Text },
    Column { attribute: "$createdAt", column: "created_at_ms", kind: Kind::Time },
    Column { attribute: "$updatedAt", column: "updated_at_ms", kind: Kind::Time },
    Column { attribute: "functionId", column: "function_id", kind: Kind::Text },
    Column { attribute: "topic", column: "topic", kind: Kind::Text },
    Column { attribute: "status", column: "status", kind: Kind::Text },
];

pub(super) const IS_ENROLLED: &str = "-- is_enrolled
    SELECT 1 FROM enrolments WHERE partner_id = ? AND function_id = ? AND end_user = ? AND status = 'active' LIMIT 1";

impl Store {
    /// Inserts an enrolment. `Conflict` if this end user is already enrolled in this function with this topic.
    pub async fn insert_enrolment(&self, enrolment: &Enrolment) -> Result<()> {
        self.db
            .tx("insert_enrolment", enrolment, |tx, e| {
                Box::pin(async move {
                    if !crate::functions::exists(tx, &e.partner, &e.function).await? {
                        return Err(Error::NotFound { what: "function" });
                    }
                    let row = args![
                        &e.partner,
                        &e.id,
                        &e.function,
                        &e.end_user,
                        &e.topic,
                        &e.settings,
                        e.status.word(),
                        e.paused_by.map_or("", PausedBy::word),
                        e.created_at_ms,
                        e.updated_at_ms
                    ];
                    tx.insert(&format!("-- insert_enrolment\n INSERT INTO enrolments ({COLUMNS})"), vec![row]).await
                })
            })
            .await
    }

    /// Changes only the given fields, so that a change of settings does not undo a concurrent pause. An end user does not change
    /// the status of what the partner has paused: `NotFound`.
    pub async fn update_enrolment(
        &self,
        partner: &PartnerId,
        id: &EnrolmentId,
        status: Option<EnrolmentStatus>,
        settings: Option<&str>,
        by: PausedBy,
        now: Millis,
    ) -> Result<()> {
        const UPDATE: &str = "-- update_enrolment
            UPDATE enrolments SET paused_by = CASE WHEN ? = 'paused' THEN ? WHEN ? = 'active' THEN '' ELSE paused_by END,
                status = COALESCE(?, status), settings = COALESCE(?, settings), updated_at_ms = ?
            WHERE partner_id = ? AND id = ? AND (? = 'partner' OR ? IS NULL OR status = 'active' OR paused_by = 'self')";
        let (word, by) = (status.map(EnrolmentStatus::word), by.word());
        let args = args![word, by, word, word, settings, now, partner, id, by, word];
        self.db.run(UPDATE, args).await?.exactly_one("enrolment")
    }

    /// Deletes an enrolment. From then on it neither runs nor saves. Its transactions and executions remain; the given
    /// removal deletes its state. An end user does not delete what the partner has paused: `NotFound`.
    pub async fn delete_enrolment(
        &self,
        partner: &PartnerId,
        id: &EnrolmentId,
        by: PausedBy,
        now: Millis,
    ) -> Result<Removal> {
        const DELETE: &str = "-- delete_enrolment
            DELETE FROM enrolments WHERE partner_id = ? AND id = ? AND (? = 'partner' OR status = 'active' OR paused_by = 'self')";
        const FUNCTION: &str = "-- function_of_enrolment
            SELECT function_id FROM enrolments WHERE partner_id = ? AND id = ?";
        self.db
            .tx("delete_enrolment", &(partner, id, by.word(), now), |tx, (partner, id, by, now)| {
                Box::pin(async move {
                    let function = tx.row(FUNCTION, args![*partner, *id]).await?;
                    let function = function.ok_or(Error::NotFound { what: "enrolment" })?;
                    tx.run(DELETE, args![*partner, *id, *by]).await?.exactly_one("enrolment")?;
                    let what = Removed::Enrolment(function.id(0, "enrolments.function_id")?, (*id).clone());
                    let removal = Removal { partner: (*partner).clone(), what };
                    removals::mark(tx, &removal, *now).await?;
                    Ok(removal)
                })
            })
            .await
    }

    pub async fn enrolment(&self, partner: &PartnerId, id: &EnrolmentId) -> Result<Option<Enrolment>> {
        let sql = format!("-- find_enrolment\n SELECT {COLUMNS} FROM enrolments WHERE partner_id = ? AND id = ?");
        self.db.row(&sql, args![partner, id]).await?.as_ref().map(enrolment).transpose()
    }

    /// Returns those of these enrolments that exist.
    pub async fn enrolments(
        &self,
        keys: impl IntoIterator<Item = (&PartnerId, &EnrolmentId)>,
    ) -> Result<Vec<Enrolment>> {
        let mut found = Vec::new();
        for (partner, ids) in by_partner(keys) {
            let ids = one_of(ids.into_iter().map(Value::from));
            let sql = format!(
                "-- find_enrolments\n SELECT {COLUMNS} FROM enrolments WHERE partner_id = ? AND id IN ({})",
                ids.marks
            );
            for row in self.db.rows(&sql, [args![partner], ids.args].concat()).await? {
                found.push(enrolment(&row)?);
            }
        }
        Ok(found)
    }

    pub async fn list_enrolments(&self, partner: &PartnerId, listing: &Listing) -> Result<Page<Enrolment>> {
        listing::list(&self.lists, &SOURCE, vec![("partner_id", partner.into())], listing, enrolment).await
    }

    /// The enrolments of one end user.
    pub async fn list_enrolments_of(
        &self,
        partner: &PartnerId,
        end_user: &str,
        listing: &Listing,
    ) -> Result<Page<Enrolment>> {
        let scope = vec![("partner_id", partner.into()), ("end_user", end_user.into())];
        listing::list(&self.lists, &MINE, scope, listing, enrolment).await
    }

    /// Has this end user so many enrolments?
    pub async fn has_enrolments(&self, partner: &PartnerId, end_user: &str, most: u32) -> Result<bool> {
        const COUNT: &str = "-- count_enrolments_of
            SELECT COUNT(*) FROM (SELECT 1 FROM enrolments WHERE partner_id = ? AND end_user = ? LIMIT ?) AS counted";
        let row = self.db.row(COUNT, args![partner, end_user, i64::from(most)]).await?;
        Ok(row.map_or(Ok(0), |row| row.int(0))? >= i64::from(most))
    }

    /// Those of the end users who are enrolled in this function, with any topic.
    pub async fn enrolled(
        &self,
        partner: &PartnerId,
        function: &FunctionId,
        end_users: Vec<String>,
    ) -> Result<HashMap<String, ()>> {
        if let [end_user] = &*end_users {
            let found = self.db.row(IS_ENROLLED, args![partner, function, end_user]).await?;
            return Ok(found.map(|_| (end_user.clone(), ())).into_iter().collect());
        }
        let mut found = HashMap::new();
        for end_users in parts(end_users.into_iter().map(Value::from)) {
            let sql = format!(
                "-- are_enrolled
                SELECT DISTINCT end_user FROM enrolments /*! FORCE INDEX (enrolments_by_user) */
                WHERE partner_id = ? AND function_id = ? AND end_user IN ({}) AND status = 'active'",
                end_users.marks
            );
            for row in self.db.rows(&sql, [args![partner, function], end_users.args].concat()).await? {
                found.insert(row.text(0)?, ());
            }
        }
        Ok(found)
    }
}

pub(super) fn enrolment(row: &Row) -> Result<Enrolment> {
    Ok(Enrolment {
        partner: row.id(0, "enrolments.partner_id")?,
        id: row.id(1, "enrolments.id")?,
        function: row.id(2, "enrolments.function_id")?,
        end_user: row.text(3)?,
        topic: row.text(4)?,
        settings: row.text(5)?,
        status: row.parse(6, "enrolments.status", EnrolmentStatus::from_word)?,
        paused_by: PausedBy::from_word(&row.text(7)?),
        created_at_ms: row.int(8)?,
        updated_at_ms: row.int(9)?,
    })
}
