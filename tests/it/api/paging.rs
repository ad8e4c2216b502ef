//! Lists: every order over every attribute pages over each row once, every list is served by an index, and no list call costs
//! more than its bounds.

use std::path::Path;

use larder_model::ids::{FunctionId, PartnerId};
use larder_model::settings::Settings;
use larder_store::listing::Column;
use larder_store::{Store, filters};
use larder_tests::{Api, Larder, Options, both, eventually, guests};
use serde_json::{Value, json};

/// Path, name of the rows, attributes.
type List = (&'static str, &'static str, &'static [Column]);

const LISTS: [List; 12] = [
    ("/functions", "functions", filters::FUNCTIONS),
    ("/functions/f/deployments", "deployments", filters::DEPLOYMENTS),
    ("/functions/f/executions", "executions", filters::EXECUTIONS),
    ("/functions/f/variables", "variables", filters::VARIABLES),
    ("/dead-letters", "deadLetters", filters::DEAD_LETTERS),
    ("/bulk-actions", "bulkActions", filters::BULK_ACTIONS),
    ("/enrolments", "enrolments", filters::ENROLMENTS),
    ("/transactions", "transactions", filters::TRANSACTIONS),
    ("/grants/changes", "grantChanges", filters::GRANT_CHANGES),
    ("/audit", "records", filters::AUDIT),
    ("/proxy/rules", "rules", filters::RULES),
    ("/webhooks", "webhooks", filters::WEBHOOKS),
];

/// Rows in every list, of which some have no value and some have equal ones.
async fn fill(api: &Api) {
    for (id, name) in [("a", "same"), ("b", "same"), ("c", "other")] {
        api.create_function(id, json!({ "name": name })).await.is(201);
    }
    let settings = json!({ "events": ["probe.save", "probe.retry"], "limits": { "attempts": 1 } });
    api.deploy("f", &guests::guest("probe"), settings).await;
    for _ in 0..2 {
        let deployment = api.upload("f", &guests::guest("probe"), false).await.is(202);
        api.built("f", &deployment).await;
    }
    for (user, topic) in [("clock", "all"), ("anna", "all"), ("bo", "two")] {
        api.enrol("f", user, topic, json!({})).await;
    }
    for (key, secret) in [("ONE", true), ("TWO", false), ("THREE", true)] {
        let body = json!({ "variableId": "unique()", "key": key, "value": "v", "secret": secret });
        api.post("/functions/f/variables", body).await.is(201);
    }
    for (label, function) in [("x", "a"), ("y", "f"), ("z", "f")] {
        let rule = json!({ "domain": format!("{label}.functions.localhost"), "functionId": function });
        api.post("/proxy/rules/function", rule).await.is(201);
    }
    for (id, name) in [("w1", "same"), ("w2", "same"), ("w3", "other")] {
        let webhook = json!({ "webhookId": id, "name": name, "url": "https://x.example", "events": ["functions.*"], "enabled": id != "w1" });
        api.post("/webhooks", webhook).await.is(201);
    }
    for (action, function) in [("redrive", "a"), ("discard", "f"), ("discard", "f")] {
        let body = json!({ "action": action, "functionId": function, "reason": "none" });
        api.post("/bulk-actions", body).await.is(202);
    }
    for at in 0..3 {
        api.execute("f", json!({ "body": json!({ "amount": "1.00", "memo": format!("m{at}") }).to_string() })).await;
    }
    api.execute("f", json!({})).await;
    for _ in 0..2 {
        let later = json!({ "async": true, "scheduledAt": "2099-01-01T00:00:00.000+00:00" });
        api.post("/functions/f/executions", later).await.is(202);
    }
    for id in ["e1", "e2"] {
        api.event(id, "probe.save", None, json!({})).await.is(202);
        api.event(&format!("r-{id}"), "probe.retry", None, json!({})).await.is(202);
    }
    eventually("all to have ended", async || {
        let all = api.executions("f").await;
        let open = all.iter().filter(|e| matches!(e["status"].as_str(), Some("waiting" | "processing"))).count();
        (open == 0 && all.len() == 10 && api.all("/dead-letters", "deadLetters").await.len() == 2).then_some(())
    })
    .await;
    for state in [true, false] {
        api.grant("f", json!({ "state": state })).await;
    }
}

fn order(attribute: &str, method: &str) -> Value {
    json!({ "method": method, "attribute": attribute })
}

fn limit(rows: u32) -> Value {
    json!({ "method": "limit", "values": [rows] })
}

async fn ids(api: &Api, path: &str, rows: &str, queries: &[Value]) -> Vec<String> {
    let page = api.list(path, queries).await.is(200);
    page[rows].as_array().expect("rows").iter().map(|row| row["$id"].as_str().expect("an id").to_owned()).collect()
}

/// Each page of one row, behind or before the last.
async fn by_pages(
    api: &Api,
    path: &str,
    rows: &str,
    order: &Value,
    first: Option<String>,
    cursor: &str,
) -> Vec<String> {
    let mut seen: Vec<String> = first.into_iter().collect();
    loop {
        let mut queries = vec![order.clone(), limit(1)];
        queries.extend(seen.last().map(|last| json!({ "method": cursor, "values": [last] })));
        let page = ids(api, path, rows, &queries).await;
        assert!(seen.len() <= 100, "{path} {order}: the pages have no end");
        if page.is_empty() {
            return seen;
        }
        seen.extend(page);
    }
}

both!(every_order_of_every_list_pages_over_each_row_once, async |on| {
    let larder = Larder::start_on(on).await;
    let api = larder.api();
    fill(&api).await;
    let mut wrong = Vec::new();
    for (path, rows, columns) in LISTS {
        let all = ids(&api, path, rows, &[limit(100)]).await.len();
        assert!(all > 1, "{path} has {all}");
        for column in columns {
            for method in ["orderAsc", "orderDesc"] {
                let order = order(column.attribute, method);
                let whole = ids(&api, path, rows, &[order.clone(), limit(100)]).await;
                assert_eq!(whole.len(), all, "{path} {order}");
                let forth = by_pages(&api, path, rows, &order, None, "cursorAfter").await;
                let mut back = by_pages(&api, path, rows, &order, whole.last().cloned(), "cursorBefore").await;
                back.reverse();
                if forth != whole || back != whole {
                    wrong.push(format!("{path} {order}: {} forth, {} back of {all}", forth.len(), back.len()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
});

/// What is looked up by an index of its own, of any number of rows: any of these names.
const INDEXED: [(&str, &str, &[&str]); 32] = [
    ("functions", "$id", &["PRIMARY", "const"]),
    ("deployments", "$id", &["PRIMARY", "const"]),
    ("deployments", "$createdAt", &["deployments_by_function"]),
    ("variables", "$id", &["PRIMARY", "const"]),
    ("executions", "$id", &["PRIMARY", "const"]),
    ("executions", "$createdAt", &["executions_by_function"]),
    ("executions", "$updatedAt", &["executions_by_update"]),
    ("executions", "trigger", &["executions_by_trigger"]),
    ("executions", "responseStatusCode", &["executions_by_answer"]),
    ("executions", "duration", &["executions_by_duration"]),
    ("executions", "deploymentId", &["executions_by_deployment"]),
    ("executions", "eventId", &["executions_by_event"]),
    ("dead_letters", "$id", &["PRIMARY", "const"]),
    ("dead_letters", "eventId", &["executions_by_event"]),
    ("dead_letters", "buriedAt", &["executions_buried"]),
    ("enrolments", "$id", &["PRIMARY", "const"]),
    ("enrolments", "$createdAt", &["enrolments_by_time"]),
    ("enrolments", "functionId", &["enrolments_by_function", "enrolments_by_user", "enrolments_by_topic"]),
    ("enrolments", "endUser", &["enrolments_by_end_user"]),
    ("transactions", "$id", &["PRIMARY", "const"]),
    ("transactions", "$createdAt", &["transactions_by_time"]),
    ("transactions", "functionId", &["transactions_by_function", "transactions_by_saver"]),
    ("transactions", "executionId", &["transactions_by_execution"]),
    ("transactions", "endUser", &["transactions_by_user"]),
    ("rules", "$id", &["PRIMARY", "const"]),
    ("rules", "domain", &["rules_names"]),
    ("grant_changes", "functionId", &["grant_changes_by_function"]),
    ("audit_records", "$id", &["PRIMARY", "const"]),
    ("audit_records", "$createdAt", &["audit_records_by_time"]),
    ("audit_records", "actorId", &["audit_records_by_actor"]),
    ("audit_records", "action", &["audit_records_by_action"]),
    ("audit_records", "subjectId", &["audit_records_by_subject"]),
];

both!(every_list_is_served_by_an_index, async |on| {
    let (folder, database) = (larder_tests::folder("larder-app-"), on.database().await);
    let mut settings = Settings::load(None, &[]).unwrap();
    settings.database.url = database.as_ref().map(|database| database.url()).unwrap_or_default();
    let store = Store::open(&settings.database, Path::new(folder.path())).await.unwrap();
    let (partner, function): (PartnerId, FunctionId) = ("p".parse().unwrap(), "f".parse().unwrap());
    let plans = store.list_plans(&partner, &function).await.unwrap();
    assert!(plans.len() > 100);
    let mut wrong = Vec::new();
    for plan in &plans {
        // Whatever reads rows of a table has to begin with the partner's.
        let walks = plan.plan.lines().filter(|line| match on {
            larder_tests::Backend::Embedded => line.contains("SCAN ") && !line.contains("SCAN counted"),
            // The columns are the id, the kind, the table, and how its rows are found.
            larder_tests::Backend::Services => {
                !line.contains("<derived") && matches!(line.split(' ').nth(3), Some("ALL" | "index"))
            }
        });
        if walks.count() > 0 {
            wrong.push(format!("{plan:?}"));
        }
    }
    for (list, attribute, indexes) in INDEXED {
        let of = plans.iter().filter(|plan| plan.list == list && plan.attribute == attribute && !plan.ordered);
        let of: Vec<_> = of.collect();
        assert_eq!(of.len(), 2, "{list} {attribute}");
        for plan in of {
            let served = |index: &&str| {
                plan.plan.contains(index) || (*index == "PRIMARY" && plan.plan.contains("sqlite_autoindex"))
            };
            // MariaDB finds out that there is no such row while it plans.
            if !indexes.iter().any(served)
                && !plan.plan.contains("Impossible WHERE")
                && !plan.plan.contains("no matching row")
            {
                wrong.push(format!("{plan:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
});

both!(a_page_has_a_bound_in_bytes_and_the_execution_itself_is_whole, async |on| {
    let larder = Larder::start_on(on).await;
    let api = larder.api();
    let settings = json!({ "limits": { "logBytes": 400_000 } });
    api.deploy("h", &guests::guest("hostile"), settings).await;
    for _ in 0..3 {
        let run = api.execute("h", json!({ "path": "/hostile/chatter", "method": "GET" })).await;
        assert!(run["logs"].as_str().unwrap().len() + run["errors"].as_str().unwrap().len() > 300_000);
    }
    let listed = api.list("/functions/h/executions", &[limit(5_000)]).await.is(200);
    assert_eq!(listed["total"], 3, "one's own records are in it at once");
    for one in listed["executions"].as_array().unwrap() {
        let whole = api.get(&format!("/functions/h/executions/{}", one["$id"].as_str().unwrap())).await.is(200);
        let texts = |object: &Value| ["logs", "errors"].map(|name| object[name].as_str().unwrap().to_owned());
        let (short, whole) = (texts(one), texts(&whole));
        assert!(whole.concat().len() > 300_000);
        for (short, whole) in short.iter().zip(&whole) {
            assert!(short.len() < 1_000, "{}", short.len());
            assert!(short == whole || short.contains("shortened in lists"), "{short}");
        }
    }
});

both!(a_list_that_takes_too_long_is_refused_and_reads_take_turns, async |on| {
    let options =
        Options::on(on).set("LARDER_DATABASE__LIST_TIMEOUT", "1ms").set("LARDER_SERVER__READS_PER_PARTNER", "1");
    let larder = Larder::start_with(options).await;
    let api = larder.api();
    for at in 0..40 {
        api.create_function(&format!("f{at}"), json!({ "commands": "x".repeat(8_000) })).await.is(201);
    }
    // Nested conditions that no index serves, over texts.
    let one = json!({ "method": "notContains", "attribute": "commands", "values": (0..80).map(|n| format!("{n}y")).collect::<Vec<_>>() });
    let queries: Vec<Value> = (0..12).map(|_| one.clone()).collect();
    let said = api.list("/functions", &queries).await.is_error(400, "general_query_invalid");
    assert!(said.contains("takes too long"), "{said}");
    // Many at once are answered one after the other.
    let reads = (0..20).map(|_| api.get("/functions/f1"));
    for answer in futures::future::join_all(reads).await {
        answer.is(200);
    }
    let limits = api.get("/limits").await.is(200);
    let reads = limits["limits"].as_array().unwrap().iter().find(|limit| limit["$id"] == "server.reads_per_partner");
    assert_eq!(reads.expect("it is listed")["limit"], 1);
});
