//! Why something was saved: from the event over runs and what they emitted to what was saved, and back.

use larder_tests::{Larder, both, eventually, guests};
use serde_json::json;

use super::signed_in;

/// The address in a page that begins so.
fn link(page: &larder_tests::Shown, start: &str) -> String {
    let tags = page.tags();
    let mut links = tags.iter().filter_map(|tag| tag.attributes.get("href"));
    links.find(|to| to.starts_with(start)).unwrap_or_else(|| panic!("no {start} in {}", page.html)).clone()
}

both!(a_saving_is_explained_from_its_event_and_back, async |on| {
    let larder = Larder::start_on(on).await;
    let (api, probe) = (larder.api(), guests::guest("probe"));
    api.deploy("start", &probe, json!({ "events": ["probe.emit"] })).await;
    api.deploy("saver", &probe, json!({ "events": ["probe.slow"] })).await;
    api.deploy("fan", &probe, json!({ "events": ["probe.emit"], "per": "enrolment" })).await;
    // Whom it saves for.
    api.enrol("saver", "clock", "clock", json!({})).await;
    let mut tab = signed_in(&larder, "anna@bank.example").await;
    // An event is sent by the console, with the checks of the API, and once however often the form is sent.
    let form = tab.go("/depo/send-event?type=probe.emit").await.is(200);
    let (kind, data) = (("type", "probe.emit"), ("data", r#"{"type": "probe.slow"}"#));
    let refused = tab.submit(&form, "/depo/events/send", &[kind, ("data", "{")]).await;
    assert!(refused.status == 400 && refused.html.contains("data"), "{}", refused.html);
    tab.submit(&form, "/depo/events/send", &[("type", ""), data]).await.is(400);
    assert!(tab.go("/depo/events").await.is(200).html.contains("No event fits"));
    let subject = ("subject", "ål %\"1");
    let sent = tab.submit(&form, "/depo/events/send", &[kind, data, subject]).await.is(200);
    let sent = sent.says("The event is accepted.").says("ål %&#34;1").says("/console");
    let again = tab.submit(&form, "/depo/events/send", &[kind, data, subject]).await.is(200);
    assert_eq!(again.path, sent.path);
    eventually("the saving", async || (api.transactions().await.len() == 1).then_some(())).await;
    // The event says what it set off, and what that set off.
    let event = eventually("the tree", async || {
        let page = tab.go(&sent.path).await.is(200);
        page.html.contains("/depo/functions/saver/runs/").then_some(page)
    })
    .await;
    let (first, last) = (link(&event, "/depo/functions/start/runs/"), link(&event, "/depo/functions/saver/runs/"));
    assert!(event.html.contains("depth-1") && event.html.contains("depth-5"), "{}", event.html);
    assert!(!event.html.contains("depth-6"), "{}", event.html);
    // The run that saved says which run caused it, with the data, and how to run it again.
    let run = tab.go(&last).await.is(200).says("SEK\u{a0}1").says("Emitted by the run").says(&first);
    let emitted = link(&run, "/depo/events/");
    run.says("larder test --sandbox --recorded");
    // And the first run says what it emitted.
    let run = tab.go(&first).await.is(200).says("probe.slow").says("probe.emit");
    assert!(run.html.contains(&emitted), "{}", run.html);
    tab.go(&emitted).await.is(200).says("Emitted by the run").says(&first);
    // What comes from outside has no cause.
    api.event("x-1", "probe.none", None, json!({})).await.is(202);
    let all = tab.go("/depo/events").await.is(200).says("probe.none").says("probe.slow").says("probe.emit");
    assert!(!tab.go(&link(&all, "/depo/events/0")).await.is(200).html.contains("Emitted by the run"));
    // The list is filtered by type and goes on from a row; the form takes the shape of the last one.
    let some = tab.go("/depo/events?type=probe.slow").await.is(200);
    assert!(some.html.contains("probe.slow") && !some.html.contains("probe.none"), "{}", some.html);
    let row = emitted.rsplit('/').next().expect("an id");
    let older = tab.go(&format!("/depo/events?after={row}")).await.is(200);
    assert!(older.html.contains("probe.emit") && !older.html.contains("probe.slow"), "{}", older.html);
    tab.go("/depo/events?after=%27").await.is(400);
    tab.go("/depo/send-event?type=probe.emit").await.is(200).says("{&#34;type&#34;: &#34;probe.slow&#34;}");
});
