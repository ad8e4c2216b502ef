//! The one way to run a function: after admission come sandbox, outcome and ledger.
//!
//! Callers: the web endpoint and the API's synchronous executions, which have no row yet, and the worker with a claimed row
//! ([`crate::jobs::executions`]). A run whose reads changed in the meantime is run again from the start; none of its effects
//! were applied.

pub mod backends;
pub mod gates;
pub mod input;
pub mod request;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use larder_egress::upstreams::Upstreams;
use larder_egress::{Calls, Client, EffectiveGrants};
use larder_model::ids::{DeploymentId, ExecutionId};
use larder_model::retries::{self, RetryDecision};
use larder_model::time::{Millis, jitter};
use larder_model::{
    Effect, End, Enrolment, Event, Execution, ExecutionStatus, Failure, Outcome, RequestRecord, Trigger,
};
use larder_runtime::backends::{self as runtime_backends, Backends};
use larder_runtime::{Answer, Call, LoadError, Program, Run, Runtime, Sanitize, StreamedBody};
use larder_secrets::Secrets;
use larder_signals::crash::{self, Point};
use larder_store::Root;
use larder_store::ledger::{CommitResult, Ended};
use larder_store::state::Scope;
use metrics::{counter, histogram};
use tokio::sync::oneshot;

use crate::common::{Common, context};
use crate::directory::{Active, FunctionView};
use crate::execution::backends::{Http, Savings, Signing, State};
use crate::execution::gates::{Gates, RACES_MAX};
use crate::ledger::{Ledger, Unwritten};
use crate::objects::Objects;
use crate::{backlog, stored};

context! {
    /// The context of running functions.
    Executor {
        runtime: Arc<Runtime>,
        objects: Objects,
        secrets: Secrets,
        ledger: Ledger,
        gates: Arc<Gates>,
        egress: Client,
        upstreams: Upstreams,
    }
}

/// The longest chain of events that cause events. A longer one is taken for a loop.
pub const EVENT_DEPTH_MAX: u32 = 8;
/// Time for instantiating and for writing the outcome, on top of the run itself.
const LOCK_MARGIN: Duration = Duration::from_secs(5);
/// Stored bytes of an execution's logs and of its errors, each.
const TEXT_MAX: usize = 1_000_000;
/// Response headers that are stored in the record.
const RECORDED_HEADERS: [&str; 2] = ["content-type", "content-length"];

/// One execution to run.
pub struct Job {
    pub view: Arc<FunctionView>,
    pub input: Input,
    pub enrolment: Option<Enrolment>,
    /// Depth of the event that triggered it; 0 for other triggers.
    pub depth: u32,
    /// The root cause, if that is not the execution itself.
    pub root: Option<String>,
    /// The record so far: ids, trigger, request, attempt.
    pub execution: Execution,
    /// The process that claimed it; `None` if it has no row.
    pub holder: Option<String>,
    /// Receives a long answer while the guest runs. Only for functions that cannot have effects.
    pub stream: Option<oneshot::Sender<http::Response<StreamedBody>>>,
    /// Removes headers from the answer.
    pub sanitize: Option<Sanitize>,
    /// The time that the caller can wait, if that is less than the function's own limit.
    pub wall_max: Option<Duration>,
    /// The caller may repeat the call under the same id. So a failure of the host must not be stored as its record.
    pub keyed: bool,
}

pub enum Input {
    Http { head: http::request::Parts, body: Body },
    Event(Event),
}

pub enum Body {
    Whole(Bytes),
    /// Can be read only once, so only for functions that cannot have effects: they are never run again.
    Stream(BoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>>),
}

/// A finished execution.
pub struct Finished {
    /// The execution as it was recorded.
    pub execution: Execution,
    /// `Failed` also if the guest succeeded but the ledger refused its effects.
    pub end: End,
    /// It is not known whether its effects were applied. Its record will say so later.
    pub unknown: bool,
}

impl Finished {
    /// Did the host fail, so that there is no answer of the function?
    pub fn is_ours(&self) -> bool {
        self.unknown || matches!(self.end, End::Failed(Failure::Host(_)))
    }
}

impl Job {
    /// An execution without a row: HTTP and synchronous API calls.
    pub fn new(
        common: &Common,
        id: ExecutionId,
        view: Arc<FunctionView>,
        trigger: Trigger,
        request: RequestRecord,
        input: Input,
    ) -> Job {
        let (partner, function) = (view.function.partner.clone(), view.function.id.clone());
        let execution = Execution {
            request,
            attempt: 1,
            ..Execution::new(partner, id, function, trigger, ExecutionStatus::Processing, common.clock.now_ms())
        };
        Job {
            view,
            input,
            enrolment: None,
            depth: 0,
            root: None,
            execution,
            holder: None,
            stream: None,
            sanitize: None,
            wall_max: None,
            keyed: false,
        }
    }

    fn scope(&self) -> Scope {
        let e = &self.execution;
        Scope { partner: e.partner.clone(), function: e.function.clone(), enrolment: e.enrolment.clone() }
    }
}

/// The function's program, from memory or disk.
async fn program(executor: &Executor, active: &Active) -> Result<Arc<Program>, LoadError> {
    match executor.runtime.loaded(&active.digest) {
        Some(program) => Ok(program),
        None => executor.runtime.load(&active.digest, &executor.objects).await,
    }
}

/// Does the function import anything that has effects? Then its answers wait for the ledger.
pub async fn may_have_effects(executor: &Executor, view: &FunctionView) -> Result<bool, LoadError> {
    match &view.active {
        Some(active) => Ok(program(executor, active).await?.artifact().may_have_effects),
        None => Ok(false),
    }
}

/// Runs the job in the sandbox and commits its outcome to the ledger.
pub async fn execute(executor: &Executor, mut job: Job) -> Finished {
    let Some(active) = job.view.active.clone() else {
        return end_unrun(executor, &job, Failure::NoExport("the function has no active deployment".into()), None)
            .await;
    };
    if let Some(name) = &job.view.undecryptable {
        let why = format!("the variable {name} could not be decrypted");
        return end_unrun(executor, &job, Failure::Host(why), None).await;
    }
    let program = match program(executor, &active).await {
        Ok(program) => program,
        Err(err) => {
            let why = format!("the program could not be loaded: {err}");
            return end_unrun(executor, &job, Failure::Host(why), None).await;
        }
    };
    let scope = job.scope();
    let state = Arc::new(State::new(executor.store.clone(), scope.clone()));
    let savings = Arc::new(Savings::new(executor.store.clone(), scope.clone()));
    let effective_grants = executor.upstreams.effective_grants(&scope.partner, &scope.function);
    let signing = Arc::new(Signing(executor.upstreams.signer(effective_grants.clone())));
    let mut limits = job.view.limits;
    limits.wall = limits.wall.min(job.wall_max.unwrap_or(limits.wall));
    let may_have_effects = program.artifact().may_have_effects;
    let mut races = 0;
    let mut gate = None;
    loop {
        if may_have_effects && gate.is_none() {
            executor.gates.pass(&scope).await;
        }
        let run = Run {
            execution: job.execution.id.to_string(),
            limits,
            lane: job.view.lane.clone(),
            grants: job.view.grants.clone(),
            backends: Backends {
                variables: job.view.variables.clone(),
                enrolment: job.enrolment.as_ref().map(|e| runtime_backends::Enrolment {
                    end_user: executor.secrets.pseudonym(&e.partner, &e.function, &e.end_user),
                    topic: e.topic.clone(),
                    settings: e.settings.clone(),
                }),
                http: outgoing(executor, &job, &effective_grants),
                signing: Some(signing.clone()),
                ..Backends::new(state.clone(), savings.clone())
            },
        };
        let answer = job.stream.take().map_or(Answer::Buffered, Answer::Streamed);
        let outcome = program.run(call(&mut job.input, answer, &job.sanitize), run).await;
        crash::point(Point::Ran);
        if let Some(done) = finish(executor, &job, Some(active.deployment.clone()), outcome, None).await {
            if races >= RACES_MAX
                && let Err(err) = executor.store.unlock_state(&scope, &job.execution.id).await
            {
                tracing::warn!(error = %err, "the state lock of an execution could not be released; it expires");
            }
            return done;
        }
        races += 1;
        counter!("larder_state_conflicts_total").increment(1);
        if races >= RACES_MAX {
            if gate.is_none() {
                gate = Some(executor.gates.close(&scope).await);
            }
            lock_state(executor, &scope, &job.execution.id, limits.wall).await;
        }
    }
}

/// The outgoing calls of one run. A repeated run counts its calls from the start.
fn outgoing(
    executor: &Executor,
    job: &Job,
    effective_grants: &EffectiveGrants,
) -> Option<Arc<dyn runtime_backends::Http>> {
    let grants = &job.view.grants;
    let any = !grants.http.is_empty() || !grants.upstreams.is_empty() || !grants.moved.is_empty();
    any.then(|| {
        let (client, upstreams) = (executor.egress.clone(), executor.upstreams.clone());
        let (settings, effective_grants) = (&executor.settings.egress, effective_grants.clone());
        let calls = Calls::new(client, upstreams, settings, effective_grants, &job.execution.id, grants);
        Arc::new(Http(calls)) as _
    })
}

/// Locks this state against runs of other processes, as the gate does within this one. A lock lasts no longer than a run may
/// take, so every waiting execution gets it.
async fn lock_state(executor: &Executor, scope: &Scope, id: &ExecutionId, wall: Duration) {
    loop {
        let now = executor.clock.now_ms();
        let until = now + (wall + LOCK_MARGIN).as_millis() as Millis;
        match executor.store.lock_state(scope, id, now, until).await {
            Ok(true) => return,
            Ok(false) => tokio::time::sleep(Duration::from_millis(10 + jitter(40))).await,
            // The run itself will fail in the same way.
            Err(err) => {
                tracing::warn!(error = %err, "the state could not be locked for an execution that lost too many races");
                return;
            }
        }
    }
}

/// Ends a claimed job that must not run: `Final` if somebody stopped it, `DeadLetter` if it is given up.
pub async fn refuse(executor: &Executor, job: Job, why: String, decision: RetryDecision) -> Finished {
    end_unrun(executor, &job, Failure::NoExport(why), Some(decision)).await
}

/// Ends a job that could not be run.
async fn end_unrun(executor: &Executor, job: &Job, failure: Failure, decision: Option<RetryDecision>) -> Finished {
    let outcome = Outcome {
        end: End::Failed(failure),
        effects: vec![],
        reads: vec![],
        logs: Default::default(),
        usage: Default::default(),
    };
    finish(executor, job, job.view.active.as_ref().map(|active| active.deployment.clone()), outcome, decision)
        .await
        .expect("without reads there is no conflict")
}

/// Commits the outcome to the ledger. Without a `decision`, [`RetryDecision::of`] decides. `None`: the run lost a race and
/// must be repeated.
async fn finish(
    executor: &Executor,
    job: &Job,
    deployment: Option<DeploymentId>,
    mut outcome: Outcome,
    mut decision: Option<RetryDecision>,
) -> Option<Finished> {
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
    if job.holder.is_none()
        && emitted > 0
        && let Some(exceeded) = backlog::emits(executor, &job.execution.partner, emitted).await
    {
        outcome.effects.clear();
        outcome.end = End::Failed(Failure::Trap(format!("nothing was emitted or changed: {exceeded}")));
    }
    let decision = match (&job.holder, decision) {
        (None, _) => RetryDecision::Final,
        (Some(_), Some(decision)) => decision,
        (Some(_), None) => match RetryDecision::of(&outcome.end, job.execution.failures, attempts(executor, job)) {
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
    let awaited = job.holder.is_some() || !effects.is_empty();
    let ended = Ended {
        execution: execution.clone(),
        holder: job.holder.clone(),
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
    if !awaited {
        measure(&execution);
        executor.signals.live_tail().publish(&execution);
        let again_by_caller = job.keyed && matches!(outcome.end, End::Failed(Failure::Host(_)));
        if (executor.settings.records.all || execution.status == ExecutionStatus::Failed) && !again_by_caller {
            executor.ledger.record(ended).await;
        }
        return Some(Finished { execution, end: outcome.end, unknown: false });
    }
    let verdict = executor.ledger.commit(ended).await;
    let written = matches!(verdict, Ok(CommitResult::Committed { .. } | CommitResult::Refused { .. }));
    let mut unknown = false;
    let end = match verdict {
        Ok(CommitResult::Committed { emitted }) => {
            count_dead_letter(&execution);
            if emitted {
                executor.signals.push(larder_signals::Work::Events);
            }
            outcome.end
        }
        Ok(CommitResult::Conflict) => return None,
        Ok(CommitResult::Fenced) => {
            counter!("larder_fenced_outcomes_total").increment(1);
            tracing::warn!(execution.id = %execution.id, attempt = execution.attempt, "the late outcome of a lost claim is discarded");
            // Without a claim, its record exists already: it was made under the same idempotency key.
            unknown = job.holder.is_none();
            End::Failed(Failure::Host("the lease expired and another worker took over".into()))
        }
        Ok(CommitResult::Gone) => End::Failed(Failure::NoExport(
            "the function was deleted during this run: none of its effects were applied".into(),
        )),
        Ok(CommitResult::Refused { why, dead_lettered }) => {
            execution.dead_lettered_at_ms = dead_lettered.then(|| executor.clock.now_ms());
            execution.status = ExecutionStatus::Failed;
            execution.response_status = 500;
            execution.errors.clone_from(&why);
            count_dead_letter(&execution);
            End::Failed(Failure::Trap(why))
        }
        // The database would reject the same outcome again. So the failure is recorded without the effects, and the execution is
        // retried by the rule for failures of the host.
        Err(Unwritten::Never(why)) if job.holder.is_some() && !matches!(outcome.end, End::Failed(Failure::Host(_))) => {
            return Some(Box::pin(end_unrun(executor, job, Failure::Host(why), None)).await);
        }
        // A claimed row is claimed again when its lease expires. A caller without a row gets what is known.
        Err(err) => {
            unknown = matches!(err, Unwritten::Unknown(_));
            End::Failed(Failure::Host(err.to_string()))
        }
    };
    if let End::Failed(failure) = &end
        && (!written || execution.errors.is_empty())
    {
        execution.status = ExecutionStatus::Failed;
        execution.response_status = 500;
        execution.errors = failure.to_string();
    }
    if unknown && job.holder.is_none() && !job.keyed {
        // Written once the database answers again, unless a record of its success exists by then.
        executor.ledger.record(not_applied(&execution)).await;
    }
    measure(&execution);
    if written && matches!(execution.status, ExecutionStatus::Completed | ExecutionStatus::Failed) {
        executor.signals.live_tail().publish(&execution);
    }
    Some(Finished { execution, end, unknown })
}

/// The record of a call with unknown outcome, in case its effects were not applied.
fn not_applied(execution: &Execution) -> Ended {
    let errors = "the database did not accept the outcome: none of its effects were applied".into();
    Ended {
        execution: Execution { errors, ..execution.clone() },
        holder: None,
        retry_at_ms: None,
        reads: vec![],
        effects: vec![],
        end_user: None,
        depth: 0,
        root: Root::default(),
        function_made_at_ms: None,
    }
}

/// The bytes that an effect adds to the partner's storage.
fn stored_bytes(effect: &Effect) -> u64 {
    match effect {
        Effect::SetState { key, value } => (key.len() + value.len()) as u64,
        Effect::Emit(event) => event.data.len() as u64,
        Effect::Transaction { .. } | Effect::DeleteState { .. } | Effect::IncrementState { .. } => 0,
    }
}

fn call(input: &mut Input, answer: Answer, sanitize: &Option<Sanitize>) -> Call {
    match input {
        Input::Event(event) => Call::Event(event.clone()),
        Input::Http { head, body } => {
            let body = match body {
                Body::Whole(bytes) => Full::new(bytes.clone()).map_err(|never| match never {}).boxed_unsync(),
                Body::Stream(stream) => {
                    std::mem::replace(stream, Full::default().map_err(|never| match never {}).boxed()).boxed_unsync()
                }
            };
            let request = http::Request::from_parts(head.clone(), body);
            Call::Http { request, answer, sanitize: sanitize.clone() }
        }
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
    // The caller of a call sees the status of its answer. Of a queued execution only the record has it.
    let answered = |status: u16| match status {
        500.. => {
            (ExecutionStatus::Failed, status, job.holder.as_ref().map(|_| format!("the function answered {status}")))
        }
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

fn count_dead_letter(execution: &Execution) {
    if execution.dead_lettered_at_ms.is_some() {
        counter!("larder_dead_letters_total").increment(1);
    }
}

fn measure(execution: &Execution) {
    let labels = [("trigger", execution.trigger.word()), ("status", execution.status.word())];
    counter!("larder_executions_total", &labels).increment(1);
    histogram!("larder_execution_seconds").record(Duration::from_micros(execution.wall_us).as_secs_f64());
    histogram!("larder_execution_cpu_seconds").record(Duration::from_micros(execution.cpu_us).as_secs_f64());
}
