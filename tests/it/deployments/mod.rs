//! From an upload to an active deployment.

mod activation;
mod archives;
mod builds;
mod toolchains;
mod uploads;
