//! From an upload to an active deployment.

mod activation;
mod archives;
mod builds;
mod chunks;
pub mod javascript;
mod javascript_mistakes;
mod languages;
pub mod python;
mod sandbox;
mod toolchains;
mod uploads;
mod wasip1;
