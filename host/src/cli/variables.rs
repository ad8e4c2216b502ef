//! Bringing a function's variables in line with its manifest.

use std::collections::BTreeMap;

use reqwest::Method;
use serde_json::{Value, json};

use super::client::Client;
use super::console::{Console, field};
use super::failure::Result;
use super::manifest::{Manifest, Variable};

#[derive(Debug, PartialEq, Eq)]
enum Change {
    Create,
    Update { id: String },
}

/// Creates and updates what differs. A secret's value cannot be read, so it is always written. What the manifest does
/// not name stays unless `prune` is set: secrets are often set by hand, so that they need not be in a file.
pub async fn sync(client: &Client, manifest: &Manifest, prune: bool, console: &Console) -> Result<()> {
    let function = manifest.function.id.as_str();
    let path = ["functions", function, "variables"];
    let mut there: BTreeMap<String, Value> = client
        .list_all(&path, "variables", &[])
        .await?
        .into_iter()
        .map(|variable| (field(&variable, "key"), variable))
        .collect();
    for (key, wanted) in &manifest.variables {
        let body = json!({ "key": key, "value": wanted.value, "secret": wanted.secret });
        let answer = match change(wanted, there.remove(key).as_ref()) {
            None => continue,
            Some(Change::Create) => {
                let mut body = body;
                body["variableId"] = "unique()".into();
                client.post(&path, &body).await
            }
            Some(Change::Update { id }) => {
                client.call(Method::PUT, &["functions", function, "variables", &id], &body).await
            }
        };
        answer.map_err(|failure| manifest.explain_variable(key, failure))?;
        console.note(&format!("set variable {key}"));
    }
    for (key, variable) in &there {
        if prune {
            client.delete(&["functions", function, "variables", &field(variable, "$id")]).await?;
            console.note(&format!("deleted variable {key}"));
        } else {
            console
                .note(&format!("left variable {key}, which the manifest does not name (--prune-variables deletes it)"));
        }
    }
    Ok(())
}

fn change(wanted: &Variable, there: Option<&Value>) -> Option<Change> {
    let Some(there) = there else { return Some(Change::Create) };
    let same = !wanted.secret && there["secret"] == false && there["value"] == *wanted.value;
    (!same).then(|| Change::Update { id: field(there, "$id") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_differs_changes_and_secrets_always() {
        let wanted = |value: &str, secret| Variable { value: value.into(), secret };
        let there = |value: &str, secret: bool| json!({ "$id": "v1", "key": "A", "value": value, "secret": secret });
        let update = Some(Change::Update { id: "v1".into() });
        assert_eq!(change(&wanted("x", false), None), Some(Change::Create));
        assert_eq!(change(&wanted("x", false), Some(&there("x", false))), None);
        assert_eq!(change(&wanted("y", false), Some(&there("x", false))), update);
        assert_eq!(change(&wanted("", true), Some(&there("", true))), update);
        assert_eq!(change(&wanted("x", false), Some(&there("", true))), update);
    }
}
