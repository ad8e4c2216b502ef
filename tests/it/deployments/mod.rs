//! From an upload to an active deployment.

mod activation;
mod archives;
mod builds;
mod chunks;
pub mod javascript;
mod javascript_mistakes;
mod languages;
mod sandbox;
mod toolchains;
mod uploads;
mod wasip1;
