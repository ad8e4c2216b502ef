//! Whole servers: the web endpoint under load, and the first call of a function after a start.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context;
use larder_tests::{Backend, Larder, Options};
use serde_json::json;
use tempfile::TempDir;

use crate::guests::{self, HELLO, HELLO_PATH};
use crate::in_process::{WARM_UP, bare_files};
use crate::load::{self, Connection};
use crate::measure::{Kind, Row, median};
use crate::{Plan, bare_server, machine, say};

const CONNECTIONS: usize = 32;
/// Between two loads: what the last one left to be written is written by then.
const REST: Duration = Duration::from_millis(500);

/// A bare server in a process of its own.
struct BareServer {
    process: Child,
    address: SocketAddr,
}

impl BareServer {
    fn start(folder: &Path) -> anyhow::Result<BareServer> {
        let mut process = Command::new(std::env::current_exe()?)
            .arg(bare_server::ARGUMENT)
            .arg(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        BufReader::new(process.stdout.take().context("it has a stdout")?).read_line(&mut line)?;
        let mut server = BareServer { process, address: ([127, 0, 0, 1], 0).into() };
        server.address = line.trim().parse().with_context(|| format!("the bare server said {line:?}"))?;
        Ok(server)
    }
}

impl Drop for BareServer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn address(larder: &Larder) -> anyhow::Result<SocketAddr> {
    Ok(larder.address().parse()?)
}

/// Puts the bare server beside Larder with records off and with records on.
pub async fn door(plan: &Plan, hello: &[u8]) -> anyhow::Result<Vec<Row>> {
    say(&format!("web endpoint, {CONNECTIONS} connections"));
    let folder = TempDir::new()?;
    bare_files(folder.path(), hello, 0)?;
    let bare = BareServer::start(folder.path())?;
    let mut larders = Vec::new();
    for records in ["false", "true"] {
        let larder = Larder::start_with(Options::default().set("LARDER_RECORDS__ALL", records)).await;
        larder.api().deploy("hello", hello, json!({ "routes": [HELLO_PATH] })).await;
        larders.push(larder);
    }
    let mut rows = [("off", 0.6), ("on", 0.4)].map(|(records, aim)| {
        Row::new(format!("web endpoint, {CONNECTIONS} connections, records {records}"), Kind::Rate, Some(aim))
    });
    // Says more than the rate where others use the machine: time that they take is not in it.
    let mut costs = ["off", "on"]
        .map(|records| Row::new(format!("  CPU of the server per request, records {records}"), Kind::Latency, None));
    let mut appends = Vec::new();
    // The first round only warms up.
    for round in 0..=plan.rounds {
        for ((row, cost), larder) in rows.iter_mut().zip(&mut costs).zip(&larders) {
            for side in plan.order(round) {
                let (server, pid) = match side.is_bare() {
                    true => (bare.address, bare.process.id()),
                    false => (address(larder)?, larder.pid()),
                };
                let time = if round == 0 { REST } else { plan.door_time };
                let before = machine::cpu_time(pid)?;
                let load = move || load::run(server, HELLO_PATH, HELLO, CONNECTIONS, time);
                let done = tokio::task::spawn_blocking(load).await??;
                tokio::time::sleep(REST).await;
                if round > 0 {
                    let used = machine::cpu_time(pid)?.saturating_sub(before);
                    side.of(cost).add_cost(used.as_nanos() as f64 / done.nanos.len() as f64);
                    side.of(row).add_rate(done.per_second, done.nanos);
                }
            }
        }
        appends.push(machine::durable_appends(folder.path(), REST)?);
    }
    // Records are made durable in groups: what the disk can do says how much that matters.
    rows[1].note = format!("disk: {:.0} appends of 4 KiB + fdatasync /s", median(appends));
    Ok(rows.into_iter().zip(costs).flat_map(|(row, cost)| [row, cost]).collect())
}

/// Every round starts both servers anew and calls each function once, over one connection.
pub async fn cold(plan: &Plan, hello: &[u8]) -> anyhow::Result<Vec<Row>> {
    say(&format!("cold starts over HTTP: deploying {} functions", plan.functions));
    let folder = TempDir::new()?;
    bare_files(folder.path(), hello, plan.functions)?;
    let mut larder = Larder::start_on(Backend::Embedded).await;
    let api = larder.api();
    api.deploy("hello", hello, json!({ "routes": [HELLO_PATH] })).await;
    for n in 0..plan.functions {
        let routes = json!({ "routes": [bare_server::path(n)] });
        api.deploy(&format!("hello-{n}"), &guests::distinct(hello, n), routes).await;
    }
    say("cold starts over HTTP");
    let mut row = Row::new("cold start over HTTP, first call of hello", Kind::Latency, None);
    for round in 1..=plan.rounds {
        for side in plan.order(round) {
            let nanos = if side.is_bare() {
                let bare = BareServer::start(folder.path())?;
                first_calls(bare.address, plan.functions).await?
            } else {
                larder.kill();
                larder.restart().await;
                first_calls(address(&larder)?, plan.functions).await?
            };
            side.of(&mut row).add_latencies(nanos);
        }
    }
    Ok(vec![row])
}

async fn first_calls(server: SocketAddr, functions: u32) -> anyhow::Result<Vec<u64>> {
    let mut connection = Connection::open(server).await?;
    for _ in 0..WARM_UP {
        let answer = connection.call(&load::get(HELLO_PATH)).await?;
        anyhow::ensure!(answer.status == 200 && answer.body == HELLO, "answered {}", answer.status);
    }
    let mut nanos = Vec::new();
    for n in 0..functions {
        let path = bare_server::path(n);
        let request = load::get(&path);
        let begun = Instant::now();
        let answer = connection.call(&request).await?;
        nanos.push(begun.elapsed().as_nanos() as u64);
        // The guest knows no such path and says so itself.
        let expected = format!("no GET {path} here\n");
        let text = String::from_utf8_lossy(&answer.body);
        anyhow::ensure!(answer.status == 404 && text == expected, "answered {} with {text:?}", answer.status);
    }
    Ok(nanos)
}
