//! Fan-outs: from the event to the last commit, beside bare inserts of the same rows on the same server in the same rounds.
//!
//! The server is a private MariaDB on a disk, durable at each commit. The bare side writes what a run leaves behind, the row of
//! its execution and that of its transaction, with the indexes of Larder's own tables, in transactions of [`BATCH`] savers over
//! [`BARE_CONNECTIONS`] connections. It runs no guest and reads nothing.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context;
use larder_tests::services::{Database, MariaDb};
use larder_tests::{Api, Larder, Options, guests};
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Opts, Params, Value};
use serde_json::json;

use crate::load::{self, Connection};
use crate::measure::{median, quantile};
use crate::{guests::HELLO_PATH, machine, say};

const BATCH: usize = 1_000;
const BARE_CONNECTIONS: usize = 2;
const PARTNER: &str = "demo";
/// The buffer pool and the redo log, so that neither decides.
const SERVER: [&str; 2] = ["--innodb-buffer-pool-size=1G", "--innodb-log-file-size=512M"];
const PATIENCE: Duration = Duration::from_secs(1_800);
const NEIGHBOUR_PAUSE: Duration = Duration::from_millis(5);

/// What one fan-out took.
struct Taken {
    seconds: f64,
    larder_cpu: f64,
    database_cpu: f64,
}

struct Bench {
    larder: Larder,
    api: Api,
    database: Database,
    server_pid: u32,
    sent: u32,
    /// Dropped last.
    _server: MariaDb,
}

pub async fn run(quick: bool, rounds: u32) -> anyhow::Result<()> {
    let sizes: &[usize] = if quick { &[1_000, 10_000] } else { &[1_000, 10_000, 100_000, 1_000_000] };
    println!("fan-outs on MariaDB, durable at each commit, beside bare inserts of the same rows");
    println!("{}", machine::facts());
    println!(
        "{:>9}  {:<18} {:>8} {:>9} {:>9} {:>6}  {:>7} {:>7}  {:>8}",
        "savers", "runs", "seconds", "per s", "bare/s", "ratio", "cpu", "db cpu", "peak MiB"
    );
    for size in sizes {
        // Large ones are slow enough to be steady.
        let rounds = if *size >= 1_000_000 { 1 } else { rounds.min(3) };
        let mut bench = Bench::start(*size).await?;
        for save in [true, false] {
            let (mut seconds, mut rates, mut bare, mut ratios) = (vec![], vec![], vec![], vec![]);
            let (mut cpu, mut database_cpu) = (vec![], vec![]);
            for _ in 0..rounds {
                let inserted = *size as f64 / bench.bare(*size, save).await?;
                let taken = bench.fan_out(*size, save).await?;
                let rate = *size as f64 / taken.seconds;
                seconds.push(taken.seconds);
                rates.push(rate);
                bare.push(inserted);
                ratios.push(rate / inserted);
                cpu.push(taken.larder_cpu);
                database_cpu.push(taken.database_cpu);
            }
            println!(
                "{size:>9}  {:<18} {:>8.2} {:>9.0} {:>9.0} {:>6.2}  {:>7.2} {:>7.2}  {:>8}",
                if save { "2 reads, 1 saving" } else { "2 reads, no effect" },
                median(seconds),
                median(rates),
                median(bare),
                median(ratios),
                median(cpu),
                median(database_cpu),
                bench.peak_mib()?
            );
        }
        if *size == 100_000 || (quick && *size == 10_000) {
            bench.beside_others(*size).await?;
            bench.fair_shares().await?;
        }
    }
    Ok(())
}

impl Bench {
    /// A Larder over a server of its own, with a function for so many savers.
    async fn start(savers: usize) -> anyhow::Result<Bench> {
        say(&format!("{savers} savers"));
        let folder = std::env::temp_dir().join(format!("larder-bench-{}-{savers}", std::process::id()));
        let server = MariaDb::start_with(&folder, SERVER.map(String::from).to_vec());
        let pid = std::fs::read_to_string(folder.join("pid"))?.trim().parse()?;
        let database = Database::create_on(&server.url()).await;
        let options = Options::default().set("LARDER_DATABASE__URL", database.url());
        let larder = Larder::start_with(options).await;
        let api = larder.api();
        let settings = json!({ "events": ["probe.look"], "per": "enrolment", "topics": "all" });
        api.deploy("probe", &guests::guest("probe"), settings).await;
        api.deploy("hello", &guests::guest("hello-http"), json!({ "routes": [HELLO_PATH] })).await;
        let mut connection = database.connect().await;
        enrol(&mut connection, PARTNER, "probe", savers).await?;
        Ok(Bench { larder, api, database, server_pid: pid, sent: 0, _server: server })
    }

    /// Sends an event to all savers and waits until its fan-out has ended.
    async fn fan_out(&mut self, savers: usize, save: bool) -> anyhow::Result<Taken> {
        let saved = self.count("transactions").await?;
        let cpu =
            |bench: &Bench| anyhow::Ok((machine::cpu_time(bench.larder.pid())?, machine::cpu_time(bench.server_pid)?));
        let before = cpu(self)?;
        self.sent += 1;
        let begun = Instant::now();
        self.api.event(&format!("look-{}", self.sent), "probe.look", None, json!({ "save": save })).await.is(202);
        let query = json!({ "method": "orderDesc", "attribute": "$createdAt" });
        let fanout = loop {
            let answer = self.api.list("/fanouts", std::slice::from_ref(&query)).await.is(200);
            let done =
                answer["fanouts"].as_array().into_iter().flatten().filter(|one| one["status"] == "completed").count();
            if done >= self.sent as usize || answer["fanouts"][0]["status"] == "paused" {
                break answer["fanouts"][0].clone();
            }
            anyhow::ensure!(begun.elapsed() < PATIENCE, "it takes too long: {answer}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        };
        let seconds = begun.elapsed().as_secs_f64();
        let after = cpu(self)?;
        anyhow::ensure!(fanout["done"] == savers, "not every run succeeded: {fanout}");
        let expected = saved + if save { savers as u64 } else { 0 };
        let saved = self.count("transactions").await?;
        anyhow::ensure!(saved == expected, "{saved} transactions instead of {expected}");
        let spent = |after: Duration, before: Duration| after.saturating_sub(before).as_secs_f64();
        Ok(Taken { seconds, larder_cpu: spent(after.0, before.0), database_cpu: spent(after.1, before.1) })
    }

    /// Inserts the same rows without Larder; returns the seconds.
    async fn bare(&self, savers: usize, save: bool) -> anyhow::Result<f64> {
        let mut connection = self.database.connect().await;
        for table in ["executions", "transactions"] {
            connection.query_drop(format!("DROP TABLE IF EXISTS bare_{table}")).await?;
            connection.query_drop(format!("CREATE TABLE bare_{table} LIKE {table}")).await?;
        }
        let begun = Instant::now();
        let mut tasks = tokio::task::JoinSet::new();
        for worker in 0..BARE_CONNECTIONS {
            let mut connection = Conn::new(Opts::from_url(&self.database.url())?).await?;
            tasks.spawn(async move {
                for from in (worker * BATCH..savers).step_by(BATCH * BARE_CONNECTIONS) {
                    connection.query_drop("START TRANSACTION").await?;
                    let numbers = from..(from + BATCH).min(savers);
                    insert(&mut connection, "bare_executions", EXECUTION, numbers.clone().map(execution)).await?;
                    if save {
                        insert(&mut connection, "bare_transactions", TRANSACTION, numbers.map(transaction)).await?;
                    }
                    connection.query_drop("COMMIT").await?;
                }
                anyhow::Ok(())
            });
        }
        while let Some(done) = tasks.join_next().await {
            done??;
        }
        Ok(begun.elapsed().as_secs_f64())
    }

    /// The same fan-out beside a long read on the server, and what it does to calls of another function meanwhile.
    async fn beside_others(&mut self, savers: usize) -> anyhow::Result<()> {
        let alone = self.fan_out(savers, true).await?.seconds;
        let mut reader = self.database.connect().await;
        reader.query_drop("START TRANSACTION WITH CONSISTENT SNAPSHOT").await?;
        let _: Option<u64> = reader.query_first("SELECT COUNT(*) FROM executions").await?;
        let beside = self.fan_out(savers, true).await?.seconds;
        reader.query_drop("ROLLBACK").await?;
        println!("{savers:>9}  with another transaction open on the server: {:.2} times as long", beside / alone);
        let address = self.larder.address().parse()?;
        let quiet = latencies(address, Duration::from_secs(3), || false).await?;
        let ended = std::sync::atomic::AtomicBool::new(false);
        let calls = latencies(address, PATIENCE, || ended.load(std::sync::atomic::Ordering::Relaxed));
        let fan_out = async {
            let taken = self.fan_out(savers, true).await;
            ended.store(true, std::sync::atomic::Ordering::Relaxed);
            taken
        };
        let (busy, taken) = tokio::join!(calls, fan_out);
        let (mut quiet, mut busy, taken) = (quiet, busy?, taken?);
        let p99 = |nanos: &mut Vec<u64>| quantile(nanos, 0.99) as f64 / 1e6;
        let (quiet, busy) = (p99(&mut quiet), p99(&mut busy));
        println!(
            "{savers:>9}  calls of another function meanwhile ({:.2} s): p99 {busy:.1} ms, quiet {quiet:.1} ms, ratio {:.2}",
            taken.seconds,
            busy / quiet
        );
        Ok(())
    }

    /// Two partners have fan-outs at the same time, and a run of one costs ten times that of the other.
    async fn fair_shares(&mut self) -> anyhow::Result<()> {
        const SAVERS: usize = 20_000;
        const CHEAP: u64 = 100_000;
        say("fair shares");
        let other = self.larder.partner("other").await;
        let settings = json!({ "events": ["probe.spin"], "per": "enrolment", "topics": "all" });
        for api in [&self.api, &other] {
            api.deploy("spin", &guests::guest("probe"), settings.clone()).await;
        }
        let mut connection = self.database.connect().await;
        for partner in [PARTNER, "other"] {
            enrol(&mut connection, partner, "spin", SAVERS).await?;
        }
        let begun = Instant::now();
        self.api.event("alone", "probe.spin", None, json!({ "rounds": CHEAP })).await.is(202);
        let runs = "SELECT COUNT(*) FROM executions WHERE function_id = 'spin'";
        while connection.query_first::<usize, _>(runs).await?.unwrap_or_default() < SAVERS {
            anyhow::ensure!(begun.elapsed() < PATIENCE, "it takes too long");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        println!("fair shares: {:.0} runs/s alone", SAVERS as f64 / begun.elapsed().as_secs_f64());
        for (api, rounds) in [(&self.api, CHEAP), (&other, 10 * CHEAP)] {
            api.event("spin", "probe.spin", None, json!({ "rounds": rounds })).await.is(202);
        }
        // The first thousand of each go alone.
        tokio::time::sleep(Duration::from_secs(3)).await;
        let mut used = Vec::new();
        for _ in 0..2 {
            let sums: Vec<(String, u64, u64)> = connection
                .query("SELECT partner_id, CAST(SUM(cpu_us) AS UNSIGNED), COUNT(*) FROM executions WHERE function_id = 'spin' GROUP BY partner_id ORDER BY partner_id")
                .await?;
            anyhow::ensure!(sums.len() == 2, "both have run: {sums:?}");
            used.push(sums);
            tokio::time::sleep(Duration::from_secs(10)).await;
        }
        let during = |at: usize| (used[1][at].1 - used[0][at].1, used[1][at].2 - used[0][at].2);
        let ((cheap, cheap_runs), (dear, dear_runs)) = (during(0), during(1));
        println!(
            "fair shares over 10 s: {:.1} % of the CPU time for {cheap_runs} runs of {:.2} ms, {:.1} % for {dear_runs} runs of {:.2} ms",
            100.0 * cheap as f64 / (cheap + dear) as f64,
            cheap as f64 / cheap_runs.max(1) as f64 / 1e3,
            100.0 * dear as f64 / (cheap + dear) as f64,
            dear as f64 / dear_runs.max(1) as f64 / 1e3,
        );
        Ok(())
    }

    async fn count(&self, table: &str) -> anyhow::Result<u64> {
        let mut connection = self.database.connect().await;
        let found =
            connection.query_first(format!("SELECT COUNT(*) FROM {table} WHERE partner_id = '{PARTNER}'")).await?;
        found.context("a count")
    }

    /// The most memory that the process has had.
    fn peak_mib(&self) -> anyhow::Result<u64> {
        let status = std::fs::read_to_string(Path::new("/proc").join(self.larder.pid().to_string()).join("status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("VmHWM")?;
        let kib: u64 = line.split_whitespace().next().context("a number")?.parse()?;
        Ok(kib >> 10)
    }
}

/// How long calls of a function take, one every few milliseconds.
async fn latencies(
    address: std::net::SocketAddr,
    time: Duration,
    ended: impl Fn() -> bool,
) -> anyhow::Result<Vec<u64>> {
    let mut connection = Connection::open(address).await?;
    let (request, begun, mut nanos) = (load::get(HELLO_PATH), Instant::now(), Vec::new());
    while begun.elapsed() < time && !ended() {
        let sent = Instant::now();
        let answer = connection.call(&request).await?;
        anyhow::ensure!(answer.status == 200, "answered {}", answer.status);
        nanos.push(sent.elapsed().as_nanos() as u64);
        tokio::time::sleep(NEIGHBOUR_PAUSE).await;
    }
    Ok(nanos)
}

/// Enrols the savers, each with two keys of state.
async fn enrol(connection: &mut Conn, partner: &str, function: &str, savers: usize) -> anyhow::Result<()> {
    const ENROLMENT: &str =
        "partner_id, id, function_id, end_user, topic, settings, status, created_at_ms, updated_at_ms";
    const STATE: &str = "partner_id, function_id, enrolment_id, name, value, version";
    for from in (0..savers).step_by(BATCH) {
        let numbers = from..(from + BATCH).min(savers);
        connection.query_drop("START TRANSACTION").await?;
        let enrolment = |n: usize| -> Vec<Value> {
            let texts = [partner, &enrolment(function, n), function, &format!("saver-{n}"), "all", "{}", "active"]
                .map(Value::from);
            texts.into_iter().chain([1.into(), 1.into()]).collect()
        };
        insert(connection, "enrolments", ENROLMENT, numbers.clone().map(enrolment)).await?;
        for (name, value) in [("count", "1"), ("sum", "100")] {
            let state = |n: usize| -> Vec<Value> {
                [partner, function, &self::enrolment(function, n), name, value, "version-0"].map(Value::from).to_vec()
            };
            insert(connection, "state", STATE, numbers.clone().map(state)).await?;
        }
        connection.query_drop("COMMIT").await?;
    }
    connection.query_drop("ANALYZE TABLE enrolments, state").await?;
    Ok(())
}

fn enrolment(function: &str, n: usize) -> String {
    format!("{function}-{n:020}")
}

const EXECUTION: &str = "partner_id, id, function_id, deployment_id, trigger_kind, status, trigger_key, event_row, enrolment_id, \
    nominal_at_ms, late_ms, scheduled_at_ms, request, attempt, response_status, response_headers, logs, errors, wall_us, cpu_us, \
    memory_peak_bytes, created_at_ms, updated_at_ms, failures, lost, buried_at_ms, host_failing_since_ms";

fn execution(n: usize) -> Vec<Value> {
    let id = format!("01kb9y{n:020}");
    let null = || Value::NULL;
    let request = r#"{"method":"","path":"","headers":[]}"#;
    let mut row = vec![
        PARTNER.into(),
        id.into(),
        "probe".into(),
        "01kb9x00000000000000000000".into(),
        "event".into(),
        "completed".into(),
        null(),
        "01kb9w00000000000000000000".into(),
        enrolment("probe", n).into(),
        null(),
        null(),
        null(),
        request.into(),
        1.into(),
        204.into(),
        "[]".into(),
        "".into(),
        "".into(),
    ];
    row.extend([25, 25, 1_200_000, 1_795_262_400_000_i64, 1_795_262_400_000, 0, 0].map(Value::from));
    row.extend([null(), null()]);
    row
}

const TRANSACTION: &str =
    "partner_id, id, execution_id, function_id, enrolment_id, end_user, amount_minor, currency, memo, created_at_ms";

fn transaction(n: usize) -> Vec<Value> {
    vec![
        PARTNER.into(),
        format!("01kb9y{n:020}-0").into(),
        format!("01kb9y{n:020}").into(),
        "probe".into(),
        enrolment("probe", n).into(),
        format!("saver-{n}").into(),
        100.into(),
        "SEK".into(),
        "look-1".into(),
        1_795_262_400_000_i64.into(),
    ]
}

/// Inserts rows with as few statements as the server's limit of placeholders allows.
async fn insert(
    connection: &mut Conn,
    table: &str,
    columns: &str,
    rows: impl Iterator<Item = Vec<Value>>,
) -> anyhow::Result<()> {
    const STATEMENT: usize = 250;
    let rows: Vec<Vec<Value>> = rows.collect();
    for rows in rows.chunks(STATEMENT) {
        let marks = format!("({})", vec!["?"; rows[0].len()].join(", "));
        let sql = format!("INSERT INTO {table} ({columns}) VALUES {}", vec![marks.as_str(); rows.len()].join(", "));
        connection.exec_drop(sql, Params::Positional(rows.concat())).await?;
    }
    Ok(())
}
