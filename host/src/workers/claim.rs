//! The worker's loop over executions: claim no more than may run at once, run each, keep the leases alive.

use std::sync::Arc;
use std::time::Duration;

use dashmap::DashSet;
use larder_runtime::Failure;
use tokio::sync::Semaphore;

use super::execute::{self, Job};
use super::input;
use crate::app::App;
use crate::ids::ExecutionId;
use crate::model::EnrolmentStatus;
use crate::queue::Work;
use crate::store::{self, Claimed};
use crate::usage;

/// How much later an execution is taken again whose partner has too many calls under way.
const CROWDED_MS: i64 = 100;

/// Claims and runs executions until the process drains; those that run then may finish.
pub async fn drive(app: App, held: Held) {
    let settings = &app.settings.worker;
    let permits = Arc::new(Semaphore::new(settings.executions_max as usize));
    let drain = app.life.drain();
    loop {
        let first = tokio::select! {
            first = permits.clone().acquire_owned() => first.expect("never closed"),
            () = drain.cancelled() => return,
        };
        let limit = permits.available_permits() as u32 + 1;
        let now = app.clock.now_ms();
        let until = now + settings.lease.as_millis() as i64;
        let claimed = match app.store.claim_executions(&app.holder, now, until, limit).await {
            Ok(claimed) => claimed,
            Err(err) => {
                tracing::error!(error = %err, "executions could not be claimed; trying again at the next poll");
                vec![]
            }
        };
        if claimed.is_empty() {
            drop(first);
            tokio::select! {
                () = app.queue.wait(Work::Executions, until_next(&app).await) => {}
                () = drain.cancelled() => return,
            }
            continue;
        }
        let mut first = Some(first);
        for claimed in claimed {
            let permit = match first.take() {
                Some(permit) => permit,
                None => permits.clone().acquire_owned().await.expect("never closed"),
            };
            let app = app.clone();
            let held = held.hold(&claimed.execution.id);
            app.life.clone().spawn_work("execution", async move {
                step(&app, claimed).await;
                drop((permit, held));
            });
        }
    }
}

/// The poll, or less if an execution is due before.
async fn until_next(app: &App) -> Duration {
    let poll = app.settings.worker.poll;
    match app.store.next_due().await {
        Ok(Some(due)) => poll.min(Duration::from_millis((due - app.clock.now_ms()).max(1) as u64)),
        _ => poll,
    }
}

/// Runs one claimed execution to its end.
async fn step(app: &App, claimed: Claimed) {
    let execution_id = claimed.execution.id.clone();
    if let Err(err) = run(app, claimed).await {
        tracing::error!(execution.id = %execution_id, error = %err, "a claimed execution could not be begun; it comes back when its lease ends");
    }
}

async fn run(app: &App, claimed: Claimed) -> store::Result<()> {
    let Claimed { execution, body, holder } = &claimed;
    let (partner, function) = (&execution.partner, &execution.function);
    let (Some(tenant), Some(view)) = (app.directory.tenant(partner), app.directory.function(partner, function)) else {
        // Its rows go with the function; should the directory lag behind, the lease brings the execution back.
        return Ok(());
    };
    let Ok(_permit) = usage::admit(&tenant) else {
        return app.store.release_execution(&claimed, app.clock.now_ms() + CROWDED_MS).await;
    };
    let enrolment = match &execution.enrolment {
        Some(id) => app.store.enrolment(partner, id).await?,
        None => None,
    };
    let event = match &execution.event {
        Some(row) => app.store.event(partner, row).await?,
        None => None,
    };
    let refusal = if execution.attempt > app.settings.worker.attempts_lost {
        Some(format!(
            "given up: {} attempts did not come to an end, each time the process was lost",
            execution.attempt - 1
        ))
    } else if execution.enrolment.is_some() && !enrolment.as_ref().is_some_and(|e| e.status == EnrolmentStatus::Active)
    {
        Some("the enrolment was paused or removed before this run".into())
    } else if execution.event.is_some() && event.is_none() {
        Some("the event is gone".into())
    } else {
        None
    };
    let depth = event.as_ref().map_or(0, |event| event.depth);
    let job = Job {
        input: input::of_claimed(&view, execution, event, body.clone()),
        view,
        enrolment,
        depth,
        execution: execution.clone(),
        holder: Some(holder.clone()),
        stream: None,
        wall_max: None,
    };
    match refusal {
        Some(why) => execute::fail(app, job, Failure::NoExport(why)).await,
        None => execute::execute(app, job).await,
    };
    Ok(())
}

/// The executions that this process runs. Only their leases are renewed: one whose run came to nothing, because the
/// database was away or the run panicked, is let go and comes back when its lease ends.
#[derive(Clone, Default)]
pub struct Held(Arc<DashSet<ExecutionId>>);

struct Hold {
    held: Held,
    id: ExecutionId,
}

impl Held {
    fn hold(&self, id: &ExecutionId) -> Hold {
        self.0.insert(id.clone());
        Hold { held: self.clone(), id: id.clone() }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.held.0.remove(&self.id);
    }
}

/// Lengthens the leases of what is held in good time, for as long as the process lives.
pub async fn renew(app: App, held: Held) {
    let lease = app.settings.worker.lease;
    loop {
        tokio::time::sleep(lease / 3).await;
        let until = app.clock.now_ms() + lease.as_millis() as i64;
        let ids: Vec<ExecutionId> = held.0.iter().map(|id| id.clone()).collect();
        if let Err(err) = app.store.renew_leases(&app.holder, &ids, until).await {
            tracing::error!(error = %err, "leases could not be renewed");
        }
    }
}
