//! Private files: the data folder contains records of money and keys, so only its owner may read it.

use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

/// The permission bits of everybody but the owner.
const OTHERS: u32 = 0o077;

/// Sets the umask so that files created from now on, by this process and its children, are private to their owner.
pub fn keep_private() {
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(OTHERS));
}

/// Removes the permissions of others from existing files and folders. A subfolder that nobody else can enter is skipped: it may
/// hold millions of files. Files of other owners are reported and left unchanged.
pub fn tighten(folder: &Path) {
    let mut folders = vec![folder.to_owned()];
    let (mut entered, mut tightened) = (Vec::new(), 0);
    while let Some(folder) = folders.pop() {
        let entries = match std::fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(err) if err.kind() == io::ErrorKind::NotFound => continue,
            Err(err) => {
                complain(&folder, &err);
                continue;
            }
        };
        for entry in entries.flatten() {
            match entry.metadata() {
                Ok(about) if about.is_dir() && about.mode() & OTHERS != 0 => folders.push(entry.path()),
                Ok(about) if about.is_file() => tightened += close(&entry.path()),
                _ => {}
            }
        }
        entered.push(folder);
    }
    // Innermost folders first, so that an interrupted run is repeated.
    tightened += entered.iter().rev().map(|folder| close(folder)).sum::<u64>();
    if tightened > 0 {
        let folder = folder.display();
        tracing::info!(
            files = tightened,
            "{tightened} files and folders in {folder} were open to others and are not any more"
        );
    }
}

/// Makes one file or folder private. Returns 1 if it was open to others.
fn close(path: &Path) -> u64 {
    let closed = std::fs::metadata(path).and_then(|about| {
        let mode = about.mode() & 0o7777;
        if mode & OTHERS == 0 {
            return Ok(0);
        }
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode & !OTHERS)).map(|()| 1)
    });
    match closed {
        Ok(closed) => closed,
        // SQLite and the cache remove files as they go.
        Err(err) if err.kind() == io::ErrorKind::NotFound => 0,
        Err(err) => {
            complain(path, &err);
            0
        }
    }
}

fn complain(path: &Path, err: &io::Error) {
    tracing::warn!(error = %err, "{} is open to others: {err}", path.display());
}
