//! Larder is broken in every way that we know of while it works; then an oracle says whether anything is missing, doubled
//! or stuck.
//!
//! * [`workload`]: what is asked of it. * [`faults`]: what is done to it. * [`oracle`]: what must have come of it.
//!
//! Another partner attacks all the while (`neighbours`): what it does is no part of what is compared.
//!
//! First each crash point of the code is hit, then processes, MariaDB and Redis are killed, stopped and cut off at random.
//! A run in which one of the rare states ([`RARE`]) or a crash point was never reached proves nothing, and fails.

pub mod faults;
pub mod oracle;
pub mod workload;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::process::Child;
use std::sync::Arc;
use std::time::{Duration, Instant};

use faults::{Fault, Recoveries};
use larder_signals::crash::Point;
use oracle::{Findings, Oracle};
use workload::{Senders, Sent, Workload};

use crate::neighbours::Attackers;
use crate::neighbours::attacks::{Attack, Evil, Status};
use crate::proxy::Proxy;
use crate::services::{Database, MariaDb, Redis};
use crate::{Api, Cluster, Metrics, Random};

pub const LEASE: Duration = Duration::from_secs(5);

/// States that must be reached, and the figures that tell.
const RARE: [(&str, &str); 6] = [
    ("lease stolen", "larder_leases_stolen_total"),
    ("commit unknown", "larder_commits_unknown_total"),
    ("fenced write", "larder_fenced_outcomes_total"),
    ("group recreated", "larder_queue_groups_recreated_total"),
    ("deadlock or lock wait retried", "larder_store_races_total"),
    ("dead-lettered", "larder_dead_letters_total"),
];

/// What another partner does all the time, and must not cost this one anything.
const ATTACKS: [Attack; 8] = [
    Attack::Multiply,
    Attack::SleepingQueue,
    Attack::Nobody,
    Attack::FanOuts,
    Attack::Conflicts,
    Attack::Logs,
    Attack::SlowBodies,
    Attack::Spin,
];
/// Of each attack: the machine has seven processes to run besides.
const ATTACKERS: usize = 4;

/// How much is done.
pub struct Plan {
    pub seed: u64,
    pub faults: Vec<(Fault, usize)>,
    /// The longest pause between two faults.
    pub pause: Duration,
}

impl Plan {
    /// A minute or two.
    pub fn short(seed: u64) -> Plan {
        use Fault::*;
        let faults = vec![
            (Kill, 30),
            (Pause, 2),
            (DatabaseKill, 2),
            (DatabaseStop, 1),
            (CommitsDropped, 2),
            (RedisFlush, 3),
            (RedisKill, 2),
            (RedisStall, 1),
            (Deadlock, 3),
            (Rotate, 1),
        ];
        Plan { seed, faults, pause: Duration::from_millis(800) }
    }

    /// What the README's figures are from.
    pub fn long(seed: u64) -> Plan {
        use Fault::*;
        let faults = vec![
            (Kill, 300),
            (Pause, 12),
            (DatabaseKill, 13),
            (DatabaseStop, 25),
            (CommitsDropped, 12),
            (RedisFlush, 20),
            (RedisKill, 20),
            (RedisStall, 9),
            (RedisStallLong, 1),
            (Deadlock, 15),
            (Rotate, 6),
        ];
        Plan { seed, faults, pause: Duration::from_millis(1_200) }
    }
}

/// Everything that a run consists of. Processes go before what they stand on.
pub struct Arena {
    cluster: Cluster,
    doors: Vec<Api>,
    random: Random,
    points: Vec<Point>,
    done: BTreeMap<Fault, u32>,
    recoveries: Arc<Recoveries>,
    /// The last rotation of master keys, as a command that may have ended.
    rotation: Option<Child>,
    /// Processes that died though nobody killed them.
    crashes: Vec<String>,
    database_proxy: Proxy,
    redis_proxy: Proxy,
    database: Database,
    mariadb: MariaDb,
    redis: Redis,
    _folder: tempfile::TempDir,
}

/// What a run came to.
pub struct Outcome {
    arena: Arena,
    findings: Findings,
    /// Values under the newest master key, which are all, or what speaks against that.
    sealed: Result<u64, String>,
    /// Damage that the oracle did not see when it was done on purpose.
    unseen: Vec<String>,
    sent: Sent,
    /// How the steps of the other partner's attacks ended.
    attacks: BTreeMap<Status, usize>,
    metrics: Metrics,
    missed: Vec<Point>,
    seed: u64,
    took: Duration,
}

pub async fn run(plan: Plan) -> Outcome {
    let begun = Instant::now();
    let mut arena = Arena::build(plan.seed).await;
    let since_ms = now_ms();
    let workload = Workload::new(plan.seed);
    let evil = arena.evil().await;
    let senders = Senders::start(workload, arena.doors.clone());
    let attackers = Attackers::start(evil, ATTACKS.to_vec(), ATTACKERS);
    let missed = arena.crash_points().await;
    for fault in faults::shuffled(&plan.faults, &mut arena.random) {
        arena.tend();
        arena.fault(fault).await;
        let pause = arena.random.below(plan.pause.as_millis() as u64);
        tokio::time::sleep(Duration::from_millis(pause)).await;
    }
    arena.reach_rare_states().await;
    let sent = tokio::select! {
        sent = senders.finish() => sent,
        () = async { loop { arena.tend(); tokio::time::sleep(Duration::from_millis(200)).await; } } => unreachable!(),
    };
    let attacks = attackers.stop();
    arena.tend();
    for at in 0..arena.cluster.len() {
        arena.cluster.wait_for(at).await;
        arena.cluster.ready(at).await;
    }
    let oracle = Oracle { workload, sent: sent.count, since_ms, api: arena.doors[0].clone() };
    let findings = oracle.compare(&arena.database, oracle::SETTLE).await;
    let sealed = arena.finish_rotation().await;
    let unseen = oracle.unseen(&arena.database).await;
    let metrics = arena.cluster.metrics().await;
    Outcome { arena, findings, sealed, unseen, sent, attacks, metrics, missed, seed: plan.seed, took: begun.elapsed() }
}

fn now_ms() -> i64 {
    larder_model::time::Clock::System.now_ms()
}

impl Arena {
    async fn build(seed: u64) -> Arena {
        let folder = tempfile::Builder::new().prefix("larder-chaos-").tempdir().expect("a temporary folder");
        let mariadb = MariaDb::start(&folder.path().join("mariadb"));
        let redis = Redis::start(&folder.path().join("redis"));
        let database = Database::create_on(&mariadb.url()).await;
        let (database_proxy, redis_proxy) = (Proxy::start(mariadb.port()).await, Proxy::start(redis.port()).await);
        let mut cluster = Cluster::new(vec![
            ("LARDER_DATABASE__URL", format!("mysql://root@127.0.0.1:{}/{}", database_proxy.port(), database.name())),
            ("LARDER_DATABASE__TIMEOUT", "5s".into()),
            ("LARDER_REDIS__URL", format!("redis://127.0.0.1:{}", redis_proxy.port())),
            ("LARDER_REDIS__TIMEOUT", "500ms".into()),
            ("LARDER_SECRETS__POLL", "1s".into()),
            ("LARDER_SECRETS__SETTLE", "2s".into()),
            ("LARDER_WORKER__LEASE", format!("{}s", LEASE.as_secs())),
            ("LARDER_WORKER__ATTEMPTS", "20".into()),
            ("LARDER_WORKER__ATTEMPTS_LOST", "1000".into()),
            ("LARDER_WORKER__RETRY_DELAY", "200ms".into()),
            ("LARDER_WORKER__RETRY_DELAY_MAX", "2s".into()),
        ]);
        for roles in ["web", "web", "worker", "worker", "scheduler", "scheduler", "maintenance"] {
            cluster.start(roles).await;
        }
        cluster.make_partner().await;
        let doors: Vec<Api> = cluster.with("web").into_iter().map(|at| cluster.api(at)).collect();
        // The other processes learn of the partner and its functions by looking.
        workload::prepare(&doors[0]).await;
        for door in &doors {
            crate::eventually("the key to open this door", async || {
                (door.get("/functions/asked").await.status == 200).then_some(())
            })
            .await;
        }
        Arena {
            cluster,
            doors,
            random: Random::seeded(seed),
            points: vec![],
            done: BTreeMap::new(),
            recoveries: Arc::default(),
            rotation: None,
            crashes: vec![],
            database_proxy,
            redis_proxy,
            database,
            mariadb,
            redis,
            _folder: folder,
        }
    }
}

impl Arena {
    /// The partner that attacks, through the first web process.
    async fn evil(&self) -> Evil {
        let web = self.cluster.with("web")[0];
        let mut partners = vec![];
        for id in ["evil", "evil-too"] {
            let key = self.cluster.make_another(id).await;
            partners.push((id.to_owned(), self.cluster.api_of(web, id, &key)));
        }
        let partners = partners.try_into().unwrap_or_else(|_| unreachable!("two partners"));
        let evil = Evil { address: self.cluster.address(web), partners };
        evil.prepare(&ATTACKS).await;
        evil
    }

    /// Does again what leads to a rare state that chance has not led to.
    async fn reach_rare_states(&mut self) {
        const TRIES: usize = 5;
        for _ in 0..TRIES {
            let metrics = self.cluster.metrics().await;
            let missing = RARE.iter().filter(|(_, figure)| metrics.get(*figure).copied().unwrap_or(0.0) == 0.0);
            let faults: Vec<Fault> = missing
                .map(|(_, figure)| match *figure {
                    "larder_commits_unknown_total" => Fault::CommitsDropped,
                    "larder_queue_groups_recreated_total" => Fault::RedisFlush,
                    "larder_store_races_total" => Fault::Deadlock,
                    _ => Fault::Pause,
                })
                .collect();
            for fault in faults {
                self.tend();
                self.fault(fault).await;
            }
        }
    }
}

impl Outcome {
    /// What speaks against the run, if anything does.
    pub fn complaints(&self) -> Vec<String> {
        let mut complaints: Vec<String> = self.findings.all().take(50).cloned().collect();
        complaints
            .extend(self.missed.iter().map(|point| format!("the crash point {} was never reached", point.word())));
        complaints.extend(
            RARE.iter()
                .filter(|(_, figure)| self.figure(figure) == 0.0)
                .map(|(state, _)| format!("never reached: {state}")),
        );
        complaints.extend(self.sent.refused.iter().take(20).cloned());
        complaints.extend(self.arena.crashes.iter().cloned());
        complaints.extend(self.unseen.iter().map(|damage| format!("the oracle does not see: {damage}")));
        complaints.extend(self.sealed.as_ref().err().cloned());
        if !self.attacks.keys().any(|status| (200..300).contains(status)) {
            complaints.push("nothing that the other partner did was accepted: it proves nothing".into());
        }
        if self.arena.database_proxy.commits_dropped() == 0 {
            complaints.push("no COMMIT lost its answer".into());
        }
        complaints
    }

    fn figure(&self, name: &str) -> f64 {
        self.metrics.get(name).copied().unwrap_or(0.0)
    }

    /// The figures of the run.
    pub fn table(&self) -> String {
        let mut table = String::new();
        let mut row = |name: &str, value: String| writeln!(table, "{name:<34} {value:>10}").expect("memory");
        row("seed", self.seed.to_string());
        row("seconds", self.took.as_secs().to_string());
        let points = Point::ALL.iter().filter(|point| faults::role_of(**point).is_some()).count();
        row("crash points hit", format!("{} of {points}", self.arena.points.len()));
        for (fault, count) in &self.arena.done {
            row(&format!("{fault:?}"), count.to_string());
        }
        row("commits done, answer dropped", self.arena.database_proxy.commits_dropped().to_string());
        row("items sent", self.findings.events.to_string());
        row("sent again after acceptance", self.sent.repeated.to_string());
        let attacks: usize = self.attacks.values().sum();
        let accepted: usize = self.attacks.range(200..300).map(|(_, count)| count).sum();
        row("of another partner's attacks", attacks.to_string());
        row("and of them accepted", accepted.to_string());
        row("executions", self.findings.executions.to_string());
        row("transactions", self.findings.transactions.to_string());
        row("firings", self.findings.firings.to_string());
        row("sealed under the newest key: all", self.sealed.as_ref().map_or("-".into(), u64::to_string));
        row("lost", self.findings.lost.len().to_string());
        row("doubled", self.findings.doubled.len().to_string());
        row("wrong state", self.findings.wrong.len().to_string());
        row("stuck", self.findings.stuck.len().to_string());
        for (state, figure) in RARE {
            row(state, self.figure(figure).to_string());
        }
        let mut times = self.arena.recoveries.times.lock().expect("no panic").clone();
        times.sort_unstable();
        if let Some(max) = times.last() {
            let seconds = |time: &Duration| format!("{:.1} s", time.as_secs_f64());
            row("killed workers that held claims", times.len().to_string());
            row("until others had all of them, median", seconds(&times[times.len() / 2]));
            row("and at most", seconds(max));
        }
        table
    }
}
