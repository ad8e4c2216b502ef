//! The first call of a function after a start of the whole server.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use larder_tests::{Backend, Larder};
use serde_json::json;
use tempfile::TempDir;

use crate::guests::{self, HELLO, HELLO_PATH, Hellos};
use crate::in_process::{WARM_UP, bare_files};
use crate::load::{self, Connection};
use crate::measure::{Kind, Line, Row, median, microseconds, quantile};
use crate::servers::Server;
use crate::{Plan, bare_server, say};

/// How much longer than a warm call a cold one may take.
const WARM_AND: Duration = Duration::from_micros(500);

/// Every round starts both servers anew and calls each function once, over one connection.
pub async fn cold(plan: &Plan, hellos: &Hellos) -> anyhow::Result<Vec<Line>> {
    let hello = &hellos.sdk;
    say(&format!("cold starts over HTTP: deploying {} functions", plan.functions));
    let folder = TempDir::new()?;
    bare_files(folder.path(), hellos, plan.functions)?;
    let mut larder = Larder::start_on(Backend::Embedded).await;
    let api = larder.api();
    api.deploy("hello", hello, json!({ "routes": [HELLO_PATH] })).await;
    for n in 0..plan.functions {
        let routes = json!({ "routes": [bare_server::path(n)] });
        api.deploy(&format!("hello-{n}"), &guests::distinct(hello, n), routes).await;
    }
    say("cold starts over HTTP");
    let (mut warm, mut more) = (vec![], vec![]);
    let mut row = Row::new("cold start over HTTP, first call of hello", Kind::Latency, Some(1.3));
    for round in 1..=plan.rounds {
        for side in plan.order(round) {
            let (_, nanos) = if side.is_bare() {
                let bare = Server::bare(folder.path())?;
                first_calls(bare.address, plan.functions).await?
            } else {
                larder.kill();
                larder.restart().await;
                let (warmed, mut nanos) = first_calls(larder.address().parse()?, plan.functions).await?;
                warm.push(warmed as f64);
                more.push(quantile(&mut nanos, 0.5).saturating_sub(warmed) as f64);
                (warmed, nanos)
            };
            side.of(&mut row).add_latencies(nanos);
        }
    }
    let warm = format!("a warm one {}", microseconds(median(warm)));
    let more = Duration::from_nanos(median(more) as u64);
    Ok(vec![row.into(), Line::at_most("  longer than a warm call", more, WARM_AND, &warm)])
}

/// The median of warm calls, and the first call of each function, in nanoseconds.
async fn first_calls(server: SocketAddr, functions: u32) -> anyhow::Result<(u64, Vec<u64>)> {
    let mut connection = Connection::open(server).await?;
    let mut warm = Vec::new();
    for _ in 0..WARM_UP {
        let begun = Instant::now();
        let answer = connection.call(&load::get(HELLO_PATH)).await?;
        anyhow::ensure!(answer.status == 200 && answer.body == HELLO, "answered {}", answer.status);
        warm.push(begun.elapsed().as_nanos() as u64);
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
    Ok((quantile(&mut warm, 0.5), nanos))
}
