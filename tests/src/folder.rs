//! Where the tests' servers and processes keep their data.

use std::path::Path;
use std::sync::OnceLock;

use rustix::fs::StatVfsMountFlags;
use tempfile::TempDir;

/// Linux has a file system in memory here. In a container it may be small, or machine code may not be loaded from it.
const MEMORY: &str = "/dev/shm";
const FREE_BYTES_MIN: u64 = 4 << 30;

/// A folder that goes when this is dropped; in memory where that is possible. All processes are the same with it, and they
/// survive a SIGKILL with it, but none waits for a disk, which is what most tests would do for most of their time.
pub fn folder(name: &str) -> TempDir {
    let mut folder = tempfile::Builder::new();
    folder.prefix(name);
    let made = if in_memory() { folder.tempdir_in(MEMORY) } else { folder.tempdir() };
    made.expect("a temporary folder")
}

fn in_memory() -> bool {
    static FOUND: OnceLock<bool> = OnceLock::new();
    *FOUND.get_or_init(|| {
        let Ok(about) = rustix::fs::statvfs(MEMORY) else { return false };
        let refused = StatVfsMountFlags::NOEXEC | StatVfsMountFlags::RDONLY;
        // Who names another place for temporary files means it.
        let chosen = std::env::var_os("TMPDIR").is_some();
        let writable = tempfile::tempfile_in(Path::new(MEMORY)).is_ok();
        !chosen && writable && !about.f_flag.intersects(refused) && about.f_bavail * about.f_frsize >= FREE_BYTES_MIN
    })
}
