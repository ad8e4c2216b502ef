//! What a page is told of while somebody looks at it, and who is told nothing.

use std::time::Duration;

use larder_tests::{Larder, PASSWORD, Shown, Tab, both, guests};
use reqwest::{Method, RequestBuilder, Response};
use serde_json::{Value, json};

use super::{DEPO, of, signed_in};

/// Longer than rights are looked up again.
const BEAT: Duration = Duration::from_secs(20);

/// The token that stands in a page.
fn token(page: &Shown) -> String {
    let tags = page.tags();
    let live = tags.iter().find(|tag| tag.attributes.get("id").is_some_and(|id| id == "live"));
    live.unwrap_or_else(|| panic!("{} is not told of anything", page.path)).attributes["data-page"].clone()
}

fn asking(tab: &Tab, token: &str) -> RequestBuilder {
    tab.request(Method::GET, "/depo/stream").header("sec-fetch-site", "same-origin").header("x-larder-page", token)
}

struct Stream {
    answer: Response,
    text: String,
}

impl Stream {
    /// The stream of a page.
    async fn of(tab: &mut Tab, path: &str) -> Stream {
        let page = tab.go(path).await.is(200);
        Stream::begun(asking(tab, &token(&page))).await
    }

    async fn begun(request: RequestBuilder) -> Stream {
        let answer = request.send().await.expect("an answer");
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        assert_eq!(answer.headers()["cache-control"], "no-store");
        Stream { answer, text: String::new() }
    }

    /// The next message; `None` at the end.
    async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some((message, rest)) = self.text.split_once("\n\n") {
                let data = message.lines().find_map(|line| line.strip_prefix("data: ")).map(str::to_owned);
                self.text = rest.to_owned();
                if let Some(data) = data {
                    return Some(serde_json::from_str(&data).expect("JSON"));
                }
                continue;
            }
            let chunk = tokio::time::timeout(BEAT, self.answer.chunk()).await.expect("a message in time");
            self.text += std::str::from_utf8(&chunk.expect("a whole stream")?).expect("text");
        }
    }

    /// The next message in which something is true.
    async fn until(&mut self, what: &str, is: impl Fn(&Value) -> bool) -> Value {
        loop {
            let message = self.next().await.unwrap_or_else(|| panic!("the stream ended before {what}"));
            if is(&message) {
                return message;
            }
        }
    }
}

both!(a_page_is_told_of_what_happens, async |on| {
    let larder = Larder::start_on(on).await;
    let api = larder.api();
    let probe = guests::guest("probe");
    api.deploy("mine", &probe, json!({ "events": ["probe.slow"] })).await;
    // Whom it saves for.
    api.enrol("mine", "clock", "clock", json!({})).await;
    api.deploy("other", &probe, json!({ "events": ["probe.retry"], "limits": { "attempts": 1 } })).await;
    let mut tab = signed_in(&larder, "anna@bank.example").await;
    // The numbers of the first page are there at once, and again when something waits.
    let mut today = Stream::of(&mut tab, "/depo").await;
    let first = today.next().await.expect("a message");
    assert_eq!(first["texts"]["count-dead-letters"], "0", "{first}");
    assert!(first["page"].as_str().is_some_and(|page| page.contains(".today")) && first["at"].is_string(), "{first}");
    let mut runs = Stream::of(&mut tab, "/depo/functions/mine/runs").await;
    let mut others = Stream::of(&mut tab, "/depo/functions/other/runs").await;
    let mut dead = Stream::of(&mut tab, "/depo/dead-letters").await;
    let mut live = Stream::of(&mut tab, "/depo/live").await;
    let mut filtered = Stream::of(&mut tab, "/depo/live?function=other").await;
    for stream in [&mut runs, &mut others, &mut dead, &mut live, &mut filtered] {
        let first = stream.next().await.expect("a message");
        assert!(first.get("new").is_none() && first.get("cut").is_none(), "{first}");
    }
    api.event("slow", "probe.slow", None, json!({ "ms": 2_000 })).await.is(202);
    let run = larder_tests::eventually("the run to begin", async || {
        let runs = api.executions("mine").await;
        runs.first().map(|run| run["$id"].as_str().expect("an id").to_owned())
    })
    .await;
    // A run that goes on is told of until it ends; one that has ended is not.
    let path = format!("/depo/functions/mine/runs/{run}");
    let mut one = Stream::of(&mut tab, &path).await;
    one.until("the end of the run", |message| message["over"] == true).await;
    assert!(!tab.go(&path).await.is(200).html.contains("data-page"));
    let told = runs.until("a new run", |message| message["new"] == 1).await;
    assert!(told.get("missed").is_none(), "{told}");
    let told = live.until("the run", |message| message["rows"].is_array()).await;
    let row = &told["rows"][0];
    assert_eq!((&row["href"], &row["state"], &row["cells"][0]), (&json!(path), &json!("completed"), &json!("mine")));
    // What is given up is told where it is looked for.
    api.event("no", "probe.retry", None, json!({ "text": "<b>" })).await.is(202);
    others.until("a new run", |message| message["new"] == 1).await;
    dead.until("a dead letter", |message| message["new"] == 1).await;
    today.until("a dead letter", |message| message["texts"]["count-dead-letters"] == "1").await;
    let told = filtered.until("the run", |message| message["rows"].is_array()).await;
    assert_eq!((&told["rows"][0]["state"], told["rows"].as_array().map(Vec::len)), (&json!("buried"), Some(1)));
    // Whoever was away knows what is true now, or that something is not known.
    for (path, is_cut) in [("/depo", false), ("/depo/dead-letters", true)] {
        let page = tab.go(path).await.is(200);
        let mut again = Stream::begun(asking(&tab, &token(&page)).header("last-event-id", "x")).await;
        let first = again.next().await.expect("a message");
        assert_eq!(first.get("cut").is_some(), is_cut, "{path}: {first}");
    }
    // Only the first page of a list has something new.
    let after = run.as_str();
    let older = tab.go(&format!("/depo/functions/mine/runs?after={after}")).await.is(200);
    assert!(!older.html.contains("data-page"));
});

both!(a_stream_is_of_a_page_and_its_session, async |on| {
    let larder = Larder::start_on(on).await;
    larder.api().deploy("mine", &guests::guest("probe"), json!({ "events": ["probe.slow"] })).await;
    larder.partner("other").await;
    larder.administrator("eve@bank.example", of("other")).await;
    let mut tab = signed_in(&larder, "anna@bank.example").await;
    let mut bo = signed_in(&larder, "bo@bank.example").await;
    let mut eve = Tab::at(&larder, "other.localhost");
    eve.sign_in(DEPO.1, "eve@bank.example", PASSWORD, "").await.is(200);
    let own = token(&tab.go("/depo").await);
    let [bos, eves] = [token(&bo.go("/depo").await), token(&eve.go("/depo").await)];
    let own = own.as_str();
    // A page of a function at the same origin sends the same cookie, but has no token: it cannot read the page.
    let fetched =
        tab.request(Method::GET, "/depo").header("sec-fetch-site", "same-origin").send().await.expect("an answer");
    assert_eq!(fetched.status(), 303);
    let forged = own.replace(".today", ".live");
    let longer = own.replace('.', ".9");
    let mut refused = vec![
        ("without a token", tab.request(Method::GET, "/depo/stream").header("sec-fetch-site", "same-origin")),
        ("an empty token", asking(&tab, "")),
        ("of another topic", asking(&tab, &forged)),
        ("of another time", asking(&tab, &longer)),
        ("of somebody else", asking(&tab, &bos)),
        ("of another partner", asking(&tab, &eves)),
        ("at another partner", asking(&eve, own)),
        ("without a session", asking(&Tab::at(&larder, DEPO.0), own)),
    ];
    for site in ["cross-site", "same-site", "none"] {
        let request = tab.request(Method::GET, "/depo/stream").header("sec-fetch-site", site);
        refused.push((site, request.header("x-larder-page", own)));
    }
    let query = tab.request(Method::GET, &format!("/depo/stream?x-larder-page={own}"));
    refused.push(("in the address", query.header("sec-fetch-site", "same-origin")));
    for (what, request) in refused {
        let answer = request.send().await.expect("an answer");
        assert_eq!(answer.status(), 401, "{what}");
        assert!(!answer.text().await.expect("text").contains("count-"), "{what}");
    }
    // A session has so many, and a stream that is closed gives its place back.
    let mut held = Vec::new();
    for _ in 0..8 {
        held.push(Stream::begun(asking(&tab, own)).await);
    }
    assert_eq!(asking(&tab, own).send().await.expect("an answer").status(), 429);
    assert_eq!(asking(&bo, &bos).send().await.expect("an answer").status(), 200);
    held.truncate(1);
    let mut again = larder_tests::eventually("a place", async || {
        let answer = asking(&tab, own).send().await.expect("an answer");
        (answer.status() == 200).then_some(Stream { answer, text: String::new() })
    })
    .await;
    // It ends with the role, and with the session. Whoever has another one goes on.
    let mut bos = Stream::begun(asking(&bo, &bos)).await;
    let roles = json!({ "roles": of("other") });
    let all = larder.operator().get("/operator/administrators").await.is(200);
    let found = all["administrators"].as_array().expect("a list").iter().find(|one| one["email"] == "bo@bank.example");
    let path = format!("/operator/administrators/{}", found.expect("Bo")["$id"].as_str().expect("an id"));
    larder.operator().patch(&path, roles).await.is(200);
    let page = tab.go("/depo/sessions").await;
    tab.submit(&page, "/depo/sign-out", &[]).await.is(200);
    bos.until("the role has ended", |message| message["ended"] == true).await;
    for stream in [&mut held[0], &mut again] {
        stream.until("the session has ended", |message| message["ended"] == true).await;
        assert!(stream.next().await.is_none());
    }
    assert_eq!(asking(&tab, own).send().await.expect("an answer").status(), 401);
});
