//! Secrets: sealed values in the database, and the master key replaced while Larder serves.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use larder_secrets::keyring::{self, Keyring};
use larder_secrets::write_private;
use larder_tests::{Api, Backend, Larder, Options, both, eventually, guests, holds};
use reqwest::Method;
use serde_json::{Value, json};

const ROTATION: &str = "/operator/master-keys/rotation";
const PLAIN: &str = "a-value-that-nobody-may-read";

/// A process is missed after twelve seconds, and what is on its way has two to arrive.
fn quick(on: Backend, objects: &std::path::Path) -> Options {
    Options::on(on)
        .fresh()
        .set("LARDER_SECRETS__POLL", "2s")
        .set("LARDER_SECRETS__SETTLE", "2s")
        .set("LARDER_PARTNERS__POLL", "200ms")
        .set("LARDER_OBJECTS__URL", format!("file://{}", objects.display()))
}

fn key_file(larder: &Larder) -> PathBuf {
    larder.data().join("master.key")
}

fn keys(larder: &Larder) -> Vec<String> {
    Keyring::read(&key_file(larder)).unwrap().ids().iter().map(ToString::to_string).collect()
}

async fn variable(api: &Api, function: &str, key: &str, value: &str) -> String {
    let body = json!({ "variableId": "unique()", "key": key, "value": value, "secret": false });
    api.post(&format!("/functions/{function}/variables"), body).await.is(201)["$id"].as_str().unwrap().to_owned()
}

/// What the function has in its environment.
async fn greeting(larder: &Larder) -> (u16, String) {
    let answer = larder.web("demo", Method::GET, "/hello/variable").send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

async fn keyed(api: &Api, key: &str) -> (Value, Option<String>) {
    let body = json!({ "path": "/hello/echo", "method": "POST", "body": format!("{PLAIN} in {key}") });
    let request = api.request(Method::POST, "/functions/hello/executions").header("idempotency-key", key);
    let answer = request.json(&body).send().await.unwrap();
    let replayed = answer.headers().get("idempotency-replayed").map(|value| value.to_str().unwrap().to_owned());
    (answer.json().await.unwrap(), replayed)
}

/// A function with many variables, and answers kept under keys.
async fn filled(larder: &Larder) -> Vec<Value> {
    let api = larder.api();
    api.create_function("hello", json!({ "routes": ["/hello"] })).await.is(201);
    variable(&api, "hello", "GREETING", PLAIN).await;
    for number in 0..60 {
        variable(&api, "hello", &format!("V{number}"), &format!("{PLAIN} {number}")).await;
    }
    assert_eq!(api.build("hello", &guests::guest("hello-http"), true).await["status"], "ready");
    let mut answers = Vec::new();
    for number in 0..10 {
        answers.push(keyed(&api, &format!("key-{number}")).await.0);
    }
    answers
}

async fn all_there(larder: &Larder, answers: &[Value]) {
    assert_eq!(greeting(larder).await, (200, format!("{PLAIN}\n")));
    let api = larder.api();
    let variables = api.all("/functions/hello/variables", "variables").await;
    for number in 0..60 {
        let found = variables.iter().find(|v| v["key"] == format!("V{number}")).unwrap();
        assert_eq!(found["value"], format!("{PLAIN} {number}"));
    }
    for (number, answer) in answers.iter().enumerate() {
        let again = keyed(&api, &format!("key-{number}")).await;
        assert_eq!((&again.0, again.1.as_deref()), (answer, Some("true")));
    }
}

/// What the enrolled runs of so many events were told of whom they are for.
async fn pseudonyms(larder: &Larder, events: usize) -> BTreeSet<String> {
    let api = larder.api();
    api.event(&format!("who-{events}"), "probe.who", Some("card-1"), json!({})).await.is(202);
    eventually("the run", async || {
        let executions = api.executions("who").await;
        let done = executions.len() == events && executions.iter().all(|e| e["status"] == "completed");
        done.then(|| executions.iter().map(|e| e["logs"].as_str().unwrap().trim().to_owned()).collect())
    })
    .await
}

both!(the_master_key_is_replaced_while_calls_go_on, async |on| {
    let objects = tempfile::tempdir().unwrap();
    let mut one = Larder::start_with(quick(on, objects.path())).await;
    // Over MariaDB there is another process, with a key file of its own as on another machine.
    let mut two = match on {
        Backend::Services => Some(one.start_beside(quick(on, objects.path())).await),
        Backend::Embedded => None,
    };
    let answers = filled(&one).await;
    let api = one.api();
    api.deploy("who", &guests::guest("probe"), json!({ "events": ["probe.who"], "per": "enrolment" })).await;
    api.enrol("who", "anna", "card-1", json!({})).await;
    let known_as = pseudonyms(&one, 1).await;
    assert!(known_as.first().unwrap().starts_with("eu_"), "{known_as:?}");
    let changing = variable(&api, "hello", "CHANGING", "0").await;
    let (old, before) = (keys(&one)[0].clone(), one.dump().await);
    assert!(!holds(&before, PLAIN.as_bytes()) && holds(&before, b"GREETING"));

    // Calls and changes go on all the time, at both processes.
    let (stop, calls) = (AtomicBool::new(false), AtomicU32::new(0));
    let calling = async |larder: &Larder| {
        while !stop.load(Ordering::SeqCst) {
            assert_eq!(greeting(larder).await, (200, format!("{PLAIN}\n")));
            calls.fetch_add(1, Ordering::SeqCst);
        }
    };
    let change = async {
        let path = format!("/functions/hello/variables/{changing}");
        let mut number = 0;
        while !stop.load(Ordering::SeqCst) {
            number += 1;
            // Either changes what is sealed, or only what is beside it.
            let body =
                if number % 2 == 0 { json!({ "value": number.to_string() }) } else { json!({ "key": "CHANGING" }) };
            api.put(&path, body).await.is(200);
        }
        number - number % 2
    };
    let rotate = async {
        let file = key_file(&one);
        let arguments = ["keys", "rotate", "--file", file.to_str().unwrap(), "--wait", "180s"];
        let hand_out = async {
            let Some(two) = &two else { return };
            eventually("the new key", async || (keys(&one).len() == 2).then_some(())).await;
            // Not before the other machine has it too.
            tokio::time::sleep(Duration::from_secs(1)).await;
            assert_eq!(one.operator().get("/operator/master-keys").await.is(200)["sealing"], *old);
            let refused = one.operator().post(ROTATION, json!({})).await.is_error(409, "master_key_not_everywhere");
            assert!(refused.contains(&format!("process {}", two.pid())), "{refused}");
            std::fs::copy(key_file(&one), key_file(two)).unwrap();
        };
        let (done, ()) = futures::join!(one.cli(one.scratch(), &arguments), hand_out);
        stop.store(true, Ordering::SeqCst);
        done
    };
    let others = async {
        if let Some(two) = &two {
            calling(two).await;
        }
    };
    let ((code, out, err), number, (), ()) = futures::join!(rotate, change, calling(&one), others);
    assert_eq!(code, 0, "{out}{err}");
    let new = keys(&one)[0].clone();
    assert!(out.contains(&new) && out.contains("seals") && out.contains("may be dropped"), "{out}");
    assert!(calls.load(Ordering::SeqCst) > 20, "{calls:?} calls");

    // Nothing needs the old key: neither while all serve, nor after a start without it.
    for larder in [Some(&one), two.as_ref()].into_iter().flatten() {
        let text = std::fs::read_to_string(key_file(larder)).unwrap();
        let kept: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).take(1).collect();
        write_private(&key_file(larder), kept[0]).unwrap();
        assert_eq!(keys(larder), [new.as_str()]);
    }
    all_there(&one, &answers).await;
    one.kill();
    if let Some(mut two) = two.take() {
        two.kill();
    }
    one.restart().await;
    all_there(&one, &answers).await;
    let api = one.api();
    let changed = api.get(&format!("/functions/hello/variables/{changing}")).await.is(200);
    assert_eq!(changed["value"], number.to_string());
    assert_eq!(pseudonyms(&one, 2).await, known_as);
    assert!(!one.log().contains("cannot be decrypted"), "{}", one.log());
    assert!(!holds(&one.dump().await, PLAIN.as_bytes()));
    let seen = one.operator().get("/operator/master-keys").await.is(200);
    assert_eq!((&seen["otherwise"], &seen["keys"][0]["sealing"]), (&json!(0), &json!(true)), "{seen}");
});

both!(interrupted_key_rotation_continues_where_it_stopped, async |on| {
    let objects = tempfile::tempdir().unwrap();
    let mut larder = Larder::start_with(quick(on, objects.path())).await;
    let answers = filled(&larder).await;
    keyring::add_to_file(&key_file(&larder), "by hand").unwrap();
    let some = larder.operator().post(ROTATION, json!({ "limit": 7 })).await.is(200);
    assert_eq!(some["rewrapped"], 7, "{some}");
    let left = some["left"].as_u64().unwrap();
    assert!(left > 50, "{some}");
    assert!(some["keys"].as_array().unwrap().iter().all(|key| key["mayBeDropped"] == false), "{some}");
    larder.kill();
    larder.restart().await;
    all_there(&larder, &answers).await;

    // Again while it is at it.
    let operator = larder.operator();
    let request = operator.request(Method::POST, ROTATION).json(&json!({}));
    let running = tokio::spawn(Api::try_send(request));
    tokio::time::sleep(Duration::from_millis(15)).await;
    larder.kill();
    let _ = running.await.unwrap();
    larder.restart().await;
    all_there(&larder, &answers).await;

    let file = key_file(&larder);
    let (code, out, err) = larder.cli(larder.scratch(), &["keys", "rotate", "--file", file.to_str().unwrap()]).await;
    assert_eq!(code, 0, "{out}{err}");
    assert!(err.contains("going on with"), "{err}");
    assert_eq!(keys(&larder).len(), 2, "no further key was made");
    let seen = larder.operator().get("/operator/master-keys").await.is(200);
    let values: Vec<&Value> = seen["keys"].as_array().unwrap().iter().map(|key| &key["values"]).collect();
    assert!(values[0].as_u64().unwrap() >= 7 + left && values[1] == 0, "{seen}");
    all_there(&larder, &answers).await;
});

#[tokio::test(flavor = "multi_thread")]
async fn process_needs_the_encrypting_key_to_start_but_not_to_continue() {
    let objects = tempfile::tempdir().unwrap();
    let mut larder = Larder::start_with(quick(Backend::Embedded, objects.path())).await;
    let answers = filled(&larder).await;
    let (file, whole) = (key_file(&larder), std::fs::read_to_string(key_file(&larder)).unwrap());
    let id = keys(&larder)[0].clone();
    std::fs::remove_file(&file).unwrap();
    eventually("the loss to be noticed", async || larder.log().contains("master key file").then_some(())).await;
    all_there(&larder, &answers).await;
    // Another's key, as after a mistake in distributing.
    write_private(&file, "0123456789abcdef00112233445566778899aabbccddeeff0f1e2d3c4b5a6978").unwrap();
    let said = larder.operator().post(ROTATION, json!({})).await.is_error(409, "master_key_unknown");
    assert!(said.contains(&id), "{said}");
    all_there(&larder, &answers).await;
    larder.kill();
    let output = std::process::Command::new(Larder::binary())
        .args(["dev", "--listen", "127.0.0.1:0", "--internal", "127.0.0.1:0", "--data"])
        .arg(larder.data())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("secrets.master_key_file") && said.contains(&id), "{said}");
    write_private(&file, &whole).unwrap();
    larder.restart().await;
    all_there(&larder, &answers).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn function_with_an_undecryptable_variable_is_not_run() {
    use mysql_async::prelude::Queryable;
    let objects = tempfile::tempdir().unwrap();
    let larder = Larder::start_with(quick(Backend::Services, objects.path())).await;
    filled(&larder).await;
    let mut connection = larder.database().connect().await;
    let swap =
        "UPDATE variables AS a JOIN variables AS b ON b.name = 'V1' SET a.sealed = b.sealed WHERE a.name = 'GREETING'";
    connection.query_drop(swap).await.unwrap();
    // Anything that changes the partner's snapshot.
    variable(&larder.api(), "hello", "ANOTHER", "value").await;
    let (status, body) = greeting(&larder).await;
    assert_eq!(status, 503, "a value that was moved is not served: {body}");
    assert!(!body.contains(PLAIN) && !body.contains("GREETING"), "{body}");
    let refused = larder.operator().post(ROTATION, json!({})).await.is(200);
    assert_eq!(refused["unopened"], json!([]), "nothing to rewrap: {refused}");
    keyring::add_to_file(&key_file(&larder), "by hand").unwrap();
    let refused = larder.operator().post(ROTATION, json!({})).await.is(200);
    assert!(refused["unopened"].to_string().contains("variables demo/hello/"), "{refused}");
    assert_eq!(refused["left"], 1, "{refused}");
    assert!(refused["keys"].as_array().unwrap().iter().all(|key| key["mayBeDropped"] == false), "{refused}");
}
