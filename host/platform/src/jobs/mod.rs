//! What works in the background: one file per kind of job.
//!
//! * [`driver`]: the loop of jobs that look for one piece of work at a time.
//! * [`executions`] claims due executions; [`fairness`]: which partner is next; [`shares`]: how the slots are shared out.
//! * [`events`] → executions and fan-outs. [`fanouts`] → executions. [`builds`]: uploads → artifacts.
//! * [`schedules`] and [`feeds`]: what is due by the clock. [`retention`]: what is removed.

pub mod builds;
pub mod driver;
pub mod events;
pub mod executions;
pub mod fairness;
pub mod fanouts;
pub mod feeds;
pub mod retention;
pub mod schedules;
pub mod shares;
