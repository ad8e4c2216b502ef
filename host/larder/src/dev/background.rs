//! `larder dev --background` and `--stop`, for scripts and for commands that are pasted into a shell together.

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context;

const LOG: &str = "dev.log";
const PID: &str = "dev.pid";
/// The beginning of the last line that `larder dev` prints when it serves.
const SERVES: &str = "  keys ";
/// The first start creates the tables and compiles nothing.
const START_MAX: Duration = Duration::from_secs(60);
const STOP_MAX: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(50);

/// Runs this command line without `--background` in a process of its own, and returns when it serves.
pub fn start(data: &Path) -> anyhow::Result<ExitCode> {
    if let Some(pid) = running(data) {
        let log = std::fs::read_to_string(data.join(LOG)).unwrap_or_default();
        print!("Larder runs in the background (process {pid}).\n{}", addresses(&log));
        return Ok(ExitCode::SUCCESS);
    }
    std::fs::create_dir_all(data).with_context(|| format!("data: {}", data.display()))?;
    let log = data.join(LOG);
    let file = File::create(&log).with_context(|| log.display().to_string())?;
    let arguments = std::env::args_os().skip(1).filter(|argument| argument != "--background");
    let mut child = Command::new(std::env::current_exe()?)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(file.try_clone()?)
        .stderr(file)
        // A process group of its own, so that Ctrl-C in the terminal does not stop it.
        .process_group(0)
        .spawn()?;
    std::fs::write(data.join(PID), child.id().to_string())?;
    let begun = Instant::now();
    loop {
        let output = std::fs::read_to_string(&log)?;
        if output.lines().any(|line| line.starts_with(SERVES)) {
            print!("{}", addresses(&output));
            println!("  stop       larder dev --stop   (log: {})", log.display());
            return Ok(ExitCode::SUCCESS);
        }
        if child.try_wait()?.is_some() {
            let _ = std::fs::remove_file(data.join(PID));
            anyhow::bail!("it did not start:\n{}", output.trim_end());
        }
        anyhow::ensure!(begun.elapsed() < START_MAX, "it does not serve after {START_MAX:?}; see {}", log.display());
        std::thread::sleep(POLL);
    }
}

/// Stops the background process of this data folder and waits until it has drained.
pub fn stop(data: &Path) -> anyhow::Result<ExitCode> {
    let Some(pid) = running(data) else {
        println!("nothing runs in the background for {}", data.display());
        return Ok(ExitCode::SUCCESS);
    };
    let killed = Command::new("kill").arg(pid.to_string()).status().context("kill")?;
    anyhow::ensure!(killed.success(), "process {pid} could not be signalled to stop");
    let begun = Instant::now();
    while !has_ended(pid)? {
        anyhow::ensure!(begun.elapsed() < STOP_MAX, "process {pid} has not ended after {STOP_MAX:?}");
        std::thread::sleep(POLL);
    }
    let _ = std::fs::remove_file(data.join(PID));
    println!("stopped");
    Ok(ExitCode::SUCCESS)
}

/// Is nothing of the process left? One that is ending first loses its command line, then its first thread, and its addresses last:
/// until then nobody else can listen there.
fn has_ended(pid: u32) -> anyhow::Result<bool> {
    let output = Command::new("ps").args(["-o", "stat=,comm=", "-p", &pid.to_string()]).output().context("ps")?;
    let said = String::from_utf8_lossy(&output.stdout);
    // Where there is no /proc, a process whose first thread has ended is taken for one that has.
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).map_or(1, Iterator::count);
    Ok(match said.trim().split_once(char::is_whitespace) {
        None => true,
        Some((state, name)) => !name.contains("larder") || (state.starts_with('Z') && threads <= 1),
    })
}

/// The process in the folder's file, if it is still a `larder dev`: process ids are reused.
fn running(data: &Path) -> Option<u32> {
    let pid: u32 = std::fs::read_to_string(data.join(PID)).ok()?.trim().parse().ok()?;
    let output = Command::new("ps").args(["-o", "stat=,args=", "-p", &pid.to_string()]).output().ok()?;
    let said = String::from_utf8_lossy(&output.stdout);
    let mut words = said.split_whitespace();
    let alive = words.next().is_some_and(|state| !state.starts_with('Z'));
    let words: Vec<&str> = words.collect();
    (alive && words.first().is_some_and(|program| program.ends_with("larder")) && words.contains(&"dev")).then_some(pid)
}

/// The lines that it printed about itself, without its log.
fn addresses(output: &str) -> String {
    output
        .lines()
        .filter(|line| line.starts_with("Larder ") || line.starts_with("  "))
        .map(|line| format!("{line}\n"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_has_ended_when_nothing_of_it_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("larder-sleeps");
        std::fs::copy("/bin/sleep", &program).unwrap();
        let mut child = Command::new(&program).arg("60").spawn().unwrap();
        // Until it has begun, it is this test.
        let began = Instant::now();
        while has_ended(child.id()).unwrap() && began.elapsed() < START_MAX {
            std::thread::sleep(POLL);
        }
        assert!(!has_ended(child.id()).unwrap());
        child.kill().unwrap();
        // Nobody has asked how it ended yet.
        while !has_ended(child.id()).unwrap() {
            assert!(began.elapsed() < STOP_MAX);
            std::thread::sleep(POLL);
        }
        child.wait().unwrap();
        assert!(has_ended(child.id()).unwrap());
    }
}
