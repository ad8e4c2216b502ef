//! The embedded database: SQLite in WAL mode with `synchronous=FULL`, one writer, a few readers, one process.
//!
//! SQLite works on the calling thread; `block_in_place` tells tokio so. A transaction is run from BEGIN to COMMIT
//! without giving the thread up, so its body must not wait for anything but its own statements.

use std::fs::{File, TryLockError};
use std::path::Path;
use std::sync::{Arc, Mutex as StdMutex};

use futures::FutureExt;
use futures::future::BoxFuture;
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, OpenFlags, ToSql};
use tokio::sync::{Mutex, Semaphore};

use super::db::{Changed, Row, Tx, Value};
use super::{Error, Result};

const READERS: usize = 4;

#[derive(Clone)]
pub struct Sqlite(Arc<Shared>);

struct Shared {
    writer: Mutex<Connection>,
    readers: StdMutex<Vec<Connection>>,
    readers_free: Semaphore,
    /// Held as long as the process lives; the operating system lets go of it however the process ends.
    _lock: File,
}

pub struct SqliteTx<'a>(&'a mut Connection);

impl Sqlite {
    pub fn open(folder: &Path) -> Result<Sqlite> {
        let unavailable = |err: &dyn std::fmt::Display| Error::Unavailable(format!("{}: {err}", folder.display()));
        std::fs::create_dir_all(folder).map_err(|err| unavailable(&err))?;
        let lock = File::create(folder.join("larder.lock")).map_err(|err| unavailable(&err))?;
        lock.try_lock().map_err(|err| match err {
            TryLockError::WouldBlock => unavailable(
                &"another Larder process has this data folder open; the embedded database serves one process. Stop the other, or choose another folder",
            ),
            TryLockError::Error(err) => unavailable(&err),
        })?;
        let path = folder.join("larder.db");
        let writer = Connection::open(&path).map_err(|err| unavailable(&err))?;
        writer
            .execute_batch(
                "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; PRAGMA busy_timeout = 5000;
                 PRAGMA cache_size = -65536; PRAGMA wal_autocheckpoint = 4000;",
            )
            .map_err(|err| unavailable(&err))?;
        writer.set_prepared_statement_cache_capacity(256);
        let readers = (0..READERS)
            .map(|_| {
                let reader = Connection::open_with_flags(
                    &path,
                    OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX,
                )?;
                reader.set_prepared_statement_cache_capacity(128);
                reader.execute_batch("PRAGMA busy_timeout = 5000; PRAGMA cache_size = -16384;")?;
                Ok(reader)
            })
            .collect::<rusqlite::Result<Vec<_>>>()
            .map_err(|err| unavailable(&err))?;
        Ok(Sqlite(Arc::new(Shared {
            writer: Mutex::new(writer),
            readers: StdMutex::new(readers),
            readers_free: Semaphore::new(READERS),
            _lock: lock,
        })))
    }

    pub async fn rows(&self, sql: &str, args: &[Value]) -> Result<Vec<Row>> {
        let _permit = self.0.readers_free.acquire().await.expect("never closed");
        let reader = self.0.readers.lock().expect("no panic under the lock").pop().expect("as many as permits");
        let rows = tokio::task::block_in_place(|| select(&reader, sql, args));
        self.0.readers.lock().expect("no panic under the lock").push(reader);
        rows
    }

    pub async fn tx<C, T, F>(&self, name: &'static str, with: &C, body: F) -> Result<T>
    where
        C: Sync + ?Sized,
        F: for<'t> Fn(&'t mut Tx<'_>, &'t C) -> BoxFuture<'t, Result<T>> + Sync,
        T: Send,
    {
        let mut writer = self.0.writer.lock().await;
        tokio::task::block_in_place(|| {
            let step =
                |connection: &Connection, sql: &str| connection.execute_batch(sql).map_err(|err| failed(name, err));
            step(&writer, "BEGIN IMMEDIATE")?;
            let mut tx = Tx::Sqlite(SqliteTx(&mut writer));
            let done =
                body(&mut tx, with).now_or_never().expect("a transaction waits for nothing but its own statements")?;
            match &tx {
                Tx::Sqlite(tx) => step(tx.0, "COMMIT")?,
                Tx::MariaDb(_) => unreachable!("it was made above"),
            }
            Ok(done)
        })
    }
}

/// Whatever was not committed is rolled back, also when the body unwinds: the next transaction begins clean.
impl Drop for SqliteTx<'_> {
    fn drop(&mut self) {
        if !self.0.is_autocommit()
            && let Err(err) = self.0.execute_batch("ROLLBACK")
        {
            tracing::error!(error = %err, "the embedded database could not roll back");
        }
    }
}

impl SqliteTx<'_> {
    pub fn run(&mut self, sql: &str, args: &[Value]) -> Result<Changed> {
        let changed = self
            .0
            .prepare_cached(sql)
            .and_then(|mut statement| statement.execute(rusqlite::params_from_iter(args)))
            .map_err(|err| failed(sql, err))?;
        Ok(Changed(changed as u64))
    }

    pub fn rows(&mut self, sql: &str, args: &[Value]) -> Result<Vec<Row>> {
        select(self.0, sql, args)
    }
}

fn select(connection: &Connection, sql: &str, args: &[Value]) -> Result<Vec<Row>> {
    let read = || -> rusqlite::Result<Vec<Row>> {
        let mut statement = connection.prepare_cached(sql)?;
        let width = statement.column_count();
        let mut rows = statement.query(rusqlite::params_from_iter(args))?;
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            found.push(Row((0..width).map(|at| row.get_ref(at).map(owned)).collect::<rusqlite::Result<_>>()?));
        }
        Ok(found)
    };
    read().map_err(|err| failed(sql, err))
}

fn owned(value: ValueRef<'_>) -> Value {
    match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(int) => Value::Int(int),
        // No column is REAL and no query divides, so this is a sum that left the integers.
        ValueRef::Real(real) => Value::Text(real.to_string()),
        ValueRef::Text(text) => Value::Text(String::from_utf8_lossy(text).into_owned()),
        ValueRef::Blob(blob) => Value::Blob(blob.to_vec()),
    }
}

impl ToSql for Value {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Value::Null => ValueRef::Null,
            Value::Int(int) => ValueRef::Integer(*int),
            Value::Text(text) => ValueRef::Text(text.as_bytes()),
            Value::Blob(blob) => ValueRef::Blob(blob),
        }))
    }
}

fn failed(sql: &str, err: rusqlite::Error) -> Error {
    use rusqlite::ErrorCode::*;
    let statement = || sql.lines().next().unwrap_or("").trim_start_matches("-- ").to_owned();
    match err.sqlite_error_code() {
        Some(ConstraintViolation) => Error::Conflict { key: err.to_string() },
        Some(DatabaseBusy | DatabaseLocked) => Error::Contended(err.to_string()),
        Some(DiskFull | CannotOpen | SystemIoFailure | DatabaseCorrupt | ReadOnly | NotADatabase | OutOfMemory) => {
            Error::Unavailable(format!("{}: {err}", statement()))
        }
        _ => Error::Statement { statement: statement(), why: err.to_string() },
    }
}
