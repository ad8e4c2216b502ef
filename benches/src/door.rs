//! The web endpoint under load, with both greetings, beside what else serves the same.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use larder_tests::secure::Secure;
use larder_tests::{Larder, Options};
use serde_json::json;
use tempfile::TempDir;

use crate::bare_server::{NATIVE, RAW};
use crate::guests::{HELLO, HELLO_PATH, Hellos};
use crate::in_process::bare_files;
use crate::load::Over;
use crate::measure::{Kind, Line, Row, Side, median, microseconds, quantile, verdict};
use crate::servers::Server;
use crate::{Plan, load, machine, say};

const CONNECTIONS: usize = 32;
/// Between two loads: what the last one left to be written is written by then.
const REST: Duration = Duration::from_millis(500);
/// Of the greatest rate: what a server is to bear all day.
const SHARE: f64 = 0.7;
/// The slowest of a thousand at that rate.
const SLOWEST: Duration = Duration::from_millis(5);

/// Programs that may be installed.
pub struct Others {
    pub workerd: PathBuf,
    pub wasmtime: PathBuf,
}

const WORKERD: &str = "not installed: npm install workerd, then --workerd node_modules/.bin/workerd";
const WASMTIME: &str = "not installed: cargo install --locked wasmtime-cli, or --wasmtime FILE";

/// One that is loaded.
struct Contender {
    address: SocketAddr,
    path: &'static str,
    over: Over,
    pid: u32,
    rate: Side,
    cost: Side,
}

impl Contender {
    fn new(server: &Server, path: &'static str) -> Contender {
        Contender::at(server.address, path, Over::Plain, server.pid())
    }

    fn at(address: SocketAddr, path: &'static str, over: Over, pid: u32) -> Contender {
        Contender { address, path, over, pid, rate: Side::default(), cost: Side::default() }
    }

    async fn load(&mut self, time: Duration, counts: bool) -> anyhow::Result<()> {
        let (address, over, requests) = (self.address, self.over.clone(), vec![load::get(self.path); CONNECTIONS]);
        let before = machine::cpu_time(self.pid)?;
        let load = move || load::run_over(&over, address, requests, CONNECTIONS, greets, time);
        let done = tokio::task::spawn_blocking(load).await??;
        tokio::time::sleep(REST).await;
        if counts {
            let used = machine::cpu_time(self.pid)?.saturating_sub(before);
            self.cost.add_cost(used.as_nanos() as f64 / done.nanos.len() as f64);
            self.rate.add_rate(done.per_second, done.nanos);
        }
        Ok(())
    }

    /// At a share of its own greatest rate: a text, and the slowest of a thousand.
    async fn at_share(&self, time: Duration) -> anyhow::Result<(String, u64)> {
        let (address, request, rate) = (self.address, load::get(self.path), self.rate.median() * SHARE);
        let load = move || load::at_rate(address, request, greets, CONNECTIONS, rate, time);
        let mut nanos = tokio::task::spawn_blocking(load).await??;
        tokio::time::sleep(REST).await;
        let [p50, p99, p999] = [0.5, 0.99, 0.999].map(|q| quantile(&mut nanos, q));
        let [p50_text, p99_text, p999_text] = [p50, p99, p999].map(|nanos| microseconds(nanos as f64));
        Ok((format!("{rate:.0}/s: p50 {p50_text}, p99 {p99_text}, p99.9 {p999_text}"), p999))
    }
}

fn greets(answer: &load::Answer) -> bool {
    answer.status == 200 && answer.body == HELLO
}

/// A greeting: its name, its path, and what is aimed at beside workerd.
const GREETINGS: [(&str, &str, f64); 2] = [("hello-http (SDK)", HELLO_PATH, 1.2), ("raw-hello", RAW, 2.0)];
/// Whether calls are recorded, and what is aimed at beside the bare embedding.
const RECORDS: [(&str, &str, f64); 2] = [("records off", "false", 0.92), ("records on", "true", 0.8)];

/// What is spoken with TLS, and its name in ALPN.
const PROTOCOLS: [(&str, &str); 2] = [("TLS HTTP/1.1", "http/1.1"), ("TLS HTTP/2", "h2")];

pub async fn door(plan: &Plan, hellos: &Hellos, others: &Others) -> anyhow::Result<Vec<Line>> {
    say(&format!("web endpoint, {CONNECTIONS} connections"));
    let folder = TempDir::new()?;
    bare_files(folder.path(), hellos, 0)?;
    let bare = Server::bare(folder.path())?;
    let mut larders = Vec::new();
    for (_, all, _) in RECORDS {
        let larder = Larder::start_with(Options::default().set("LARDER_RECORDS__ALL", all)).await;
        let api = larder.api();
        api.deploy("hello", &hellos.sdk, json!({ "routes": [HELLO_PATH] })).await;
        api.deploy("raw", &hellos.raw, json!({ "routes": [RAW] })).await;
        larders.push(larder);
    }
    let secure = Secure::start(Options::default().set("LARDER_RECORDS__ALL", "false")).await;
    secure.larder.api().deploy("hello", &hellos.sdk, json!({ "routes": [HELLO_PATH] })).await;
    let workerd = Server::workerd(&others.workerd, folder.path())?;
    let mut wasmtimes = Vec::new();
    for (file, wasm) in [("hello.wasm", &hellos.sdk), ("raw.wasm", &hellos.raw)] {
        let file = folder.path().join(file);
        std::fs::write(&file, wasm)?;
        wasmtimes.extend(Server::wasmtime(&others.wasmtime, &file)?);
    }

    let mut all = vec![Contender::new(&bare, HELLO_PATH), Contender::new(&bare, RAW)];
    for larder in &larders {
        for (_, path, _) in GREETINGS {
            all.push(Contender::at(larder.address().parse()?, path, Over::Plain, larder.pid()));
        }
    }
    all.push(Contender::new(&bare, NATIVE));
    let workerd_at = all.len();
    all.extend(workerd.iter().map(|server| Contender::new(server, HELLO_PATH)));
    let wasmtime_at = all.len();
    all.extend(wasmtimes.iter().zip(GREETINGS).map(|(server, (_, path, _))| Contender::new(server, path)));

    let secure_at = all.len();
    for (_, protocol) in PROTOCOLS {
        let over = Over::Tls(Arc::new(secure.authority.client(&[protocol], rustls::DEFAULT_VERSIONS)));
        all.push(Contender::at(secure.address.parse()?, HELLO_PATH, over, secure.larder.pid()));
    }

    let mut appends = Vec::new();
    // The first round only warms up.
    for round in 0..=plan.rounds as usize {
        let time = if round == 0 { REST } else { plan.door_time };
        let number = all.len();
        for at in (0..number).map(|at| (at + round) % number) {
            all[at].load(time, round > 0).await?;
        }
        appends.push(machine::durable_appends(folder.path(), REST)?);
    }

    let mut lines = Vec::new();
    for (records, (recorded, _, bare_aim)) in RECORDS.into_iter().enumerate() {
        for (greeting, (name, _, workerd_aim)) in GREETINGS.into_iter().enumerate() {
            let larder = &all[2 + 2 * records + greeting];
            let row = |other: &Contender, aim| {
                let mut row = Row::new(format!("web endpoint, {name}, {recorded}"), Kind::Rate, aim);
                (row.bare, row.larder) = (other.rate.clone(), larder.rate.clone());
                row
            };
            let mut beside = row(&all[greeting], Some(bare_aim));
            if records == 1 {
                // Records are made durable in groups: what the disk can do says how much that matters.
                beside.note = format!("disk: {:.0} appends of 4 KiB + fdatasync /s", median(appends.clone()));
            }
            let name = &beside.name.clone();
            lines.push(beside.into());
            // Says more than the rate where others use the machine: time that they take is not in it.
            let mut cost = Row::new("  CPU of the server per request", Kind::Latency, None);
            (cost.bare, cost.larder) = (all[greeting].cost.clone(), larder.cost.clone());
            lines.push(cost.into());
            if records == 1 {
                continue;
            }
            lines.push(row(&all[workerd_at - 1], None).against("native hyper").into());
            lines.push(match all.get(wasmtime_at + greeting) {
                Some(wasmtime) => row(wasmtime, Some(3.0)).against("wasmtime serve").into(),
                None => Line::said(name, format!("{:<16}{WASMTIME}", "wasmtime serve")),
            });
            lines.push(match &workerd {
                Some(_) => row(&all[workerd_at], Some(workerd_aim)).against("workerd").into(),
                None => Line::said(name, format!("{:<16}{WORKERD}", "workerd")),
            });
        }
    }

    for (contender, (name, _)) in all[secure_at..].iter().zip(PROTOCOLS) {
        let mut row = Row::new(format!("web endpoint, hello-http (SDK), {name}"), Kind::Rate, None);
        (row.bare, row.larder) = (all[2].rate.clone(), contender.rate.clone());
        lines.push(row.against("plain HTTP/1.1").into());
        let mut cost = Row::new("  CPU of the server per request", Kind::Latency, None);
        (cost.bare, cost.larder) = (all[2].cost.clone(), contender.cost.clone());
        lines.push(cost.against("plain HTTP/1.1").into());
    }

    say(&format!("web endpoint, at {:.0} % of what it can", 100.0 * SHARE));
    for (records, (recorded, _, _)) in RECORDS.into_iter().enumerate() {
        for (greeting, (name, _, _)) in GREETINGS.into_iter().enumerate() {
            let (text, p999) = all[2 + 2 * records + greeting].at_share(plan.door_time * 2).await?;
            let met = verdict(Duration::from_nanos(p999) <= SLOWEST);
            let text = format!("{text}; p99.9 at most {SLOWEST:?} {met}");
            lines.push(Line::said(format!("{name}, {recorded}, at 70 % of its rate"), text));
        }
    }
    let names = ["bare, hello-http (SDK)", "bare, raw-hello"].into_iter().zip(0..);
    for (name, at) in names.chain(workerd.iter().map(|_| ("workerd", workerd_at))) {
        let (text, _) = all[at].at_share(plan.door_time * 2).await?;
        lines.push(Line::said(format!("{name}, at 70 % of its rate"), text));
    }
    Ok(lines)
}
