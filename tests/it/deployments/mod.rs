//! From an upload to an active deployment.

mod activation;
mod builds;
mod toolchains;
mod uploads;
