//! `/_larder/me`: what end users read and change of their own, and nobody else's.

use larder_tests::{Api, Issuer, Larder, Options, both, guests};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

struct World {
    larder: Larder,
    issuer: Issuer,
}

impl World {
    async fn start(options: Options) -> World {
        let (larder, issuer) = (Larder::start_with(options).await, Issuer::start().await);
        let mut settings = issuer.settings();
        settings["origins"] = json!(["https://app.example"]);
        larder.api().put("/identity", settings).await.is(200);
        World { larder, issuer }
    }

    async fn as_user(&self, user: &str, method: Method, path: &str, body: Value) -> larder_tests::Answer {
        let request = self.larder.web("demo", method, &format!("/_larder/me{path}"));
        let request = request.bearer_auth(self.issuer.token(user));
        Api::send(if body.is_null() { request } else { request.json(&body) }).await
    }

    async fn get(&self, user: &str, path: &str) -> larder_tests::Answer {
        self.as_user(user, Method::GET, path, Value::Null).await
    }

    async fn join(&self, user: &str, body: Value) -> larder_tests::Answer {
        self.as_user(user, Method::POST, "/enrolments", body).await
    }

    async fn change(&self, user: &str, id: &str, body: Value) -> larder_tests::Answer {
        self.as_user(user, Method::PATCH, &format!("/enrolments/{id}"), body).await
    }
}

fn schema() -> Value {
    json!({
        "type": "object", "additionalProperties": false,
        "properties": { "stake": { "type": "number", "minimum": 1, "maximum": 500 } },
    })
}

fn id(value: &Value) -> String {
    value["$id"].as_str().expect("an id").to_owned()
}

both!(an_end_user_joins_pauses_resumes_changes_and_ends, async |on| {
    let world = World::start(Options::on(on)).await;
    let api = world.larder.api();
    let settings = json!({
        "per": "enrolment", "events": ["match.goal"], "enrol": "self", "enrolTopics": ["team:*"], "settingsSchema": schema(),
    });
    api.deploy("league", &guests::guest("probe"), settings).await;
    api.deploy("own", &guests::guest("probe"), json!({ "per": "enrolment", "enrol": "self" })).await;
    api.deploy("closed", &guests::guest("probe"), json!({ "per": "enrolment" })).await;
    api.deploy("off", &guests::guest("probe"), json!({ "per": "enrolment", "enrol": "self", "enabled": false })).await;
    let theirs = api.enrol("closed", "anna", "card-1", json!({})).await;

    assert_eq!(
        world.get("anna", "").await.is(200),
        json!({ "endUser": "anna", "verified": true, "labels": ["saver"] })
    );
    let hacks = world.get("anna", "/savehacks").await.is(200);
    assert_eq!(hacks["total"], 2);
    assert_eq!(hacks["savehacks"][0]["topics"], json!(["team:*"]));
    assert_eq!(hacks["savehacks"][0]["settingsSchema"], schema());
    assert_eq!(hacks["savehacks"][1]["topics"], json!(["anna"]));
    assert_eq!(hacks["savehacks"][1]["settingsSchema"], json!({}));

    // What is not open, not there, not chosen or not within the schema is refused, each in its words.
    for (body, status, kind, said) in [
        (json!({ "functionId": "closed" }), 403, "enrolment_not_open", "the project does"),
        (json!({ "functionId": "off" }), 404, "function_not_found", ""),
        (json!({ "functionId": "none" }), 404, "function_not_found", ""),
        (json!({}), 400, "general_argument_invalid", "functionId"),
        (json!({ "functionId": "league" }), 400, "general_argument_invalid", "`topic`: is required: one of team:*"),
        (
            json!({ "functionId": "league", "topic": "card-1" }),
            400,
            "general_argument_invalid",
            "`topic`: must be one of",
        ),
        (json!({ "functionId": "own", "topic": "bo" }), 400, "general_argument_invalid", "must be one of anna"),
        (
            json!({ "functionId": "league", "topic": "team:AIK", "settings": { "stake": 501 } }),
            400,
            "general_argument_invalid",
            "`settings`: stake must be at most 500, not 501",
        ),
        (
            json!({ "functionId": "league", "topic": "team:AIK", "settings": { "steak": 1 } }),
            400,
            "general_argument_invalid",
            "steak is not known",
        ),
        (
            json!({ "functionId": "league", "topic": "team:AIK", "settings": [] }),
            400,
            "general_argument_invalid",
            "settings",
        ),
    ] {
        let message = world.join("anna", body.clone()).await.is_error(status, kind);
        assert!(message.contains(said), "{body}: {message}");
    }
    // A member twice could be read as another value by the function.
    let twice = r#"{"functionId":"league","topic":"team:AIK","settings":{"stake":1,"stake":9999}}"#;
    let request =
        world.larder.web("demo", Method::POST, "/_larder/me/enrolments").bearer_auth(world.issuer.token("anna"));
    let message = Api::send(request.body(twice)).await.is_error(400, "general_argument_invalid");
    assert!(message.contains("occurs twice"), "{message}");

    let joined = world
        .join("anna", json!({ "functionId": "league", "topic": "team:AIK", "settings": { "stake": 20 } }))
        .await
        .is(201);
    let own = world.join("anna", json!({ "functionId": "own" })).await.is(201);
    assert_eq!((&own["topic"], &own["open"], &own["endUser"]), (&json!("anna"), &json!(true), &json!("anna")));
    world.join("anna", json!({ "functionId": "own" })).await.is_error(409, "enrolment_already_exists");
    let league = id(&joined);
    // The partner sees the same object.
    let seen = api.get(&format!("/enrolments/{league}")).await.is(200);
    assert_eq!((&seen["endUser"], &seen["settings"]), (&json!("anna"), &json!({ "stake": 20 })));

    // By oneself: paused, changed, resumed.
    let paused = world.change("anna", &league, json!({ "status": "paused" })).await.is(200);
    assert_eq!((&paused["status"], &paused["pausedBy"]), (&json!("paused"), &json!("self")));
    let changed = world.change("anna", &league, json!({ "settings": { "stake": 5.5 } })).await.is(200);
    assert_eq!((&changed["status"], &changed["settings"]["stake"]), (&json!("paused"), &json!(5.5)));
    world
        .change("anna", &league, json!({ "settings": { "stake": 0 } }))
        .await
        .is_error(400, "general_argument_invalid");
    world.change("anna", &league, json!({ "status": "gone" })).await.is_error(400, "general_argument_invalid");
    let resumed = world.change("anna", &league, json!({ "status": "active" })).await.is(200);
    assert_eq!((&resumed["status"], &resumed["pausedBy"]), (&json!("active"), &json!("")));

    // What the partner has paused, only the partner resumes or ends.
    api.patch(&format!("/enrolments/{league}"), json!({ "status": "paused" })).await.is(200);
    for body in [json!({ "status": "active" }), json!({ "status": "paused" })] {
        world.change("anna", &league, body).await.is_error(409, "enrolment_paused_by_project");
    }
    let end = world.as_user("anna", Method::DELETE, &format!("/enrolments/{league}"), Value::Null).await;
    end.is_error(409, "enrolment_paused_by_project");
    let changed = world.change("anna", &league, json!({ "settings": { "stake": 6 } })).await.is(200);
    assert_eq!((&changed["status"], &changed["pausedBy"]), (&json!("paused"), &json!("partner")));
    api.patch(&format!("/enrolments/{league}"), json!({ "status": "active" })).await.is(200);

    // What is not open can be read and not changed.
    let closed = world.get("anna", &format!("/enrolments/{theirs}")).await.is(200);
    assert_eq!((&closed["open"], &closed["functionName"]), (&json!(false), &json!("closed")));
    world.change("anna", &theirs, json!({ "status": "paused" })).await.is_error(403, "enrolment_not_open");
    let end = world.as_user("anna", Method::DELETE, &format!("/enrolments/{theirs}"), Value::Null).await;
    end.is_error(403, "enrolment_not_open");

    // Nothing of hers is there for another.
    for path in [&league, &theirs] {
        world.get("bo", &format!("/enrolments/{path}")).await.is_error(404, "enrolment_not_found");
        world.change("bo", path, json!({ "status": "paused" })).await.is_error(404, "enrolment_not_found");
        let end = world.as_user("bo", Method::DELETE, &format!("/enrolments/{path}"), Value::Null).await;
        end.is_error(404, "enrolment_not_found");
    }
    assert_eq!(world.get("bo", "/enrolments").await.is(200)["total"], 0);
    assert_eq!(world.get("anna", "/enrolments").await.is(200)["total"], 3);

    let end = world.as_user("anna", Method::DELETE, &format!("/enrolments/{league}"), Value::Null).await;
    assert_eq!(end.status, 204);
    world.get("anna", &format!("/enrolments/{league}")).await.is_error(404, "enrolment_not_found");
    // A key keeps to the schema, too.
    let body = json!({ "functionId": "league", "endUser": "bo", "topic": "any", "settings": { "stake": "a" } });
    let message = api.post("/enrolments", body).await.is_error(400, "general_argument_invalid");
    assert!(message.contains("stake must be number"), "{message}");
});

both!(an_end_user_reads_their_savings_and_nobody_elses, async |on| {
    let world = World::start(Options::on(on)).await;
    let api = world.larder.api();
    api.deploy(
        "saver",
        &guests::guest("probe"),
        json!({ "events": ["probe.save"], "per": "enrolment", "topics": "all" }),
    )
    .await;
    for user in ["anna", "bo"] {
        api.enrol("saver", user, user, json!({})).await;
    }
    for (at, amount) in ["1.00", "2.50", "3.00"].iter().enumerate() {
        api.event(&format!("e{at}"), "probe.save", None, json!({ "amount": amount })).await.is(202);
    }
    larder_tests::eventually("all savings", async || (api.transactions().await.len() == 6).then_some(())).await;
    let sums = world.get("anna", "/savings").await.is(200);
    assert_eq!(sums["total"], 1, "{sums}");
    let sum = &sums["savings"][0];
    assert_eq!(
        (&sum["amount"], &sum["transactions"], &sum["functionId"]),
        (&json!("6.50"), &json!(3), &json!("saver"))
    );

    // Page by page, newest first.
    let query = |queries: &[Value]| -> String {
        let texts = queries.iter().map(|query| ("queries[]", query.to_string()));
        form(texts)
    };
    let first = query(&[
        json!({ "method": "limit", "values": [2] }),
        json!({ "method": "orderDesc", "attribute": "$createdAt" }),
    ]);
    let page = world.get("anna", &format!("/transactions?{first}")).await.is(200);
    assert_eq!((&page["total"], page["transactions"].as_array().unwrap().len()), (&json!(3), 2));
    assert!(
        page["transactions"]
            .as_array()
            .unwrap()
            .iter()
            .all(|one| one["endUser"] == "anna" && one["functionName"] == "saver")
    );
    let cursor = &page["transactions"][1]["$id"];
    let second = query(&[
        json!({ "method": "orderDesc", "attribute": "$createdAt" }),
        json!({ "method": "cursorAfter", "values": [cursor] }),
    ]);
    let page = world.get("anna", &format!("/transactions?{second}")).await.is(200);
    assert_eq!(page["transactions"].as_array().unwrap().len(), 1);
    // Another's row is no cursor, whoever names it.
    let bos = query(&[json!({ "method": "cursorAfter", "values": [cursor] })]);
    world.get("bo", &format!("/transactions?{bos}")).await.is_error(400, "general_cursor_not_found");
    // Nor can it be asked for by name.
    let of_bo = query(&[json!({ "method": "equal", "attribute": "endUser", "values": ["bo"] })]);
    world.get("anna", &format!("/transactions?{of_bo}")).await.is_error(400, "general_argument_invalid");
    let or = query(&[json!({ "method": "or", "values": [
        { "method": "isNotNull", "attribute": "currency" }, { "method": "equal", "attribute": "functionId", "values": ["x"] },
    ] })]);
    assert_eq!(world.get("anna", &format!("/transactions?{or}")).await.is(200)["total"], 3);
    assert_eq!(world.get("cy", "/transactions").await.is(200)["total"], 0);
    assert_eq!(world.get("cy", "/savings").await.is(200)["savings"], json!([]));
    // The end user of this name of another partner is somebody else.
    world.larder.partner("other").await.put("/identity", world.issuer.settings()).await.is(200);
    let request = world.larder.web("other", Method::GET, "/_larder/me/transactions");
    let answer = Api::send(request.bearer_auth(world.issuer.token("anna"))).await.is(200);
    assert_eq!(answer["total"], 0);
});

fn form(pairs: impl Iterator<Item = (&'static str, String)>) -> String {
    let escape = |text: String| -> String {
        text.bytes()
            .map(|b| if b.is_ascii_alphanumeric() { char::from(b).to_string() } else { format!("%{b:02X}") })
            .collect()
    };
    pairs.map(|(name, value)| format!("{}={}", escape(name.into()), escape(value))).collect::<Vec<_>>().join("&")
}

both!(the_endpoints_of_end_users_are_larders_and_bounded, async |on| {
    let options = Options::on(on).set("LARDER_IDENTITY__ENROLMENTS_PER_END_USER", "2");
    let world = World::start(options).await;
    let (api, larder) = (world.larder.api(), &world.larder);
    // A function at the root serves everything but what is Larder's.
    api.create_function("taken", json!({ "routes": ["/_larder/me"] })).await.is_error(400, "general_argument_invalid");
    api.deploy("root", &guests::guest("hello-http"), json!({ "routes": ["/"], "per": "enrolment", "enrol": "self" }))
        .await;
    let plain = async |method: Method, path: &str| larder.web("demo", method, path).send().await.unwrap();
    assert_eq!(plain(Method::GET, "/hello").await.status(), 200);
    for path in ["/_larder", "/_larder/", "/_larder/you", "/_larder/me/", "/_larder/hello"] {
        let answer = plain(Method::GET, path).await;
        assert_eq!(
            (answer.status(), answer.headers().contains_key("x-appwrite-execution-id")),
            (StatusCode::NOT_FOUND, false)
        );
    }
    let answer = plain(Method::GET, "/_larder/me").await;
    assert_eq!(
        (answer.status(), &answer.headers()["www-authenticate"]),
        (StatusCode::UNAUTHORIZED, &"Bearer".parse().unwrap())
    );
    assert_eq!(answer.headers()["cache-control"], "no-store");
    // A key is no end user, and the API's address has no such place.
    let request = larder.web("demo", Method::GET, "/_larder/me").header("x-appwrite-key", larder.key());
    Api::send(request).await.is_error(401, "user_unauthorized");
    let url = format!("http://{}/_larder/me", larder.address());
    let request = reqwest::Client::new().get(url).header("host", "demo-api.localhost");
    let answer = request.bearer_auth(world.issuer.token("anna")).send().await.unwrap();
    assert_eq!(answer.status(), 404);

    // Pages of the partner's origins may call it, and no others.
    let preflight = async |origin: &str| {
        let request = larder.web("demo", Method::OPTIONS, "/_larder/me/enrolments").header("origin", origin);
        request.header("access-control-request-method", "POST").send().await.unwrap()
    };
    let answer = preflight("https://app.example").await;
    assert_eq!(answer.status(), 204);
    for (name, value) in [
        ("access-control-allow-origin", "https://app.example"),
        ("access-control-allow-methods", "GET, POST, PATCH, DELETE"),
        ("vary", "origin"),
    ] {
        assert_eq!(answer.headers()[name], value, "{name}");
    }
    assert!(answer.headers()["access-control-allow-headers"].to_str().unwrap().contains("Authorization"));
    assert!(!answer.headers().contains_key("access-control-allow-credentials"));
    for origin in ["https://evil.example", "null", "https://app.example.evil.example", "http://app.example"] {
        let answer = preflight(origin).await;
        assert_eq!(
            (answer.status(), answer.headers().contains_key("access-control-allow-origin")),
            (StatusCode::FORBIDDEN, false)
        );
        let request = larder.web("demo", Method::GET, "/_larder/me").header("origin", origin);
        let answer = request.bearer_auth(world.issuer.token("anna")).send().await.unwrap();
        assert!(!answer.headers().contains_key("access-control-allow-origin"), "{origin}");
    }
    // Errors can be read by them, too.
    let request = larder.web("demo", Method::GET, "/_larder/me").header("origin", "https://app.example");
    let answer = request.bearer_auth("nonsense").send().await.unwrap();
    assert_eq!(
        (answer.status(), &answer.headers()["access-control-allow-origin"]),
        (StatusCode::UNAUTHORIZED, &"https://app.example".parse().unwrap())
    );

    // One end user has so many enrolments.
    for function in ["a", "b", "c"] {
        api.deploy(function, &guests::guest("probe"), json!({ "per": "enrolment", "enrol": "self" })).await;
    }
    for function in ["a", "b"] {
        world.join("anna", json!({ "functionId": function })).await.is(201);
    }
    let message = world.join("anna", json!({ "functionId": "c" })).await.is_error(400, "general_bad_request");
    assert!(message.contains("at most 2 enrolments"), "{message}");
    world.join("bo", json!({ "functionId": "c" })).await.is(201);

    // Many at once take turns, and nobody is left out or let in wrongly.
    let many = (0..24).map(|n| {
        let (world, user) = (&world, format!("user{}", n % 12));
        async move { world.get(&user, "/enrolments").await.status }
    });
    let statuses = futures::future::join_all(many).await;
    assert!(statuses.iter().all(|status| matches!(status, 200 | 429)) && statuses.contains(&200), "{statuses:?}");
    assert_eq!(world.get("anna", "/enrolments").await.is(200)["total"], 2);
    assert_eq!(api.limit("identity.requests_per_end_user").await, (4, 0));

    // The answers are what the document says.
    let document = api.get("/openapi.json").await.is(200);
    let paths = document["paths"].as_object().unwrap();
    let mine: Vec<&String> = paths.keys().filter(|path| path.starts_with("/_larder/")).collect();
    assert_eq!(mine.len(), 6, "{mine:?}");
    for path in mine {
        for (method, operation) in paths[path].as_object().unwrap() {
            assert!(operation["security"][0]["token"].is_array(), "{method} {path}");
            let names: Vec<&str> =
                operation["parameters"].as_array().unwrap().iter().filter_map(|p| p["name"].as_str()).collect();
            assert!(!names.contains(&"X-Appwrite-Project"), "{method} {path}");
        }
    }
});
