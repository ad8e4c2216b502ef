//! Which project a folder is, wherever it is checked out, so that one does not replace another's function unnoticed.

use std::path::Path;
use std::process::Stdio;

const CHARS_MAX: usize = 512;

/// The repository's address and the folder within it; without a repository that others know, the machine and the folder.
pub async fn of(folder: &Path) -> String {
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let origin =
        match (git(folder, &["remote", "get-url", "origin"]).await, git(folder, &["rev-parse", "--show-prefix"]).await)
        {
            (Some(url), Some(prefix)) => format!("{}#{}", plain(&url), prefix.trim_end_matches('/')),
            _ => {
                let path = std::fs::canonicalize(folder).unwrap_or_else(|_| folder.to_owned());
                format!("{}:{}", machine().await, path.display())
            }
        };
    // Of a very long path the end tells more.
    let from = origin.chars().count().saturating_sub(CHARS_MAX);
    origin.chars().skip(from).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// What git says, if it is there, and this is a folder of a repository.
async fn git(folder: &Path, arguments: &[&str]) -> Option<String> {
    said("git", folder, arguments).await
}

async fn said(program: &str, folder: &Path, arguments: &[&str]) -> Option<String> {
    let mut command = tokio::process::Command::new(program);
    let output =
        command.args(arguments).current_dir(folder).stdin(Stdio::null()).stderr(Stdio::null()).output().await.ok()?;
    let said = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| said.trim_end_matches('\n').to_owned())
}

/// One text for a repository, however it is reached: host and path, without scheme, user, password and `.git`.
fn plain(url: &str) -> String {
    let (has_scheme, rest) = match url.split_once("://") {
        Some((_, rest)) => (true, rest),
        None => (false, url),
    };
    let host_end = rest.find('/').unwrap_or(rest.len());
    let rest = match rest[..host_end].rfind('@') {
        Some(at) => &rest[at + 1..],
        None => rest,
    };
    let rest = if has_scheme { rest.to_owned() } else { rest.replacen(':', "/", 1) };
    rest.trim_end_matches('/').trim_end_matches(".git").to_owned()
}

async fn machine() -> String {
    let known = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let name = match known {
        Some(name) => Some(name),
        None => said("hostname", Path::new("."), &[]).await,
    };
    name.map_or_else(|| "this machine".to_owned(), |name| name.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repository_has_one_name_and_no_password() {
        for url in [
            "https://code.example/acme/hacks.git",
            "https://anna:secret@code.example/acme/hacks",
            "git@code.example:acme/hacks.git",
            "ssh://git@code.example/acme/hacks/",
        ] {
            assert_eq!(plain(url), "code.example/acme/hacks", "{url}");
        }
        assert_eq!(plain("/srv/hacks.git"), "/srv/hacks");
    }

    #[tokio::test]
    async fn a_folder_outside_of_repositories_is_the_machines() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("x");
        std::fs::create_dir(&inner).unwrap();
        let (outer, inner) = (of(folder.path()).await, of(&inner).await);
        assert_ne!(outer, inner);
        assert!(inner.ends_with("/x") && inner.contains(':'), "{inner}");
    }
}
