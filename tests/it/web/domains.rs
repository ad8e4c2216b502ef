//! Functions at domains of their own: the rules, and calls by them.

use larder_tests::{Answer, Api, Backend, Larder, Options, both, eventually, guests};
use reqwest::Method;
use serde_json::{Value, json};

const PARENT: &str = "functions.localhost";

async fn ask(larder: &Larder, host: &str) -> Answer {
    Api::send(larder.at(host, Method::GET, "/a?b=1")).await
}

async fn rule(api: &Api, domain: &str, function: &str) -> Answer {
    api.post("/proxy/rules/function", json!({ "domain": domain, "functionId": function })).await
}

/// The value of a header that the guest `mirror` was told.
fn told<'a>(body: &'a Value, name: &str) -> Option<&'a str> {
    body["headers"].as_array()?.iter().find(|header| header[0] == name)?[1].as_str()
}

both!(a_function_is_called_by_its_domain, async |on| {
    let larder = Larder::start_on(on).await;
    let api = larder.api();
    api.deploy("mirror", &guests::guest("mirror"), json!({ "execute": ["any"] })).await;
    let made = rule(&api, &format!("Shop.{PARENT}"), "mirror").await.is(201);
    assert_eq!(made["domain"], format!("shop.{PARENT}"));
    assert_eq!((&made["status"], &made["deploymentResourceId"]), (&json!("verified"), &json!("mirror")));
    let host = format!("shop.{PARENT}");
    // Everything reaches the function, and only the platform speaks of the platform.
    let call = larder
        .at(&format!("SHOP.{PARENT}:8080"), Method::PUT, "/v1/functions?x=%20y")
        .header("x-appwrite-user-id", "forged")
        .header("x-appwrite-key", "forged")
        .header("x_appwrite_user_jwt", "forged")
        .header("x-larder-anything", "forged")
        .header("x-appwrite-project", "other")
        .header("x-own", "kept")
        .body("hello")
        .send()
        .await
        .unwrap();
    let id = call.headers()["x-appwrite-execution-id"].to_str().unwrap().to_owned();
    let seen: Value = call.json().await.unwrap();
    assert_eq!((&seen["method"], &seen["target"]), (&json!("PUT"), &json!("/v1/functions?x=%20y")));
    assert_eq!((&seen["body"], told(&seen, "x-own")), (&json!("hello"), Some("kept")));
    assert_eq!((told(&seen, "x-appwrite-trigger"), told(&seen, "x-appwrite-execution-id")), (Some("http"), Some(&*id)));
    assert!(!seen.to_string().contains("forged") && told(&seen, "x-appwrite-project").is_none(), "{seen}");
    // The run is an execution like any other.
    let record = eventually("the record", async || {
        let record = api.get(&format!("/functions/mirror/executions/{id}")).await;
        (record.status == 200).then_some(record.body)
    })
    .await;
    assert_eq!((&record["trigger"], &record["requestMethod"]), (&json!("http"), &json!("PUT")));
    // A status and an empty body pass through.
    assert_eq!(larder.at(&host, Method::GET, "/?status=418").send().await.unwrap().status(), 418);
    // A path of the partner's own host is no business of the domain, and the other way round.
    assert_eq!(larder.web("demo", Method::GET, "/a").send().await.unwrap().status(), 404);

    // Another deployment is called as soon as it is active; nothing of the rule changes but what it tells.
    let before = made["deploymentId"].clone();
    let second = api.build("mirror", &guests::guest("hello-http"), true).await;
    let id = made["$id"].as_str().unwrap();
    let now = api.get(&format!("/proxy/rules/{id}")).await.is(200);
    assert_eq!((&now["deploymentId"], &now["$updatedAt"]), (&second["$id"], &made["$updatedAt"]));
    assert_ne!(now["deploymentId"], before);
    assert_eq!(larder.at(&host, Method::GET, "/hello").send().await.unwrap().text().await.unwrap(), "Hello, world!\n");
});

both!(what_is_refused_at_a_domain_says_why, async |on| {
    let larder = Larder::start_on(on).await;
    let api = larder.api();
    let host = format!("f.{PARENT}");
    ask(&larder, PARENT).await.is_error(401, "general_access_forbidden");
    ask(&larder, &host).await.is_error(404, "rule_not_found");
    ask(&larder, &format!("a.{host}")).await.is_error(404, "rule_not_found");
    api.create_function("f", json!({ "execute": ["any"] })).await.is(201);
    let id = rule(&api, &host, "f").await.is(201)["$id"].as_str().unwrap().to_owned();
    ask(&larder, &host).await.is_error(404, "deployment_not_found");
    assert_eq!(api.build("f", &guests::guest("mirror"), true).await["status"], "ready");
    assert_eq!(ask(&larder, &host).await.status, 200);
    let set = async |settings: Value| {
        let mut body = json!({ "name": "f" });
        body.as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
        api.put("/functions/f", body).await.is(200);
    };
    for execute in [json!([]), json!(["users"]), json!(["user:u", "label:any"])] {
        set(json!({ "execute": execute })).await;
        ask(&larder, &host).await.is_error(401, "function_execute_permission_missing");
        // A key is for the API: here it is the function's own affair.
        let keyed = larder.at(&host, Method::GET, "/").header("x-appwrite-key", larder.key());
        Api::send(keyed).await.is_error(401, "function_execute_permission_missing");
    }
    set(json!({ "execute": ["guests"] })).await;
    assert_eq!(ask(&larder, &host).await.status, 200);
    set(json!({ "execute": ["any"], "enabled": false })).await;
    ask(&larder, &host).await.is_error(404, "function_not_found");
    set(json!({ "execute": ["any"], "timeout": 1 })).await;
    Api::send(larder.at(&host, Method::GET, "/?ms=20000")).await.is_error(408, "function_synchronous_timeout");
    assert_eq!(api.delete(&format!("/proxy/rules/{id}")).await.status, 204);
    ask(&larder, &host).await.is_error(404, "rule_not_found");
    // A function that serves no HTTP.
    api.deploy("probe", &guests::guest("probe"), json!({ "execute": ["any"] })).await;
    rule(&api, &host, "probe").await.is(201);
    ask(&larder, &host).await.is_error(404, "general_route_not_found");
    // With the function its domains are gone, and free.
    assert_eq!(api.delete("/functions/probe").await.status, 204);
    ask(&larder, &host).await.is_error(404, "rule_not_found");
    rule(&larder.partner("other").await, &host, "f").await.is_error(404, "rule_resource_not_found");
    rule(&api, &host, "f").await.is(201);
});

both!(a_domain_belongs_to_one_partner_of_the_installation, async |on| {
    let larder = Larder::start_with(Options::on(on).set("LARDER_SERVER__RULES_PER_PARTNER", "2")).await;
    let (mine, other) = (larder.api(), larder.partner("other").await);
    for api in [&mine, &other] {
        api.create_function("f", json!({ "execute": ["any"] })).await.is(201);
    }
    let host = |label: &str| format!("{label}.{PARENT}");
    let id = rule(&mine, &host("a"), "f").await.is(201)["$id"].as_str().unwrap().to_owned();
    for (api, taken) in [(&other, "a"), (&other, "A"), (&mine, "a")] {
        rule(api, &host(taken), "f").await.is_error(409, "rule_already_exists");
    }
    other.get(&format!("/proxy/rules/{id}")).await.is_error(404, "rule_not_found");
    other.delete(&format!("/proxy/rules/{id}")).await.is_error(404, "rule_not_found");
    assert_eq!(other.get("/proxy/rules").await.is(200), json!({ "total": 0, "rules": [] }));
    for (domain, named) in [
        (PARENT.to_owned(), "is the domain below"),
        (host("a.b"), "more than one label"),
        ("localhost".into(), "no domain that one owner has"),
        ("demo-api.localhost".into(), "public DNS"),
        (host("a b"), "no DNS label"),
        (String::new(), "domain"),
    ] {
        let said = rule(&mine, &domain, "f").await.is_error(400, "general_argument_invalid");
        assert!(said.contains("`domain`") && said.contains(named), "{domain}: {said}");
    }
    let branch = json!({ "domain": host("b"), "functionId": "f", "branch": "main" });
    mine.post("/proxy/rules/function", branch).await.is_error(400, "general_argument_invalid");
    mine.post("/proxy/rules/redirect", json!({})).await.is_error(405, "general_not_implemented");
    rule(&mine, &host("b"), "f").await.is(201);
    let said = rule(&mine, &host("c"), "f").await.is_error(413, "project_quota_exceeded");
    assert!(said.contains("server.rules_per_partner"), "{said}");
    assert_eq!(mine.limit("server.rules_per_partner").await, (2, 2));
    // The list as clients ask for it: one rule of a function, the newest.
    let queries = [
        json!({ "method": "equal", "attribute": "deploymentResourceType", "values": ["function"] }),
        json!({ "method": "equal", "attribute": "deploymentResourceId", "values": ["f"] }),
        json!({ "method": "equal", "attribute": "trigger", "values": ["manual"] }),
        json!({ "method": "limit", "values": [1] }),
    ];
    let page = mine.list("/proxy/rules", &queries).await.is(200);
    assert_eq!((&page["total"], &page["rules"][0]["domain"]), (&json!(2), &json!(host("a"))));
    let verified = mine.patch(&format!("/proxy/rules/{id}/status"), json!({})).await.is(200);
    assert_eq!(verified["status"], "verified");
    // A domain that was given up is anybody's.
    assert_eq!(mine.delete(&format!("/proxy/rules/{id}")).await.status, 204);
    rule(&other, &host("a"), "f").await.is(201);
});

both!(the_domain_of_functions_is_a_setting, async |on| {
    let larder = Larder::start_with(Options::on(on).set("_APP_DOMAIN_FUNCTIONS", "acme.localhost")).await;
    let said = larder
        .operator()
        .post("/partners", json!({ "partnerId": "acme", "name": "acme" }))
        .await
        .is_error(400, "general_argument_invalid");
    assert!(said.contains("server.functions_domain"), "{said}");
    let api = larder.api();
    api.deploy("mirror", &guests::guest("mirror"), json!({ "execute": ["any"] })).await;
    rule(&api, &format!("x.{PARENT}"), "mirror").await.is_error(400, "general_argument_invalid");
    rule(&api, "x.acme.localhost", "mirror").await.is(201);
    assert_eq!(ask(&larder, "x.acme.localhost").await.status, 200);
    assert_eq!(ask(&larder, &format!("x.{PARENT}")).await.status, 404);
});

#[tokio::test(flavor = "multi_thread")]
async fn rules_reach_other_processes() {
    let larder = Larder::start_on(Backend::Services).await;
    let beside = larder.start_beside(Options::on(Backend::Services)).await;
    larder.api().deploy("mirror", &guests::guest("mirror"), json!({ "execute": ["any"] })).await;
    let host = format!("x.{PARENT}");
    let id = rule(&larder.api(), &host, "mirror").await.is(201)["$id"].as_str().unwrap().to_owned();
    assert_eq!(ask(&beside, &host).await.status, 200);
    assert_eq!(larder.api().delete(&format!("/proxy/rules/{id}")).await.status, 204);
    eventually("the rule to be gone", async || (ask(&beside, &host).await.status == 404).then_some(())).await;
}

both!(the_command_line_gives_and_takes_domains, async |on| {
    let larder = Larder::start_on(on).await;
    let (api, folder) = (larder.api(), larder.scratch().to_owned());
    api.deploy("mirror", &guests::guest("mirror"), json!({ "execute": ["any"] })).await;
    let domain = format!("shop.{PARENT}");
    let (code, stdout, stderr) = larder.cli(&folder, &["rules", "create", &domain, "--function", "mirror"]).await;
    assert!(code == 0 && stdout.trim() == domain && stderr.contains("calls mirror"), "{stdout}{stderr}");
    let (code, _, stderr) = larder.cli(&folder, &["rules", "create", &domain, "--function", "mirror"]).await;
    assert!(code == 1 && stderr.contains("belongs to a rule already"), "{stderr}");
    let (_, stdout, _) = larder.cli(&folder, &["rules", "list"]).await;
    assert!(stdout.contains(&domain) && stdout.contains("mirror") && stdout.contains("verified"), "{stdout}");
    let (_, stdout, _) = larder.cli(&folder, &["rules", "list", "--json"]).await;
    assert_eq!(serde_json::from_str::<Value>(&stdout).unwrap()["domain"], domain);
    assert_eq!(ask(&larder, &domain).await.status, 200);
    let (code, _, _) = larder.cli(&folder, &["rules", "delete", &domain.to_uppercase()]).await;
    assert_eq!((code, ask(&larder, &domain).await.status), (0, 404));
    let (code, _, stderr) = larder.cli(&folder, &["rules", "delete", &domain]).await;
    assert!(code == 1 && stderr.contains("larder rules list"), "{stderr}");
});
