//! Links of the document: from what creates or lists things to the operations on one of them (OpenAPI 3.1, Link Object).

use serde_json::{Value, json};

/// An operation, as far as links need it.
pub struct Operation {
    id: String,
    method: String,
    path: String,
    /// Its successful status, and where in the response the thing is, or the first of them; `None` if there is none.
    status: String,
    at: Option<String>,
}

impl Operation {
    pub fn path(&self) -> &str {
        &self.path
    }

    pub fn method(&self) -> &str {
        &self.method
    }
}

/// All operations of the document.
pub fn operations(document: &Value) -> Vec<Operation> {
    let mut found = Vec::new();
    for (path, item) in document["paths"].as_object().into_iter().flatten() {
        for (method, operation) in item.as_object().into_iter().flatten() {
            let Some(id) = operation["operationId"].as_str() else { continue };
            let Some((status, response)) = operation["responses"]
                .as_object()
                .into_iter()
                .flatten()
                .find(|(status, _)| ["200", "201", "202"].contains(&status.as_str()))
            else {
                continue;
            };
            let schema = &response["content"]["application/json"]["schema"];
            let named = schema["$ref"].as_str().and_then(|reference| reference.rsplit('/').next()).unwrap_or_default();
            let members = document["components"]["schemas"][named]["properties"].as_object();
            let list = members.into_iter().flatten().find(|(_, member)| member["type"] == "array");
            let at = match members {
                Some(members) if members.contains_key("total") => list.map(|(name, _)| format!("/{name}/0")),
                _ => (method == "post").then(String::new),
            };
            let (id, method, path, status) = (id.to_owned(), method.clone(), path.clone(), status.clone());
            found.push(Operation { id, method, path, status, at });
        }
    }
    found
}

/// The links of this operation's response, and the response's status.
pub fn of<'o>(from: &'o Operation, all: &'o [Operation]) -> Option<(&'o str, Value)> {
    let at = from.at.as_ref()?;
    let below = |to: &&Operation| to.path.strip_prefix(from.path.as_str()).is_some_and(|rest| one_more(rest).is_some());
    let links = all.iter().filter(below).map(|to| {
        let parameters = names(&to.path).map(|name| {
            let given = names(&from.path).any(|known| known == name);
            let key = if name == "name" { "name" } else { "$id" };
            let value = if given { format!("$request.path.{name}") } else { format!("$response.body#{at}/{key}") };
            (format!("path.{name}"), value.into())
        });
        let parameters: serde_json::Map<String, Value> = parameters.collect();
        (to.id.clone(), json!({ "operationId": to.id, "parameters": parameters }))
    });
    let links: serde_json::Map<String, Value> = links.collect();
    (!links.is_empty()).then(|| (from.status.as_str(), links.into()))
}

fn names(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
}

/// The parameter that is all that the rest of a path has beside fixed parts. It comes first.
fn one_more(rest: &str) -> Option<&str> {
    let mut further = names(rest);
    let first = further.next()?;
    (rest.starts_with("/{") && further.next().is_none()).then_some(first)
}
