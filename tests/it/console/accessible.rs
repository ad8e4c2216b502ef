//! Every screen in a real browser: nothing that axe finds, nothing wider than the window, no message on the console.
//!
//! The screens are found by following links, so a new one is in here by being linked. `make test` looks at each with another
//! width and theme; `make console` at each page with all of them.

use std::collections::BTreeMap;

use larder_tests::{Backend, Browser, Larder, Options, PASSWORD, Tab, eventually};
use serde_json::json;

use super::pages::{crawl, fill};
use super::{DEPO, META, of, path, printed};

const WIDTHS: [u32; 3] = [320, 768, 1280];

/// A path without what names one of many: what follows a word of the address.
fn screen(path: &str) -> String {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let segments = path.split('/').skip(2).enumerate();
    let words = segments.map(|(at, word)| if at % 2 == 1 { "*" } else { word }).collect::<Vec<_>>().join("/");
    let names = query.split('&').filter_map(|pair| pair.split('=').next()).collect::<Vec<_>>().join("&");
    format!("{words}?{names}")
}

struct Looker {
    browser: Browser,
    origin: String,
    is_long: bool,
    turn: usize,
    looked_at: usize,
    faults: Vec<String>,
}

impl Looker {
    /// In all six looks, or in the one whose turn it is.
    async fn looks(&mut self, name: &str) {
        let all = WIDTHS.into_iter().flat_map(|width| [(width, false), (width, true)]);
        let one = self.turn % 6;
        let chosen: Vec<_> =
            all.enumerate().filter(|(at, _)| self.is_long || *at == one).map(|(_, look)| look).collect();
        self.turn += 1;
        for (width, is_dark) in chosen {
            self.browser.look(width, is_dark).await;
            let faults = self.browser.faults().await;
            self.faults.extend(faults.iter().map(|fault| format!("{name} at {width}, dark {is_dark}: {fault}")));
        }
        self.looked_at += 1;
    }

    async fn go(&mut self, path: &str) {
        let url = format!("{}{path}", self.origin);
        self.browser.go(&url).await;
        self.browser.until("document.readyState === 'complete' && document.querySelector('h1')").await;
    }

    async fn page(&mut self, path: &str) {
        self.go(path).await;
        self.looks(path).await;
        self.complaints(path);
    }

    fn complaints(&mut self, path: &str) {
        self.faults.extend(self.browser.complaints.drain(..).map(|said| format!("{path}: {said}")));
    }

    /// A page that refuses something, of which the browser says so itself.
    async fn refusal(&mut self, path: &str) {
        self.looks(path).await;
        self.browser.complaints.retain(|said| !said.contains("Failed to load resource"));
        self.complaints(path);
    }

    /// Help is a dialog: it takes the focus, and gives it back.
    async fn help(&mut self) {
        self.browser.reach("a.home").await;
        self.browser.press("?").await;
        self.browser.until("document.getElementById('keys').open").await;
        self.looks("help").await;
        self.browser.press("Escape").await;
        self.browser.until("!document.getElementById('keys').open && document.activeElement.matches('a.home')").await;
    }
}

async fn looked_at(is_long: bool) {
    let larder = Larder::start_with(Options::on(Backend::Embedded)).await;
    fill(&larder).await;
    // A fan-out that has not ended can be cancelled, which asks.
    larder
        .api()
        .event("slow", "probe.slow", Some("'\">--></script></pre><evil onload=x>"), json!({ "ms": 5_000 }))
        .await
        .is(202);
    eventually("the fan-out to be paused", async || {
        let all = larder.api().get("/fanouts").await.is(200);
        let running =
            all["fanouts"].as_array().unwrap().iter().find(|fanout| fanout["status"] == "running")?["$id"].clone();
        let paused = larder.api().post(&format!("/fanouts/{}/pause", running.as_str().unwrap()), json!({})).await;
        (paused.status < 300).then_some(())
    })
    .await;
    larder.administrator("anna@bank.example", of("demo")).await;
    let invited = ["admin", "invite", "bo@bank.example", "--administers", "demo"];
    let (_, link, _) = larder.cli(larder.scratch(), &invited).await;
    let browser = Browser::start().await;
    let port = larder.address().rsplit(':').next().expect("a port").to_owned();
    let mut looker = Looker { browser, origin: String::new(), is_long, turn: 0, looked_at: 0, faults: vec![] };
    for ((host, base), name) in [(DEPO, "console"), (META, "operator")] {
        looker.origin = format!("http://{host}:{port}");
        let entrance = printed(&larder, name);
        // Before somebody has signed in.
        let mut pages = vec![format!("{base}/sign-in"), format!("{base}/look"), entrance.clone()];
        if base == DEPO.1 {
            pages.push(path(link.trim()));
        }
        for page in pages {
            looker.page(&page).await;
        }
        looker.go(&format!("{base}/sign-in")).await;
        for (field, text) in [("#email", "nobody@bank.example"), ("#password", "a wrong password")] {
            looker.browser.reach(field).await;
            looker.browser.fill(text).await;
        }
        looker.browser.press("Enter").await;
        looker.browser.until("document.querySelector('[role=alert]')").await;
        looker.refusal("a refused sign-in").await;
        looker.go(&format!("{base}/set-password?token=x")).await;
        looker.refusal("a link that is not valid").await;
        // Led here by a page elsewhere.
        looker.browser.go("about:blank").await;
        looker.browser.ask(&format!("location = '{}{base}'; 0", looker.origin)).await;
        looker.browser.until("document.querySelector('main a') && document.readyState === 'complete'").await;
        looker.refusal("somebody who was led here").await;

        let mut tab = Tab::at(&larder, host);
        if base == DEPO.1 {
            tab.sign_in(base, "anna@bank.example", PASSWORD, "").await.is(200);
        } else {
            let page = tab.go(&entrance).await.is(200);
            tab.submit(&page, &format!("{base}/enter"), &[]).await.is(200);
        }
        let found = crawl(&mut tab, base).await;
        looker.browser.take_over(&tab, host).await;
        let mut times = BTreeMap::<_, usize>::new();
        for page in found.keys() {
            let times = times.entry(screen(page)).or_default();
            *times += 1;
            // More of the same, with other data in it.
            if is_long || *times <= 1 {
                looker.page(page).await;
            }
        }
        assert!(times.len() > 4, "{times:?}");
        looker.go(base).await;
        looker.help().await;
        looker.go(&format!("{base}/nothing")).await;
        looker.refusal("a page that does not exist").await;
    }
    assert!(looker.faults.is_empty(), "{:#?}", looker.faults);
    println!("axe found nothing on {} pages", looker.looked_at);
    looker.browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_screen_has_no_fault_of_accessibility() {
    looked_at(false).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "every page, two themes, three widths: make console"]
async fn every_page_in_every_look_has_no_fault_of_accessibility() {
    looked_at(true).await;
}
