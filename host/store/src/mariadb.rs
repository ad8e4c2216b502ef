//! MariaDB 10.6 or later: any number of processes over one database.
//!
//! Transactions run at READ COMMITTED, so a body locks what it reads and then changes ([`crate::db::Lock`]), or guards the
//! change in its `WHERE`. A transaction that lost a race (deadlock, lock wait, changed snapshot) or whose connection broke
//! *before* its COMMIT is run again as a whole. If a connection breaks *during* COMMIT, the outcome of the transaction is
//! unknown: [`Error::Unknown`]. Only a caller that knows what it wrote can resolve that, by looking it up.
//!
//! The connections are pooled here instead of in the driver: a connection that was interrupted in the middle of anything
//! must be dropped, never reset and reused.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex as StdMutex};
use std::time::Duration;

use futures::future::BoxFuture;
use larder_model::settings;
use mysql_async::consts::ColumnFlags;
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Opts, OptsBuilder, Params, SslOpts};
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::db::{Changed, Lock, PageBytes, Row, Tx, Value, statement_name};
use crate::{Error, Result};

/// How often a transaction is run before it is given up as contended.
const TRIES: u32 = 12;
/// How often a transaction whose connection broke is run before the database counts as unavailable.
const TRIES_BROKEN: u32 = 3;
/// The longest time that a statement waits for a row that another transaction has locked.
const LOCK_WAIT_S: u32 = 5;
/// The server ends a transaction that is idle for so long: its process is dead or stopped, and its locks block others. It
/// is shorter than the lock wait, so that the waiting transactions get their locks.
const IDLE_TRANSACTION_S: u32 = 3;
const STATEMENTS_CACHED: usize = 256;
const PACKET_BYTES_MIN: i64 = 16 << 20;
/// How long a process waits for another one that migrates the schema.
const MIGRATION_WAIT_S: u32 = 120;

/// Errors of MariaDB (error code reference): a deadlock, a lock wait timeout, and a row that changed since the
/// transaction's snapshot.
const LOST_RACES: [u16; 3] = [1213, 1205, 1020];
/// A table, column or index that already exists.
const EXISTS: [u16; 3] = [1050, 1060, 1061];
const DUPLICATE_KEY: u16 = 1062;
/// A statement exceeded `max_statement_time`.
const STATEMENT_TOO_SLOW: u16 = 1969;
/// The server is shutting down, or closed this connection.
const SHUTDOWN_CODES: [u16; 5] = [1053, 1152, 1159, 1160, 1927];

#[derive(Clone)]
pub struct MariaDb(Arc<Shared>);

struct Shared {
    opts: Opts,
    idle: StdMutex<Vec<Conn>>,
    permits: Semaphore,
    timeout: Duration,
    /// The largest packet that the server accepts.
    packet_bytes: AtomicUsize,
}

/// An open transaction.
pub struct MariaTx<'a> {
    conn: &'a mut Conn,
    timeout: Duration,
    packet_bytes: usize,
    /// Why the transaction must be run again, if it must.
    retryable: Option<Retryable>,
}

#[derive(Clone, Copy, Debug)]
enum Retryable {
    /// A lost race, with its error code.
    Race(u16),
    Broken,
}

/// A connection of the pool. It is returned with `release`; otherwise it is dropped.
struct PooledConn<'a> {
    conn: Conn,
    from: &'a Shared,
    _permit: SemaphorePermit<'a>,
}

impl PooledConn<'_> {
    fn release(self) {
        self.from.idle.lock().expect("no panic under the lock").push(self.conn);
    }

    /// Drops it and all idle connections: the cause has most likely broken them too.
    fn discard(self) {
        self.from.idle.lock().expect("no panic under the lock").clear();
    }
}

impl MariaDb {
    /// Connects and checks that the server is supported. Also returns warnings for the operator.
    pub async fn open(settings: &settings::Database) -> Result<(MariaDb, Vec<String>)> {
        let db = MariaDb(Arc::new(Shared {
            opts: opts(settings, None)?,
            idle: StdMutex::default(),
            permits: Semaphore::new(settings.connections_max),
            timeout: settings.timeout,
            packet_bytes: AtomicUsize::new(PACKET_BYTES_MIN as usize),
        }));
        let warnings = db.check().await?;
        Ok((db, warnings))
    }

    /// The same database through a separate pool of at most `connections`.
    pub fn beside(&self, connections: usize) -> MariaDb {
        self.pool(self.0.opts.clone(), connections)
    }

    /// The same, and the server ends each statement that takes longer than `deadline`.
    pub fn with_deadline(
        &self,
        settings: &settings::Database,
        connections: usize,
        deadline: Duration,
    ) -> Result<MariaDb> {
        Ok(self.pool(opts(settings, Some(deadline))?, connections))
    }

    fn pool(&self, opts: Opts, connections: usize) -> MariaDb {
        let (idle, permits) = (StdMutex::default(), Semaphore::new(connections));
        let packet_bytes = AtomicUsize::new(self.packet_bytes());
        MariaDb(Arc::new(Shared { opts, idle, permits, timeout: self.0.timeout, packet_bytes }))
    }

    async fn check(&self) -> Result<Vec<String>> {
        const SERVER: &str = "-- server
            SELECT VERSION(), @@innodb_flush_log_at_trx_commit, @@log_bin, @@sync_binlog, @@collation_database, @@max_allowed_packet";
        let row = self
            .rows(SERVER, &[], usize::MAX)
            .await?
            .pop()
            .ok_or_else(|| Error::Unavailable("it returned no row".into()))?;
        let version = row.text(0)?;
        if !supported(&version) {
            return Err(Error::Unavailable(format!(
                "database.url: MariaDB 10.6 or later is needed, this is {version}"
            )));
        }
        if row.text(4)? != "utf8mb4_nopad_bin" {
            return Err(Error::Unavailable(format!(
                "database.url: the database's collation must be utf8mb4_nopad_bin, it is {}; while it is empty, run: \
                 ALTER DATABASE CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin",
                row.text(4)?
            )));
        }
        if row.int(5)? < PACKET_BYTES_MIN {
            return Err(Error::Unavailable(format!(
                "database.url: max_allowed_packet must be at least {PACKET_BYTES_MIN}, it is {}",
                row.int(5)?
            )));
        }
        self.0.packet_bytes.store(row.int(5)? as usize, Ordering::Relaxed);
        let mut warnings = Vec::new();
        if row.int(1)? != 1 {
            warnings.push(format!(
                "innodb_flush_log_at_trx_commit is {} and not 1: what was committed can be lost when the database's machine dies",
                row.int(1)?
            ));
        }
        if row.flag(2)? && row.int(3)? != 1 {
            warnings.push(format!(
                "sync_binlog is {} and not 1: a replica can miss what was committed when the database's machine dies",
                row.int(3)?
            ));
        }
        Ok(warnings)
    }

    pub fn packet_bytes(&self) -> usize {
        self.0.packet_bytes.load(Ordering::Relaxed)
    }

    async fn acquire(&self) -> Result<PooledConn<'_>> {
        let shared = &*self.0;
        let permit = tokio::time::timeout(shared.timeout, shared.permits.acquire())
            .await
            .map_err(|_| Error::Unavailable("all connections are in use".into()))?
            .expect("never closed");
        let idle = shared.idle.lock().expect("no panic under the lock").pop();
        let conn = match idle {
            Some(conn) => conn,
            None => tokio::time::timeout(shared.timeout, Conn::new(shared.opts.clone()))
                .await
                .map_err(|_| Error::Unavailable(format!("no connection within {:?}", shared.timeout)))?
                .map_err(|err| Error::Unavailable(err.to_string()))?,
        };
        Ok(PooledConn { conn, from: shared, _permit: permit })
    }

    /// Reads rows of at most `bytes` together.
    pub async fn rows(&self, sql: &str, args: &[Value], bytes: usize) -> Result<Vec<Row>> {
        check_packet_size(self.packet_bytes(), sql, args)?;
        let mut tries = 0;
        loop {
            tries += 1;
            let mut pooled = self.acquire().await?;
            match select(&mut pooled.conn, self.0.timeout, sql, args, bytes).await {
                // The rest of the result is still to come on this connection, so it is dropped.
                Err(Failed { error: error @ Error::PageTooLarge { .. }, .. }) => return Err(error),
                Ok(rows) => {
                    pooled.release();
                    return Ok(rows);
                }
                Err(Failed { error, retryable: None }) => {
                    pooled.release();
                    return Err(error);
                }
                Err(Failed { error, retryable: Some(retryable) }) => {
                    pooled.discard();
                    retry_or_give_up(sql, tries, retryable, error).await?;
                }
            }
        }
    }

    pub async fn tx<C, T, F>(&self, name: &'static str, with: &C, body: F) -> Result<T>
    where
        C: Sync + ?Sized,
        F: for<'t> Fn(&'t mut Tx<'_>, &'t C) -> BoxFuture<'t, Result<T>> + Sync,
        T: Send,
    {
        let mut tries = 0;
        loop {
            tries += 1;
            let mut pooled = self.acquire().await?;
            if let Err(failed) = run_control(&mut pooled.conn, self.0.timeout, "START TRANSACTION").await {
                pooled.discard();
                retry_or_give_up(name, tries, Retryable::Broken, failed.error).await?;
                continue;
            }
            let (done, retryable) = {
                let mut tx = Tx::MariaDb(MariaTx {
                    conn: &mut pooled.conn,
                    timeout: self.0.timeout,
                    packet_bytes: self.packet_bytes(),
                    retryable: None,
                });
                let done = body(&mut tx, with).await;
                match tx {
                    Tx::MariaDb(tx) => (done, tx.retryable),
                    Tx::Sqlite(_) => unreachable!("it was made above"),
                }
            };
            match (done, retryable) {
                (Ok(done), None) => match run_control(&mut pooled.conn, self.0.timeout, "COMMIT").await {
                    Ok(()) => {
                        pooled.release();
                        return Ok(done);
                    }
                    Err(Failed { error, retryable: Some(retryable @ Retryable::Race(_)) }) => {
                        self.roll_back(pooled).await;
                        retry_or_give_up(name, tries, retryable, error).await?;
                    }
                    Err(Failed { error, .. }) => {
                        pooled.discard();
                        metrics::counter!("larder_commits_unknown_total", "transaction" => name).increment(1);
                        return Err(Error::Unknown(format!("{name}: {error}")));
                    }
                },
                (done, Some(retryable)) => {
                    match retryable {
                        Retryable::Race(_) => self.roll_back(pooled).await,
                        Retryable::Broken => pooled.discard(),
                    }
                    // A body that ignored the error of a statement must not commit either.
                    let error = done.err().unwrap_or_else(|| Error::Contended(name.into()));
                    retry_or_give_up(name, tries, retryable, error).await?;
                }
                (Err(err), None) => {
                    self.roll_back(pooled).await;
                    return Err(err);
                }
            }
        }
    }

    /// After a deadlock nothing is left to roll back; after a lock wait everything but the last statement is.
    async fn roll_back(&self, mut pooled: PooledConn<'_>) {
        match run_control(&mut pooled.conn, self.0.timeout, "ROLLBACK").await {
            Ok(()) => pooled.release(),
            Err(_) => pooled.discard(),
        }
    }

    /// Runs each statement of the schema that has not been run, one process at a time. MariaDB commits each statement on
    /// its own, so a statement that ran before the process died fails as existing and counts as done.
    pub async fn migrate(&self, versions: &[(i64, &str)], create: &str, done: &str, add: &str) -> Result<()> {
        let wait = self.0.timeout.max(Duration::from_secs(u64::from(MIGRATION_WAIT_S) + 5));
        let mut pooled = self.acquire().await?;
        let lock = format!("-- lock_schema\n SELECT GET_LOCK(CONCAT('larder-', DATABASE()), {MIGRATION_WAIT_S})");
        let locked = select(&mut pooled.conn, wait, &lock, &[], usize::MAX).await.map_err(|failed| failed.error)?;
        if !locked.first().map_or(Ok(false), |row| row.maybe_int(0).map(|one| one == Some(1)))? {
            return Err(Error::Unavailable("another process has been migrating the schema for too long".into()));
        }
        let run = async |conn: &mut Conn, sql: &str, args: &[Value]| match change(conn, wait, sql, args).await {
            Ok(_) => Ok(()),
            Err(failed) => Err(failed.error),
        };
        run(&mut pooled.conn, create, &[]).await?;
        let have = select(&mut pooled.conn, wait, done, &[], usize::MAX).await.map_err(|failed| failed.error)?;
        let have: Vec<i64> = have.iter().map(|row| row.int(0)).collect::<Result<_>>()?;
        crate::db::refuse_newer(&have, versions)?;
        for (version, text) in versions.iter().filter(|(version, _)| !have.contains(version)) {
            for statement in crate::db::statements(text) {
                match pooled.conn.query_drop(statement).await {
                    Ok(()) => {}
                    Err(mysql_async::Error::Server(err)) if EXISTS.contains(&err.code) => {}
                    Err(err) => return Err(failed(statement, err).error),
                }
            }
            run(&mut pooled.conn, add, &[Value::Int(*version)]).await?;
        }
        // The lock is released with the connection.
        drop(pooled);
        Ok(())
    }
}

impl MariaTx<'_> {
    pub async fn run(&mut self, sql: &str, args: &[Value]) -> Result<Changed> {
        check_packet_size(self.packet_bytes, sql, args)?;
        let done = change(self.conn, self.timeout, sql, args).await;
        self.note_failure(done)
    }

    pub async fn rows(&mut self, sql: &str, args: &[Value]) -> Result<Vec<Row>> {
        check_packet_size(self.packet_bytes, sql, args)?;
        let done = select(self.conn, self.timeout, sql, args, usize::MAX).await;
        self.note_failure(done)
    }

    pub async fn locked(&mut self, lock: Lock, sql: &str, args: &[Value]) -> Result<Vec<Row>> {
        let suffix = match lock {
            Lock::Shared => "LOCK IN SHARE MODE",
            Lock::Exclusive => "FOR UPDATE",
            Lock::Skip => "FOR UPDATE SKIP LOCKED",
        };
        self.rows(&format!("{sql} {suffix}"), args).await
    }

    fn note_failure<T>(&mut self, done: std::result::Result<T, Failed>) -> Result<T> {
        done.map_err(|failed| {
            self.retryable = self.retryable.or(failed.retryable);
            failed.error
        })
    }
}

/// The server closes a connection that sends a larger packet than it accepts.
fn check_packet_size(max: usize, sql: &str, args: &[Value]) -> Result<()> {
    let bytes = sql.len() + args.iter().map(|value| value.bytes() + 16).sum::<usize>();
    if bytes > max {
        return Err(Error::TooLarge { statement: statement_name(sql).into(), bytes, max });
    }
    Ok(())
}

/// A statement that failed, and whether the transaction can be run again.
struct Failed {
    error: Error,
    retryable: Option<Retryable>,
}

/// Waits before the next attempt, or returns the error after the last one.
async fn retry_or_give_up(name: &str, tries: u32, retryable: Retryable, error: Error) -> Result<()> {
    let most = match retryable {
        Retryable::Race(_) => TRIES,
        Retryable::Broken => TRIES_BROKEN,
    };
    if tries >= most {
        return Err(error);
    }
    match retryable {
        Retryable::Race(code) => {
            metrics::counter!("larder_store_races_total", "code" => code.to_string()).increment(1);
        }
        Retryable::Broken => metrics::counter!("larder_store_broken_connections_total").increment(1),
    }
    tracing::debug!(statement = statement_name(name), tries, error = %error, "a statement or transaction is run again");
    let most_ms = 2u64 << tries.min(7);
    tokio::time::sleep(Duration::from_millis(1 + larder_model::time::jitter(most_ms))).await;
    Ok(())
}

async fn run_control(conn: &mut Conn, timeout: Duration, sql: &'static str) -> std::result::Result<(), Failed> {
    match tokio::time::timeout(timeout, conn.query_drop(sql)).await {
        Ok(done) => done.map_err(|err| failed(sql, err)),
        Err(_) => Err(timed_out(sql, timeout)),
    }
}

async fn change(conn: &mut Conn, timeout: Duration, sql: &str, args: &[Value]) -> std::result::Result<Changed, Failed> {
    let work = async {
        let result = conn.exec_iter(sql, params(args)).await?;
        let changed = result.affected_rows();
        result.drop_result().await?;
        Ok(Changed(changed))
    };
    match tokio::time::timeout(timeout, work).await {
        Ok(done) => done.map_err(|err| failed(sql, err)),
        Err(_) => Err(timed_out(sql, timeout)),
    }
}

async fn select(
    conn: &mut Conn,
    timeout: Duration,
    sql: &str,
    args: &[Value],
    bytes: usize,
) -> std::result::Result<Vec<Row>, Failed> {
    let work = async {
        let failed = |err| failed(sql, err);
        let mut result = conn.exec_iter(sql, params(args)).await.map_err(failed)?;
        let (mut rows, mut page) = (Vec::new(), PageBytes::new(bytes));
        while let Some(found) = result.next().await.map_err(failed)? {
            let row = row(sql, found)?;
            page.take(&row).map_err(|error| Failed { error, retryable: None })?;
            rows.push(row);
        }
        Ok(rows)
    };
    tokio::time::timeout(timeout, work).await.unwrap_or_else(|_| Err(timed_out(sql, timeout)))
}

fn params(args: &[Value]) -> Params {
    if args.is_empty() {
        return Params::Empty;
    }
    let value = |value: &Value| match value {
        Value::Null => mysql_async::Value::NULL,
        Value::Int(int) => mysql_async::Value::Int(*int),
        Value::Text(text) => mysql_async::Value::Bytes(text.clone().into_bytes()),
        Value::Blob(blob) => mysql_async::Value::Bytes(blob.clone()),
    };
    Params::Positional(args.iter().map(value).collect())
}

fn row(sql: &str, found: mysql_async::Row) -> std::result::Result<Row, Failed> {
    use mysql_async::Value as Found;
    let columns = found.columns();
    let values = found.unwrap().into_iter().zip(columns.iter()).map(|(value, column)| match value {
        Found::NULL => Ok(Value::Null),
        Found::Int(int) => Ok(Value::Int(int)),
        Found::UInt(int) => i64::try_from(int).map(Value::Int).map_err(|err| err.to_string()),
        Found::Bytes(bytes)
            if column.flags().contains(ColumnFlags::BINARY_FLAG) && column.character_set() == BINARY =>
        {
            Ok(Value::Blob(bytes))
        }
        Found::Bytes(bytes) => String::from_utf8(bytes).map(Value::Text).map_err(|err| err.to_string()),
        other => Err(format!("a value of a kind that no column has: {other:?}")),
    });
    let values: std::result::Result<Vec<Value>, String> = values.collect();
    let wrong =
        |why| Failed { error: Error::Statement { statement: statement_name(sql).into(), why }, retryable: None };
    values.map(Row).map_err(wrong)
}

/// The character set of binary columns.
const BINARY: u16 = 63;

fn timed_out(sql: &str, timeout: Duration) -> Failed {
    let why = format!("{}: no answer within {timeout:?}", statement_name(sql));
    Failed { error: Error::Unavailable(why), retryable: Some(Retryable::Broken) }
}

fn failed(sql: &str, err: mysql_async::Error) -> Failed {
    let name = statement_name(sql);
    let (error, retryable) = match &err {
        mysql_async::Error::Server(server) if LOST_RACES.contains(&server.code) => {
            (Error::Contended(format!("{name}: {err}")), Some(Retryable::Race(server.code)))
        }
        mysql_async::Error::Server(server) if server.code == DUPLICATE_KEY => {
            (Error::Conflict { key: server.message.clone() }, None)
        }
        mysql_async::Error::Server(server) if server.code == STATEMENT_TOO_SLOW => (Error::TooSlow(name.into()), None),
        mysql_async::Error::Server(server) if !SHUTDOWN_CODES.contains(&server.code) => {
            (Error::Statement { statement: name.into(), why: err.to_string() }, None)
        }
        _ => (Error::Unavailable(format!("{name}: {err}")), Some(Retryable::Broken)),
    };
    Failed { error, retryable }
}

fn opts(settings: &settings::Database, deadline: Option<Duration>) -> Result<Opts> {
    let wrong = |why: String| Error::Unavailable(format!("database.{why}"));
    // The address without the password, which no message may contain.
    let opts = Opts::from_url(&settings.url).map_err(|err| wrong(format!("url: {err}")))?;
    if opts.db_name().is_none_or(str::is_empty) {
        return Err(wrong("url: it must name a database: mysql://user@host:3306/larder".into()));
    }
    let mut builder = OptsBuilder::from_opts(opts)
        .client_found_rows(true)
        .tcp_keepalive(Some(Duration::from_secs(30)))
        .tcp_nodelay(true)
        .prefer_socket(false)
        .stmt_cache_size(STATEMENTS_CACHED)
        .setup(vec![format!(
            "SET SESSION max_statement_time = {}, SESSION sql_mode = 'STRICT_ALL_TABLES,ONLY_FULL_GROUP_BY,NO_ENGINE_SUBSTITUTION',
            SESSION tx_isolation = 'READ-COMMITTED', SESSION collation_connection = 'utf8mb4_nopad_bin',
            SESSION innodb_lock_wait_timeout = {LOCK_WAIT_S}, SESSION idle_transaction_timeout = {IDLE_TRANSACTION_S}",
            deadline.map_or(0.0, |deadline| deadline.as_secs_f64())
        )]);
    if !settings.password_file.as_os_str().is_empty() {
        let password = larder_secrets::read_private(&settings.password_file)
            .map_err(|err| wrong(format!("password_file: {}: {err}", settings.password_file.display())))?;
        builder = builder.pass(Some(password.trim()));
    }
    if !settings.ca_file.as_os_str().is_empty() {
        let authority: &Path = &settings.ca_file;
        // An invalid file is reported here: a connection error would only say that it could not be made.
        larder_signals::tls::client(authority, false).map_err(|err| wrong(format!("ca_file: {err:#}")))?;
        let tls =
            SslOpts::default().with_root_certs(vec![authority.to_path_buf().into()]).with_disable_built_in_roots(true);
        builder = builder.ssl_opts(Some(tls));
    }
    Ok(builder.into())
}

/// Is this version, such as `10.11.14-MariaDB-…`, MariaDB 10.6 or later?
fn supported(version: &str) -> bool {
    let mut numbers = version.split(['.', '-']).map_while(|part| part.parse::<u32>().ok());
    let (major, minor) = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    version.contains("MariaDB") && (major, minor) >= (10, 6)
}

#[cfg(test)]
mod tests {
    use super::supported;

    #[test]
    fn supported_versions() {
        for (version, expected) in [
            ("10.11.14-MariaDB-0+deb12u2", true),
            ("10.6.0-MariaDB", true),
            ("11.4.2-MariaDB-log", true),
            ("10.5.29-MariaDB", false),
            ("5.5.5-10.4.1-MariaDB", false),
            ("8.0.36", false),
            ("", false),
        ] {
            assert_eq!(supported(version), expected, "{version}");
        }
    }
}
