//! From an upload to an active deployment.

mod activation;
mod archives;
mod builds;
mod chunks;
mod engines;
pub mod javascript;
mod javascript_mistakes;
mod languages;
pub mod python;
mod sandbox;
mod toolchains;
mod uploads;
mod wasip1;

use std::path::Path;

use larder_tests::Larder;

/// Runs `larder` in a project. It succeeds; gives what it printed, both streams together.
async fn cli(larder: &Larder, folder: &Path, arguments: &[&str]) -> String {
    let (code, out, err) = larder.cli(folder, arguments).await;
    assert_eq!(code, 0, "larder {arguments:?}: {out}{err}");
    format!("{out}{err}")
}
