//! The harness: real processes, real HTTP, real guests.
//!
//! * [`Larder`]: a `larder dev` of its own on free ports over a folder of its own; killed and restarted at will.
//! * [`Api`]: the management API with one key. [`guests`]: components to deploy, built once per run.
//! * [`Tab`]: a browser without script. [`Browser`]: Chromium.
//! * [`secure`]: a Larder that serves TLS, and clients of it. [`Aggregator`]: an outside service that can be told to misbehave.
//!
//! A test owns everything it touches, so all run in parallel. Dropping [`Larder`] kills the process and removes the folder.

#![allow(clippy::disallowed_methods, reason = "the harness spawns as it likes and ends with its test")]

pub mod aggregator;
mod api;
pub mod archives;
mod backend;
mod browser;
pub mod chaos;
mod cluster;
mod compiled;
mod dump;
mod folder;
pub mod front;
pub mod guests;
pub mod hostile;
mod issuer;
pub mod mailbox;
pub mod neighbours;
pub mod npm;
pub mod outside;
mod process;
pub mod provider;
pub mod proxy;
pub mod quickjs;
mod random;
pub mod rows;
pub mod s3;
pub mod secure;
pub mod services;
mod tab;
pub mod upstream;

pub use aggregator::Aggregator;
pub use api::{Answer, Api, wide};
pub use backend::Backend;
pub use browser::Browser;
pub use cluster::{Cluster, Metrics};
pub use dump::{Search, forms, holds};
pub use folder::folder;
pub use issuer::{Issuer, now};
pub use process::{Larder, Options, PASSWORD, workspace};
pub use random::Random;
pub use tab::{Shown, Tab, Tag};

use std::time::{Duration, Instant};

/// Returns when the minute by which calls are counted goes on for a while.
pub async fn early_in_a_minute() {
    const MINUTE: Duration = Duration::from_secs(60);
    let gone = std::time::UNIX_EPOCH.elapsed().expect("after 1970").as_millis() as u64 % 60_000;
    let left = MINUTE - Duration::from_millis(gone);
    if left < MINUTE / 4 {
        tokio::time::sleep(left).await;
    }
}

/// Polls until `check` gives something, or panics with `what` after half a minute.
pub async fn eventually<T>(what: &str, check: impl AsyncFnMut() -> Option<T>) -> T {
    within(Duration::from_secs(30), what, check).await
}

/// The same for what takes longer on a busy machine.
pub async fn within<T>(most: Duration, what: &str, mut check: impl AsyncFnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = check().await {
            return found;
        }
        assert!(begun.elapsed() < most, "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
