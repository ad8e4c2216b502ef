//! The screens of the operator.

use std::path::Path;
use std::sync::Arc;

use askama::Template;
use axum::Router;
use axum::extract::{Path as AxumPath, State};
use axum::routing::get;
use larder_model::ids::MailId;
use larder_model::mails::{Mail, MailStatus};
use larder_model::settings::{InForce, Origin};
use larder_model::time::Millis;
use larder_platform::backlog;
use larder_platform::directory::Tenant;
use larder_platform::key_rotation;
use larder_store::Waiting;

use super::account::Answer;
use super::asked::{AFTER, Asked, Pager, ROWS};
use super::audit;
use super::page::{Page, Way, ok, way};
use super::visitor::OperatorsDesk;
use crate::app::App;
use crate::problem::Problem;

pub const WAYS: &[Way] = &[
    way("", "meta.title", "t"),
    way("/processes", "meta.processes", "p"),
    way("/mails", "meta.mails", "m"),
    way("/settings", "meta.settings", "s"),
    way("/audit", "audit.title", "w"),
];

pub fn router() -> Router<App> {
    Router::new()
        .route("/meta_depo", get(overview))
        .route("/meta_depo/processes", get(processes))
        .route("/meta_depo/mails", get(mails))
        .route("/meta_depo/mails/{mail}", get(letter))
        .route("/meta_depo/settings", get(settings))
        .route("/meta_depo/audit", get(audit::of_installation))
}

#[derive(Template)]
#[template(path = "meta.html")]
struct Overview {
    p: Page,
    pager: Pager,
    /// With when the oldest execution that waits was due, if it is.
    partners: Vec<(Arc<Tenant>, Waiting, Option<Millis>)>,
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
        let oldest = app.store.oldest_due(&tenant.partner.id, app.clock.now_ms()).await?;
        partners.push((tenant, waiting, oldest));
    }
    let certificates = app.certificates.all().into_iter();
    let pager = asked.pager(&mut partners, |(tenant, ..)| tenant.partner.id.as_str());
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

/// Letters on the screen.
const MAILS: u32 = 200;

#[derive(Template)]
#[template(path = "mails.html")]
struct Mails {
    p: Page,
    is_on: bool,
    /// Where letters are put in place of sending them.
    folder: Option<String>,
    mails: Vec<Mail>,
}

fn folder(app: &App) -> Option<&Path> {
    let mail = &app.settings.mail;
    Some(mail.folder.as_path()).filter(|folder| mail.host.is_empty() && !folder.as_os_str().is_empty())
}

async fn mails(State(app): State<App>, OperatorsDesk(reader): OperatorsDesk) -> Answer {
    let mails = app.store.mails(MAILS).await?;
    let folder = folder(&app).map(|folder| folder.display().to_string());
    Ok(ok(&Mails { p: reader.page(&app, "meta.mails"), is_on: app.settings.mail.is_on(), folder, mails }))
}

#[derive(Template)]
#[template(path = "mail.html")]
struct Letter {
    p: Page,
    text: String,
}

/// A letter of the folder, as it would have been sent. What was sent is known nowhere.
async fn letter(
    State(app): State<App>,
    OperatorsDesk(reader): OperatorsDesk,
    AxumPath(id): AxumPath<String>,
) -> Answer {
    let id: MailId = id.parse().map_err(|_| Problem::no_such_route())?;
    let folder = folder(&app).ok_or_else(Problem::no_such_route)?;
    if app.store.mail(&id).await?.is_none() {
        return Err(Problem::no_such_route().into());
    }
    let read = tokio::fs::read(folder.join(format!("{id}.eml"))).await;
    let text = read.map_err(|_| Problem::no_such_route())?;
    Ok(ok(&Letter { p: reader.page(&app, "meta.mails"), text: String::from_utf8_lossy(&text).into_owned() }))
}

#[derive(Template)]
#[template(path = "meta-settings.html")]
struct SettingsInForce<'a> {
    p: Page,
    all: &'a [InForce],
    /// Without the defaults.
    only: bool,
}

/// The settings of this process. `?only=changed` leaves the defaults out.
async fn settings(State(app): State<App>, OperatorsDesk(reader): OperatorsDesk) -> Answer {
    let only = Asked::of(&reader.visitor).get("only") == "changed";
    Ok(ok(&SettingsInForce { p: reader.page(&app, "meta.settings"), all: &app.settings.in_force, only }))
}
