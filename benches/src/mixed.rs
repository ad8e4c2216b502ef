//! One partner floods the installation while others go on: how long their calls wait, and what becomes of the memory.

use std::net::SocketAddr;
use std::time::Duration;

use http::Method;
use larder_tests::{Api, Options};
use serde_json::json;

use crate::durable::{Durable, PARTNER};
use crate::guests::{HELLO_PATH, Hellos};
use crate::measure::{Kind, Line, Row};
use crate::{Plan, load, machine, say};

const OTHERS: [&str; 2] = ["calm", "quiet"];
/// Of the greatest rate of calls: the flood, and each of the others. Together it is 70 %, and what is queued comes on top.
const FLOOD: f64 = 0.5;
const EACH_OTHER: f64 = 0.1;
const CONNECTIONS: usize = 16;
/// Events that the flooding partner sends at once, and every so often.
const BATCH: usize = 100;
const PERIOD: Duration = Duration::from_millis(500);

pub async fn mixed(plan: &Plan, hellos: &Hellos) -> anyhow::Result<Vec<Line>> {
    say("one partner floods the others");
    let bench = Durable::start(Options::default()).await?;
    let address: SocketAddr = bench.larder.address().parse()?;
    for partner in OTHERS {
        greet(&bench.larder.partner(partner).await, &hellos.sdk).await;
    }
    greet(&bench.api, &hellos.sdk).await;
    let settings = json!({ "events": ["probe.echo"], "per": "event" });
    bench.api.deploy("probe", &larder_tests::guests::guest("probe"), settings).await;

    let time = plan.door_time;
    let requests = vec![load::get_at(PARTNER, HELLO_PATH); 2 * CONNECTIONS];
    let most = tokio::task::spawn_blocking(move || load::run(address, requests, 2 * CONNECTIONS, is_fine, time))
        .await??
        .per_second;
    let share = 100.0 * (FLOOD + OTHERS.len() as f64 * EACH_OTHER);
    let name = format!("p99 of other partners' calls, {share:.0} % load");
    let mut row = Row::new(name, Kind::Latency, Some(2.0)).against("without flood");
    let before = machine::memory(bench.larder.pid())?;
    let mut round_of_events = 0;
    for round in 0..plan.mixed_rounds {
        for side in plan.order(round) {
            let floods = !side.is_bare();
            let time = if floods { plan.mixed_time } else { plan.mixed_time / 3 };
            let mut calls = Vec::new();
            for partner in OTHERS {
                calls.push(spawn(address, partner, most * EACH_OTHER, time, is_fine));
            }
            let mut flood = None;
            if floods {
                flood = Some(spawn(address, PARTNER, most * FLOOD, time, any));
                for batch in 0..time.as_millis() / PERIOD.as_millis() {
                    round_of_events += 1;
                    events(&bench.api, round_of_events, batch as usize).await;
                }
            }
            let mut nanos = Vec::new();
            for calls in calls {
                nanos.extend(calls.await??);
            }
            if let Some(flood) = flood {
                flood.await??;
            }
            side.of(&mut row).add_p99(nanos);
        }
    }
    let after = machine::memory(bench.larder.pid())?;
    let flood = format!(
        "{:.0} calls/s and {} events/s of one partner",
        most * FLOOD,
        BATCH * 1_000 / PERIOD.as_millis() as usize
    );
    row.note = flood;
    let text = format!("{before} at the start, {after} after {:?} of flood", plan.mixed_time * plan.mixed_rounds);
    Ok(vec![row.into(), Line::said("  memory of the process", text)])
}

async fn greet(api: &Api, wasm: &[u8]) {
    api.deploy("hello", wasm, json!({ "routes": [HELLO_PATH] })).await;
}

fn is_fine(answer: &load::Answer) -> bool {
    answer.status == 200
}

/// Who floods may be refused.
fn any(_: &load::Answer) -> bool {
    true
}

type Calls = tokio::task::JoinHandle<anyhow::Result<Vec<u64>>>;

fn spawn(address: SocketAddr, partner: &str, per_second: f64, time: Duration, check: load::Check) -> Calls {
    let request = load::get_at(partner, HELLO_PATH);
    tokio::task::spawn_blocking(move || load::at_rate(address, request, check, CONNECTIONS, per_second, time))
}

/// Sends events and waits for the rest of the period. Who floods may be refused.
async fn events(api: &Api, round: usize, batch: usize) {
    let until = tokio::time::Instant::now() + PERIOD;
    let events: Vec<_> = (0..BATCH)
        .map(|n| json!({ "specversion": "1.0", "id": format!("{round}-{batch}-{n}"), "source": "/bench", "type": "probe.echo", "data": {} }))
        .collect();
    let request = api
        .request(Method::POST, "/events")
        .header("content-type", "application/cloudevents-batch+json")
        .body(serde_json::Value::from(events).to_string());
    let status = Api::send(request).await.status;
    assert!([202, 429].contains(&status), "events were answered {status}");
    tokio::time::sleep_until(until).await;
}
