//! Realtime: WebSockets in the messages of the replaced platform.

use std::time::Duration;

use futures::{SinkExt, StreamExt};
use larder_tests::{Api, Backend, Larder, Options, both, guests};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

struct Socket(WebSocketStream<MaybeTlsStream<TcpStream>>);

/// Opens a socket with these headers; `Err` with the status of a refusal.
async fn open(larder: &Larder, query: &str, headers: &[(&'static str, &str)]) -> Result<Socket, u16> {
    let mut request =
        format!("ws://{}/v1/realtime?{query}", larder.address()).into_client_request().expect("a request");
    for (name, value) in headers {
        request.headers_mut().insert(*name, value.parse().expect("a value"));
    }
    match tokio_tungstenite::connect_async(request).await {
        Ok((socket, _)) => Ok(Socket(socket)),
        Err(Error::Http(refusal)) => Err(refusal.status().as_u16()),
        Err(err) => panic!("{err}"),
    }
}

impl Socket {
    /// The next message but pings; `None` at the end.
    async fn next(&mut self) -> Option<Value> {
        loop {
            let message = tokio::time::timeout(Duration::from_secs(60), self.0.next()).await.expect("something comes");
            match message?.ok()? {
                Message::Text(text) => return Some(serde_json::from_str(&text).expect("JSON")),
                Message::Close(_) => return None,
                _ => {}
            }
        }
    }

    async fn say(&mut self, message: Value) {
        self.0.send(Message::text(message.to_string())).await.expect("it listens");
    }

    /// Says something and reads the answer.
    async fn ask(&mut self, message: Value) -> Value {
        self.say(message).await;
        self.next().await.expect("an answer")
    }

    /// Nothing comes: an answer to a ping is the next that does.
    async fn is_quiet(&mut self) {
        assert_eq!(self.ask(json!({ "type": "ping" })).await, json!({ "type": "pong" }));
    }

    /// The next event that is one of these, and its payload.
    async fn event(&mut self, kind: &str) -> Value {
        loop {
            let message = self.next().await.expect("an event");
            assert_eq!(message["type"], "event", "{message}");
            if message["data"]["events"].as_array().expect("events").contains(&json!(kind)) {
                return message["data"].clone();
            }
        }
    }
}

async fn run(api: &Api) -> Value {
    api.execute("f", json!({ "path": "/hello", "method": "GET" })).await
}

both!(sockets_tell_what_happens_in_their_project, async |on| {
    let larder = Larder::start_on(on).await;
    let (api, other) = (larder.api(), larder.partner("other").await);
    api.deploy("f", &guests::guest("hello-http"), json!({ "execute": ["any"] })).await;
    other.deploy("f", &guests::guest("hello-http"), json!({ "execute": ["any"] })).await;
    let key = [("x-appwrite-key", larder.key())];
    let query = "project=demo&channels[]=executions&channels[]=functions.f.update";
    let mut socket = open(&larder, query, &key).await.expect("a socket");
    let connected = socket.next().await.unwrap();
    assert_eq!((&connected["type"], &connected["data"]["user"]), (&json!("connected"), &Value::Null));
    assert_eq!(connected["data"]["channels"], json!(["executions", "functions.f.update"]));
    let subscription = connected["data"]["subscriptions"]["0"].clone();
    // An execution as it ends; nothing of the other partner's function of the same name.
    run(&other).await;
    let done = run(&api).await;
    let told = socket.event("functions.f.executions.*.update").await;
    assert_eq!((&told["payload"]["$id"], &told["payload"]["status"]), (&done["$id"], &json!("completed")));
    assert_eq!(told["subscriptions"], json!([subscription]));
    assert!(told["channels"].as_array().unwrap().contains(&json!("executions")), "{told}");
    // A deployment while it is built, up to its end.
    let deployment = api.upload("f", &guests::guest("hello-http"), true).await.is(202);
    let kind = format!("functions.f.deployments.{}.update", deployment["$id"].as_str().unwrap());
    while socket.event(&kind).await["payload"]["status"] != "ready" {}

    // Subscriptions come and go.
    let mut other_socket = open(&larder, "project=demo", &key).await.expect("a socket");
    assert_eq!(other_socket.next().await.unwrap()["data"]["channels"], json!([]));
    run(&api).await;
    other_socket.is_quiet().await;
    let subscribe = json!({ "type": "subscribe", "data": [{ "subscriptionId": "mine", "channels": ["executions"] }] });
    let answer = other_socket.ask(subscribe).await;
    assert_eq!((&answer["type"], &answer["data"]["to"]), (&json!("response"), &json!("subscribe")));
    assert_eq!(answer["data"]["subscriptions"][0]["subscriptionId"], "mine");
    let done = run(&api).await;
    assert_eq!(other_socket.event("functions.*").await["payload"]["$id"], done["$id"]);
    let unsubscribe =
        json!({ "type": "unsubscribe", "data": [{ "subscriptionId": "mine" }, { "subscriptionId": "x" }] });
    let answer = other_socket.ask(unsubscribe).await;
    assert_eq!(answer["data"]["subscriptions"][0]["removed"], true);
    assert_eq!(answer["data"]["subscriptions"][1]["removed"], false);
    run(&api).await;
    other_socket.is_quiet().await;
});

both!(sockets_tell_nobody_what_they_may_not_know, async |on| {
    let larder = Larder::start_on(on).await;
    let api = larder.api();
    api.deploy("f", &guests::guest("hello-http"), json!({ "execute": ["any"] })).await;
    larder.administrator("anna@bank.example", json!([{ "partnerId": "demo", "role": "administrator" }])).await;
    larder.administrator("bo@bank.example", json!([])).await;
    let query = "project=demo&channels[]=executions&channels[]=functions.f";
    assert_eq!(open(&larder, "project=nobody", &[]).await.err(), Some(404));
    assert_eq!(open(&larder, "", &[]).await.err(), Some(401));
    assert_eq!(open(&larder, query, &[("x-appwrite-key", "larder_wrong")]).await.err(), Some(401));
    let long = format!("project=demo&channels[]={}", "x".repeat(300));
    assert_eq!(open(&larder, &long, &[]).await.err(), Some(400));
    api.get("/realtime").await.is_error(400, "general_bad_request");
    // Whoever has no rights is told nothing.
    let mut guest = open(&larder, query, &[]).await.expect("a socket");
    guest.next().await.unwrap();
    run(&api).await;
    guest.is_quiet().await;
    // A session makes it an administrator's, but not that of somebody else, and a cookie alone does not.
    let anna = larder.sign_in("anna@bank.example").await;
    let session =
        |cookie: &str| json!({ "type": "authentication", "data": { "session": cookie.split_once('=').unwrap().1 } });
    let mut by_cookie = open(&larder, query, &[("cookie", &anna)]).await.expect("a socket");
    by_cookie.next().await.unwrap();
    run(&api).await;
    by_cookie.is_quiet().await;
    let answer = by_cookie.ask(session(&anna)).await;
    assert_eq!((&answer["data"]["to"], &answer["data"]["success"]), (&json!("authentication"), &json!(true)));
    assert_eq!(answer["data"]["user"]["email"], "anna@bank.example");
    let done = run(&api).await;
    assert_eq!(by_cookie.event("functions.f").await["payload"]["$id"], done["$id"]);
    let bo = larder.sign_in("bo@bank.example").await;
    for (message, code) in [
        (session(&bo), 1008),
        (json!({ "type": "authentication", "data": { "session": "x" } }), 1008),
        (json!({ "type": "authentication" }), 1008),
        (json!("ping"), 1003),
        (json!({ "type": "nonsense" }), 1003),
        (json!({ "type": "subscribe", "data": {} }), 1003),
        (json!({ "type": "subscribe", "data": [{ "channels": [""] }] }), 1003),
    ] {
        let mut socket = open(&larder, query, &[]).await.expect("a socket");
        socket.next().await.unwrap();
        let error = socket.ask(message.clone()).await;
        assert_eq!((&error["type"], &error["data"]["code"]), (&json!("error"), &json!(code)), "{message}: {error}");
        assert!(socket.next().await.is_none(), "{message}");
    }
    // A message that is too large ends the socket.
    let mut socket = open(&larder, query, &[]).await.expect("a socket");
    socket.next().await.unwrap();
    let large = Message::text("x".repeat(100 << 10));
    let _ = socket.0.send(large).await;
    assert!(socket.next().await.is_none());
});

both!(sockets_are_bounded_by_partner_and_address, async |on| {
    let options = Options::on(on).set("LARDER_SERVER__PROXIES", r#"["127.0.0.0/8"]"#);
    let larder = Larder::start_with(options.set("LARDER_DOORS__API", "0.0.0.0/0")).await;
    larder.partner("other").await;
    let key = larder.key().to_owned();
    // Strangers take none of the partner's places.
    let mut strangers = Vec::new();
    for at in 0..40 {
        let from = format!("203.0.113.{at}");
        strangers.push(open(&larder, "project=demo", &[("x-forwarded-for", &from)]).await.expect("a socket"));
    }
    let mut open_ones = Vec::new();
    for at in 0..32 {
        let from = format!("198.51.100.{}", at % 4);
        let headers = [("x-forwarded-for", from.as_str()), ("x-appwrite-key", &key)];
        open_ones.push(open(&larder, "project=demo", &headers).await.expect("a socket"));
    }
    let last = [("x-forwarded-for", "198.51.100.9"), ("x-appwrite-key", key.as_str())];
    assert_eq!(open(&larder, "project=demo", &last).await.err(), Some(429));
    larder.administrator("anna@bank.example", json!([{ "partnerId": "demo", "role": "administrator" }])).await;
    let anna = larder.sign_in("anna@bank.example").await;
    let session = json!({ "type": "authentication", "data": { "session": anna.split_once('=').unwrap().1 } });
    strangers[0].next().await.unwrap();
    assert_eq!(strangers[0].ask(session).await["data"]["code"], 1013);
    let mut others =
        vec![open(&larder, "project=other", &[("x-forwarded-for", "198.51.100.9")]).await.expect("a socket")];
    // One address: eight of its sockets are the other partner's above.
    for _ in 0..24 {
        others.push(open(&larder, "project=other", &[("x-forwarded-for", "198.51.100.0")]).await.expect("a socket"));
    }
    assert_eq!(open(&larder, "project=other", &[("x-forwarded-for", "198.51.100.0")]).await.err(), Some(429));
    open_ones.truncate(8);
    larder_tests::eventually("a place", async || open(&larder, "project=demo", &last).await.ok().map(drop)).await;
});

#[tokio::test(flavor = "multi_thread")]
async fn sockets_tell_of_other_processes() {
    let objects = tempfile::tempdir().expect("a temporary folder");
    let options =
        || Options::on(Backend::Services).set("LARDER_OBJECTS__URL", format!("file://{}", objects.path().display()));
    let larder = Larder::start_with(options()).await;
    larder.api().deploy("f", &guests::guest("hello-http"), json!({ "routes": ["/"], "execute": ["any"] })).await;
    let other = larder.start_beside(options()).await;
    let key = [("x-appwrite-key", larder.key())];
    let mut socket = open(&larder, "project=demo&channels[]=executions", &key).await.expect("a socket");
    socket.next().await.unwrap();
    // Some calls may end before the other process has heard that somebody watches.
    let told = loop {
        other.web("demo", reqwest::Method::GET, "/hello").send().await.expect("an answer");
        if let Ok(told) = tokio::time::timeout(Duration::from_millis(300), socket.event("functions.f")).await {
            break told;
        }
    };
    assert_eq!(told["payload"]["functionId"], "f");
}
