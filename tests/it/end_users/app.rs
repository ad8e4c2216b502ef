//! The example page of an end user, looked at and used by a browser.

use larder_tests::{Browser, Issuer, Larder, both, guests};
use serde_json::json;

both!(an_end_user_saves_by_the_example_page, async |on| {
    let mut browser = Browser::start().await;
    let (larder, issuer) = (Larder::start_on(on).await, Issuer::start().await);
    let api = larder.api();
    api.put("/identity", issuer.settings()).await.is(200);
    api.deploy("savings-app", &guests::guest("savings-app"), json!({ "routes": ["/app"] })).await;
    let sign_in =
        json!({ "variableId": "s", "key": "SIGN_IN_URL", "value": "http://127.0.0.1:9/sign-in?a=1", "secret": false });
    api.post("/functions/savings-app/variables", sign_in).await.is(201);
    let schema = json!({
        "type": "object", "required": ["stake"], "additionalProperties": false,
        "properties": {
            "stake": { "title": "Per goal", "enum": ["10.00", "20.00"], "default": "20.00" },
            "double": { "title": "Twice at home", "type": "boolean" },
            "limit": { "title": "At most", "type": "number", "minimum": 1, "maximum": 500 },
        },
    });
    let settings = json!({
        "name": "Save league <b>", "per": "enrolment", "events": ["probe.save"], "topics": "all", "enrol": "self",
        "enrolTopics": ["AIK", "Hammarby"], "settingsSchema": schema,
    });
    api.deploy("league", &guests::guest("probe"), settings).await;
    api.deploy("bank", &guests::guest("probe"), json!({ "name": "Round up", "per": "enrolment" })).await;
    api.enrol("bank", "anna", "card-1", json!({})).await;

    let page = format!("http://demo.localhost:{}/app/", larder.address().rsplit(':').next().unwrap());
    browser.go(&page).await;
    // Signed out: where to sign in, and nothing of anybody.
    browser.until("document.querySelector('#signed-out:not([hidden])')").await;
    let link = browser.ask("document.getElementById('sign-in').href").await;
    assert!(
        link.as_str().unwrap().starts_with("http://127.0.0.1:9/sign-in?a=1?app=http%3A%2F%2Fdemo.localhost"),
        "{link}"
    );
    assert_eq!(browser.ask("getComputedStyle(document.getElementById('signed-in')).display").await, "none");

    browser.go(&format!("{page}#token={}", issuer.token("anna"))).await;
    browser.until("document.getElementById('user').textContent === 'anna'").await;
    // The token is in no address.
    assert_eq!(browser.ask("location.href").await, page);
    assert_eq!(browser.ask("document.getElementById('no-sums').hidden").await, false);
    let card = |function: &str| format!("document.querySelector('#enrolments [data-function={function}]')");
    assert!(
        browser.ask(&format!("{}.textContent", card("bank"))).await.as_str().unwrap().contains("Your bank looks after")
    );
    assert_eq!(browser.ask(&format!("{}.querySelector('button')", card("bank"))).await, json!(null));
    // What comes from elsewhere is text.
    let name = browser.ask("document.querySelector('#savehacks h3').textContent").await;
    assert_eq!(
        (name, browser.ask("document.querySelector('#savehacks h3 b')").await),
        (json!("Save league <b>"), json!(null))
    );

    // What no schema allows is stopped by the form, and joins with what is chosen.
    let field = |name: &str| format!("document.querySelector('#join-league-{name}')");
    browser.ask(&format!("{}.value = '501'", field("limit"))).await;
    let join = "document.querySelector('#savehacks button[type=submit]')";
    browser.ask(&format!("{join}.click()")).await;
    assert_eq!(browser.ask(&format!("{}.checkValidity()", field("limit"))).await, false);
    browser
        .ask(&format!(
            "{}.value = '99.5'; {}.click(); {}.value = 'Hammarby'",
            field("limit"),
            field("double"),
            field("topic")
        ))
        .await;
    browser.ask(&format!("{join}.click()")).await;
    browser.until("document.getElementById('status').textContent === 'You have joined Save league <b>.'").await;
    let mine = api.all("/enrolments", "enrolments").await;
    let joined = mine.iter().find(|one| one["functionId"] == "league").expect("it has joined").clone();
    assert_eq!((&joined["endUser"], &joined["topic"]), (&json!("anna"), &json!("Hammarby")));
    assert_eq!(joined["settings"], json!({ "stake": "20.00", "double": true, "limit": 99.5 }));

    // Savings appear, newest first, page by page.
    for at in 0..12 {
        api.event(&format!("e{at}"), "probe.save", None, json!({ "amount": format!("{at}.25") })).await.is(202);
    }
    larder_tests::eventually("the savings", async || (api.transactions().await.len() == 12).then_some(())).await;
    browser.ask("location.reload()").await;
    browser.until("document.querySelectorAll('#transactions tr').length === 10").await;
    assert_eq!(browser.ask("document.querySelector('#sums strong').textContent").await, "69.00 SEK");
    browser.ask("document.getElementById('show-more').click()").await;
    browser.until("document.querySelectorAll('#transactions tr').length === 12").await;
    assert_eq!(browser.ask("document.getElementById('show-more').hidden").await, true);

    // Changed, paused, resumed and left.
    let league = card("league");
    browser
        .ask(&format!(
            "{league}.querySelector('select').value = '10.00'; {league}.querySelector('[type=submit]').click()"
        ))
        .await;
    browser.until("document.getElementById('status').textContent.startsWith('The settings of')").await;
    let path = format!("/enrolments/{}", joined["$id"].as_str().unwrap());
    assert_eq!(api.get(&path).await.is(200)["settings"], json!({ "stake": "10.00", "double": true, "limit": 99.5 }));
    for (button, status) in [("Pause", "paused"), ("Resume", "active")] {
        browser.ask(&format!("{league}.querySelector('[aria-label^={button}]').click()")).await;
        let badge = if status == "paused" { "Paused" } else { "Active" };
        browser.until(&format!("{league}.querySelector('.badge').textContent === '{badge}'")).await;
        assert_eq!(api.get(&path).await.is(200)["status"], status);
    }
    if let Some(folder) = std::env::var_os("LARDER_TEST_PICTURES") {
        browser.picture(&std::path::Path::new(&folder).join("savings-app.png")).await;
    }
    browser.ask(&format!("window.confirm = () => true; {league}.querySelector('[aria-label^=Leave]').click()")).await;
    browser.until(&format!("!{league}")).await;
    api.get(&path).await.is_error(404, "enrolment_not_found");

    // Everything has a name that is read aloud, and the page has one of each landmark.
    let unnamed = browser.ask(
        "[...document.querySelectorAll('input, select, button, a')].filter(e => !(e.labels?.length || e.ariaLabel || e.textContent.trim())).length",
    );
    assert_eq!(unnamed.await, 0);
    assert_eq!(
        browser.ask("['main', 'header', 'h1'].map(n => document.querySelectorAll(n).length).join()").await,
        "1,1,1"
    );
    assert_eq!(browser.ask("document.documentElement.lang").await, "en");

    // A token that is no longer good ends in signing in again, and says why.
    browser.ask("sessionStorage.setItem('token', 'nonsense'); location.reload()").await;
    browser
        .until("document.querySelector('#signed-out:not([hidden])') && document.querySelector('#error:not([hidden])')")
        .await;
    assert!(
        browser.ask("document.getElementById('error').textContent").await.as_str().unwrap().contains("sign in again")
    );
    assert_eq!(browser.ask("sessionStorage.getItem('token')").await, json!(null));
    // Nothing was refused by the policy of the page, and nothing failed but that request.
    let other: Vec<&String> = browser.complaints.iter().filter(|one| !one.contains("401")).collect();
    assert!(other.is_empty(), "{other:?}");
    browser.close().await;
});
