//! Fan-outs → executions, a page of enrolments at a time.

use crate::app::App;
use crate::crash::{self, Point};
use crate::queue::Work;
use crate::store;

/// Enrolments of one transaction.
const PAGE: u32 = 200;

/// Gives the oldest fan-outs their next page. Rests while more executions are due than the workers shall have before
/// them, so that one large fan-out is a cursor and not a hundred thousand rows.
pub async fn step(app: App) -> store::Result<bool> {
    let fanouts = app.store.waiting_fanouts(4).await?;
    if fanouts.is_empty() {
        return Ok(false);
    }
    let due_max = app.settings.worker.due_max;
    if app.store.due_executions(app.clock.now_ms(), due_max).await? >= u64::from(due_max) {
        return Ok(false);
    }
    let mut moved = false;
    for fanout in fanouts {
        // `None`: another worker has it, or had it before.
        let Some(made) = app.store.expand_fanout(&fanout, PAGE, &app.clock).await? else { continue };
        crash::point(Point::FanoutExpanded);
        moved = true;
        metrics::counter!("larder_fanout_executions_total").increment(made.into());
        app.queue.push(Work::Executions);
    }
    Ok(moved)
}
