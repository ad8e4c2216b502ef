//! What is durable: synchronous calls with an effect, and the queue, on a MariaDB that writes each commit to the disk.
//!
//! * [`Durable`]: a Larder over a server of its own, for every part that needs rows in numbers.
//! * [`effects`]: beside bare commits of one row. [`queue`]: beside a loop that claims and updates.

use std::time::{Duration, Instant};

use anyhow::Context;
use larder_tests::services::{Database, MariaDb};
use larder_tests::{Api, Larder, Options, guests};
use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use serde_json::json;
use tokio::task::JoinSet;

use crate::measure::{Kind, Line, Row};
use crate::{Plan, load, machine, say};

pub const PARTNER: &str = "demo";
const CONNECTIONS: usize = 32;
/// Savers, so that none has more transactions than in a year.
const SAVERS: usize = 1_024;
/// The buffer pool and the redo log, so that neither decides.
const SERVER: [&str; 2] = ["--innodb-buffer-pool-size=1G", "--innodb-log-file-size=512M"];
const PATIENCE: Duration = Duration::from_secs(600);

/// A Larder over a server of its own.
pub struct Durable {
    pub larder: Larder,
    pub api: Api,
    pub database: Database,
    /// Dropped last.
    _server: MariaDb,
}

impl Durable {
    pub async fn start(options: Options) -> anyhow::Result<Durable> {
        let folder = larder_tests::folder("larder-bench-").keep();
        // A server that starts removes the temporary tables that it finds, those of other servers too.
        let temporary = format!("--tmpdir={}", folder.display());
        let server = MariaDb::start_with(&folder, SERVER.map(String::from).into_iter().chain([temporary]).collect());
        let database = Database::create_on(&server.url()).await;
        let larder = Larder::start_with(options.set("LARDER_DATABASE__URL", database.url())).await;
        let api = larder.api();
        Ok(Durable { larder, api, database, _server: server })
    }

    pub async fn connect(&self) -> Conn {
        self.database.connect().await
    }

    pub async fn count(&self, of: &str) -> anyhow::Result<u64> {
        self.connect().await.query_first(format!("SELECT COUNT(*) FROM {of}")).await?.context("a count")
    }

    /// Copies of one row of a table, made by the server: `n` runs from 1. Columns that are not named stay as they are.
    pub async fn copies(&self, table: &str, of: &str, set: &[(&str, &str)], number: u64) -> anyhow::Result<()> {
        let mut connection = self.connect().await;
        let columns: Vec<String> = connection
            .query(format!(
                "SELECT column_name FROM information_schema.columns
                 WHERE table_schema = DATABASE() AND table_name = '{table}' ORDER BY ordinal_position"
            ))
            .await?;
        let value = |column: &String| {
            let found = set.iter().find(|(name, _)| name == column);
            found.map_or_else(|| format!("t.{column}"), |(_, value)| (*value).to_owned())
        };
        let values: Vec<String> = columns.iter().map(value).collect();
        // Each in a transaction of its own: one of a million rows leaves much to be purged.
        const BATCH: u64 = 50_000;
        for from in (1..=number).step_by(BATCH as usize) {
            let sql = format!(
                "INSERT INTO {table} ({}) SELECT {} FROM {table} t
                 JOIN (SELECT seq AS n FROM seq_{from}_to_{}) numbers WHERE {of}",
                columns.join(", "),
                values.join(", "),
                (from + BATCH - 1).min(number)
            );
            connection.query_drop(sql).await?;
            let (made, of) = (connection.affected_rows(), (from + BATCH).min(number + 1) - from);
            anyhow::ensure!(made == of, "{made} rows of {table} were made instead of {of}");
        }
        connection.query_drop(format!("ANALYZE TABLE {table}")).await?;
        Ok(())
    }

    /// An empty table like one of Larder's, with its indexes.
    async fn bare_like(&self, table: &str) -> anyhow::Result<()> {
        let mut connection = self.connect().await;
        connection.query_drop(format!("DROP TABLE IF EXISTS bare_{table}")).await?;
        connection.query_drop(format!("CREATE TABLE bare_{table} LIKE {table}")).await?;
        Ok(())
    }
}

/// Calls through the API, each of which saves for an end user of its own, beside bare inserts of one transaction each.
pub async fn effects(plan: &Plan) -> anyhow::Result<Vec<Line>> {
    say(&format!("synchronous calls with one effect, {CONNECTIONS} connections"));
    let bench = Durable::start(Options::default()).await?;
    bench.api.deploy("probe", &guests::guest("probe"), json!({})).await;
    let mut requests = Vec::new();
    for n in 0..SAVERS {
        let saver = format!("saver-{n}");
        bench.api.enrol("probe", &saver, "all", json!({})).await;
        let body = json!({ "amount": "0.01", "memo": "bench", "endUser": saver }).to_string();
        let execution = json!({ "body": body, "async": false }).to_string();
        requests.push(load::post("/functions/probe/executions", bench.larder.key(), &execution));
    }
    let mut row = Row::new(format!("call with one effect, {CONNECTIONS} connections"), Kind::Rate, Some(0.7))
        .against("bare commits");
    let mut made = 0;
    for round in 0..=plan.rounds {
        for side in plan.order(round) {
            let (per_second, nanos) = if side.is_bare() {
                bench.bare_like("transactions").await?;
                bench.commits(plan.durable_time).await?
            } else {
                let (address, requests, time) = (bench.larder.address().parse()?, requests.clone(), plan.durable_time);
                let done = tokio::task::spawn_blocking(move || load::run(address, requests, CONNECTIONS, saved, time))
                    .await??;
                made += done.nanos.len() as u64;
                (done.per_second, done.nanos)
            };
            if round > 0 {
                side.of(&mut row).add_rate(per_second, nanos);
            }
        }
    }
    let found = bench.count("transactions").await?;
    anyhow::ensure!(found == made, "{found} transactions of {made} calls");
    let appends = machine::durable_appends(&std::env::temp_dir(), Duration::from_secs(1))?;
    row.note = format!("MariaDB, fsync at commit; disk: {appends:.0} appends/s");
    Ok(vec![row.into()])
}

fn saved(answer: &load::Answer) -> bool {
    let completed = br#""status":"completed""#;
    answer.status == 201 && answer.body.windows(completed.len()).any(|window| window == completed)
}

impl Durable {
    /// So many connections insert a row each, one commit after the other.
    async fn commits(&self, time: Duration) -> anyhow::Result<(f64, Vec<u64>)> {
        let mut open = Vec::new();
        for _ in 0..CONNECTIONS {
            open.push(self.connect().await);
        }
        let begun = Instant::now();
        let mut tasks = JoinSet::new();
        for (worker, mut connection) in open.into_iter().enumerate() {
            tasks.spawn(async move {
                let mut nanos = Vec::new();
                while begun.elapsed() < time {
                    let sent = Instant::now();
                    let id = format!("01kb9y{:010}{worker:010}", nanos.len());
                    let saver = format!("saver-{worker}");
                    connection
                        .exec_drop(
                            "INSERT INTO bare_transactions (partner_id, id, execution_id, function_id, end_user,
                             amount_minor, currency, memo, created_at_ms) VALUES (?, ?, ?, 'probe', ?, 1, 'SEK', 'bench', ?)",
                            (PARTNER, &id, &id, saver, 1_795_262_400_000_i64 + nanos.len() as i64),
                        )
                        .await?;
                    nanos.push(sent.elapsed().as_nanos() as u64);
                }
                anyhow::Ok(nanos)
            });
        }
        let mut nanos = Vec::new();
        while let Some(done) = tasks.join_next().await {
            nanos.extend(done??);
        }
        Ok((nanos.len() as f64 / begun.elapsed().as_secs_f64(), nanos))
    }

    /// Sends events, an execution each, and waits until the last has ended; gives the executions in a second.
    async fn executed(&self, sent: &mut u64, number: u64) -> anyhow::Result<f64> {
        let ended = "executions WHERE partner_id = 'demo' AND function_id = 'probe' AND status = 'completed'";
        let before = *sent;
        let begun = Instant::now();
        while *sent < before + number {
            let batch = (before + number - *sent).min(1_000);
            let events: Vec<_> = (*sent..*sent + batch)
                .map(|n| json!({ "specversion": "1.0", "id": format!("spin-{n}"), "source": "/bench", "type": "probe.spin", "data": { "rounds": 0 } }))
                .collect();
            let request = self
                .api
                .request(http::Method::POST, "/events")
                .header("content-type", "application/cloudevents-batch+json")
                .body(serde_json::to_string(&events)?);
            Api::send(request).await.is(202);
            *sent += batch;
        }
        while self.count(ended).await? < *sent {
            anyhow::ensure!(begun.elapsed() < PATIENCE, "it takes too long");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(number as f64 / begun.elapsed().as_secs_f64())
    }

    /// Claims and ends rows in groups over a few connections, and runs nothing; gives the rows in a second.
    async fn claimed(&self, number: u64) -> anyhow::Result<f64> {
        const WORKERS: usize = 4;
        self.bare_like("executions").await?;
        let mut connection = self.connect().await;
        connection.query_drop("INSERT INTO bare_executions SELECT * FROM executions LIMIT 1").await?;
        let waiting = [
            ("id", "CONCAT('01kb9y', LPAD(n, 20, '0'))"),
            ("status", "'waiting'"),
            ("trigger_key", "NULL"),
            ("due_at_ms", "1"),
        ];
        self.copies("bare_executions", "t.status = 'completed'", &waiting, number).await?;
        let begun = Instant::now();
        let mut tasks: JoinSet<anyhow::Result<()>> = JoinSet::new();
        for worker in 0..WORKERS {
            let mut connection = self.connect().await;
            tasks.spawn(async move {
                while !claim(&mut connection, worker).await? {}
                Ok(())
            });
        }
        while let Some(done) = tasks.join_next().await {
            done??;
        }
        let seconds = begun.elapsed().as_secs_f64();
        let left = self.count("bare_executions WHERE status <> 'completed'").await?;
        anyhow::ensure!(left == 0, "{left} rows were not claimed");
        Ok(number as f64 / seconds)
    }
}

/// Claims some rows and ends them; is there nothing left? Who loses a deadlock tries again.
async fn claim(connection: &mut Conn, worker: usize) -> anyhow::Result<bool> {
    const DEADLOCK: u16 = 1213;
    let claim = "START TRANSACTION;
        SELECT GROUP_CONCAT(QUOTE(id)) FROM (SELECT id FROM bare_executions FORCE INDEX (executions_by_status)
            WHERE partner_id = 'demo' AND status = 'waiting' AND due_at_ms <= 1 ORDER BY due_at_ms LIMIT 50
            FOR UPDATE SKIP LOCKED) AS claimed";
    let claimed = async |connection: &mut Conn| -> mysql_async::Result<bool> {
        let mut found = None;
        for sql in claim.split(';') {
            found = connection.query_first::<Option<String>, _>(sql).await?.flatten();
        }
        let Some(ids) = found else {
            connection.query_drop("ROLLBACK").await?;
            return Ok(true);
        };
        let these = format!("WHERE partner_id = 'demo' AND id IN ({ids})");
        let to_worker = format!(
            "UPDATE bare_executions SET status = 'processing', lease_holder = 'worker-{worker}', due_at_ms = 2, attempt = 1 {these}"
        );
        connection.query_drop(to_worker).await?;
        connection.query_drop("COMMIT").await?;
        let end =
            format!("UPDATE bare_executions SET status = 'completed', lease_holder = NULL, due_at_ms = NULL {these}");
        while let Err(err) = connection.query_drop(&end).await {
            if !matches!(&err, mysql_async::Error::Server(err) if err.code == DEADLOCK) {
                return Err(err);
            }
        }
        Ok(false)
    };
    match claimed(connection).await {
        Err(mysql_async::Error::Server(err)) if err.code == DEADLOCK => Ok(false),
        other => Ok(other?),
    }
}

/// Events that are each handed to one function, from the first request until the last execution has ended.
pub async fn queue(plan: &Plan) -> anyhow::Result<Vec<Line>> {
    say(&format!("{} queued executions", plan.queued));
    let bench = Durable::start(Options::default()).await?;
    let settings = json!({ "events": ["probe.spin"], "per": "event" });
    bench.api.deploy("probe", &guests::guest("probe"), settings).await;
    let mut row = Row::new("queued executions, end to end", Kind::Rate, Some(0.5)).against("claim and end");
    let mut sent = 0;
    bench.executed(&mut sent, 100).await?;
    for round in 0..plan.rounds.min(3) {
        for side in plan.order(round) {
            let per_second = match side.is_bare() {
                true => bench.claimed(plan.queued).await?,
                false => bench.executed(&mut sent, plan.queued).await?,
            };
            side.of(&mut row).add_rate(per_second, vec![]);
        }
    }
    let all = row.larder.median();
    row.note = format!(
        "{} events without effects; at least 10,000/s {}",
        plan.queued,
        crate::measure::verdict(all >= 10_000.0)
    );
    Ok(vec![row.into()])
}
