pub mod cli;
pub mod schedule;
