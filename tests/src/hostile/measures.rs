//! What the attacks cost everyone else, measured, and what speaks against a run.

use std::fmt::{self, Write};
use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::future::join_all;
use futures::stream::FuturesUnordered;
use serde_json::json;

use super::corpus::{self, Ends, Entry, World};
use super::process::{self, Holds};
use super::{Arena, Attacked, CPU, timeout};
use crate::Backend;

/// Runs of one attack at the same time, which share the cores.
const SIDE_BY_SIDE: usize = 8;
const CPU_OVERRUN_MAX: Duration = Duration::from_millis(250);
const WALL_OVERRUN_MAX: Duration = Duration::from_secs(1);
/// Beyond the guest's own memory.
const MEMORY_OVER_MAX: i64 = 8 << 20;
/// What a process may hold more after ten times as many timeouts.
const MEMORY_GROWN_MAX: u64 = 16 << 20;
const HOLDS_GROWN_MAX: u64 = 8;
/// How much later the neighbour may be answered.
const NEIGHBOUR_RATIO_MAX: f64 = 2.0;

/// How much is done.
#[derive(Clone, Copy)]
pub struct Plan {
    /// How often each attack is made side by side; 0: none is, and the table stays empty.
    pub rounds: usize,
    /// Calls that run into their CPU or wall-clock limit, before the first look at what is left and at the second.
    pub timeouts: [usize; 2],
    /// Calls of the neighbour's in each of the blocks, quiet and attacked by turns; 0: nobody looks how long they take.
    pub calls: usize,
    pub canaries: usize,
}

impl Plan {
    /// What a busy machine can tell too: nothing that is a time.
    pub fn short() -> Plan {
        Plan { rounds: 0, timeouts: [300, 2_000], calls: 0, canaries: 5 }
    }

    /// What the figures in the docs are from.
    pub fn long() -> Plan {
        Plan { rounds: 5, timeouts: [1_000, 10_000], calls: 500, canaries: 50 }
    }
}

/// One attack, made many times.
pub struct Row {
    entry: Entry,
    runs: usize,
    got: String,
    fine: bool,
    cpu_overrun: Duration,
    wall_overrun: Duration,
    /// `None`: it never ran.
    memory_over: Option<i64>,
}

pub struct Outcome {
    rows: Vec<Row>,
    holds: [Holds; 2],
    timeouts: [usize; 2],
    canaries: Canaries,
    neighbours: Vec<Neighbour>,
    unwell: Vec<String>,
    took: Duration,
}

/// Words that were not zero where nothing had been written.
struct Canaries {
    /// In a run that had written them itself, so that the looking is known to work.
    own: u64,
    others: u64,
    looks: usize,
}

/// How long the neighbour waited, 99 of 100 times.
struct Neighbour {
    attack: String,
    quiet: Duration,
    attacked: Duration,
    /// Attacks that ended meanwhile.
    attacks: usize,
}

impl fmt::Display for Neighbour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Neighbour { attack, quiet, attacked, attacks } = self;
        let ratio = self.ratio();
        write!(f, "neighbour's p99: {quiet:.1?} quiet, {attacked:.1?} beside {attacks} times {attack}: {ratio:.2}")
    }
}

impl Neighbour {
    fn ratio(&self) -> f64 {
        self.attacked.as_secs_f64() / self.quiet.as_secs_f64()
    }
}

/// Only how long the neighbour waits beside these attacks, for those who want to know why.
pub async fn beside(names: &[String], plan: Plan) -> String {
    let arena = Arena::new(Backend::Embedded).await;
    for entry in corpus::all().into_iter().filter(|entry| names.contains(&entry.name)) {
        arena.deploy(&entry).await;
    }
    let mut table = String::new();
    for name in names {
        let _ = writeln!(table, "{}", arena.neighbour_beside(name, plan.calls).await);
    }
    table
}

/// With the attacks whose names begin so.
pub async fn run(plan: Plan, names: &str) -> Outcome {
    let begun = Instant::now();
    let arena = Arena::new(Backend::Embedded).await;
    let mut unwell = Vec::new();
    let mut rows = Vec::new();
    let entries = if plan.rounds == 0 { vec![] } else { corpus::all() };
    for entry in entries.into_iter().filter(|entry| entry.name.starts_with(names)) {
        rows.push(arena.row(entry, plan.rounds).await);
        if let Err(why) = arena.is_well().await {
            unwell.push(format!("after {}: {why}", rows.last().expect("a row").entry.name));
            break;
        }
    }
    let canaries = arena.canaries(plan.canaries).await;
    let neighbours = if plan.calls > 0 { arena.neighbours(plan.calls).await } else { vec![] };
    let mut holds = Vec::new();
    let mut made = 0;
    for until in plan.timeouts {
        arena.time_out(until - made).await;
        made = until;
        holds.push(arena.holds().await);
    }
    if let Err(why) = arena.is_well().await {
        unwell.push(format!("at the end: {why}"));
    }
    let holds = [holds[0], holds[1]];
    Outcome { rows, holds, timeouts: plan.timeouts, canaries, neighbours, unwell, took: begun.elapsed() }
}

impl Arena {
    async fn row(&self, entry: Entry, rounds: usize) -> Row {
        let mut row = Row {
            runs: 0,
            got: String::new(),
            fine: true,
            cpu_overrun: Duration::ZERO,
            wall_overrun: Duration::ZERO,
            memory_over: None,
            entry,
        };
        if let Some(words) = self.deploy(&row.entry).await {
            row.runs = 1;
            row.fine = matches!(&row.entry.ends, Ends::Refused(expected) if words.starts_with("error: ") && words.contains(expected.as_str()));
            row.got = words;
            return row;
        }
        // The first run loads the program.
        let first = self.attack(&row.entry).await;
        row.take(&first);
        for _ in 0..rounds {
            let before = process::memory_bytes(self.larder.pid());
            process::forget_peak(self.larder.pid());
            let all = join_all((0..SIDE_BY_SIDE).map(|_| self.attack(&row.entry))).await;
            let grown = process::memory_peak_bytes(self.larder.pid()) as i64 - before as i64;
            let own = all.iter().map(|attacked| attacked.memory_bytes).max().unwrap_or_default() as i64;
            row.memory_over = row.memory_over.max(Some(grown / SIDE_BY_SIDE as i64 - own));
            all.iter().for_each(|attacked| row.take(attacked));
        }
        row
    }

    /// Runs that write a pattern wherever they can, and runs that look for anything that somebody has left, of the same
    /// function and of another one.
    async fn canaries(&self, rounds: usize) -> Canaries {
        let wasm = corpus::component(include_str!("../../hostile/canary.wat"), World::Typed);
        let settings = json!({ "limits": { "cpuMs": 10_000, "memoryBytes": 16 << 20 } });
        for function in ["canary", "other-canary"] {
            self.api.deploy(function, &wasm, settings.clone()).await;
        }
        let run = async |function: &str, mode: &str| {
            let execution = self.api.execute(function, json!({ "body": mode })).await;
            assert_eq!(execution["status"], "completed", "{execution:#}");
            execution["responseBody"].as_str().and_then(|count| count.parse::<u64>().ok()).unwrap_or_default()
        };
        let own = run("canary", "b").await;
        let (mut others, mut looks) = (0, 0);
        for _ in 0..rounds {
            join_all((0..SIDE_BY_SIDE).map(|_| run("canary", "w"))).await;
            let found = ["canary", "other-canary"].map(|function| (0..SIDE_BY_SIDE / 2).map(move |_| function));
            let found = join_all(found.into_iter().flatten().map(|function| run(function, "r"))).await;
            looks += found.len();
            others += found.into_iter().sum::<u64>();
        }
        Canaries { own, others, looks }
    }

    async fn neighbours(&self, calls: usize) -> Vec<Neighbour> {
        // Takes less than a tick of the engine, and so is never interrupted.
        self.api.deploy("short-spin", &corpus::component(SHORT_SPIN, World::Typed), json!({})).await;
        let mut neighbours = Vec::new();
        for attack in ["cpu-loop", "cpu-copy", "short-spin"] {
            neighbours.push(self.neighbour_beside(attack, calls).await);
        }
        neighbours
    }

    /// The neighbour calls its function one call after the other, quiet and attacked by turns, so that what the machine does
    /// besides meets both alike. The attackers have as many calls under way as their partner may.
    async fn neighbour_beside(&self, attack: &str, calls: usize) -> Neighbour {
        const AT_ONCE: usize = 60;
        const BLOCKS: usize = 3;
        let path = format!("/functions/{attack}/executions");
        let (mut quiet, mut attacked, mut attacks) = (Vec::new(), Vec::new(), 0);
        self.waits(20).await;
        for _ in 0..BLOCKS {
            quiet.extend(self.waits(calls).await);
            // Once the attackers are at it.
            let waits = async {
                tokio::time::sleep(Duration::from_millis(500)).await;
                self.waits(calls).await
            };
            let mut waits = std::pin::pin!(waits);
            let mut attackers: FuturesUnordered<_> = (0..AT_ONCE).map(|_| self.api.post(&path, json!({}))).collect();
            loop {
                tokio::select! {
                    biased;
                    waits = &mut waits => {
                        attacked.extend(waits);
                        break;
                    }
                    Some(answer) = attackers.next() => {
                        answer.is(201);
                        attacks += 1;
                        attackers.push(self.api.post(&path, json!({})));
                    }
                }
            }
            while let Some(answer) = attackers.next().await {
                answer.is(201);
                attacks += 1;
            }
        }
        Neighbour { attack: attack.into(), quiet: p99(quiet), attacked: p99(attacked), attacks }
    }

    /// How long each of so many calls of the neighbour's took.
    async fn waits(&self, calls: usize) -> Vec<Duration> {
        let client = reqwest::Client::builder().timeout(Duration::from_secs(60)).build().expect("a client");
        let url = format!("http://{}/hello?name=Anna", self.larder.address());
        let mut waits = Vec::new();
        for _ in 0..calls {
            let begun = Instant::now();
            let answer = client.get(&url).header("host", "neighbour.localhost").send().await.expect("an answer");
            assert!(answer.text().await.expect("a body").contains("Anna"));
            waits.push(begun.elapsed());
            // Somebody who thinks: whoever asks without a pause is never asleep when the attackers are served.
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        waits
    }

    /// Calls that run into their limits: one in ten waits for its wall clock, the others spin for 5 ms.
    async fn time_out(&self, calls: usize) {
        const AT_ONCE: usize = 32;
        let limits = json!({ "cpuMs": 5 });
        let spin = json!({ "name": "timeouts", "limits": limits, "timeout": 10 });
        if self.api.get("/functions/timeouts").await.status == 404 {
            let wasm = corpus::component("(func $run (param i32 i32) (loop $again (br $again)))", World::Typed);
            self.api.deploy("timeouts", &wasm, spin).await;
        }
        if self.api.get("/functions/time-sleep").await.status == 404 {
            let sleep =
                corpus::all().into_iter().find(|entry| entry.name == "time-sleep").expect("it is in the corpus");
            self.deploy(&sleep).await;
        }
        let all = futures::stream::iter(0..calls).map(|call| async move {
            let function = if call % 10 == 0 { "time-sleep" } else { "timeouts" };
            let execution = self.api.execute(function, json!({})).await;
            assert_eq!(execution["status"], "failed", "{execution:#}");
        });
        all.buffer_unordered(AT_ONCE).collect::<Vec<()>>().await;
    }
}

/// Computes for four milliseconds, as the clock has it, and answers.
const SHORT_SPIN: &str = r#"
(import "wasi:clocks/monotonic-clock@0.2.6" "now" (func $now (result i64)))
(func $run (param i32 i32)
  (local $until i64)
  (local.set $until (i64.add (call $now) (i64.const 4000000)))
  (loop $again (br_if $again (i64.lt_u (call $now) (local.get $until)))))"#;

fn p99(mut waits: Vec<Duration>) -> Duration {
    waits.sort_unstable();
    waits[(waits.len() * 99).div_ceil(100) - 1]
}

impl Row {
    fn take(&mut self, attacked: &Attacked) {
        self.runs += 1;
        // The first that is not as it must be is shown.
        if self.fine {
            self.fine = attacked.fine;
            self.got.clone_from(&attacked.got);
        }
        self.cpu_overrun = self.cpu_overrun.max(attacked.cpu.saturating_sub(CPU));
        self.wall_overrun = self.wall_overrun.max(attacked.wall.saturating_sub(timeout(&self.entry)));
    }

    fn complaints(&self) -> Vec<String> {
        let name = &self.entry.name;
        let mut complaints = Vec::new();
        if !self.fine {
            complaints.push(format!("{name} ended otherwise: {}", self.got));
        }
        if self.cpu_overrun > CPU_OVERRUN_MAX {
            complaints.push(format!("{name} had {} ms of CPU time too much", self.cpu_overrun.as_millis()));
        }
        if self.wall_overrun > WALL_OVERRUN_MAX {
            complaints.push(format!("{name} went on for {} ms after its timeout", self.wall_overrun.as_millis()));
        }
        if self.memory_over.is_some_and(|over| over > MEMORY_OVER_MAX) {
            complaints
                .push(format!("{name} made the host keep {} MiB a run", mib(self.memory_over.unwrap_or_default())));
        }
        complaints
    }
}

fn mib(bytes: i64) -> String {
    format!("{:.1}", bytes.max(0) as f64 / f64::from(1 << 20))
}

impl Outcome {
    /// What speaks against the run, if anything does.
    pub fn complaints(&self) -> Vec<String> {
        let mut complaints: Vec<String> = self.rows.iter().flat_map(Row::complaints).collect();
        complaints.extend(self.unwell.iter().cloned());
        if self.canaries.own == 0 {
            complaints.push("the canary does not see what it wrote itself: looking proves nothing".into());
        }
        if self.canaries.others > 0 {
            complaints.push(format!("{} words of earlier runs could be read", self.canaries.others));
        }
        let [first, last] = self.holds;
        for (what, first, last, most) in [
            ("bytes of memory", first.memory_bytes, last.memory_bytes, MEMORY_GROWN_MAX),
            ("descriptors", first.descriptors, last.descriptors, HOLDS_GROWN_MAX),
            ("threads", first.threads, last.threads, HOLDS_GROWN_MAX),
            ("tasks", first.tasks, last.tasks, HOLDS_GROWN_MAX),
        ] {
            if last > first + most {
                complaints.push(format!("{what}: {first} after the first timeouts, {last} at the end"));
            }
        }
        if last.slots > 0 {
            complaints.push(format!("{} slots of the pool were never given back", last.slots));
        }
        for neighbour in &self.neighbours {
            if neighbour.ratio() > NEIGHBOUR_RATIO_MAX {
                complaints.push(format!(
                    "the neighbour waited {:.1} times as long beside {}",
                    neighbour.ratio(),
                    neighbour.attack
                ));
            }
            if neighbour.attacks == 0 {
                complaints.push(format!("no {} ended beside the neighbour: it proves nothing", neighbour.attack));
            }
        }
        if !complaints.is_empty() {
            complaints.push(format!("this machine: {}", process::load()));
        }
        complaints
    }

    pub fn table(&self) -> String {
        let mut table = String::new();
        let mut line = |cells: [&str; 8]| {
            let [name, tries, must, got, runs, cpu, wall, memory] = cells;
            let cut = |text: &str, most: usize| text.replace('\n', " ").chars().take(most).collect::<String>();
            writeln!(
                table,
                "{name:<26} {:<52} {:<34} {:<44} {runs:>4} {cpu:>6} {wall:>6} {memory:>7}",
                cut(tries, 52),
                cut(must, 34),
                cut(got, 44),
            )
            .expect("memory");
        };
        if !self.rows.is_empty() {
            line(["entry", "tries", "must end", "ended", "runs", "cpu+ms", "wall+ms", "host+MiB"]);
        }
        for row in &self.rows {
            let must = match &row.entry.ends {
                Ends::Refused(words) => format!("refused: {words}"),
                Ends::Failed(words) => format!("failed: {words}"),
                Ends::Answers(words) => format!("answers: {words}"),
            };
            let ms = |time: Duration| if row.memory_over.is_some() { time.as_millis().to_string() } else { "-".into() };
            // Of a long text the limit is what counts.
            let got = row.got.rfind("limit ").map_or(row.got.as_str(), |at| &row.got[at..]);
            line([
                &row.entry.name,
                &row.entry.tries,
                &must,
                got,
                &row.runs.to_string(),
                &ms(row.cpu_overrun),
                &ms(row.wall_overrun),
                &row.memory_over.map_or("-".into(), mib),
            ]);
        }
        let Canaries { own, others, looks } = &self.canaries;
        let (entries, seconds, load) = (self.rows.len(), self.took.as_secs(), process::load());
        let _ = writeln!(
            table,
            "\nhostile guests: {entries} entries measured, {seconds} s on {load}\n\
            canary: {own} words of its own seen, {others} of other runs in {looks} looks",
        );
        for (timeouts, holds) in self.timeouts.iter().zip(&self.holds) {
            let Holds { memory_bytes, descriptors, threads, tasks, slots } = holds;
            let _ = writeln!(
                table,
                "after {timeouts} timeouts: {} MiB, {descriptors} descriptors, {threads} threads, {tasks} tasks, {slots} slots",
                memory_bytes >> 20,
            );
        }
        for neighbour in &self.neighbours {
            let _ = writeln!(table, "{neighbour}");
        }
        table
    }
}
