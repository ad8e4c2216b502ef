//! Hostile guests, many times side by side: each ends as it must, when it must, and leaves nothing behind.
//!
//! * [`corpus`]: the attacks, one file each in `tests/hostile`, and how each must end. [`bombs`]: uploads made by code.
//!   [`javascript`]: programs on an engine.
//! * [`Arena`]: a Larder with a partner that attacks it and a neighbour. [`measures`]: what the attacks cost everyone else.
//!
//! What is measured is the process that they attack, from outside: its clocks in the records, its memory, descriptors and
//! threads as the kernel counts them, its tasks and pool slots as its metrics tell.

pub mod bombs;
pub mod corpus;
mod javascript;
pub mod measures;
pub mod process;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use corpus::{Ends, Entry, World};
use process::Holds;
use reqwest::Method;
use serde_json::{Value, json};

use crate::{Answer, Api, Backend, Larder, Options, eventually, guests};

/// What every attacker may use, unless it waits for its timeout.
pub const CPU: Duration = Duration::from_millis(200);
const TIMEOUT: Duration = Duration::from_secs(30);
const TIMEOUT_OF_WAITERS: Duration = Duration::from_secs(1);

pub struct Arena {
    pub larder: Larder,
    /// The attackers' partner.
    pub api: Api,
    pub neighbour: Api,
    js_is_deployed: AtomicBool,
    pid: u32,
}

/// What became of one attack.
#[derive(Clone, Debug, Default)]
pub struct Attacked {
    /// What it ended with, as its owner reads it.
    pub got: String,
    /// Is that how it must end?
    pub fine: bool,
    pub cpu: Duration,
    pub wall: Duration,
    /// The guest's own memory.
    pub memory_bytes: u64,
}

impl Arena {
    pub async fn new(on: Backend) -> Arena {
        Arena::with(Options::on(on)).await
    }

    pub async fn with(options: Options) -> Arena {
        let larder = Larder::start_with(options).await;
        let neighbour = larder.partner("neighbour").await;
        neighbour.deploy("hello", &guests::guest("hello-http"), json!({ "routes": ["/hello"] })).await;
        neighbour.enrol("hello", "evil", "everyone", json!({})).await;
        Arena { pid: larder.pid(), api: larder.api(), neighbour, js_is_deployed: AtomicBool::new(false), larder }
    }

    /// Deploys an attack; gives the build's words if it is refused. Those in JavaScript are one function.
    pub async fn deploy(&self, entry: &Entry) -> Option<String> {
        if entry.world == World::Js && self.js_is_deployed.swap(true, Ordering::Relaxed) {
            return None;
        }
        let timeout = timeout(entry).as_secs();
        let settings = json!({
            "routes": [entry.route()], "timeout": timeout, "limits": { "cpuMs": CPU.as_millis() as u64 },
        });
        if entry.world != World::Upload {
            self.api.deploy(entry.function(), &entry.wasm, settings).await;
            return None;
        }
        self.api.create_function(&entry.name, settings).await.is(201);
        let deployment = self.api.build(&entry.name, &entry.wasm, true).await;
        let log = deployment["buildLogs"].as_str().unwrap_or_default().trim();
        let last = log.lines().last().unwrap_or_default();
        Some(if deployment["status"] == "failed" {
            last.to_owned()
        } else {
            format!("{}: {log}", deployment["status"])
        })
    }

    /// Attacks once. A refused upload attacks by being called all the same.
    pub async fn attack(&self, entry: &Entry) -> Attacked {
        let execution = match entry.world {
            World::Cgi if matches!(entry.ends, Ends::Answers(_)) => self.execution_of(entry).await,
            World::Typed | World::Js => self.execution_of(entry).await,
            World::Http | World::Cgi => {
                let call = self.larder.web("demo", Method::GET, &format!("/{}", entry.name));
                let answer = call.send().await.expect("a head");
                let id = answer.headers()["x-appwrite-execution-id"].to_str().expect("an id").to_owned();
                let _ = answer.bytes().await; // it may break off
                self.execution(&entry.name, &id).await
            }
            World::Upload => unreachable!("it does not run"),
        };
        Attacked::of(entry, &execution)
    }

    /// What a synchronous execution ended with.
    async fn execution_of(&self, entry: &Entry) -> Value {
        let path = format!("/functions/{}/executions", entry.function());
        self.api.post(&path, json!({ "body": "attack", "path": format!("/{}", entry.name) })).await.is(201)
    }

    /// A record, which is written behind.
    async fn execution(&self, function: &str, id: &str) -> Value {
        let path = format!("/functions/{function}/executions/{id}");
        eventually("the record of the execution", async || {
            let Answer { status, body } = self.api.get(&path).await;
            (status == 200 && matches!(body["status"].as_str(), Some("completed" | "failed"))).then_some(body)
        })
        .await
    }

    /// The process is the one that was started, it answers, and nothing in it panicked.
    pub async fn is_well(&self) -> Result<(), String> {
        let log = self.larder.log();
        let odd: Vec<&str> =
            log.lines().filter(|line| ["panicked", "ERROR"].iter().any(|sign| line.contains(sign))).collect();
        if !odd.is_empty() {
            return Err(format!("the log says: {}", odd.join("\n")));
        }
        if self.larder.pid() != self.pid || self.larder.internal("/health/live").await.0 != 200 {
            return Err("it is another process, or none".into());
        }
        let hello = self.larder.web("neighbour", Method::GET, "/hello?name=Anna").timeout(Duration::from_secs(20));
        match hello.send().await {
            Ok(answer) if answer.status() == 200 => Ok(()),
            other => Err(format!("the neighbour got {other:?}")),
        }
    }

    /// What the process holds when nothing is going on.
    pub async fn holds(&self) -> Holds {
        // Connections and blocking threads that are not used any more go after ten seconds.
        let mut least: Option<Holds> = None;
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(13) {
            tokio::time::sleep(Duration::from_millis(500)).await;
            let now = self.holds_now().await;
            least = Some(least.map_or(now, |least| least.min(&now)));
        }
        least.expect("a look")
    }

    async fn holds_now(&self) -> Holds {
        let (_, metrics) = self.larder.internal("/metrics").await;
        let gauge = |name: &str| {
            let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<f64>().ok());
            line.unwrap_or_else(|| panic!("there is no {name}")) as u64
        };
        Holds {
            memory_bytes: process::memory_bytes(self.pid),
            descriptors: process::descriptors(self.pid),
            threads: process::threads(self.pid),
            tasks: gauge("larder_tasks "),
            slots: gauge("larder_pool_slots_used "),
        }
    }
}

/// The wall clock's limit of an attack.
pub fn timeout(entry: &Entry) -> Duration {
    match &entry.ends {
        Ends::Failed(words) if words.contains("wall_ms") => TIMEOUT_OF_WAITERS,
        _ => TIMEOUT,
    }
}

impl Attacked {
    fn of(entry: &Entry, execution: &Value) -> Attacked {
        let text = |name: &str| execution[name].as_str().unwrap_or_default();
        let seconds = |name: &str| Duration::from_secs_f64(execution[name].as_f64().unwrap_or(f64::from(u16::MAX)));
        let (status, errors) = (text("status"), text("errors"));
        let (got, fine) = match &entry.ends {
            Ends::Answers(words) => {
                let answer = text("responseBody");
                (format!("{status} {answer}"), status == "completed" && answer.contains(words.as_str()))
            }
            Ends::Failed(words) | Ends::Refused(words) => {
                (errors.to_owned(), status == "failed" && errors.contains(words.as_str()))
            }
        };
        Attacked {
            got: match got.trim() {
                "" => format!("{status} {errors}"),
                got => got.to_owned(),
            },
            fine,
            cpu: seconds("cpuTime"),
            wall: seconds("duration"),
            memory_bytes: execution["memoryPeakBytes"].as_u64().unwrap_or_default(),
        }
    }
}
