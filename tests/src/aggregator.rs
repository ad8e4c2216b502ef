//! The aggregator of `examples/aggregator` as a process of a test's own.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use reqwest::Method;
use serde_json::{Value, json};

use crate::{Api, Larder};

const KEY: &str = "aggregator-key-of-the-tests";

pub struct Aggregator {
    process: Child,
    url: String,
}

impl Aggregator {
    /// With the matchday of `examples/events/goals.json`.
    pub fn start() -> Aggregator {
        Aggregator::start_with(&[])
    }

    /// With nothing to tell yet.
    pub fn empty() -> Aggregator {
        Aggregator::start_with(&["--empty"])
    }

    /// Tells this push door of each new goal.
    pub fn pushing(to: &str, secret: &str) -> Aggregator {
        Aggregator::start_with(&["--empty", "--push", to, "--secret", secret])
    }

    fn start_with(arguments: &[&str]) -> Aggregator {
        let mut process = Command::new(Larder::binary().with_file_name("aggregator"))
            .args(["--listen", "127.0.0.1:0", "--key", KEY])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the aggregator starts");
        let mut line = String::new();
        let stdout = process.stdout.take().expect("it is piped");
        BufReader::new(stdout).read_line(&mut line).expect("its first line");
        let url =
            line.trim().rsplit(' ').next().filter(|url| url.starts_with("http://")).expect("its address").to_owned();
        Aggregator { process, url }
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    async fn call(&self, method: Method, path: &str, body: Option<Value>) -> Value {
        let mut request = crate::api::http().request(method, format!("{}{path}", self.url)).bearer_auth(KEY);
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = request.send().await.expect("an answer of the aggregator");
        assert!(answer.status().is_success(), "{path}: {}", answer.status());
        serde_json::from_slice(&answer.bytes().await.expect("a body")).unwrap_or_default()
    }

    /// Something happens. Gives the item.
    pub async fn tell(&self, item: Value) -> Value {
        self.call(Method::POST, "/goals", Some(item)).await
    }

    /// A confirmed goal, which is one item.
    pub async fn goal(&self, goal: &str, team: &str) -> Value {
        self.tell(json!({
            "goal": goal, "revision": 1, "status": "confirmed", "team": team, "match": "Hammarby-AIK", "minute": 12,
            "scorer": "Linnea Berg", "ownGoal": false,
        }))
        .await
    }

    /// From now on it is like this: `json!({ "is": "failing" })`.
    pub async fn behave(&self, behaviour: Value) {
        self.call(Method::PUT, "/behaviour", Some(behaviour)).await;
    }

    /// What it was asked: `polls`, `notModified`, `atOnceMax`, `standings`.
    pub async fn asked(&self, what: &str) -> u64 {
        self.call(Method::GET, "/behaviour", None).await["asked"][what].as_u64().expect("a number")
    }

    /// Names it `aggregator` to a partner or, with the operator's API below `/operator`, to all.
    pub async fn name_to(&self, api: &Api, below: &str) {
        self.name(api, below, "aggregator").await;
    }

    /// Names it so to a partner.
    pub async fn name_as(&self, api: &Api, name: &str) {
        self.name(api, "", name).await;
    }

    async fn name(&self, api: &Api, below: &str, name: &str) {
        let body = json!({
            "name": name, "url": self.url, "networks": ["127.0.0.0/8"], "secret": KEY,
            "credential": { "kind": "header", "name": "authorization" },
        });
        let answer = api.post(&format!("{below}/upstreams"), body.clone()).await;
        if answer.status == 409 {
            // By an earlier run on the same folder, when it had another port.
            api.patch(&format!("{below}/upstreams/{name}"), body).await.is(200);
        } else {
            answer.is(201);
        }
    }
}

impl Drop for Aggregator {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// How its goals become events.
pub fn mapping() -> Value {
    json!({
        "items": "/items", "id": "{/goal}-{/revision}", "source": "/matches", "type": "match.goal", "subject": "{/team}",
        "time": "{/published}",
    })
}
