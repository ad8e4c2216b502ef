//! Fan-outs: from the event to the last commit, beside bare inserts of the same rows on the same server in the same rounds.
//!
//! The server is a private MariaDB on a disk, durable at each commit. The bare side writes what runs leave behind with the
//! indexes of Larder's own tables, in transactions of [`BATCH`] savers over [`BARE_CONNECTIONS`] connections: transactions, and
//! records as Larder packs them; and once more with a row for each record. It runs no guest and reads nothing.
//!
//! [`embedded`]: the same on SQLite. [`kills`]: the same while workers are killed. [`plans`]: the plan of each statement. [`rows`]: the rows as SQL.

mod embedded;
mod kills;
mod plans;
mod rows;

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context;
use larder_tests::services::{Database, MariaDb};
use larder_tests::{Api, Larder, Options, guests};
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Opts};
use serde_json::json;

use self::rows::{EXECUTION, PACK, PACKED, TRANSACTION, enrol, execution, insert, pack, transaction};
use crate::load::{self, Connection};
use crate::measure::{median, quantile};
use crate::{guests::HELLO_PATH, machine, say};

const BATCH: usize = 1_000;
const BARE_CONNECTIONS: usize = 2;
const PARTNER: &str = "demo";
/// The buffer pool and the redo log, so that neither decides; and a log of all statements, which [`plans`] turns on.
const SERVER: [&str; 5] = [
    "--innodb-buffer-pool-size=1G",
    "--innodb-log-file-size=512M",
    "--long-query-time=0",
    "--slow-query-log=ON",
    "--log-output=NONE",
];
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
        "{:>9}  {:<18} {:>8} {:>9} {:>9} {:>6} {:>9} {:>6}  {:>7} {:>7}  {:>8}",
        "savers", "runs", "seconds", "per s", "bare/s", "ratio", "as rows/s", "ratio", "cpu", "db cpu", "peak MiB"
    );
    for size in sizes {
        // Large ones are slow enough to be steady.
        let rounds = if *size >= 1_000_000 { 1 } else { rounds.min(3) };
        let mut bench = Bench::start(*size).await?;
        for save in [true, false] {
            let (mut seconds, mut rates, mut bare, mut ratios) = (vec![], vec![], vec![], vec![]);
            let (mut as_rows, mut row_ratios) = (vec![], vec![]);
            let (mut cpu, mut database_cpu) = (vec![], vec![]);
            for _ in 0..rounds {
                let inserted = *size as f64 / bench.bare(*size, save, Records::Packed).await?;
                let of_rows = *size as f64 / bench.bare(*size, save, Records::Rows).await?;
                let taken = bench.fan_out(*size, save).await?;
                let rate = *size as f64 / taken.seconds;
                seconds.push(taken.seconds);
                rates.push(rate);
                bare.push(inserted);
                ratios.push(rate / inserted);
                as_rows.push(of_rows);
                row_ratios.push(rate / of_rows);
                cpu.push(taken.larder_cpu);
                database_cpu.push(taken.database_cpu);
            }
            println!(
                "{size:>9}  {:<18} {:>8.2} {:>9.0} {:>9.0} {:>6.2} {:>9.0} {:>6.2}  {:>7.2} {:>7.2}  {:>8}",
                if save { "2 reads, 1 saving" } else { "2 reads, no effect" },
                median(seconds),
                median(rates),
                median(bare),
                median(ratios),
                median(as_rows),
                median(row_ratios),
                median(cpu),
                median(database_cpu),
                bench.peak_mib()?
            );
        }
        if size == sizes.last().expect("there are sizes") {
            plans::print(&mut bench, *size).await?;
        }
        if *size == 100_000 || (quick && *size == 10_000) {
            bench.beside_others(*size).await?;
            bench.fair_shares().await?;
        }
    }
    embedded::run(if quick { 10_000 } else { 100_000 }).await?;
    kills::run().await
}

/// How the bare side writes the records of runs.
#[derive(Clone, Copy, PartialEq)]
enum Records {
    Packed,
    Rows,
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
        let fanout = completed(&self.api, self.sent).await?;
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
    async fn bare(&self, savers: usize, save: bool, records: Records) -> anyhow::Result<f64> {
        let mut connection = self.database.connect().await;
        for table in ["executions", "execution_packs", "transactions"] {
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
                    let (packs, executions) =
                        (numbers.clone().step_by(PACKED).map(pack), numbers.clone().map(execution));
                    match records {
                        Records::Packed => insert(&mut connection, "bare_execution_packs", PACK, packs).await?,
                        Records::Rows => insert(&mut connection, "bare_executions", EXECUTION, executions).await?,
                    }
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
        const SAVERS: usize = 200_000;
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
        let ended = json!({ "method": "equal", "attribute": "status", "values": ["completed"] });
        let of = json!({ "method": "equal", "attribute": "functionId", "values": ["spin"] });
        while self.api.list("/fanouts", &[of.clone(), ended.clone()]).await.is(200)["total"] != 1 {
            anyhow::ensure!(begun.elapsed() < PATIENCE, "it takes too long");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        println!("fair shares: {:.0} runs/s alone", SAVERS as f64 / begun.elapsed().as_secs_f64());
        for (api, rounds) in [(&self.api, CHEAP), (&other, 10 * CHEAP)] {
            api.event("spin", "probe.spin", None, json!({ "rounds": rounds })).await.is(202);
        }
        // The first thousand of each go alone, and whoever begins later is ahead for a moment.
        tokio::time::sleep(Duration::from_secs(5)).await;
        let before = [runs(&self.api).await, runs(&other).await];
        tokio::time::sleep(Duration::from_secs(10)).await;
        let after = [runs(&self.api).await, runs(&other).await];
        let (cheap, dear) = (after[0] - before[0], after[1] - before[1]);
        anyhow::ensure!(after.iter().all(|done| *done < SAVERS as u64), "one of them ended: {after:?} of {SAVERS}");
        let (cheap_ms, dear_ms) = (mean_ms(&self.api).await, mean_ms(&other).await);
        let (of_cheap, of_dear) = (cheap as f64 * cheap_ms, dear as f64 * dear_ms);
        let percent = |part: f64| 100.0 * part / (of_cheap + of_dear);
        println!(
            "fair shares over 10 s: {:.1} % of the CPU time for {cheap} runs of {cheap_ms:.2} ms, {:.1} % for {dear} runs of {dear_ms:.2} ms",
            percent(of_cheap),
            percent(of_dear),
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

/// Waits until so many fan-outs have ended; gives the newest one.
async fn completed(api: &Api, sent: u32) -> anyhow::Result<serde_json::Value> {
    let (query, begun) = (json!({ "method": "orderDesc", "attribute": "$createdAt" }), Instant::now());
    loop {
        let answer = api.list("/fanouts", std::slice::from_ref(&query)).await.is(200);
        let ended =
            answer["fanouts"].as_array().into_iter().flatten().filter(|one| one["status"] == "completed").count();
        if ended >= sent as usize || answer["fanouts"][0]["status"] == "paused" {
            return Ok(answer["fanouts"][0].clone());
        }
        anyhow::ensure!(begun.elapsed() < PATIENCE, "it takes too long: {answer}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Committed runs of the newest fan-out.
async fn runs(api: &Api) -> u64 {
    let newest =
        [json!({ "method": "orderDesc", "attribute": "$createdAt" }), json!({ "method": "limit", "values": [1] })];
    api.list("/fanouts", &newest).await.is(200)["fanouts"][0]["done"].as_u64().unwrap_or_default()
}

/// The mean CPU time of the newest runs of `spin`.
async fn mean_ms(api: &Api) -> f64 {
    let newest =
        [json!({ "method": "orderDesc", "attribute": "$createdAt" }), json!({ "method": "limit", "values": [2_000] })];
    let list = api.list("/functions/spin/executions", &newest).await.is(200);
    let times: Vec<f64> =
        list["executions"].as_array().into_iter().flatten().filter_map(|one| one["cpuTime"].as_f64()).collect();
    1e3 * times.iter().sum::<f64>() / times.len().max(1) as f64
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
