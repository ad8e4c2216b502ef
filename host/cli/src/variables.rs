//! Bringing a function's variables in line with its manifest.

use std::collections::BTreeMap;

use larder_wire::UNIQUE;
use larder_wire::variables::{VariableInput, VariableList, VariableObject};
use reqwest::Method;

use crate::client::{Answer, Client};
use crate::console::Console;
use crate::failure::{Failure, Result};
use crate::manifest::{Manifest, Variable};

/// What is to be done, in two parts: new variables do no harm to the code that serves; all else waits for the new code.
#[derive(Debug, Default)]
pub struct Plan {
    create: Vec<String>,
    /// With their ids.
    update: Vec<(String, String)>,
    delete: Vec<(String, String)>,
    /// Not in the manifest.
    keep: Vec<String>,
}

/// A secret's value cannot be read, so it is always written. What the manifest does not name stays unless `prune` is set:
/// secrets are often set by hand, so that they need not be in a file.
pub async fn plan(client: &Client, manifest: &Manifest, prune: bool) -> Result<Plan> {
    let path = ["functions", &manifest.function.id, "variables"];
    let there = client.list_all::<VariableList>(&path, &[]).await?;
    let there: Vec<VariableObject> = there.into_iter().map(Answer::into_object).collect();
    let is_secret = |key: &str| there.iter().any(|old| old.key == key && old.secret);
    if let Some((key, _)) = manifest.variables.iter().find(|(key, wanted)| !wanted.secret && is_secret(key)) {
        let why = "is a secret in Larder and cannot be made plain again: write { value = \"…\", secret = true }, or delete it there";
        return Err(Failure::Usage(manifest.complaint(&format!("variables.{key}"), why)));
    }
    Ok(Plan::between(&manifest.variables, there, prune))
}

impl Plan {
    fn between(wanted: &BTreeMap<String, Variable>, there: Vec<VariableObject>, prune: bool) -> Plan {
        let mut plan = Plan::default();
        let mut there: BTreeMap<String, VariableObject> = there.into_iter().map(|old| (old.key.clone(), old)).collect();
        for (key, wanted) in wanted {
            match there.remove(key) {
                None => plan.create.push(key.clone()),
                Some(old) if !wanted.secret && !old.secret && old.value == wanted.value => {}
                Some(old) => plan.update.push((key.clone(), old.id)),
            }
        }
        for (key, old) in there {
            if prune { plan.delete.push((key, old.id)) } else { plan.keep.push(key) }
        }
        plan
    }

    pub async fn create(&self, client: &Client, manifest: &Manifest, console: &Console) -> Result<()> {
        for key in &self.create {
            let body = VariableInput { variable_id: Some(UNIQUE.to_owned()), ..body(manifest, key) };
            let answer = client.post::<VariableObject>(&["functions", &manifest.function.id, "variables"], &body).await;
            answer.map_err(|failure| manifest.explain_variable(key, failure))?;
            console.note(&format!("set variable {key}"));
        }
        Ok(())
    }

    pub async fn change(&self, client: &Client, manifest: &Manifest, console: &Console) -> Result<()> {
        let path = |id| ["functions", &manifest.function.id, "variables", id];
        for (key, id) in &self.update {
            let answer = client.call::<VariableObject>(Method::PUT, &path(id), &body(manifest, key)).await;
            answer.map_err(|failure| manifest.explain_variable(key, failure))?;
            console.note(&format!("set variable {key}"));
        }
        for (key, id) in &self.delete {
            client.delete(&path(id)).await?;
            console.note(&format!("deleted variable {key}"));
        }
        for key in &self.keep {
            console
                .note(&format!("left variable {key}, which the manifest does not name (--prune-variables deletes it)"));
        }
        Ok(())
    }

    /// What [`Plan::change`] would do, in words.
    pub fn left(&self) -> Option<String> {
        let keys: Vec<&str> = self.update.iter().chain(&self.delete).map(|(key, _)| key.as_str()).collect();
        (!keys.is_empty()).then(|| format!("variables change ({})", keys.join(", ")))
    }
}

fn body(manifest: &Manifest, key: &str) -> VariableInput {
    let Variable { value, secret } = &manifest.variables[key];
    VariableInput { variable_id: None, key: Some(key.to_owned()), value: Some(value.clone()), secret: Some(*secret) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_differs_changes_and_secrets_always() {
        let plan = |wanted: (&str, bool), there: Option<(&str, bool)>, prune| {
            let wanted = Variable { value: wanted.0.into(), secret: wanted.1 };
            let variable = |id: &str, key: &str, value: &str, secret: bool| VariableObject {
                id: id.into(),
                key: key.into(),
                value: value.into(),
                secret,
                ..VariableObject::default()
            };
            let there = there.map(|(value, secret)| variable("v1", "A", value, secret));
            let other = variable("v2", "B", "", true);
            let plan =
                Plan::between(&[("A".to_owned(), wanted)].into(), there.into_iter().chain([other]).collect(), prune);
            assert_eq!((plan.delete.len(), plan.keep.len()), if prune { (1, 0) } else { (0, 1) });
            (plan.create.len(), plan.update.len())
        };
        assert_eq!(plan(("x", false), None, false), (1, 0));
        assert_eq!(plan(("x", false), Some(("x", false)), true), (0, 0));
        assert_eq!(plan(("y", false), Some(("x", false)), false), (0, 1));
        assert_eq!(plan(("", true), Some(("", true)), false), (0, 1));
        assert_eq!(plan(("x", false), Some(("", true)), false), (0, 1));
    }
}
