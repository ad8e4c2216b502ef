//! Functions.

use larder_model::ids::{FunctionId, PartnerId};
use larder_model::time::Millis;
use larder_model::{EnrolBy, Enrolling, Function, Per, Topics, json};

use crate::db::{Lock, Row, Tx, Value};
use crate::listing::{self, Column, Kind, Listing, Page, Source};
use crate::{Error, Removal, Removed, Result, Store, args, partners, removals, rules};

const COLUMNS: &str = "partner_id, id, name, runtime, execute_roles, events, schedule, timezone, timeout_s, enabled, logging, entrypoint, \
    commands, scopes, specification, deployment_retention, per, topics, routes, limits, enrol, enrol_topics, settings_schema, event_schemas, \
    grants, deployment_id, created_at_ms, updated_at_ms";
pub(super) const SOURCE: Source = Source {
    name: "functions",
    table: "functions",
    columns: COLUMNS,
    id: "id",
    indexed: &[],
    by_time: false,
    long: &[],
};

/// The columns by which lists of functions can be filtered.
pub const FILTERS: &[Column] = &[
    Column { attribute: "$id", column: "id", kind: Kind::Text },
    Column { attribute: "$createdAt", column: "created_at_ms", kind: Kind::Time },
    Column { attribute: "$updatedAt", column: "updated_at_ms", kind: Kind::Time },
    Column { attribute: "name", column: "name", kind: Kind::Text },
    Column { attribute: "enabled", column: "enabled", kind: Kind::Flag },
    Column { attribute: "runtime", column: "runtime", kind: Kind::Text },
    Column { attribute: "deploymentId", column: "deployment_id", kind: Kind::Text },
    Column { attribute: "schedule", column: "schedule", kind: Kind::Text },
    Column { attribute: "scheduleNext", column: SCHEDULE_NEXT, kind: Kind::Time },
    Column { attribute: "schedulePrevious", column: SCHEDULE_PREVIOUS, kind: Kind::Time },
    Column { attribute: "timeout", column: "timeout_s", kind: Kind::Int },
    Column { attribute: "entrypoint", column: "entrypoint", kind: Kind::Text },
    Column { attribute: "commands", column: "commands", kind: Kind::Text },
    Column { attribute: "per", column: "per", kind: Kind::Text },
    // There is no version control.
    Column { attribute: "installationId", column: "''", kind: Kind::Text },
];

/// By its primary key; a partner has few functions. NULL: it is not armed, or has not fired since it was.
const SCHEDULE_NEXT: &str = "(SELECT schedules.next_at_ms FROM schedules
    WHERE schedules.partner_id = functions.partner_id AND schedules.function_id = functions.id)";
const SCHEDULE_PREVIOUS: &str = "(SELECT schedules.previous_at_ms FROM schedules
    WHERE schedules.partner_id = functions.partner_id AND schedules.function_id = functions.id)";

const UPDATE: &str = "-- update_function
    UPDATE functions SET name = ?, runtime = ?, execute_roles = ?, events = ?, schedule = ?, timezone = ?, timeout_s = ?, enabled = ?,
        logging = ?, entrypoint = ?, commands = ?, scopes = ?, specification = ?, deployment_retention = ?, per = ?, topics = ?,
        routes = ?, limits = ?, enrol = ?, enrol_topics = ?, settings_schema = ?, event_schemas = ?, updated_at_ms = ? WHERE partner_id = ? AND id = ?";

impl Store {
    /// Inserts a function. `Conflict` if its id is taken, `RouteTaken` if one of its routes is, `BeingRemoved` while a
    /// deleted function with this id is being removed.
    pub async fn insert_function(&self, function: &Function) -> Result<()> {
        self.db
            .tx("insert_function", function, |tx, f| {
                Box::pin(async move {
                    partners::touch(tx, &f.partner).await?;
                    removals::refuse_being_removed(tx, &f.partner, &f.id).await?;
                    check_routes(tx, f).await?;
                    let mut values = args![&f.partner, &f.id];
                    values.extend(settings(f));
                    values.extend(args![json(&f.grants), f.deployment.as_ref(), f.created_at_ms, f.updated_at_ms]);
                    tx.insert(&format!("-- insert_function\n INSERT INTO functions ({COLUMNS})"), vec![values]).await
                })
            })
            .await
    }

    /// Replaces the settings; the active deployment stays. `RouteTaken` if one of the routes is taken.
    pub async fn update_function(&self, function: &Function) -> Result<()> {
        self.db
            .tx("update_function", function, |tx, f| {
                Box::pin(async move {
                    partners::touch(tx, &f.partner).await?;
                    update(tx, f).await
                })
            })
            .await
    }

    /// Checks that the function's routes are free. `RouteTaken` if one is not.
    pub async fn check_routes(&self, function: &Function) -> Result<()> {
        self.db.tx("check_routes", function, |tx, f| Box::pin(check_routes(tx, f))).await
    }

    pub async fn function(&self, partner: &PartnerId, id: &FunctionId) -> Result<Option<Function>> {
        listing::one(&self.db, &SOURCE, vec![("partner_id", partner.into())], id, function).await
    }

    /// All functions of the partner.
    pub async fn functions(&self, partner: &PartnerId) -> Result<Vec<Function>> {
        let sql = format!("-- all_functions\n SELECT {COLUMNS} FROM functions WHERE partner_id = ? ORDER BY id");
        self.db.rows(&sql, args![partner]).await?.iter().map(function).collect()
    }

    pub async fn list_functions(&self, partner: &PartnerId, listing: &Listing) -> Result<Page<Function>> {
        listing::list(&self.lists, &SOURCE, vec![("partner_id", partner.into())], listing, function).await
    }

    /// Deletes the function. From then on it neither runs nor saves. The given removal deletes its other rows, except
    /// transactions, events and the history of its grants, which remain.
    pub async fn delete_function(&self, partner: &PartnerId, id: &FunctionId, now: Millis) -> Result<Removal> {
        const FUNCTION: &str = "-- delete_function
            DELETE FROM functions WHERE partner_id = ? AND id = ?";
        const SCHEDULE: &str = "-- delete_function_schedule
            DELETE FROM schedules WHERE partner_id = ? AND function_id = ?";
        let removal = Removal { partner: partner.clone(), what: Removed::Function(id.clone()) };
        self.db
            .tx("delete_function", &(partner, id, &removal, now), |tx, (partner, id, removal, now)| {
                Box::pin(async move {
                    partners::touch(tx, partner).await?;
                    tx.run(FUNCTION, args![*partner, *id]).await?.exactly_one("function")?;
                    let _ = tx.run(SCHEDULE, args![*partner, *id]).await?;
                    rules::delete_of_function(tx, partner, id).await?;
                    removals::mark(tx, removal, *now).await
                })
            })
            .await?;
        Ok(removal)
    }
}

async fn update(tx: &mut Tx<'_>, f: &Function) -> Result<()> {
    check_routes(tx, f).await?;
    let mut args = settings(f);
    args.extend(args![f.updated_at_ms, &f.partner, &f.id]);
    tx.run(UPDATE, args).await?.exactly_one("function")
}

/// Changes the settings of a function, after this transaction has touched its partner.
pub(super) async fn change(
    tx: &mut Tx<'_>,
    partner: &PartnerId,
    id: &FunctionId,
    now: Millis,
    change: impl FnOnce(&mut Function) + Send,
) -> Result<()> {
    let sql = format!("-- function_to_change\n SELECT {COLUMNS} FROM functions WHERE partner_id = ? AND id = ?");
    let rows = tx.locked(Lock::Exclusive, &sql, args![partner, id]).await?;
    let mut found = function(rows.first().ok_or(Error::NotFound { what: "function" })?)?;
    change(&mut found);
    found.updated_at_ms = now;
    update(tx, &found).await
}

/// Checks the rule that a route belongs to one function of the partner. `/a` and `/a/` are the same route.
async fn check_routes(tx: &mut Tx<'_>, f: &Function) -> Result<()> {
    const OTHERS: &str = "-- routes_of_other_functions
        SELECT id, routes FROM functions WHERE partner_id = ? AND id <> ? AND routes <> '[]'";
    if f.routes.is_empty() {
        return Ok(());
    }
    for row in tx.rows(OTHERS, args![&f.partner, &f.id]).await? {
        let taken: Vec<String> = row.json(1, "functions.routes")?;
        let same = |route: &&String| taken.iter().any(|t| t.trim_end_matches('/') == route.trim_end_matches('/'));
        if let Some(route) = f.routes.iter().find(same) {
            return Err(Error::RouteTaken { route: route.clone(), function: row.id(0, "functions.id")? });
        }
    }
    Ok(())
}

/// The values that a caller sets, in the order of `UPDATE` and of the columns after the ids.
fn settings(f: &Function) -> Vec<Value> {
    args![
        &f.name,
        &f.runtime,
        json(&f.execute),
        json(&f.events),
        &f.schedule,
        &f.timezone,
        f.timeout_s,
        f.enabled,
        f.logging,
        &f.entrypoint,
        &f.commands,
        json(&f.scopes),
        &f.specification,
        f.deployment_retention,
        f.per.word(),
        f.topics.word(),
        json(&f.routes),
        json(&f.limits),
        f.enrolling.by.word(),
        json(&f.enrolling.topics),
        json(&f.enrolling.schema),
        json(&f.event_schemas)
    ]
}

fn function(row: &Row) -> Result<Function> {
    Ok(Function {
        partner: row.id(0, "functions.partner_id")?,
        id: row.id(1, "functions.id")?,
        name: row.text(2)?,
        runtime: row.text(3)?,
        execute: row.json(4, "functions.execute_roles")?,
        events: row.json(5, "functions.events")?,
        schedule: row.text(6)?,
        timezone: row.text(7)?,
        timeout_s: row.int(8)? as u32,
        enabled: row.flag(9)?,
        logging: row.flag(10)?,
        entrypoint: row.text(11)?,
        commands: row.text(12)?,
        scopes: row.json(13, "functions.scopes")?,
        specification: row.text(14)?,
        deployment_retention: row.int(15)? as u32,
        per: row.parse(16, "functions.per", Per::from_word)?,
        topics: row.parse(17, "functions.topics", Topics::from_word)?,
        routes: row.json(18, "functions.routes")?,
        limits: row.json(19, "functions.limits")?,
        enrolling: Enrolling {
            by: row.parse(20, "functions.enrol", EnrolBy::from_word)?,
            topics: row.json(21, "functions.enrol_topics")?,
            schema: row.json(22, "functions.settings_schema")?,
        },
        event_schemas: row.json(23, "functions.event_schemas")?,
        grants: row.json(24, "functions.grants")?,
        deployment: row.maybe_id(25, "functions.deployment_id")?,
        created_at_ms: row.int(26)?,
        updated_at_ms: row.int(27)?,
    })
}

/// Does the function exist, and will it until the transaction ends? For steps that insert rows of it.
pub(super) async fn exists(tx: &mut Tx<'_>, partner: &PartnerId, id: &FunctionId) -> Result<bool> {
    lock(tx, partner, id, Lock::Shared).await
}

/// Locks the function's row; `false` if there is none.
pub(super) async fn lock(tx: &mut Tx<'_>, partner: &PartnerId, id: &FunctionId, lock: Lock) -> Result<bool> {
    const LOCK: &str = "-- lock_function
        SELECT 1 FROM functions WHERE partner_id = ? AND id = ?";
    Ok(!tx.locked(lock, LOCK, args![partner, id]).await?.is_empty())
}
