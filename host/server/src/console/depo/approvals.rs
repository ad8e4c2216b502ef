//! What waits for a yes: deployments whose grants extend those in force.

use askama::Template;
use axum::extract::State;
use larder_model::ids::KeyId;
use larder_platform::grants as service;
use larder_store::listing::Listing;
use larder_wire::grants::AskedObject;
use larder_wire::scopes::Scope;

use crate::api::requests::Ids;
use crate::api::{deployments, functions, grants};
use crate::app::App;
use crate::console::account::Answer;
use crate::console::fields::Fields;
use crate::console::page::{Page, ok, redirect};
use crate::console::visitor::Desk;
use crate::problem::Problem;

/// Functions whose newest deployment is looked at.
const FUNCTIONS: usize = 200;

/// A function, and what its newest deployment waits for.
pub struct Waiting {
    pub function: String,
    pub name: String,
    pub asked: AskedObject,
}

#[derive(Template)]
#[template(path = "approvals.html")]
struct List {
    p: Page,
    rows: Vec<Waiting>,
    /// Not every function was looked at.
    is_part: bool,
}

pub async fn list(State(app): State<App>, desk: Desk) -> Answer {
    desk.caller.may(Scope::GrantsRead)?;
    let partner = &desk.caller.partner;
    let mut all: Vec<_> = desk.caller.tenant.functions.values().map(|view| &view.function).collect();
    all.sort_by(|one, other| one.id.cmp(&other.id));
    let is_part = all.len() > FUNCTIONS;
    let mut rows = Vec::new();
    for function in all.into_iter().take(FUNCTIONS) {
        let newest = app.store.list_deployments(partner, &function.id, &Listing::newest(1)).await?.rows.pop();
        let (id, name) = (function.id.to_string(), function.name.clone());
        if let Some(asked) =
            grants::object(&app, function.clone(), newest).await?.deployment.filter(|asked| asked.waits)
        {
            rows.push(Waiting { function: id, name, asked });
        }
    }
    Ok(ok(&List { p: desk.page(&app, "approvals.title"), rows, is_part }))
}

/// Says yes to what was read, and to nothing else.
pub async fn approve(State(app): State<App>, desk: Desk, ids: Ids, fields: Fields) -> Answer {
    let caller = &desk.caller;
    caller.may(Scope::GrantsWrite)?;
    let deployment = deployments::find_by_path(&app, caller, &ids).await?;
    let function = functions::find(&app, &caller.partner, &deployment.function).await?;
    let by: &KeyId = caller.key.as_ref().ok_or_else(|| Problem::internal("a guest with a scope"))?;
    service::approve(&app, &function, &deployment, fields.get("digest"), by).await?;
    let to = format!("/functions/{}/deployments/{}?done=done.approved", function.id, deployment.id);
    Ok(redirect(&desk.reader.visitor.at(&to)))
}
