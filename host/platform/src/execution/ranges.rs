//! Runs a range of a fan-out: each enrolment in a fresh instance of its own, and all of them committed together.
//!
//! What the runs share is loaded once: the program, the grants, the event, and the state of all enrolments in one query. A
//! range is run for [`SLICE`] at most. What has run by then is committed, and the rest is released, so that the next claim
//! decides anew whose turn it is. A run that fails or loses a race leaves the range as an execution of its own.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use larder_model::state::Version;
use larder_model::time::Millis;
use larder_model::{Enrolment, ExecutionStatus, Fanout, StoredEvent, retries};
use larder_runtime::backends::{self, Error};
use larder_runtime::{Answer, Class};
use larder_signals::Work;
use larder_signals::crash::{self, Point};
use larder_store::ledger::{CommitResult, Ended, Origin, RangePart, progress};
use larder_store::state::Scope;
use larder_store::{ClaimedRange, StateOf, Waiting};
use metrics::counter;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::directory::FunctionView;
use crate::execution::backends::{Savings, State};
use crate::execution::outcome::{self, count_dead_letter, measure};
use crate::execution::{Executor, Job, Ready, call, unrun};

/// How long a range is run at a time.
const SLICE: Duration = Duration::from_secs(1);
/// How long runs follow each other before other tasks have their turn.
const QUANTUM: Duration = Duration::from_micros(500);
/// Outcomes that are reported before other tasks have their turn.
const REPORTED: usize = 64;
/// Enrolments that are loaded, run and committed at a time, and the bytes of their rows.
const PAGE: u32 = 1_000;
const PAGE_BYTES: usize = 4 << 20;
/// State that is read for a whole page at once. Where the enrolments have more, each run reads what it asks for.
const STATE_KEYS: u32 = 10_000;
const STATE_BYTES: usize = 8 << 20;
/// Outcomes of a page that are held in memory: beyond that they are committed before more is run.
const OUTCOME_BYTES: usize = 16 << 20;
/// Bytes and keys of one transaction.
const GROUP_BYTES: usize = 8 << 20;
const GROUP_KEYS: usize = 10_000;
/// Transactions that lost too many races are tried again this many times, after this pause.
const TRIES: u32 = 5;
const PAUSE: Duration = Duration::from_millis(50);

/// How a slice ended.
pub enum SliceEnd {
    /// The whole range is committed.
    Committed,
    /// The rest may be claimed again, from this time. `lost`: nothing was committed, and a run may be at fault.
    Released { at: Millis, lost: bool },
    /// The claim is lost: another worker has the range, or the fan-out was cancelled.
    Lost,
}

/// What all runs of a page share.
struct Page {
    executor: Executor,
    range: ClaimedRange,
    view: Arc<FunctionView>,
    ready: Ready,
    event: Option<Arc<StoredEvent>>,
    savings: Arc<Savings>,
    enrolments: Vec<Enrolment>,
    /// When its executions were created: at the same time, so that their records can be packed.
    created_at_ms: Millis,
    /// `None`: each run reads what it asks for.
    state: Option<StateOf>,
    /// The next enrolment to run.
    next: AtomicUsize,
    /// The outcomes so far.
    ended: Mutex<BTreeMap<usize, Ended>>,
    /// What they write.
    bytes: AtomicUsize,
    /// No further run begins after this time.
    until: Instant,
}

/// Runs a claimed range for a slice. `runs` of it go side by side. An error is of the database or of the host; nothing of the
/// runs that it concerns was applied, and the range is claimed again when its lease ends.
pub async fn run(executor: &Executor, mut range: ClaimedRange, runs: usize) -> anyhow::Result<SliceEnd> {
    let until = Instant::now() + SLICE;
    let fanout = range.fanout.clone();
    let worker = &executor.settings.worker;
    if range.lost > worker.attempts_lost {
        return split(executor, &range, "it is lost again and again").await;
    }
    let (view, ready, event) = match load(executor, &fanout).await {
        Ok(loaded) => loaded,
        Err(why) => {
            let (since, now) = (fanout.created_at_ms, executor.clock.now_ms());
            if retries::host_gives_up(since, now, worker.retry_host_failures_for) {
                return split(executor, &range, &why).await;
            }
            tracing::error!(fanout.id = %fanout.id, error = why, "a range could not be started");
            let rest = retries::host_delay(worker.retry_delay, worker.retry_delay_max, since, now);
            return Ok(SliceEnd::Released { at: now + rest.as_millis() as Millis, lost: false });
        }
    };
    let savings_scope = Scope { partner: fanout.partner.clone(), function: fanout.function.clone(), enrolment: None };
    let savings = Arc::new(Savings::new(executor.common.clone(), Arc::new(savings_scope), view.reads.clone()));
    loop {
        let enrolments = executor.store.enrolments_of_range(&range, PAGE, PAGE_BYTES).await?;
        let Some(last) = enrolments.last().map(|one| one.id.clone()) else {
            return Ok(if commit(executor, &mut range, &view, vec![], true).await? {
                SliceEnd::Committed
            } else {
                SliceEnd::Lost
            });
        };
        let state = if view.grants.state {
            executor.store.state_of_range(&fanout, &enrolments, STATE_KEYS, STATE_BYTES).await?
        } else {
            None
        };
        let page = Arc::new(Page {
            executor: executor.clone(),
            range: range.clone(),
            view: view.clone(),
            ready: ready.clone(),
            event: event.clone(),
            savings: savings.clone(),
            state,
            enrolments,
            created_at_ms: executor.clock.now_ms(),
            next: AtomicUsize::new(0),
            ended: Mutex::default(),
            bytes: AtomicUsize::new(0),
            until,
        });
        let ended = page.clone().run_all(runs).await;
        let (count, wanted) = (ended.len(), page.enrolments.len());
        let whole = count == wanted && last.as_str() == range.until;
        if (count > 0 || whole) && !commit(executor, &mut range, &view, ended, whole).await? {
            return Ok(SliceEnd::Lost);
        }
        if whole {
            return Ok(SliceEnd::Committed);
        }
        let now = executor.clock.now_ms();
        if count < page.started() {
            // One of them panicked. Those before it are committed; it is tried again with the rest.
            return Ok(SliceEnd::Released { at: now + worker.retry_delay.as_millis() as Millis, lost: true });
        }
        if Instant::now() >= until || executor.life.is_draining() {
            return Ok(SliceEnd::Released { at: now, lost: false });
        }
    }
}

/// What all runs of the fan-out need; why it is not to be had, otherwise.
async fn load(
    executor: &Executor,
    fanout: &Fanout,
) -> Result<(Arc<FunctionView>, Ready, Option<Arc<StoredEvent>>), String> {
    let view =
        executor.directory.function(&fanout.partner, &fanout.function).ok_or("the function is not known here")?;
    let ready = Ready::load(executor, &view).await.map_err(|failure| failure.to_string())?;
    let event = match &fanout.event {
        None => None,
        Some(row) => {
            let found = executor.store.events([(&fanout.partner, row)]).await.map_err(|err| err.to_string())?;
            Some(Arc::new(found.into_iter().next().ok_or("its event is gone")?))
        }
    };
    Ok((view, ready, event))
}

/// Gives the rest of a range up as a range: each of its enrolments becomes an execution of its own.
async fn split(executor: &Executor, range: &ClaimedRange, why: &str) -> anyhow::Result<SliceEnd> {
    let (fanout, lost) = (&range.fanout, range.lost);
    tracing::error!(fanout.id = %fanout.id, lost, "the enrolments of a range become executions of their own: {why}");
    executor.store.split_range(range, &executor.clock).await?;
    executor.signals.push(Work::Executions);
    Ok(SliceEnd::Committed)
}

impl Page {
    /// The outcomes of the first enrolments, in order: of all, or of as many as were begun within the slice.
    async fn run_all(self: Arc<Self>, runs: usize) -> Vec<Ended> {
        // Nothing is sent: it is closed when all of them have ended, or panicked.
        let (running, mut ended) = mpsc::channel::<()>(1);
        for _ in 0..runs.clamp(1, self.enrolments.len()) {
            let (page, running) = (self.clone(), running.clone());
            self.executor.spawn_batch("run of a range", &self.view.lane, Class::FanOut, async move {
                let mut yielded = Instant::now();
                while let Some(at) = page.take() {
                    // Runs that never wait would keep the thread from those whose turn it is.
                    if yielded.elapsed() >= QUANTUM {
                        tokio::task::yield_now().await;
                        yielded = Instant::now();
                    }
                    let ended = page.run_one(at).await;
                    page.bytes.fetch_add(ended.bytes(), Ordering::Relaxed);
                    page.ended.lock().expect("no panic under the lock").insert(at, ended);
                }
                drop(running);
            });
        }
        drop(running);
        ended.recv().await;
        let mut ended = std::mem::take(&mut *self.ended.lock().expect("no panic under the lock"));
        (0..).map_while(|at| ended.remove(&at)).collect()
    }

    /// The next enrolment to run. The first is run in any case, so that every slice makes progress.
    fn take(&self) -> Option<usize> {
        let enough = Instant::now() >= self.until
            || self.executor.life.is_draining()
            || self.bytes.load(Ordering::Relaxed) >= OUTCOME_BYTES;
        if enough && self.next.load(Ordering::Relaxed) > 0 {
            return None;
        }
        let at = self.next.fetch_add(1, Ordering::Relaxed);
        (at < self.enrolments.len()).then_some(at)
    }

    /// How many runs were begun.
    fn started(&self) -> usize {
        self.next.load(Ordering::Relaxed).min(self.enrolments.len())
    }

    async fn run_one(self: &Arc<Self>, at: usize) -> Ended {
        let (executor, enrolment, fanout) = (&self.executor, &self.enrolments[at], &self.range.fanout);
        let (ordinal, created) = (self.range.ordinal, self.created_at_ms);
        let mut execution = fanout.execution(ordinal, &enrolment.id, ExecutionStatus::Processing, created);
        execution.attempt = 1;
        let (event, enrolled) = (self.event.as_deref(), Some(enrolment.clone()));
        let mut job = Job::queued(self.view.clone(), execution, Origin::Range, event, enrolled, vec![]);
        let state: Arc<dyn backends::State> = match &self.state {
            Some(_) => Arc::new(StateOfPage { page: self.clone(), at }),
            None => Arc::new(State::new(executor.common.clone(), Arc::new(job.scope()), self.view.reads.clone())),
        };
        let outcome = match self.ready.key(executor, &job).await {
            Ok(key) => {
                let run = self.ready.run(executor, &job, state, self.savings.clone());
                let call = call(&mut job, false, Answer::Buffered, key.as_ref());
                let outcome = self.ready.program.run(call, run).await;
                if let Some(key) = key {
                    key.end(executor).await;
                }
                outcome
            }
            Err(failure) => unrun(failure),
        };
        crash::point(Point::Ran);
        outcome::prepare(executor, &job, Some(self.ready.deployment.clone()), outcome, None).await.0
    }
}

/// Commits the outcomes of the next enrolments, which are all that is left of the range if `whole`. `false`: the claim is
/// lost.
async fn commit(
    executor: &Executor,
    range: &mut ClaimedRange,
    view: &FunctionView,
    ended: Vec<Ended>,
    whole: bool,
) -> larder_store::Result<bool> {
    let lease = executor.settings.worker.lease.as_millis() as Millis;
    let mut parts = groups(&ended);
    parts.reverse();
    if parts.is_empty() {
        parts.push(&[]);
    }
    let (mut refused, mut tries) = (None, 0);
    while let Some(group) = parts.pop() {
        let last = group.last().and_then(|ended| ended.execution.enrolment.as_ref());
        let to = match last {
            Some(last) if !(whole && parts.is_empty()) => last.to_string(),
            _ => range.until.clone(),
        };
        let part = RangePart { range, group, to: &to, lease, refused: refused.as_deref() };
        match executor.store.commit_range(&part, &executor.clock).await {
            Ok(Some(results)) => {
                report(executor, view, group, &results).await;
                (range.after, refused, tries) = (to, None, 0);
            }
            Ok(None) => {
                counter!("larder_fenced_outcomes_total").increment(group.len() as u64);
                return Ok(false);
            }
            Err(err @ (larder_store::Error::Unavailable(_) | larder_store::Error::Unknown(_))) => return Err(err),
            // One of them is at fault, or needs a row that is locked.
            Err(_) if group.len() > 1 => {
                let (first, second) = group.split_at(group.len() / 2);
                parts.extend([second, first]);
            }
            Err(err @ larder_store::Error::Contended(_)) if tries >= TRIES => return Err(err),
            Err(larder_store::Error::Contended(_)) => {
                tries += 1;
                tokio::time::sleep(PAUSE * tries).await;
                parts.push(group);
            }
            Err(err) if refused.is_none() && !group.is_empty() => {
                refused = Some(match &err {
                    larder_store::Error::Conflict { .. } => format!("something that it creates exists already: {err}"),
                    _ => format!("the database rejects the outcome: {err}"),
                });
                tracing::error!(execution.id = %group[0].execution.id, error = %err, "an outcome of a range is refused");
                parts.push(group);
            }
            Err(err) => return Err(err),
        }
    }
    Ok(true)
}

/// Cuts outcomes into groups that one transaction can take.
fn groups(ended: &[Ended]) -> Vec<&[Ended]> {
    let mut groups = Vec::new();
    let (mut from, mut keys, mut bytes) = (0, 0, 0);
    for (at, one) in ended.iter().enumerate() {
        (keys, bytes) = (keys + one.keys(), bytes + one.bytes());
        if at > from && (keys > GROUP_KEYS || bytes > GROUP_BYTES) {
            groups.push(&ended[from..at]);
            (from, keys, bytes) = (at, one.keys(), one.bytes());
        }
    }
    if from < ended.len() {
        groups.push(&ended[from..]);
    }
    groups
}

/// Tells the metrics, the live tail and the workers what was committed.
async fn report(executor: &Executor, view: &FunctionView, group: &[Ended], results: &[CommitResult]) {
    let (mut waiting, mut emitted) = (0, false);
    for (at, (ended, result)) in group.iter().zip(results).enumerate() {
        if at % REPORTED == REPORTED - 1 {
            tokio::task::yield_now().await;
        }
        let mut execution = ended.execution.clone();
        match result {
            CommitResult::Committed { emitted: some } => {
                emitted |= some;
                waiting += u64::from(ended.retry_at_ms.is_some());
            }
            CommitResult::Refused { why, dead_lettered } => {
                outcome::refuse(executor, &mut execution, why, *dead_lettered);
            }
            CommitResult::Conflict => {
                counter!("larder_state_conflicts_total").increment(1);
                waiting += 1;
                continue;
            }
            CommitResult::Fenced | CommitResult::Gone => continue,
        }
        count_dead_letter(&execution);
        measure(&execution);
        if matches!(execution.status, ExecutionStatus::Completed | ExecutionStatus::Failed) {
            executor.signals.live_tail().publish(&execution);
        }
    }
    let progress = progress(group, results);
    for (result, count) in [("done", progress.done), ("failed", progress.failed), ("conflict", progress.conflicts)] {
        counter!("larder_fanout_executions_total", "result" => result).increment(count);
    }
    if waiting > 0 {
        if let Some(tenant) = executor.directory.tenant(&view.function.partner) {
            tenant.backlog.add(Waiting { executions: waiting, due: waiting, ..Waiting::default() });
        }
        executor.signals.push(Work::Executions);
    }
    if emitted {
        executor.signals.push(Work::Events);
    }
}

/// The state of one enrolment of a page, which was read with the page.
struct StateOfPage {
    page: Arc<Page>,
    at: usize,
}

impl StateOfPage {
    fn entries(&self) -> Option<&BTreeMap<String, (Vec<u8>, Version)>> {
        self.page.state.as_ref()?.get(&self.page.enrolments[self.at].id)
    }
}

#[async_trait]
impl backends::State for StateOfPage {
    async fn get(&self, key: &str) -> Result<Option<(Vec<u8>, Version)>, Error> {
        Ok(self.entries().and_then(|entries| entries.get(key)).cloned())
    }

    async fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<(String, Vec<u8>, Version)>, Error> {
        let behind = after.filter(|after| *after >= prefix).map_or(Bound::Included(prefix), Bound::Excluded);
        let all = self.entries().into_iter().flat_map(|entries| entries.range::<str, _>((behind, Bound::Unbounded)));
        let listed = all.take_while(|(key, _)| key.starts_with(prefix)).take(limit as usize);
        Ok(listed.map(|(key, (value, version))| (key.clone(), value.clone(), version.clone())).collect())
    }
}
