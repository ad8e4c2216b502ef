//! The one way in which a function runs: admission is done, then sandbox, outcome, ledger.
//!
//! Callers: the web door and the API's synchronous executions (no row yet), and [`step`], the worker's (a claimed row).
//! A run whose reads have changed meanwhile runs again from the start; nothing of it was applied.

pub mod backends;
pub mod gates;
pub mod input;
pub mod request;
pub mod retries;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use larder_egress::upstreams::Upstreams;
use larder_egress::{Calls, Client, InForce};
use larder_model::ids::{DeploymentId, ExecutionId};
use larder_model::time::{Millis, jitter};
use larder_model::{
    Effect, End, Enrolment, Event, Execution, ExecutionStatus, Failure, Outcome, RequestRecord, Trigger,
};
use larder_runtime::backends::{self as runtime_backends, Backends};
use larder_runtime::{Answer, Call, LoadError, Program, Run, Runtime, Sanitize, StreamedBody};
use larder_secrets::Secrets;
use larder_signals::crash::{self, Point};
use larder_store::Root;
use larder_store::ledger::{Ended, Verdict};
use larder_store::state::Scope;
use metrics::{counter, histogram};
use tokio::sync::oneshot;

use crate::common::{Common, context};
use crate::directory::{Active, FunctionView};
use crate::execution::backends::{Http, Savings, Signing, State};
use crate::execution::gates::{Gates, RACES_MAX};
use crate::execution::retries::Fate;
use crate::ledger::{Ledger, Unwritten};
use crate::objects::Objects;
use crate::{backlog, stored};

context! {
    /// What running a function uses.
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

/// Events may cause events may cause events; deeper than this is a loop.
pub const EVENT_DEPTH_MAX: u32 = 8;
/// Beyond the run itself: instantiating, writing its outcome.
const KEPT_MARGIN: Duration = Duration::from_secs(5);
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
    /// What caused it in the first place, if that is not the run itself.
    pub root: Option<String>,
    /// The record so far: ids, trigger, request, attempt.
    pub execution: Execution,
    /// Who claimed it; `None` if it has no row.
    pub holder: Option<String>,
    /// Hand a long answer over while the guest runs. Only for functions that cannot have effects.
    pub stream: Option<oneshot::Sender<http::Response<StreamedBody>>>,
    /// What is taken out of the answer's headers.
    pub sanitize: Option<Sanitize>,
    /// Wall-clock time that the caller can wait, if that is less than the function may take.
    pub wall_max: Option<Duration>,
    /// The caller may ask for it again under the same id, so what only the host is at fault for must not take the place of
    /// its record.
    pub keyed: bool,
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
    /// Whether what it did was applied is not known; its record will tell.
    pub unknown: bool,
}

impl Done {
    /// Is it the host that failed, so that there is no answer of the function?
    pub fn is_ours(&self) -> bool {
        self.unknown || matches!(self.end, End::Failed(Failure::Host(_)))
    }
}

impl Job {
    /// A run without a row: HTTP and synchronous API calls.
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

/// Does the function import anything that can change something? Then its answers wait for the ledger.
pub async fn may_have_effects(executor: &Executor, view: &FunctionView) -> Result<bool, LoadError> {
    match &view.active {
        Some(active) => Ok(program(executor, active).await?.artifact().may_have_effects),
        None => Ok(false),
    }
}

/// Runs the job to its end, in the sandbox and in the ledger.
pub async fn execute(executor: &Executor, mut job: Job) -> Done {
    let Some(active) = job.view.active.clone() else {
        return end_unrun(executor, &job, Failure::NoExport("the function has no active deployment".into()), None)
            .await;
    };
    if let Some(name) = &job.view.unopened {
        let why = format!("the variable {name} could not be opened");
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
    let in_force = InForce::new(Arc::new(executor.directory.clone()), &scope.partner, &scope.function);
    let signing = Arc::new(Signing(executor.upstreams.signer(in_force)));
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
                http: outgoing(executor, &job),
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
                tracing::warn!(error = %err, "state that was kept for an execution is not given back; that runs out");
            }
            return done;
        }
        races += 1;
        counter!("larder_state_conflicts_total").increment(1);
        if races >= RACES_MAX {
            if gate.is_none() {
                gate = Some(executor.gates.close(&scope).await);
            }
            keep_state(executor, &scope, &job.execution.id, limits.wall).await;
        }
    }
}

/// Where its calls go. Made for each run: one that is made again counts from the start.
fn outgoing(executor: &Executor, job: &Job) -> Option<Arc<dyn runtime_backends::Http>> {
    let grants = &job.view.grants;
    let any = !grants.http.is_empty() || !grants.upstreams.is_empty() || !grants.moved.is_empty();
    any.then(|| {
        let in_force =
            InForce::new(Arc::new(executor.directory.clone()), &job.execution.partner, &job.execution.function);
        let (client, upstreams) = (executor.egress.clone(), executor.upstreams.clone());
        let calls = Calls::new(client, upstreams, &executor.settings.egress, in_force, &job.execution.id, grants);
        Arc::new(Http(calls)) as _
    })
}

/// Keeps the runs of other processes off this state, as the gate does with those of this one. Each has it for no longer than
/// a run may take, so everyone gets it.
async fn keep_state(executor: &Executor, scope: &Scope, id: &ExecutionId, wall: Duration) {
    loop {
        let now = executor.clock.now_ms();
        let until = now + (wall + KEPT_MARGIN).as_millis() as Millis;
        match executor.store.lock_state(scope, id, now, until).await {
            Ok(true) => return,
            Ok(false) => tokio::time::sleep(Duration::from_millis(10 + jitter(40))).await,
            // The run itself will meet the same trouble.
            Err(err) => {
                tracing::warn!(error = %err, "state could not be kept for an execution that lost too many races");
                return;
            }
        }
    }
}

/// Ends a claimed job that must not run: `Ended` by somebody's will, `Buried` if it is given up.
pub async fn refuse(executor: &Executor, job: Job, why: String, fate: Fate) -> Done {
    end_unrun(executor, &job, Failure::NoExport(why), Some(fate)).await
}

/// Ends a job that could not run.
async fn end_unrun(executor: &Executor, job: &Job, failure: Failure, fate: Option<Fate>) -> Done {
    let outcome = Outcome {
        end: End::Failed(failure),
        effects: vec![],
        reads: vec![],
        logs: Default::default(),
        usage: Default::default(),
    };
    finish(executor, job, job.view.active.as_ref().map(|active| active.deployment.clone()), outcome, fate)
        .await
        .expect("without reads there is no conflict")
}

/// Hands the outcome to the ledger; `fate` is that of the rule if it is not given. `None`: the run lost a race and must be
/// made again.
async fn finish(
    executor: &Executor,
    job: &Job,
    deployment: Option<DeploymentId>,
    mut outcome: Outcome,
    mut fate: Option<Fate>,
) -> Option<Done> {
    if job.depth >= EVENT_DEPTH_MAX && outcome.effects.iter().any(|effect| matches!(effect, Effect::Emit(_))) {
        outcome.effects.clear();
        outcome.end = End::Failed(Failure::Trap(format!(
            "events that cause events may be {EVENT_DEPTH_MAX} deep; this function would emit one more"
        )));
        // It would again.
        fate = Some(Fate::Buried);
    }
    let stores: u64 = outcome.effects.iter().map(stored_bytes).sum();
    if stores > 0
        && let Err(why) = stored::admit(executor, &job.view.stored, stores)
    {
        outcome.effects.clear();
        outcome.end = End::Failed(Failure::Trap(why.to_string()));
        // It would again, until something is removed; then it can be redriven.
        fate = Some(Fate::Buried);
    }
    let (worker, now) = (&executor.settings.worker, executor.clock.now_ms());
    let since = job.execution.host_failing_since_ms.unwrap_or(now);
    // Executions of the queue rest then; a call cannot.
    let emitted = outcome.effects.iter().filter(|effect| matches!(effect, Effect::Emit(_))).count();
    if job.holder.is_none()
        && emitted > 0
        && let Some(exceeded) = backlog::emits(executor, &job.execution.partner, emitted).await
    {
        outcome.effects.clear();
        outcome.end = End::Failed(Failure::Trap(format!("nothing was emitted or changed: {exceeded}")));
    }
    let fate = match (&job.holder, fate) {
        (None, _) => Fate::Ended,
        (Some(_), Some(fate)) => fate,
        (Some(_), None) => match Fate::of(&outcome.end, job.execution.failures, attempts(executor, job)) {
            Fate::Again { spent: false } if retries::host_gives_up(since, now, worker.retry_host_failures_for) => {
                Fate::Buried
            }
            fate => fate,
        },
    };
    let mut execution = record(executor, job, deployment, &outcome, fate);
    let (first, most) = (worker.retry_delay, worker.retry_delay_max);
    let rest = match fate {
        Fate::Again { spent: true } => Some(retries::delay(first, most, job.execution.failures)),
        Fate::Again { spent: false } => Some(retries::delay_of_host(first, most, since, now)),
        Fate::Ended | Fate::Buried => None,
    };
    execution.host_failing_since_ms = (fate == Fate::Again { spent: false }).then_some(since);
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
        executor.queue.tails().tell(&execution);
        let again_by_caller = job.keyed && matches!(outcome.end, End::Failed(Failure::Host(_)));
        if (executor.settings.records.all || execution.status == ExecutionStatus::Failed) && !again_by_caller {
            executor.ledger.record(ended).await;
        }
        return Some(Done { execution, end: outcome.end, unknown: false });
    }
    let verdict = executor.ledger.commit(ended).await;
    let written = matches!(verdict, Ok(Verdict::Committed { .. } | Verdict::Refused { .. }));
    let mut unknown = false;
    let end = match verdict {
        Ok(Verdict::Committed { emitted }) => {
            count_buried(&execution);
            if emitted {
                executor.queue.push(larder_signals::Work::Events);
            }
            outcome.end
        }
        Ok(Verdict::Conflict) => return None,
        Ok(Verdict::Fenced) => {
            counter!("larder_fenced_outcomes_total").increment(1);
            tracing::warn!(execution.id = %execution.id, attempt = execution.attempt, "the late outcome of a lost claim is dropped");
            // Without a claim its record is there already: somebody made it under the same idempotency key.
            unknown = job.holder.is_none();
            End::Failed(Failure::Host("the claim ran out and another took over".into()))
        }
        Ok(Verdict::Gone) => {
            End::Failed(Failure::NoExport("the function was deleted during this run: nothing of it is applied".into()))
        }
        Ok(Verdict::Refused { why, buried }) => {
            execution.buried_at_ms = buried.then(|| executor.clock.now_ms());
            execution.status = ExecutionStatus::Failed;
            execution.response_status = 500;
            execution.errors.clone_from(&why);
            count_buried(&execution);
            End::Failed(Failure::Trap(why))
        }
        // What the database does not take it will not take the next time either, or not for a while: it is told of without
        // what it did, and comes back as the rule for the host's faults says.
        Err(Unwritten::Never(why)) if job.holder.is_some() && !matches!(outcome.end, End::Failed(Failure::Host(_))) => {
            return Some(Box::pin(end_unrun(executor, job, Failure::Host(why), None)).await);
        }
        // A claimed row comes back when its lease ends; a caller without a row is told what is known.
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
        // Written once the database answers again, unless what is recorded there already is that it was done.
        executor.ledger.record(not_applied(&execution)).await;
    }
    measure(&execution);
    if written && matches!(execution.status, ExecutionStatus::Completed | ExecutionStatus::Failed) {
        executor.queue.tails().tell(&execution);
    }
    Some(Done { execution, end, unknown })
}

/// The record of a call of which it was not known whether it was applied, if it was not.
fn not_applied(execution: &Execution) -> Ended {
    let errors = "the database did not take what it did: nothing of it is applied".into();
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

/// What an effect adds to what the partner stores.
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

/// How often the function may be tried.
fn attempts(executor: &Executor, job: &Job) -> u32 {
    job.view.function.limits.attempts.unwrap_or(executor.settings.worker.attempts)
}

fn record(
    executor: &Executor,
    job: &Job,
    deployment: Option<DeploymentId>,
    outcome: &Outcome,
    fate: Fate,
) -> Execution {
    let mut execution = job.execution.clone();
    // Whoever made a call sees the status of its answer; for one from the queue only the record tells.
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
    let (status, response_status, why) = match fate {
        Fate::Again { spent } => {
            execution.failures += u32::from(spent);
            (ExecutionStatus::Waiting, 0, why.map(|why| format!("will be tried again: {why}")))
        }
        Fate::Buried => {
            execution.buried_at_ms = Some(executor.clock.now_ms());
            let tries = execution.failures + 1;
            let given_up = |why: String| match &outcome.end {
                End::Failed(Failure::Host(_)) => {
                    let most = humantime_serde::re::humantime::format_duration(
                        executor.settings.worker.retry_host_failures_for,
                    );
                    format!("given up after {most} of failures of the host (worker.retry_host_failures_for): {why}")
                }
                _ if tries > 1 => format!("given up after {tries} attempts: {why}"),
                _ => why,
            };
            (status, response_status, why.map(given_up))
        }
        Fate::Ended => (status, response_status, why),
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
    // First, so that it is found however much the function wrote.
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

/// The end of a text that is too long, with a first line that says so.
fn tail(text: String) -> String {
    if text.len() <= TEXT_MAX {
        return text;
    }
    let from = text.ceil_char_boundary(text.len() - TEXT_MAX);
    format!("[WARNING] only the last {TEXT_MAX} bytes are kept\n{}", &text[from..])
}

fn count_buried(execution: &Execution) {
    if execution.buried_at_ms.is_some() {
        counter!("larder_dead_letters_total").increment(1);
    }
}

fn measure(execution: &Execution) {
    let labels = [("trigger", execution.trigger.word()), ("status", execution.status.word())];
    counter!("larder_executions_total", &labels).increment(1);
    histogram!("larder_execution_seconds").record(Duration::from_micros(execution.wall_us).as_secs_f64());
    histogram!("larder_execution_cpu_seconds").record(Duration::from_micros(execution.cpu_us).as_secs_f64());
}
