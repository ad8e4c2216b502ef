//! Commands from their arguments to the requests that they make, against a server that plays back what it is told.

#![expect(clippy::disallowed_methods, reason = "the played-back server lives as long as its test")]

use std::collections::{HashMap, VecDeque};
use std::path::Path;
use std::sync::{Arc, Mutex};

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use clap::{CommandFactory, Parser};
use larder_wire::deployments::{DeploymentList, DeploymentObject};
use larder_wire::events::{Accepted, AcceptedEvent, Counts, EventObject};
use larder_wire::executions::ExecutionObject;
use larder_wire::functions::{FunctionList, FunctionObject};
use larder_wire::grants::{ApprovalObject, AskedObject, DifferenceObject, GrantsObject};
use larder_wire::known::Known;
use larder_wire::partners::KeyObject;
use larder_wire::problem;
use larder_wire::schedules::Schedule;
use larder_wire::variables::{VariableList, VariableObject};
use serde::Serialize;
use serde_json::{Value, json};

use crate::*;

#[derive(Debug, Parser)]
struct Arguments {
    #[command(flatten)]
    globals: Globals,
    #[command(subcommand)]
    command: Command,
}

/// Answers by `METHOD path`, each list in turn and its last for ever; and what was asked.
#[derive(Clone, Default)]
struct Server {
    answers: Arc<Mutex<HashMap<String, Answers>>>,
    asked: Arc<Mutex<Vec<Asked>>>,
}

type Answers = VecDeque<(u16, Value)>;

#[derive(Clone)]
struct Asked {
    line: String,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Asked {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

impl Server {
    fn answer(&self, line: &str, status: u16, body: impl Serialize) -> &Server {
        let body = serde_json::to_value(body).unwrap();
        self.answers.lock().unwrap().entry(line.to_owned()).or_default().push_back((status, body));
        self
    }

    fn asked(&self, line: &str) -> Asked {
        let asked = self.asked.lock().unwrap();
        asked.iter().find(|asked| asked.line == line).unwrap_or_else(|| panic!("{line} was not asked")).clone()
    }

    fn lines(&self) -> Vec<String> {
        self.asked.lock().unwrap().iter().map(|asked| asked.line.clone()).collect()
    }

    /// Runs a command line against this server.
    async fn run(&self, arguments: &[&str]) -> Result<()> {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}/v1", listener.local_addr().unwrap());
        let app = axum::Router::new().fallback(play).with_state(self.clone());
        let serving = tokio::spawn(serve(listener, app));
        let globals =
            ["larder", "--endpoint", &endpoint, "--partner", "demo", "--key", "secret", "--operator-key", "operator"];
        let arguments = Arguments::try_parse_from(globals.iter().chain(arguments)).unwrap();
        let console = Console::new(arguments.globals.json);
        let answer = dispatch(arguments.command, &Session { globals: arguments.globals, console }).await;
        serving.abort();
        answer
    }
}

async fn serve(listener: tokio::net::TcpListener, app: axum::Router) {
    use hyper_util::rt::{TokioExecutor, TokioIo};
    while let Ok((stream, _)) = listener.accept().await {
        let service = hyper_util::service::TowerToHyperService::new(app.clone());
        tokio::spawn(async move {
            let server = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
            server.serve_connection(TokioIo::new(stream), service).await
        });
    }
}

async fn play(State(server): State<Server>, method: Method, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let line = format!("{method} {}", uri.path());
    server.asked.lock().unwrap().push(Asked { line: line.clone(), headers, body: body.to_vec() });
    let mut answers = server.answers.lock().unwrap();
    let (status, body) = match answers.get_mut(&line) {
        Some(left) if left.len() > 1 => left.pop_front().unwrap(),
        Some(left) => left[0].clone(),
        None => (404, json!(refusal(404, "general_route_not_found", &line))),
    };
    (StatusCode::from_u16(status).unwrap(), axum::Json(body)).into_response()
}

fn refusal(code: u16, kind: &str, message: &str) -> problem::Error {
    let (message, r#type, version) = (message.to_owned(), kind.to_owned(), "0.1.0".to_owned());
    problem::Error { message, code, r#type, version, execution_id: None }
}

fn function(id: &str, deployment: &str) -> FunctionObject {
    FunctionObject { id: id.into(), deployment_id: deployment.into(), ..FunctionObject::default() }
}

fn deployment(id: &str, status: &str, logs: &str) -> DeploymentObject {
    let [id, status, build_logs] = [id, status, logs].map(Into::into);
    DeploymentObject { id, status, build_logs, ..DeploymentObject::default() }
}

fn deployments(deployments: Vec<DeploymentObject>) -> DeploymentList {
    DeploymentList { total: deployments.len() as u64, deployments }
}

/// One that is plain, and one that is secret.
fn variables(plain: &str) -> VariableList {
    let variable = |id: &str, key: &str, value: &str| {
        let [id, key, value] = [id, key, value].map(Into::into);
        VariableObject { id, key, value, ..VariableObject::default() }
    };
    let secret = VariableObject { secret: true, ..variable("v2", "BY_HAND", "") };
    VariableList { total: 2, variables: vec![variable("v1", "PLAIN", plain), secret] }
}

fn key(scopes: &[&str]) -> KeyObject {
    let scopes = scopes.iter().map(|scope| scope.to_string()).collect();
    KeyObject { id: "k1".into(), scopes, secret: Some("s".into()), ..KeyObject::default() }
}

const MANIFEST: &str = "\
[function]
id = \"round-up\"
events = [\"card.purchase\"]
schedule = \"0 6 25 * *\"

[variables]
PLAIN = \"same\"
TOKEN = { value = \"s\", secret = true }

[grants]
state = true

[build]
component = \"x.wasm\"
";

fn project() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("larder.toml"), MANIFEST).unwrap();
    std::fs::write(folder.path().join("x.wasm"), b"\0asm\x0d\0\x01\0rest").unwrap();
    folder
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A server that knows the function, its variables and its deployment `d1`.
fn deployable() -> Server {
    let server = Server::default();
    let of_function = GrantsObject {
        grants: Known::Known(serde_json::from_value(json!({ "state": true, "secrets": ["OLD"] })).unwrap()),
        ..GrantsObject::default()
    };
    let schedule = Schedule { schedule: "0 6 25 * *".into(), ..Schedule::default() };
    server
        .answer("GET /v1/functions/round-up", 404, refusal(404, "function_not_found", "no such function"))
        .answer("POST /v1/functions", 201, function("round-up", ""))
        .answer("GET /v1/functions/round-up", 200, function("round-up", ""))
        .answer("GET /v1/functions/round-up/deployments", 200, deployments(vec![]))
        .answer("GET /v1/functions/round-up/variables", 200, variables("same"))
        .answer("POST /v1/functions/round-up/variables", 201, VariableObject::default())
        .answer("POST /v1/functions/round-up/deployments", 202, deployment("d1", "waiting", ""))
        .answer("GET /v1/functions/round-up/deployments/d1", 200, deployment("d1", "building", "one\n"))
        .answer("GET /v1/functions/round-up/deployments/d1", 200, deployment("d1", "ready", "one\ntwo"))
        .answer("GET /v1/functions/round-up/grants", 200, of_function)
        .answer("GET /v1/functions/round-up/deployments/d1/grants", 200, asked(false))
        .answer("PATCH /v1/functions/round-up/deployment", 200, function("round-up", "d1"))
        .answer("GET /v1/functions/round-up/schedule", 200, schedule);
    server
}

fn asked(waits: bool) -> GrantsObject {
    let difference = DifferenceObject { widens: vec!["may now keep state".into()], narrows: vec![] };
    let (deployment_id, digest) = ("d1".into(), "abc".into());
    let asked = AskedObject { deployment_id, waits, digest, difference, ..AskedObject::default() };
    GrantsObject { deployment: Some(asked), ..GrantsObject::default() }
}

#[test]
fn the_arguments_are_consistent() {
    Arguments::command().debug_assert();
}

#[test]
fn every_command_has_examples() {
    fn check(command: &clap::Command, path: &str) {
        let helped = command.get_after_help().is_some_and(|help| help.to_string().contains("Examples:"));
        assert!(helped || command.has_subcommands(), "{path} has no examples");
        command.get_subcommands().for_each(|sub| check(sub, &format!("{path} {}", sub.get_name())));
    }
    check(&Arguments::command(), "larder");
}

#[tokio::test]
async fn deploy_takes_the_steps_in_order() {
    let (server, project) = (deployable(), project());
    server.run(&["deploy", "--dir", text(project.path())]).await.unwrap();
    assert_eq!(
        server.lines(),
        [
            "GET /v1/functions/round-up",
            "POST /v1/functions",
            "GET /v1/functions/round-up/grants",
            "GET /v1/functions/round-up/variables",
            "POST /v1/functions/round-up/variables",
            "POST /v1/functions/round-up/deployments",
            "GET /v1/functions/round-up/deployments/d1",
            "GET /v1/functions/round-up/deployments/d1",
            "GET /v1/functions/round-up/deployments/d1/grants",
            "GET /v1/functions/round-up",
            "PATCH /v1/functions/round-up/deployment",
            "GET /v1/functions/round-up/schedule",
        ]
    );
    let created = server.asked("POST /v1/functions");
    assert_eq!(created.headers["x-appwrite-project"], "demo");
    assert_eq!(created.headers["x-appwrite-key"], "secret");
    // All else comes with the deployment.
    assert_eq!(created.json(), json!({ "functionId": "round-up", "name": "round-up", "runtime": "wasi-0.2" }));
    assert_eq!(
        server.asked("POST /v1/functions/round-up/variables").json(),
        json!({ "variableId": "unique()", "key": "TOKEN", "value": "s", "secret": true })
    );
    let upload = server.asked("POST /v1/functions/round-up/deployments");
    assert!(upload.headers["content-type"].to_str().unwrap().starts_with("multipart/form-data; boundary="));
    let parts = String::from_utf8_lossy(&upload.body);
    assert!(parts.contains("name=\"code\"; filename=\"x.wasm\"") && parts.contains("\0asm\x0d\0\x01\0rest"));
    assert!(parts.contains("name=\"activate\"\r\n\r\ntrue"));
    assert!(parts.contains("name=\"grants\"\r\n\r\n{\"http\":[],\"upstreams\":[],\"state\":true,"), "{parts}");
    assert!(
        parts.contains(
            "name=\"settings\"\r\n\r\n{\"enrol\":\"partner\",\"enrolTopics\":[],\"eventSchemas\":{},\"events\":[\"card.purchase\"],"
        ),
        "{parts}"
    );
    assert!(!parts.contains("enabled"), "what is switched off stays so: {parts}");
    assert!(parts.contains("name=\"origin\"\r\n\r\n"), "{parts}");
    assert_eq!(server.asked("PATCH /v1/functions/round-up/deployment").json(), json!({ "deploymentId": "d1" }));
}

#[tokio::test]
async fn deploying_again_changes_nothing_before_the_new_code_is_active() {
    let (server, project) = (deployable(), project());
    server.answers.lock().unwrap().remove("GET /v1/functions/round-up");
    server.answer("GET /v1/functions/round-up", 200, function("round-up", "d0"));
    server.answers.lock().unwrap().remove("GET /v1/functions/round-up/variables");
    server.answer("GET /v1/functions/round-up/variables", 200, variables("other"));
    server.answer("PUT /v1/functions/round-up/variables/v1", 200, VariableObject::default());
    server.answer("DELETE /v1/functions/round-up/variables/v2", 204, Value::Null);
    server.run(&["deploy", "--dir", text(project.path()), "--prune-variables"]).await.unwrap();
    let lines = server.lines();
    let at = |line: &str| lines.iter().position(|asked| asked == line).unwrap_or_else(|| panic!("{line}: {lines:?}"));
    let active = at("PATCH /v1/functions/round-up/deployment");
    assert!(at("POST /v1/functions/round-up/variables") < active, "new variables harm nobody");
    assert!(at("PUT /v1/functions/round-up/variables/v1") > active);
    assert!(at("DELETE /v1/functions/round-up/variables/v2") > active);
    assert!(
        !lines.iter().any(|line| line == "PUT /v1/functions/round-up" || line == "POST /v1/functions"),
        "{lines:?}"
    );
}

#[tokio::test]
async fn a_function_of_another_project_is_not_replaced_unasked() {
    for (origin, named) in [("code.example/acme/hacks#x", "code.example/acme/hacks#x"), ("", "by another client")] {
        let (server, project) = (deployable(), project());
        server.answers.lock().unwrap().remove("GET /v1/functions/round-up");
        server.answer("GET /v1/functions/round-up", 200, function("round-up", "d0"));
        server.answers.lock().unwrap().remove("GET /v1/functions/round-up/deployments");
        let last = DeploymentObject {
            origin: origin.into(),
            uploaded_by: "k7".into(),
            created_at: "2026-11-21T10:00:00.000+00:00".into(),
            ..deployment("d0", "ready", "")
        };
        server.answer("GET /v1/functions/round-up/deployments", 200, deployments(vec![last]));
        let failure = server.run(&["deploy", "--dir", text(project.path())]).await.unwrap_err();
        let said = failure.text().unwrap();
        assert_eq!(failure.exit_code(), 1);
        assert!(said.contains(named) && said.contains("key k7") && said.contains("larder deploy --force"), "{said}");
        assert!(server.lines().iter().all(|line| line.starts_with("GET ")), "{:?}", server.lines());
        server.run(&["deploy", "--dir", text(project.path()), "--force"]).await.unwrap();
        server.asked("PATCH /v1/functions/round-up/deployment");
    }
    // This project's own is replaced without a word.
    let (server, project) = (deployable(), project());
    server.answers.lock().unwrap().remove("GET /v1/functions/round-up");
    server.answer("GET /v1/functions/round-up", 200, function("round-up", "d0"));
    server.answers.lock().unwrap().remove("GET /v1/functions/round-up/deployments");
    let last = DeploymentObject { origin: origin::of(project.path()).await, ..deployment("d0", "ready", "") };
    server.answer("GET /v1/functions/round-up/deployments", 200, deployments(vec![last]));
    server.run(&["deploy", "--dir", text(project.path())]).await.unwrap();
}

#[tokio::test]
async fn what_widens_waits_unless_it_may_be_approved_here() {
    let waiting = || {
        let server = deployable();
        server.answers.lock().unwrap().remove("GET /v1/functions/round-up/deployments/d1/grants");
        server.answer("GET /v1/functions/round-up/deployments/d1/grants", 200, asked(true));
        server
    };
    let approval = "POST /v1/functions/round-up/deployments/d1/grants/approval";
    let (server, project) = (waiting(), project());
    let failure = server.run(&["deploy", "--dir", text(project.path())]).await.unwrap_err();
    assert_eq!(failure.exit_code(), 1);
    let said = failure.text().unwrap();
    assert!(said.contains("may now keep state") && said.contains("larder grants approve round-up d1"), "{said}");
    assert!(!server.lines().iter().any(|line| line.starts_with("PATCH") || line == approval));

    let server = waiting();
    server.answer(approval, 200, ApprovalObject { active: true, ..ApprovalObject::default() });
    server.run(&["deploy", "--dir", text(project.path()), "--approve"]).await.unwrap();
    assert_eq!(server.asked(approval).json(), json!({ "digest": "abc" }));
}

#[tokio::test]
async fn a_failed_build_is_not_activated() {
    let (server, project) = (deployable(), project());
    let failed = deployment("d1", "failed", "unknown import x:y/z");
    server.answers.lock().unwrap().remove("GET /v1/functions/round-up/deployments/d1");
    server.answer("GET /v1/functions/round-up/deployments/d1", 200, failed);
    let failure = server.run(&["deploy", "--dir", text(project.path()), "--json"]).await.unwrap_err();
    assert_eq!(failure.exit_code(), 1);
    assert!(failure.text().unwrap().contains("unknown import x:y/z"));
    assert!(!server.lines().iter().any(|line| line.starts_with("PATCH")));
}

#[tokio::test]
async fn refusals_name_the_manifests_line_and_unknown_partners_make_nothing() {
    let (server, project) = (deployable(), project());
    server.answers.lock().unwrap().remove("POST /v1/functions/round-up/deployments");
    let wrong = refusal(400, "general_argument_invalid", "`events`: `card.` is no pattern");
    server.answer("POST /v1/functions/round-up/deployments", 400, wrong);
    let failure = server.run(&["deploy", "--dir", text(project.path())]).await.unwrap_err();
    assert_eq!(failure.exit_code(), 2);
    assert!(failure.text().unwrap().ends_with("larder.toml:3: function.events: `events`: `card.` is no pattern"));

    let (server, project) = (Server::default(), self::project());
    server.answer("GET /v1/functions/round-up", 404, refusal(404, "project_not_found", "no such partner"));
    let failure = server.run(&["deploy", "--dir", text(project.path())]).await.unwrap_err();
    assert_eq!(failure.text().unwrap(), "error: no such partner (404 project_not_found)");
    assert_eq!(server.lines(), ["GET /v1/functions/round-up"]);
}

#[tokio::test]
async fn invoke_fails_with_its_function() {
    let server = Server::default();
    let line = "POST /v1/functions/hello/executions";
    let execution = |status: &str| ExecutionObject {
        id: "e1".into(),
        status: status.into(),
        response_status_code: 500,
        duration: 0.1,
        ..ExecutionObject::default()
    };
    server.answer(line, 201, execution("completed")).answer(line, 201, execution("failed"));
    let arguments =
        ["invoke", "hello", "--data", "{\"a\":1}", "--method", "put", "--path", "/x?y", "--header", "Accept: a/b"];
    server.run(&arguments).await.unwrap();
    assert_eq!(
        server.asked(line).json(),
        json!({
            "body": "{\"a\":1}", "async": false, "method": "PUT", "path": "/x?y",
            "headers": { "accept": "a/b", "content-type": "application/json" },
        })
    );
    assert_eq!(server.run(&arguments).await.unwrap_err().exit_code(), 1);
}

#[tokio::test]
async fn events_go_in_batches() {
    let server = Server::default();
    server.answer("POST /v1/events", 202, Accepted { total: 1, events: vec![AcceptedEvent::default()] });
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("events.json");
    let event = |id: usize| json!({ "specversion": "1.0", "id": id.to_string(), "source": "/t", "type": "a.b" });
    std::fs::write(&file, json!((0..401).map(event).collect::<Vec<_>>()).to_string()).unwrap();
    server.run(&["events", "send", text(&file), "--wait", "0"]).await.unwrap();
    let asked = server.asked.lock().unwrap().clone();
    let sizes: Vec<usize> = asked.iter().map(|asked| asked.json().as_array().map_or(1, Vec::len)).collect();
    assert_eq!(sizes, [200, 200, 1]);
    let types: Vec<_> = asked.iter().map(|asked| asked.headers["content-type"].to_str().unwrap()).collect();
    let batch = "application/cloudevents-batch+json";
    assert_eq!(types, [batch, batch, "application/cloudevents+json"]);

    let server = Server::default();
    server.answer("POST /v1/events", 202, Accepted::default());
    server
        .run(&[
            "events",
            "send",
            "--type",
            "a.b",
            "--subject",
            "s",
            "--id",
            "7",
            "--data",
            "{\"a\":12.10}",
            "--wait",
            "0",
        ])
        .await
        .unwrap();
    assert_eq!(
        server.asked("POST /v1/events").json(),
        json!({
            "specversion": "1.0", "id": "7", "source": "urn:larder:cli", "type": "a.b", "subject": "s",
            "datacontenttype": "application/json", "data": { "a": 12.1 },
        })
    );
    let sent = String::from_utf8(server.asked("POST /v1/events").body).unwrap();
    assert!(sent.ends_with(r#""data":{"a":12.10}}"#), "{sent}");
}

#[tokio::test]
async fn events_that_are_sent_are_followed_to_their_end() {
    let server = Server::default();
    let accepted = |differs: bool| {
        let [row, id, source] = ["r1", "7", "/t"].map(Into::into);
        Accepted { total: 1, events: vec![AcceptedEvent { row, id, source, duplicate: differs, differs }] }
    };
    let event = |status: &str, completed: u64| EventObject {
        row: "r1".into(),
        status: status.into(),
        r#type: "a.b".into(),
        functions: 1,
        executions: Counts { processing: 1 - completed, completed, ..Counts::default() },
        ..EventObject::default()
    };
    server.answer("POST /v1/events", 202, accepted(false)).answer("POST /v1/events", 202, accepted(true));
    server.answer("GET /v1/events/r1", 200, event("waiting", 0)).answer(
        "GET /v1/events/r1",
        200,
        event("processing", 0),
    );
    server.answer("GET /v1/events/r1", 200, event("done", 1));
    let arguments = ["events", "send", "--type", "a.b", "--id", "7", "--source", "/t"];
    server.run(&arguments).await.unwrap();
    assert_eq!(server.lines().len(), 4);
    let failure = server.run(&arguments).await.unwrap_err();
    assert_eq!(failure.exit_code(), 1);
    assert!(failure.text().unwrap().contains("the id 7 of /t") && failure.text().unwrap().contains("something else"));
}

#[tokio::test]
async fn ids_may_be_typed_as_far_as_they_are_unique() {
    let server = Server::default();
    let all = ["01AB", "01AC", "01", "02X"].map(|id| deployment(id, "ready", ""));
    server.answer("GET /v1/functions/f/deployments", 200, deployments(all.into()));
    server.answer("GET /v1/functions/f", 200, function("f", ""));
    server.answer("PATCH /v1/functions/f/deployment", 200, function("f", ""));
    for (given, whole) in [("01AB", "01AB"), ("01", "01"), ("02", "02X"), ("77", "77")] {
        server.asked.lock().unwrap().clear();
        server.run(&["deployments", "activate", "f", given]).await.unwrap();
        assert_eq!(server.asked("PATCH /v1/functions/f/deployment").json(), json!({ "deploymentId": whole }));
    }
    let failure = server.run(&["deployments", "activate", "f", "01A"]).await.unwrap_err();
    assert_eq!((failure.exit_code(), failure.text().unwrap().contains("01AB, 01AC")), (2, true));
}

#[tokio::test]
async fn a_key_has_the_developers_scopes_unless_others_are_named() {
    let server = Server::default();
    server.answer("POST /v1/partners/demo/keys", 201, key(&[]));
    server.run(&["key", "create"]).await.unwrap();
    let asked = server.asked("POST /v1/partners/demo/keys").json();
    let scopes: Vec<&str> = asked["scopes"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert!(scopes.contains(&"functions.write") && scopes.contains(&"grants.read"), "{scopes:?}");
    assert!(!scopes.contains(&"grants.write") && !scopes.contains(&"upstreams.write"), "{scopes:?}");
    // Help and refusals list them all.
    let larder = Arguments::command();
    let mut create = larder.find_subcommand("key").unwrap().find_subcommand("create").unwrap().clone();
    let help = create.render_long_help().to_string();
    let refused = Arguments::try_parse_from(["larder", "key", "create", "--scopes", "function.read"]).unwrap_err();
    for scope in larder_wire::scopes::Scope::ALL.map(|scope| scope.words()[0]) {
        assert!(help.contains(scope) && refused.to_string().contains(scope), "{scope}: {refused}");
    }
}

#[tokio::test]
async fn the_operators_key_goes_without_a_partner() {
    let server = Server::default();
    server.answer("POST /v1/partners/demo/keys", 201, key(&["a"]));
    let arguments = ["key", "create", "--scopes", "events.read,events.write", "--expires", "2027-01-31T01:00:00+01:00"];
    server.run(&arguments).await.unwrap();
    let asked = server.asked("POST /v1/partners/demo/keys");
    assert_eq!(asked.headers["x-appwrite-key"], "operator");
    assert!(!asked.headers.contains_key("x-appwrite-project"));
    assert_eq!(
        asked.json(),
        json!({ "name": "cli", "scopes": ["events.read", "events.write"], "expire": "2027-01-31T00:00:00.000+00:00" })
    );
}

#[tokio::test]
async fn nobody_there_and_not_allowed_are_exit_code_3() {
    let server = Server::default();
    server.answer("GET /v1/transactions", 401, refusal(401, "user_unauthorized", "unknown key"));
    assert_eq!(server.run(&["transactions"]).await.unwrap_err().exit_code(), 3);

    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}/v1", listener.local_addr().unwrap());
    drop(listener);
    let connection = connection::Connection {
        endpoint,
        partner: Some("demo".into()),
        key: Some("secret".into()),
        operator_key: None,
        dev: false,
    };
    let failure = Client::of_partner(&connection).unwrap().get::<FunctionList>(&["functions"]).await.unwrap_err();
    assert_eq!(failure.exit_code(), 3);
    assert!(failure.text().unwrap().contains("Connection refused"), "{:?}", failure.text());
}

#[test]
fn ids_cannot_leave_their_place_in_the_path() {
    let connection = |endpoint: &str| connection::Connection {
        endpoint: endpoint.into(),
        partner: Some("demo".into()),
        key: Some("secret".into()),
        operator_key: None,
        dev: false,
    };
    let client = Client::of_partner(&connection("http://demo-api.localhost:8080/v1/")).unwrap();
    assert_eq!(
        client.url(&["functions", "a/../b?c"]).unwrap().as_str(),
        "http://demo-api.localhost:8080/v1/functions/a%2F..%2Fb%3Fc"
    );
    assert_eq!(client.url(&["functions", ".."]).unwrap_err().exit_code(), 2);
    for endpoint in ["localhost:8080/v1", "ftp://x/v1", "http://x", "no"] {
        assert_eq!(Client::of_partner(&connection(endpoint)).err().expect(endpoint).exit_code(), 2);
    }
}
