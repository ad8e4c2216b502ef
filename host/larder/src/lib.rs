//! The parts of the binary besides its command line: the roles of a process and their start. See `ARCHITECTURE.md`.

pub mod dev;
pub mod doors;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
pub mod health;
pub mod machine;
pub mod roles;
pub mod telemetry;
