//! Answers with what it was told: method, target, headers, environment and body, as JSON. Prints the headers.
//!
//! * `POST /call` `{method, url, headers, body}` sends that request and answers `{status, body}`. `$KEY` in a header is the key of
//!   this run.
//! * `?ms=500` rests for so long first. `?status=404` answers with that status.

use std::collections::BTreeMap;
use std::time::Duration;

use larder_sdk::http;
use larder_sdk::prelude::*;
use larder_sdk::serde_json::{self, Value, json};
use larder_sdk::serve::{Request, Response};

#[derive(Deserialize)]
struct Call {
    method: String,
    url: String,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default)]
    body: String,
}

fn mirror(request: &Request, run: &mut Run) -> Result<Response, Error> {
    let parameter = |name: &str| {
        let pairs = request.query().unwrap_or_default().split('&').filter_map(|pair| pair.split_once('='));
        pairs.into_iter().find_map(|(key, value)| (key == name).then(|| value.parse().ok()).flatten())
    };
    if let Some(ms) = parameter("ms") {
        std::thread::sleep(Duration::from_millis(ms));
    }
    if request.path() == "/call" {
        let call: Call = request.json()?;
        let key = request.header("x-appwrite-key").unwrap_or_default();
        let plain = http::Request::new(&call.method, &call.url).body(call.body);
        let sent =
            call.headers.iter().fold(plain, |sent, (name, value)| sent.header(name, &value.replace("$KEY", &key)));
        let answer = run.send(&sent)?;
        let body: Value = serde_json::from_slice(&answer.body).unwrap_or(Value::Null);
        return Response::json(&json!({ "status": answer.status, "body": body }));
    }
    let headers: Vec<(String, String)> = request.headers();
    println!("{}", json!(headers));
    let environment: BTreeMap<String, String> = std::env::vars().collect();
    let body = String::from_utf8_lossy(request.body()?).into_owned();
    let target = [request.path(), request.query().unwrap_or_default()].join("?");
    let told = json!({
        "method": request.method(), "target": target, "headers": headers, "environment": environment, "body": body,
    });
    Ok(Response::json(&told)?.status(parameter("status").unwrap_or(200) as u16))
}

larder_sdk::http!(mirror);
