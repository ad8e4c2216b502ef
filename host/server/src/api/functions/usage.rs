//! What functions have used, by hour or day, from the records that are there. Nothing is counted while functions run.

use axum::Json;
use axum::extract::{RawQuery, State};
use larder_model::Function;
use larder_model::ids::FunctionId;
use larder_model::time::Millis;
use larder_platform::common::Common;
use larder_store::{Built, Steps, UsageSpan, Used};
use larder_wire::datetime;
use larder_wire::scopes::Scope;
use larder_wire::usage::{Point, Usage};

use crate::api::functions::find;
use crate::api::queries::pairs;
use crate::api::requests::Ids;
use crate::auth::Caller;
use crate::problem::Problem;

const HOUR_MS: Millis = 3_600_000;
const DAY_MS: Millis = 24 * HOUR_MS;
const RANGES: [(&str, Millis, usize); 3] = [("24h", HOUR_MS, 24), ("30d", DAY_MS, 30), ("90d", DAY_MS, 90)];
const RANGE_DEFAULT: &str = "30d";

/// Of all functions of the project.
#[utoipa::path(get, path = "/v1/functions/usage", tag = "functions", operation_id = "listUsage",
    params(("range" = Option<String>, Query, description = "`24h` by hours, `30d` (default) or `90d` by days")),
    responses((status = 200, body = Usage)))]
pub(super) async fn all(
    State(common): State<Common>,
    caller: Caller,
    RawQuery(query): RawQuery,
) -> Result<Json<Usage>, Problem> {
    caller.may(Scope::FunctionsRead)?;
    let steps = steps(&common, query.as_deref())?;
    let functions = common.store.functions(&caller.partner).await?;
    let mut usage = usage(&common, &caller, &steps, &functions).await?;
    usage.functions_total = Some(functions.len() as u64);
    let made = |until: Millis| functions.iter().filter(|function| function.created_at_ms < until).count() as u64;
    usage.functions = Some(steps.points(|at| made(at + steps.step)));
    Ok(Json(usage))
}

/// Of one function.
#[utoipa::path(get, path = "/v1/functions/{functionId}/usage", tag = "functions", operation_id = "getUsage",
    params(("range" = Option<String>, Query, description = "`24h` by hours, `30d` (default) or `90d` by days")),
    responses((status = 200, body = Usage)))]
pub(super) async fn one(
    State(common): State<Common>,
    caller: Caller,
    ids: Ids,
    RawQuery(query): RawQuery,
) -> Result<Json<Usage>, Problem> {
    caller.may(Scope::FunctionsRead)?;
    let (id, steps): (FunctionId, _) = (ids.get("functionId")?, steps(&common, query.as_deref())?);
    let function = find(&common, &caller.partner, &id).await?;
    Ok(Json(usage(&common, &caller, &steps, &[function]).await?))
}

/// The steps of a range, of which the last is in progress.
struct Range {
    name: &'static str,
    first: Millis,
    step: Millis,
    count: usize,
}

impl Range {
    fn points(&self, value: impl Fn(Millis) -> u64) -> Vec<Point> {
        let at = (0..self.count).map(|number| self.first + number as Millis * self.step);
        at.map(|at| Point { value: value(at), date: datetime(at) }).collect()
    }
}

fn steps(common: &Common, query: Option<&str>) -> Result<Range, Problem> {
    let named = pairs(query.unwrap_or_default()).find_map(|(name, value)| (name == "range").then_some(value));
    let named = named.unwrap_or_else(|| RANGE_DEFAULT.into());
    let found = RANGES.iter().find(|(name, ..)| *name == named);
    let (name, step, count) = *found.ok_or_else(|| Problem::argument("range", "must be 24h, 30d or 90d"))?;
    let now = common.clock.now_ms();
    Ok(Range { name, first: now - now.rem_euclid(step) - (count as Millis - 1) * step, step, count })
}

async fn usage(common: &Common, caller: &Caller, range: &Range, functions: &[Function]) -> Result<Usage, Problem> {
    let ids: Vec<FunctionId> = functions.iter().map(|function| function.id.clone()).collect();
    let span = UsageSpan { functions: &ids, since: range.first, step: range.step };
    let used = common.store.used(&caller.partner, &span).await?;
    let built = common.store.built(&caller.partner, &span).await?;
    let (mut executions, mut builds): (Steps<Used>, Steps<Built>) = Default::default();
    // Megabytes times microseconds, and times milliseconds.
    let (mut of_executions, mut of_builds): (Steps<u64>, Steps<u64>) = Default::default();
    for function in functions {
        let megabytes = function.limits.limits(function.timeout_s).memory_bytes >> 20;
        for (at, used) in used.get(&function.id).into_iter().flatten() {
            let sum = executions.entry(*at).or_default();
            sum.count += used.count;
            sum.time_us += used.time_us;
            *of_executions.entry(*at).or_default() += used.time_us.saturating_mul(megabytes);
        }
        for (at, built) in built.get(&function.id).into_iter().flatten() {
            let sum = builds.entry(*at).or_default();
            sum.deployments += built.deployments;
            sum.source_bytes += built.source_bytes;
            sum.ready += built.ready;
            sum.failed += built.failed;
            sum.build_bytes += built.build_bytes;
            sum.time_ms += built.time_ms;
            *of_builds.entry(*at).or_default() +=
                built.time_ms.saturating_mul(common.settings.build.memory_bytes >> 20);
        }
    }
    let execution = |value: fn(&Used) -> u64| range.points(|at| executions.get(&at).map_or(0, value));
    let build = |value: fn(&Built) -> u64| range.points(|at| builds.get(&at).map_or(0, value));
    let sum_used = |value: fn(&Used) -> u64| executions.values().map(value).sum::<u64>();
    let sum_built = |value: fn(&Built) -> u64| builds.values().map(value).sum::<u64>();
    let ended = sum_built(|built| built.ready + built.failed);
    let build_ms = sum_built(|built| built.time_ms);
    Ok(Usage {
        range: range.name.into(),
        functions_total: None,
        deployments_total: sum_built(|built| built.deployments),
        deployments_storage_total: sum_built(|built| built.source_bytes),
        builds_total: ended,
        builds_success_total: sum_built(|built| built.ready),
        builds_failed_total: sum_built(|built| built.failed),
        builds_storage_total: sum_built(|built| built.build_bytes),
        builds_time_total: build_ms / 1_000,
        builds_time_average: build_ms.checked_div(ended).unwrap_or(0) / 1_000,
        builds_mb_seconds_total: of_builds.values().sum::<u64>() / 1_000,
        executions_total: sum_used(|used| used.count),
        executions_time_total: sum_used(|used| used.time_us) / 1_000_000,
        executions_mb_seconds_total: of_executions.values().sum::<u64>() / 1_000_000,
        functions: None,
        deployments: build(|built| built.deployments),
        deployments_storage: build(|built| built.source_bytes),
        builds: build(|built| built.ready + built.failed),
        builds_success: build(|built| built.ready),
        builds_failed: build(|built| built.failed),
        builds_storage: build(|built| built.build_bytes),
        builds_time: build(|built| built.time_ms / 1_000),
        builds_mb_seconds: range.points(|at| of_builds.get(&at).map_or(0, |sum| sum / 1_000)),
        executions: execution(|used| used.count),
        executions_time: execution(|used| used.time_us / 1_000_000),
        executions_mb_seconds: range.points(|at| of_executions.get(&at).map_or(0, |sum| sum / 1_000_000)),
    })
}
