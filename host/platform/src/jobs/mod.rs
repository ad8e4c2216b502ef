//! Background jobs, one file per kind.
//!
//! * [`driver`]: the loop of all jobs that poll the database for work.
//! * [`executions`] claims due executions. [`fairness`] decides which partner is next, [`slots`] which executions run now.
//!   [`leases`] renews what this process has claimed.
//! * [`events`] → executions and fan-outs. [`fanouts`] claims and runs ranges of enrolments. [`builds`]: uploads → artifacts.
//! * [`schedules`] and [`feeds`]: work that is due by the clock. [`bulk_actions`]: what is done with many dead letters. [`retention`] removes what was deleted or is too old.

pub mod builds;
pub mod bulk_actions;
pub mod driver;
pub mod events;
pub mod executions;
pub mod fairness;
pub mod fanouts;
pub mod feeds;
pub mod leases;
pub mod mails;
pub mod retention;
pub mod schedules;
pub mod slots;
