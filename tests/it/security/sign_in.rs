//! People who sign in: their sessions, what they may, and what guessing is worth.

use larder_tests::{Answer, Api, Larder, Options, PASSWORD, both, eventually, guests};
use reqwest::Method;
use serde_json::{Value, json};

fn of(partner: &str) -> Value {
    json!([{ "partnerId": partner, "role": "administrator" }])
}

async fn attempt(larder: &Larder, email: &str, password: &str) -> Answer {
    let body = json!({ "email": email, "password": password });
    larder.api_of(Some("console"), None).post("/account/sessions/email", body).await
}

both!(somebody_signs_in_and_administers_their_partners, async |on| {
    let larder = Larder::start_on(on).await;
    let other = larder.partner("other").await;
    larder.api().create_function("mine", json!({})).await.is(201);
    let anna = larder.administrator("Anna@Bank.Example", of("demo")).await;
    assert_eq!((&anna["email"], &anna["emailVerification"]), (&json!("anna@bank.example"), &json!(true)));
    let body = json!({ "email": "ANNA@bank.example", "password": PASSWORD });
    let request = larder.api_of(Some("console"), None).request(Method::POST, "/account/sessions/email").json(&body);
    let answer = request.send().await.unwrap();
    assert_eq!(answer.status(), 201);
    let cookie = answer.headers()["set-cookie"].to_str().unwrap().to_owned();
    assert!(cookie.starts_with("a_session_console=session_"), "{cookie}");
    assert!(cookie.contains("; Path=/;") && cookie.contains("; HttpOnly; SameSite=Strict"), "{cookie}");
    let session: Value = answer.json().await.unwrap();
    assert_eq!(
        (&session["provider"], &session["current"], &session["secret"]),
        (&json!("email"), &json!(true), &json!(""))
    );
    // As the command line of the replaced platform sends it back: whole, with its attributes.
    let person = larder.person(&cookie);
    let account = person.get("/account").await.is(200);
    assert_eq!((&account["$id"], &account["mfa"], &account["prefs"]), (&anna["$id"], &json!(false), &json!({})));

    let project = larder.as_person("demo", &cookie);
    assert_eq!(project.get("/functions").await.is(200)["total"], 1);
    project.create_function("hers", json!({})).await.is(201);
    project.grant("hers", json!({ "state": true })).await;
    let changes = larder.api().get("/grants/changes").await.is(200).to_string();
    assert!(changes.contains(&format!("admin-{}", anna["$id"].as_str().unwrap())), "{changes}");
    // Of other partners nothing, whether or not they exist.
    larder.as_person("other", &cookie).get("/functions").await.is_error(401, "user_unauthorized");
    larder.as_person("nobody", &cookie).get("/functions").await.is_error(404, "project_not_found");
    other.get("/functions/hers").await.is_error(404, "function_not_found");
    // Without the header that no page of another site can send, the cookie is nothing.
    let guest = larder.api_of(Some("demo"), None).with("cookie", &cookie);
    guest.get("/functions").await.is_error(401, "general_unauthorized_scope");
    larder
        .api_of(None, None)
        .with("cookie", &cookie)
        .get("/account?project=console")
        .await
        .is_error(401, "general_access_forbidden");
    person.get("/partners").await.is_error(401, "user_unauthorized");
    larder.person("a_session_console=").get("/account").await.is_error(401, "general_unauthorized_scope");

    // What the operator changes counts at once.
    let path = format!("/operator/administrators/{}", anna["$id"].as_str().unwrap());
    larder.operator().patch(&path, json!({ "roles": of("other") })).await.is(200);
    project.get("/functions").await.is_error(401, "user_unauthorized");
    larder.as_person("other", &cookie).get("/functions").await.is(200);
    assert_eq!(larder.operator().delete(&path).await.status, 204);
    person.get("/account").await.is_error(401, "user_unauthorized");
    attempt(&larder, "anna@bank.example", PASSWORD).await.is_error(401, "user_invalid_credentials");
});

both!(projects_of_a_person_are_the_partners_they_administer, async |on| {
    let options = Options::on(on).set("LARDER_ADMINISTRATORS__SECOND_FACTOR_FOR", "approver");
    let larder = Larder::start_with(options).await;
    larder.partner("other").await;
    larder.administrator("anna@bank.example", of("demo")).await;
    let person = larder.person(&larder.sign_in("anna@bank.example").await);
    let team = person.get("/teams").await.is(200)["teams"][0]["$id"].clone();
    let queries = [
        json!({ "method": "equal", "attribute": "teamId", "values": [team] }),
        json!({ "method": "orderDesc", "attribute": "$id" }),
        json!({ "method": "limit", "values": [100] }),
        json!({ "method": "offset", "values": [0] }),
    ];
    let page = person.list("/projects", &queries).await.is(200);
    assert_eq!((&page["total"], &page["projects"][0]["$id"]), (&json!(1), &json!("demo")));
    let elsewhere = [json!({ "method": "equal", "attribute": "teamId", "values": ["x"] })];
    assert_eq!(person.list("/projects", &elsewhere).await.is(200)["total"], 0);
    assert_eq!(person.get("/projects/demo").await.is(200)["region"], "default");
    for hidden in ["other", "nobody"] {
        person.get(&format!("/projects/{hidden}")).await.is_error(404, "project_not_found");
    }
    let variables = person.get("/console/variables").await.is(200);
    assert_eq!(variables["_APP_DOMAIN_FUNCTIONS"], "functions.localhost");
    assert_eq!(variables["_APP_COMPUTE_SIZE_LIMIT"], 30_000_000);
    let said = person.post("/projects", json!({ "projectId": "new" })).await.is_error(401, "user_unauthorized");
    assert!(said.contains("operators"), "{said}");
    // An operator may make one, and administers it.
    larder.administrator("ops@bank.example", json!([{ "role": "operator" }])).await;
    let cookie = larder.sign_in("ops@bank.example").await;
    let operator = larder.person(&cookie);
    assert_eq!(operator.get("/projects").await.is(200)["total"], 0);
    assert_eq!(operator.post("/projects", json!({ "projectId": "new" })).await.is(201)["name"], "new");
    operator.post("/projects", json!({ "projectId": "console" })).await.is_error(400, "general_argument_invalid");
    operator.post("/projects", json!({ "projectId": "demo" })).await.is_error(409, "project_already_exists");
    larder.as_person("new", &cookie).create_function("f", json!({})).await.is(201);
    larder.as_person("demo", &cookie).get("/functions").await.is_error(401, "user_unauthorized");
});

both!(sessions_are_listed_replaced_and_ended, async |on| {
    let larder = Larder::start_on(on).await;
    let anna = larder.administrator("anna@bank.example", of("demo")).await;
    larder.administrator("bo@bank.example", of("demo")).await;
    let (first, second, bos) = (
        larder.sign_in("anna@bank.example").await,
        larder.sign_in("anna@bank.example").await,
        larder.sign_in("bo@bank.example").await,
    );
    let person = larder.person(&second);
    let all = person.get("/account/sessions").await.is(200);
    assert_eq!(all["total"], 2);
    assert_eq!((&all["sessions"][0]["current"], &all["sessions"][1]["current"]), (&json!(true), &json!(false)));
    let id = all["sessions"][1]["$id"].as_str().unwrap();
    let bo = larder.person(&bos);
    bo.get(&format!("/account/sessions/{id}")).await.is_error(404, "user_session_not_found");
    bo.delete(&format!("/account/sessions/{id}")).await.is_error(404, "user_session_not_found");
    assert_eq!(person.delete(&format!("/account/sessions/{id}")).await.status, 204);
    larder.person(&first).get("/account").await.is_error(401, "user_unauthorized");
    // Signing in again with a session ends that one: nobody goes on under a token from before.
    let body = json!({ "email": "anna@bank.example", "password": PASSWORD });
    person.post("/account/sessions/email", body).await.is(201);
    person.get("/account").await.is_error(401, "user_unauthorized");

    // A new password ends all other sessions, and this one has another token.
    let (mine, others) = (larder.sign_in("anna@bank.example").await, larder.sign_in("anna@bank.example").await);
    let person = larder.person(&mine);
    let change = |old: &str, new: &str| json!({ "oldPassword": old, "password": new });
    person
        .patch("/account/password", change("wrong", "another long one"))
        .await
        .is_error(401, "user_invalid_credentials");
    person.patch("/account/password", change(PASSWORD, "short")).await.is_error(400, "general_argument_invalid");
    let request = person.request(Method::PATCH, "/account/password").json(&change(PASSWORD, "another long one"));
    let answer = request.send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let renewed = answer.headers()["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
    for void in [&mine, &others] {
        larder.person(void).get("/account").await.is_error(401, "user_unauthorized");
    }
    larder.person(&renewed).get("/account").await.is(200);
    attempt(&larder, "anna@bank.example", PASSWORD).await.is_error(401, "user_invalid_credentials");
    // So does one that the operator sets, and everywhere.
    let path = format!("/operator/administrators/{}", anna["$id"].as_str().unwrap());
    larder.operator().patch(&path, json!({ "password": PASSWORD })).await.is(200);
    larder.person(&renewed).get("/account").await.is_error(401, "user_unauthorized");
    let cookie = larder.sign_in("anna@bank.example").await;
    assert_eq!(larder.person(&cookie).delete("/account/sessions/current").await.status, 204);
    larder.person(&cookie).get("/account").await.is_error(401, "user_unauthorized");
    let cookie = larder.sign_in("anna@bank.example").await;
    assert_eq!(larder.person(&cookie).delete("/account/sessions").await.status, 204);
    larder.person(&cookie).get("/account").await.is_error(401, "user_unauthorized");
});

both!(sessions_end_when_unused_and_at_the_latest, async |on| {
    let ended = async |larder: &Larder, pause: u64| {
        larder.administrator("anna@bank.example", of("demo")).await;
        let person = larder.person(&larder.sign_in("anna@bank.example").await);
        person.get("/account").await.is(200);
        eventually("the session to end", async || {
            tokio::time::sleep(std::time::Duration::from_millis(pause)).await;
            (person.get("/account").await.status == 401).then_some(())
        })
        .await;
    };
    let idle = Options::on(on).set("LARDER_ADMINISTRATORS__SESSION_IDLE", "1s");
    ended(&Larder::start_with(idle).await, 1_500).await;
    // It is used all the time.
    let most = Options::on(on)
        .set("LARDER_ADMINISTRATORS__SESSION_IDLE", "3s")
        .set("LARDER_ADMINISTRATORS__SESSION_MAX", "4s");
    ended(&Larder::start_with(most).await, 100).await;
});

both!(guessing_is_slow_and_tells_nothing, async |on| {
    let options = Options::on(on)
        .set("LARDER_SERVER__PROXIES", r#"["127.0.0.0/8"]"#)
        // Whoever guesses sits anywhere.
        .set("LARDER_DOORS__API", "0.0.0.0/0");
    let larder = Larder::start_with(options).await;
    larder.administrator("anna@bank.example", of("demo")).await;
    let guess = async |email: &str, from: &str| {
        let body = json!({ "email": email, "password": "a guess of twelve" });
        let api = larder.api_of(Some("console"), None).with("x-forwarded-for", from);
        api.post("/account/sessions/email", body).await
    };
    // An account that exists and one that does not answer alike, from whatever address.
    let mut ends = Vec::new();
    for email in ["anna@bank.example", "nobody@bank.example"] {
        let mut end = Vec::new();
        for from in 1..=7 {
            let answer = guess(email, &format!("198.51.100.{from}")).await;
            end.push((answer.status, answer.body["type"].clone(), answer.body["message"].clone()));
        }
        ends.push(end);
    }
    assert_eq!(ends[0], ends[1]);
    let statuses: Vec<u16> = ends[0].iter().map(|(status, ..)| *status).collect();
    assert_eq!(statuses, [401, 401, 401, 401, 401, 401, 429]);
    // While it waits the right password does not help either, from anywhere.
    let body = json!({ "email": "anna@bank.example", "password": PASSWORD });
    let api = larder.api_of(Some("console"), None);
    let request = api.request(Method::POST, "/account/sessions/email").json(&body);
    let answer = request.send().await.unwrap();
    if answer.status() == 429 {
        assert!(answer.headers()["retry-after"].to_str().unwrap().parse::<u32>().unwrap() <= 60);
    }
    // It ends, and so do the failures: the delay begins anew.
    eventually("the delay to end", async || {
        (attempt(&larder, "anna@bank.example", PASSWORD).await.status == 201).then_some(())
    })
    .await;
    guess("anna@bank.example", "198.51.100.99").await.is_error(401, "user_invalid_credentials");
    // One address that tries many accounts.
    let mut refused = 0;
    for at in 0..30 {
        refused += u32::from(guess(&format!("u{at}@bank.example"), "203.0.113.5").await.status == 429);
    }
    assert!(refused > 0, "an address may try as many accounts as it likes");
    // Attempts at the same time count as well.
    let many =
        futures::future::join_all((0..12).map(|at| guess("bo@bank.example", ["203.0.113.8", "203.0.113.9"][at % 2])))
            .await;
    let tried = many.iter().filter(|answer| answer.status == 401).count();
    assert!(tried <= 6, "{tried} guesses at once");
    for (email, password) in [("", "x"), ("anna", "x"), ("a'--@x.example", "x"), ("anna@bank.example", "\u{0}")] {
        let status = attempt(&larder, email, password).await.status;
        assert!(matches!(status, 400 | 401 | 429), "{email}: {status}");
    }
});

both!(functions_do_not_see_sessions_of_people, async |on| {
    let larder = Larder::start_on(on).await;
    larder.api().deploy("mirror", &guests::guest("mirror"), json!({ "routes": ["/"], "execute": ["any"] })).await;
    larder.administrator("anna@bank.example", of("demo")).await;
    let cookie = larder.sign_in("anna@bank.example").await;
    // On the bare address a browser sends the cookie of the API to functions, too.
    let call = larder.at("localhost", Method::GET, "/x").header("x-larder-partner", "demo");
    let seen: Value = call.header("cookie", format!("own=1; {cookie}")).send().await.unwrap().json().await.unwrap();
    assert!(!seen.to_string().contains("session_"), "{seen}");
    assert!(seen["headers"].as_array().unwrap().contains(&json!(["cookie", "own=1"])), "{seen}");
});

both!(administrators_are_managed_by_the_operator, async |on| {
    let larder = Larder::start_on(on).await;
    let operator = larder.operator();
    let path = "/operator/administrators";
    let good = json!({ "email": "anna@bank.example", "password": PASSWORD, "roles": of("demo") });
    for (member, value, named) in [
        ("email", json!("anna"), "email"),
        ("password", json!("short"), "password"),
        ("roles", json!([{ "partnerId": "nobody", "role": "administrator" }]), "does not exist"),
        ("roles", json!([{ "role": "administrator" }]), "in a partner"),
        ("roles", json!([{ "partnerId": "demo", "role": "operator" }]), "in the installation"),
        ("roles", json!([{ "partnerId": "demo", "role": "king" }]), "no role"),
    ] {
        let mut body = good.clone();
        body[member] = value;
        let said = operator.post(path, body).await.is_error(400, "general_argument_invalid");
        assert!(said.contains(named), "{said}");
    }
    let made = operator.post(path, good.clone()).await.is(201);
    assert!(!made.to_string().contains("argon2") && made["password"].is_null(), "{made}");
    operator.post(path, good).await.is_error(409, "administrator_already_exists");
    let all = operator.get(path).await.is(200)["administrators"].clone();
    assert!(all.as_array().unwrap().contains(&made), "{all}");
    larder.api().get(path).await.is_error(401, "user_unauthorized");
    Api::send(larder.api_of(None, None).request(Method::DELETE, &format!("{path}/x")))
        .await
        .is_error(401, "user_unauthorized");

    // The same from the command line.
    let folder = larder.scratch().to_owned();
    std::fs::write(folder.join("password.txt"), format!("{PASSWORD}\n")).unwrap();
    let create =
        ["administrators", "create", "bo@bank.example", "--administers", "demo", "--password", "@password.txt"];
    let (code, id, said) = larder.cli(&folder, &create).await;
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("administrator of demo"), "{said}");
    larder.sign_in("bo@bank.example").await;
    let (code, _, said) =
        larder.cli(&folder, &["administrators", "create", "x@y.example", "--password", PASSWORD]).await;
    assert!(code == 2 && said.contains("stdin"), "{said}");
    let (code, listed, _) = larder.cli(&folder, &["admin", "list"]).await;
    assert!(code == 0 && listed.contains("bo@bank.example") && listed.contains(id.trim()), "{listed}");
    let (code, ..) = larder.cli(&folder, &["administrators", "update", "bo@bank.example", "--operator"]).await;
    assert_eq!(code, 0);
    let (code, ..) = larder.cli(&folder, &["administrators", "delete", "bo@bank.example"]).await;
    assert_eq!(code, 0);
    attempt(&larder, "bo@bank.example", PASSWORD).await.is_error(401, "user_invalid_credentials");
});
