//! Several processes over one database, and processes that die.

pub mod claims;
mod crash;
mod failover;
mod queue;
mod several;
