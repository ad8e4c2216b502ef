//! The document at `/v1/openapi.json` describes the API: each of its operations is tried.

use larder_tests::{Api, Larder, PASSWORD, both, guests};
use reqwest::Method;
use serde_json::{Map, Value, json};

/// Somebody who has signed in; the cookie.
async fn person(larder: &Larder) -> String {
    let roles = json!([{ "partnerId": "demo", "role": "administrator" }, { "role": "operator" }]);
    let body = json!({ "email": "walk@bank.example", "password": PASSWORD, "roles": roles });
    larder.operator().post("/operator/administrators", body).await;
    larder.sign_in("walk@bank.example").await
}

struct Operation {
    id: String,
    method: Method,
    /// Below `/v1`, with its parameters.
    path: String,
    spec: Value,
}

fn operations(document: &Value) -> Vec<Operation> {
    let mut all = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, spec) in item.as_object().unwrap() {
            let Some(id) = spec["operationId"].as_str() else { continue };
            // Those of end users are at the web endpoint, and tried in `end_users`.
            if path.starts_with("/_larder/") {
                continue;
            }
            let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
            let path = path.trim_start_matches("/v1").to_owned();
            all.push(Operation { id: id.into(), method, path, spec: spec.clone() });
        }
    }
    assert!(all.len() > 50, "{}", all.len());
    all
}

impl Operation {
    fn is_the_operators(&self) -> bool {
        self.spec["security"].as_array().is_some_and(|all| all.iter().any(|one| !one["operator"].is_null()))
    }

    /// Is it for people who have signed in?
    fn is_peoples(&self) -> bool {
        let of_people =
            self.spec["security"].as_array().is_some_and(|all| all.iter().any(|one| !one["session"].is_null()));
        of_people || self.path.starts_with("/account/")
    }

    async fn send(&self, larder: &Larder, body: &Value) -> (u16, Value) {
        let path: Vec<&str> = self.path.split('/').map(|part| if part.starts_with('{') { "x" } else { part }).collect();
        let api = match (self.is_the_operators(), self.is_peoples()) {
            (true, _) => larder.operator(),
            (_, true) => larder.person(&person(larder).await),
            _ => larder.api(),
        };
        let answer = Api::send(api.request(self.method.clone(), &path.join("/")).json(body)).await;
        (answer.status, answer.body)
    }

    /// The schema of its JSON body, if it has one.
    fn input<'d>(&'d self, document: &'d Value) -> Option<&'d Value> {
        let schema = &self.spec["requestBody"]["content"]["application/json"]["schema"];
        (!schema.is_null()).then(|| resolved(document, schema))
    }
}

fn resolved<'d>(document: &'d Value, schema: &'d Value) -> &'d Value {
    match schema["$ref"].as_str() {
        Some(reference) => resolved(document, document.pointer(reference.trim_start_matches('#')).unwrap()),
        None => schema,
    }
}

/// All members of a schema, including those of the schemas it is composed of.
fn properties(document: &Value, schema: &Value, into: &mut Map<String, Value>) {
    let schema = resolved(document, schema);
    into.extend(schema["properties"].as_object().cloned().unwrap_or_default());
    for part in ["allOf", "oneOf", "anyOf"] {
        schema[part].as_array().into_iter().flatten().for_each(|part| properties(document, part, into));
    }
}

fn required(document: &Value, schema: &Value) -> Vec<String> {
    let schema = resolved(document, schema);
    let own = schema["required"].as_array().into_iter().flatten().map(|name| name.as_str().unwrap().to_owned());
    let parts = schema["allOf"].as_array().into_iter().flatten().flat_map(|part| required(document, part));
    own.chain(parts).collect()
}

/// The path to each object within a body.
fn objects(document: &Value, schema: &Value, way: &[String], into: &mut Vec<Vec<String>>) {
    let mut all = Map::new();
    properties(document, schema, &mut all);
    if !all.is_empty() {
        into.push(way.to_vec());
    }
    for (name, member) in &all {
        if way.len() < 3 {
            objects(document, member, &[way, std::slice::from_ref(name)].concat(), into);
        }
    }
}

/// Bodies that are not JSON objects by design, or that need a signature first.
const OTHER_BODIES: [&str; 3] = ["createEvents", "pushToFeed", "pushToOperatorFeed"];

both!(arrays_are_refused_where_objects_are_expected, async |on| {
    let larder = Larder::start_on(on).await;
    larder.api().create_function("x", json!({})).await.is(201);
    for (api, of) in [(larder.api(), ""), (larder.operator(), "/operator")] {
        api.post(&format!("{of}/upstreams"), json!({ "name": "x", "url": "https://x.example" })).await.is(201);
        let mapping = larder_tests::aggregator::mapping();
        api.post(&format!("{of}/feeds"), json!({ "name": "x", "push": true, "mapping": mapping })).await.is(201);
    }
    let document = larder.api().get("/openapi.json").await.is(200);
    let (mut tried, mut wrong) = (0, Vec::new());
    for operation in operations(&document) {
        let Some(schema) = operation.input(&document) else { continue };
        if OTHER_BODIES.contains(&operation.id.as_str()) {
            continue;
        }
        let mut ways = vec![vec![]];
        objects(&document, schema, &[], &mut ways);
        for way in ways {
            let body = way.iter().rev().fold(json!([]), |inner, name| json!({ name: inner }));
            let (status, answer) = operation.send(&larder, &body).await;
            tried += 1;
            if (status, answer["type"].as_str()) != (400, Some("general_argument_invalid")) {
                wrong.push(format!("{} {body}: {status} {answer}", operation.id));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(tried > 30, "{tried}");
    for body in
        ["[]", "[[]]", "null", "3", "\"x\"", "{\"http\":[[]]}", "{\"transactions\":{\"SEK\":[\"1\",\"2\",\"day\"]}}"]
    {
        let request =
            larder.api().request(Method::PUT, "/functions/x/grants").header("content-type", "application/json");
        Api::send(request.body(body)).await.is_error(400, "general_argument_invalid");
    }
});

/// A value that a member can have.
fn sample(name: &str) -> Value {
    match name {
        "scopes" => json!(["functions.read"]),
        "mapping" => json!({ "id": "{/id}", "source": "/s", "type": "t.t", "time": "{/time}" }),
        "url" => json!("https://example.com"),
        "audiences" => json!(["x"]),
        "jwksUrl" => json!("https://example.com"),
        "runtime" => json!("wasi-0.2"),
        "roles" => json!([]),
        "events" => json!(["functions.*"]),
        "email" => json!("x@bank.example"),
        "password" | "oldPassword" => json!("a password of twelve"),
        "domain" => json!("x.functions.localhost"),
        _ => json!("x"),
    }
}

both!(required_members_of_the_document_are_required, async |on| {
    let larder = Larder::start_on(on).await;
    let document = larder.api().get("/openapi.json").await.is(200);
    let mut wrong = Vec::new();
    let mut checked = 0;
    for operation in operations(&document) {
        // Without the project's header.
        let parameters = operation.spec["parameters"].as_array().cloned().unwrap_or_default();
        let named = parameters.iter().any(|parameter| parameter["name"] == "X-Appwrite-Project");
        let path: Vec<&str> =
            operation.path.split('/').map(|part| if part.starts_with('{') { "x" } else { part }).collect();
        let nobody = larder.api_of(None, Some(larder.key()));
        let answer = Api::send(nobody.request(operation.method.clone(), &path.join("/")).json(&json!({}))).await;
        let needed = answer.body["type"] == "general_access_forbidden";
        if needed != named {
            wrong.push(format!("{}: the project is needed {needed}, named {named}", operation.id));
        }
        for parameter in parameters.iter().filter(|parameter| parameter["in"] == "path") {
            if !parameter["schema"]["pattern"].is_string() {
                wrong.push(format!("{}: {} has no pattern", operation.id, parameter["name"]));
            }
        }
        let Some(schema) = operation.input(&document) else { continue };
        if OTHER_BODIES.contains(&operation.id.as_str()) {
            continue;
        }
        let names = required(&document, schema);
        let whole: Map<String, Value> = names.iter().map(|name| (name.clone(), sample(name))).collect();
        for name in &names {
            let mut body = whole.clone();
            body.remove(name);
            let (status, answer) = operation.send(&larder, &body.into()).await;
            let said = answer["message"].as_str().unwrap_or_default();
            checked += 1;
            if status != 400 || !said.contains(name.as_str()) {
                wrong.push(format!("{}: works without {name}: {status} {answer}", operation.id));
            }
        }
        let (_, answer) = operation.send(&larder, &whole.into()).await;
        let said = answer["message"].as_str().unwrap_or_default();
        if said.contains("is required") || said.contains("missing field") {
            wrong.push(format!("{}: {names:?} is not all that it needs: {said}", operation.id));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(checked > 20, "{checked}");
});

/// How a value differs from its schema.
fn faults(document: &Value, schema: &Value, value: &Value, at: &str) -> Vec<String> {
    let schema = resolved(document, schema);
    let mut found = Vec::new();
    let fits = |kind: &Value| match kind.as_str() {
        Some("object") => value.is_object(),
        Some("array") => value.is_array(),
        Some("string") => value.is_string(),
        Some("boolean") => value.is_boolean(),
        Some("integer") => value.is_i64() || value.is_u64(),
        Some("number") => value.is_number(),
        Some("null") => value.is_null(),
        _ => true,
    };
    let kinds: Vec<&Value> = match &schema["type"] {
        Value::Array(kinds) => kinds.iter().collect(),
        Value::Null => vec![],
        kind => vec![kind],
    };
    if !kinds.is_empty() && !kinds.into_iter().any(fits) {
        return vec![format!("{at}: {value} is no {}", schema["type"])];
    }
    for part in schema["allOf"].as_array().into_iter().flatten() {
        found.extend(faults(document, part, value, at));
    }
    if let Some(choices) = schema["oneOf"].as_array()
        && choices.iter().all(|choice| !faults(document, choice, value, at).is_empty())
    {
        found.push(format!("{at}: {value} is none of {}", schema["oneOf"]));
    }
    if let Some(object) = value.as_object() {
        for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            if !object.contains_key(name) {
                found.push(format!("{at}: without {name}"));
            }
        }
        for (name, member) in schema["properties"].as_object().into_iter().flatten() {
            if let Some(value) = object.get(name) {
                found.extend(faults(document, member, value, &format!("{at}.{name}")));
            }
        }
    }
    for item in value.as_array().into_iter().flatten().filter(|_| schema["items"].is_object()) {
        found.extend(faults(document, &schema["items"], item, &format!("{at}[]")));
    }
    found
}

both!(responses_match_the_document, async |on| {
    let larder = Larder::start_on(on).await;
    let api = larder.api();
    let document = api.get("/openapi.json").await.is(200);
    api.deploy("x", &guests::guest("hello-http"), json!({ "events": ["a.b"] })).await;
    api.enrol("x", "anna", "all", json!({ "a": 1 })).await;
    api.execute("x", json!({ "path": "/hello", "method": "GET" })).await;
    api.post("/functions/x/variables", json!({ "variableId": "x", "key": "A", "value": "b" })).await.is(201);
    let identity = json!({ "issuer": "x", "audiences": ["x"], "jwksUrl": "https://example.com" });
    api.put("/identity", identity).await.is(200);
    let upstream = json!({ "name": "x", "url": "https://example.com" });
    api.post("/upstreams", upstream.clone()).await.is(201);
    larder
        .operator()
        .post("/operator/upstreams", json!({ "name": "of-all", "url": "https://example.com" }))
        .await
        .is(201);
    let (mut wrong, mut checked) = (Vec::new(), 0);
    for operation in operations(&document) {
        // A tail never ends.
        if operation.method != Method::GET || operation.path.ends_with("/tail") {
            continue;
        }
        let (status, answer) = operation.send(&larder, &Value::Null).await;
        let schema = &operation.spec["responses"][status.to_string()]["content"]["application/json"]["schema"];
        if status == 200 && schema.is_object() {
            checked += 1;
            wrong.extend(faults(&document, schema, &answer, &operation.id));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(checked > 15, "{checked}");
    // Settings of upstreams and feeds are flat in the document as they are on the wire.
    for input in ["UpstreamInput", "FeedInput"] {
        let members = &document["components"]["schemas"][input]["properties"];
        assert!(members["settings"].is_null() && members["name"].is_object(), "{members}");
    }
    assert!(document["components"]["schemas"]["UpstreamInput"]["properties"]["url"].is_object());
    assert!(document["components"]["schemas"]["FeedInput"]["properties"]["mapping"].is_object());
});
