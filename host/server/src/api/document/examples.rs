//! Examples of the document: one round-up function of one partner, with what it needs. They work as they stand.

use serde_json::{Value, json};

/// A body that the operation accepts.
pub fn body(operation: &str) -> Option<Value> {
    Some(match operation {
        "createFunction" => json!({
            "functionId": "unique()", "name": "Round up", "runtime": "wasi-0.2", "events": ["card.purchase"], "per": "enrolment",
            "topics": "subject"
        }),
        "updateFunction" => json!({
            "name": "Round up", "events": ["card.purchase"], "per": "enrolment", "topics": "subject"
        }),
        "updateGrants" => json!({
            "state": true, "transactions": { "SEK": { "max": "500.00", "sum": "1000.00", "period": "day" } }
        }),
        "createVariable" | "createProjectVariable" => {
            json!({ "variableId": "unique()", "key": "STEP", "value": "10.00", "secret": false })
        }
        "updateVariable" | "updateProjectVariable" => json!({ "value": "20.00" }),
        "createExecution" => json!({ "path": "/", "method": "GET" }),
        "createEnrolment" => json!({ "functionId": "round-up", "endUser": "saver-1", "topic": "card-1" }),
        "updateEnrolment" => json!({ "settings": { "to": "20.00" } }),
        "createEvents" => json!({
            "specversion": "1.0", "id": "purchase-1", "source": "/cards", "type": "card.purchase", "subject": "card-1",
            "data": { "amount": "42.50", "currency": "SEK", "merchant": "Espresso House" }
        }),
        "createBulkAction" => json!({ "action": "redrive", "functionId": "round-up", "reason": "stopped after 300ms" }),
        "redriveDeadLetters" => json!({ "functionId": "round-up" }),
        "createUpstream" | "createOperatorUpstream" => json!({ "name": "bank", "url": "https://api.bank.example" }),
        "updateUpstream" | "updateOperatorUpstream" => json!({ "concurrency": 4 }),
        "createFeed" | "createOperatorFeed" => json!({
            "name": "purchases", "push": true,
            "mapping": {
                "items": "/items", "id": "{/id}", "source": "/cards", "type": "card.purchase", "subject": "{/card}", "time": "{/bookedAt}"
            }
        }),
        "updateFeed" | "updateOperatorFeed" => json!({ "push": true }),
        "rotateFeedSecret" | "rotateOperatorFeedSecret" => json!({ "keepSeconds": 3_600 }),
        "createWebhook" => json!({
            "webhookId": "unique()", "name": "Savings", "url": "https://hooks.bank.example/larder", "events": ["functions.*"]
        }),
        "updateWebhook" => {
            json!({ "name": "Savings", "url": "https://hooks.bank.example/larder", "events": ["functions.*"] })
        }
        "updateIdentity" => json!({
            "issuer": "https://id.example", "audiences": ["savings"], "jwksUrl": "https://id.example/jwks.json"
        }),
        "checkToken" => json!({ "token": "eyJ0eXAiOiJKV1QifQ.e30.c2ln" }),
        "joinSavehack" => json!({ "functionId": "round-up", "settings": { "to": "20.00" } }),
        "updateMyEnrolment" => json!({ "status": "paused" }),
        "createFunctionRule" => json!({ "domain": "round-up.functions.localhost", "functionId": "round-up" }),
        "createAdministrator" => json!({
            "email": "anna@bank.example", "name": "Anna", "password": "correct horse battery", "roles": []
        }),
        "updateAdministrator" => json!({ "name": "Anna B" }),
        "createEmailPasswordSession" => json!({ "email": "anna@bank.example", "password": "correct horse battery" }),
        "updatePassword" => json!({ "oldPassword": "correct horse battery", "password": "battery horse correct" }),
        "createProject" => json!({ "projectId": "acme", "name": "Acme Bank" }),
        "createPartner" => json!({ "partnerId": "acme", "name": "Acme Bank" }),
        "updatePartner" => json!({ "name": "Acme Bank" }),
        "createKey" => json!({ "name": "backend", "scopes": ["functions.read", "events.write"] }),
        _ => return None,
    })
}

/// A value of a parameter, on this path.
pub fn parameter(path: &str, name: &str) -> Option<&'static str> {
    Some(match name {
        "functionId" => "round-up",
        "partnerId" => "acme",
        "name" if path.contains("/upstreams/") => "bank",
        "name" => "purchases",
        "queueName" => "functions",
        "threshold" => "5000",
        "eventId" => "purchase-1",
        "source" => "/cards",
        "type" if path.ends_with("/specifications") => "runtimes",
        "type" => "source",
        "queries[]" => r#"{"method":"limit","values":[5]}"#,
        _ => return None,
    })
}
