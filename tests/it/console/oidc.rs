//! Signing in at the operator's provider.

use larder_tests::provider::{CLIENT, Provider};
use larder_tests::upstream::Reply;
use larder_tests::{Browser, Larder, Options, PASSWORD, Shown, Tab, both};
use serde_json::{Value, json};

use super::{DEPO, META, of, path};

const ROLES: &str = "demo-admins=demo:administrator,demo-readers=demo:viewer,ops=operator,gone=nobody-here:viewer";
const START: &str = "/depo/oidc?next=%2Fdepo%2Ffunctions";

/// Where the provider is asked to send a tab back, once the tab has been sent to it.
async fn sent_away(tab: &mut Tab, start: &str) -> String {
    let sent = tab.go_once(start).await.is(303);
    let to = sent.header("location").to_owned();
    assert!(to.starts_with("http://127.0.0.1:") && !to.contains(CLIENT), "{to}");
    to
}

/// Comes back from the provider, which is another site: cookies that are strict stay behind.
async fn come_back(tab: &mut Tab, to: &str) -> Shown {
    let strict: Vec<_> =
        tab.cookies.iter().filter(|(name, _)| !name.ends_with("oidc")).map(|(n, v)| (n.clone(), v.clone())).collect();
    for (name, _) in &strict {
        tab.cookies.remove(name);
    }
    let request = tab.request(reqwest::Method::GET, to).header("sec-fetch-site", "cross-site");
    let request = request.header("sec-fetch-mode", "navigate").header("sec-fetch-dest", "document");
    let shown = tab.send(to, request).await;
    for (name, value) in strict {
        tab.cookies.entry(name).or_insert(value);
    }
    shown
}

async fn sign_in(tab: &mut Tab, provider: &Provider, start: &str) -> Shown {
    let to = sent_away(tab, start).await;
    come_back(tab, &path(&provider.sends_back(&to))).await
}

async fn roles_of(larder: &Larder, email: &str) -> Value {
    let all = larder.operator().get("/operator/administrators").await.is(200);
    let mut all = all["administrators"].as_array().expect("a list").iter();
    all.find(|one| one["email"] == email).map_or(Value::Null, |one| json!([one["ofProvider"], one["roles"]]))
}

both!(people_have_the_roles_that_the_provider_says, async |on| {
    let provider = Provider::start().await;
    let larder = Larder::start_with(provider.settings(Options::on(on), ROLES)).await;
    provider.says(json!({ "groups": ["x", "demo-admins", "gone"] }));
    let mut tab = Tab::at(&larder, DEPO.0);
    tab.go("/depo/sign-in?next=%2Fdepo%2Ffunctions").await.is(200).says("Sign in with The Bank");
    let entered = sign_in(&mut tab, &provider, START).await.is(200);
    // The session's cookie goes along with what this page leads to.
    assert_eq!(entered.header("refresh"), "0; url=/depo/functions");
    let cookies: Vec<_> = entered.headers.get_all("set-cookie").iter().map(|value| value.to_str().unwrap()).collect();
    assert!(
        cookies.iter().any(|c| c.starts_with("larder_console=session_") && c.contains("SameSite=Strict")),
        "{cookies:?}"
    );
    assert!(cookies.iter().any(|c| c.starts_with("larder_oidc=;") && c.contains("Max-Age=0")), "{cookies:?}");
    assert_eq!(tab.go("/depo/functions").await.heading(), "Functions");
    let role = |role: &str, partner: &str| json!([true, [{ "partnerId": partner, "role": role }]]);
    assert_eq!(roles_of(&larder, "anna@bank.example").await, role("administrator", "demo"));

    // What the provider says later counts from then on, and ends the sessions of before.
    provider.says(json!({ "groups": ["demo-readers"], "email": "anna.b@bank.example", "amr": null }));
    let mut later = Tab::at(&larder, DEPO.0);
    sign_in(&mut later, &provider, START).await.is(200);
    assert_eq!(roles_of(&larder, "anna@bank.example").await, Value::Null);
    assert_eq!(roles_of(&larder, "anna.b@bank.example").await, role("viewer", "demo"));
    assert_eq!(tab.go("/depo").await.heading(), "Sign in");
    let sessions = later.go("/depo/sessions").await.is(200);
    assert_eq!(sessions.heading(), "Sessions", "{}", sessions.html);
    // The same again changes nothing.
    let mut same = Tab::at(&larder, DEPO.0);
    sign_in(&mut same, &provider, START).await.is(200);
    assert_eq!(later.go("/depo").await.heading(), "Today");

    // No password of theirs counts, whoever sets one.
    let change = json!({ "password": PASSWORD });
    let all = larder.operator().get("/operator/administrators").await.is(200);
    let id = all["administrators"]
        .as_array()
        .unwrap()
        .iter()
        .find(|one| one["email"] == "anna.b@bank.example")
        .unwrap()["$id"]
        .clone();
    larder.operator().patch(&format!("/operator/administrators/{}", id.as_str().unwrap()), change).await;
    Tab::at(&larder, DEPO.0).sign_in(DEPO.1, "anna.b@bank.example", PASSWORD, "").await.is(403);
    let (status, _, said) = larder.cli(larder.scratch(), &["admin", "invite", "anna.b@bank.example"]).await;
    assert!(status != 0 && said.contains("no password of theirs counts"), "{status} {said}");

    // Whom the provider has let go has no role and no session any more.
    provider.says(json!({ "groups": [], "email": "anna.b@bank.example" }));
    let mut gone = Tab::at(&larder, DEPO.0);
    sign_in(&mut gone, &provider, START).await.is(403).says("none of your groups has a role here");
    assert_eq!(later.go("/depo").await.heading(), "Sign in");
    assert_eq!(roles_of(&larder, "anna.b@bank.example").await, json!([true, []]));

    // An operator needs a second factor, at the provider.
    provider.says(json!({ "sub": "ops-1", "email": "ops@bank.example", "groups": ["ops"], "amr": ["pwd"] }));
    let mut ops = Tab::at(&larder, META.0);
    sign_in(&mut ops, &provider, "/meta_depo/oidc").await.is(403).says("needs a second factor");
    assert_eq!(roles_of(&larder, "ops@bank.example").await, Value::Null);
    provider.says(json!({ "sub": "ops-1", "email": "ops@bank.example", "groups": ["ops"] }));
    sign_in(&mut ops, &provider, "/meta_depo/oidc").await.is(200);
    assert_eq!(ops.go("/meta_depo").await.heading(), "Installation");
    // Here they have no role.
    sign_in(&mut Tab::at(&larder, DEPO.0), &provider, START).await.is(403).says("none of your groups");

    // Somebody who was invited and has set no password becomes the provider's; their link is void.
    let arguments = ["admin", "invite", "cleo@bank.example", "--administers", "demo"];
    let (status, link, said) = larder.cli(larder.scratch(), &arguments).await;
    assert_eq!(status, 0, "{said}");
    provider.says(json!({ "sub": "cleo-1", "email": "Cleo@bank.example", "groups": ["demo-readers"] }));
    sign_in(&mut Tab::at(&larder, DEPO.0), &provider, START).await.is(200);
    assert_eq!(roles_of(&larder, "cleo@bank.example").await, role("viewer", "demo"));
    Tab::at(&larder, DEPO.0).go(&path(link.trim())).await.is(404);
});

both!(what_is_not_of_this_sign_in_lets_nobody_in, async |on| {
    let provider = Provider::start().await;
    let larder = Larder::start_with(provider.settings(Options::on(on), ROLES)).await;
    let good = json!({ "groups": ["demo-admins"] });
    let with = |name: &str, value: Value| {
        let mut claims = good.clone();
        claims[name] = value;
        claims
    };
    let attempt = async |claims: Value| {
        provider.says(claims);
        let mut tab = Tab::at(&larder, DEPO.0);
        let shown = sign_in(&mut tab, &provider, START).await;
        assert!(shown.status == 200 || !tab.cookies.contains_key("larder_console"), "{}", shown.html);
        shown
    };
    attempt(good.clone()).await.is(200);
    let now = larder_tests::now();
    for (claims, says) in [
        (with("nonce", json!("another")), "not of this sign-in"),
        (with("nonce", Value::Null), "not of this sign-in"),
        (with("aud", json!("another")), "not of this sign-in"),
        (with("aud", json!([CLIENT, "another"])), "not of this sign-in"),
        (with("azp", json!("another")), "not of this sign-in"),
        (with("iss", json!("https://login.other.example")), "not of this sign-in"),
        (with("exp", json!(now - 60)), "not of this sign-in"),
        (with("iat", json!(now + 600)), "not of this sign-in"),
        (with("sub", Value::Null), "not of this sign-in"),
        (with("email_verified", json!(false)), "does not vouch"),
        (with("email_verified", json!("true")), "does not vouch"),
        (with("email", json!("no address")), "does not vouch"),
        (with("groups", json!({ "demo-admins": true })), "none of your groups"),
        (with("groups", json!("demo-adminsx")), "none of your groups"),
    ] {
        attempt(claims.clone()).await.is(403).says(says);
    }
    // Whoever has a password is nobody else's account, and neither is another account with the address.
    larder.administrator("bo@bank.example", of("demo")).await;
    attempt(json!({ "sub": "bo-1", "email": "bo@bank.example", "groups": ["demo-admins"] }))
        .await
        .is(403)
        .says("your e-mail address already");
    attempt(json!({ "sub": "anna-2", "groups": ["demo-admins"] })).await.is(403).says("your e-mail address already");

    provider.says(good.clone());
    let fresh = async || {
        let mut tab = Tab::at(&larder, DEPO.0);
        let to = sent_away(&mut tab, START).await;
        let back = path(&provider.sends_back(&to));
        (tab, back)
    };
    // What somebody else has begun, in a browser that has begun nothing, or its own.
    let (_, theirs) = fresh().await;
    come_back(&mut Tab::at(&larder, DEPO.0), &theirs).await.is(403).says("begun in another browser");
    let (mut tab, own) = fresh().await;
    come_back(&mut tab, &theirs).await.is(403).says("begun in another browser");
    // The cookie is used up, however it ended.
    come_back(&mut tab, &own).await.is(403).says("begun in another browser");
    // A code counts once, also with the cookie kept.
    let (mut tab, own) = fresh().await;
    let kept = tab.cookies.clone();
    come_back(&mut tab, &own).await.is(200);
    let mut again = Tab::at(&larder, DEPO.0);
    again.cookies = kept;
    come_back(&mut again, &own).await.is(403).says("refused to sign you in");
    // Another issuer's answer, an error, nothing.
    let (mut tab, own) = fresh().await;
    let mixed = format!("{}&iss=https%3A%2F%2Fother.example", own.split("&iss=").next().unwrap());
    come_back(&mut tab, &mixed).await.is(403).says("not of this sign-in");
    let (mut tab, own) = fresh().await;
    let error = own.replace("code=", "error=access_denied&error_description=%3Cb%3E&x=");
    assert!(!come_back(&mut tab, &error).await.is(403).says("refused to sign you in").html.contains("<b>"));
    // A page fetches or frames nothing that signs in, and no other site begins it.
    let (tab, own) = fresh().await;
    let fetched = tab
        .request(reqwest::Method::GET, &own)
        .header("sec-fetch-site", "same-origin")
        .send()
        .await
        .expect("an answer");
    assert_eq!(fetched.status(), 403);
    let mut led = Tab::at(&larder, DEPO.0);
    let request = led.request(reqwest::Method::GET, START).header("sec-fetch-site", "cross-site");
    let request = request.header("sec-fetch-mode", "navigate").header("sec-fetch-dest", "document");
    assert!(
        led.send(START, request)
            .await
            .headers
            .get("location")
            .is_none_or(|to| !to.to_str().unwrap().contains("authorize"))
    );
    // Nobody is led away afterwards.
    let (mut tab, _) = fresh().await;
    let to = sent_away(&mut tab, "/depo/oidc?next=https%3A%2F%2Fevil.example").await;
    let entered = come_back(&mut tab, &path(&provider.sends_back(&to))).await.is(200);
    assert_eq!(entered.header("refresh"), "0; url=/depo");
    // The provider answers as it should not.
    for instead in [
        Reply::new(503, "away"),
        Reply::new(200, "no json"),
        Reply::new(200, "{}"),
        Reply::new(200, format!("{{\"id_token\":\"{}\"}}", "x".repeat(300_000))),
        Reply::new(302, "").header("location", "http://127.0.0.1:1/"),
    ] {
        provider.answers(Some(instead));
        let (mut tab, own) = fresh().await;
        come_back(&mut tab, &own).await.is(403);
    }
    provider.answers(None);
    // A token that is signed with a key that the provider does not publish.
    provider.signs_with_another_key();
    attempt(good.clone()).await.is(403).says("not of this sign-in");
    let log = larder.log();
    assert!(log.contains("was refused") && !log.contains("a secret: of the client"), "{log}");
    // Failures from one address make the next ones wait.
    let mut ends = Vec::new();
    for _ in 0..30 {
        ends.push(come_back(&mut Tab::at(&larder, DEPO.0), "/depo/oidc/return?code=x&state=y").await.status);
    }
    assert!(ends.contains(&429), "{ends:?}");
});

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_signs_in_at_the_provider_without_script() {
    let provider = Provider::start().await;
    let larder = Larder::start_with(provider.settings(Options::default(), ROLES)).await;
    provider.says(json!({ "groups": ["demo-readers"] }));
    let mut browser = Browser::start().await;
    browser.allow_scripts(false).await;
    let port = larder.address().rsplit(':').next().expect("a port").to_owned();
    browser.go(&format!("http://demo.localhost:{port}/depo/transactions")).await;
    browser.reach("main a.main").await;
    browser.press("Enter").await;
    browser.until("location.pathname === '/depo/transactions' && document.querySelector('nav.ways')").await;
    assert!(browser.complaints.is_empty(), "{:?}", browser.complaints);
    browser.close().await;
    assert_eq!(provider.received().iter().filter(|one| one.target == "/token").count(), 1);
}

#[tokio::test]
async fn settings_of_a_provider_that_cannot_be_are_named() {
    let set = |name: &'static str, value: &str| (name, value.to_owned());
    let said = Larder::refusal(&[set("LARDER_OIDC__ISSUER", "http://login.bank.example")]);
    for key in ["OIDC__ISSUER", "oidc.client_id", "oidc.roles"] {
        assert!(said.contains(key), "{key}: {said}");
    }
    let said = Larder::refusal(&[set("LARDER_OIDC__ROLES", "admins=demo:king")]);
    assert!(said.contains("names no role"), "{said}");
}
