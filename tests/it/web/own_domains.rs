//! Domains of partners' own: who has proved them, what is served there, and what happens when the proof is gone.

use larder_tests::outside::Names;
use larder_tests::{Answer, Api, Backend, Larder, Options, both, eventually, guests, within};
use reqwest::Method;
use serde_json::{Value, json};
use std::time::Duration;

/// Names that the test decides. What is proved is looked at again each second, and lost after two.
async fn installation(on: Backend) -> (Larder, Names) {
    let names = Names::start().await;
    let options = Options::on(on)
        .set("LARDER_EGRESS__DNS_SERVERS", format!(r#"["{}"]"#, names.address))
        .set("LARDER_SERVER__PROXIES", r#"["127.0.0.0/8"]"#)
        .set("LARDER_SERVER__DOMAIN_RECHECK", "1s")
        .set("LARDER_SERVER__DOMAIN_GRACE", "2s");
    (Larder::start_with(options).await, names)
}

async fn ask(larder: &Larder, host: &str, path: &str) -> u16 {
    larder.at(host, Method::GET, path).send().await.expect("an answer").status().as_u16()
}

async fn make(api: &Api, kind: &str, domain: &str) -> String {
    let body = match kind {
        "function" => json!({ "domain": domain, "functionId": "mirror" }),
        _ => json!({ "domain": domain }),
    };
    let made = api.post(&format!("/proxy/rules/{kind}"), body).await.is(201);
    made["$id"].as_str().expect("an id").to_owned()
}

/// Two looks at a rule have a moment between them.
async fn verified(api: &Api, id: &str) -> Value {
    eventually("a proof", async || {
        let answer = api.patch(&format!("/proxy/rules/{id}/verification"), json!({})).await;
        (answer.status == 200).then(|| answer.is(200))
    })
    .await
}

async fn rule(api: &Api, id: &str) -> Value {
    api.get(&format!("/proxy/rules/{id}")).await.is(200)
}

async fn becomes(api: &Api, id: &str, status: &str) -> Value {
    within(Duration::from_secs(30), status, async || Some(rule(api, id).await).filter(|rule| rule["status"] == status))
        .await
}

both!(a_domain_is_served_once_dns_says_whose_it_is, async |on| {
    let (larder, names) = installation(on).await;
    let (api, other) = (larder.api(), larder.partner("other").await);
    api.deploy("mirror", &guests::guest("mirror"), json!({ "execute": ["any"], "routes": ["/shop"] })).await;
    let shop = "shop.acme.example";
    let claim = make(&other, "site", shop).await;
    let mine = make(&api, "site", "Shop.acme.example").await;
    let told = rule(&api, &mine).await;
    assert_eq!(
        (&told["domain"], &told["type"], &told["status"]),
        (&json!(shop), &json!("deployment"), &json!("unverified"))
    );
    assert_eq!((&told["deploymentResourceType"], &told["deploymentResourceId"]), (&json!("site"), &json!("demo")));
    // Which record is missing.
    let why = told["logs"].as_str().expect("a text");
    assert!(
        ["CNAME record to demo.localhost", "_larder.shop.acme.example", "it has no CNAME record"]
            .iter()
            .all(|part| why.contains(part)),
        "{why}"
    );
    let refused = api.patch(&format!("/proxy/rules/{mine}/status"), json!({})).await;
    assert!(refused.is_error(400, "rule_verification_failed").contains("demo.localhost"));
    api.post("/proxy/rules/api", json!({ "domain": shop })).await.is_error(409, "rule_already_exists");
    assert_eq!(ask(&larder, shop, "/shop").await, 404, "nothing is served yet");

    // A claim of somebody else holds up nobody.
    names.alias(shop, "demo.localhost");
    assert_eq!(verified(&api, &mine).await["logs"], "");
    assert_eq!(ask(&larder, "SHOP.acme.example:8080", "/shop/a").await, 200);
    for closed in ["/", "/v1/functions", "/depo", "/internal", "/%76%31/functions"] {
        assert_eq!(ask(&larder, shop, closed).await, 404, "{closed}");
    }
    let refused = other.patch(&format!("/proxy/rules/{claim}/verification"), json!({})).await;
    assert!(refused.is_error(400, "rule_verification_failed").contains("leads to demo.localhost"));
    other.get(&format!("/proxy/rules/{mine}")).await.is_error(404, "rule_not_found");
    other.patch(&format!("/proxy/rules/{mine}/verification"), json!({})).await.is_error(404, "rule_not_found");
    // The cookies of a domain may name it, and not the installation.
    api.deploy("hostile", &guests::guest("hostile"), json!({ "routes": ["/hostile"] })).await;
    let cookies = format!("h=set-cookie:own=1;+Domain={shop}&h=set-cookie:wide=1;+Domain=demo.localhost");
    let answer = larder.at(shop, Method::GET, &format!("/hostile/say?{cookies}")).send().await.expect("an answer");
    let kept: Vec<_> = answer.headers().get_all("set-cookie").iter().collect();
    assert!(kept.len() == 1 && kept[0].as_bytes().starts_with(b"own=1"), "{kept:?}");

    // Whoever proves it now has it.
    names.alias(shop, "other.localhost");
    verified(&other, &claim).await;
    assert_eq!(ask(&larder, shop, "/shop/a").await, 404);
    let lost = rule(&api, &mine).await;
    assert_eq!((&lost["status"], &lost["domain"]), (&json!("unverified"), &json!(shop)), "{lost}");

    // A domain of the API, by a text, as where there can be no alias.
    let by_text = make(&api, "api", "acme.example").await;
    names.text("_larder.acme.example", "demo-api.localhost");
    let told = verified(&api, &by_text).await;
    assert_eq!((&told["type"], &told["deploymentResourceType"]), (&json!("api"), &Value::Null));
    let listed = larder.at("acme.example", Method::GET, "/v1/functions").header("x-appwrite-key", larder.key());
    assert_eq!(Api::send(listed).await.is(200)["total"], 2);
    // It has the door of the API.
    let outside = larder.at("acme.example", Method::GET, "/v1/functions").header("x-forwarded-for", "203.0.113.9");
    assert_eq!(Api::send(outside.header("x-appwrite-key", larder.key())).await.status, 404);
    // The partner is the host's, whatever a header says.
    let foreign = larder.at("acme.example", Method::GET, "/v1/functions").header("x-appwrite-project", "other");
    assert_ne!(Api::send(foreign.header("x-appwrite-key", larder.key())).await.status, 200);
    for nothing in ["/", "/shop", "/depo"] {
        assert_eq!(ask(&larder, "acme.example", nothing).await, 404, "{nothing}");
    }

    // A function at a domain of its own, which leads here by another name. It receives every path but those that are nobody's.
    let function = make(&api, "function", "go.acme.example").await;
    names.alias("go.acme.example", "cdn.example");
    names.alias("cdn.example", "demo.localhost");
    verified(&api, &function).await;
    assert_eq!(
        (ask(&larder, "go.acme.example", "/v1/x").await, ask(&larder, "go.acme.example", "/internal").await),
        (200, 404)
    );
    // A look-up that fails says nothing.
    names.fails(true);
    let unknown = eventually("a look that fails", async || {
        Some(rule(&api, &function).await)
            .filter(|rule| rule["logs"].as_str().is_some_and(|why| why.contains("could not be asked")))
    });
    assert_eq!(unknown.await["status"], "verified");
    names.fails(false);
    // A proof that is gone is missed for a while, and then the domain is lost.
    names.forget("cdn.example");
    eventually("a warning", async || {
        // The proof is looked for by whoever asks.
        let _ = api.patch(&format!("/proxy/rules/{function}/status"), json!({})).await;
        let rule = rule(&api, &function).await;
        let warned = rule["logs"].as_str().is_some_and(|why| why.contains("is served until"));
        (warned || rule["status"] == "unverified").then_some(())
    })
    .await;
    let lost = becomes(&api, &function, "unverified").await;
    assert!(lost["logs"].as_str().is_some_and(|why| why.contains("it leads to cdn.example")), "{lost}");
    eventually("nothing to be served", async || (ask(&larder, "go.acme.example", "/v1/x").await == 404).then_some(()))
        .await;
    // With the function its rule goes, and nothing else.
    api.delete("/functions/mirror").await.is(204);
    let left = api.get("/proxy/rules").await.is(200);
    let left: Vec<_> = left["rules"].as_array().expect("rules").iter().map(|rule| rule["domain"].clone()).collect();
    assert_eq!(left, [json!(shop), json!("acme.example")]);
});

both!(domains_that_nobody_can_have_are_refused, async |on| {
    let (larder, names) = installation(on).await;
    let api = larder.api();
    let refused = async |kind: &str, domain: &str| -> Answer {
        api.post(&format!("/proxy/rules/{kind}"), json!({ "domain": domain })).await
    };
    for (domain, named) in [
        ("localhost", "no domain that one owner has"),
        ("demo.localhost", "public DNS"),
        ("other-api.localhost", "public DNS"),
        ("x.functions.localhost", "public DNS"),
        ("192.0.2.7", "IP address"),
        ("[2001:db8::1]", "no DNS label"),
        ("co.uk", "no domain that one owner has"),
        ("acme", "no domain that one owner has"),
        ("acme.example.", "no DNS label"),
        ("*.acme.example", "no DNS label"),
        ("acme.example:8080", "no DNS label"),
        ("bücher.example", "xn--"),
    ] {
        for kind in ["api", "site"] {
            let said = refused(kind, domain).await.is_error(400, "general_argument_invalid");
            assert!(said.contains("`domain`") && said.contains(named), "{domain}: {said}");
        }
    }
    refused("redirect", "acme.example").await.is_error(405, "general_not_implemented");
    let site = json!({ "domain": "acme.example", "siteId": "other" });
    api.post("/proxy/rules/site", site).await.is_error(404, "rule_resource_not_found");
    // By the command line.
    let folder = larder.scratch().to_owned();
    let (code, _, stderr) = larder.cli(&folder, &["rules", "create", "www.acme.example", "--site"]).await;
    assert!(
        code == 0 && stderr.contains("will call functions by route") && stderr.contains("demo.localhost"),
        "{stderr}"
    );
    let (code, _, stderr) = larder.cli(&folder, &["rules", "verify", "www.acme.example"]).await;
    assert!(code == 1 && stderr.contains("must have a CNAME record to demo.localhost"), "{stderr}");
    names.alias("www.acme.example", "demo.localhost");
    eventually("a proof", async || {
        let (code, _, stderr) = larder.cli(&folder, &["rules", "verify", "WWW.acme.example"]).await;
        (code == 0 && stderr.contains("(verified)")).then_some(())
    })
    .await;
    let (_, stdout, _) = larder.cli(&folder, &["rules", "list"]).await;
    assert!(stdout.contains("functions by route") && stdout.contains("verified"), "{stdout}");
});

#[tokio::test(flavor = "multi_thread")]
async fn proved_domains_reach_other_processes() {
    let (larder, names) = installation(Backend::Services).await;
    let beside = larder.start_beside(Options::on(Backend::Services)).await;
    names.alias("acme.example", "demo.localhost");
    larder.api().deploy("mirror", &guests::guest("mirror"), json!({ "routes": ["/"] })).await;
    let id = make(&larder.api(), "site", "acme.example").await;
    assert_eq!(rule(&larder.api(), &id).await["status"], "verified", "it was proved before it was asked for");
    eventually("the domain", async || (ask(&beside, "acme.example", "/").await == 200).then_some(())).await;
    larder.api().delete(&format!("/proxy/rules/{id}")).await.is(204);
    eventually("the domain to be gone", async || (ask(&beside, "acme.example", "/").await == 404).then_some(())).await;
}
