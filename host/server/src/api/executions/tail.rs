//! The live tail of a function: server-sent events, one for each execution that ends, in whichever process.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures::Stream;
use larder_platform::common::Common;
use larder_signals::TailEvent;
use larder_wire::executions::ExecutionObject;
use larder_wire::scopes::Scope;

use crate::api::functions;
use crate::api::requests::Ids;
use crate::auth::Caller;
use crate::problem::{Kind, Problem};

/// A comment is sent this often, so that a closed connection is noticed.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// After that the stream ends and the client asks again: its key may be gone.
const LASTS: Duration = Duration::from_secs(600);

/// Events `execution` with the object, its logs shortened, and `dropped` with how many a slow reader has missed.
#[utoipa::path(get, path = "/v1/functions/{functionId}/executions/tail", tag = "executions",
    operation_id = "tailExecutions", responses((status = 200, content_type = "text/event-stream", body = String)))]
pub async fn tail(
    State(common): State<Common>,
    caller: Caller,
    ids: Ids,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Problem> {
    caller.may(Scope::ExecutionsRead)?;
    let function = ids.get("functionId")?;
    functions::find(&common, &caller.partner, &function).await?;
    let watch = common
        .signals
        .live_tail()
        .watch(&caller.partner, &function)
        .ok_or_else(|| Problem::new(Kind::TooManyCalls, "The project has reached its limit of live tails"))?;
    let (drain, end) = (common.life.drain(), tokio::time::Instant::now() + LASTS);
    let events = futures::stream::unfold(watch, move |mut watch| {
        let drain = drain.clone();
        async move {
            let told = tokio::select! {
                told = watch.next() => told?,
                () = drain.cancelled() => return None,
                () = tokio::time::sleep_until(end) => return None,
            };
            Some((Ok(event(told)), watch))
        }
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)))
}

fn event(told: TailEvent) -> Event {
    match told {
        TailEvent::Ended(execution) => {
            let object = ExecutionObject::from((*execution).clone());
            let text = serde_json::to_string(&object).expect("an object of texts and numbers");
            Event::default().event("execution").id(execution.id.as_str()).data(text)
        }
        TailEvent::Deployment(_) => Event::default().comment("deployment"),
        TailEvent::Dropped(count) => Event::default().event("dropped").data(format!("{{\"dropped\":{count}}}")),
    }
}
