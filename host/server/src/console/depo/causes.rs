//! What an event set off: the functions that received it, what their runs emitted, and what that set off.
//!
//! Nothing is stored for it: the id of an emitted event names its run. Depth, runs and nodes are bounded, and the tree says where it
//! was cut. Fan-outs are one node, whose runs are counted.

use futures::future::BoxFuture;
use larder_model::ids::{EventId, FunctionId, PartnerId};
use larder_model::{Execution, ExecutionStatus};
use larder_store::listing::Listing;
use larder_store::{Delivery, EventHead, Result};

use crate::app::App;

/// Events below one another.
const DEPTH_MAX: usize = 4;
/// Runs of one function for one event.
const RUNS_MAX: u32 = 5;
const NODES_MAX: usize = 100;

pub struct Node {
    /// 1 for what the event itself set off.
    pub depth: usize,
    pub what: What,
}

pub enum What {
    /// A function that received the event, with the row of the event.
    Function(FunctionId, EventId, Delivery),
    Run(Box<Execution>),
    Event(Box<EventHead>),
    /// There is more, which was not looked at.
    Cut,
}

pub async fn tree(app: &App, partner: &PartnerId, event: &EventId) -> Result<Vec<Node>> {
    let mut nodes = Vec::new();
    below(app, partner, event, 0, &mut nodes).await?;
    Ok(nodes)
}

fn below<'a>(
    app: &'a App,
    partner: &'a PartnerId,
    event: &'a EventId,
    events: usize,
    nodes: &'a mut Vec<Node>,
) -> BoxFuture<'a, Result<()>> {
    Box::pin(async move {
        let depth = events * 3 + 1;
        for (function, delivery) in app.store.deliveries(partner, event).await? {
            let is_followed = !delivery.per_enrolment;
            nodes.push(Node { depth, what: What::Function(function.clone(), event.clone(), delivery) });
            if !is_followed {
                continue;
            }
            if events >= DEPTH_MAX || nodes.len() >= NODES_MAX {
                nodes.push(Node { depth: depth + 1, what: What::Cut });
                continue;
            }
            let of_event = Listing::first(RUNS_MAX + 1).equal("event_row", event);
            let runs = app.store.list_executions(partner, &function, &of_event).await?.rows;
            for (at, run) in runs.into_iter().enumerate() {
                if at >= RUNS_MAX as usize || nodes.len() >= NODES_MAX {
                    nodes.push(Node { depth: depth + 1, what: What::Cut });
                    break;
                }
                let emitted = match run.status {
                    ExecutionStatus::Completed => app.store.emitted_by(partner, &function, &run.id).await?,
                    _ => vec![],
                };
                nodes.push(Node { depth: depth + 1, what: What::Run(Box::new(run)) });
                for head in emitted {
                    if nodes.len() >= NODES_MAX {
                        nodes.push(Node { depth: depth + 2, what: What::Cut });
                        break;
                    }
                    let row = head.row.clone();
                    nodes.push(Node { depth: depth + 2, what: What::Event(Box::new(head)) });
                    below(app, partner, &row, events + 1, nodes).await?;
                }
            }
        }
        Ok(())
    })
}
