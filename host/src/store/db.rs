//! The databases behind one face. Today one, embedded SQLite; another is another arm of [`Db`] and [`Tx`].
//!
//! * [`Value`], [`args!`]: what a statement takes. [`Row`]: what it gives, read by position.
//! * [`Db::rows`], [`Db::row`]: reading outside of a transaction.
//! * [`Db::tx`]: changes. Its body must not do anything but SQL: a database with several writers runs it again as a whole
//!   when it lost a race (SQLite, with its one writer, never does).
//!
//! A statement's first line names it (`-- finish_execution`), so that errors and slow-query logs name the caller.

use futures::future::BoxFuture;

use super::sqlite::{Sqlite, SqliteTx};
use super::{Error, Result};

#[derive(Clone)]
pub enum Db {
    Sqlite(Sqlite),
}

/// An open transaction.
pub enum Tx<'a> {
    Sqlite(SqliteTx<'a>),
}

#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Null,
    Int(i64),
    Text(String),
    Blob(Vec<u8>),
}

/// The arguments of a statement, in the order of its `?`.
#[macro_export]
macro_rules! args {
    ($($value:expr),* $(,)?) => { vec![$($crate::store::db::Value::from($value)),*] };
}

/// Every statement is counted, so that a test can tell which paths make none.
fn counted(kind: &'static str) {
    metrics::counter!("larder_store_statements_total", "kind" => kind).increment(1);
}

impl Db {
    pub async fn rows(&self, sql: &str, args: Vec<Value>) -> Result<Vec<Row>> {
        counted("read");
        match self {
            Db::Sqlite(db) => db.rows(sql, &args).await,
        }
    }

    pub async fn row(&self, sql: &str, args: Vec<Value>) -> Result<Option<Row>> {
        Ok(self.rows(sql, args).await?.into_iter().next())
    }

    /// Runs `body` in one transaction and commits it; an error rolls everything back. `with` is handed to the body by
    /// reference, because the body may have to run more than once.
    pub async fn tx<C, T, F>(&self, name: &'static str, with: &C, body: F) -> Result<T>
    where
        C: Sync + ?Sized,
        F: for<'t> Fn(&'t mut Tx<'_>, &'t C) -> BoxFuture<'t, Result<T>> + Sync,
        T: Send,
    {
        match self {
            Db::Sqlite(db) => db.tx(name, with, body).await,
        }
    }

    /// A transaction of one statement.
    pub async fn run(&self, sql: &'static str, args: Vec<Value>) -> Result<Changed> {
        self.tx("single_statement", &args, move |tx, args| Box::pin(async move { tx.run(sql, args.clone()).await }))
            .await
    }

    /// Creates what `schema/` has and the database has not.
    pub(super) async fn migrate(&self) -> Result<()> {
        const SCHEMA: &[(i64, &str)] =
            &[(1, include_str!("schema/0001_tables.sql")), (2, include_str!("schema/0002_processes.sql"))];
        const TABLE: &str = "-- create_schema_versions
            CREATE TABLE IF NOT EXISTS schema_versions (version BIGINT NOT NULL PRIMARY KEY)";
        const DONE: &str = "-- schema_versions
            SELECT version FROM schema_versions";
        const ADD: &str = "-- add_schema_version
            INSERT INTO schema_versions (version) VALUES (?)";

        let _ = self.run(TABLE, vec![]).await?;
        let done: Vec<i64> = self.rows(DONE, vec![]).await?.iter().map(|row| row.int(0)).collect::<Result<_>>()?;
        let known = SCHEMA.last().map_or(0, |(version, _)| *version);
        if let Some(newer) = done.iter().find(|version| **version > known) {
            return Err(Error::Unavailable(format!(
                "its schema is version {newer}, this program knows {known}: it was written by a newer Larder"
            )));
        }
        for (version, text) in SCHEMA.iter().filter(|(version, _)| !done.contains(version)) {
            self.tx("migrate", &(*version, *text), |tx, (version, text)| {
                Box::pin(async move {
                    for statement in text.split(";\n").filter(|part| !part.trim().is_empty()) {
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

impl Tx<'_> {
    pub async fn run(&mut self, sql: &str, args: Vec<Value>) -> Result<Changed> {
        counted("write");
        match self {
            Tx::Sqlite(tx) => tx.run(sql, &args),
        }
    }

    pub async fn rows(&mut self, sql: &str, args: Vec<Value>) -> Result<Vec<Row>> {
        counted("read");
        match self {
            Tx::Sqlite(tx) => tx.rows(sql, &args),
        }
    }

    pub async fn row(&mut self, sql: &str, args: Vec<Value>) -> Result<Option<Row>> {
        Ok(self.rows(sql, args).await?.into_iter().next())
    }

    /// Inserts many rows with as few statements as their number allows. `head` is `INSERT INTO t (columns)`.
    pub async fn insert(&mut self, head: &str, rows: Vec<Vec<Value>>) -> Result<()> {
        /// A power of two, so that few distinct texts are prepared.
        const ROWS_MAX: usize = 64;
        let Some(width) = rows.first().map(Vec::len) else { return Ok(()) };
        let mut rows = rows.into_iter();
        while rows.len() > 0 {
            let count = if rows.len() >= ROWS_MAX { ROWS_MAX } else { 1 << rows.len().ilog2() };
            let marks = format!("({})", vec!["?"; width].join(", "));
            let sql = format!("{head} VALUES {}", vec![marks; count].join(", "));
            let _ = self.run(&sql, rows.by_ref().take(count).flatten().collect()).await?;
        }
        Ok(())
    }

    /// Sets `set` where `key` stands in `table`, or inserts both: the one place that knows how each database says it.
    pub async fn upsert(
        &mut self,
        table: &'static str,
        key: &[(&'static str, Value)],
        set: &[(&'static str, Value)],
    ) -> Result<()> {
        let columns: Vec<&str> = key.iter().chain(set).map(|(column, _)| *column).collect();
        let keys: Vec<&str> = key.iter().map(|(column, _)| *column).collect();
        let values = key.iter().chain(set).map(|(_, value)| value.clone()).collect();
        let marks = vec!["?"; columns.len()].join(", ");
        let insert = format!("-- upsert_{table}\n INSERT INTO {table} ({}) VALUES ({marks})", columns.join(", "));
        let sql = match self {
            Tx::Sqlite(_) => {
                let sets: Vec<String> = set.iter().map(|(column, _)| format!("{column} = excluded.{column}")).collect();
                format!("{insert} ON CONFLICT ({}) DO UPDATE SET {}", keys.join(", "), sets.join(", "))
            }
        };
        self.run(&sql, values).await.map(|_| ())
    }
}

/// How many rows a statement matched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Changed(pub u64);

impl Changed {
    /// Refuses a change that found nothing.
    pub fn exactly_one(self, what: &'static str) -> Result<()> {
        if self.0 == 1 { Ok(()) } else { Err(Error::NotFound { what }) }
    }
}

/// One row of an answer; columns are read by their position in the `SELECT`.
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

    /// Text with a meaning: an id, a word, JSON. `column` is `table.column`, for the error.
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

/// JSON text of a plain value of ours, which always has one.
pub fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).expect("plain values serialise")
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
        impl From<&crate::ids::$id> for Value {
            fn from(id: &crate::ids::$id) -> Value { Value::Text(id.as_str().to_owned()) }
        }
    )*};
}
value_from_id! { PartnerId KeyId FunctionId DeploymentId VariableId EnrolmentId EventId ExecutionId FanoutId }
