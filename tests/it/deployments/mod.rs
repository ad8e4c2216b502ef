//! From an upload to an active deployment.

mod activation;
mod archives;
mod builds;
pub mod javascript;
mod toolchains;
mod uploads;
