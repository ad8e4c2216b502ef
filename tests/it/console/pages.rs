//! Every page: what is reached from the first, what each is made of, and what texts of others do in it.

use std::collections::{BTreeMap, BTreeSet};

use larder_tests::{Api, Larder, PASSWORD, Shown, Tab, both, eventually, guests};
use reqwest::Method;
use serde_json::json;

use super::{DEPO, META, of, printed, signed_in};

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      form-action 'self'; frame-ancestors 'none'; base-uri 'none'; require-trusted-types-for 'script'";

/// What holds for every page of a console, whatever it shows.
fn check(page: &Shown) {
    let at = &page.path;
    for (name, value) in [
        ("content-security-policy", POLICY),
        ("referrer-policy", "no-referrer"),
        ("x-content-type-options", "nosniff"),
        ("x-frame-options", "DENY"),
        ("cross-origin-opener-policy", "same-origin"),
        ("cross-origin-embedder-policy", "require-corp"),
        ("cross-origin-resource-policy", "same-origin"),
        ("cache-control", "no-store"),
    ] {
        assert_eq!(page.header(name), value, "{at}: {name}");
    }
    assert_eq!(page.header("content-type"), "text/html; charset=utf-8", "{at}");
    let tags = page.tags();
    let count = |name: &str| tags.iter().filter(|tag| tag.name == name).count();
    for once in ["h1", "main", "body", "html"] {
        assert_eq!(count(once), 1, "{at}: {once}: {}", page.html);
    }
    assert!(tags.iter().any(|tag| tag.name == "html" && tag.attributes.contains_key("lang")), "{at}");
    let mut ids = BTreeSet::new();
    let mut labels = BTreeSet::new();
    for tag in &tags {
        if let Some(id) = tag.attributes.get("id") {
            assert!(ids.insert(id.clone()), "{at}: the id {id} occurs twice");
        }
        labels.extend(tag.attributes.get("for").cloned());
        for (name, value) in &tag.attributes {
            assert!(!name.starts_with("on") && name != "style", "{at}: {tag:?}");
            if matches!(name.as_str(), "href" | "src" | "action" | "formaction") {
                let own = value.starts_with("/depo") || value.starts_with("/meta_depo") || value.starts_with('#');
                assert!(own, "{at}: {tag:?} leads elsewhere");
            }
        }
        match tag.name.as_str() {
            "th" => assert!(tag.attributes.contains_key("scope"), "{at}: {tag:?}"),
            "style" => panic!("{at}: {tag:?}"),
            "script" => assert!(tag.attributes.contains_key("src") && tag.text.is_empty(), "{at}: {tag:?}"),
            _ => {}
        }
    }
    for tag in tags.iter().filter(|tag| matches!(tag.name.as_str(), "input" | "select" | "textarea")) {
        let kind = tag.attributes.get("type").map_or("", String::as_str);
        let in_label = matches!(kind, "hidden" | "radio" | "checkbox");
        let labelled = tag.attributes.get("id").is_some_and(|id| labels.contains(id));
        assert!(in_label || labelled || tag.attributes.contains_key("aria-label"), "{at}: {tag:?}");
    }
    for tag in tags.iter().filter(|tag| tag.name == "form" && tag.attributes.get("method").is_some_and(|m| m == "post"))
    {
        assert!(page.html.contains("name=\"form_token\" value=\""), "{at}: {tag:?}");
    }
}

/// Goes to every page that can be reached by links from this one.
pub(super) async fn crawl(tab: &mut Tab, from: &str) -> BTreeMap<String, Shown> {
    let mut waiting = vec![from.to_owned()];
    let mut seen: BTreeMap<String, Shown> = BTreeMap::new();
    while let Some(path) = waiting.pop() {
        if seen.contains_key(&path) || path.contains("/assets/") {
            continue;
        }
        let page = tab.go_once(&path).await.is(200);
        check(&page);
        for tag in page.tags() {
            if let Some(to) = tag.attributes.get("href").filter(|to| to.starts_with('/')) {
                waiting.push(to.clone());
            }
        }
        seen.insert(path, page);
        assert!(seen.len() < 300, "there is no end");
    }
    seen
}

/// A tag that no template has, within what closes an attribute, a text, a script.
const EVIL: &str = "'\">--></script></pre><evil onload=x>";

/// Fills a partner with data whose every text is hostile.
pub(super) async fn fill(larder: &Larder) {
    let api = larder.api();
    let (name, probe) = (format!("f{EVIL}"), guests::guest("probe"));
    let events = json!({ "name": name, "events": ["probe.save", "probe.attributes"], "schedule": "0 6 * * *", "routes": ["/x"] });
    api.deploy("mine", &probe, events).await;
    api.deploy("never", &probe, json!({ "name": name, "events": ["probe.retry"], "limits": { "attempts": 1 } })).await;
    api.deploy("fan", &probe, json!({ "name": name, "events": ["probe.who", "probe.slow"], "per": "enrolment" })).await;
    api.create_function("empty", json!({ "name": name, "enabled": false })).await.is(201);
    api.post("/functions/mine/variables", json!({ "variableId": "v", "key": "TOKEN", "value": "s3cret" }))
        .await
        .is(201);
    api.post("/upstreams", json!({ "name": "bank", "url": "https://bank.example" })).await.is(201);
    let mapping = larder_tests::aggregator::mapping();
    api.post("/feeds", json!({ "name": "pushed", "push": true, "mapping": mapping })).await.is(201);
    let rule = json!({ "domain": "mine.functions.localhost", "functionId": "mine" });
    api.post("/proxy/rules/function", rule).await.is(201);
    larder.operator().post("/partners/demo/keys", json!({ "name": name, "scopes": ["functions.read"] })).await.is(201);
    api.enrol("mine", EVIL, EVIL, json!({})).await;
    // Whom the function saves for.
    api.enrol("mine", "clock", "clock", json!({})).await;
    api.enrol("fan", EVIL, EVIL, json!({})).await;
    // The memo of what is saved is the event's id.
    api.event(EVIL, "probe.save", Some(EVIL), json!({ "amount": "1234.50", "text": EVIL })).await.is(202);
    let told =
        json!({ "specversion": "1.0", "id": "told", "source": "/tests", "type": "probe.attributes", "tone": EVIL });
    let request = api.request(Method::POST, "/events").header("content-type", "application/cloudevents+json");
    Api::send(request.body(told.to_string())).await.is(202);
    api.event("no", "probe.retry", None, json!({ "text": format!("\u{202e}{EVIL}") })).await.is(202);
    api.event("who", "probe.who", Some(EVIL), json!({})).await.is(202);
    let action = json!({ "action": "discard", "functionId": "mine", "reason": "none of them" });
    let action = api.post("/bulk-actions", action).await.is(202);
    let pause = format!("/bulk-actions/{}/pause", action["$id"].as_str().unwrap());
    api.post(&pause, json!({})).await.is(200);
    // What it has, and one thing more, which waits for an approval.
    let mut asked = api.get("/functions/mine/grants").await.is(200)["grants"].clone();
    asked["http"] = json!([{ "hosts": ["bank.example"] }]);
    let deployment = api.upload_asking("mine", &probe, true, asked).await.is(202);
    let built = api.built("mine", &deployment).await;
    assert_eq!(built["status"], "ready", "{}", built["buildLogs"]);
    eventually("everything to have run", async || {
        let ended = api.get("/fanouts").await.is(200)["fanouts"][0]["status"] == "completed";
        let saved = api.transactions().await.len() == 1;
        let given_up = api.get("/dead-letters").await.is(200)["total"] == 1;
        (ended && saved && given_up && api.executions("mine").await.len() == 2).then_some(())
    })
    .await;
}

both!(texts_of_others_are_texts_on_every_page, async |on| {
    let larder = Larder::start_on(on).await;
    fill(&larder).await;
    let name = format!("n{EVIL}");
    let evil = json!({ "email": "evil@bank.example", "name": name, "password": PASSWORD, "roles": of("demo") });
    larder.operator().post("/operator/administrators", evil).await.is(201);
    let mut tab = Tab::at(&larder, DEPO.0);
    tab.more.push(("user-agent", format!("agent{EVIL}")));
    tab.sign_in(DEPO.1, "evil@bank.example", PASSWORD, "").await.is(200);
    let pages = crawl(&mut tab, DEPO.1).await;
    let mut shown = 0;
    for (path, page) in &pages {
        let tags = page.tags();
        assert!(tags.iter().all(|tag| tag.name != "evil"), "{path}: {}", page.html);
        assert!(!page.html.contains('\u{202e}'), "{path} shows text that turns what is around it");
        shown += page.html.matches("&#60;evil onload=x&#62;").count();
        assert!(!page.html.contains("s3cret") && !page.html.contains("argon2"), "{path}");
    }
    assert!(shown > 30, "only {shown} hostile texts are shown");
    // Each screen has what it is for.
    let html_of = |start: &str| {
        pages.iter().filter(|(path, _)| path.starts_with(start)).map(|(_, page)| page.html.as_str()).collect::<String>()
    };
    for (start, texts) in [
        (
            "/depo/functions/mine",
            &["TOKEN", "0 6 * * *", "may keep state", "Deployment", "Approve exactly this", "bank.example"][..],
        ),
        (
            "/depo/functions/mine/runs/",
            &["Event", "SEK\u{a0}1,234.50", "larder executions get mine", "<meter", "It needed no approval."],
        ),
        ("/depo/events/", &["probe.save", "tone", "What it set off"]),
        ("/depo/transactions", &["SEK\u{a0}1,234.50", "Sums of the day"]),
        ("/depo/fanouts/", &["Succeeded", "Completed"]),
        ("/depo/dead-letters", &["not yet", "Redrive", "Discard this dead letter?", "By reason"]),
        ("/depo/confirm-bulk-action", &["Redrive all of these?", "not yet"]),
        ("/depo/bulk-actions/", &["Paused", "Resume", "none of them"]),
        ("/depo/approvals", &["bank.example", "Look at"]),
        ("/depo/enrolments", &["Active"]),
        ("/depo/sources", &["bank.example", "pushed"]),
        ("/depo/schedules", &["0 6 * * *", "fires once for each of its times", "scheduler.catch_up"]),
        ("/depo/settings", &["mine.functions.localhost", "functions.read", "evil@bank.example"]),
        ("/depo", &["0 6 * * *", "role=\"img\"", "by this time a week before", "Dead letters by reason"]),
    ] {
        let html = html_of(start);
        assert!(!html.is_empty(), "{start}: {:?}", pages.keys());
        for text in texts {
            assert!(html.contains(text), "{start} does not say {text}");
        }
    }
    // The same savings as a file, in which a text is no formula.
    let file = tab.go_once("/depo/transactions/export?function=mine").await.is(200);
    assert_eq!(file.header("content-type"), "text/csv; charset=utf-8; header=present");
    assert!(file.header("content-disposition").starts_with("attachment; filename=\"savings-20"), "{:?}", file.headers);
    let lines: Vec<&str> = file.html.lines().collect();
    assert_eq!((lines.len(), lines[0]), (2, "transaction,created,function,execution,endUser,amount,currency,memo"));
    assert!(lines[1].contains(",1234.50,SEK,") && lines[1].contains(",mine,"), "{}", lines[1]);
    assert_eq!(tab.go_once("/depo/transactions/export?user=nobody").await.is(200).html.lines().count(), 1);
    assert_eq!(tab.go_once("/depo/transactions/export?day=x").await.status, 400);
    // Of another partner's data nothing is reached, whatever the address says.
    larder.partner("other").await;
    larder.administrator("bo@bank.example", of("other")).await;
    let mut bo = Tab::at(&larder, "other.localhost");
    bo.sign_in("/depo", "bo@bank.example", PASSWORD, "").await.is(200);
    for path in pages.keys().filter(|path| path.matches('/').count() > 2) {
        let status = bo.go_once(path).await.status;
        assert_eq!(status, 404, "{path}");
    }
    for path in [
        "/depo/functions",
        "/depo/transactions",
        "/depo/fanouts",
        "/depo/bulk-actions",
        "/depo/dead-letters",
        "/depo/approvals",
        "/depo/enrolments",
        "/depo/sources",
        "/depo/settings",
        "/depo",
    ] {
        let page = bo.go(path).await.is(200);
        assert!(!page.html.contains("evil onload"), "{path}: {}", page.html);
    }
    // Addresses that are no good are refused as pages.
    for (path, status) in [
        ("/depo/transactions?day=<script>", 400),
        ("/depo/transactions?after=nobody", 400),
        ("/depo/functions/%3Cevil%3E", 400),
        ("/depo/functions/nobody", 404),
        ("/depo/functions/mine/runs?status=%27%22%3E%3Cevil%3E", 200),
    ] {
        let page = tab.go_once(path).await.is(status);
        check(&page);
        assert!(page.tags().iter().all(|tag| tag.name != "evil"), "{path}: {}", page.html);
    }
    // What a form does is what the API does, by this person.
    let deployment = pages
        .keys()
        .find(|path| path.contains("/deployments/") && pages[*path].html.contains("Approve exactly"))
        .unwrap();
    let page = tab.go(deployment).await;
    let approve = format!("{}/approve", deployment.split('?').next().unwrap());
    tab.submit(&page, &approve, &[]).await.is(200).says("Approved.");
    let changes = larder.api().get("/grants/changes").await.is(200).to_string();
    assert!(changes.contains("\"keyId\":\"admin-") && changes.contains("approved"), "{changes}");
    tab.submit(&page, &approve, &[]).await.is(409);
    let page = tab.go("/depo/functions/empty").await;
    let page = tab.submit(&page, "/depo/functions/empty/enable", &[]).await.is(200).says("The function is enabled.");
    assert_eq!(larder.api().get("/functions/empty").await.is(200)["enabled"], true);
    tab.submit(&page, "/depo/functions/empty/disable", &[]).await.is(200).says("The function is disabled");
    assert_eq!(larder.api().get("/functions/empty").await.is(200)["enabled"], false);
    let page = tab.go("/depo/dead-letters").await;
    // All of a group: asked for on a page that says what it is, and undone before it begins.
    let mut links = page.tags().into_iter().filter_map(|tag| tag.attributes.get("href").cloned());
    let all = links.find(|to| to.starts_with("/depo/confirm-bulk-action?action=discard")).unwrap();
    let asking = tab.go(&all).await.is(200).says("It can be undone for 10 s.");
    let asked = tab.submit(&asking, "/depo/bulk-actions", &[]).await.is(200).says("Asked for.").says("Waiting");
    let undo = format!("{}/cancel", asked.path.split('?').next().unwrap());
    tab.submit(&asked, &undo, &[]).await.is(200).says("Cancelled.");
    // Some of the list: the rows whose boxes are checked, and none without one.
    tab.submit(&page, "/depo/bulk-actions", &[("action", "redrive")]).await.is(400).says("no row was chosen");
    let boxes = page.tags().into_iter().filter(|tag| tag.attributes.get("form").is_some_and(|form| form == "chosen"));
    let id = boxes.filter_map(|tag| tag.attributes.get("value").cloned()).next().unwrap();
    let asked = tab.submit(&page, "/depo/bulk-actions", &[("action", "discard"), ("id", &id)]).await.is(200);
    let undo = format!("{}/cancel", asked.path.split('?').next().unwrap());
    tab.submit(&asked, &undo, &[]).await.is(200).says("Cancelled.");
    let dead = page
        .tags()
        .into_iter()
        .filter_map(|tag| tag.attributes.get("action").cloned())
        .find(|to| to.ends_with("/redrive"))
        .unwrap();
    tab.submit(&page, &dead, &[]).await.is(200).says("Back in the queue.");
    let page = eventually("the run to be given up again", async || {
        let page = tab.go(&dead.replace("/redrive", "/discard")).await;
        (page.status == 200).then_some(page)
    })
    .await;
    tab.submit(&page, &dead.replace("/redrive", "/discard"), &[]).await.is(200).says("Discarded.");
    assert_eq!(larder.api().get("/dead-letters").await.is(200)["total"], 0);
    larder.api().event("slow", "probe.slow", Some(EVIL), json!({ "ms": 8_000 })).await.is(202);
    let fanout = eventually("the fan-out", async || {
        let all = larder.api().get("/fanouts").await.is(200);
        let mut running = all["fanouts"].as_array().unwrap().iter().filter(|fanout| fanout["status"] == "running");
        running.next().map(|fanout| format!("/depo/fanouts/{}", fanout["$id"].as_str().unwrap()))
    })
    .await;
    let page = tab.go(&fanout).await;
    let page = tab.submit(&page, &format!("{fanout}/pause"), &[]).await.is(200).says("Paused.");
    let page = tab.submit(&page, &format!("{fanout}/resume"), &[]).await.is(200).says("Resumed.");
    assert!(page.html.contains(&format!("{fanout}/cancel")), "{}", page.html);
    let page = tab.go(&format!("{fanout}/cancel")).await.is(200).says("It ends for good.");
    tab.submit(&page, &format!("{fanout}/cancel"), &[]).await.is(200).says("Cancelled.");
    tab.submit(&page, &format!("{fanout}/cancel"), &[]).await.is(409);
});

both!(every_page_is_reached_and_whole, async |on| {
    let larder = Larder::start_on(on).await;
    let mut tab = signed_in(&larder, "anna@bank.example").await;
    let pages = crawl(&mut tab, DEPO.1).await;
    for page in ["/depo", "/depo/look", "/depo/sessions", "/depo/second-factor"] {
        assert!(pages.contains_key(page), "{page}: {:?}", pages.keys());
    }
    let mut operator = Tab::at(&larder, META.0);
    let page = operator.go(&printed(&larder, "operator")).await.is(200);
    check(&page);
    operator.submit(&page, "/meta_depo/enter", &[]).await.is(200);
    let pages = crawl(&mut operator, META.1).await;
    for page in [
        "/meta_depo",
        "/meta_depo/processes",
        "/meta_depo/settings",
        "/meta_depo/settings?only=changed",
        "/meta_depo/look",
        "/meta_depo/sessions",
    ] {
        assert!(pages.contains_key(page), "{page}: {:?}", pages.keys());
    }
    // What the command line or a variable has set says so; a default does not stand among them.
    let changed = &pages["/meta_depo/settings?only=changed"].html;
    assert!(changed.contains("server.listen") && !changed.contains(">default<"), "{changed}");
    assert!(pages["/meta_depo/settings"].html.contains("worker.lease"));
    // What is refused is a page, too.
    for (path, status) in [("/depo/nothing", 404), ("/depo/sign-out", 405), ("/depo/set-password?token=x", 404)] {
        check(&tab.go_once(path).await.is(status));
    }
    check(&Tab::at(&larder, DEPO.0).go("/depo").await.is(200));
    // Stylesheet and script are kept, and say nothing.
    let mut anybody = Tab::at(&larder, DEPO.0);
    for (asset, kind) in [("console.css", "text/css"), ("console.js", "text/javascript"), ("icon.svg", "image/svg+xml")]
    {
        let shown = anybody.go_once(&format!("/depo/assets/{asset}")).await.is(200);
        assert!(shown.header("content-type").starts_with(kind) && shown.header("cache-control").contains("immutable"));
        assert_eq!(shown.header("content-security-policy"), POLICY);
    }
    anybody.go_once("/depo/assets/..%2fconsole.css").await.is(404);
});
