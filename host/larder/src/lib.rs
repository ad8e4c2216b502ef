//! What the binary is made of besides its command line: the roles of a process, and how they start. See `ARCHITECTURE.md`.

pub mod dev;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
pub mod machine;
pub mod roles;
pub mod telemetry;
