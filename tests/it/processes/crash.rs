//! SIGKILL at random points, again and again, while events, enrolled runs and a schedule go through; then an oracle that
//! knows what was accepted compares every transaction, state value and execution: none missing, none twice, none stuck.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use larder_tests::{Api, Larder, Options, Random, eventually, guests};
use serde_json::{Value, json};

const KILLS: u32 = 100;
const SAVERS: u32 = 20;
const TOPICS: u32 = 4;
/// Events per kill, so that something is always under way.
const PACE: u32 = 6;

/// What was accepted: event id → topic and amount in minor units. Every third one is for all savers of a topic.
type Accepted = Arc<Mutex<BTreeMap<String, (Option<u32>, u32)>>>;

#[tokio::test(flavor = "multi_thread")]
async fn after_a_hundred_kills_nothing_is_missing_doubled_or_stuck() {
    // Leases are ended at the start, because the database was the dead process's alone; the default lease stays.
    let mut larder = Larder::start_with(Options::default().set("LARDER_WORKER__ATTEMPTS_LOST", "100")).await;
    let api = larder.api();
    let probe = guests::guest("probe");
    api.deploy("single", &probe, json!({ "events": ["probe.*"] })).await;
    // Armed by its deployment, so its saver comes before that.
    api.create_function("minutely", json!({ "schedule": "* * * * *" })).await.is(201);
    api.deploy("fan", &guests::guest("round-up"), json!({ "events": ["card.purchase"], "per": "enrolment" })).await;
    for function in ["single", "minutely"] {
        api.enrol(function, "clock", "clock", json!({})).await;
    }
    assert_eq!(api.build("minutely", &probe, true).await["status"], "ready");
    for saver in 0..SAVERS {
        let topic = format!("card-{}", saver % TOPICS);
        api.enrol("fan", &format!("saver-{saver}"), &topic, json!({ "monthlyCap": "100000.00" })).await;
    }

    let accepted: Accepted = Arc::default();
    let current = Arc::new(Mutex::new(api));
    let stop = Arc::new(AtomicBool::new(false));
    let allowed = Arc::new(tokio::sync::Semaphore::new(PACE as usize));
    let sender = tokio::spawn(send(current.clone(), accepted.clone(), allowed.clone(), stop.clone()));

    let mut random = Random::new();
    let minute = || std::time::UNIX_EPOCH.elapsed().unwrap().as_secs() / 60;
    let begun = minute();
    let (mut kills, mut since_it_fired) = (0, 0);
    // The schedule fires among the kills.
    while kills < KILLS || since_it_fired < 10 {
        kills += 1;
        since_it_fired += u32::from(minute() > begun);
        tokio::time::sleep(Duration::from_millis(random.below(350))).await;
        larder.kill();
        larder.restart().await;
        *current.lock().unwrap() = larder.api();
        allowed.add_permits(PACE as usize);
    }
    stop.store(true, Ordering::SeqCst);
    allowed.close();
    sender.await.unwrap();

    let api = larder.api();
    for function in ["single", "fan", "minutely"] {
        eventually(&format!("{function} to come to rest"), async || {
            let executions = api.executions(function).await;
            executions.iter().all(|e| matches!(e["status"].as_str(), Some("completed" | "failed"))).then_some(())
        })
        .await;
    }
    let accepted = accepted.lock().unwrap().clone();
    compare(&api, &accepted, kills).await;
}

/// Sends events until each is accepted, whatever happens to the process meanwhile.
async fn send(
    current: Arc<Mutex<Api>>,
    accepted: Accepted,
    allowed: Arc<tokio::sync::Semaphore>,
    stop: Arc<AtomicBool>,
) {
    for number in 0u32.. {
        let Ok(permit) = allowed.acquire().await else { return };
        permit.forget();
        let id = format!("event-{number:05}");
        let minor = 101 + number % 800;
        let amount = format!("{}.{:02}", minor / 100, minor % 100);
        let topic = (number % 3 == 0).then_some(number / 3 % TOPICS);
        let (kind, subject) = match topic {
            Some(topic) => ("card.purchase", Some(format!("card-{topic}"))),
            None => ("probe.save", None),
        };
        let event = json!({
            "specversion": "1.0", "id": id, "source": "/crash", "type": kind, "subject": subject, "time": "2026-11-02T10:00:00Z",
            "data": { "amount": amount, "currency": "SEK", "merchant": "Kiosk" },
        });
        let event = without_null(event);
        loop {
            let api = current.lock().unwrap().clone();
            let request =
                api.request(reqwest::Method::POST, "/events").header("content-type", "application/cloudevents+json");
            match Api::try_send(request.body(event.to_string()).timeout(Duration::from_secs(5))).await {
                Ok(answer) if answer.status == 202 => break,
                Ok(answer) if answer.status < 500 => panic!("an event was refused: {}", answer.body),
                Ok(_) | Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
        accepted.lock().unwrap().insert(id, (topic, minor));
        if stop.load(Ordering::SeqCst) {
            return;
        }
    }
}

async fn compare(api: &Api, accepted: &BTreeMap<String, (Option<u32>, u32)>, kills: u32) {
    let singles: BTreeMap<&String, u32> =
        accepted.iter().filter(|(_, (topic, _))| topic.is_none()).map(|(id, (_, minor))| (id, *minor)).collect();
    let fans: Vec<(u32, u32)> = accepted.values().filter_map(|(topic, minor)| Some(((*topic)?, *minor))).collect();
    assert!(singles.len() > 100 && fans.len() > 50, "the workload was too small: {} and {}", singles.len(), fans.len());

    for function in ["single", "fan", "minutely"] {
        for execution in api.executions(function).await {
            assert_eq!(execution["status"], "completed", "{execution}");
        }
    }
    let mut by_function: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for transaction in api.transactions().await {
        by_function.entry(transaction["functionId"].as_str().unwrap().to_owned()).or_default().push(transaction);
    }

    // One transaction for each event, of its amount.
    let mut saved: BTreeMap<String, Vec<u32>> = BTreeMap::new();
    for transaction in &by_function["single"] {
        saved.entry(transaction["memo"].as_str().unwrap().to_owned()).or_default().push(minor(transaction));
    }
    let expected: BTreeMap<String, Vec<u32>> =
        singles.iter().map(|(id, minor)| ((*id).clone(), vec![*minor])).collect();
    assert_eq!(saved, expected);

    // State: a value that was read and written, one that was incremented, and one at the end of a chain of events.
    let state = api.execute("single", json!({})).await;
    let state: Value = serde_json::from_str(state["responseBody"].as_str().unwrap()).unwrap();
    assert_eq!(state["count"], singles.len(), "{state}");
    assert_eq!(state["sum"], singles.values().sum::<u32>(), "{state}");
    assert_eq!(state["echoes"], singles.len(), "{state}");

    // Of each fanned-out event one transaction for every saver of its topic; one that is round already saves nothing.
    let mut expected: BTreeMap<String, Vec<u32>> = BTreeMap::new();
    for saver in 0..SAVERS {
        for (_, minor) in fans.iter().filter(|(topic, _)| *topic == saver % TOPICS) {
            let rest = (1_000 - minor % 1_000) % 1_000;
            if rest > 0 {
                expected.entry(format!("saver-{saver}")).or_default().push(rest);
            }
        }
    }
    let mut saved: BTreeMap<String, Vec<u32>> = BTreeMap::new();
    for transaction in &by_function["fan"] {
        saved.entry(transaction["endUser"].as_str().unwrap().to_owned()).or_default().push(minor(transaction));
    }
    expected.values_mut().chain(saved.values_mut()).for_each(|amounts| amounts.sort_unstable());
    assert_eq!(saved, expected);
    assert_eq!(api.executions("fan").await.len(), fans.len() * (SAVERS / TOPICS) as usize);

    // The schedule: every minute from the first to the last firing, once.
    let mut nominal: Vec<String> =
        api.executions("minutely").await.iter().map(|e| e["nominalAt"].as_str().unwrap().to_owned()).collect();
    nominal.sort();
    assert!(!nominal.is_empty(), "the schedule never fired");
    let minutes: Vec<i64> =
        nominal.iter().map(|at| chrono::DateTime::parse_from_rfc3339(at).unwrap().timestamp() / 60).collect();
    let whole: Vec<i64> = (minutes[0]..=minutes[minutes.len() - 1]).collect();
    assert_eq!(minutes, whole, "a firing is missing or doubled");
    let memos: BTreeSet<&str> = by_function["minutely"].iter().map(|t| t["memo"].as_str().unwrap()).collect();
    assert_eq!((memos.len(), by_function["minutely"].len()), (minutes.len(), minutes.len()));

    println!(
        "{kills} kills; {} events, {} transactions, {} executions, {} firings; lost 0, doubled 0, stuck 0",
        accepted.len(),
        by_function.values().map(Vec::len).sum::<usize>(),
        api.executions("single").await.len() + api.executions("fan").await.len(),
        minutes.len()
    );
}

fn minor(transaction: &Value) -> u32 {
    transaction["amount"].as_str().unwrap().replace('.', "").parse().unwrap()
}

fn without_null(mut event: Value) -> Value {
    event.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    event
}
