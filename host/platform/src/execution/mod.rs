//! The one way to run a function: after admission come sandbox, outcome and ledger.
//!
//! Callers: the web endpoint and the API's synchronous executions, which have no row yet, and the worker with a claimed row
//! ([`crate::jobs::executions`]). A run whose reads changed in the meantime is run again from the start; none of its effects
//! were applied.

pub mod backends;
pub mod gates;
pub mod input;
pub mod on_drop;
mod outcome;
pub mod ranges;
pub mod reads;
pub mod request;
pub mod told;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use larder_egress::upstreams::Upstreams;
use larder_egress::{Calls, Client, EffectiveGrants};
use larder_model::ids::{DeploymentId, ExecutionId};
use larder_model::retries::RetryDecision;
use larder_model::time::{Millis, jitter};
use larder_model::{
    End, Enrolment, Event, Execution, ExecutionStatus, Failure, Outcome, RequestRecord, StoredEvent, Trigger,
};
pub use larder_runtime::TakesTrailers;
use larder_runtime::backends::{self as runtime_backends, Backends};
use larder_runtime::{Answer, Call, Class, Lane, LoadError, Program, Run, Runtime, Sanitize, StreamedBody};
use larder_secrets::Secrets;
use larder_signals::crash::{self, Point};
use larder_store::Root;
use larder_store::ledger::{CommitResult, Ended, Origin};
use larder_store::state::Scope;
use metrics::counter;
use tokio::sync::oneshot;

use crate::common::{Common, context};
use crate::directory::{Active, FunctionView};
use crate::execution::backends::{Http, Savings, Signing, State};
use crate::execution::gates::{Gates, RACES_MAX};
use crate::execution::on_drop::OnDrop;
use crate::execution::outcome::{count_dead_letter, measure};
use crate::execution::told::Told;
use crate::ledger::{Ledger, Unwritten};
use crate::objects::Objects;
use crate::run_keys::{Held, RunKeys};

context! {
    /// The context of running functions.
    Executor {
        runtime: Arc<Runtime>,
        objects: Objects,
        secrets: Secrets,
        ledger: Ledger,
        gates: Arc<Gates>,
        run_keys: RunKeys,
        egress: Client,
        upstreams: Upstreams,
    }
}

impl Executor {
    /// Starts work that nobody waits for, on the threads for it. If it panics, only it is lost.
    pub fn spawn_batch(
        &self,
        name: &'static str,
        lane: &Lane,
        class: Class,
        work: impl Future<Output = ()> + Send + 'static,
    ) {
        self.life.spawn_work(name, self.runtime.batch().run(lane, class, work));
    }
}

/// The longest chain of events that cause events. A longer one is taken for a loop.
pub const EVENT_DEPTH_MAX: u32 = 8;
/// What an execution may occupy while its outcome is written and it no longer holds a slot. So many of them are bounded by
/// memory too.
const SLOTLESS_BYTES_MAX: usize = 16 << 10;
/// Time for instantiating and for writing the outcome, on top of the run itself.
const LOCK_MARGIN: Duration = Duration::from_secs(5);

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
    pub origin: Origin,
    /// Receives a long answer while the guest runs. Only for functions that cannot have effects.
    pub stream: Option<oneshot::Sender<http::Response<StreamedBody>>>,
    /// Removes headers from the answer.
    pub sanitize: Option<Sanitize>,
    /// The time that the caller can wait, if that is less than the function's own limit.
    pub wall_max: Option<Duration>,
    /// The caller may repeat the call under the same id. So a failure of the host must not be stored as its record.
    pub keyed: bool,
    /// Frees the slot of the run; held while the guest runs. A run that is repeated because it lost a race holds none.
    pub slot: Option<OnDrop>,
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

impl Input {
    /// Approximate bytes that it occupies.
    fn bytes(&self) -> usize {
        match self {
            Input::Http { body: Body::Whole(bytes), .. } => bytes.len(),
            Input::Http { body: Body::Stream(_), .. } => 0,
            Input::Event(event) => event.data.len(),
        }
    }
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
            origin: Origin::Call,
            stream: None,
            sanitize: None,
            wall_max: None,
            keyed: false,
            slot: None,
        }
    }

    /// An execution of the queue or of a range, with what triggered it.
    pub fn queued(
        view: Arc<FunctionView>,
        execution: Execution,
        origin: Origin,
        event: Option<&StoredEvent>,
        enrolment: Option<Enrolment>,
        body: Vec<u8>,
    ) -> Job {
        Job {
            input: input::from_queue(&view, &execution, event, body),
            view,
            enrolment,
            depth: event.map_or(0, |event| event.depth),
            root: input::root(&execution, event),
            execution,
            origin,
            stream: None,
            sanitize: None,
            wall_max: None,
            keyed: false,
            slot: None,
        }
    }

    /// Does it go to a guest of `wasi:http`, which is told of its run in headers?
    fn has_headers(&self) -> bool {
        match &self.input {
            Input::Http { .. } => true,
            Input::Event(_) => self.view.active.as_ref().is_some_and(|active| !active.exports.handler),
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

/// What all runs of a function share.
#[derive(Clone)]
struct Ready {
    program: Arc<Program>,
    deployment: DeploymentId,
    effective_grants: EffectiveGrants,
    signing: Arc<Signing>,
}

impl Ready {
    async fn load(executor: &Executor, view: &FunctionView) -> Result<Ready, Failure> {
        let Some(active) = &view.active else {
            return Err(Failure::NoExport("the function has no active deployment".into()));
        };
        if let Some(name) = &view.undecryptable {
            return Err(Failure::Host(format!("the variable {name} could not be decrypted")));
        }
        let program = program(executor, active).await;
        let program = program.map_err(|err| Failure::Host(format!("the program could not be loaded: {err}")))?;
        let effective_grants = executor.upstreams.effective_grants(&view.function.partner, &view.function.id);
        let signing = Arc::new(Signing(executor.upstreams.signer(effective_grants.clone())));
        Ok(Ready { program, deployment: active.deployment.clone(), effective_grants, signing })
    }

    /// The key of the job's runs, if it goes to a guest that can see one and may have one.
    async fn key(&self, executor: &Executor, job: &Job) -> Result<Option<Held>, Failure> {
        if !job.has_headers() {
            return Ok(None);
        }
        let key = executor.run_keys.begin(executor, &job.view, &job.execution.id).await;
        key.map_err(|err| Failure::Host(format!("the key of the run could not be made: {err}")))
    }

    /// One run of the job.
    fn run(
        &self,
        executor: &Executor,
        job: &Job,
        state: Arc<dyn runtime_backends::State>,
        savings: Arc<dyn runtime_backends::Savings>,
    ) -> Run {
        let mut limits = job.view.limits;
        limits.wall = limits.wall.min(job.wall_max.unwrap_or(limits.wall));
        Run {
            execution: job.execution.id.to_string(),
            limits,
            lane: job.view.lane.clone(),
            grants: job.view.grants.clone(),
            backends: Backends {
                variables: job.view.variables(),
                enrolment: job.enrolment.as_ref().map(|e| runtime_backends::Enrolment {
                    end_user: executor.secrets.pseudonym(&e.partner, &e.function, &e.end_user),
                    topic: e.topic.clone(),
                    settings: e.settings.clone(),
                }),
                http: outgoing(executor, job, &self.effective_grants),
                signing: Some(self.signing.clone()),
                event_rules: job.view.event_rules.clone(),
                ..Backends::new(state, savings)
            },
        }
    }
}

/// Runs the job in the sandbox and commits its outcome to the ledger.
pub async fn execute(executor: &Executor, mut job: Job) -> Finished {
    let ready = match Ready::load(executor, &job.view).await {
        Ok(ready) => ready,
        Err(failure) => return end_unrun(executor, &job, failure, None).await,
    };
    let key = match ready.key(executor, &job).await {
        Ok(key) => key,
        Err(failure) => return end_unrun(executor, &job, failure, None).await,
    };
    let done = execute_with(executor, &mut job, &ready, key.as_ref()).await;
    if let Some(key) = key {
        key.end(executor).await;
    }
    done
}

async fn execute_with(executor: &Executor, job: &mut Job, ready: &Ready, key: Option<&Held>) -> Finished {
    let scope = Arc::new(job.scope());
    let state = Arc::new(State::new(executor.common.clone(), scope.clone(), job.view.reads.clone()));
    let savings = Arc::new(Savings::new(executor.common.clone(), scope.clone(), job.view.reads.clone()));
    let may_have_effects = ready.program.artifact().may_have_effects;
    let mut races = 0;
    let mut gate = None;
    loop {
        if may_have_effects && gate.is_none() {
            executor.gates.pass(&scope).await;
        }
        let run = ready.run(executor, job, state.clone(), savings.clone());
        let wall = run.limits.wall;
        let answer = job.stream.take().map_or(Answer::Buffered, Answer::Streamed);
        let outcome = ready.program.run(call(job, may_have_effects, answer, key), run).await;
        crash::point(Point::Ran);
        if job.input.bytes() + outcome.bytes() <= SLOTLESS_BYTES_MAX {
            job.slot = None;
        }
        if let Some(done) = finish(executor, job, Some(ready.deployment.clone()), outcome, None).await {
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
            lock_state(executor, &scope, &job.execution.id, wall).await;
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

/// The outcome of what could not be run.
fn unrun(failure: Failure) -> Outcome {
    Outcome {
        end: End::Failed(failure),
        effects: vec![],
        reads: vec![],
        logs: Default::default(),
        usage: Default::default(),
    }
}

/// Ends a job that could not be run.
async fn end_unrun(executor: &Executor, job: &Job, failure: Failure, decision: Option<RetryDecision>) -> Finished {
    let outcome = unrun(failure);
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
    outcome: Outcome,
    decision: Option<RetryDecision>,
) -> Option<Finished> {
    let (ended, end) = outcome::prepare(executor, job, deployment, outcome, decision).await;
    let is_call = job.origin == Origin::Call;
    if is_call && ended.effects.is_empty() {
        measure(&ended.execution);
        executor.signals.live_tail().publish(&ended.execution);
        let again_by_caller = job.keyed && matches!(end, End::Failed(Failure::Host(_)));
        let recorded = executor.settings.records.all || ended.execution.status == ExecutionStatus::Failed;
        if !recorded || again_by_caller {
            return Some(Finished { execution: ended.execution, end, unknown: false });
        }
        let execution = ended.execution.clone();
        executor.ledger.record(ended).await;
        return Some(Finished { execution, end, unknown: false });
    }
    let mut execution = ended.execution.clone();
    let verdict = executor.ledger.commit(ended).await;
    let written = matches!(verdict, Ok(CommitResult::Committed { .. } | CommitResult::Refused { .. }));
    let mut unknown = false;
    let end = match verdict {
        Ok(CommitResult::Committed { emitted }) => {
            count_dead_letter(&execution);
            if emitted {
                executor.signals.push(larder_signals::Work::Events);
            }
            end
        }
        Ok(CommitResult::Conflict) => return None,
        Ok(CommitResult::Fenced) => {
            counter!("larder_fenced_outcomes_total").increment(1);
            tracing::warn!(execution.id = %execution.id, attempt = execution.attempt, "the late outcome of a lost claim is discarded");
            // Without a claim, its record exists already: it was made under the same idempotency key.
            unknown = is_call;
            End::Failed(Failure::Host("the lease expired and another worker took over".into()))
        }
        Ok(CommitResult::Gone) => End::Failed(Failure::NoExport(
            "the function was deleted during this run: none of its effects were applied".into(),
        )),
        Ok(CommitResult::Refused { why, dead_lettered }) => {
            outcome::refuse(executor, &mut execution, &why, dead_lettered);
            count_dead_letter(&execution);
            End::Failed(Failure::Trap(why))
        }
        // The database would reject the same outcome again. So the failure is recorded without the effects, and the execution is
        // retried by the rule for failures of the host.
        Err(Unwritten::Never(why)) if !is_call && !matches!(end, End::Failed(Failure::Host(_))) => {
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
    if unknown && is_call && !job.keyed {
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
        origin: Origin::Call,
        retry_at_ms: None,
        reads: vec![],
        effects: vec![],
        end_user: None,
        depth: 0,
        root: Root::default(),
        function_made_at_ms: None,
    }
}

/// The call of one run. Without effects there is no other run, so its input is moved.
fn call(job: &mut Job, may_run_again: bool, answer: Answer, key: Option<&Held>) -> Call {
    let has_headers = job.has_headers();
    match &mut job.input {
        Input::Event(event) => {
            let mut headers = HeaderMap::new();
            if has_headers {
                let execution = &job.execution;
                let kind = if execution.trigger == Trigger::Event { event.kind.as_str() } else { "" };
                let (client, user) = (None, None);
                Told { trigger: execution.trigger, execution: &execution.id, client, event: Some(kind), user }
                    .put(&mut headers);
                key.iter().for_each(|key| told::put_key(&mut headers, &key.text));
            }
            Call::Event { event: event.clone(), headers }
        }
        Input::Http { head, body } => {
            let mut head = match may_run_again {
                true => head.clone(),
                false => std::mem::replace(head, http::Request::new(()).into_parts().0),
            };
            key.iter().for_each(|key| told::put_key(&mut head.headers, &key.text));
            let body = match body {
                Body::Whole(bytes) => Full::new(bytes.clone()).map_err(|never| match never {}).boxed_unsync(),
                Body::Stream(stream) => {
                    std::mem::replace(stream, Full::default().map_err(|never| match never {}).boxed()).boxed_unsync()
                }
            };
            Call::Http { request: http::Request::from_parts(head, body), answer, sanitize: job.sanitize.clone() }
        }
    }
}
