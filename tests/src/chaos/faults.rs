//! What is done to Larder's processes, to MariaDB and to Redis.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Child;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use larder_signals::crash::Point;
use mysql_async::prelude::Queryable;
use rustix::process::Signal;
use serde_json::{Value, json};

use super::Arena;
use crate::proxy::Mode;
use crate::{Random, guests};

/// How long a crash point may take to be reached.
const REACHED: Duration = Duration::from_secs(75);
/// Schedulers have work once a minute, and race for it.
const REACHED_ON_SCHEDULE: Duration = Duration::from_secs(190);
const STALL: Duration = Duration::from_secs(4);
/// How long a worker is stopped at most, and how long it may take until it has something to run.
const PAUSE_MAX: Duration = Duration::from_secs(18);
const BUSY: Duration = Duration::from_secs(10);
/// How long a rotation of master keys may take, among everything else and at the end.
const ROTATES: Duration = Duration::from_secs(30);
const ROTATES_AT_LAST: Duration = Duration::from_secs(120);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// SIGKILL of any process.
    Kill,
    /// SIGSTOP of a worker until another has taken over what it held, then SIGCONT.
    Pause,
    /// MariaDB ends at once, or in order, and starts again.
    DatabaseKill,
    DatabaseStop,
    /// Answers to COMMIT are dropped; then MariaDB is killed.
    CommitsDropped,
    RedisFlush,
    RedisKill,
    /// Nothing comes through to Redis, and nobody is told.
    RedisStall,
    /// The same for a minute.
    RedisStallLong,
    /// Rows are locked in an order that is not Larder's.
    Deadlock,
    /// A new master key is taken into use while all else goes on.
    Rotate,
}

/// How often each fault is done, in an order of the seed's.
pub fn shuffled(plan: &[(Fault, usize)], random: &mut Random) -> Vec<Fault> {
    let mut faults: Vec<Fault> = plan.iter().flat_map(|(fault, count)| std::iter::repeat_n(*fault, *count)).collect();
    for at in (1..faults.len()).rev() {
        faults.swap(at, random.below(at as u64 + 1) as usize);
    }
    faults
}

/// The role whose processes come to this point; `None`: chaos has nothing that leads there (tests of feeds and of bulk actions do).
pub fn role_of(point: Point) -> Option<&'static str> {
    use Point::*;
    Some(match point {
        EventStored | ExecutionQueued | KeyTaken | KeyUnanswered => "web",
        EventMatched | EventRouted | RangeClaimed | RangeCommitting | RangeCommitted | Claimed | Ran
        | LedgerWriting | LedgerCommitted | BuildClaimed => "worker",
        FiringComputed | Fired => "scheduler",
        Swept => "maintenance",
        FeedFetched | FeedTaken | BulkWriting | BulkWritten => return None,
    })
}

fn patience(point: Point) -> Duration {
    if role_of(point) == Some("scheduler") { REACHED_ON_SCHEDULE } else { REACHED }
}

impl Arena {
    /// Makes processes of each role die at each of its points, several at the same time, each at a point of its own. Gives
    /// the points that were not reached.
    pub async fn crash_points(&mut self) -> Vec<Point> {
        let mut left: BTreeMap<&str, Vec<Point>> = BTreeMap::new();
        for point in Point::ALL.iter().rev() {
            if let Some(role) = role_of(*point) {
                left.entry(role).or_default().push(*point);
            }
        }
        let mut tried: BTreeMap<usize, (Point, Instant)> = BTreeMap::new();
        let mut missed = Vec::new();
        while !(left.values().all(Vec::is_empty) && tried.is_empty()) {
            for (role, points) in &mut left {
                for at in self.cluster.with(role) {
                    if tried.contains_key(&at) {
                        continue;
                    }
                    let Some(point) = points.pop() else { break };
                    self.cluster.kill(at).await;
                    self.cluster.launch(at, Some(&format!("{}:1", point.word())));
                    tried.insert(at, (point, Instant::now()));
                }
            }
            self.provoke(tried.values().map(|(point, _)| *point)).await;
            tokio::time::sleep(Duration::from_millis(200)).await;
            for (at, (point, since)) in tried.clone() {
                match self.cluster.ended(at) {
                    Some(signal) if signal == Signal::ABORT.as_raw() => self.points.push(point),
                    Some(_) => {
                        self.cluster.launch(at, Some(&format!("{}:1", point.word())));
                        continue;
                    }
                    None if since.elapsed() < patience(point) => continue,
                    None => {
                        missed.push(point);
                        self.cluster.kill(at).await;
                    }
                }
                tried.remove(&at);
                self.cluster.restart(at).await;
            }
        }
        missed
    }

    /// Makes work for points to which the workload does not come: an upload to build, and executions that are old.
    async fn provoke(&self, points: impl Iterator<Item = Point>) {
        for point in points {
            let api = &self.doors[self.doors.len() - 1];
            match point {
                // One at a time: behind a line of them, the worker that has just built is always the faster one.
                Point::BuildClaimed if !self.builds().await.unwrap_or(true) => {
                    let upload = guests::guest("probe");
                    let part = reqwest::multipart::Part::bytes(upload).file_name("function.wasm");
                    let form = reqwest::multipart::Form::new().part("code", part).text("activate", "false");
                    let request = api.request(reqwest::Method::POST, "/functions/spare/deployments").multipart(form);
                    let _ = crate::Api::try_send(request).await;
                }
                Point::Swept => {
                    let body = json!({ "body": "{}" });
                    let request = api.request(reqwest::Method::POST, "/functions/spare/executions").json(&body);
                    let _ = crate::Api::try_send(request).await;
                    let age = "UPDATE executions SET created_at_ms = 1, updated_at_ms = 1 WHERE function_id = 'spare'";
                    let _ = self.database.connect().await.query_drop(age).await;
                }
                _ => {}
            }
        }
    }

    /// Is there anything to build?
    async fn builds(&self) -> mysql_async::Result<bool> {
        const UNBUILT: &str = "SELECT 1 FROM deployments WHERE status IN ('waiting', 'processing', 'building') LIMIT 1";
        Ok(self.database.connect().await.query_first::<u8, _>(UNBUILT).await?.is_some())
    }

    pub async fn fault(&mut self, fault: Fault) {
        *self.done.entry(fault).or_default() += 1;
        match fault {
            Fault::Kill => self.kill_one().await,
            Fault::Pause => {
                self.recoveries.hindered();
                let workers = self.cluster.with("worker");
                let at = *self.random.pick(&workers);
                // Without an answer from MariaDB nothing is known; then this worker was stopped for long enough.
                if let Err(err) = self.pause_worker(at).await {
                    eprintln!("pause: {err}");
                }
            }
            Fault::DatabaseKill | Fault::DatabaseStop => self.restart_database(fault == Fault::DatabaseKill).await,
            Fault::CommitsDropped => {
                let before = self.database_proxy.commits_dropped();
                self.database_proxy.drop_commit_answers(2);
                for _ in 0..100 {
                    if self.database_proxy.commits_dropped() > before {
                        break;
                    }
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                self.restart_database(true).await;
                self.database_proxy.drop_commit_answers(0);
            }
            Fault::RedisFlush => drop(self.redis.send("FLUSHALL")),
            Fault::RedisKill => {
                self.redis.kill();
                self.redis.restart();
            }
            Fault::RedisStall | Fault::RedisStallLong => {
                self.redis_proxy.set(Mode::Stall);
                tokio::time::sleep(if fault == Fault::RedisStall { STALL } else { Duration::from_secs(60) }).await;
                self.redis_proxy.set(Mode::Pass);
            }
            Fault::Deadlock => {
                self.recoveries.hindered();
                self.deadlock().await
            }
            Fault::Rotate => self.rotate(),
        }
    }

    /// Stops a worker that runs something until its lease has ended and another has taken over; not longer than
    /// [`PAUSE_MAX`], as it may have been stopped within a transaction that keeps the other from it.
    async fn pause_worker(&mut self, at: usize) -> mysql_async::Result<()> {
        const HELD: &str = "SELECT COUNT(*) FROM executions WHERE lease_holder = ? AND status = 'processing'";
        let mut connection = self.database.connect().await;
        let begun = Instant::now();
        let id = loop {
            if begun.elapsed() > BUSY || !self.cluster.is_running(at) {
                return Ok(());
            }
            let id = self.cluster.process_id(at).unwrap_or_default();
            if connection.exec_first::<u64, _, _>(HELD, (&id,)).await? > Some(0) {
                break id;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
        self.cluster.pause(at);
        let begun = Instant::now();
        let taken_over = async {
            // What it had sent before it was stopped takes effect.
            tokio::time::sleep(Duration::from_secs(1)).await;
            let held = connection.exec_first::<u64, _, _>(HELD, (&id,)).await?;
            while begun.elapsed() < PAUSE_MAX && connection.exec_first::<u64, _, _>(HELD, (&id,)).await? == held {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            Ok(())
        };
        let taken_over = taken_over.await;
        self.cluster.resume(at);
        taken_over
    }

    async fn restart_database(&mut self, kill: bool) {
        if kill {
            self.mariadb.kill()
        } else {
            self.mariadb.stop()
        }
        tokio::time::sleep(Duration::from_millis(self.random.below(500))).await;
        self.mariadb.restart();
    }

    async fn kill_one(&mut self) {
        let at = self.random.below(self.cluster.len() as u64) as usize;
        if !self.cluster.is_running(at) {
            return;
        }
        let worker = self.cluster.with("worker").contains(&at);
        self.cluster.kill(at).await;
        if worker {
            self.watch_recovery();
        }
        self.cluster.launch(at, None);
    }

    /// Measures how long what a killed worker held takes to end. Its claims are those that nobody finished or renewed.
    fn watch_recovery(&self) {
        let (url, recoveries, killed) = (self.database.url(), self.recoveries.clone(), Instant::now());
        tokio::spawn(async move {
            // MariaDB may be away at this moment; then this kill is not measured.
            let _ = recovery(&url, killed, &recoveries).await;
        });
    }

    /// Locks a row of state, which the ledger wants next, and then what the ledger has locked before it. InnoDB ends the
    /// transaction that has changed fewer rows: ours has changed many.
    async fn deadlock(&mut self) {
        let mut connection = self.database.connect().await;
        for statement in [
            "CREATE TABLE IF NOT EXISTS chaos_weight (n INT NOT NULL PRIMARY KEY, m INT NOT NULL)",
            "INSERT IGNORE INTO chaos_weight SELECT seq, 0 FROM seq_1_to_5000",
            "SET SESSION innodb_lock_wait_timeout = 7",
            "START TRANSACTION",
            "UPDATE chaos_weight SET m = m + 1",
            "SELECT name FROM state WHERE function_id = 'single' FOR UPDATE",
            "DO SLEEP(0.5)",
            "SELECT id FROM executions WHERE status = 'processing' FOR UPDATE",
            "ROLLBACK",
        ] {
            // Whoever is chosen as the victim, the next round is another.
            if let Err(err) = connection.query_drop(statement).await {
                eprintln!("deadlock: {statement}: {err}");
                break;
            }
        }
    }

    /// In the background. The web process that is asked may die of something else; then the next one goes on.
    fn rotate(&mut self) {
        let runs = |child: &mut Child| child.try_wait().expect("a child of ours").is_none();
        if !self.rotation.as_mut().is_some_and(runs) {
            let door = *self.random.pick(&self.cluster.with("web"));
            self.rotation = Some(self.cluster.rotate(door, ROTATES));
        }
    }

    /// Lets the last rotation come to its end, now that nothing is killed any more: every value must open and be under the
    /// newest key. Gives how many there are, or what was said.
    pub async fn finish_rotation(&mut self) -> Result<u64, String> {
        if let Some(mut child) = self.rotation.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        let last = self.cluster.rotate(self.cluster.with("web")[0], ROTATES_AT_LAST);
        let said = tokio::task::spawn_blocking(|| last.wait_with_output()).await.expect("no panic").expect("a child");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let failed = || format!("the rotation of master keys ends with {}: {}", said.status, text(&said.stderr));
        let seen: Value = serde_json::from_slice(&said.stdout).map_err(|_| failed())?;
        let newest = seen["keys"].as_array().and_then(|keys| keys.iter().find(|key| key["sealing"] == true));
        let values = newest.and_then(|key| key["values"].as_u64()).unwrap_or_default();
        let done = said.status.success() && seen["otherwise"] == 0 && values > 0;
        if done { Ok(values) } else { Err(format!("{}: {seen}", failed())) }
    }

    /// Starts again what has ended by itself, because MariaDB was away when it started.
    pub fn tend(&mut self) {
        for at in 0..self.cluster.len() {
            let ended = self.cluster.ended(at);
            if ended.is_some_and(|signal| signal != 0) {
                self.crashes.push(format!(
                    "process {at} died of signal {}: {}",
                    ended.unwrap_or(0),
                    self.cluster.log(at)
                ));
            }
            if !self.cluster.is_running(at) {
                self.cluster.launch(at, None);
            }
        }
    }
}

async fn recovery(url: &str, killed: Instant, recoveries: &Recoveries) -> mysql_async::Result<()> {
    // By its holder, which has an index.
    const HELD: &str = "SELECT id, attempt FROM executions WHERE lease_holder > '' AND status = 'processing'";
    let hindrances = recoveries.hindrances.load(Ordering::SeqCst);
    let mut connection = mysql_async::Conn::new(mysql_async::Opts::from_url(url)?).await?;
    let held: BTreeSet<(String, u32)> = connection.query(HELD).await?.into_iter().collect();
    // Longer than any run takes; the living have ended theirs by then.
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    let now: BTreeSet<(String, u32)> = connection.query(HELD).await?.into_iter().collect();
    let mut orphans: BTreeSet<(String, u32)> = held.intersection(&now).cloned().collect();
    if orphans.is_empty() {
        return Ok(());
    }
    while !orphans.is_empty() {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let now: BTreeSet<(String, u32)> = connection.query(HELD).await?.into_iter().collect();
        orphans.retain(|claim| now.contains(claim));
    }
    if recoveries.hindrances.load(Ordering::SeqCst) == hindrances {
        recoveries.times.lock().expect("no panic").push(killed.elapsed());
    }
    Ok(())
}

/// How long it took until others had what killed workers held. Left out: those during which the others were stopped or
/// locked out too.
#[derive(Default)]
pub struct Recoveries {
    pub times: Mutex<Vec<Duration>>,
    hindrances: AtomicU64,
}

impl Recoveries {
    fn hindered(&self) {
        self.hindrances.fetch_add(1, Ordering::SeqCst);
    }
}
