//! The management API, as a backend of a partner would call it.

use std::sync::OnceLock;
use std::time::Duration;

use larder_model::Grants;
use larder_wire::grants::GrantsObject;
use larder_wire::problem::Error;
use reqwest::multipart::{Form, Part};
use reqwest::{Method, RequestBuilder};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::{eventually, within};

/// One client for all tests.
pub(crate) fn http() -> &'static reqwest::Client {
    static CLIENT: OnceLock<reqwest::Client> = OnceLock::new();
    CLIENT.get_or_init(|| {
        let _ = rustls::crypto::ring::default_provider().install_default();
        // Connections of a runtime that has ended must not be used by the next test's: nothing is pooled.
        reqwest::Client::builder().pool_max_idle_per_host(0).timeout(Duration::from_secs(60)).build().expect("a client")
    })
}

#[derive(Clone)]
pub struct Api {
    endpoint: String,
    partner: Option<String>,
    key: Option<String>,
    host: Option<String>,
    headers: Vec<(&'static str, String)>,
}

/// Status and JSON body, `Null` if there is none.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub body: Value,
}

impl Answer {
    /// The body, if the status is as expected.
    #[track_caller]
    pub fn is(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.body);
        self.body
    }

    /// The same as an object of the wire.
    #[track_caller]
    pub fn read<T: DeserializeOwned>(self, status: u16) -> T {
        let body = self.is(status);
        T::deserialize(&body).unwrap_or_else(|err| panic!("{err}: {body}"))
    }

    /// An error of this status and type; gives its message.
    #[track_caller]
    pub fn is_error(self, status: u16, kind: &str) -> String {
        let error: Error = self.read(status);
        assert_eq!((error.code, error.r#type.as_str()), (status, kind), "{}", error.message);
        error.message
    }
}

/// Everything that a function can be granted within Larder.
pub fn wide() -> Value {
    let most = json!({ "max": "1000000000", "sum": "1000000000", "period": "day" });
    json!({
        "state": true, "events": ["*", "*.*", "*.*.*"], "secrets": ["GREETING", "TOKEN"],
        "transactions": { "SEK": most, "EUR": most, "DKK": most, "NOK": most, "USD": most, "JPY": most },
    })
}

impl Api {
    pub(crate) fn new(endpoint: &str, partner: Option<&str>, key: Option<&str>) -> Api {
        Api {
            endpoint: endpoint.into(),
            partner: partner.map(Into::into),
            key: key.map(Into::into),
            host: None,
            headers: vec![],
        }
    }

    /// The same with this Host header.
    pub fn at(mut self, host: &str) -> Api {
        self.host = Some(host.into());
        self
    }

    /// The same with this further header.
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Api {
        self.headers.push((name, value.into()));
        self
    }

    /// A request with the headers of this caller; `path` begins behind `/v1`.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let mut request = http().request(method, format!("{}{path}", self.endpoint));
        if let Some(partner) = &self.partner {
            request = request.header("x-appwrite-project", partner);
        }
        if let Some(key) = &self.key {
            request = request.header("x-appwrite-key", key);
        }
        if let Some(host) = &self.host {
            request = request.header("host", host);
        }
        for (name, value) in &self.headers {
            request = request.header(*name, value);
        }
        request
    }

    /// What a key may have that may do everything.
    pub fn every_scope() -> Vec<&'static str> {
        larder_wire::scopes::Scope::ALL.iter().map(|scope| scope.words()[0]).collect()
    }

    /// As the operator: makes a partner, and gives the text of a key of it that may do everything.
    pub async fn make_partner(&self, id: &str) -> String {
        self.post("/partners", json!({ "partnerId": id, "name": id })).await.is(201);
        let key = json!({ "name": "tests", "scopes": Api::every_scope() });
        let key = self.post(&format!("/partners/{id}/keys"), key).await.is(201);
        key["secret"].as_str().expect("a secret").to_owned()
    }

    /// Sends and reads; `Err` when there is no answer (the process was killed, say).
    pub async fn try_send(request: RequestBuilder) -> reqwest::Result<Answer> {
        let answer = request.send().await?;
        let status = answer.status().as_u16();
        let text = answer.text().await?;
        Ok(Answer { status, body: serde_json::from_str(&text).unwrap_or(Value::Null) })
    }

    pub async fn send(request: RequestBuilder) -> Answer {
        Api::try_send(request).await.expect("an answer")
    }

    pub async fn get(&self, path: &str) -> Answer {
        Api::send(self.request(Method::GET, path)).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        Api::send(self.request(Method::POST, path).json(&body)).await
    }

    pub async fn put(&self, path: &str, body: Value) -> Answer {
        Api::send(self.request(Method::PUT, path).json(&body)).await
    }

    pub async fn patch(&self, path: &str, body: Value) -> Answer {
        Api::send(self.request(Method::PATCH, path).json(&body)).await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        Api::send(self.request(Method::DELETE, path)).await
    }

    /// A list with queries, each `{"method":…}`.
    pub async fn list(&self, path: &str, queries: &[Value]) -> Answer {
        let queries: Vec<(String, String)> =
            queries.iter().enumerate().map(|(at, query)| (format!("queries[{at}]"), query.to_string())).collect();
        Api::send(self.request(Method::GET, path).query(&queries)).await
    }

    /// Every row of a list, by pages.
    pub async fn all(&self, path: &str, rows: &str) -> Vec<Value> {
        let mut all: Vec<Value> = Vec::new();
        loop {
            let mut queries = vec![json!({ "method": "limit", "values": [1000] })];
            if let Some(last) = all.last() {
                queries.push(json!({ "method": "cursorAfter", "values": [last["$id"]] }));
            }
            let page = self.list(path, &queries).await.is(200);
            let page = page[rows].as_array().expect("rows").clone();
            let full = page.len() == 1000;
            all.extend(page);
            if !full {
                return all;
            }
        }
    }

    /// A line of `GET /v1/limits`: the bound and what the partner uses of it.
    pub async fn limit(&self, setting: &str) -> (u64, u64) {
        let all = self.get("/limits").await.is(200);
        let found = all["limits"].as_array().expect("limits").iter().find(|limit| limit["$id"] == setting);
        let number = |name: &str| found.unwrap_or_else(|| panic!("no {setting} in {all}"))[name].as_u64();
        (number("limit").expect("a number"), number("used").expect("a number"))
    }

    /// Waits until the partner has so many synchronous calls in progress.
    pub async fn in_progress(&self, calls: u64) {
        eventually(&format!("{calls} calls in progress"), async || {
            (self.limit("server.calls_per_partner").await.1 == calls).then_some(())
        })
        .await;
    }

    /// Creates a function; `settings` are merged over id, name and runtime.
    pub async fn create_function(&self, id: &str, settings: Value) -> Answer {
        let mut body = json!({ "functionId": id, "name": id, "runtime": "wasi-0.2" });
        body.as_object_mut().expect("an object").extend(settings.as_object().expect("an object").clone());
        self.post("/functions", body).await
    }

    pub async fn upload(&self, function: &str, wasm: &[u8], activate: bool) -> Answer {
        let code = Part::bytes(wasm.to_vec()).file_name("function.wasm");
        let form = Form::new().part("code", code).text("activate", activate.to_string());
        Api::send(self.request(Method::POST, &format!("/functions/{function}/deployments")).multipart(form)).await
    }

    /// An upload that asks for grants.
    pub async fn upload_asking(&self, function: &str, wasm: &[u8], activate: bool, grants: Value) -> Answer {
        let code = Part::bytes(wasm.to_vec()).file_name("function.wasm");
        let form =
            Form::new().part("code", code).text("activate", activate.to_string()).text("grants", grants.to_string());
        Api::send(self.request(Method::POST, &format!("/functions/{function}/deployments")).multipart(form)).await
    }

    /// An upload with these further parts; it is to become active.
    pub async fn upload_with(&self, function: &str, wasm: &[u8], parts: &[(&'static str, String)]) -> Answer {
        let code = Part::bytes(wasm.to_vec()).file_name("function.wasm");
        let form = Form::new().part("code", code).text("activate", "true");
        let form = parts.iter().fold(form, |form, (name, value)| form.text(*name, value.clone()));
        Api::send(self.request(Method::POST, &format!("/functions/{function}/deployments")).multipart(form)).await
    }

    /// Puts grants in force.
    pub async fn grant(&self, function: &str, grants: Value) {
        self.put(&format!("/functions/{function}/grants"), grants).await.is(200);
    }

    /// Uploads and waits for the end of the build; gives the deployment. A function to which nothing is granted yet is first
    /// granted all that does not reach outside.
    pub async fn build(&self, function: &str, wasm: &[u8], activate: bool) -> Value {
        let path = format!("/functions/{function}/grants");
        let granted: GrantsObject = self.get(&path).await.read(200);
        if granted.grants.get().expect("grants") == Grants::default() {
            self.grant(function, wide()).await;
        }
        let deployment = self.upload(function, wasm, activate).await.is(202);
        self.built(function, &deployment).await
    }

    /// Waits for the end of a deployment's build.
    pub async fn built(&self, function: &str, deployment: &Value) -> Value {
        let path = format!("/functions/{function}/deployments/{}", deployment["$id"].as_str().expect("an id"));
        within(Duration::from_secs(600), "the build to end", async || {
            let deployment = self.get(&path).await.is(200);
            matches!(deployment["status"].as_str(), Some("ready" | "failed" | "canceled")).then_some(deployment)
        })
        .await
    }

    /// Creates a function with an active deployment.
    pub async fn deploy(&self, id: &str, wasm: &[u8], settings: Value) {
        self.create_function(id, settings).await.is(201);
        let deployment = self.build(id, wasm, true).await;
        assert_eq!(deployment["status"], "ready", "{}", deployment["buildLogs"]);
        assert_eq!(self.get(&format!("/functions/{id}")).await.is(200)["deploymentId"], deployment["$id"]);
    }

    pub async fn enrol(&self, function: &str, end_user: &str, topic: &str, settings: Value) -> String {
        let body = json!({ "functionId": function, "endUser": end_user, "topic": topic, "settings": settings });
        self.post("/enrolments", body).await.is(201)["$id"].as_str().expect("an id").to_owned()
    }

    /// Sends one event in structured mode.
    pub async fn event(&self, id: &str, kind: &str, subject: Option<&str>, data: Value) -> Answer {
        self.try_event(id, kind, subject, data).await.expect("an answer")
    }

    /// The same to a process that may die before it answers.
    pub async fn try_event(&self, id: &str, kind: &str, subject: Option<&str>, data: Value) -> reqwest::Result<Answer> {
        let mut event = json!({ "specversion": "1.0", "id": id, "source": "/tests", "type": kind, "data": data });
        if let Some(subject) = subject {
            event["subject"] = subject.into();
        }
        let request = self.request(Method::POST, "/events").header("content-type", "application/cloudevents+json");
        Api::try_send(request.body(event.to_string())).await
    }

    /// A synchronous execution; gives the execution, which may have failed.
    pub async fn execute(&self, function: &str, body: Value) -> Value {
        self.post(&format!("/functions/{function}/executions"), body).await.is(201)
    }

    pub async fn executions(&self, function: &str) -> Vec<Value> {
        self.all(&format!("/functions/{function}/executions"), "executions").await
    }

    pub async fn transactions(&self) -> Vec<Value> {
        self.all("/transactions", "transactions").await
    }
}
