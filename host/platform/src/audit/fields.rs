//! What of a subject is recorded. Each is an allow-list: a member that is not named here is in no record, and no secret, value
//! of a variable or id of an end user is named.

use larder_model::administrators::Administrator;
use larder_model::fronts::Front;
use larder_model::ids::AdministratorId;
use larder_model::time::rfc3339;
use larder_model::{
    ApiKey, Deployment, Enrolment, FeedSettings, Function, Grants, IdentitySettings, Partner, Rule, Upstream, Variable,
    Webhook,
};
use serde_json::{Value, json};

pub fn function(f: &Function) -> Value {
    json!({
        "name": f.name, "enabled": f.enabled, "runtime": f.runtime, "execute": f.execute, "events": f.events,
        "schedule": f.schedule, "timezone": f.timezone, "timeoutSeconds": f.timeout_s, "logging": f.logging,
        "entrypoint": f.entrypoint, "commands": f.commands, "scopes": f.scopes, "specification": f.specification,
        "deploymentRetention": f.deployment_retention, "routes": f.routes, "per": f.per, "topics": f.topics,
        "limits": f.limits,
        "enrolling": { "by": f.enrolling.by, "topics": f.enrolling.topics, "schema": f.enrolling.schema.value() },
        "eventSchemas": f.event_schemas,
        "deploymentId": f.deployment,
    })
}

pub fn grants(grants: &Grants) -> Value {
    serde_json::to_value(Grants { leads: Default::default(), ..grants.clone() }).unwrap_or_default()
}

pub fn deployment(d: &Deployment) -> Value {
    json!({
        "functionId": d.function, "status": d.status.word(), "activate": d.activate, "kind": d.kind,
        "entrypoint": d.entrypoint, "sourceBytes": d.source_bytes, "sourceSha256": hex::encode(d.source_digest.0),
        "origin": d.origin, "uploadedBy": d.uploader, "grants": d.grants.as_ref().map(grants),
    })
}

/// Not the value: another one has another revision.
pub fn variable(v: &Variable) -> Value {
    json!({ "name": v.name, "secret": v.secret, "functionId": v.function, "revision": v.revision })
}

pub fn upstream(u: &Upstream) -> Value {
    let mut all = serde_json::to_value(&u.settings).unwrap_or_default();
    all["secretRevision"] = json!(u.secret_revision);
    all
}

pub fn feed(settings: &FeedSettings) -> Value {
    serde_json::to_value(settings).unwrap_or_default()
}

/// Neither the end user nor what they chose.
pub fn enrolment(e: &Enrolment) -> Value {
    json!({ "functionId": e.function, "status": e.status.word() })
}

pub fn identity(settings: &IdentitySettings) -> Value {
    serde_json::to_value(settings).unwrap_or_default()
}

pub fn rule(rule: &Rule) -> Value {
    json!({ "domain": rule.domain, "reaches": format!("{:?}", rule.reaches) })
}

pub fn webhook(w: &Webhook) -> Value {
    json!({ "name": w.name, "url": w.url, "events": w.events, "enabled": w.enabled, "tls": w.tls, "authUsername": w.auth_username })
}

pub fn partner(p: &Partner) -> Value {
    json!({ "name": p.name, "approvalByAnother": p.approval_by_another })
}

/// `of`: the person whose it is.
pub fn key(key: &ApiKey, of: Option<&AdministratorId>) -> Value {
    json!({ "administratorId": of, "name": key.name, "scopes": key.scopes, "expire": key.expires_at_ms.map(rfc3339) })
}

pub fn administrator(a: &Administrator) -> Value {
    let roles: Vec<Value> =
        a.roles.iter().map(|role| json!({ "partnerId": role.partner, "role": role.role.word() })).collect();
    json!({
        "email": a.email, "name": a.name, "roles": roles, "hasPassword": !a.password_hash.is_empty(),
        "passwordAt": rfc3339(a.password_at_ms), "secondFactor": a.second_factor, "ofProvider": a.is_of_provider,
    })
}

pub fn front(front: &Front) -> Value {
    json!({ "keyHash": front.key_hash, "names": front.names })
}
