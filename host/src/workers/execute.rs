//! The one way in which a function runs: admission is done, then sandbox, outcome, ledger.
//!
//! Callers: the web door and the API's synchronous executions (no row yet), and [`step`], the worker's (a claimed row).
//! A run whose reads have changed meanwhile runs again from the start; nothing of it was applied.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use larder_runtime::{Answer, Call, Effect, End, Event, Failure, LoadError, Outcome, Program, Run, StreamedBody};
use metrics::{counter, histogram};
use tokio::sync::oneshot;

use super::capabilities::{Savings, State};
use super::gates::RACES_MAX;
use crate::app::App;
use crate::clock::Millis;
use crate::ids::{DeploymentId, ExecutionId};
use crate::model::{Enrolment, Execution, ExecutionStatus, RequestRecord, Trigger};
use crate::partners::{Active, FunctionView};
use crate::store::ledger::{Ended, Verdict};
use crate::store::state::Scope;

/// Events may cause events may cause events; deeper than this is a loop.
pub const EVENT_DEPTH_MAX: u32 = 8;
/// Text kept of an execution's logs and errors, each.
const TEXT_MAX: usize = 1_000_000;
/// Response headers that are kept in the record.
const RECORDED_HEADERS: [&str; 2] = ["content-type", "content-length"];

/// One run to make.
pub struct Job {
    pub view: Arc<FunctionView>,
    pub input: Input,
    pub enrolment: Option<Enrolment>,
    /// Of the event that triggered it; 0 for other triggers.
    pub depth: u32,
    /// The record so far: ids, trigger, request, attempt.
    pub execution: Execution,
    /// Who claimed it; `None` if it has no row.
    pub holder: Option<String>,
    /// Hand a long answer over while the guest runs. Only for functions that cannot have effects.
    pub stream: Option<oneshot::Sender<http::Response<StreamedBody>>>,
    /// Wall-clock time that the caller can wait, if that is less than the function may take.
    pub wall_max: Option<Duration>,
}

pub enum Input {
    Http { head: http::request::Parts, body: Body },
    Event(Event),
}

pub enum Body {
    Whole(Bytes),
    /// Can be read once, so only for functions that cannot have effects: they never run again.
    Stream(BoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>>),
}

/// What came of it.
pub struct Done {
    /// As recorded.
    pub execution: Execution,
    /// `Failed` also when the guest ended well but the ledger did not take what it did.
    pub end: End,
}

impl Job {
    /// A run without a row: HTTP and synchronous API calls.
    pub fn new(
        app: &App,
        id: ExecutionId,
        view: Arc<FunctionView>,
        trigger: Trigger,
        request: RequestRecord,
        input: Input,
    ) -> Job {
        let now = app.clock.now_ms();
        let execution = Execution {
            partner: view.function.partner.clone(),
            id,
            function: view.function.id.clone(),
            deployment: None,
            trigger,
            status: ExecutionStatus::Processing,
            trigger_key: None,
            event: None,
            enrolment: None,
            nominal_at_ms: None,
            late_ms: None,
            scheduled_at_ms: None,
            request,
            attempt: 1,
            failures: 0,
            lost: 0,
            buried_at_ms: None,
            response_status: 0,
            response_headers: vec![],
            logs: String::new(),
            errors: String::new(),
            wall_us: 0,
            cpu_us: 0,
            memory_peak_bytes: 0,
            created_at_ms: now,
            updated_at_ms: now,
        };
        Job { view, input, enrolment: None, depth: 0, execution, holder: None, stream: None, wall_max: None }
    }

    fn scope(&self) -> Scope {
        let e = &self.execution;
        Scope { partner: e.partner.clone(), function: e.function.clone(), enrolment: e.enrolment.clone() }
    }
}

/// The function's program, from memory or disk.
async fn program(app: &App, active: &Active) -> Result<Arc<Program>, LoadError> {
    match app.runtime.loaded(&active.digest) {
        Some(program) => Ok(program),
        None => app.runtime.load(&active.digest, &app.objects).await,
    }
}

/// Does the function import anything that can change something? Then its answers wait for the ledger.
pub async fn may_have_effects(app: &App, view: &FunctionView) -> Result<bool, LoadError> {
    match &view.active {
        Some(active) => Ok(program(app, active).await?.artifact().may_have_effects),
        None => Ok(false),
    }
}

/// Runs the job to its end, in the sandbox and in the ledger.
pub async fn execute(app: &App, mut job: Job) -> Done {
    let Some(active) = job.view.active.clone() else {
        return fail(app, job, Failure::NoExport("the function has no active deployment".into())).await;
    };
    let program = match program(app, &active).await {
        Ok(program) => program,
        Err(err) => return fail(app, job, Failure::Host(format!("the program could not be loaded: {err}"))).await,
    };
    let scope = job.scope();
    let state = Arc::new(State::new(app.store.clone(), scope.clone()));
    let savings = Arc::new(Savings::new(app.store.clone(), scope.clone()));
    let mut limits = job.view.limits;
    limits.wall = limits.wall.min(job.wall_max.unwrap_or(limits.wall));
    let may_have_effects = program.artifact().may_have_effects;
    let mut races = 0;
    let mut gate = None;
    loop {
        if may_have_effects && gate.is_none() {
            app.gates.pass(&scope).await;
        }
        let run = Run {
            execution: job.execution.id.to_string(),
            limits,
            variables: job.view.variables.clone(),
            enrolment: job.enrolment.as_ref().map(|e| larder_runtime::Enrolment {
                end_user: app.secrets.pseudonym(&e.partner, &e.function, &e.end_user),
                topic: e.topic.clone(),
                settings: e.settings.clone(),
            }),
            state: state.clone(),
            savings: savings.clone(),
        };
        let answer = job.stream.take().map_or(Answer::Buffered, Answer::Streamed);
        let outcome = program.run(call(&mut job.input, answer), run).await;
        match finish(app, &job, Some(active.deployment.clone()), outcome).await {
            Some(done) => return done,
            None => {
                races += 1;
                counter!("larder_state_conflicts_total").increment(1);
                if races == RACES_MAX {
                    gate = Some(app.gates.close(&scope).await);
                }
            }
        }
    }
}

/// Ends a job that did not get to run.
pub async fn fail(app: &App, job: Job, failure: Failure) -> Done {
    let outcome = Outcome {
        end: End::Failed(failure),
        effects: vec![],
        reads: vec![],
        logs: Default::default(),
        usage: Default::default(),
    };
    finish(app, &job, job.view.active.as_ref().map(|active| active.deployment.clone()), outcome)
        .await
        .expect("without reads there is no conflict")
}

/// Hands the outcome to the ledger. `None`: the run lost a race and must be made again.
async fn finish(app: &App, job: &Job, deployment: Option<DeploymentId>, mut outcome: Outcome) -> Option<Done> {
    if job.depth >= EVENT_DEPTH_MAX && outcome.effects.iter().any(|effect| matches!(effect, Effect::Emit(_))) {
        outcome.effects.clear();
        outcome.end = End::Failed(Failure::Trap(format!(
            "events that cause events may be {EVENT_DEPTH_MAX} deep; this function would emit one more"
        )));
    }
    let retry_at_ms = retry(app, job, &outcome.end);
    let mut execution = record(app, job, deployment, &outcome, retry_at_ms.is_some());
    let effects = std::mem::take(&mut outcome.effects);
    let awaited = job.holder.is_some() || !effects.is_empty();
    let ended = Ended {
        execution: execution.clone(),
        holder: job.holder.clone(),
        retry_at_ms,
        reads: if effects.is_empty() { vec![] } else { std::mem::take(&mut outcome.reads) },
        effects,
        end_user: job.enrolment.as_ref().map(|e| e.end_user.clone()),
        depth: job.depth + 1,
    };
    if !awaited {
        measure(&execution);
        if app.settings.records.all || execution.status == ExecutionStatus::Failed {
            app.ledger.record(ended).await;
        }
        return Some(Done { execution, end: outcome.end });
    }
    let end = match app.ledger.commit(ended).await {
        Ok(Verdict::Committed { emitted }) => {
            if emitted {
                app.queue.push(crate::queue::Work::Events);
            }
            outcome.end
        }
        Ok(Verdict::Conflict) => return None,
        Ok(Verdict::Fenced) => {
            counter!("larder_fenced_outcomes_total").increment(1);
            tracing::warn!(execution.id = %execution.id, attempt = execution.attempt, "the late outcome of a lost claim is dropped");
            End::Failed(Failure::Host("the claim ran out and another took over, or the function is gone".into()))
        }
        Ok(Verdict::Refused { why, buried }) => {
            execution.buried_at_ms = buried.then(|| app.clock.now_ms());
            execution.status = ExecutionStatus::Failed;
            execution.response_status = 500;
            execution.errors.clone_from(&why);
            End::Failed(Failure::Trap(why))
        }
        // A claimed row comes back when its lease ends; a caller without a row is told that it may try again.
        Err(err) => End::Failed(Failure::Host(err.to_string())),
    };
    if let End::Failed(failure) = &end
        && execution.errors.is_empty()
    {
        execution.status = ExecutionStatus::Failed;
        execution.response_status = 500;
        execution.errors = failure.to_string();
    }
    measure(&execution);
    Some(Done { execution, end })
}

fn call(input: &mut Input, answer: Answer) -> Call {
    match input {
        Input::Event(event) => Call::Event(event.clone()),
        Input::Http { head, body } => {
            let body = match body {
                Body::Whole(bytes) => Full::new(bytes.clone()).map_err(|never| match never {}).boxed_unsync(),
                Body::Stream(stream) => {
                    std::mem::replace(stream, Full::default().map_err(|never| match never {}).boxed()).boxed_unsync()
                }
            };
            Call::Http { request: http::Request::from_parts(head.clone(), body), answer }
        }
    }
}

/// When a queued execution is to be tried again, if it is. What the host is at fault for is tried until it goes well and
/// spends no attempt: an accepted trigger must not be lost to a full disk.
fn retry(app: &App, job: &Job, end: &End) -> Option<Millis> {
    let now = app.clock.now_ms();
    let base = app.settings.worker.retry_delay.as_millis() as Millis;
    let tried = job.execution.failures + 1;
    match end {
        _ if job.holder.is_none() => None,
        End::Failed(Failure::Host(_)) => Some(now + base),
        End::Retry(_) if tried < app.settings.worker.attempts => {
            Some(now + base.saturating_mul(1 << (tried - 1).min(10)))
        }
        _ => None,
    }
}

fn record(app: &App, job: &Job, deployment: Option<DeploymentId>, outcome: &Outcome, again: bool) -> Execution {
    let mut execution = job.execution.clone();
    let (status, response_status, why) = match &outcome.end {
        End::Returned(None) => (ExecutionStatus::Completed, 204, None),
        End::Returned(Some(_)) => (ExecutionStatus::Completed, 200, None),
        End::Answered(response) => (by_status(response.status().as_u16()), response.status().as_u16(), None),
        End::Streamed { status, .. } => (by_status(*status), *status, None),
        End::Failed(Failure::Host(why)) if again => {
            (ExecutionStatus::Waiting, 0, Some(format!("will be tried again, the host failed: {why}")))
        }
        End::Retry(why) if again => {
            execution.failures += 1;
            (ExecutionStatus::Waiting, 0, Some(format!("will be tried again: {why}")))
        }
        End::Retry(why) => {
            (ExecutionStatus::Failed, 503, Some(format!("given up after {} attempts: {why}", execution.failures + 1)))
        }
        End::Reject(why) => (ExecutionStatus::Failed, 422, Some(format!("rejected: {why}"))),
        End::Failed(failure) => (ExecutionStatus::Failed, 500, Some(failure.to_string())),
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
    if let Some(why) = why {
        if !execution.errors.is_empty() && !execution.errors.ends_with('\n') {
            execution.errors.push('\n');
        }
        execution.errors.push_str(&why);
    }
    execution.errors = tail(std::mem::take(&mut execution.errors));
    execution.wall_us = outcome.usage.wall.as_micros() as u64;
    execution.cpu_us = outcome.usage.cpu.as_micros() as u64;
    execution.memory_peak_bytes = outcome.usage.memory_peak_bytes;
    execution.updated_at_ms = app.clock.now_ms();
    execution
}

fn by_status(status: u16) -> ExecutionStatus {
    if status >= 500 { ExecutionStatus::Failed } else { ExecutionStatus::Completed }
}

/// The end of a text that is too long, with a first line that says so.
fn tail(text: String) -> String {
    if text.len() <= TEXT_MAX {
        return text;
    }
    let from = text.ceil_char_boundary(text.len() - TEXT_MAX);
    format!("[WARNING] only the last {TEXT_MAX} bytes are kept\n{}", &text[from..])
}

fn measure(execution: &Execution) {
    let labels = [("trigger", execution.trigger.word()), ("status", execution.status.word())];
    counter!("larder_executions_total", &labels).increment(1);
    histogram!("larder_execution_seconds").record(Duration::from_micros(execution.wall_us).as_secs_f64());
    histogram!("larder_execution_cpu_seconds").record(Duration::from_micros(execution.cpu_us).as_secs_f64());
}
