//! Every change leaves a record of who, what, from where, before and after; where two persons are needed, one is not enough.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::path::Path;

use larder_model::audit::{Action, Actor, AuditEntry, Door};
use larder_model::ids::PartnerId;
use larder_model::settings::Settings;
use larder_store::listing::Listing;
use larder_store::{Pending, Store, retention};
use larder_tests::{Api, Larder, Options, PASSWORD, Tab, both, eventually, guests};
use reqwest::Method;
use serde_json::{Value, json};

/// Operations that leave no record, and why.
const UNRECORDED: [(&str, &str); 22] = [
    ("createEvents", "events are their own record"),
    ("pushToFeed", "events are their own record"),
    ("pushToOperatorFeed", "events are their own record"),
    ("createExecution", "executions are their own record"),
    ("checkToken", "changes nothing"),
    ("updateRuleVerification", "looks at DNS, which decides"),
    ("updateRuleStatus", "the same, under its other name"),
    ("createRedirectRule", "not offered"),
    ("createTemplateDeployment", "not offered"),
    ("createVcsDeployment", "not offered"),
    ("joinSavehack", "end users' own: the enrolment is its record"),
    ("updateMyEnrolment", "end users' own: the enrolment is its record"),
    ("endMyEnrolment", "end users' own: the enrolment is its record"),
    ("createAPIRule", "the service of createFunctionRule, with another reach"),
    ("createSiteRule", "the service of createFunctionRule, with another reach"),
    ("createDuplicateDeployment", "the service of createDeployment, with an upload that is there"),
    ("createBuild", "the same, under its other name"),
    ("retryBuild", "the same, under its other name"),
    ("updateDeploymentBuild", "updateDeploymentStatus under its other name"),
    ("updateDeployment", "updateFunctionDeployment under its other name"),
    ("renewCertificate", "needs an authority: `a_name_gets_its_certificate_by_itself_and_it_is_renewed`"),
    ("removeFront", "see enrolFront"),
];

/// Where the records of a change are.
#[derive(Clone, Copy)]
enum In {
    Partner,
    Installation,
}

/// Does things as different callers and looks what was recorded.
struct Walk<'l> {
    larder: &'l Larder,
    document: Value,
    walked: std::cell::RefCell<BTreeSet<String>>,
    records: Cell<usize>,
}

impl Walk<'_> {
    /// The operation's template and id, by its method and path.
    fn operation(&self, method: &Method, path: &str) -> String {
        let is = |template: &str| {
            let (template, path): (Vec<&str>, Vec<&str>) =
                (template.trim_start_matches("/v1").split('/').collect(), path.split('/').collect());
            template.len() == path.len()
                && template.iter().zip(&path).all(|(part, given)| part.starts_with('{') || part == given)
        };
        let paths = self.document["paths"].as_object().unwrap();
        let mut all: Vec<&String> = paths.keys().filter(|template| is(template)).collect();
        all.sort_by_key(|template| template.matches('{').count());
        let found =
            all.iter().find_map(|template| paths[*template][method.as_str().to_lowercase()]["operationId"].as_str());
        found.unwrap_or_else(|| panic!("{method} {path} is no operation")).to_owned()
    }

    /// Sends a request, which succeeds, and gives its answer and its record.
    async fn does(
        &self,
        api: &Api,
        method: Method,
        path: &str,
        body: Value,
        (place, action): (In, &str),
    ) -> (Value, Value) {
        let answer = Api::send(api.request(method.clone(), path).json(&body)).await;
        assert!(answer.status < 300, "{method} {path}: {} {}", answer.status, answer.body);
        let operation = self.operation(&method, path);
        let record = self.last(place, action, &operation).await;
        self.walked.borrow_mut().insert(operation);
        (answer.body, record)
    }

    async fn last(&self, place: In, action: &str, what: &str) -> Value {
        let (api, path) = match place {
            In::Partner => (self.larder.api(), "/audit"),
            In::Installation => (self.larder.operator(), "/operator/audit"),
        };
        let newest = [json!({ "method": "orderDesc", "attribute": "" }), json!({ "method": "limit", "values": [20] })];
        let listed = api.list(path, &newest).await.is(200);
        let all = listed["records"].as_array().unwrap();
        let newest = all.iter().max_by_key(|record| record["number"].as_u64()).unwrap_or(&Value::Null);
        assert_eq!(newest["action"], action, "{what} left no record of its own: {listed:#}");
        for member in ["actorKind", "actorId", "actorName", "address", "door", "requestId"] {
            assert_ne!(newest[member], "", "{what}: {member} of {newest}");
        }
        self.records.set(self.records.get() + 1);
        newest.clone()
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value}")).to_owned()
}

both!(every_change_leaves_a_record, async |on| {
    let options = Options::on(on).set("LARDER_ADMINISTRATORS__SECOND_FACTOR_FOR", "[]");
    let larder = Larder::start_with(options).await;
    let document = larder.api().get("/openapi.json").await.is(200);
    let walk = Walk { larder: &larder, document, walked: Default::default(), records: Cell::new(0) };
    let (api, operator) = (larder.api(), larder.operator());
    let (own, all) = (In::Partner, In::Installation);
    let (post, put, patch, delete) = (Method::POST, Method::PUT, Method::PATCH, Method::DELETE);
    let none = json!({});

    // Functions and deployments.
    let made = json!({ "functionId": "f", "name": "Round up", "runtime": "wasi-0.2", "events": ["probe.retry"], "limits": { "attempts": 1 } });
    let (_, record) = walk.does(&api, post.clone(), "/functions", made, (own, "function.create")).await;
    assert_eq!(
        (&record["subjectKind"], &record["subjectId"], &record["after"]["name"]),
        (&json!("function"), &json!("f"), &json!("Round up"))
    );
    assert_eq!(
        (&record["actorKind"], &record["door"], &record["address"]),
        (&json!("key"), &json!("api"), &json!("127.0.0.1"))
    );
    let settings = json!({ "name": "Other", "events": ["probe.retry", "probe.slow"], "limits": { "attempts": 1 } });
    let (_, record) = walk.does(&api, put.clone(), "/functions/f", settings, (own, "function.update")).await;
    assert_eq!((&record["before"]["name"], &record["after"]["name"]), (&json!("Round up"), &json!("Other")));
    assert_eq!(record["after"]["schedule"], Value::Null, "only what differs is in it: {record}");
    let (_, record) =
        walk.does(&api, put.clone(), "/functions/f/grants", larder_tests::wide(), (own, "grants.set")).await;
    assert_ne!(record["after"], none);
    let first = api.upload("f", &guests::guest("probe"), true).await.is(202);
    let record = walk.last(own, "deployment.create", "an upload").await;
    assert_eq!(record["subjectId"], first["$id"]);
    walk.walked.borrow_mut().insert("createDeployment".into());
    let (first, second) = (
        text(&api.built("f", &first).await["$id"]),
        text(&api.build("f", &guests::guest("probe"), false).await["$id"]),
    );
    let active = json!({ "deploymentId": second });
    let (_, record) =
        walk.does(&api, patch.clone(), "/functions/f/deployment", active, (own, "deployment.activate")).await;
    assert_eq!((&record["before"]["deploymentId"], &record["after"]["deploymentId"]), (&json!(first), &json!(second)));
    let asking = api.upload_asking("f", &guests::guest("probe"), false, larder_tests::wide()).await.is(202);
    let asking = text(&api.built("f", &asking).await["$id"]);
    let path = format!("/functions/f/deployments/{asking}/grants");
    let digest = api.get(&path).await.is(200)["deployment"]["digest"].clone();
    let yes = json!({ "digest": digest });
    walk.does(&api, post.clone(), &format!("{path}/approval"), yes, (own, "deployment.approve")).await;
    let waiting = api.upload("f", &guests::guest("probe"), false).await.is(202);
    let path = format!("/functions/f/deployments/{}", text(&waiting["$id"]));
    // The build may have ended already.
    let canceled = Api::send(api.request(patch.clone(), &format!("{path}/status")).json(&none)).await;
    if canceled.status < 300 {
        walk.last(own, "deployment.cancel", "a cancellation").await;
    }
    walk.walked.borrow_mut().insert("updateDeploymentStatus".into());
    walk.does(
        &api,
        delete.clone(),
        &format!("/functions/f/deployments/{first}"),
        none.clone(),
        (own, "deployment.delete"),
    )
    .await;

    // What functions are told and call.
    for of in ["/functions/f/variables", "/project/variables"] {
        let new = json!({ "variableId": "v", "key": "TOKEN", "value": "s3cret-of-the-bank", "secret": true });
        let (_, record) = walk.does(&api, post.clone(), of, new, (own, "variable.create")).await;
        assert_eq!((&record["after"]["name"], &record["after"]["secret"]), (&json!("TOKEN"), &json!(true)));
        let change = json!({ "key": "TOKEN", "value": "another-s3cret-of-the-bank" });
        walk.does(&api, put.clone(), &format!("{of}/v"), change, (own, "variable.update")).await;
        walk.does(&api, delete.clone(), &format!("{of}/v"), none.clone(), (own, "variable.delete")).await;
    }
    for (by, of, place) in [(&api, "", own), (&operator, "/operator", all)] {
        let new = json!({ "name": "bank", "url": "https://bank.example", "credential": { "kind": "query", "name": "k" }, "secret": "s3cret-of-the-bank" });
        walk.does(by, post.clone(), &format!("{of}/upstreams"), new, (place, "upstream.create")).await;
        let change = json!({ "concurrency": 3 });
        let (_, record) =
            walk.does(by, patch.clone(), &format!("{of}/upstreams/bank"), change, (place, "upstream.update")).await;
        assert_eq!(record["after"]["concurrency"], 3, "{record}");
        walk.does(by, delete.clone(), &format!("{of}/upstreams/bank"), none.clone(), (place, "upstream.delete")).await;
        let new = json!({ "name": "goals", "push": true, "mapping": larder_tests::aggregator::mapping() });
        walk.does(by, post.clone(), &format!("{of}/feeds"), new.clone(), (place, "feed.create")).await;
        let change = json!({ "push": true });
        walk.does(by, patch.clone(), &format!("{of}/feeds/goals"), change, (place, "feed.update")).await;
        walk.does(by, post.clone(), &format!("{of}/feeds/goals/secret"), none.clone(), (place, "feed.rotate_secret"))
            .await;
        walk.does(by, delete.clone(), &format!("{of}/feeds/goals"), none.clone(), (place, "feed.delete")).await;
    }
    let identity =
        json!({ "issuer": "https://id.bank.example", "audiences": ["app"], "jwksUrl": "https://127.0.0.1:1/jwks" });
    walk.does(&api, put.clone(), "/identity", identity, (own, "identity.set")).await;
    walk.does(&api, delete.clone(), "/identity", none.clone(), (own, "identity.delete")).await;
    let rule = json!({ "domain": "mine.functions.localhost", "functionId": "f" });
    let (rule, _) = walk.does(&api, post.clone(), "/proxy/rules/function", rule, (own, "rule.create")).await;
    walk.does(
        &api,
        delete.clone(),
        &format!("/proxy/rules/{}", text(&rule["$id"])),
        none.clone(),
        (own, "rule.delete"),
    )
    .await;
    let hook = json!({ "webhookId": "w", "name": "x", "url": "https://x.example", "events": ["functions.*"], "authPassword": "s3cret-of-the-bank" });
    walk.does(&api, post.clone(), "/webhooks", hook.clone(), (own, "webhook.create")).await;
    walk.does(&api, put.clone(), "/webhooks/w", hook, (own, "webhook.update")).await;
    let secret = json!({ "secret": "s3cret-of-the-bank" });
    walk.does(&api, patch.clone(), "/webhooks/w/secret", secret, (own, "webhook.rotate_secret")).await;
    walk.does(&api, delete.clone(), "/webhooks/w", none.clone(), (own, "webhook.delete")).await;

    // Savers, and what runs for them.
    let saver =
        json!({ "functionId": "f", "endUser": "saver-of-the-bank", "topic": "saver-of-the-bank", "settings": {} });
    let (enrolment, _) = walk.does(&api, post.clone(), "/enrolments", saver, (own, "enrolment.create")).await;
    let enrolment = format!("/enrolments/{}", text(&enrolment["$id"]));
    let paused = json!({ "status": "paused" });
    let (_, record) = walk.does(&api, patch.clone(), &enrolment, paused, (own, "enrolment.update")).await;
    assert_eq!((&record["before"]["status"], &record["after"]["status"]), (&json!("active"), &json!("paused")));
    walk.does(&api, delete.clone(), &enrolment, none.clone(), (own, "enrolment.delete")).await;
    let letter = async |id: &str| {
        api.event(id, "probe.retry", None, none.clone()).await.is(202);
        let path = async || {
            api.get("/dead-letters").await.is(200)["deadLetters"].as_array()?.first().map(|one| text(&one["$id"]))
        };
        eventually("a dead letter", path).await
    };
    let path = format!("/dead-letters/{}", letter("one").await);
    walk.does(&api, post.clone(), &format!("{path}/redrive"), none.clone(), (own, "dead_letter.redrive")).await;
    let path = format!("/dead-letters/{}", letter("two").await);
    let _ = walk.does(&api, delete.clone(), &path, none.clone(), (own, "dead_letter.discard")).await;
    let again = letter("three").await;
    let (_, record) = walk
        .does(
            &api,
            post.clone(),
            "/dead-letters/redrive",
            json!({ "functionId": "f" }),
            (own, "dead_letter.redrive_all"),
        )
        .await;
    assert!(record["after"]["redriven"].as_u64().unwrap() >= 1, "{record}");
    let discard = json!({ "action": "discard", "functionId": "f", "reason": "none of them" });
    let (begun, _) = walk.does(&api, post.clone(), "/bulk-actions", discard, (own, "bulk_action.create")).await;
    let bulk = format!("/bulk-actions/{}", text(&begun["$id"]));
    for what in ["pause", "resume", "cancel"] {
        let action = format!("bulk_action.{what}");
        walk.does(&api, post.clone(), &format!("{bulk}/{what}"), none.clone(), (own, &action)).await;
    }
    let ended = async || {
        api.executions("f").await.into_iter().find(|one| one["$id"] != again.as_str() && one["status"] == "failed")
    };
    let ended = text(&eventually("an execution that has ended", ended).await["$id"]);
    walk.does(
        &api,
        delete.clone(),
        &format!("/functions/f/executions/{ended}"),
        none.clone(),
        (own, "execution.delete"),
    )
    .await;
    let slow = json!({ "events": ["probe.slow"], "per": "enrolment", "topics": "all" });
    api.deploy("fan", &guests::guest("probe"), slow).await;
    for saver in 0..12 {
        api.enrol("fan", &format!("saver-{saver}"), "all", none.clone()).await;
    }
    api.event("fan", "probe.slow", None, json!({ "ms": 500 })).await.is(202);
    let fanout = async || api.get("/fanouts").await.is(200)["fanouts"].as_array()?.first().map(|one| text(&one["$id"]));
    let fanout = format!("/fanouts/{}", eventually("a fan-out", fanout).await);
    for (what, action) in [("pause", "fanout.pause"), ("resume", "fanout.resume"), ("cancel", "fanout.cancel")] {
        walk.does(&api, post.clone(), &format!("{fanout}/{what}"), none.clone(), (own, action)).await;
    }
    // Nothing of it failed, so nothing was changed.
    api.post(&format!("{fanout}/redrive"), none.clone()).await.is(202);
    walk.last(own, "fanout.cancel", "a redrive of nothing").await;
    walk.walked.borrow_mut().insert("redriveFanout".into());
    walk.does(&api, delete.clone(), "/functions/f", none.clone(), (own, "function.delete")).await;

    // The installation, and people.
    let acme = json!({ "partnerId": "acme", "name": "Acme" });
    walk.does(&operator, post.clone(), "/partners", acme, (all, "partner.create")).await;
    let two = json!({ "approvalByAnother": true });
    let (_, record) = walk.does(&operator, patch.clone(), "/partners/acme", two, (all, "partner.update")).await;
    assert_eq!(
        (&record["before"], &record["after"]),
        (&json!({ "approvalByAnother": false }), &json!({ "approvalByAnother": true }))
    );
    assert_eq!((&record["partnerId"], &record["actorId"]), (&json!("acme"), &json!("operator")));
    let key = json!({ "name": "k", "scopes": ["functions.read"] });
    let (key, record) = walk.does(&operator, post.clone(), "/partners/demo/keys", key, (all, "key.create")).await;
    assert_eq!(
        walk.last(own, "key.create", "a key").await["requestId"],
        record["requestId"],
        "the partner reads of it, too"
    );
    let key = format!("/partners/demo/keys/{}", text(&key["$id"]));
    walk.does(&operator, delete.clone(), &key, none.clone(), (all, "key.delete")).await;
    let anna = json!({ "email": "anna@bank.example", "password": PASSWORD, "roles": [{ "partnerId": "demo", "role": "developer" }, { "role": "operator" }] });
    let (anna, _) =
        walk.does(&operator, post.clone(), "/operator/administrators", anna, (all, "administrator.create")).await;
    walk.last(own, "administrator.create", "somebody's role").await;
    let anna = format!("/operator/administrators/{}", text(&anna["$id"]));
    walk.does(&operator, patch.clone(), &anna, json!({ "name": "Anna" }), (all, "administrator.update")).await;
    walk.does(&operator, post.clone(), &format!("{anna}/link"), none.clone(), (all, "administrator.invite")).await;
    let wrong = json!({ "email": "anna@bank.example", "password": "not the one of anna" });
    let person = larder.api_of(Some("console"), None);
    person.post("/account/sessions/email", wrong).await.is(401);
    let failed = operator
        .list(
            "/operator/audit",
            &[json!({ "method": "equal", "attribute": "action", "values": ["session.sign_in_failed"] })],
        )
        .await
        .is(200);
    assert_eq!(
        (&failed["records"][0]["subjectId"], &failed["records"][0]["actorKind"]),
        (&json!(anna.rsplit('/').next()), &json!("nobody"))
    );
    let cookie = larder.sign_in("anna@bank.example").await;
    let record = walk.last(all, "session.sign_in", "signing in").await;
    assert_eq!((&record["actorKind"], &record["actorName"]), (&json!("person"), &json!("anna@bank.example")));
    walk.walked.borrow_mut().insert("createEmailPasswordSession".into());
    let password = json!({ "password": "another password of anna", "oldPassword": PASSWORD });
    let (_, record) = walk
        .does(
            &larder.person(&cookie),
            patch.clone(),
            "/account/password",
            password,
            (all, "administrator.set_password"),
        )
        .await;
    assert!(!record.to_string().contains("another password of anna"));
    finish(&walk, &anna).await;
});

/// The rest, and what must hold of everything that was recorded.
async fn finish(walk: &Walk<'_>, anna: &str) {
    let (larder, operator) = (walk.larder, walk.larder.operator());
    let (all, delete) = (In::Installation, Method::DELETE);
    operator.patch(anna, json!({ "password": PASSWORD })).await.is(200);
    for path in ["/account/sessions/current", "/account/sessions"] {
        let person = larder.person(&larder.sign_in("anna@bank.example").await);
        let action = if path.ends_with("current") { "session.end" } else { "session.end_others" };
        walk.does(&person, delete.clone(), path, json!({}), (all, action)).await;
    }
    let person = larder.person(&larder.sign_in("anna@bank.example").await);
    let project = json!({ "projectId": "bank", "name": "Bank", "teamId": "larder" });
    let (_, _) = walk.does(&person, Method::POST, "/projects", project, (all, "administrator.update")).await;
    walk.does(&operator, delete.clone(), anna, json!({}), (all, "administrator.delete")).await;
    walk.does(&operator, Method::POST, "/operator/master-keys/rotation", json!({}), (all, "master_key.rotate")).await;
    let key = rcgen_key();
    let front = json!({ "name": "edge", "publicKey": key });
    walk.does(&operator, Method::POST, "/operator/fronts", front, (all, "front.enrol")).await;

    // Nothing that changes something was left out.
    let mut left = Vec::new();
    for (path, item) in walk.document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let id = operation["operationId"].as_str().unwrap_or_default();
            let known = walk.walked.borrow().contains(id) || UNRECORDED.iter().any(|(unrecorded, _)| *unrecorded == id);
            if ["post", "put", "patch", "delete"].contains(&method.as_str()) && !known {
                left.push(format!("{method} {path} ({id})"));
            }
        }
    }
    assert!(left.is_empty(), "walk these, or say why they leave no record:\n{}", left.join("\n"));
    for (records, path) in [(larder.api(), "/audit"), (operator, "/operator/audit")] {
        let records = records.all(path, "records").await;
        let text = json!(records).to_string();
        for secret in ["s3cret", PASSWORD, "saver-of-the-bank", larder.key()] {
            assert!(!text.contains(secret), "{secret} is in a record");
        }
        // Numbered without a gap.
        let mut numbers: Vec<u64> = records.iter().map(|record| record["number"].as_u64().unwrap()).collect();
        numbers.sort_unstable();
        assert_eq!(numbers, (1..=records.len() as u64).collect::<Vec<_>>(), "{path}");
        let one = &records[0];
        assert_eq!(larder_one(walk.larder, path, one).await, *one);
    }
    let scopeless =
        larder.operator().post("/partners/demo/keys", json!({ "name": "k", "scopes": ["grants.read"] })).await.is(201);
    larder
        .api_of(Some("demo"), scopeless["secret"].as_str())
        .get("/audit")
        .await
        .is_error(401, "general_unauthorized_scope");
    larder.api().get("/operator/audit").await.is_error(401, "user_unauthorized");
}

async fn larder_one(larder: &Larder, path: &str, record: &Value) -> Value {
    let api = if path == "/audit" { larder.api() } else { larder.operator() };
    api.get(&format!("{path}/{}", text(&record["$id"]))).await.is(200)
}

/// A public key, as a front shows it.
fn rcgen_key() -> String {
    rcgen::KeyPair::generate().expect("a key").public_key_pem()
}

/// A partner's key with everything but what only the operator may, of this person if one is named.
async fn key(larder: &Larder, scopes: &[&str], of: Option<&str>) -> (Api, String) {
    let body = json!({ "name": "k", "scopes": scopes, "administratorId": of });
    let key = larder.operator().post("/partners/demo/keys", body).await.is(201);
    (larder.api_of(Some("demo"), key["secret"].as_str()), text(&key["$id"]))
}

both!(whoever_asked_cannot_approve_whichever_key_they_use, async |on| {
    let options = Options::on(on).set("LARDER_ADMINISTRATORS__SECOND_FACTOR_FOR", "[]");
    let larder = Larder::start_with(options).await;
    let operator = larder.operator();
    operator.patch("/partners/demo", json!({ "approvalByAnother": true })).await.is(200);
    let role = json!([{ "partnerId": "demo", "role": "administrator" }]);
    let person = async |name: &str| {
        let body = json!({ "email": format!("{name}@bank.example"), "password": PASSWORD, "roles": role });
        text(&operator.post("/operator/administrators", body).await.is(201)["$id"])
    };
    let (anna, _) = (person("anna").await, person("bo").await);
    let body = json!({ "name": "k", "scopes": ["functions.read"], "administratorId": "nobody" });
    let said = operator.post("/partners/demo/keys", body).await.is_error(400, "general_argument_invalid");
    assert!(said.contains("administratorId"), "{said}");
    let uploads = ["functions.read", "functions.write", "grants.read"];
    let ((upload, upload_id), (approve, _)) =
        (key(&larder, &uploads, Some(&anna)).await, key(&larder, &["grants.read", "grants.write"], Some(&anna)).await);
    let (other, other_id) = key(&larder, &["grants.read", "grants.write"], None).await;

    upload.create_function("f", json!({})).await.is(201);
    let asked = upload.upload_asking("f", &guests::guest("probe"), true, larder_tests::wide()).await.is(202);
    upload.built("f", &asked).await;
    let path = format!("/functions/f/deployments/{}/grants", text(&asked["$id"]));
    let digest = approve.get(&path).await.is(200)["deployment"]["digest"].clone();
    let yes = async |by: &Api| by.post(&format!("{path}/approval"), json!({ "digest": digest })).await;

    // Her other key, she herself at the API and in the console, and another way to the same: all are Anna.
    let as_anna = larder.as_person("demo", &larder.sign_in("anna@bank.example").await);
    for by in [&approve, &as_anna] {
        let said = yes(by).await.is_error(403, "general_access_forbidden");
        assert!(said.contains("whichever key"), "{said}");
    }
    for by in [&approve, &as_anna] {
        by.put("/functions/f/grants", json!({ "state": true })).await.is_error(403, "general_access_forbidden");
    }
    let mut tab = Tab::at(&larder, "demo.localhost");
    let _ = tab.sign_in("/depo", "anna@bank.example", PASSWORD, "").await;
    let screen = format!("/depo/functions/f/deployments/{}", text(&asked["$id"]));
    let page = tab.go(&screen).await.is(200);
    let _ = tab.submit(&page, &format!("{screen}/approve"), &[]).await.is(403).says("whichever key");
    // The key is gone, and it is still hers.
    operator.delete(&format!("/partners/demo/keys/{upload_id}")).await.is(204);
    yes(&approve).await.is_error(403, "general_access_forbidden");
    assert_eq!(larder.api().get("/functions/f/grants").await.is(200)["grants"]["state"], json!(false));

    // Another person's yes is one.
    assert_eq!(yes(&other).await.is(200)["active"], true);
    let of = async |action: &str| {
        let query = json!({ "method": "equal", "attribute": "action", "values": [action] });
        larder.api().list("/audit", &[query]).await.is(200)["records"].as_array().unwrap().clone()
    };
    let approved = of("deployment.approve").await;
    assert_eq!((approved.len(), &approved[0]["actorId"]), (1, &json!(other_id)));
    let doors: BTreeSet<String> =
        of("deployment.approve_refused").await.iter().map(|record| text(&record["door"])).collect();
    assert_eq!(doors, ["api".to_owned(), "console".to_owned()].into());
    assert_eq!(of("grants.set_refused").await.len(), 2);
});

fn entry(subject: &str, created_at_ms: i64) -> AuditEntry {
    AuditEntry {
        actor: Actor::system(),
        action: Action::FunctionUpdate,
        subject: subject.into(),
        before: String::new(),
        after: String::new(),
        address: String::new(),
        door: Door::Inside,
        request: String::new(),
        created_at_ms,
    }
}

both!(records_are_numbered_without_a_gap_and_go_by_age, async |on| {
    let (folder, database) = (larder_tests::folder("larder-app-"), on.database().await);
    let mut settings = Settings::load(None, &[]).unwrap();
    settings.database.url = database.as_ref().map(|database| database.url()).unwrap_or_default();
    let store = Store::open(&settings.database, Path::new(folder.path())).await.unwrap();
    let partner: PartnerId = "p".parse().unwrap();
    let write = async |at: i64| {
        let owners = vec![(None, format!("i{at}")), (Some(partner.clone()), format!("p{at}"))];
        store.record(Pending::new(entry("f", at), owners)).await.unwrap();
    };
    // From the first on, by many at once.
    futures::future::join_all((1..=20).map(write)).await;
    let numbers = async |owner: Option<&PartnerId>| {
        let page = store.list_audit_records(owner, &Listing::first(100)).await.unwrap();
        let mut numbers: Vec<i64> = page.rows.iter().map(|record| record.number).collect();
        numbers.sort_unstable();
        numbers
    };
    for owner in [None, Some(&partner)] {
        assert_eq!(numbers(owner).await, (1..=20).collect::<Vec<_>>(), "{owner:?}");
    }
    // A change that finds nothing leaves none.
    let nothing = Pending::new(entry("f", 21), vec![(Some(partner.clone()), "p21".into())]);
    let id = "nobody".parse().unwrap();
    assert!(store.recording(nothing).delete_webhook(&partner, &id).await.is_err());
    // The oldest go, in batches, and the numbers go on.
    let (mut gone, mut cursor) = (0, Some(retention::Cursor::default()));
    while let Some(from) = cursor.take() {
        let (deleted, next) = store.delete_aged(&retention::AUDIT_RECORDS, 11, &from, 7).await.unwrap();
        assert!(deleted <= 7, "{deleted} at once");
        (gone, cursor) = (gone + deleted, next);
    }
    assert_eq!(gone, 20);
    write(22).await;
    for owner in [None, Some(&partner)] {
        let left = numbers(owner).await;
        assert_eq!((left.len(), left.last()), (11, Some(&21)), "{owner:?}");
    }
});
