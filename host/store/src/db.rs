//! The two databases behind one interface: embedded SQLite for one process, MariaDB for many.
//!
//! * [`Value`], [`args!`]: the arguments of a statement. [`Row`]: a row of a result, read by position.
//! * [`Db::rows`], [`Db::row`]: reads outside of a transaction. [`Db::page`]: reads up to a number of bytes.
//! * [`Db::tx`]: changes. The body must do nothing but SQL: a database with several writers runs it again as a whole when
//!   it lost a race (SQLite, with its one writer, never does).
//! * [`Tx::locked`]: reads rows that nobody else may change before this transaction ends.
//!
//! A statement's first line names it (`-- finish_execution`), so that errors and slow-query logs name the caller.

use std::collections::{BTreeMap, BTreeSet};

use futures::future::BoxFuture;
use larder_model::ids::PartnerId;

use crate::mariadb::{MariaDb, MariaTx};
use crate::sqlite::{Sqlite, SqliteTx};
use crate::{Error, Result};

/// The files of the schema, in order.
pub(super) const SCHEMA: &[(i64, &str)] = &[
    (1, include_str!("schema/0001_tables.sql")),
    (2, include_str!("schema/0002_processes.sql")),
    (3, include_str!("schema/0003_grants.sql")),
    (4, include_str!("schema/0004_approvals.sql")),
    (5, include_str!("schema/0005_upstreams.sql")),
    (6, include_str!("schema/0006_feeds.sql")),
    (7, include_str!("schema/0007_master_keys.sql")),
    (8, include_str!("schema/0008_turns.sql")),
    (11, include_str!("schema/0011_lists.sql")),
    (12, include_str!("schema/0012_removals.sql")),
    (13, include_str!("schema/0013_stored_bytes.sql")),
    (14, include_str!("schema/0014_host_failures.sql")),
    (17, include_str!("schema/0017_attributes_and_lost_builds.sql")),
    (18, include_str!("schema/0018_leads.sql")),
    (20, include_str!("schema/0020_deploys_and_deliveries.sql")),
    (21, include_str!("schema/0021_ranges.sql")),
    (22, include_str!("schema/0022_packs.sql")),
    (23, include_str!("schema/0023_archives.sql")),
    (24, include_str!("schema/0024_chunks.sql")),
    (25, include_str!("schema/0025_schedules.sql")),
    (26, include_str!("schema/0026_usage.sql")),
    (27, include_str!("schema/0027_identities.sql")),
    (28, include_str!("schema/0028_self_service.sql")),
    (31, include_str!("schema/0031_rules.sql")),
    (32, include_str!("schema/0032_run_keys.sql")),
    (33, include_str!("schema/0033_webhooks.sql")),
    (34, include_str!("schema/0034_administrators.sql")),
    (35, include_str!("schema/0035_sessions.sql")),
    (36, include_str!("schema/0036_sign_in_failures.sql")),
    (40, include_str!("schema/0040_executions_of_enrolments.sql")),
    (45, include_str!("schema/0045_certificates.sql")),
    (46, include_str!("schema/0046_fronts.sql")),
    (48, include_str!("schema/0048_certificate_orders.sql")),
    (49, include_str!("schema/0049_domains.sql")),
    (50, include_str!("schema/0050_event_schemas.sql")),
    (52, include_str!("schema/0052_administrator_links.sql")),
    (53, include_str!("schema/0053_second_factors.sql")),
    (57, include_str!("schema/0057_lists_of_executions.sql")),
    (63, include_str!("schema/0063_events_by_type.sql")),
    (66, include_str!("schema/0066_audit_records.sql")),
    (68, include_str!("schema/0068_reasons_of_dead_letters.sql")),
    (69, include_str!("schema/0069_bulk_actions.sql")),
    (72, include_str!("schema/0072_provider_accounts.sql")),
    (73, include_str!("schema/0073_mails.sql")),
];

#[derive(Clone)]
pub enum Db {
    Sqlite(Sqlite),
    MariaDb(MariaDb),
}

/// An open transaction.
pub enum Tx<'a> {
    Sqlite(SqliteTx<'a>),
    MariaDb(MariaTx<'a>),
}

/// How read rows are locked until the transaction ends. SQLite has one writer, which needs no locks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lock {
    /// Nobody else may change them.
    Shared,
    /// Nobody else may change or lock them.
    Exclusive,
    /// Like `Exclusive`; rows that are already locked are skipped.
    Skip,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Null,
    Int(i64),
    Text(String),
    Blob(Vec<u8>),
}

impl Value {
    /// Its approximate size on the wire.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Value::Null => 1,
            Value::Int(_) => 8,
            Value::Text(text) => text.len(),
            Value::Blob(blob) => blob.len(),
        }
    }
}

/// The placeholders and arguments of an `IN (…)`.
pub struct OneOf {
    pub marks: String,
    pub args: Vec<Value>,
}

/// Builds an `IN (…)`. The last value is repeated up to a power of two, so that few distinct texts are prepared.
pub fn one_of(values: impl IntoIterator<Item = Value>) -> OneOf {
    let mut args: Vec<Value> = values.into_iter().collect();
    if let Some(last) = args.last().cloned() {
        args.resize(args.len().next_power_of_two(), last);
    }
    OneOf { marks: vec!["?"; args.len()].join(", "), args }
}

/// The maximum number of values of one `IN (…)` where a partner decides how many there are. It is a power of two, far below
/// the limits of both databases.
pub const PART: usize = 256;

/// Splits values into several `IN (…)`, in order.
pub fn parts(values: impl IntoIterator<Item = Value>) -> Vec<OneOf> {
    let values: Vec<Value> = values.into_iter().collect();
    values.chunks(PART).map(|part| one_of(part.iter().cloned())).collect()
}

/// Groups keys by partner, one statement for each, in the order in which they are locked.
pub(super) fn by_partner<'k, T: Ord>(
    keys: impl IntoIterator<Item = (&'k PartnerId, T)>,
) -> BTreeMap<&'k PartnerId, BTreeSet<T>> {
    let mut sorted: BTreeMap<&PartnerId, BTreeSet<T>> = BTreeMap::new();
    for (partner, key) in keys {
        sorted.entry(partner).or_default().insert(key);
    }
    sorted
}

/// The arguments of a statement, in the order of its `?`.
#[macro_export]
macro_rules! args {
    ($($value:expr),* $(,)?) => { vec![$($crate::db::Value::from($value)),*] };
}

/// Counts each statement, so that a test can check which paths run none.
fn counted(kind: &'static str) {
    metrics::counter!("larder_store_statements_total", "kind" => kind).increment(1);
}

impl Db {
    pub async fn rows(&self, sql: &str, args: Vec<Value>) -> Result<Vec<Row>> {
        counted("read");
        match self {
            Db::Sqlite(db) => db.rows(sql, &args, usize::MAX).await,
            Db::MariaDb(db) => db.rows(sql, &args, usize::MAX).await,
        }
    }

    /// Reads rows of at most `bytes` together; [`Error::PageTooLarge`] if there are more.
    pub(super) async fn page(&self, sql: &str, args: Vec<Value>, bytes: usize) -> Result<Vec<Row>> {
        counted("read");
        match self {
            Db::Sqlite(db) => db.rows(sql, &args, bytes).await,
            Db::MariaDb(db) => db.rows(sql, &args, bytes).await,
        }
    }

    /// Returns the query plan of a statement, in the database's own format.
    pub(super) async fn explain(&self, sql: &str, args: Vec<Value>) -> Result<String> {
        let explain = match self {
            Db::Sqlite(_) => "EXPLAIN QUERY PLAN",
            Db::MariaDb(_) => "EXPLAIN",
        };
        let rows = self.rows(&sql.replacen('\n', &format!("\n{explain}"), 1), args).await?;
        let words = |value: &Value| match value {
            Value::Null => "-".to_owned(),
            Value::Int(int) => int.to_string(),
            Value::Text(text) => text.clone(),
            Value::Blob(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        };
        let lines = rows.iter().map(|row| row.0.iter().map(words).collect::<Vec<_>>().join(" "));
        Ok(lines.collect::<Vec<_>>().join("\n"))
    }

    /// The database's own clock, in seconds since 1970.
    pub(super) async fn time(&self) -> Result<i64> {
        let now = match self {
            Db::Sqlite(_) => "-- time\n SELECT CAST(STRFTIME('%s', 'now') AS INTEGER)",
            Db::MariaDb(_) => "-- time\n SELECT CAST(UNIX_TIMESTAMP() AS SIGNED INTEGER)",
        };
        self.row(now, vec![]).await?.map_or(Ok(0), |row| row.int(0))
    }

    pub async fn row(&self, sql: &str, args: Vec<Value>) -> Result<Option<Row>> {
        Ok(self.rows(sql, args).await?.into_iter().next())
    }

    /// Runs `body` in one transaction and commits it; an error rolls everything back. `with` is passed to the body by
    /// reference, because the body may run more than once.
    pub async fn tx<C, T, F>(&self, name: &'static str, with: &C, body: F) -> Result<T>
    where
        C: Sync + ?Sized,
        F: for<'t> Fn(&'t mut Tx<'_>, &'t C) -> BoxFuture<'t, Result<T>> + Sync,
        T: Send,
    {
        match self {
            Db::Sqlite(db) => db.tx(name, with, body).await,
            Db::MariaDb(db) => db.tx(name, with, body).await,
        }
    }

    /// Runs one statement in a transaction.
    pub async fn run(&self, sql: &'static str, args: Vec<Value>) -> Result<Changed> {
        self.tx("single_statement", &args, move |tx, args| Box::pin(async move { tx.run(sql, args.clone()).await }))
            .await
    }

    /// Applies the files of `schema/` that have not been applied yet.
    pub(super) async fn migrate(&self) -> Result<()> {
        const TABLE: &str = "-- create_schema_versions
            CREATE TABLE IF NOT EXISTS schema_versions (version BIGINT NOT NULL PRIMARY KEY)";
        const DONE: &str = "-- schema_versions
            SELECT version FROM schema_versions";
        const ADD: &str = "-- add_schema_version
            INSERT INTO schema_versions (version) VALUES (?)";

        let db = match self {
            Db::MariaDb(db) => return db.migrate(SCHEMA, TABLE, DONE, ADD).await,
            Db::Sqlite(_) => self,
        };
        let _ = db.run(TABLE, vec![]).await?;
        let done: Vec<i64> = db.rows(DONE, vec![]).await?.iter().map(|row| row.int(0)).collect::<Result<_>>()?;
        refuse_newer(&done, SCHEMA)?;
        for (version, text) in SCHEMA.iter().filter(|(version, _)| !done.contains(version)) {
            db.tx("migrate", &(*version, *text), |tx, (version, text)| {
                Box::pin(async move {
                    for statement in statements(text) {
                        let _ = tx.run(statement, vec![]).await?;
                    }
                    tx.run(ADD, args![*version]).await?.exactly_one("schema version")
                })
            })
            .await?;
        }
        Ok(())
    }
}

/// The statements of a schema file.
pub(super) fn statements(text: &str) -> impl Iterator<Item = &str> {
    text.split(";\n").filter(|part| !part.trim().is_empty())
}

/// Refuses a schema that is newer than this program.
pub(super) fn refuse_newer(done: &[i64], schema: &[(i64, &str)]) -> Result<()> {
    let known = schema.last().map_or(0, |(version, _)| *version);
    match done.iter().find(|version| **version > known) {
        Some(newer) => Err(Error::Unavailable(format!(
            "its schema is version {newer}, this program knows {known}: it was written by a newer Larder"
        ))),
        None => Ok(()),
    }
}

/// The name in a statement's first line.
pub(super) fn statement_name(sql: &str) -> &str {
    sql.lines().next().unwrap_or("").trim_start_matches("-- ").trim()
}

impl Tx<'_> {
    pub async fn run(&mut self, sql: &str, args: Vec<Value>) -> Result<Changed> {
        counted("write");
        match self {
            Tx::Sqlite(tx) => tx.run(sql, &args),
            Tx::MariaDb(tx) => tx.run(sql, &args).await,
        }
    }

    pub async fn rows(&mut self, sql: &str, args: Vec<Value>) -> Result<Vec<Row>> {
        counted("read");
        match self {
            Tx::Sqlite(tx) => tx.rows(sql, &args),
            Tx::MariaDb(tx) => tx.rows(sql, &args).await,
        }
    }

    /// Reads rows and locks them. `sql` ends where a locking clause would follow.
    pub async fn locked(&mut self, lock: Lock, sql: &str, args: Vec<Value>) -> Result<Vec<Row>> {
        counted("read");
        match self {
            Tx::Sqlite(tx) => tx.rows(sql, &args),
            Tx::MariaDb(tx) => tx.locked(lock, sql, &args).await,
        }
    }

    pub async fn row(&mut self, sql: &str, args: Vec<Value>) -> Result<Option<Row>> {
        Ok(self.rows(sql, args).await?.into_iter().next())
    }

    /// Inserts many rows with as few statements as their number and size allow. `head` is `INSERT INTO t (columns)`.
    pub async fn insert(&mut self, head: &str, rows: Vec<Vec<Value>>) -> Result<()> {
        self.many(head, "", rows).await
    }

    /// Updates the columns `set` of the rows whose `key` exists in `table`, and inserts the others. This is the one place
    /// that knows the syntax of each database. Each row has the values of `key`, then those of `set`.
    pub async fn upsert(
        &mut self,
        table: &'static str,
        key: &[&'static str],
        set: &[&'static str],
        rows: Vec<Vec<Value>>,
    ) -> Result<()> {
        let columns = [key, set].concat().join(", ");
        let head = format!("-- upsert_{table}\n INSERT INTO {table} ({columns})");
        let sets = |of: &dyn Fn(&str) -> String| set.iter().map(|column| of(column)).collect::<Vec<_>>().join(", ");
        let tail = match self {
            Tx::Sqlite(_) => {
                let sets = sets(&|column| format!("{column} = excluded.{column}"));
                format!(" ON CONFLICT ({}) DO UPDATE SET {sets}", key.join(", "))
            }
            Tx::MariaDb(_) => format!(" ON DUPLICATE KEY UPDATE {}", sets(&|c| format!("{c} = VALUES({c})"))),
        };
        self.many(&head, &tail, rows).await
    }

    async fn many(&mut self, head: &str, tail: &str, rows: Vec<Vec<Value>>) -> Result<()> {
        /// A power of two, so that few distinct texts are prepared.
        const ROWS_MAX: usize = 256;
        /// Below the packet limit of a server, unless one row is larger.
        const BYTES_MAX: usize = 4 << 20;
        let Some(width) = rows.first().map(Vec::len) else { return Ok(()) };
        let marks = format!("({})", vec!["?"; width].join(", "));
        let mut rest = &rows[..];
        while !rest.is_empty() {
            let mut bytes = 0;
            let fit = rest.iter().take(ROWS_MAX).take_while(|row| {
                bytes += row.iter().map(Value::bytes).sum::<usize>();
                bytes <= BYTES_MAX
            });
            let count = 1 << fit.count().max(1).ilog2();
            let (now, later) = rest.split_at(count);
            let sql = format!("{head} VALUES {}{tail}", vec![marks.as_str(); count].join(", "));
            let _ = self.run(&sql, now.concat()).await?;
            rest = later;
        }
        Ok(())
    }
}

/// Counts the bytes of a page while it is read.
pub(super) struct PageBytes {
    left: usize,
    rows: usize,
}

impl PageBytes {
    pub(super) fn new(most: usize) -> PageBytes {
        PageBytes { left: most, rows: 0 }
    }

    /// Counts one more row.
    pub(super) fn take(&mut self, row: &Row) -> Result<()> {
        let bytes = row.0.iter().map(Value::bytes).sum();
        self.left = self.left.checked_sub(bytes).ok_or(Error::PageTooLarge { rows: self.rows })?;
        self.rows += 1;
        Ok(())
    }
}

/// The number of rows that a statement matched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Changed(pub u64);

impl Changed {
    /// Returns `NotFound` unless exactly one row was changed.
    pub fn exactly_one(self, what: &'static str) -> Result<()> {
        if self.0 == 1 { Ok(()) } else { Err(Error::NotFound { what }) }
    }
}

/// A row of a result; columns are read by their position in the `SELECT`.
#[derive(Debug)]
pub struct Row(pub(super) Vec<Value>);

impl Row {
    fn value(&self, at: usize) -> &Value {
        self.0.get(at).unwrap_or(&Value::Null)
    }

    fn wrong(&self, at: usize, wanted: &str) -> Error {
        let why = format!("column {at} should be {wanted}, is {:?}", self.value(at));
        Error::Statement { statement: "row".into(), why }
    }

    pub fn int(&self, at: usize) -> Result<i64> {
        match self.value(at) {
            Value::Int(int) => Ok(*int),
            _ => Err(self.wrong(at, "a number")),
        }
    }

    pub fn maybe_int(&self, at: usize) -> Result<Option<i64>> {
        if *self.value(at) == Value::Null { Ok(None) } else { self.int(at).map(Some) }
    }

    pub fn flag(&self, at: usize) -> Result<bool> {
        Ok(self.int(at)? != 0)
    }

    pub fn text(&self, at: usize) -> Result<String> {
        match self.value(at) {
            Value::Text(text) => Ok(text.clone()),
            _ => Err(self.wrong(at, "text")),
        }
    }

    pub fn maybe_text(&self, at: usize) -> Result<Option<String>> {
        if *self.value(at) == Value::Null { Ok(None) } else { self.text(at).map(Some) }
    }

    pub fn bytes(&self, at: usize) -> Result<Vec<u8>> {
        match self.value(at) {
            Value::Blob(bytes) => Ok(bytes.clone()),
            Value::Text(text) => Ok(text.clone().into_bytes()),
            _ => Err(self.wrong(at, "bytes")),
        }
    }

    pub fn maybe_bytes(&self, at: usize) -> Result<Option<Vec<u8>>> {
        if *self.value(at) == Value::Null { Ok(None) } else { self.bytes(at).map(Some) }
    }

    /// Parses text into a typed value: an id, a keyword or JSON. `column` is `table.column`, for the error.
    pub fn parse<T>(&self, at: usize, column: &'static str, parse: impl FnOnce(&str) -> Option<T>) -> Result<T> {
        let text = self.text(at)?;
        parse(&text).ok_or_else(|| {
            let (table, column) = column.split_once('.').unwrap_or(("", column));
            Error::BadRow { table, column, why: format!("{text:?} does not belong there") }
        })
    }

    pub fn id<T: std::str::FromStr>(&self, at: usize, column: &'static str) -> Result<T> {
        self.parse(at, column, |text| text.parse().ok())
    }

    pub fn maybe_id<T: std::str::FromStr>(&self, at: usize, column: &'static str) -> Result<Option<T>> {
        if *self.value(at) == Value::Null { Ok(None) } else { self.id(at, column).map(Some) }
    }

    pub fn json<T: serde::de::DeserializeOwned>(&self, at: usize, column: &'static str) -> Result<T> {
        self.parse(at, column, |text| serde_json::from_str(text).ok())
    }
}

macro_rules! value_from {
    ($($type:ty => |$value:ident| $made:expr;)*) => {$(
        impl From<$type> for Value {
            fn from($value: $type) -> Value { $made }
        }
    )*};
}
value_from! {
    i64 => |v| Value::Int(v);
    i32 => |v| Value::Int(v.into());
    u16 => |v| Value::Int(v.into());
    u32 => |v| Value::Int(v.into());
    u64 => |v| Value::Int(i64::try_from(v).unwrap_or(i64::MAX));
    usize => |v| Value::Int(i64::try_from(v).unwrap_or(i64::MAX));
    bool => |v| Value::Int(v.into());
    &str => |v| Value::Text(v.to_owned());
    String => |v| Value::Text(v);
    &String => |v| Value::Text(v.clone());
    Vec<u8> => |v| Value::Blob(v);
    &[u8] => |v| Value::Blob(v.to_vec());
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Value {
        value.map_or(Value::Null, Into::into)
    }
}

macro_rules! value_from_id {
    ($($id:ident)*) => {$(
        impl From<&larder_model::ids::$id> for Value {
            fn from(id: &larder_model::ids::$id) -> Value { Value::Text(id.as_str().to_owned()) }
        }
    )*};
}
value_from_id! { PartnerId KeyId FunctionId DeploymentId VariableId EnrolmentId EventId ExecutionId FanoutId BulkActionId RangeId PackId RuleId AdministratorId SessionId MailId WebhookId }
