//! The live tail of a function, through the API.

use std::time::Duration;

use larder_tests::{Backend, Larder, Options, both, guests};
use reqwest::{Method, Response};
use rustix::process::Signal;
use serde_json::{Value, json};

const PATH: &str = "/functions/f/executions/tail";

/// The next event's name and data; comments are passed over. `None` at the end of the stream.
async fn next(answer: &mut Response, text: &mut String) -> Option<(String, Value)> {
    loop {
        if let Some((event, rest)) = text.split_once("\n\n").map(|(event, rest)| (event.to_owned(), rest.to_owned())) {
            *text = rest;
            let field = |name: &str| event.lines().find_map(|line| line.strip_prefix(name));
            if let (Some(name), Some(data)) = (field("event: "), field("data: ")) {
                return Some((name.to_owned(), serde_json::from_str(data).expect("JSON")));
            }
            continue;
        }
        let part = tokio::time::timeout(Duration::from_secs(30), answer.chunk()).await.expect("something comes");
        text.push_str(std::str::from_utf8(&part.expect("a clean end")?).expect("UTF-8"));
    }
}

both!(tail_shows_executions_of_every_process, async |on| {
    let objects = tempfile::tempdir().expect("a temporary folder");
    let options = || Options::on(on).set("LARDER_OBJECTS__URL", format!("file://{}", objects.path().display()));
    let mut larder = Larder::start_with(options()).await;
    let api = larder.api();
    api.get(PATH).await.is_error(404, "function_not_found");
    api.deploy("f", &guests::guest("hello-http"), json!({ "routes": ["/"] })).await;
    larder.api_of(Some("demo"), None).get(PATH).await.is_error(401, "general_unauthorized_scope");

    let mut answer = api.request(Method::GET, PATH).send().await.expect("an answer");
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["content-type"], "text/event-stream");
    let mut text = String::new();
    let done = api.execute("f", json!({ "path": "/hello/echo", "body": "x" })).await;
    let (event, seen) = next(&mut answer, &mut text).await.expect("the execution");
    assert_eq!((event.as_str(), &seen["$id"], &seen["status"]), ("execution", &done["$id"], &json!("completed")));
    assert_eq!((&seen["functionId"], &seen["responseBody"]), (&json!("f"), &json!("")));
    let queued = api.post("/functions/f/executions", json!({ "async": true, "path": "/hello" })).await.is(202);
    assert_eq!(next(&mut answer, &mut text).await.expect("the queued one").1["$id"], queued["$id"]);

    if on == Backend::Services {
        let other = larder.start_beside(options()).await;
        let mut ids = vec![];
        // Some calls may end before it has heard that somebody watches; those that it saw may be told before they answer.
        let seen = loop {
            let call = other.web("demo", Method::GET, "/hello").send().await.expect("an answer");
            let id = call.headers().get("x-appwrite-execution-id").expect("the execution's id");
            ids.push(json!(id.to_str().expect("an id")));
            let told = tokio::time::timeout(Duration::from_millis(200), next(&mut answer, &mut text)).await;
            if let Ok(told) = told {
                break told.expect("what ran in the other process").1["$id"].clone();
            }
        };
        assert!(ids.contains(&seen), "{seen} is not of {ids:?}");
    }

    larder.signal(Signal::TERM);
    while next(&mut answer, &mut text).await.is_some() {}
    assert_eq!(larder.ended().await, Some(0));
});
