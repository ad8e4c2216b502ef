//! What a run leaves behind: its record, its effects, and whether it is tried again.

use std::sync::LazyLock;
use std::time::Duration;

use larder_model::ids::DeploymentId;
use larder_model::retries::{self, RetryDecision};
use larder_model::time::Millis;
use larder_model::{Effect, End, Execution, ExecutionStatus, Failure, Outcome, Trigger};
use larder_store::Root;
use larder_store::ledger::{Ended, Origin};
use metrics::{Counter, Histogram, counter, histogram};

use crate::execution::{EVENT_DEPTH_MAX, Executor, Job};
use crate::{backlog, stored};

/// Stored bytes of an execution's logs and of its errors, each.
const TEXT_MAX: usize = 1_000_000;
/// Response headers that are stored in the record.
const RECORDED_HEADERS: [&str; 2] = ["content-type", "content-length"];

/// The outcome as the ledger is to commit it, and how the run ended. Without a `decision`, [`RetryDecision::of`] decides.
pub(super) async fn prepare(
    executor: &Executor,
    job: &Job,
    deployment: Option<DeploymentId>,
    mut outcome: Outcome,
    mut decision: Option<RetryDecision>,
) -> (Ended, End) {
    if job.depth >= EVENT_DEPTH_MAX && outcome.effects.iter().any(|effect| matches!(effect, Effect::Emit(_))) {
        outcome.effects.clear();
        outcome.end = End::Failed(Failure::Trap(format!(
            "events that cause events may be {EVENT_DEPTH_MAX} deep; this function would emit one more"
        )));
        // It would fail again.
        decision = Some(RetryDecision::DeadLetter);
    }
    let stores: u64 = outcome.effects.iter().map(stored_bytes).sum();
    if stores > 0
        && let Err(why) = stored::admit(executor, &job.view.stored, stores)
    {
        outcome.effects.clear();
        outcome.end = End::Failed(Failure::Trap(why.to_string()));
        // It would fail again until something is removed. Then it can be redriven.
        decision = Some(RetryDecision::DeadLetter);
    }
    let (worker, now) = (&executor.settings.worker, executor.clock.now_ms());
    let since = job.execution.host_failing_since_ms.unwrap_or(now);
    // Queued executions are held back in that case; a call cannot wait.
    let emitted = outcome.effects.iter().filter(|effect| matches!(effect, Effect::Emit(_))).count();
    if job.origin == Origin::Call
        && emitted > 0
        && let Some(exceeded) = backlog::emits(executor, &job.execution.partner, emitted).await
    {
        outcome.effects.clear();
        outcome.end = End::Failed(Failure::Trap(format!("nothing was emitted or changed: {exceeded}")));
    }
    let decision = match (&job.origin, decision) {
        (Origin::Call, _) => RetryDecision::Final,
        (_, Some(decision)) => decision,
        (_, None) => match RetryDecision::of(&outcome.end, job.execution.failures, attempts(executor, job)) {
            RetryDecision::Retry { spent: false }
                if retries::host_gives_up(since, now, worker.retry_host_failures_for) =>
            {
                RetryDecision::DeadLetter
            }
            decision => decision,
        },
    };
    let mut execution = record(executor, job, deployment, &outcome, decision);
    let (first, most) = (worker.retry_delay, worker.retry_delay_max);
    let rest = match decision {
        RetryDecision::Retry { spent: true } => Some(retries::delay(first, most, job.execution.failures)),
        RetryDecision::Retry { spent: false } => Some(retries::host_delay(first, most, since, now)),
        RetryDecision::Final | RetryDecision::DeadLetter => None,
    };
    execution.host_failing_since_ms = (decision == RetryDecision::Retry { spent: false }).then_some(since);
    let retry_at_ms = rest.map(|rest| now + rest.as_millis() as Millis);
    job.view.stored.add(stores + (execution.logs.len() + execution.errors.len()) as u64);
    let effects = std::mem::take(&mut outcome.effects);
    let ended = Ended {
        execution,
        origin: job.origin.clone(),
        retry_at_ms,
        reads: if effects.is_empty() { vec![] } else { std::mem::take(&mut outcome.reads) },
        effects,
        end_user: job.enrolment.as_ref().map(|e| e.end_user.clone()),
        depth: job.depth + 1,
        root: Root {
            key: job.root.clone().unwrap_or_else(|| job.execution.id.to_string()),
            descendants_max: executor.settings.worker.descendants_per_event,
        },
        function_made_at_ms: Some(job.view.function.created_at_ms),
    };
    (ended, outcome.end)
}

/// The bytes that an effect adds to the partner's storage.
fn stored_bytes(effect: &Effect) -> u64 {
    match effect {
        Effect::SetState { key, value } => (key.len() + value.len()) as u64,
        Effect::Emit(event) => event.data.len() as u64,
        Effect::Transaction { .. } | Effect::DeleteState { .. } | Effect::IncrementState { .. } => 0,
    }
}

/// How many attempts the function has.
fn attempts(executor: &Executor, job: &Job) -> u32 {
    job.view.function.limits.attempts.unwrap_or(executor.settings.worker.attempts)
}

fn record(
    executor: &Executor,
    job: &Job,
    deployment: Option<DeploymentId>,
    outcome: &Outcome,
    decision: RetryDecision,
) -> Execution {
    let mut execution = job.execution.clone();
    // Whoever called saw the answer. Whoever looks for what went wrong has the record alone.
    let answered = |status: u16| match status {
        500.. => (ExecutionStatus::Failed, status, Some(format!("the function answered {status}"))),
        _ => (ExecutionStatus::Completed, status, None),
    };
    let (status, response_status, why) = match &outcome.end {
        End::Returned(None) => (ExecutionStatus::Completed, 204, None),
        End::Returned(Some(_)) => (ExecutionStatus::Completed, 200, None),
        End::Answered(response) => answered(response.status().as_u16()),
        End::Streamed { status, .. } => answered(*status),
        End::Retry(why) => (ExecutionStatus::Failed, 503, Some(why.clone())),
        End::Reject(why) => (ExecutionStatus::Failed, 422, Some(format!("rejected: {why}"))),
        End::Failed(failure) => (ExecutionStatus::Failed, 500, Some(failure.to_string())),
    };
    let (status, response_status, why) = match decision {
        RetryDecision::Retry { spent } => {
            execution.failures += u32::from(spent);
            (ExecutionStatus::Waiting, 0, why.map(|why| format!("will be retried: {why}")))
        }
        RetryDecision::DeadLetter => {
            execution.dead_lettered_at_ms = Some(executor.clock.now_ms());
            let tries = execution.failures + 1;
            let given_up = |why: String| match &outcome.end {
                End::Failed(Failure::Host(_)) => {
                    let most = humantime_serde::re::humantime::format_duration(
                        executor.settings.worker.retry_host_failures_for,
                    );
                    format!("given up after {most} of host failures (worker.retry_host_failures_for): {why}")
                }
                _ if tries > 1 => format!("given up after {tries} attempts: {why}"),
                _ => why,
            };
            (status, response_status, why.map(given_up))
        }
        RetryDecision::Final => (status, response_status, why),
    };
    if let End::Answered(response) = &outcome.end {
        execution.response_headers = RECORDED_HEADERS
            .iter()
            .filter_map(|name| Some(((*name).to_owned(), response.headers().get(*name)?.to_str().ok()?.to_owned())))
            .collect();
    }
    execution.status = status;
    execution.response_status = response_status;
    execution.deployment = deployment;
    if job.view.function.logging {
        execution.logs = tail(outcome.logs.stdout.clone());
        execution.errors = outcome.logs.stderr.clone();
    }
    execution.errors = tail(std::mem::take(&mut execution.errors));
    // First, so that it is visible however much the function wrote.
    if let Some(why) = why {
        let wrote = std::mem::replace(&mut execution.errors, why);
        if !wrote.is_empty() {
            execution.errors.push('\n');
            execution.errors.push_str(&wrote);
        }
    }
    execution.wall_us = outcome.usage.wall.as_micros() as u64;
    execution.cpu_us = outcome.usage.cpu.as_micros() as u64;
    execution.memory_peak_bytes = outcome.usage.memory_peak_bytes;
    execution.updated_at_ms = executor.clock.now_ms();
    execution
}

/// Cuts a text that is too long to its end, with a first line that says so.
fn tail(text: String) -> String {
    if text.len() <= TEXT_MAX {
        return text;
    }
    let from = text.ceil_char_boundary(text.len() - TEXT_MAX);
    format!("[WARNING] only the last {TEXT_MAX} bytes are stored\n{}", &text[from..])
}

/// The record of an execution whose effects the ledger has refused.
pub(super) fn refuse(executor: &Executor, execution: &mut Execution, why: &str, dead_lettered: bool) {
    execution.dead_lettered_at_ms = dead_lettered.then(|| executor.clock.now_ms());
    execution.status = ExecutionStatus::Failed;
    execution.response_status = 500;
    execution.errors = why.to_owned();
}

pub(super) fn count_dead_letter(execution: &Execution) {
    if execution.dead_lettered_at_ms.is_some() {
        counter!("larder_dead_letters_total").increment(1);
    }
}

pub(super) fn measure(execution: &Execution) {
    METRICS.ended[execution.trigger as usize][execution.status as usize].increment(1);
    METRICS.wall_seconds.record(Duration::from_micros(execution.wall_us).as_secs_f64());
    METRICS.cpu_seconds.record(Duration::from_micros(execution.cpu_us).as_secs_f64());
}

/// Registered once: looking up a metric by its labels costs more than counting.
struct Metrics {
    /// By trigger and status.
    ended: Vec<Vec<Counter>>,
    wall_seconds: Histogram,
    cpu_seconds: Histogram,
}

static METRICS: LazyLock<Metrics> = LazyLock::new(|| {
    let ended = |trigger: &'static str| {
        let of = |status: &&'static str| counter!("larder_executions_total", "trigger" => trigger, "status" => *status);
        ExecutionStatus::WORDS.iter().map(of).collect()
    };
    Metrics {
        ended: Trigger::WORDS.iter().map(|trigger| ended(trigger)).collect(),
        wall_seconds: histogram!("larder_execution_seconds"),
        cpu_seconds: histogram!("larder_execution_cpu_seconds"),
    }
});
