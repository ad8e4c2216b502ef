//! What works through the queue: one file per kind of task.
//!
//! * [`execute`]: the one way to run a function. * `build`: uploads → artifacts. * `route`: events → executions and
//!   fan-outs. * `expand`: fan-outs → executions.
//! * [`capabilities`]: the runtime's backends over the store. * [`gates`]: how a run that keeps losing races gets to finish.

pub mod capabilities;
pub mod execute;
pub mod gates;
