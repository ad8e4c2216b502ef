//! What somebody may try against signing in and sessions, and what stops it. docs/console.md has the same list in words.

use larder_tests::{Backend, Larder, Options, PASSWORD, Shown, Tab, both, guests};
use reqwest::Method;
use serde_json::{Value, json};

use super::{DEPO, META, of, printed, signed_in};

fn fields(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn sessions(page: &Shown) -> usize {
    page.html.matches("<th scope=\"row\"").count()
}

both!(forms_of_others_change_nothing, async |on| {
    let larder = Larder::start_on(on).await;
    let mut tab = signed_in(&larder, "anna@bank.example").await;
    tab.sign_in(DEPO.1, "anna@bank.example", PASSWORD, "").await.is(200);
    let mut bo = signed_in(&larder, "bo@bank.example").await;
    Tab::at(&larder, DEPO.0).sign_in(DEPO.1, "anna@bank.example", PASSWORD, "").await.is(200);
    let page = tab.go("/depo/sessions").await;
    assert_eq!(sessions(&page), 2);
    let token = page.field("form_token");
    let theirs = bo.go("/depo/sessions").await.field("form_token");
    let action = "/depo/sessions/end-others";
    // Without a token, with one of somebody else, with one of before signing in, with a good one from elsewhere.
    let before = Tab::at(&larder, DEPO.0).go("/depo/sign-in").await.field("form_token");
    for (given, site, status) in [
        ("", "same-origin", 403),
        ("x", "same-origin", 403),
        (&*theirs, "same-origin", 403),
        (&*before, "same-origin", 403),
        (&*token, "same-site", 403),
        (&*token, "cross-site", 403),
        (&*token, "none", 403),
    ] {
        let shown = tab.post(action, &fields(&[("form_token", given)]), site).await;
        assert_eq!(shown.status, status, "{given} from {site}");
        assert_eq!(sessions(&tab.go("/depo/sessions").await), 2, "{given} from {site}");
    }
    // A browser that says nothing of where it sends from, a page that fetches, and the wrong method.
    let body = format!("form_token={token}");
    for headers in
        [&[][..], &[("sec-fetch-site", "same-origin"), ("sec-fetch-mode", "cors"), ("sec-fetch-dest", "empty")]]
    {
        let request = headers
            .iter()
            .fold(tab.request(Method::POST, action), |request, (name, value)| request.header(*name, *value));
        // For them nobody has signed in.
        assert_eq!(tab.send(action, request.body(body.clone())).await.status, 303, "{headers:?}");
    }
    let other = tab.go(&format!("{action}?form_token={token}")).await;
    assert_eq!(other.status, 405, "{}", other.html);
    assert_eq!(sessions(&tab.go("/depo/sessions").await), 2);
    // Nobody ends another's session.
    let request = fields(&[("form_token", &theirs), ("session", &page.field("session"))]);
    bo.post("/depo/sessions/end", &request, "same-origin").await.is(404);
    tab.post(action, &fields(&[("form_token", &token)]), "same-origin").await.is(303);
    assert_eq!(sessions(&tab.go("/depo/sessions").await), 1);
    // A form that is too long, or no form.
    let long = "x".repeat(100_000);
    assert_eq!(tab.post(action, &fields(&[("form_token", &token), ("x", &long)]), "same-origin").await.status, 413);
    tab.post(action, &fields(&[("\u{0}%zz", "\u{feff}")]), "same-origin").await.is(403);
});

both!(a_session_counts_where_somebody_has_navigated_to, async |on| {
    let larder = Larder::start_on(on).await;
    let mut tab = signed_in(&larder, "anna@bank.example").await;
    // A page of a function is of the same origin. What it fetches or frames is nobody's page.
    for (mode, dest) in [
        ("cors", "empty"),
        ("same-origin", "empty"),
        ("no-cors", "script"),
        ("navigate", "iframe"),
        ("navigate", "frame"),
        ("navigate", "object"),
        ("navigate", "embed"),
        ("no-cors", "image"),
    ] {
        let request = tab.request(Method::GET, "/depo").header("sec-fetch-site", "same-origin");
        let request = request.header("sec-fetch-mode", mode).header("sec-fetch-dest", dest);
        let shown = tab.send("/depo", request).await;
        assert_eq!((shown.status, shown.header("location")), (303, "/depo/sign-in?next=%2Fdepo"), "{mode} {dest}");
    }
    let request = tab.request(Method::GET, "/depo");
    assert_eq!(tab.send("/depo", request).await.status, 303, "a client that does not say what it does");
    // Whoever is led here by a page elsewhere keeps the session, which the browser leaves out then.
    let mut led = Tab::at(&larder, DEPO.0);
    for path in ["/depo", "/depo/sign-in"] {
        let request = led.request(Method::GET, path).header("sec-fetch-site", "cross-site");
        let request = request.header("sec-fetch-mode", "navigate").header("sec-fetch-dest", "document");
        let shown = led.send(path, request).await.is(200).says("Go on");
        assert!(shown.headers.get("set-cookie").is_none(), "{path}");
    }
    assert_eq!(tab.go("/depo").await.heading(), "Today");
    // The session is the console's alone: the API does not know its cookie, nor the console the API's.
    let (name, value) = tab.cookies.iter().next().map(|(name, value)| (name.clone(), value.clone())).unwrap();
    larder.person(&format!("{name}={value}")).get("/account").await.is_error(401, "general_unauthorized_scope");
    let mut other = Tab::at(&larder, DEPO.0);
    let cookie = larder.sign_in("anna@bank.example").await;
    let (api_name, _) = cookie.split_once('=').unwrap();
    other.cookies.insert(api_name.into(), value.clone());
    assert_eq!(other.go("/depo").await.heading(), "Sign in");
    // Of two cookies with its name, somebody else has set one.
    let mut two = Tab::at(&larder, DEPO.0);
    two.more.push(("cookie", format!("{name}={value}; {name}={value}")));
    assert_eq!(two.go("/depo").await.heading(), "Sign in");
    // Nobody is led away by signing in.
    for next in [
        "https://evil.example",
        "//evil.example",
        "/\\evil.example",
        "/depo//evil.example",
        "javascript:alert(1)",
        "/other",
    ] {
        let mut fresh = Tab::at(&larder, DEPO.0);
        let page = fresh.go("/depo/sign-in").await;
        let all = fields(&[
            ("form_token", &page.field("form_token")),
            ("next", next),
            ("email", "anna@bank.example"),
            ("password", PASSWORD),
        ]);
        let sent = fresh.post("/depo/sign-in", &all, "same-origin").await.is(303);
        assert_eq!(sent.header("location"), "/depo", "{next}");
    }
});

both!(functions_neither_see_nor_set_what_the_console_has, async |on| {
    let larder = Larder::start_on(on).await;
    larder.api().deploy("mirror", &guests::guest("mirror"), json!({ "routes": ["/"], "execute": ["any"] })).await;
    let tab = signed_in(&larder, "anna@bank.example").await;
    let seen: Value = tab.request(Method::GET, "/x").send().await.unwrap().json().await.unwrap();
    assert!(!seen.to_string().contains("session_"), "{seen}");
    // A script that would stand between pages and this host is served by no function.
    for header in [("service-worker", "script"), ("sec-fetch-dest", "serviceworker")] {
        let answer = tab.request(Method::GET, "/x").header(header.0, header.1).send().await.unwrap();
        assert_eq!(answer.status(), 404, "{header:?}");
    }
});

/// By TLS, which a proxy has ended here.
#[tokio::test(flavor = "multi_thread")]
async fn cookies_are_of_the_host_alone_and_of_tls() {
    let mut larder = Larder::start_with(Options::on(Backend::Embedded)).await;
    larder.kill();
    let config = larder.scratch().join("larder-server.toml");
    let data = larder.data();
    std::fs::write(
        &config,
        format!(
            "[server]\nroot_url = \"https://bank.test\"\n[secrets]\nmaster_key_file = {:?}\noperator_key_file = {:?}\n",
            data.join("master.key"),
            data.join("operator.key")
        ),
    )
    .unwrap();
    let larder =
        Larder::start_with(Options { serve: Some(config.clone()), data: Some(data.clone()), ..Options::default() })
            .await;
    let key = std::fs::read_to_string(data.join("operator.key")).unwrap();
    let operator = larder.api_of(None, Some(key.trim())).at("bank.test");
    let body = json!({ "email": "anna@bank.example", "password": PASSWORD, "roles": of("demo") });
    operator.post("/operator/administrators", body).await.is(201);
    let mut tab = Tab::at(&larder, "demo.bank.test");
    let page = tab.go("/depo").await.is(200);
    let sent = tab
        .submit_once(&page, "/depo/sign-in", &[("email", "anna@bank.example"), ("password", PASSWORD)])
        .await
        .is(303);
    let cookie = sent.header("set-cookie");
    assert!(cookie.starts_with("__Host-Http-larder_console=session_"), "{cookie}");
    assert!(cookie.ends_with("; Path=/; HttpOnly; SameSite=Strict; Secure"), "{cookie}");
    assert_eq!(tab.go("/depo").await.heading(), "Today");
    // The name for development is nothing here.
    let value = tab.cookies["__Host-Http-larder_console"].clone();
    let mut other = Tab::at(&larder, "demo.bank.test");
    other.cookies.insert("larder_console".into(), value);
    assert_eq!(other.go("/depo").await.heading(), "Sign in");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_tls_a_console_is_for_this_machine() {
    let options = Options::on(Backend::Embedded).set("LARDER_SERVER__PROXIES", r#"["127.0.0.0/8"]"#);
    let larder = Larder::start_with(options).await;
    for (host, base) in [DEPO, META] {
        let mut tab = Tab::at(&larder, host);
        tab.more.push(("x-forwarded-for", "10.1.2.3".into()));
        let shown = tab.go(&format!("{base}/sign-in")).await.is(403).says("TLS");
        assert!(!shown.html.contains("<input") && shown.headers.get("set-cookie").is_none(), "{}", shown.html);
        let link = printed(&larder, if host == META.0 { "operator" } else { "console" });
        tab.go(&link).await.is(403);
    }
}

both!(an_answer_does_not_tell_who_has_an_account, async |on| {
    let larder = Larder::start_on(on).await;
    larder.administrator("anna@bank.example", of("demo")).await;
    larder.cli(larder.scratch(), &["admin", "invite", "new@bank.example", "--administers", "demo"]).await;
    let mut seen = Vec::new();
    // Somebody with an account, without one, without a role here, and without a password yet.
    for email in
        ["anna@bank.example", "nobody@bank.example", "demo@localhost", "operator@localhost", "new@bank.example"]
    {
        let mut end = Vec::new();
        // An address may fail twenty times.
        for _ in 0..3 {
            let shown = Tab::at(&larder, DEPO.0).sign_in(DEPO.1, email, "a guess of twelve", "123456").await;
            let token = shown.field("form_token");
            let html = shown.html.replace(email, "WHO").replace(&token, "TOKEN");
            let html = html.lines().filter(|line| !line.contains("<time")).collect::<String>();
            end.push((shown.status, html));
        }
        seen.push((email, end));
    }
    for (email, end) in &seen[1..] {
        assert_eq!(end, &seen[0].1, "{email}");
    }
    assert!(seen[0].1.iter().all(|(status, _)| *status == 403));
});
