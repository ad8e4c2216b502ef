//! Partner E does the worst that it may; partner D must not notice.
//!
//! * [`attacks`]: what E does. * [`Neighbour`]: what D asks for meanwhile, and how long it waits.
//!
//! D calls a function at the web endpoint again and again, and sends events whose savings it waits for: first while nothing
//! else goes on, then while E attacks. Each attack has a Larder of its own. E is on a thread of its own with a lower
//! priority, so that what is measured is Larder and not the machine's share for the attackers.

pub mod attacks;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use attacks::{Attack, Evil, Status};
use serde_json::json;

use crate::hostile::process;
use crate::{Api, Backend, Larder, Options, guests};

/// How much is done, and how long D may wait.
#[derive(Clone, Copy)]
pub struct Plan {
    pub quiet: Duration,
    pub attacked: Duration,
    /// The 99th of 100 calls.
    pub call_max: Duration,
    /// From sending the event until its saving can be read: the longest.
    pub saving_max: Duration,
}

impl Plan {
    pub fn long() -> Plan {
        Plan {
            quiet: Duration::from_secs(4),
            attacked: Duration::from_secs(10),
            call_max: Duration::from_millis(250),
            saving_max: Duration::from_secs(1),
        }
    }

    /// For a machine that does something else too: whoever stands still is found, whoever is slow is not.
    pub fn short() -> Plan {
        Plan {
            quiet: Duration::from_secs(1),
            attacked: Duration::from_secs(3),
            call_max: Duration::from_secs(1),
            saving_max: Duration::from_secs(4),
        }
    }
}

/// When nothing came by then, it is not waited for any longer.
const PATIENCE: Duration = Duration::from_secs(30);

/// What D waited for, each in the order of asking.
#[derive(Default)]
pub struct Waits {
    calls: Vec<Duration>,
    savings: Vec<Duration>,
}

pub struct Row {
    attack: Attack,
    backend: Backend,
    quiet: Waits,
    attacked: Waits,
    /// How E's steps ended.
    statuses: BTreeMap<Status, usize>,
    memory_peak_bytes: u64,
    odd: Vec<String>,
}

/// One attack on a Larder of its own.
pub async fn run(attack: Attack, backend: Backend, plan: Plan) -> Row {
    let larder = Larder::start_with(Options::on(backend)).await;
    let neighbour = Neighbour::new(&larder).await;
    let partners = [partner(&larder, "evil").await, partner(&larder, "evil-too").await];
    let evil = Evil { address: larder.address(), partners };
    // Before the quiet time, and not measured.
    neighbour.wait(Duration::from_secs(1)).await;
    let quiet = neighbour.wait(plan.quiet).await;
    evil.prepare(&[attack]).await;
    process::forget_peak(larder.pid());
    let attackers = Attackers::start(evil, vec![attack], usize::MAX);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let attacked = neighbour.wait(plan.attacked).await;
    let memory_peak_bytes = process::memory_peak_bytes(larder.pid());
    let statuses = attackers.stop();
    let log = larder.log();
    let odd = log.lines().filter(|line| ["panicked", "ERROR"].iter().any(|sign| line.contains(sign)));
    let odd = odd.map(str::to_owned).take(3).collect();
    Row { attack, backend, quiet, attacked, statuses, memory_peak_bytes, odd }
}

async fn partner(larder: &Larder, id: &str) -> (String, Api) {
    (id.to_owned(), larder.partner(id).await)
}

/// Partner D.
struct Neighbour {
    api: Api,
    url: String,
    next: Mutex<u64>,
}

impl Neighbour {
    async fn new(larder: &Larder) -> Neighbour {
        let (_, api) = partner(larder, "neighbour").await;
        api.deploy("hello", &guests::guest("hello-http"), json!({ "routes": ["/hello"] })).await;
        // By way of a fan-out, which is the longest one.
        let saver = json!({ "events": ["probe.save"], "per": "enrolment", "topics": "all" });
        api.deploy("saver", &guests::guest("probe"), saver).await;
        api.enrol("saver", "clock", "clock", json!({})).await;
        Neighbour { api, url: format!("http://{}/hello?name=Anna", larder.address()), next: Mutex::new(0) }
    }

    /// Asks for as long as that, both kinds side by side.
    async fn wait(&self, time: Duration) -> Waits {
        let (calls, savings) = tokio::join!(self.calls(time), self.savings(time));
        Waits { calls, savings }
    }

    async fn calls(&self, time: Duration) -> Vec<Duration> {
        let client = reqwest::Client::builder().timeout(PATIENCE).build().expect("a client");
        let (begun, mut waits) = (Instant::now(), vec![]);
        while begun.elapsed() < time {
            let asked = Instant::now();
            let answer = client.get(&self.url).header("host", "neighbour.localhost").send().await;
            let fine = match answer {
                Ok(answer) => answer.text().await.is_ok_and(|text| text.contains("Anna")),
                Err(_) => false,
            };
            // An answer that says no is as bad as none.
            waits.push(if fine { asked.elapsed() } else { PATIENCE });
            tokio::time::sleep(Duration::from_millis(if fine { 10 } else { 100 })).await;
        }
        waits
    }

    async fn savings(&self, time: Duration) -> Vec<Duration> {
        let (begun, mut waits) = (Instant::now(), vec![]);
        while begun.elapsed() < time {
            let id = {
                let mut next = self.next.lock().expect("no panic");
                *next += 1;
                format!("saving-{next}")
            };
            let asked = Instant::now();
            let event = self.api.event(&id, "probe.save", None, json!({ "amount": "1.00" }));
            let accepted = tokio::time::timeout(PATIENCE, event).await.is_ok_and(|answer| answer.status == 202);
            let mut saved = false;
            while accepted && !saved && asked.elapsed() < PATIENCE {
                let newest = [
                    json!({ "method": "orderDesc", "attribute": "$createdAt" }),
                    json!({ "method": "limit", "values": [3] }),
                ];
                let list = self.api.list("/transactions", &newest).await;
                saved =
                    list.body["transactions"].as_array().is_some_and(|rows| rows.iter().any(|row| row["memo"] == id));
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            waits.push(if saved { asked.elapsed() } else { PATIENCE });
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        waits
    }
}

/// E's tasks on a thread of their own, until they are stopped.
pub struct Attackers {
    stop: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<BTreeMap<Status, usize>>,
}

/// How long each of several attacks goes on before the next one begins.
const ATTACK: Duration = Duration::from_secs(15);

impl Attackers {
    /// Makes these attacks in turn, over and over, each by as many tasks as it has but no more than that.
    pub fn start(evil: Evil, attacks: Vec<Attack>, workers_max: usize) -> Attackers {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            let _ = rustix::process::setpriority_process(None, 10);
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            let statuses: Arc<Mutex<BTreeMap<Status, usize>>> = Arc::default();
            runtime.block_on(async {
                for (round, attack) in attacks.iter().cycle().enumerate() {
                    let workers: Vec<_> = (0..attack.workers().min(workers_max))
                        .map(|worker| tokio::spawn(attack_on(evil.clone(), *attack, worker, round, statuses.clone())))
                        .collect();
                    let begun = Instant::now();
                    while !stopped.load(Ordering::Relaxed) && (attacks.len() == 1 || begun.elapsed() < ATTACK) {
                        tokio::time::sleep(Duration::from_millis(50)).await;
                    }
                    workers.iter().for_each(tokio::task::JoinHandle::abort);
                    if stopped.load(Ordering::Relaxed) {
                        return;
                    }
                }
            });
            drop(runtime);
            statuses.lock().expect("no panic").clone()
        });
        Attackers { stop, thread }
    }

    /// Gives how the steps ended.
    pub fn stop(self) -> BTreeMap<Status, usize> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the attackers end")
    }
}

async fn attack_on(
    evil: Evil,
    attack: Attack,
    worker: usize,
    round: usize,
    statuses: Arc<Mutex<BTreeMap<Status, usize>>>,
) {
    for turn in 0.. {
        // No two rounds send an event of the same id.
        let status = evil.step(attack, worker, round * 1_000_000 + turn).await;
        *statuses.lock().expect("no panic").entry(status).or_default() += 1;
        tokio::task::yield_now().await;
    }
}

/// The wait that so many of a thousand do not exceed.
fn quantile(waits: &[Duration], of_thousand: usize) -> Duration {
    let mut waits = waits.to_vec();
    waits.sort_unstable();
    waits.get((waits.len() * of_thousand).div_ceil(1_000).saturating_sub(1)).copied().unwrap_or(PATIENCE)
}

impl Row {
    pub const HEAD: &str = "attack             on         calls p50/p99/worst ms: quiet | attacked        savings p50/p99/worst ms: quiet | attacked          peak MiB  E's answers";

    pub fn complaints(&self, plan: &Plan) -> Vec<String> {
        let (name, on) = (self.attack.name(), self.backend);
        let mut complaints: Vec<String> = self.odd.iter().map(|line| format!("{name} on {on:?}: {line}")).collect();
        let call = quantile(&self.attacked.calls, 990);
        if call > plan.call_max {
            complaints.push(format!("{name} on {on:?}: the neighbour's calls took {call:.1?} (99 of 100)"));
        }
        let saving = quantile(&self.attacked.savings, 1_000);
        if saving > plan.saving_max {
            complaints.push(format!("{name} on {on:?}: a saving of the neighbour's took {saving:.1?}"));
        }
        complaints
    }

    pub fn line(&self) -> String {
        let ms = |waits: &[Duration]| {
            let of = |of| format!("{:.1}", quantile(waits, of).as_secs_f64() * 1e3);
            format!("{} / {} / {}", of(500), of(990), of(1_000))
        };
        let mut statuses = String::new();
        for (status, count) in &self.statuses {
            let _ = write!(statuses, "{count}×{status} ");
        }
        format!(
            "{:<18} {:<9} {:>24} | {:<26} {:>24} | {:<28} {:>6}  {statuses}",
            self.attack.name(),
            format!("{:?}", self.backend),
            ms(&self.quiet.calls),
            ms(&self.attacked.calls),
            ms(&self.quiet.savings),
            ms(&self.attacked.savings),
            self.memory_peak_bytes >> 20,
        )
    }
}
