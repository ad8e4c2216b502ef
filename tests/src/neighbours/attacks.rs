//! What a partner may do and should cost nobody else: each [`Attack`] in one arm of [`Evil::prepare`] and [`Evil::step`].

use std::time::Duration;

use futures::StreamExt;
use reqwest::multipart::{Form, Part};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream};

use crate::hostile::bombs;
use crate::{Api, guests, wide};

macro_rules! attacks {
    ($($attack:ident = $name:literal, $workers:literal, $does:literal;)*) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Attack { $($attack,)* }

        impl Attack {
            pub const ALL: &[Attack] = &[$(Attack::$attack,)*];

            pub fn name(self) -> &'static str {
                match self { $(Attack::$attack => $name,)* }
            }

            /// How many tasks take its steps side by side.
            pub fn workers(self) -> usize {
                match self { $(Attack::$attack => $workers,)* }
            }

            pub fn does(self) -> &'static str {
                match self { $(Attack::$attack => $does,)* }
            }
        }
    };
}

attacks! {
    Nothing = "nothing", 1, "asks for its health now and then: how much the figures differ by themselves";
    SleepingQueue = "sleeping-queue", 16, "queues executions that sleep for a minute";
    Multiply = "multiply", 2, "sends events to a function that emits 1,000 of the same type";
    Nobody = "events-to-nobody", 8, "sends events to which no function listens, 100 at a time";
    FanOuts = "fan-outs", 2, "sends events that fan out to 500 enrolments";
    SleepingCalls = "sleeping-calls", 128, "has two partners make synchronous calls that sleep for ten seconds";
    Spin = "spin", 64, "makes synchronous calls that use up their CPU time";
    Grow = "grow", 64, "makes synchronous calls that touch 100 MiB and keep them for two seconds";
    Logs = "logs", 16, "makes synchronous calls that write 1 MiB of logs each";
    Lists = "lists", 12, "lists 200 executions with 1 MiB of logs each, by every attribute";
    SlowBodies = "slow-bodies", 300, "sends bodies a byte a second, without a key, at every door";
    HeldBodies = "held-bodies", 100, "sends all but the end of a body of 9 MiB, without a key, and waits";
    HeldUploads = "held-uploads", 60, "sends all but the end of an upload of 29 MB, and waits";
    Builds = "builds", 8, "uploads components of 4 MB that take long to compile";
    BigReads = "big-reads", 8, "reads 900 values of 60 KiB in a run and writes one byte";
    Conflicts = "conflicts", 64, "reads and writes the same value in every call";
    Document = "document", 32, "asks for the OpenAPI document without a key";
    Compressed = "compressed", 32, "asks for answers of 8 MB that are compressed for it";
    Connections = "connections", 2_000, "opens connections and says nothing";
    Pushes = "pushes", 16, "pushes 1 MiB to a feed, without a signature";
    Delete = "delete", 1, "deletes a function with everything that it left";
}

impl Attack {
    /// Those that once kept a neighbour waiting for seconds.
    pub const WORST: &[Attack] = &[
        Attack::SleepingQueue,
        Attack::Multiply,
        Attack::Nobody,
        Attack::FanOuts,
        Attack::SleepingCalls,
        Attack::Lists,
        Attack::HeldUploads,
        Attack::Builds,
        Attack::BigReads,
        Attack::Document,
    ];
}

/// The partner that attacks, and a second one of the same people.
#[derive(Clone)]
pub struct Evil {
    /// `127.0.0.1:PORT`.
    pub address: String,
    pub partners: [(String, Api); 2],
}

/// How a step ended: an HTTP status, or 0 if there was no answer.
pub type Status = u16;

const FUNCTION: &str = "greedy";
const EXECUTIONS: &str = "/functions/greedy/executions";

impl Evil {
    fn api(&self) -> &Api {
        &self.partners[0].1
    }

    /// What these attacks need, which costs nobody anything yet.
    pub async fn prepare(&self, attacks: &[Attack]) {
        for (_, api) in &self.partners {
            let settings = json!({
                "events": ["greedy.more"], "timeout": 900, "routes": ["/greedy"], "execute": ["any"],
                "limits": { "memoryBytes": 200 << 20 },
            });
            api.create_function(FUNCTION, settings).await.is(201);
            api.grant(FUNCTION, wide()).await;
            let deployment = api.build(FUNCTION, &guests::guest("greedy"), true).await;
            assert_eq!(deployment["status"], "ready", "{}", deployment["buildLogs"]);
        }
        for attack in attacks {
            self.prepare_one(*attack).await;
        }
    }

    async fn prepare_one(&self, attack: Attack) {
        let api = self.api();
        match attack {
            Attack::FanOuts => {
                let settings = json!({ "events": ["greedy.fan"], "per": "enrolment", "topics": "all" });
                api.deploy("greedy-fan", &guests::guest("greedy"), settings).await;
                let enrol = |at| async move { api.enrol("greedy-fan", &format!("saver-{at}"), "all", json!({})).await };
                futures::stream::iter(0..500).map(enrol).buffer_unordered(16).collect::<Vec<_>>().await;
            }
            Attack::Lists => {
                let log = |_| self.execute(json!({ "do": "log", "bytes": 1_000_000 }));
                futures::stream::iter(0..200).map(log).buffer_unordered(8).collect::<Vec<_>>().await;
            }
            Attack::BigReads => {
                for from in (0..900).step_by(90) {
                    let fill = json!({ "do": "fill", "from": from, "count": 90, "bytes": 60 << 10 });
                    assert_eq!(self.execute(fill).await, 201);
                }
            }
            Attack::HeldBodies | Attack::SlowBodies | Attack::Compressed => {
                // May have effects, so that the body is read whole before the run.
                api.deploy("taker", &guests::guest("hostile-saver"), json!({ "routes": ["/taker"] })).await;
            }
            Attack::Pushes => {
                let feed = json!({ "name": "feed", "push": true, "mapping": crate::aggregator::mapping() });
                api.post("/feeds", feed).await.is(201);
            }
            Attack::Delete => {
                let nobody = |at| async move { self.queue(json!({ "do": "conflict", "at": at })).await };
                futures::stream::iter(0..5_000).map(nobody).buffer_unordered(16).collect::<Vec<_>>().await;
            }
            _ => {}
        }
    }

    /// One step of one worker. It may take as long as it likes; it is dropped when the attack ends.
    pub async fn step(&self, attack: Attack, worker: usize, turn: usize) -> Status {
        match attack {
            Attack::Nothing => {
                tokio::time::sleep(Duration::from_millis(500)).await;
                self.send(self.api().request(Method::GET, "/health")).await
            }
            Attack::SleepingQueue => self.queue(json!({ "do": "sleep", "ms": 60_000 })).await,
            Attack::Multiply => {
                tokio::time::sleep(Duration::from_millis(100)).await;
                self.events("greedy.more", 1, json!({ "count": 1_000 }), worker, turn).await
            }
            Attack::Nobody => self.events("nobody.listens", 100, json!({}), worker, turn).await,
            Attack::FanOuts => self.events("greedy.fan", 1, json!({}), worker, turn).await,
            Attack::SleepingCalls => {
                let (_, api) = &self.partners[worker % 2];
                let body = json!({ "do": "sleep", "ms": 10_000 });
                self.send(api.request(Method::POST, EXECUTIONS).json(&execution(&body))).await
            }
            Attack::Spin => self.execute(json!({ "do": "spin" })).await,
            Attack::Grow => self.execute(json!({ "do": "grow", "bytes": 100 << 20, "ms": 2_000 })).await,
            Attack::Logs => self.execute(json!({ "do": "log", "bytes": 1_000_000 })).await,
            Attack::Lists => {
                let filters = [
                    json!({ "method": "equal", "attribute": "status", "values": ["completed"] }),
                    json!({ "method": "equal", "attribute": "trigger", "values": ["http"] }),
                    json!({ "method": "greaterThan", "attribute": "duration", "values": [0] }),
                    json!({ "method": "equal", "attribute": "responseStatusCode", "values": [204] }),
                    json!({ "method": "orderDesc", "attribute": "duration" }),
                    json!({ "method": "notEqual", "attribute": "status", "values": ["failed"] }),
                ];
                let queries = [filters[worker % filters.len()].clone(), json!({ "method": "limit", "values": [500] })];
                let queries =
                    queries.iter().enumerate().map(|(at, query)| (format!("queries[{at}]"), query.to_string()));
                let list = self.api().request(Method::GET, EXECUTIONS).query(&queries.collect::<Vec<_>>());
                self.send(list).await
            }
            Attack::SlowBodies => {
                let (host, path) = match worker % 3 {
                    0 => ("evil.localhost", "/taker/fine".to_owned()),
                    1 => ("evil-api.localhost", format!("/v1{EXECUTIONS}")),
                    _ => ("evil-api.localhost", "/v1/feeds/feed/push".to_owned()),
                };
                self.hold(host, &path, 9 << 20, 0, "").await
            }
            Attack::HeldBodies => self.hold("evil.localhost", "/taker/fine", 9 << 20, (9 << 20) - 1, "").await,
            Attack::HeldUploads => {
                let (_, api) = &self.partners[0];
                let request = api.request(Method::GET, "/").build().expect("a request");
                let key = request.headers()["x-appwrite-key"].to_str().expect("a key");
                let headers = format!("x-appwrite-key: {key}\r\ncontent-type: multipart/form-data; boundary=b\r\n");
                let path = "/v1/functions/greedy/deployments";
                self.hold("evil-api.localhost", path, 29_000_000, 28_999_000, &headers).await
            }
            Attack::Builds => {
                let wasm = bombs::slow_to_compile(&guests::guest("hello-http"), 10, 20, 12_000 + turn as u32);
                let form = Form::new().part("code", Part::bytes(wasm).file_name("function.wasm"));
                let request = self.api().request(Method::POST, "/functions/greedy/deployments");
                self.send(request.multipart(form.text("activate", "false"))).await
            }
            Attack::BigReads => self.execute(json!({ "do": "read", "count": 900 })).await,
            Attack::Conflicts => self.execute(json!({ "do": "conflict" })).await,
            Attack::Document => self.send(client().get(format!("http://{}/v1/openapi.json", self.address))).await,
            Attack::Compressed => {
                let says = "h=content-type:text/plain&body=a+line+that+comes+again&repeat=350000";
                let request = client().get(format!("http://{}/taker/say?{says}", self.address));
                self.send(request.header("host", "evil.localhost").header("accept-encoding", "gzip")).await
            }
            Attack::Connections => {
                if let Ok(connection) = connect(&self.address).await {
                    tokio::time::sleep(Duration::from_secs(60)).await;
                    drop(connection);
                }
                0
            }
            Attack::Pushes => {
                let request = client().post(format!("http://{}/v1/feeds/feed/push", self.address));
                let request = request.header("host", "evil-api.localhost").header("content-type", "application/json");
                self.send(request.body(vec![b' '; 1 << 20])).await
            }
            Attack::Delete => match turn % 1_000_000 {
                0 => self.send(self.api().request(Method::DELETE, "/functions/greedy")).await,
                _ => std::future::pending().await,
            },
        }
    }

    async fn send(&self, request: RequestBuilder) -> Status {
        let status = match request.send().await {
            Ok(answer) => {
                let status = answer.status().as_u16();
                let _ = answer.bytes().await;
                status
            }
            Err(_) => 0,
        };
        if matches!(status, 0 | 429 | 503) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        status
    }

    async fn execute(&self, body: Value) -> Status {
        self.send(self.api().request(Method::POST, EXECUTIONS).json(&execution(&body))).await
    }

    async fn queue(&self, body: Value) -> Status {
        let mut execution = execution(&body);
        execution["async"] = true.into();
        self.send(self.api().request(Method::POST, EXECUTIONS).json(&execution)).await
    }

    async fn events(&self, kind: &str, count: usize, data: Value, worker: usize, turn: usize) -> Status {
        let event = |at: usize| {
            let id = format!("{worker}-{turn}-{at}");
            json!({ "specversion": "1.0", "id": id, "source": "/evil", "type": kind, "data": data })
        };
        let batch: Vec<Value> = (0..count).map(event).collect();
        let request = self.api().request(Method::POST, "/events");
        let request = request.header("content-type", "application/cloudevents-batch+json");
        self.send(request.body(Value::from(batch).to_string())).await
    }

    /// Announces a body of `length` bytes, sends `first` at once and then one a second.
    async fn hold(&self, host: &str, path: &str, length: usize, first: usize, headers: &str) -> Status {
        let Ok(mut connection) = connect(&self.address).await else { return 0 };
        let head = format!("POST {path} HTTP/1.1\r\nhost: {host}\r\n{headers}content-length: {length}\r\n\r\n");
        if connection.write_all(head.as_bytes()).await.is_err() {
            return 0;
        }
        let part = vec![b'x'; 64 << 10];
        let mut left = first;
        while left > 0 {
            let now = left.min(part.len());
            if connection.write_all(&part[..now]).await.is_err() {
                break;
            }
            left -= now;
        }
        while connection.write_all(b"x").await.is_ok() {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        0
    }
}

fn execution(body: &Value) -> Value {
    json!({ "body": body.to_string(), "headers": { "content-type": "application/json" } })
}

fn client() -> reqwest::Client {
    crate::api::http().clone()
}

/// From an address that is not its neighbour's: each has its own connections.
async fn connect(address: &str) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((std::net::Ipv4Addr::new(127, 0, 0, 2), 0).into())?;
    socket.connect(address.parse().map_err(std::io::Error::other)?).await
}
