//! What it costs that people watch: the CPU time of the process under the same calls, with nobody and with a hundred sockets.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::Context;
use futures::StreamExt;
use larder_tests::{Larder, Options};
use serde_json::json;
use tokio::net::TcpSocket;
use tokio::task::JoinSet;
use tokio_tungstenite::client_async;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use crate::guests::{HELLO_PATH, Hellos};
use crate::measure::{Kind, Line, Row};
use crate::{Plan, load, machine, say};

/// Sockets of one project and one address are limited, so there are several of both.
const PARTNERS: [&str; 4] = ["one", "two", "three", "four"];
const SOCKETS_OF_EACH: u8 = 25;
const PER_SECOND: f64 = 5_000.0;
const CONNECTIONS: usize = 8;

pub async fn watchers(plan: &Plan, hellos: &Hellos) -> anyhow::Result<Vec<Line>> {
    say("a hundred watchers");
    let larder = Larder::start_with(Options::default()).await;
    let address: SocketAddr = larder.address().parse()?;
    let mut keys = Vec::new();
    for partner in PARTNERS {
        let api = larder.partner(partner).await;
        api.deploy("hello", &hellos.sdk, json!({ "routes": [HELLO_PATH] })).await;
        let key = json!({ "name": "watcher", "scopes": ["executions.read", "functions.read"] });
        let made = larder.operator().post(&format!("/partners/{partner}/keys"), key).await.is(201);
        keys.push(made["secret"].as_str().context("a key")?.to_owned());
    }
    let mut row = Row::new("CPU time at 5,000 calls/s, 100 watchers", Kind::Latency, None).against("nobody watches");
    let time = plan.door_time.max(Duration::from_secs(4));
    let mut shares = [vec![], vec![]];
    for round in 0..plan.rounds {
        for side in plan.order(round) {
            let mut sockets = JoinSet::new();
            if !side.is_bare() {
                for (number, (partner, key)) in PARTNERS.into_iter().zip(&keys).enumerate() {
                    for _ in 0..SOCKETS_OF_EACH {
                        watch(&mut sockets, address, number as u8 + 2, partner, key).await?;
                    }
                }
            }
            let before = machine::cpu_time(larder.pid())?;
            let calls: Vec<_> = PARTNERS
                .into_iter()
                .map(|partner| {
                    let request = load::get_at(partner, HELLO_PATH);
                    let each = PER_SECOND / PARTNERS.len() as f64;
                    let calls = move || load::at_rate(address, request, |a| a.status == 200, CONNECTIONS, each, time);
                    tokio::task::spawn_blocking(calls)
                })
                .collect();
            let mut made = 0;
            for calls in calls {
                made += calls.await??.len();
            }
            let spent = machine::cpu_time(larder.pid())? - before;
            side.of(&mut row).add_cost(spent.as_nanos() as f64 / made as f64);
            shares[usize::from(!side.is_bare())].push(spent.as_secs_f64() / time.as_secs_f64());
            anyhow::ensure!(sockets.try_join_next().is_none(), "a socket was closed");
        }
    }
    let share = |of: usize| 100.0 * crate::measure::median(shares[of].clone()) / machine::cores() as f64;
    let text = format!("{:.1} % of the machine with nobody, {:.1} % with 100 watchers", share(0), share(1));
    Ok(vec![row.into(), Line::said("  of all cores (aim: at most 2 points more)", text)])
}

/// Opens a socket that reads whatever comes, from an address of this machine of its own.
async fn watch(
    sockets: &mut JoinSet<()>,
    address: SocketAddr,
    from: u8,
    partner: &str,
    key: &str,
) -> anyhow::Result<()> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((Ipv4Addr::new(127, 0, 0, from), 0).into())?;
    let stream = socket.connect(address).await?;
    let query = format!("project={partner}&channels[]=executions");
    let mut request = format!("ws://{address}/v1/realtime?{query}").into_client_request()?;
    request.headers_mut().insert("x-appwrite-key", key.parse()?);
    let (mut socket, _) = client_async(request, stream).await?;
    sockets.spawn(async move { while let Some(Ok(_)) = socket.next().await {} });
    Ok(())
}
