//! Domains, keys and administrators of the partner.

use askama::Template;
use axum::extract::State;
use larder_model::ApiKey;
use larder_model::administrators::{Administrator, Role};
use larder_model::ids::FunctionId;
use larder_model::rules::Reaches;
use larder_wire::scopes::Scope;

use crate::app::App;
use crate::console::account::Answer;
use crate::console::page::{Page, ok};
use crate::console::visitor::Desk;

#[derive(Template)]
#[template(path = "settings.html")]
struct Settings {
    p: Page,
    api: String,
    another: bool,
    /// Domains, as far as they are proved, and the function that each reaches; `None`: several, or the API.
    domains: Vec<(String, Option<FunctionId>, &'static str)>,
    keys: Vec<ApiKey>,
    people: Vec<(Administrator, Role)>,
}

pub async fn page(State(app): State<App>, desk: Desk) -> Answer {
    desk.caller.may(Scope::RulesRead)?;
    let (partner, tenant) = (&desk.caller.partner, &desk.caller.tenant);
    let reached = |(domain, reaches): (&String, &Reaches)| match reaches {
        Reaches::Function(id) => (domain.clone(), Some(id.clone()), "list.function"),
        Reaches::Functions => (domain.clone(), None, "functions.title"),
        Reaches::Api => (domain.clone(), None, "settings.api"),
    };
    let mut domains: Vec<_> = tenant.domains.iter().map(reached).collect();
    domains.sort();
    let mut keys: Vec<ApiKey> = tenant.keys.values().cloned().collect();
    keys.sort_by(|one, other| one.id.cmp(&other.id));
    let all = app.store.administrators().await?;
    Ok(ok(&Settings {
        p: desk.page(&app, "settings.title"),
        api: app.settings.url_of(&format!("{partner}-api")),
        another: tenant.partner.approval_by_another,
        domains,
        keys,
        people: all.into_iter().filter_map(|one| one.role_in(partner).map(|role| (one, role))).collect(),
    }))
}
