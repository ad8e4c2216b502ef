//! What is asked of Larder while it is broken: a list that follows from a seed, each item sent until it is accepted.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::{Api, Random, guests};

/// Enough for each topic that the records of a fan-out are packed.
pub const SAVERS: u64 = 72;
pub const TOPICS: u64 = 2;
/// Attempts of the function that never succeeds.
pub const NEVER_ATTEMPTS: u64 = 3;
/// Between two items of one sender.
const PACE: Duration = Duration::from_millis(120);
const SENDERS: usize = 4;

#[derive(Clone, Debug, PartialEq)]
pub enum Item {
    /// Saves once, reads and writes state, increments, emits an event that increments again.
    Single { minor: u64 },
    /// Saves for each saver of a topic.
    Fan { topic: u64, minor: u64 },
    /// Is to be retried until this many singles were counted.
    After { count: u64 },
    /// Runs for so long that it is often caught in the middle.
    Slow,
    /// Fails until it is given up.
    Never,
    /// Asynchronous, through the API, under an Idempotency-Key.
    Execution { minor: u64 },
}

/// The list of a seed, in the order of sending.
#[derive(Clone, Copy)]
pub struct Workload {
    seed: u64,
}

impl Workload {
    pub fn new(seed: u64) -> Workload {
        Workload { seed }
    }

    /// Items by their numbers from 0 on.
    pub fn items(self) -> impl Iterator<Item = Item> {
        let mut random = Random::seeded(self.seed);
        let mut singles = 0;
        std::iter::from_fn(move || {
            let minor = 101 + random.below(800);
            Some(match random.below(20) {
                0..8 => {
                    singles += 1;
                    Item::Single { minor }
                }
                8..13 => Item::Fan { topic: random.below(TOPICS), minor },
                13..15 => Item::After { count: singles },
                15 => Item::Slow,
                16 => Item::Never,
                _ => Item::Execution { minor },
            })
        })
    }
}

/// Event id, or Idempotency-Key, of an item.
pub fn id(number: u64) -> String {
    format!("item-{number:06}")
}

pub fn amount(minor: u64) -> String {
    format!("{}.{:02}", minor / 100, minor % 100)
}

/// The functions that the items are for, and who is enrolled.
pub async fn prepare(api: &Api) {
    let probe = guests::guest("probe");
    // Before its deployment, which arms the schedule.
    api.create_function("minutely", json!({ "schedule": "* * * * *" })).await.is(201);
    for (function, settings) in [
        ("single", json!({ "events": ["probe.save", "probe.echo", "probe.after", "probe.slow"] })),
        ("never", json!({ "events": ["probe.retry"], "limits": { "attempts": NEVER_ATTEMPTS } })),
        ("asked", json!({})),
        ("spare", json!({})),
    ] {
        api.deploy(function, &probe, settings).await;
    }
    api.deploy("fan", &guests::guest("round-up"), json!({ "events": ["card.purchase"], "per": "enrolment" })).await;
    for function in ["single", "asked", "minutely"] {
        api.enrol(function, "clock", "clock", json!({})).await;
    }
    for saver in 0..SAVERS {
        let topic = format!("card-{}", saver % TOPICS);
        api.enrol("fan", &format!("saver-{saver}"), &topic, json!({ "monthlyCap": "10000000.00" })).await;
    }
    assert_eq!(api.build("minutely", &probe, true).await["status"], "ready");
}

/// Senders that work in the background.
pub struct Senders {
    stop: Arc<AtomicBool>,
    next: Arc<AtomicU64>,
    repeated: Arc<AtomicU64>,
    refused: Arc<Mutex<Vec<String>>>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

/// What was sent.
pub struct Sent {
    /// All items up to this one were accepted.
    pub count: u64,
    /// How often one was sent that had been accepted already.
    pub repeated: u64,
    /// Answers that nobody may be given: what was sent is right, and a repeated request is the same.
    pub refused: Vec<String>,
}

impl Senders {
    /// `doors` are the APIs of the web processes; each try takes one of them.
    pub fn start(workload: Workload, doors: Vec<Api>) -> Senders {
        let stop = Arc::new(AtomicBool::new(false));
        let (next, repeated) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let refused: Arc<Mutex<Vec<String>>> = Arc::default();
        let items = Arc::new(Mutex::new(workload.items().enumerate()));
        let tasks = (0..SENDERS).map(|sender| {
            let (stop, next, repeated) = (stop.clone(), next.clone(), repeated.clone());
            let (items, doors, refused) = (items.clone(), doors.clone(), refused.clone());
            tokio::spawn(async move {
                let mut random = Random::seeded(sender as u64);
                while !stop.load(Ordering::SeqCst) {
                    let (number, item) = items.lock().expect("no panic").next().expect("an endless list");
                    next.fetch_max(number as u64 + 1, Ordering::SeqCst);
                    let mut send = async || deliver(&doors, &mut random, number as u64, &item).await;
                    let first = send().await;
                    if number % 8 == 0 {
                        repeated.fetch_add(1, Ordering::SeqCst);
                        let again = send().await;
                        if first != again {
                            let text = format!("item {number}: first {first:?}, sent again {again:?}");
                            refused.lock().expect("no panic").push(text);
                        }
                    }
                    if let Err(why) = first {
                        refused.lock().expect("no panic").push(format!("item {number} was refused: {why}"));
                    }
                    tokio::time::sleep(PACE).await;
                }
            })
        });
        Senders { tasks: tasks.collect(), stop, next, repeated, refused }
    }

    /// Ends when what has begun was accepted.
    pub async fn finish(self) -> Sent {
        self.stop.store(true, Ordering::SeqCst);
        for task in self.tasks {
            task.await.expect("no sender failed");
        }
        let refused = std::mem::take(&mut *self.refused.lock().expect("no panic"));
        Sent { count: self.next.load(Ordering::SeqCst), repeated: self.repeated.load(Ordering::SeqCst), refused }
    }
}

/// Sends until it is answered for good, whatever happens to the processes meanwhile. Gives what was made of it.
async fn deliver(doors: &[Api], random: &mut Random, number: u64, item: &Item) -> Result<Value, String> {
    loop {
        let request = request(random.pick(doors), number, item).timeout(Duration::from_secs(8));
        match Api::try_send(request).await {
            Ok(answer) if answer.status == 202 => {
                return Ok(match item {
                    Item::Execution { .. } => answer.body["$id"].clone(),
                    _ => Value::Null,
                });
            }
            // 409: the one before, whose answer was lost, is still under way.
            Ok(answer) if answer.status >= 500 || matches!(answer.status, 409 | 429) => {}
            Ok(answer) => return Err(format!("{} {}", answer.status, answer.body)),
            Err(_) => {}
        }
        tokio::time::sleep(Duration::from_millis(20 + random.below(80))).await;
    }
}

fn request(api: &Api, number: u64, item: &Item) -> reqwest::RequestBuilder {
    let id = id(number);
    let event = |kind: &str, subject: Option<String>, data: Value| {
        let mut event = json!({
            "specversion": "1.0", "id": id, "source": "/chaos", "type": kind, "time": "2026-11-02T10:00:00Z", "data": data,
        });
        if let Some(subject) = subject {
            event["subject"] = subject.into();
        }
        let request = api.request(Method::POST, "/events").header("content-type", "application/cloudevents+json");
        request.body(event.to_string())
    };
    let price = |minor| json!({ "amount": amount(minor), "currency": "SEK", "merchant": "Kiosk" });
    match *item {
        Item::Single { minor } => event("probe.save", None, price(minor)),
        Item::Fan { topic, minor } => event("card.purchase", Some(format!("card-{topic}")), price(minor)),
        Item::After { count } => event("probe.after", None, json!({ "count": count })),
        Item::Slow => event("probe.slow", None, json!({ "ms": 1_500 })),
        Item::Never => event("probe.retry", None, json!({})),
        Item::Execution { minor } => {
            let data = json!({ "amount": amount(minor), "memo": id }).to_string();
            let body = json!({ "async": true, "body": data, "headers": { "content-type": "application/json" } });
            api.request(Method::POST, "/functions/asked/executions").header("idempotency-key", &id).json(&body)
        }
    }
}
