//! A real browser: a page of a function gets no hold of the console beside it.

use larder_tests::{Backend, Browser, Larder, Options, guests};
use serde_json::json;

use super::printed;

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_a_function_reads_nothing_of_the_console() {
    let mut browser = Browser::start().await;
    let larder = Larder::start_with(Options::on(Backend::Embedded)).await;
    let hello = guests::guest("hello-http");
    larder.api().deploy("hello", &hello, json!({ "routes": ["/hello"], "execute": ["any"] })).await;
    let port = larder.address().rsplit(':').next().expect("a port").to_owned();
    browser.go(&format!("http://demo.localhost:{port}{}", printed(&larder, "console"))).await;
    browser.until("document.querySelector('main form button')").await;
    browser.ask("document.querySelector('main form button').click(); 0").await;
    browser.until("location.pathname === '/depo' && document.querySelector('nav.ways')").await;

    // What happens is told while one looks: on the screen for it, and behind a key where there is a list.
    let live = "document.querySelector('#live .state.live-on')";
    browser.go(&format!("http://demo.localhost:{port}/depo/live")).await;
    browser.until(live).await;
    larder.api().execute("hello", json!({})).await;
    browser.until("document.querySelector('#happens tbody tr .state.completed')").await;
    browser.ask("document.querySelector('#live button').click(); 0").await;
    browser.until("document.querySelector('#live .state.paused')").await;
    browser.go(&format!("http://demo.localhost:{port}/depo/functions/hello/runs")).await;
    browser.until(live).await;
    let rows = browser.ask("document.querySelectorAll('main tbody tr').length").await.as_u64().expect("a number");
    larder.api().execute("hello", json!({})).await;
    browser.until("document.getElementById('fresh').textContent === '1 new'").await;
    let dot = "document.body.dispatchEvent(new KeyboardEvent('keydown', { key: '.', bubbles: true })); 0";
    browser.ask(dot).await;
    browser.until(&format!("document.querySelectorAll('main tbody tr').length === {}", rows + 1)).await;
    assert!(browser.complaints.is_empty(), "{:?}", browser.complaints);

    // Beside it, at the same origin, stands the page of a function, with the cookie of the same person.
    browser.go(&format!("http://demo.localhost:{port}/hello")).await;
    browser.until("document.body.innerText.includes('Hello')").await;
    let fetched = browser.ask("fetch('/depo').then((answer) => answer.text())").await;
    let fetched = fetched.as_str().expect("text");
    assert!(fetched.contains("Sign in") && !fetched.contains("sign-out"), "{fetched}");
    assert!(!fetched.contains("data-page"), "{fetched}");
    let stream = "fetch('/depo/stream', { headers: { 'x-larder-page': 'x' } }).then((answer) => answer.status)";
    assert_eq!(browser.ask(stream).await, 401);
    let framed = "new Promise((done) => { const frame = document.createElement('iframe'); frame.src = '/depo'; \
                  frame.onload = () => { try { done(String(frame.contentDocument && frame.contentDocument.body.innerText)) } \
                  catch (err) { done('refused') } }; document.body.append(frame); })";
    let framed = browser.ask(framed).await.to_string();
    assert!(!framed.contains("Sign out"), "{framed}");
    let opened = "new Promise((done) => { const other = window.open('/depo'); let turns = 0; const look = setInterval(() => { \
                  let text = ''; try { text = other.document.body.innerText } catch (err) { text = 'refused' } \
                  if (text.includes('Sign out') || ++turns > 40) { clearInterval(look); \
                  done(other.closed + ' ' + text) } }, 50); })";
    let opened = browser.ask(opened).await.to_string();
    assert!(!opened.contains("Sign out"), "{opened}");
    let worker = "navigator.serviceWorker.register('/hello').then(() => 'registered', () => 'refused')";
    assert_eq!(browser.ask(worker).await, "refused");
    let cookies = "document.cookie = 'larder_console=session_x; path=/'; document.cookie";
    assert!(!browser.ask(cookies).await.to_string().contains("session_0"));
    browser.go(&format!("http://demo.localhost:{port}/depo")).await;
    browser.until("document.querySelector('nav.ways')").await;
    browser.close().await;
}
