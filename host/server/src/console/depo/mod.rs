//! The screens of a partner's administrators, one file per subject.

mod approvals;
mod bulk_actions;
mod causes;
mod dead_letters;
mod enrolments;
mod events;
mod export;
mod fanouts;
pub mod figures;
mod functions;
mod runs;
mod schedules;
mod settings;
mod sources;
mod stream;
mod today;
mod transactions;

use axum::Router;
use axum::routing::{get, post};

use super::audit;
use super::page::{Way, way};
use crate::app::App;

pub const WAYS: &[Way] = &[
    way("", "today.title", "t"),
    way("/live", "live.title", "l"),
    way("/functions", "functions.title", "f"),
    way("/events", "events.title", "v"),
    way("/transactions", "transactions.title", "s"),
    way("/schedules", "schedules.title", "c"),
    way("/enrolments", "enrolments.title", "e"),
    way("/fanouts", "fanouts.title", "o"),
    way("/dead-letters", "dead_letters.title", "d"),
    way("/approvals", "approvals.title", "a"),
    way("/sources", "sources.title", "u"),
    way("/audit", "audit.title", "w"),
    way("/settings", "settings.title", "i"),
];

pub fn router() -> Router<App> {
    Router::new()
        .route("/depo", get(today::page))
        .route("/depo/live", get(stream::page))
        .route("/depo/stream", get(stream::open))
        .route("/depo/functions", get(functions::list))
        .route("/depo/functions/{functionId}", get(functions::one))
        .route("/depo/functions/{functionId}/enable", post(functions::enable))
        .route("/depo/functions/{functionId}/disable", post(functions::disable))
        .route("/depo/functions/{functionId}/deployments/{deploymentId}", get(functions::deployment))
        .route("/depo/functions/{functionId}/deployments/{deploymentId}/approve", post(approvals::approve))
        .route("/depo/functions/{functionId}/runs", get(runs::list))
        .route("/depo/functions/{functionId}/runs/{executionId}", get(runs::one))
        .route("/depo/transactions", get(transactions::list))
        .route("/depo/transactions/export", get(export::csv))
        .route("/depo/schedules", get(schedules::page))
        .route("/depo/enrolments", get(enrolments::list))
        .route("/depo/events", get(events::list))
        .route("/depo/send-event", get(events::new))
        .route("/depo/events/send", post(events::send))
        .route("/depo/events/{eventId}", get(events::one))
        .route("/depo/fanouts", get(fanouts::list))
        .route("/depo/fanouts/{fanoutId}", get(fanouts::one))
        .route("/depo/fanouts/{fanoutId}/pause", post(fanouts::pause))
        .route("/depo/fanouts/{fanoutId}/resume", post(fanouts::resume))
        .route("/depo/fanouts/{fanoutId}/redrive", post(fanouts::redrive))
        .route("/depo/fanouts/{fanoutId}/cancel", get(fanouts::confirm_cancel).post(fanouts::cancel))
        .route("/depo/dead-letters", get(dead_letters::list))
        .route("/depo/dead-letters/{executionId}/redrive", post(dead_letters::redrive))
        .route(
            "/depo/dead-letters/{executionId}/discard",
            get(dead_letters::confirm_discard).post(dead_letters::discard),
        )
        .route("/depo/bulk-actions", get(bulk_actions::list).post(bulk_actions::begin))
        .route("/depo/confirm-bulk-action", get(bulk_actions::confirm))
        .route("/depo/bulk-actions/{bulkActionId}", get(bulk_actions::one))
        .route("/depo/bulk-actions/{bulkActionId}/pause", post(bulk_actions::pause))
        .route("/depo/bulk-actions/{bulkActionId}/resume", post(bulk_actions::resume))
        .route("/depo/bulk-actions/{bulkActionId}/cancel", post(bulk_actions::cancel))
        .route("/depo/approvals", get(approvals::list))
        .route("/depo/sources", get(sources::page))
        .route("/depo/audit", get(audit::of_partner))
        .route("/depo/settings", get(settings::page))
}
