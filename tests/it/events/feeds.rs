//! Feeds: what an aggregator tells becomes savings, once, whatever the aggregator and the processes do.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use larder_tests::aggregator::mapping;
use larder_tests::services::{self, Database};
use larder_tests::upstream::{Received, Reply, Service};
use larder_tests::{Aggregator, Answer, Api, Backend, Cluster, Larder, Options, both, eventually, guests};
use reqwest::Method;
use ring::hmac;
use serde_json::{Value, json};

/// Polls that are given up soon, so that a test sees it.
fn options(on: Backend) -> Options {
    Options::on(on).set("LARDER_FEEDS__TIMEOUT", "2s").set("LARDER_FEEDS__BYTES_MAX", "100000")
}

/// save-league, with one saver who follows AIK: each goal of AIK comes to one transaction.
pub async fn deploy(api: &Api) {
    let grants = json!({
        "state": true, "upstreams": ["aggregator"],
        "transactions": { "SEK": { "max": "500.00", "sum": "50000.00", "period": "day" } },
    });
    api.create_function("save-league", json!({ "events": ["match.goal"], "per": "enrolment" })).await.is(201);
    api.grant("save-league", grants).await;
    let deployment = api.build("save-league", &guests::guest("save-league"), true).await;
    assert_eq!(deployment["status"], "ready", "{}", deployment["buildLogs"]);
    api.enrol("save-league", "anna", "AIK", json!({ "stake": "1.00" })).await;
}

/// A feed of its goals that is polled every second.
pub fn polled(name: &str, path: &str, cursor: bool) -> Value {
    let mut poll = json!({ "upstream": "aggregator", "path": path, "periodSeconds": 1 });
    if cursor {
        poll["cursor"] = json!({ "next": "/next" });
    }
    json!({ "name": name, "poll": poll, "mapping": mapping() })
}

async fn feed(api: &Api, name: &str) -> Value {
    api.get(&format!("/feeds/{name}")).await.is(200)
}

/// The feed, when it is so.
async fn feed_when(api: &Api, name: &str, what: &str, is: impl Fn(&Value) -> bool) -> Value {
    eventually(what, async || Some(feed(api, name).await).filter(|feed| is(feed))).await
}

async fn saved(api: &Api, count: usize) {
    let mut seen = Vec::new();
    eventually(&format!("{count} savings"), async || {
        seen = api.transactions().await;
        (seen.len() >= count).then_some(())
    })
    .await;
    assert_eq!(seen.len(), count, "{seen:?}");
}

both!(feed_items_become_savings_once_despite_kills, async |on| {
    let mut larder = Larder::start_with(options(on)).await;
    let aggregator = Aggregator::empty();
    deploy(&larder.api()).await;
    aggregator.name_to(&larder.api(), "").await;
    for goal in 0..5 {
        aggregator.goal(&format!("g-{goal}"), "AIK").await;
    }
    let made = larder.api().post("/feeds", polled("goals", "/goals?limit=2", true)).await.is(201);
    assert_eq!(
        (&made["status"], &made["owner"], &made["lag"]["goodSeconds"]),
        (&json!("waiting"), &json!("partner"), &Value::Null)
    );
    saved(&larder.api(), 5).await;
    larder.kill();
    aggregator.goal("g-5", "AIK").await;
    aggregator.goal("g-6", "Hammarby").await;
    larder.restart().await;
    let api = larder.api();
    saved(&api, 6).await;
    let feed = feed_when(&api, "goals", "all items", |feed| feed["items"] == 7).await;
    assert_eq!((&feed["status"], &feed["position"], &feed["refused"]), (&json!("ok"), &json!("7"), &json!(0)));
    assert!(feed["lag"]["goodSeconds"].as_f64().unwrap() < 10.0, "{feed}");
    assert!(feed["lag"]["newestItemSeconds"].as_f64().unwrap() < 60.0, "{feed}");
    eventually("the figures", async || {
        let (_, text) = larder.internal("/metrics").await;
        let told = |name: &str| text.contains(&format!("{name}{{owner=\"demo\",feed=\"goals\"}} 1"));
        (told("larder_feed_good_timestamp_seconds") && told("larder_feed_newest_item_timestamp_seconds")).then_some(())
    })
    .await;

    // The same item by hand is known, and what is told of the feed before: it goes on where it was.
    let again = json!({ "specversion": "1.0", "id": "g-0-1", "source": "/matches", "type": "match.goal", "data": {} });
    let request = api.request(Method::POST, "/events").header("content-type", "application/cloudevents+json");
    let answer = Api::try_send(request.body(again.to_string())).await.unwrap().is(202);
    assert_eq!(answer["events"][0]["duplicate"], true);
    // Made anew, the feed reads everything again, and nothing happens again.
    api.delete("/feeds/goals").await.is(204);
    api.get("/feeds/goals").await.is_error(404, "feed_not_found");
    api.post("/feeds", polled("goals", "/goals", true)).await.is(201);
    feed_when(&api, "goals", "the items again", |feed| feed["duplicates"] == 7).await;
    saved(&api, 6).await;
});

both!(unchanged_pages_are_not_read_again, async |on| {
    let larder = Larder::start_with(options(on)).await;
    let (api, aggregator) = (larder.api(), Aggregator::empty());
    deploy(&api).await;
    aggregator.name_to(&api, "").await;
    aggregator.goal("g-0", "AIK").await;
    api.post("/feeds", polled("goals", "/goals", false)).await.is(201);
    eventually("answers without a body", async || (aggregator.asked("notModified").await >= 2).then_some(())).await;
    aggregator.goal("g-1", "AIK").await;
    let feed = feed_when(&api, "goals", "the new item", |feed| feed["items"] == 2).await;
    assert_eq!(
        (&feed["duplicates"], &feed["status"]),
        (&json!(1), &json!("ok")),
        "the first one once more, with the second"
    );
    saved(&api, 2).await;
});

both!(invalid_item_is_named_and_blocks_no_other, async |on| {
    let larder = Larder::start_with(options(on)).await;
    let (api, aggregator) = (larder.api(), Aggregator::empty());
    deploy(&api).await;
    aggregator.name_to(&api, "").await;
    aggregator.goal("g-0", "AIK").await;
    aggregator.tell(json!(7)).await;
    aggregator.tell(json!({ "goal": "g-1", "team": "AIK" })).await;
    aggregator.tell(json!({ "goal": "g-2", "revision": 1, "team": "AIK", "published": "2001-01-01T00:00:00Z" })).await;
    aggregator.goal("g-3", "AIK").await;
    api.post("/feeds", polled("goals", "/goals", true)).await.is(201);
    let feed = feed_when(&api, "goals", "the items", |feed| feed["refused"] == 3).await;
    assert_eq!((&feed["items"], &feed["status"]), (&json!(2), &json!("ok")));
    let why = feed["lastRefused"].as_str().unwrap();
    assert!(why.starts_with("items[3]: it is too old"), "{why}");
    saved(&api, 2).await;
});

both!(misbehaving_aggregator_harms_only_its_own_feed, async |on| {
    let larder = Larder::start_with(options(on).set("LARDER_FEEDS__REST_MAX", "1s")).await;
    let (api, bad, good) = (larder.api(), Aggregator::empty(), Aggregator::empty());
    deploy(&api).await;
    api.deploy("hello", &guests::guest("hello-http"), json!({ "routes": ["/hello"] })).await;
    bad.name_to(&api, "").await;
    good.name_as(&api, "good").await;
    api.post("/feeds", polled("bad", "/goals?limit=2", true)).await.is(201);
    let mut other = polled("good", "/goals", true);
    other["poll"]["upstream"] = "good".into();
    api.post("/feeds", other).await.is(201);
    let mut told = 0;
    for (behaviour, why) in [
        (json!({ "is": "failing" }), "answered 503"),
        (json!({ "is": "slow", "ms": 60_000 }), "no complete answer within 2s"),
        (json!({ "is": "huge" }), "bytes"),
        (json!({ "is": "wrongCursor" }), "the cursor at \"/next\" is not"),
    ] {
        bad.behave(behaviour.clone()).await;
        let failing =
            feed_when(&api, "bad", why, |feed| feed["error"].as_str().is_some_and(|error| error.contains(why))).await;
        assert_eq!(failing["status"], "failing", "{failing}");
        assert!(failing["failures"].as_u64() > Some(0), "{failing}");
        // Meanwhile everything else goes on.
        told += 1;
        good.goal(&format!("good-{told}"), "AIK").await;
        saved(&api, told).await;
        assert_eq!(larder.web("demo", Method::GET, "/hello").send().await.unwrap().status(), 200);
        bad.behave(json!({ "is": "good" })).await;
        feed_when(&api, "bad", "it to recover", |feed| feed["status"] == "ok").await;
    }
    // One that lies about the order or repeats itself without end brings each goal once.
    for behaviour in [json!({ "is": "reordering" }), json!({ "is": "repeating" })] {
        bad.behave(behaviour).await;
        for _ in 0..5 {
            told += 1;
            bad.goal(&format!("bad-{told}"), "AIK").await;
        }
        let before = bad.asked("polls").await;
        eventually("some polls", async || (bad.asked("polls").await >= before + 3).then_some(())).await;
        bad.behave(json!({ "is": "good" })).await;
        saved(&api, told).await;
    }
    let feed = feed(&api, "bad").await;
    assert!(feed["duplicates"].as_u64() > Some(0), "{feed}");
    assert_eq!(feed["items"], 10, "{feed}");
});

/// As a service signs, by Standard Webhooks.
fn signed(secret: &str, id: &str, seconds: i64, body: &str) -> Vec<(&'static str, String)> {
    let key = BASE64_STANDARD.decode(secret.strip_prefix("whsec_").unwrap()).unwrap();
    let signature = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key), format!("{id}.{seconds}.{body}").as_bytes());
    vec![
        ("webhook-id", id.to_owned()),
        ("webhook-timestamp", seconds.to_string()),
        ("webhook-signature", format!("v1,{}", BASE64_STANDARD.encode(signature))),
    ]
}

async fn push(larder: &Larder, feed: &str, headers: &[(&str, String)], body: &str) -> Answer {
    let mut request = larder.api_of(Some("demo"), None).request(Method::POST, &format!("/feeds/{feed}/push"));
    for (name, value) in headers {
        request = request.header(*name, value);
    }
    Api::try_send(request.body(body.to_owned())).await.unwrap()
}

fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64
}

both!(pushed_items_need_a_recent_signature_and_take_effect_once, async |on| {
    let larder = Larder::start_with(options(on).set("LARDER_FEEDS__ITEMS_MAX", "20")).await;
    let api = larder.api();
    deploy(&api).await;
    let made = api.post("/feeds", json!({ "name": "goals", "push": true, "mapping": mapping() })).await.is(201);
    let secret = made["secret"].as_str().unwrap().to_owned();
    assert!(secret.starts_with("whsec_"));
    let shown = feed(&api, "goals").await;
    assert_eq!((shown.get("secret"), &shown["push"]), (None, &json!(true)), "it is told once");

    let item = |goal: &str| {
        let published = chrono::Utc::now().to_rfc3339();
        json!({ "items": [{
            "goal": goal, "revision": 1, "status": "confirmed", "team": "AIK", "minute": 3, "scorer": "Elias Frid",
            "ownGoal": false, "published": published,
        }] })
        .to_string()
    };
    let body = item("p-1");
    let good = signed(&secret, "msg_1", now(), &body);
    let answer = push(&larder, "goals", &good, &body).await.is(200);
    assert_eq!(answer, json!({ "new": 1, "duplicates": 0, "refused": 0 }));
    saved(&api, 1).await;
    // Replayed, it is believed and known.
    assert_eq!(push(&larder, "goals", &good, &body).await.is(200)["duplicates"], 1);

    let other = item("p-2");
    let forged = [
        vec![],
        good.clone(),
        signed(&secret, "msg_2", now() - 330, &other),
        // Time passes until it arrives.
        signed(&secret, "msg_2", now() + 330, &other),
        signed("whsec_c29tZWJvZHkgZWxzZSdzIHNlY3JldA==", "msg_2", now(), &other),
        signed(&secret, "msg_2", now(), &body),
    ];
    let mut said = Vec::new();
    for headers in &forged {
        said.push(push(&larder, "goals", headers, &other).await.is_error(401, "feed_signature_invalid"));
    }
    // Whether there is such a feed, and whether it takes pushes, is not told.
    let unknown = signed(&secret, "msg_2", now(), &other);
    said.push(push(&larder, "other", &unknown, &other).await.is_error(401, "feed_signature_invalid"));
    said.dedup();
    assert_eq!(said.len(), 1, "{said:?}");
    let page = signed(&secret, "msg_3", now(), "{}");
    push(&larder, "goals", &page, "{}").await.is_error(400, "general_argument_invalid");
    let many = json!({ "items": vec![7; 21] }).to_string();
    let why = push(&larder, "goals", &signed(&secret, "msg_3", now(), &many), &many).await;
    let why = why.is_error(400, "general_argument_invalid");
    assert!(why.contains("21 items, up to 20"), "{why}");
    let mixed = json!({ "items": [7, serde_json::from_str::<Value>(&other).unwrap()["items"][0]] }).to_string();
    let answer = push(&larder, "goals", &signed(&secret, "msg_4", now(), &mixed), &mixed).await.is(200);
    assert_eq!((&answer["new"], &answer["refused"]), (&json!(1), &json!(1)));
    assert!(answer["lastRefused"].as_str().unwrap().contains("items[0]"), "{answer}");
    saved(&api, 2).await;

    // While secrets are changed both are good; one that is dropped is not.
    let rotated = api.post("/feeds/goals/secret", json!({})).await.is(200);
    let newer = rotated["secret"].as_str().unwrap().to_owned();
    for (number, secret) in [&secret, &newer].into_iter().enumerate() {
        let body = item(&format!("p-{}", number + 3));
        assert_eq!(push(&larder, "goals", &signed(secret, "msg_5", now(), &body), &body).await.is(200)["new"], 1);
    }
    let newest = api.post("/feeds/goals/secret", json!({ "keepSeconds": 0 })).await.is(200);
    let body = item("p-5");
    for secret in [&secret, &newer] {
        push(&larder, "goals", &signed(secret, "msg_6", now(), &body), &body)
            .await
            .is_error(401, "feed_signature_invalid");
    }
    let newest = newest["secret"].as_str().unwrap();
    assert_eq!(push(&larder, "goals", &signed(newest, "msg_6", now(), &body), &body).await.is(200)["new"], 1);
    saved(&api, 5).await;

    // And by a service that does it by itself.
    let url = format!("http://{}/v1/feeds/goals/push?project=demo", larder.address());
    let aggregator = Aggregator::pushing(&url, newest);
    aggregator.goal("p-6", "AIK").await;
    saved(&api, 6).await;
});

both!(operator_feed_delivers_only_to_listed_partners, async |on| {
    let larder = Larder::start_with(options(on)).await;
    let (operator, aggregator) = (larder.operator(), Aggregator::empty());
    aggregator.name_to(&operator, "/operator").await;
    let mut partners = Vec::new();
    for partner in ["acme", "zeta"] {
        let api = larder.partner(partner).await;
        deploy(&api).await;
        partners.push(api);
    }
    let [acme, zeta] = &partners[..] else { unreachable!() };
    let mut shared = polled("goals", "/goals", true);
    shared["partners"] = json!(["acme", "nobody"]);
    let why = operator.post("/operator/feeds", shared.clone()).await.is_error(400, "general_argument_invalid");
    assert!(why.contains("nobody"), "{why}");
    shared["partners"] = json!(["acme"]);
    operator.post("/operator/feeds", shared).await.is(201);
    aggregator.goal("g-0", "AIK").await;
    saved(acme, 1).await;
    let seen = feed(acme, "goals").await;
    assert_eq!((&seen["owner"], &seen["items"]), (&json!("operator"), &json!(1)));
    for hidden in ["poll", "mapping", "partners", "position", "error"] {
        assert_eq!(seen.get(hidden), None, "{hidden}");
    }
    assert_eq!(zeta.get("/feeds").await.is(200)["total"], 0);
    zeta.get("/feeds/goals").await.is_error(404, "feed_not_found");
    acme.delete("/feeds/goals").await.is_error(404, "feed_not_found");
    acme.patch("/feeds/goals", json!({ "partners": ["acme", "zeta"] })).await.is_error(404, "feed_not_found");

    // From the moment on that it is named, another gets what comes.
    operator.patch("/operator/feeds/goals", json!({ "partners": ["acme", "zeta"] })).await.is(200);
    aggregator.goal("g-1", "AIK").await;
    saved(acme, 2).await;
    saved(zeta, 1).await;
    // A partner's own may not name others, and needs the scope.
    let mut own = polled("own", "/goals", true);
    own["partners"] = json!(["zeta"]);
    acme.post("/feeds", own).await.is_error(400, "general_argument_invalid");
    let key = operator.post("/partners/acme/keys", json!({ "name": "k", "scopes": ["events.write"] })).await.is(201);
    let lesser = larder.api_of(Some("acme"), key["secret"].as_str());
    lesser.get("/feeds").await.is_error(401, "general_unauthorized_scope");
    lesser.post("/feeds", polled("own", "/goals", true)).await.is_error(401, "general_unauthorized_scope");
});

#[tokio::test(flavor = "multi_thread")]
async fn one_scheduler_polls_a_feed_and_another_takes_over_when_it_dies() {
    let database = Database::create_on(services::mariadb_url()).await;
    let mut cluster = Cluster::new(vec![
        ("LARDER_DATABASE__URL", database.url()),
        ("LARDER_REDIS__URL", services::redis_url().into()),
        ("LARDER_REDIS__PREFIX", database.name().into()),
        ("LARDER_EGRESS__PRIVATE_NETWORKS", "[\"127.0.0.0/8\"]".into()),
        ("LARDER_FEEDS__TIMEOUT", "2s".into()),
    ]);
    let web = cluster.start("web").await;
    cluster.start("worker").await;
    let schedulers = [cluster.start("scheduler").await, cluster.start("scheduler").await];
    cluster.make_partner().await;
    let (api, aggregator) = (cluster.api(web), Aggregator::empty());
    deploy(&api).await;
    aggregator.name_to(&api, "").await;
    aggregator.behave(json!({ "is": "slow", "ms": 400 })).await;
    api.post("/feeds", polled("goals", "/goals?limit=3", true)).await.is(201);
    let mut told = 0;
    // Each dies once by SIGKILL, in whatever it does, and once at each of the two points between fetch and commit.
    for round in 0..6 {
        for _ in 0..4 {
            aggregator.goal(&format!("g-{told}"), "AIK").await;
            told += 1;
            tokio::time::sleep(Duration::from_millis(150)).await;
        }
        let at = schedulers[round % 2];
        cluster.kill(at).await;
        if let Some(point) = [None, Some("feed_fetched:1"), Some("feed_taken:1")][round / 2] {
            cluster.launch(at, Some(point));
            eventually("it to die there", async || {
                aggregator.goal(&format!("g-{told}"), "AIK").await;
                told += 1;
                tokio::time::sleep(Duration::from_millis(300)).await;
                cluster.ended(at)
            })
            .await;
        }
        cluster.restart(at).await;
    }
    saved(&api, told).await;
    let feed = feed_when(&api, "goals", "all items", |feed| feed["items"] == told).await;
    assert_eq!(feed["position"], json!(told.to_string()));
    assert_eq!(aggregator.asked("atOnceMax").await, 1, "two polled at once");
    println!(
        "{told} goals through {} polls of two schedulers, each killed three times; {} items came twice",
        aggregator.asked("polls").await,
        feed["duplicates"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn embedded_process_may_die_between_fetch_and_commit() {
    let folder = tempfile::tempdir().unwrap();
    let start = |crash: Option<&str>| {
        let options = Options { data: Some(folder.path().join("data")), ..options(Backend::Embedded) };
        Larder::start_with(if let Some(crash) = crash { options.set("LARDER_CRASH", crash) } else { options })
    };
    let aggregator = Aggregator::empty();
    let larder = start(None).await;
    deploy(&larder.api()).await;
    aggregator.name_to(&larder.api(), "").await;
    larder.api().post("/feeds", polled("goals", "/goals", true)).await.is(201);
    drop(larder);
    for (at, point) in ["feed_fetched:1", "feed_taken:1"].into_iter().enumerate() {
        aggregator.goal(&format!("g-{at}"), "AIK").await;
        let mut larder = start(Some(point)).await;
        larder.ended().await;
    }
    let larder = start(None).await;
    let api = larder.api();
    saved(&api, 2).await;
    assert_eq!(feed_when(&api, "goals", "the items", |feed| feed["items"] == 2).await["position"], "2");
}

both!(command_line_creates_shows_and_deletes_feeds, async |on| {
    let larder = Larder::start_with(options(on)).await;
    let aggregator = Aggregator::start();
    aggregator.name_to(&larder.api(), "").await;
    let run = async |line: &str| larder.cli(larder.scratch(), &line.split(' ').collect::<Vec<_>>()).await;
    let mapping = "--items /items --id {/goal}-{/revision} --source /matches --type match.goal --subject {/team} --time {/published}";
    let (code, _, err) =
        run(&format!("feed create goals --upstream aggregator --path /goals --period 1s --cursor /next {mapping}"))
            .await;
    assert_eq!(code, 0, "{err}");
    feed_when(&larder.api(), "goals", "the matchday", |feed| feed["items"] == 18).await;
    let (code, out, err) = run("feed list").await;
    assert_eq!(code, 0, "{err}");
    assert!(out.lines().any(|line| line.starts_with("goals  partner  ok")), "{out}");
    let (_, out, _) = run("feed show goals").await;
    for line in [
        "status       ok",
        "items        18 new, 0 known, 0 refused",
        "position     18",
        "id           {/goal}-{/revision}",
    ] {
        assert!(out.lines().any(|shown| shown == line), "{line}: {out}");
    }
    let (code, out, err) = run(&format!("feed create pushed --push {mapping}")).await;
    assert_eq!(code, 0, "{err}");
    let first = out.trim().to_owned();
    let (code, out, _) = run("feed rotate pushed --keep 0s").await;
    assert!(code == 0 && out.starts_with("whsec_") && out.trim() != first, "{out}");
    let (code, _, err) = run(&format!("feed create bad --upstream aggregator --path goals {mapping}")).await;
    assert_eq!(code, 1);
    assert!(err.contains("poll.path"), "{err}");
    let (code, _, _) =
        run(&format!("feed create shared --operator --partners demo --upstream aggregator --path /goals {mapping}"))
            .await;
    assert_eq!(code, 0);
    let (_, out, _) = run("feed list --operator").await;
    assert!(out.contains("shared  operator"), "{out}");
    for line in ["feed delete goals", "feed delete pushed", "feed delete shared --operator"] {
        assert_eq!(run(line).await.0, 0, "{line}");
    }
    assert_eq!(larder.api().get("/feeds").await.is(200)["total"], 0);
});

/// A service that tells this, named `told` to the partner, and a feed of it.
async fn told_by(api: &Api, name: &str, answer: impl Fn(&Received) -> Reply + Send + Sync + 'static) -> Service {
    let service = Service::start(answer).await;
    let body = json!({ "name": name, "url": service.url(), "networks": ["127.0.0.0/8"] });
    api.post("/upstreams", body).await.is(201);
    let mut feed = polled(name, "/", false);
    feed["poll"]["upstream"] = json!(name);
    feed["mapping"]["items"] = json!("");
    api.post("/feeds", feed).await.is(201);
    service
}

fn date(seconds: i64) -> String {
    (chrono::Utc::now() + chrono::Duration::seconds(seconds)).format("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

both!(polls_honour_retry_after_and_accept_no_content, async |on| {
    let larder = Larder::start_with(options(on)).await;
    let api = larder.api();
    let mut services = vec![];
    let waits = [("seconds", "1800".to_owned(), 1_700..=1_800), ("date", date(1_800), 1_700..=1_801)];
    for (name, value, _) in &waits {
        let value = value.clone();
        let answer = move |_: &Received| Reply::new(503, "later").header("retry-after", value.clone());
        services.push(told_by(&api, name, answer).await);
    }
    services.push(told_by(&api, "past", |_| Reply::new(429, "now").header("retry-after", date(-60))).await);
    services.push(told_by(&api, "empty", |_| Reply::new(204, "")).await);
    for (name, value, expected) in waits {
        let feed = feed_when(&api, name, "it fails", |feed| feed["failures"] == 1).await;
        let next = chrono::DateTime::parse_from_rfc3339(feed["nextPollAt"].as_str().unwrap()).unwrap();
        let seconds = (next.to_utc() - chrono::Utc::now()).num_seconds();
        assert!(expected.contains(&seconds), "{value}: asked again after {seconds} s");
    }
    feed_when(&api, "past", "it is asked again soon", |feed| feed["failures"].as_u64() > Some(1)).await;
    let empty = feed_when(&api, "empty", "it is polled", |feed| feed["status"] != "waiting").await;
    assert_eq!((&empty["status"], &empty["error"]), (&json!("ok"), &Value::Null), "204 is no items");
});

both!(push_feed_takes_its_senders_secret_and_unix_times, async |on| {
    let larder = Larder::start_with(options(on)).await;
    let api = larder.api();
    let secret = |byte: u8| format!("whsec_{}", BASE64_STANDARD.encode([byte; 24]));
    let (own, bare) = (secret(1), secret(2).replace("whsec_", ""));
    let feed =
        |secret: &str, push: bool| json!({ "name": "orders", "push": push, "secret": secret, "mapping": mapping() });
    for bad in ["whsec_", "not base64 at all, not at all", "whsec_c2hvcnQ="] {
        let why = api.post("/feeds", feed(bad, true)).await.is_error(400, "general_argument_invalid");
        assert!(why.contains("`secret`"), "{why}");
    }
    let mut polled = polled("orders", "/", false);
    polled["secret"] = json!(own);
    api.post("/feeds", polled).await.is_error(400, "general_argument_invalid");
    let made = api.post("/feeds", feed(&own, true)).await.is(201);
    assert_eq!(made.get("secret"), None, "who gave it has it");
    let body = |goal: &str, time: String| {
        format!(r#"{{"items":[{{"goal":"{goal}","revision":1,"team":"AIK","published":{time}}}]}}"#)
    };
    let times = [now().to_string(), (now() * 1_000).to_string(), format!("\"{}\"", now())];
    for (at, time) in times.into_iter().enumerate() {
        let body = body(&format!("o-{at}"), time);
        let answer = push(&larder, "orders", &signed(&own, "msg_1", now(), &body), &body).await.is(200);
        assert_eq!((&answer["new"], &answer["refused"]), (&json!(1), &json!(0)), "{answer}");
    }
    // It is replaced by another of the sender's, as the sender shows it.
    api.post("/feeds/orders/secret", json!({ "secret": bare, "keepSeconds": 0 })).await.is(200);
    let body = body("o-9", now().to_string());
    push(&larder, "orders", &signed(&own, "msg_2", now(), &body), &body).await.is_error(401, "feed_signature_invalid");
    let newer = signed(&secret(2), "msg_2", now(), &body);
    assert_eq!(push(&larder, "orders", &newer, &body).await.is(200)["new"], 1);

    // And on the command line, in which it need not stand.
    std::fs::write(larder.scratch().join("secret"), format!("{own}\n")).unwrap();
    let line = "feed create cli --push --secret-file secret --items /items --id {/goal} --source /s --type t.t --time {/published}";
    let (code, out, err) = larder.cli(larder.scratch(), &line.split(' ').collect::<Vec<_>>()).await;
    assert_eq!((code, out.as_str()), (0, ""), "{err}");
    let headers = signed(&own, "msg_3", now(), &body);
    assert_eq!(push(&larder, "cli", &headers, &body).await.is(200)["new"], 1);
    let (code, _, err) =
        larder.cli(larder.scratch(), &["feed", "rotate", "cli", "--keep", "0s", "--secret", &bare]).await;
    assert_eq!(code, 0, "{err}");
    push(&larder, "cli", &headers, &body).await.is_error(401, "feed_signature_invalid");
});

both!(upstreams_and_feeds_of_a_partner_are_limited, async |on| {
    let low = [("LARDER_FEEDS__PER_PARTNER", "2"), ("LARDER_EGRESS__UPSTREAMS_PER_PARTNER", "1")];
    let larder =
        Larder::start_with(low.into_iter().fold(options(on), |options, (name, value)| options.set(name, value))).await;
    let api = larder.api();
    let upstream = |name: &str| json!({ "name": name, "url": "https://a.example" });
    let feed = |name: &str| json!({ "name": name, "push": true, "mapping": mapping() });
    for (path, cap, bodies) in [
        ("/upstreams", "egress.upstreams_per_partner", vec![upstream("a"), upstream("b")]),
        ("/feeds", "feeds.per_partner", vec![feed("a"), feed("b"), feed("c")]),
    ] {
        let (last, fit) = bodies.split_last().unwrap();
        for body in fit {
            api.post(path, body.clone()).await.is(201);
        }
        let why = api.post(path, last.clone()).await.is_error(413, "project_quota_exceeded");
        assert!(why.contains(cap), "{why}");
        let limits = api.get("/limits").await.is(200).to_string();
        assert!(limits.contains(cap), "{limits}");
        api.delete(&format!("{path}/a")).await.is(204);
        api.post(path, last.clone()).await.is(201);
    }
});

both!(digits_of_numbers_in_items_are_kept, async |on| {
    let larder = Larder::start_with(options(on)).await;
    let api = larder.api();
    let now = chrono::Utc::now().to_rfc3339();
    let item = move |goal: &str| {
        format!(
            r#"{{"goal":{goal},"revision":-0,"team":"AIK","odds":1.10,"far":98765432109876543210987,"published":"{now}"}}"#
        )
    };
    let wholes = ["98765432109876543210987", "-18446744073709551617", "7"];
    let page =
        format!("[{}]", wholes.iter().chain(&["1.5", "1e3", "true"]).map(|n| item(n)).collect::<Vec<_>>().join(","));
    let _service = told_by(&api, "far", move |_| Reply::new(200, page.clone())).await;
    let feed = feed_when(&api, "far", "the items", |feed| feed["items"] != json!(0)).await;
    assert_eq!((&feed["items"], &feed["refused"]), (&json!(3), &json!(3)), "{feed}");
    for id in ["-18446744073709551617--0", "7--0", "98765432109876543210987--0"] {
        let event = json!({ "specversion": "1.0", "id": id, "source": "/matches", "type": "match.goal", "data": {} });
        let request = api.request(Method::POST, "/events").header("content-type", "application/cloudevents+json");
        let answer = Api::try_send(request.body(event.to_string())).await.unwrap().is(202);
        assert_eq!(answer["events"][0]["duplicate"], true, "{id}");
    }
});
