//! The embedded database: SQLite in WAL mode with `synchronous=FULL`, for one process with one writer and a few readers.
//!
//! SQLite works on the calling thread, announced to tokio with `block_in_place`. A transaction runs from BEGIN to COMMIT
//! without yielding the thread, so its body must wait for nothing but its own statements.

use std::fs::{File, TryLockError};
use std::path::Path;
use std::sync::{Arc, Mutex as StdMutex};
use std::time::{Duration, Instant};

use futures::FutureExt;
use futures::future::BoxFuture;
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, OpenFlags, ToSql};
use tokio::sync::{Mutex, Semaphore};

use crate::db::{Changed, PageBytes, Row, Tx, Value};
use crate::{Error, Result};

const FILE: &str = "larder.db";
/// Readers besides those of lists.
const READERS: usize = 4;

#[derive(Clone)]
pub struct Sqlite {
    shared: Arc<Shared>,
    readers: Arc<Readers>,
}

struct Shared {
    writer: Mutex<Connection>,
    /// Held as long as the process lives; the operating system releases it however the process ends.
    _lock: File,
}

struct Readers {
    idle: StdMutex<Vec<Connection>>,
    free: Semaphore,
    /// The time limit of a statement.
    deadline: Option<Duration>,
}

/// Steps of SQLite's virtual machine between two checks of the time: a fraction of a millisecond.
const STEPS: i32 = 10_000;

impl Readers {
    fn open(path: &Path, count: usize, deadline: Option<Duration>) -> rusqlite::Result<Readers> {
        let open = |_| {
            let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
            let reader = Connection::open_with_flags(path, flags)?;
            reader.set_prepared_statement_cache_capacity(128);
            reader.execute_batch("PRAGMA busy_timeout = 5000; PRAGMA cache_size = -16384;")?;
            Ok(reader)
        };
        let idle = (0..count).map(open).collect::<rusqlite::Result<Vec<_>>>()?;
        Ok(Readers { idle: StdMutex::new(idle), free: Semaphore::new(count), deadline })
    }

    fn select(&self, reader: &mut Connection, sql: &str, args: &[Value], bytes: usize) -> Result<Vec<Row>> {
        let Some(deadline) = self.deadline else { return select(reader, sql, args, bytes) };
        let begun = Instant::now();
        let late = move || begun.elapsed() > deadline;
        reader.progress_handler(STEPS, Some(late)).map_err(|err| failed(sql, err))?;
        let rows = select(reader, sql, args, bytes);
        reader.progress_handler(0, None::<fn() -> bool>).map_err(|err| failed(sql, err))?;
        rows
    }
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
        let path = folder.join(FILE);
        let writer = Connection::open(&path).map_err(|err| unavailable(&err))?;
        writer
            .execute_batch(
                "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; PRAGMA busy_timeout = 5000;
                 PRAGMA cache_size = -65536; PRAGMA wal_autocheckpoint = 4000;",
            )
            .map_err(|err| unavailable(&err))?;
        writer.set_prepared_statement_cache_capacity(256);
        let readers = Readers::open(&path, READERS, None).map_err(|err| unavailable(&err))?;
        Ok(Sqlite { shared: Arc::new(Shared { writer: Mutex::new(writer), _lock: lock }), readers: Arc::new(readers) })
    }

    /// Opens the same database with separate readers, whose statements end at `deadline`.
    pub fn readers_beside(&self, folder: &Path, count: usize, deadline: Duration) -> Result<Sqlite> {
        let readers = Readers::open(&folder.join(FILE), count, Some(deadline))
            .map_err(|err| Error::Unavailable(format!("{}: {err}", folder.display())))?;
        Ok(Sqlite { shared: self.shared.clone(), readers: Arc::new(readers) })
    }

    /// Reads rows of at most `bytes` together.
    pub async fn rows(&self, sql: &str, args: &[Value], bytes: usize) -> Result<Vec<Row>> {
        let readers = &*self.readers;
        let _permit = readers.free.acquire().await.expect("never closed");
        let mut reader = readers.idle.lock().expect("no panic under the lock").pop().expect("as many as permits");
        let rows = tokio::task::block_in_place(|| readers.select(&mut reader, sql, args, bytes));
        readers.idle.lock().expect("no panic under the lock").push(reader);
        rows
    }

    pub async fn tx<C, T, F>(&self, name: &'static str, with: &C, body: F) -> Result<T>
    where
        C: Sync + ?Sized,
        F: for<'t> Fn(&'t mut Tx<'_>, &'t C) -> BoxFuture<'t, Result<T>> + Sync,
        T: Send,
    {
        let mut writer = self.shared.writer.lock().await;
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

/// Uncommitted changes are rolled back, also when the body unwinds, so the next transaction starts clean.
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
        select(self.0, sql, args, usize::MAX)
    }
}

fn select(connection: &Connection, sql: &str, args: &[Value], bytes: usize) -> Result<Vec<Row>> {
    let failed = |err| failed(sql, err);
    let mut statement = connection.prepare_cached(sql).map_err(failed)?;
    let width = statement.column_count();
    let mut rows = statement.query(rusqlite::params_from_iter(args)).map_err(failed)?;
    let (mut found, mut page) = (Vec::new(), PageBytes::new(bytes));
    while let Some(row) = rows.next().map_err(failed)? {
        let row = (0..width).map(|at| row.get_ref(at).map(owned)).collect::<rusqlite::Result<_>>();
        let row = Row(row.map_err(failed)?);
        page.take(&row)?;
        found.push(row);
    }
    Ok(found)
}

fn owned(value: ValueRef<'_>) -> Value {
    match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(int) => Value::Int(int),
        // No column is REAL and no query divides, so this is a sum that overflowed the integers.
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
        Some(OperationInterrupted) => Error::TooSlow(statement()),
        Some(DatabaseBusy | DatabaseLocked) => Error::Contended(err.to_string()),
        Some(DiskFull | CannotOpen | SystemIoFailure | DatabaseCorrupt | ReadOnly | NotADatabase | OutOfMemory) => {
            Error::Unavailable(format!("{}: {err}", statement()))
        }
        _ => Error::Statement { statement: statement(), why: err.to_string() },
    }
}
