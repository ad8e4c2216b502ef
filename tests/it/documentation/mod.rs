//! The documents are true: every sample is parsed or run, and each invariant of ARCHITECTURE.md has tests that exist.
//!
//! The samples of README.md and of docs/quickstart.md are also run against a real Larder, in `command_line`.

mod architecture;
mod markdown;
mod samples;
mod schemas;
mod shell;
mod statements;
