//! What a [`Runtime`](crate::Runtime) is set up with.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

/// The process's settings for running functions.
pub struct Settings {
    /// Folder of the sealed artifacts. It may be deleted at any time. Only this user may write to it.
    pub cache_dir: PathBuf,
    /// The installation's key for seals.
    pub seal_key: [u8; 32],
    /// Command that calls [`crate::compiler_main`], usually this very binary with a hidden argument. Nothing of this
    /// process's environment is passed on to it.
    pub compiler: Vec<OsString>,
    /// CPU time of one compilation.
    pub compile_deadline: Duration,
    /// Address space of one compiler. JavaScript and Python guests of 14 to 18 MB need 600 MiB.
    pub compile_memory_bytes: u64,
    /// Instances that may exist at once; further calls wait.
    pub instances_max: u32,
    /// Memory that all instances may use together, by their limits.
    pub memory_bytes_max: u64,
    /// Memory that the instances of one tenant may use together.
    pub memory_bytes_per_tenant: u64,
    /// Builds that run at once; a call that needs something compiled never waits for them.
    pub builds_max: usize,
}
