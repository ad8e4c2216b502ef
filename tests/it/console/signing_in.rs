//! Signing in and out, sessions, and links.

use larder_tests::{Larder, Options, PASSWORD, Tab, both, eventually};
use serde_json::json;

use super::{DEPO, META, of, path, printed, signed_in};

both!(somebody_signs_in_looks_around_and_signs_out, async |on| {
    let larder = Larder::start_on(on).await;
    larder.partner("other").await;
    larder.administrator("anna@bank.example", of("demo")).await;
    larder.administrator("ops@bank.example", json!([{ "role": "operator" }])).await;
    let mut tab = Tab::at(&larder, DEPO.0);
    // What is wanted is shown once somebody has signed in.
    let page = tab.go("/depo/sessions").await.is(200);
    assert_eq!((page.heading().as_str(), page.field("next").as_str()), ("Sign in", "/depo/sessions"));
    let before = tab.cookies.clone();
    let sent =
        tab.submit_once(&page, "/depo/sign-in", &[("email", " Anna@Bank.Example "), ("password", PASSWORD)]).await;
    assert_eq!((sent.status, sent.header("location")), (303, "/depo/sessions"));
    let cookie = sent.header("set-cookie");
    assert!(cookie.starts_with("larder_console=session_"), "{cookie}");
    assert!(cookie.ends_with("; Path=/; HttpOnly; SameSite=Strict"), "{cookie}");
    assert_ne!(before, tab.cookies, "the text of the cookie stays");
    let page = tab.go("/depo/sessions").await.is(200);
    assert_eq!(page.heading(), "Sessions");
    assert!(page.html.contains("anna@bank.example") && page.html.contains("This session"), "{}", page.html);

    // Other sessions are seen, and end.
    let (mut second, mut third) = (Tab::at(&larder, DEPO.0), Tab::at(&larder, DEPO.0));
    for other in [&mut second, &mut third] {
        assert_eq!(other.sign_in("/depo", "anna@bank.example", PASSWORD, "").await.heading(), "Today");
    }
    let page = tab.go("/depo/sessions").await;
    assert_eq!(page.html.matches("name=\"session\"").count(), 2);
    tab.submit(&page, "/depo/sessions/end", &[]).await.is(200).says("The session has ended.");
    let signed_in = [second.go("/depo").await.heading(), third.go("/depo").await.heading()];
    assert_eq!(signed_in.iter().filter(|heading| *heading == "Today").count(), 1, "{signed_in:?}");
    let page = tab.go("/depo/sessions").await;
    tab.submit(&page, "/depo/sessions/end-others", &[]).await.is(200);
    for other in [&mut second, &mut third] {
        assert_eq!(other.go("/depo").await.heading(), "Sign in");
    }
    let kept = tab.cookies.clone();
    let page = tab.go("/depo").await;
    tab.submit(&page, "/depo/sign-out", &[]).await.is(200).says("You have signed out.");
    tab.cookies = kept;
    assert_eq!(tab.go("/depo").await.heading(), "Sign in");

    // Elsewhere she is nobody, and the operator is nobody here.
    for (host, base, email) in [
        ("other.localhost", "/depo", "anna@bank.example"),
        (META.0, META.1, "anna@bank.example"),
        (DEPO.0, DEPO.1, "ops@bank.example"),
        (DEPO.0, DEPO.1, "nobody@bank.example"),
    ] {
        let refused = Tab::at(&larder, host).sign_in(base, email, PASSWORD, "").await.is(403);
        refused.says("This did not fit.");
    }
    Tab::at(&larder, "nobody.localhost").go("/depo").await.is(404).says("There is no such route");
    // What the operator changes counts at once.
    let mut tab = Tab::at(&larder, DEPO.0);
    tab.sign_in("/depo", "anna@bank.example", PASSWORD, "").await.is(200);
    let all = larder.operator().get("/operator/administrators").await.is(200);
    let anna =
        all["administrators"].as_array().unwrap().iter().find(|one| one["email"] == "anna@bank.example").unwrap();
    let id = anna["$id"].as_str().unwrap();
    larder.operator().patch(&format!("/operator/administrators/{id}"), json!({ "roles": of("other") })).await.is(200);
    assert_eq!(tab.go("/depo").await.heading(), "Sign in");
});

both!(a_link_sets_a_password_once, async |on| {
    let larder = Larder::start_with(Options::on(on).set("LARDER_ADMINISTRATORS__SECOND_FACTOR_FOR", "[]")).await;
    let folder = larder.scratch().to_owned();
    let invite = async |arguments: &[&str]| larder.cli(&folder, &[&["admin", "invite"], arguments].concat()).await;
    let (code, _, said) = invite(&["ops@bank.example"]).await;
    assert!(code == 2 && said.contains("no account yet"), "{said}");
    let (code, link, said) = invite(&["ops@bank.example", "--operator", "--name", "Ops"]).await;
    assert!(code == 0 && said.contains("good once"), "{said}");
    let link = link.trim().to_owned();
    assert!(link.starts_with("http://localhost:") && link.contains("/meta_depo/set-password?token=link_"), "{link}");
    let (code, newer, _) = invite(&["OPS@bank.example"]).await;
    assert_eq!(code, 0);
    let mut tab = Tab::at(&larder, META.0);
    // The first is void. The second can be looked at as often as somebody likes.
    tab.go(&path(&link)).await.is(404).says("This link is not valid");
    let newer = path(newer.trim());
    for _ in 0..2 {
        tab.go(&newer).await.is(200).says("ops@bank.example");
    }
    let page = tab.go(&newer).await;
    let set = "/meta_depo/set-password";
    let other = [("password", "a long enough one"), ("again", "another long one")];
    tab.submit(&page, set, &other).await.is(400).says("The two passwords differ.");
    tab.submit(&page, set, &[("password", "short"), ("again", "short")]).await.is(400).says("12 to 256 characters");
    let good = [("password", "a long enough one"), ("again", "a long enough one")];
    let shown = tab.submit(&page, set, &good).await.is(200).says("The password is set.");
    assert_eq!(shown.heading(), "Sign in");
    tab.submit(&page, set, &good).await.is(404).says("This link is not valid");
    tab.go(&newer).await.is(404);
    assert_eq!(tab.sign_in(META.1, "ops@bank.example", "a long enough one", "").await.heading(), "Installation");

    // It is good at the console of the person's role alone.
    let (_, link, _) = invite(&["anna@bank.example", "--administers", "demo"]).await;
    let link = path(link.trim());
    Tab::at(&larder, "localhost").go(&link.replace("/depo/", "/meta_depo/")).await.is(404);
    larder.partner("other").await;
    Tab::at(&larder, "other.localhost").go(&link).await.is(404);
    Tab::at(&larder, DEPO.0).go(&link.replace("set-password", "enter")).await.is(404);
    Tab::at(&larder, DEPO.0).go(&link[..link.len() - 1]).await.is(404);
    // Setting a password ends sessions, and whatever attempts failed.
    let mut tab = Tab::at(&larder, DEPO.0);
    for _ in 0..7 {
        tab.sign_in(DEPO.1, "anna@bank.example", "a wrong password", "").await;
    }
    let page = tab.go(&link).await.is(200);
    tab.submit(&page, "/depo/set-password", &good).await.is(200);
    tab.sign_in(DEPO.1, "anna@bank.example", "a long enough one", "").await.is(200);
    let (code, again, _) = invite(&["anna@bank.example"]).await;
    assert_eq!(code, 0);
    let page = tab.go(&path(again.trim())).await.is(200);
    tab.submit(&page, "/depo/set-password", &good).await.is(200);
    assert_eq!(tab.go(DEPO.1).await.heading(), "Sign in");
    let (code, _, said) = invite(&["anna@bank.example", "--operator"]).await;
    assert!(code == 2 && said.contains("update"), "{said}");
    let (code, ..) = invite(&["roleless@bank.example", "--administers", "nobody"]).await;
    assert_ne!(code, 0);
});

both!(links_expire, async |on| {
    let larder = Larder::start_with(Options::on(on).set("LARDER_ADMINISTRATORS__LINK", "1s")).await;
    let arguments = ["admin", "invite", "anna@bank.example", "--administers", "demo"];
    let (code, link, _) = larder.cli(larder.scratch(), &arguments).await;
    assert_eq!(code, 0);
    let mut tab = Tab::at(&larder, DEPO.0);
    eventually("the link to expire", async || (tab.go(&path(link.trim())).await.status == 404).then_some(())).await;
});

both!(a_newcomer_is_led_into_both_consoles, async |on| {
    let larder = Larder::start_with(Options::on(on).set("LARDER_SERVER__PROXIES", r#"["127.0.0.0/8"]"#)).await;
    for (name, (host, base), heading) in [("console", DEPO, "Today"), ("operator", META, "Installation")] {
        let link = printed(&larder, name);
        let mut tab = Tab::at(&larder, host);
        let page = tab.go(&link).await.is(200);
        assert_eq!(tab.submit(&page, &format!("{base}/enter"), &[]).await.is(200).heading(), heading);
        // From this machine only, whoever has the link.
        let mut elsewhere = Tab::at(&larder, host);
        elsewhere.more.push(("x-forwarded-for", "10.1.2.3".into()));
        elsewhere.go(&link).await.is(403).says("TLS");
        let token = link.split_once("token=").unwrap().1;
        let link = larder_model::administrators::LinkKind::Session.word();
        assert!(!larder.log().contains(token), "{link} links are logged");
    }
});

both!(pages_are_as_their_reader_wants_them, async |on| {
    let larder = Larder::start_on(on).await;
    let mut tab = signed_in(&larder, "anna@bank.example").await;
    let page = tab.go("/depo/look").await.is(200).says("UTC");
    let wanted = [("language", "sv"), ("theme", "dark"), ("keys", "off"), ("zone", "Europe/Stockholm")];
    let page = tab.submit(&page, "/depo/look", &wanted).await.is(200);
    let html = page.tags().remove(0);
    let attribute = |name: &str| html.attributes.get(name).map(String::as_str).unwrap_or_default();
    assert_eq!((attribute("lang"), attribute("data-theme"), attribute("data-keys")), ("sv", "dark", "off"));
    page.clone().says("Europe/Stockholm");
    let wrong = [("zone", "Mars/Olympus"), ("theme", "<script>")];
    tab.submit(&page, "/depo/look", &wrong).await.is(400);
    // Without a choice it is as the browser asks.
    let mut german = Tab::at(&larder, DEPO.0);
    german.more.push(("accept-language", "de-CH, en;q=0.5".into()));
    assert_eq!(german.go("/depo/sign-in").await.is(200).heading(), "Anmelden");
});
