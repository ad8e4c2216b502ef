//! What somebody does from the invitation to the last decision, with the keyboard alone: with the script, and without it.

use larder_tests::{Api, Backend, Browser, Larder, Options, eventually, guests, now};
use serde_json::json;

use super::path;
use super::second_factor::code;

const PASSWORD: &str = "a long enough one";

struct Person {
    browser: Browser,
    origin: String,
}

impl Person {
    /// Goes to a link or button by Tab, and presses Enter.
    async fn follow(&mut self, selector: &str) {
        // A page that watches something loads itself again, but not under somebody who has reached a part of it.
        self.browser.reach(selector).await;
        self.browser.ask("document.documentElement.dataset.left = 'yes'; 0").await;
        self.browser.press("Enter").await;
        self.browser.until("document.readyState === 'complete' && !document.documentElement.dataset.left && document.querySelector('h1')").await;
        assert!(self.browser.complaints.is_empty(), "{selector}: {:?}", self.browser.complaints);
    }

    async fn fill(&mut self, field: &str, text: &str) {
        self.browser.reach(field).await;
        self.browser.fill(text).await;
    }

    async fn sees(&mut self, text: &str) {
        let shown = self.browser.ask("document.querySelector('main').innerText").await;
        assert!(shown.as_str().expect("text").contains(text), "nobody sees {text:?}: {shown}");
    }

    async fn is_at(&mut self, heading: &str) {
        assert_eq!(self.browser.ask("document.querySelector('h1').innerText").await, heading);
    }

    /// To a screen by the navigation.
    async fn screen(&mut self, name: &str) {
        self.follow(&format!("nav.ways a[href='/depo/{name}']")).await;
    }

    async fn sign_in(&mut self, email: &str, code: &str) {
        self.fill("#email", email).await;
        self.fill("#password", PASSWORD).await;
        self.fill("#code", code).await;
        self.follow("main form button").await;
    }

    /// Loads the page again until it shows this.
    async fn watch(&mut self, selector: &str) {
        let begun = std::time::Instant::now();
        while self.browser.ask(&format!("Boolean(document.querySelector({selector:?}))")).await != true {
            assert!(begun.elapsed().as_secs() < 60, "{selector} does not come");
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            let here = self.browser.ask("location.href").await;
            self.browser.go(here.as_str().expect("an address")).await;
        }
    }
}

async fn journey(larder: &Larder, api: &Api, partner: &str, has_script: bool) {
    let (email, function) = (format!("anna@{partner}.example"), "saves");
    let probe = guests::guest("probe");
    api.deploy(function, &probe, json!({ "events": ["probe.save"] })).await;
    api.deploy("never", &probe, json!({ "events": ["probe.retry"], "limits": { "attempts": 1 } })).await;
    api.deploy("fan", &probe, json!({ "events": ["probe.slow"], "per": "enrolment" })).await;
    for function in [function, "fan"] {
        api.enrol(function, "clock", "clock", json!({})).await;
    }
    let arguments = ["admin", "invite", &email, "--administers", partner];
    let (status, link, said) = larder.cli(larder.scratch(), &arguments).await;
    assert_eq!(status, 0, "{said}");
    let port = larder.address().rsplit(':').next().expect("a port").to_owned();
    let mut browser = Browser::start().await;
    browser.allow_scripts(has_script).await;
    let origin = format!("http://{partner}.localhost:{port}");
    let mut person = Person { browser, origin };

    // The invitation: a password, set by a link.
    let link = format!("{}{}", person.origin, path(link.trim()));
    person.browser.go(&link).await;
    let is_scripted = person.browser.ask("document.documentElement.classList.contains('scripted')").await;
    assert_eq!(is_scripted, has_script);
    person.fill("#password", PASSWORD).await;
    person.fill("#again", PASSWORD).await;
    person.follow("main form button").await;
    person.sees("The password is set.").await;

    // The second factor, and signing in with it.
    person.sign_in(&email, "").await;
    person.is_at("Today").await;
    person.follow("ul.self a[href='/depo/sessions']").await;
    person.follow("main a[href='/depo/second-factor']").await;
    let secret = person.browser.ask("document.querySelector('main code').innerText").await;
    let secret = secret.as_str().expect("a secret").to_owned();
    person.fill("#password", PASSWORD).await;
    person.fill("#code", &code(&secret, now())).await;
    person.follow("main form button").await;
    person.is_at("Recovery codes").await;
    if has_script {
        let faults = person.browser.faults().await;
        assert!(faults.is_empty(), "recovery codes: {faults:#?}");
    }
    person.follow("form[action$='sign-out'] button").await;
    person.sign_in(&email, &code(&secret, now() + 30)).await;
    person.is_at("Today").await;

    // A deployment is watched until it is ready, and what it asks for is approved.
    let mut asked = api.get(&format!("/functions/{function}/grants")).await.is(200)["grants"].clone();
    asked["http"] = json!([{ "hosts": ["bank.example"] }]);
    let deployment = api.upload_asking(function, &probe, true, asked).await.is(202);
    let deployment = deployment["$id"].as_str().expect("an id").to_owned();
    person.screen("functions").await;
    person.follow(&format!("main th a[href='/depo/functions/{function}']")).await;
    person.follow(&format!("main th a[href$='{deployment}']")).await;
    person.watch(".state.ready").await;
    person.screen("approvals").await;
    person.follow(&format!("main a[href$='{deployment}']")).await;
    person.sees("bank.example").await;
    person.follow("form[action$='/approve'] button").await;
    person.sees("Approved.").await;

    // Why something was saved.
    api.event("saving", "probe.save", Some("clock"), json!({ "amount": "12.50" })).await.is(202);
    eventually("the saving", async || (!api.transactions().await.is_empty()).then_some(())).await;
    person.screen("transactions").await;
    person.follow(&format!("main tbody a[href^='/depo/functions/{function}/runs/']")).await;
    person.sees("12.50").await;
    person.sees("probe.save").await;

    // A fan-out is paused, and goes on.
    api.event("slow", "probe.slow", Some("clock"), json!({ "ms": 12_000 })).await.is(202);
    let fanout = eventually("the fan-out", async || {
        let all = api.get("/fanouts").await.is(200);
        let found = all["fanouts"].as_array()?.iter().find(|one| one["status"] == "running")?;
        Some(found["$id"].as_str()?.to_owned())
    })
    .await;
    person.screen("fanouts").await;
    person.follow(&format!("main th a[href$='{fanout}']")).await;
    person.follow("form[action$='/pause'] button").await;
    person.sees("Paused.").await;
    person.follow("form[action$='/resume'] button").await;
    person.sees("Resumed.").await;

    // What was given up gets another try.
    api.event("retry", "probe.retry", None, json!({ "text": "not yet" })).await.is(202);
    eventually("the dead letter", async || (api.get("/dead-letters").await.is(200)["total"] == 1).then_some(())).await;
    person.screen("dead-letters").await;
    if has_script {
        // The row of the group, then that of the run: chosen, looked at, its command copied.
        let browser = &mut person.browser;
        for key in ["j", "j", "x"] {
            browser.press(key).await;
        }
        browser.until("document.querySelector('tr.here input[type=checkbox]').checked").await;
        browser.press("Enter").await;
        browser.until("/.runs.[^.]+$/.test(location.pathname) && document.readyState === 'complete'").await;
        browser.press("c").await;
        browser.until("document.querySelector('button.copy[data-copied]')").await;
        person.screen("dead-letters").await;
    }
    person.follow("form[action$='/redrive'] button").await;
    person.sees("Back in the queue.").await;

    if has_script {
        // A page that does not load itself again, as the one of a run that goes on does.
        person.screen("settings").await;
        keys(&mut person).await;
    }
    person.browser.close().await;
}

/// Single keys, as long as nobody types.
async fn keys(person: &mut Person) {
    let browser = &mut person.browser;
    for key in ["g", "f"] {
        browser.press(key).await;
    }
    browser.until("location.pathname === '/depo/functions' && document.readyState === 'complete'").await;
    for key in ["j", "j", "k"] {
        browser.press(key).await;
    }
    browser.until("document.querySelector('tbody tr:first-child').matches('.here') && document.activeElement.matches('tbody tr:first-child a')").await;
    browser.press("Enter").await;
    browser.until("/^.depo.functions.[a-z-]+$/.test(location.pathname) && document.readyState === 'complete'").await;
    for key in ["g", "d"] {
        browser.press(key).await;
    }
    browser.until("location.pathname === '/depo/dead-letters' && document.readyState === 'complete'").await;
    browser.press("/").await;
    browser.until("document.activeElement.matches('form.filters input')").await;
    // Where somebody types, they are letters.
    for key in ["?", "g", "f"] {
        browser.press(key).await;
    }
    assert_eq!(browser.ask("document.activeElement.value").await, "?gf");
    // Whoever wants none has none.
    person.follow("ul.self a[href='/depo/look']").await;
    person.browser.reach("input[name='keys']").await;
    person.browser.press("Down").await;
    person.follow("main form button").await;
    let browser = &mut person.browser;
    assert_eq!(browser.ask("document.documentElement.dataset.keys").await, "off");
    browser.press("?").await;
    assert_eq!(browser.ask("document.getElementById('keys').open").await, false);
}

#[tokio::test(flavor = "multi_thread")]
async fn by_keyboard_alone_with_script_and_without() {
    let larder = Larder::start_with(Options::on(Backend::Embedded)).await;
    journey(&larder, &larder.api(), "demo", true).await;
    journey(&larder, &larder.partner("other").await, "other", false).await;
}
