//! Functions, what they may, and their deployments.

use askama::Template;
use axum::extract::State;
use larder_model::cron::Cron;
use larder_model::ids::FunctionId;
use larder_model::time::{Millis, instant};
use larder_model::variables::Variable;
use larder_model::{Deployment, Function};
use larder_store::listing::Listing;
use larder_wire::grants::GrantsObject;
use larder_wire::scopes::Scope;

use crate::api::requests::Ids;
use crate::api::{deployments, functions, grants};
use crate::app::App;
use crate::console::account::Answer;
use crate::console::asked::{Asked, Pager};
use crate::console::fields::Fields;
use crate::console::live::Topic;
use crate::console::page::{Page, ok, redirect};
use crate::console::visitor::Desk;
use crate::problem::Problem;

/// Firings and deployments that the page of a function shows.
const FIRINGS: usize = 10;
const DEPLOYMENTS: u32 = 20;

#[derive(Template)]
#[template(path = "functions.html")]
struct List {
    p: Page,
    rows: Vec<Function>,
    pager: Pager,
}

pub async fn list(State(app): State<App>, desk: Desk) -> Answer {
    desk.caller.may(Scope::FunctionsRead)?;
    let asked = Asked::of(&desk.reader.visitor);
    let mut rows = app.store.list_functions(&desk.caller.partner, &asked.listing()).await?.rows;
    let pager = asked.pager(&mut rows, |row| row.id.as_str());
    Ok(ok(&List { p: desk.page(&app, "functions.title"), rows, pager }))
}

#[derive(Template)]
#[template(path = "function.html")]
struct One {
    p: Page,
    function: Function,
    grants: GrantsObject,
    may: Vec<String>,
    variables: Vec<Variable>,
    deployments: Vec<Deployment>,
    firings: Vec<Millis>,
    rule: &'static str,
}

pub async fn one(State(app): State<App>, desk: Desk, ids: Ids) -> Answer {
    desk.caller.may(Scope::FunctionsRead)?;
    let (partner, id): (_, FunctionId) = (&desk.caller.partner, ids.get("functionId")?);
    let function = functions::find(&app, partner, &id).await?;
    let deployments = app.store.list_deployments(partner, &id, &Listing::newest(DEPLOYMENTS)).await?.rows;
    let mut firings = Vec::new();
    let mut rule = "";
    if let (Ok(cron), Some(zone)) = (Cron::parse(&function.schedule), app.zones.zone(&function.timezone)) {
        let (now, zone) = (instant(app.clock.now_ms()), zone.rules());
        let next = std::iter::successors(cron.next_after(now, &zone), |last| cron.next_after(*last, &zone));
        firings = next.take(FIRINGS).map(|at| at.timestamp_millis()).collect();
        rule = cron.clock_change_rule();
    }
    Ok(ok(&One {
        p: desk.page(&app, "functions.title").titled(&function.name),
        may: grants::in_words(&function.grants),
        grants: grants::object(&app, function.clone(), None).await?,
        variables: app.store.variables_of(partner, Some(&id)).await?,
        deployments,
        firings,
        rule,
        function,
    }))
}

pub async fn enable(State(app): State<App>, desk: Desk, ids: Ids, _: Fields) -> Answer {
    switch(&app, &desk, &ids, true).await
}

/// It can be taken back by one click: nothing is asked.
pub async fn disable(State(app): State<App>, desk: Desk, ids: Ids, _: Fields) -> Answer {
    switch(&app, &desk, &ids, false).await
}

async fn switch(app: &App, desk: &Desk, ids: &Ids, enabled: bool) -> Answer {
    desk.caller.may(Scope::FunctionsWrite)?;
    let mut function = find(app, desk, ids).await?;
    if function.enabled != enabled {
        function.enabled = enabled;
        larder_platform::functions::update(app, &mut function).await?;
    }
    let done = if enabled { "done.enabled" } else { "done.disabled" };
    Ok(redirect(&desk.reader.visitor.at(&format!("/functions/{}?done={done}", function.id))))
}

#[derive(Template)]
#[template(path = "deployment.html")]
struct OneDeployment {
    p: Page,
    function: Function,
    deployment: Deployment,
    grants: GrantsObject,
    /// Another person than the uploader must approve.
    another: bool,
}

pub async fn deployment(State(app): State<App>, desk: Desk, ids: Ids) -> Answer {
    desk.caller.may(Scope::GrantsRead)?;
    let deployment = deployments::find_by_path(&app, &desk.caller, &ids).await?;
    let function = functions::find(&app, &desk.caller.partner, &deployment.function).await?;
    let mut p = desk.page(&app, "deployment.title");
    if !deployment.status.has_ended() {
        p = p.watching(&desk, Topic::Deployment(function.id.clone(), deployment.id.clone()));
    }
    let title = format!("{} · {}", p.t("deployment.title"), deployment.id);
    Ok(ok(&OneDeployment {
        p: p.titled(title),
        grants: grants::object(&app, function.clone(), Some(deployment.clone())).await?,
        another: desk.caller.tenant.partner.approval_by_another,
        function,
        deployment,
    }))
}

/// The function that an address names, or a problem.
pub async fn find(app: &App, desk: &Desk, ids: &Ids) -> Result<Function, Problem> {
    functions::find(app, &desk.caller.partner, &ids.get("functionId")?).await
}
