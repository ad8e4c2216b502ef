//! When a function's schedule fires next.

use axum::Json;
use axum::extract::{RawQuery, State};
use larder_model::cron::Cron;
use larder_model::time::instant;
use larder_platform::common::Common;
use larder_wire::datetime;
use larder_wire::schedules::Schedule;
use larder_wire::scopes::Scope;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::functions;
use crate::api::queries::pairs;
use crate::api::requests::Ids;
use crate::app::App;
use crate::auth::Caller;
use crate::problem::Problem;

const COUNT_DEFAULT: usize = 10;
const COUNT_MAX: usize = 100;

pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(get))
}

#[utoipa::path(get, path = "/v1/functions/{functionId}/schedule", tag = "schedules", operation_id = "getSchedule",
    params(("count" = Option<usize>, Query, minimum = 1, maximum = 100, description = "How many times; default 10")),
    responses((status = 200, body = Schedule)))]
async fn get(
    State(common): State<Common>,
    caller: Caller,
    ids: Ids,
    RawQuery(query): RawQuery,
) -> Result<Json<Schedule>, Problem> {
    caller.may(Scope::FunctionsRead)?;
    let id = ids.get("functionId")?;
    let count = match pairs(query.as_deref().unwrap_or_default()).find(|(name, _)| name == "count") {
        Some((_, text)) => text
            .parse()
            .ok()
            .filter(|count| (1..=COUNT_MAX).contains(count))
            .ok_or_else(|| Problem::argument("count", format!("must be 1 to {COUNT_MAX}")))?,
        None => COUNT_DEFAULT,
    };
    let function = functions::find(&common, &caller.partner, &id).await?;
    let armed = common.store.schedule(&caller.partner, &id).await?.is_some();
    let (schedule, timezone) = (function.schedule, function.timezone);
    if schedule.is_empty() {
        return Ok(Json(Schedule { schedule, timezone, rule: String::new(), armed, next: vec![] }));
    }
    let cron = Cron::parse(&schedule).map_err(Problem::internal)?;
    let zone =
        common.zones.zone(&timezone).ok_or_else(|| Problem::internal(format!("no time zone {timezone}")))?.rules();
    let now = instant(common.clock.now_ms());
    let next = std::iter::successors(cron.next_after(now, &zone), |last| cron.next_after(*last, &zone));
    let next = next.take(count).map(|at| datetime(at.timestamp_millis())).collect();
    Ok(Json(Schedule { rule: cron.clock_change_rule().into(), schedule, timezone, armed, next }))
}
