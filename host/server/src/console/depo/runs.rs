//! Runs of a function, and one of them: why was this saved?

use askama::Template;
use axum::extract::State;
use larder_model::events::StoredEvent;
use larder_model::ids::{ExecutionId, FunctionId};
use larder_model::{Deployment, Enrolment, Execution, ExecutionStatus, Function, Limits, Transaction, Trigger};
use larder_platform::executions;
use larder_store::listing::Listing;
use larder_store::{EventHead, EventName};
use larder_wire::scopes::Scope;

use super::{events, functions};
use crate::api::requests::Ids;
use crate::app::App;
use crate::console::account::Answer;
use crate::console::asked::{Asked, Pager};
use crate::console::live::Topic;
use crate::console::page::{Page, ok};
use crate::console::visitor::Desk;
use crate::problem::{Kind, Problem};

/// Savings of one run that are shown.
const TRANSACTIONS: u32 = 200;

#[derive(Template)]
#[template(path = "runs.html")]
struct List {
    p: Page,
    function: Function,
    rows: Vec<Execution>,
    pager: Pager,
    asked: Asked,
    statuses: &'static [&'static str],
    triggers: &'static [&'static str],
}

pub async fn list(State(app): State<App>, desk: Desk, ids: Ids) -> Answer {
    desk.caller.may(Scope::ExecutionsRead)?;
    let function = functions::find(&app, &desk, &ids).await?;
    let asked = Asked::of(&desk.reader.visitor);
    let filters =
        [("status", "status"), ("trigger", "trigger_kind"), ("enrolment", "enrolment_id"), ("event", "event_row")];
    let listing = asked.filtered(&filters);
    let mut rows = app.store.list_executions(&desk.caller.partner, &function.id, &listing).await?.rows;
    let pager = asked.pager(&mut rows, |row| row.id.as_str());
    let p = desk.page(&app, "runs.title").watching(&desk, Topic::Runs(function.id.clone()));
    let title = format!("{} · {}", p.t("runs.title"), function.name);
    let (statuses, triggers) = (ExecutionStatus::WORDS, Trigger::WORDS);
    Ok(ok(&List { p: p.titled(title), function, rows, pager, asked, statuses, triggers }))
}

#[derive(Template)]
#[template(path = "run.html")]
struct One {
    p: Page,
    run: Execution,
    function: Function,
    event: Option<StoredEvent>,
    /// `None`: there is no event, or this person may not read its data.
    data: Option<String>,
    /// The run that emitted the event.
    cause: Option<(FunctionId, ExecutionId)>,
    enrolment: Option<Enrolment>,
    emitted: Vec<EventHead>,
    /// Why it has not ended, as keys of texts.
    waits: Vec<&'static str>,
    deployment: Option<Deployment>,
    transactions: Vec<Transaction>,
    limits: Option<Limits>,
    /// Of the request, as they are recorded.
    headers: Vec<(String, String)>,
    /// Commands that show the same.
    command: String,
    curl: String,
}

impl One {
    /// Of what it may use, a part in a thousand; for a bar.
    fn part(&self, used: &u64, most: u128) -> u128 {
        (u128::from(*used) * 1_000 / most.max(1)).min(1_000)
    }
}

/// The same as commands, and what can be done.
fn commands(run: &Execution) -> String {
    let mut lines = vec![format!("larder executions get {} {}", run.function, run.id)];
    if run.dead_lettered_at_ms.is_some() {
        lines.push(format!("larder dead-letters redrive {}", run.id));
        lines.push(format!("larder dead-letters discard {}", run.id));
    }
    // A run can be repeated: what it reads and asks outside is seen there, and nothing of it is applied.
    lines.extend(run.event.as_ref().map(|row| format!("larder test --sandbox --recorded {row}")));
    lines.join("\n")
}

/// Why a run has not ended, or was tried more than once.
fn waits(run: &Execution) -> Vec<&'static str> {
    let mut why = Vec::new();
    match run.status {
        ExecutionStatus::Scheduled => why.push("run.waits_time"),
        ExecutionStatus::Waiting if run.failures == 0 && run.host_failing_since_ms.is_none() => {
            why.push("run.waits_turn");
        }
        _ => {}
    }
    if run.failures > 0 {
        why.push(if run.status.has_ended() { "run.failed_before" } else { "run.waits_retry" });
    }
    if run.host_failing_since_ms.is_some() {
        why.push("run.waits_host");
    }
    if run.lost > 1 {
        why.push("run.lost");
    }
    why
}

pub async fn one(State(app): State<App>, desk: Desk, ids: Ids) -> Answer {
    desk.caller.may(Scope::ExecutionsRead)?;
    let partner = &desk.caller.partner;
    let function = functions::find(&app, &desk, &ids).await?;
    let found = executions::find(&app.executor, partner, &function.id, &ids.get("executionId")?).await?;
    let run = found.ok_or_else(|| Problem::not_found(Kind::ExecutionNotFound, "Execution"))?;
    let event = match &run.event {
        Some(row) => app.store.event(partner, EventName::Row(row)).await?,
        None => None,
    };
    let deployment = match &run.deployment {
        Some(id) => app.store.deployment(partner, &function.id, id).await?,
        None => None,
    };
    let of_run = Listing::first(TRANSACTIONS).equal("execution_id", run.id.as_str());
    let transactions = app.store.list_transactions(partner, &of_run).await?.rows;
    let enrolment = match &run.enrolment {
        Some(id) if desk.caller.has(Scope::EnrolmentsRead) => app.store.enrolment(partner, id).await?,
        _ => None,
    };
    let emitted = match run.status {
        ExecutionStatus::Completed => app.store.emitted_by(partner, &function.id, &run.id).await?,
        _ => vec![],
    };
    let view = desk.caller.tenant.functions.get(&function.id);
    let mut p = desk.page(&app, "run.title");
    if !run.status.has_ended() {
        p = p.watching(&desk, Topic::Run(function.id.clone(), run.id.clone()));
    }
    let title = format!("{} · {}", p.t("run.title"), run.id);
    let api = app.settings.url_of(&format!("{partner}-api"));
    Ok(ok(&One {
        p: p.titled(title),
        data: event.as_ref().and_then(|event| events::data(&desk, event)),
        cause: event.as_ref().and_then(StoredEvent::caused_by),
        enrolment,
        emitted,
        waits: waits(&run),
        headers: run.request.recorded().headers,
        limits: view.map(|view| view.limits),
        command: commands(&run),
        curl: format!(
            "curl -H \"X-Appwrite-Key: $LARDER_KEY\" {api}/v1/functions/{}/executions/{}",
            function.id, run.id
        ),
        event,
        deployment,
        transactions,
        function,
        run,
    }))
}
