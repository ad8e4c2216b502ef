//! The document at `/v1/openapi.json`: what the annotations of the handlers say, and what all operations share, so that no
//! handler can forget it: path parameters and the form of ids, the project, errors, credentials, required members,
//! [`examples`] and [`links`].

mod examples;
mod links;

use serde_json::{Map, Value, json};
use utoipa::openapi::OpenApi;

use crate::auth::SESSION_COOKIE;

/// Ids that a caller may choose.
const ID: &str = "^[A-Za-z0-9][A-Za-z0-9._-]{0,35}$";
const NEW_ID: &str = "^(unique\\(\\)|[A-Za-z0-9][A-Za-z0-9._-]{0,35})$";
const LABEL: &str = "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$";
const PARTNER: &str = "^[a-z0-9]([a-z0-9-]{0,28}[a-z0-9])?$";
const TRANSACTION: &str = "^[A-Za-z0-9._-]{1,48}$";

/// What the body of an operation must have; everything else of it may be left out.
const REQUIRED: &[(&str, &[&str])] = &[
    ("createFunction", &["functionId", "name", "runtime"]),
    ("updateFunction", &["name"]),
    ("updateFunctionDeployment", &["deploymentId"]),
    ("createDuplicateDeployment", &["deploymentId"]),
    ("createVariable", &["key", "value"]),
    ("createProjectVariable", &["key", "value"]),
    ("createGrantApproval", &["digest"]),
    ("createEnrolment", &["functionId", "endUser", "topic"]),
    ("redriveDeadLetters", &["functionId"]),
    ("createBulkAction", &["action"]),
    ("createUpstream", &["name", "url"]),
    ("createOperatorUpstream", &["name", "url"]),
    ("createWebhook", &["webhookId", "name", "url", "events"]),
    ("updateWebhook", &["name", "url", "events"]),
    ("createFunctionRule", &["domain", "functionId"]),
    ("createAPIRule", &["domain"]),
    ("createSiteRule", &["domain"]),
    ("createFeed", &["name", "mapping"]),
    ("createOperatorFeed", &["name", "mapping"]),
    ("joinSavehack", &["functionId"]),
    ("updateIdentity", &["issuer", "audiences", "jwksUrl"]),
    ("checkToken", &["token"]),
    ("createPartner", &["partnerId", "name"]),
    ("createKey", &["scopes"]),
    ("createAdministrator", &["email", "roles"]),
    ("createEmailPasswordSession", &["email", "password"]),
    ("updatePassword", &["password", "oldPassword"]),
    ("createProject", &["projectId"]),
];

/// Inputs whose settings stand beside their other members.
const FLAT: &[(&str, &str)] = &[("UpstreamInput", "UpstreamSettings"), ("FeedInput", "FeedSettings")];

/// The patterns of input members that are ids.
const MEMBERS: &[(&str, &str, &str)] = &[
    ("FunctionInput", "functionId", NEW_ID),
    ("VariableInput", "variableId", NEW_ID),
    ("NewEnrolment", "functionId", ID),
    ("JoinInput", "functionId", ID),
    ("NewRule", "functionId", ID),
    ("WebhookInput", "webhookId", NEW_ID),
    ("Activation", "deploymentId", ID),
    ("Duplicate", "deploymentId", ID),
    ("RedriveInput", "functionId", ID),
    ("BulkActionInput", "functionId", ID),
    ("NewPartner", "partnerId", PARTNER),
    ("UpstreamInput", "name", LABEL),
    ("FeedInput", "name", LABEL),
];

/// Responses with members that only some callers see, flattened beside the rest.
const PARTLY: &[&str] = &["Upstream", "Feed", "Identity"];

/// Operations of no project; those of the operator have paths of their own.
const OF_NO_PROJECT: &[&str] = &["ping", "getVersion", "listRuntimes", "listTemplates", "getTemplate"];

pub fn complete(document: &OpenApi) -> Value {
    let mut document = serde_json::to_value(document).expect("plain values serialise");
    let key =
        |description| json!({ "type": "apiKey", "in": "header", "name": "X-Appwrite-Key", "description": description });
    let session = json!({
        "type": "apiKey", "in": "cookie", "name": SESSION_COOKIE,
        "description": "The session of somebody who has signed in. The project of their routes is `console`.",
    });
    document["components"]["securitySchemes"] = json!({
        "key": key("A key of the project"), "operator": key("The operator key"), "session": session,
        "token": { "type": "http", "scheme": "bearer", "bearerFormat": "JWT", "description": "A token of an end user" },
    });
    inputs(&mut document["components"]["schemas"]);
    for (path, item) in members(&mut document["paths"]) {
        for (method, operation) in members(item) {
            if operation["operationId"].is_string() {
                complete_operation(path, method, operation);
            }
        }
    }
    let operations = links::operations(&document);
    for from in &operations {
        if let Some((status, links)) = links::of(from, &operations) {
            let operation = &mut document["paths"][from.path()][from.method()];
            operation["responses"][status]["links"] = links;
        }
    }
    document
}

fn members(object: &mut Value) -> impl Iterator<Item = (&String, &mut Value)> {
    object.as_object_mut().into_iter().flat_map(Map::iter_mut)
}

fn inputs(schemas: &mut Value) {
    for (input, settings) in FLAT {
        let of_settings = schemas[settings]["properties"].clone();
        if let (Value::Object(of_settings), Value::Object(input)) = (of_settings, &mut schemas[input]["properties"]) {
            input.remove("settings");
            input.extend(of_settings);
        }
        // What must be given depends on the operation.
        if let Value::Object(input) = &mut schemas[input] {
            input.remove("required");
        }
    }
    for name in PARTLY {
        let parts: Vec<Value> = schemas[name]["allOf"].as_array().cloned().unwrap_or_default();
        let parts = parts.into_iter().map(|part| {
            let shared = part["$ref"].is_null() && part["oneOf"].is_null();
            if shared { part } else { json!({ "type": "object", "properties": properties(schemas, &part) }) }
        });
        let parts: Vec<Value> = parts.collect();
        if !parts.is_empty() {
            schemas[name]["allOf"] = parts.into();
        }
    }
    for (input, member, pattern) in MEMBERS {
        schemas[input]["properties"][member]["pattern"] = (*pattern).into();
    }
}

/// All members of a schema, whatever it is put together from.
fn properties(schemas: &Value, schema: &Value) -> Map<String, Value> {
    if let Some(name) = schema["$ref"].as_str().and_then(|reference| reference.rsplit('/').next()) {
        return properties(schemas, &schemas[name]);
    }
    let mut all = schema["properties"].as_object().cloned().unwrap_or_default();
    for parts in ["allOf", "oneOf"] {
        for part in schema[parts].as_array().into_iter().flatten() {
            all.extend(properties(schemas, part));
        }
    }
    all
}

fn complete_operation(path: &str, method: &str, operation: &mut Value) {
    let mut parameters = match operation["parameters"].take() {
        Value::Array(own) => own,
        _ => vec![],
    };
    for name in path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')) {
        let pattern = match name {
            "name" => LABEL,
            "transactionId" => TRANSACTION,
            _ => ID,
        };
        let schema = json!({ "type": "string", "pattern": pattern });
        parameters.push(json!({ "name": name, "in": "path", "required": true, "schema": schema }));
    }
    for parameter in &mut parameters {
        let name = parameter["name"].as_str().unwrap_or_default();
        // What an example deletes is missing for the others.
        match examples::parameter(path, name).filter(|_| method != "delete") {
            Some(value) if name.ends_with("[]") => parameter["example"] = json!([value]),
            Some(value) => parameter["example"] = value.into(),
            None => {}
        }
    }
    let is_the_operators =
        operation["security"].as_array().is_some_and(|all| all.iter().any(|one| !one["operator"].is_null()));
    let id = operation["operationId"].as_str().unwrap_or_default().to_owned();
    let is_of_end_users = path.starts_with(crate::me::RESERVED);
    if is_of_end_users {
        operation["servers"] = json!([{
            "url": "http://{project}.{root}", "description": "The project's web endpoint",
            "variables": { "project": { "default": "demo" }, "root": { "default": "localhost:8080" } },
        }]);
    }
    if !is_the_operators
        && !is_of_end_users
        && !OF_NO_PROJECT.contains(&id.as_str())
        && !path.starts_with("/v1/operator/")
    {
        parameters.push(json!({
            "name": "X-Appwrite-Project", "in": "header", "required": false, "schema": { "type": "string", "pattern": PARTNER },
            "description": "The project. Needed on the bare address; at the project's own API address it may be left out.",
        }));
    }
    operation["parameters"] = parameters.into();
    if let Some((_, required)) = REQUIRED.iter().find(|(operation, _)| *operation == id) {
        let body = &mut operation["requestBody"];
        body["required"] = true.into();
        let schema = &mut body["content"]["application/json"]["schema"];
        *schema = json!({ "allOf": [schema.take(), { "type": "object", "required": required }] });
    }
    if let Some(example) = examples::body(&id) {
        for (kind, content) in members(&mut operation["requestBody"]["content"]) {
            match kind.as_str() {
                "application/cloudevents-batch+json" => content["example"] = json!([example]),
                "application/json" | "application/cloudevents+json" => content["example"] = example.clone(),
                _ => {}
            }
        }
    }
    let error = json!({
        "description": "What went wrong, by `type`",
        "content": { "application/json": { "schema": { "$ref": "#/components/schemas/Error" } } },
    });
    for status in ["4XX", "5XX"] {
        if operation["responses"][status].is_null() {
            operation["responses"][status] = error.clone();
        }
    }
}
