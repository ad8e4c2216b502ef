//! What sets functions off by itself: events, schedules and feeds, and what becomes of executions that fail.

mod bulk_actions;
mod dead_letters;
mod delivery;
mod fanouts;
pub mod feeds;
pub mod schedules;
mod schemas;
