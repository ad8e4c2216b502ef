//! The screens of the operator.

use std::sync::Arc;

use askama::Template;
use axum::Router;
use axum::extract::State;
use axum::routing::get;
use larder_model::time::Millis;
use larder_platform::backlog;
use larder_platform::directory::Tenant;
use larder_platform::key_rotation;
use larder_store::Waiting;

use super::account::Answer;
use super::asked::{AFTER, Asked, Pager, ROWS};
use super::page::{Page, Way, ok, way};
use super::visitor::OperatorsDesk;
use crate::app::App;

pub const WAYS: &[Way] = &[way("", "meta.title", "t"), way("/processes", "meta.processes", "p")];

pub fn router() -> Router<App> {
    Router::new().route("/meta_depo", get(overview)).route("/meta_depo/processes", get(processes))
}

#[derive(Template)]
#[template(path = "meta.html")]
struct Overview {
    p: Page,
    pager: Pager,
    partners: Vec<(Arc<Tenant>, Waiting)>,
    database: &'static str,
    warnings: Vec<String>,
    redis: Option<String>,
    certificates: Vec<(String, Millis)>,
}

/// Of partners, names and counts alone.
async fn overview(State(app): State<App>, OperatorsDesk(reader): OperatorsDesk) -> Answer {
    let mut tenants: Vec<Arc<Tenant>> = app.directory.tenants().values().cloned().collect();
    tenants.sort_by(|one, other| one.partner.id.cmp(&other.partner.id));
    let asked = Asked::of(&reader.visitor);
    tenants.retain(|tenant| tenant.partner.id.as_str() > asked.get(AFTER));
    let mut partners = Vec::new();
    for tenant in tenants.into_iter().take(ROWS as usize + 1) {
        let waiting = backlog::waiting(&app, &tenant).await?;
        partners.push((tenant, waiting));
    }
    let certificates = app.certificates.all().into_iter();
    let pager = asked.pager(&mut partners, |(tenant, _)| tenant.partner.id.as_str());
    Ok(ok(&Overview {
        pager,
        p: reader.page(&app, "meta.title"),
        partners,
        database: if app.store.is_embedded() { "SQLite" } else { "MariaDB" },
        warnings: app.store.warnings().iter().map(ToString::to_string).collect(),
        redis: app.signals.redis(),
        certificates: certificates.map(|(_, found)| (found.names.join(" "), found.not_after_ms)).collect(),
    }))
}

#[derive(Template)]
#[template(path = "processes.html")]
struct Processes {
    p: Page,
    seen: key_rotation::Overview,
}

async fn processes(State(app): State<App>, OperatorsDesk(reader): OperatorsDesk) -> Answer {
    let seen = key_rotation::overview(&app.sealer).await?;
    Ok(ok(&Processes { p: reader.page(&app, "meta.processes"), seen }))
}
