//! What the figures depend on besides the code.

use std::fmt;
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

/// Of the times in `/proc`: USER_HZ, which is 100 on every platform that Larder runs on.
const TICKS_PER_SECOND: u64 = 100;

pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// One line: cores, processor, memory, kernel, load.
pub fn facts() -> String {
    let cores = cores();
    let processor = field("/proc/cpuinfo", "model name").unwrap_or_else(|| std::env::consts::ARCH.into());
    let memory = field("/proc/meminfo", "MemTotal")
        .and_then(|text| text.split(' ').next()?.parse::<u64>().ok())
        .map_or("?".into(), |kib| format!("{} GiB", kib.div_ceil(1 << 20)));
    let kernel = first_word("/proc/sys/kernel/osrelease");
    format!("{cores} cores, {processor}, {memory}, Linux {kernel}, load {}", load())
}

/// The load average of the last minute. Well below 1 before the start, or the figures tell about the neighbours.
pub fn load() -> String {
    first_word("/proc/loadavg")
}

fn field(file: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

fn first_word(file: &str) -> String {
    fs::read_to_string(file)
        .ok()
        .and_then(|text| Some(text.split_whitespace().next()?.to_owned()))
        .unwrap_or("?".into())
}

/// What of a process is in memory.
pub struct Memory {
    pub resident_bytes: u64,
    /// What is not a file's: the kernel cannot take it back.
    anonymous_bytes: u64,
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} MiB ({} anonymous)", self.resident_bytes >> 20, self.anonymous_bytes >> 20)
    }
}

pub fn memory(pid: u32) -> std::io::Result<Memory> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let bytes = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) << 10
    };
    Ok(Memory { resident_bytes: bytes("VmRSS:"), anonymous_bytes: bytes("RssAnon:") })
}

/// How often a second 4 KiB can be appended to a file in this folder and made durable, one after the other.
pub fn durable_appends(folder: &Path, time: Duration) -> std::io::Result<f64> {
    let mut file: File = tempfile::tempfile_in(folder)?;
    let block = [0x5a; 4 << 10];
    let begun = Instant::now();
    let mut appends = 0u32;
    while begun.elapsed() < time {
        file.write_all(&block)?;
        file.sync_data()?;
        appends += 1;
    }
    Ok(f64::from(appends) / begun.elapsed().as_secs_f64())
}

/// CPU time that a process has used, all its threads together.
pub fn cpu_time(pid: u32) -> std::io::Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name may contain anything; the fields after it count from 3, utime and stime are 14 and 15.
    let ticks: u64 = stat
        .rsplit_once(')')
        .map_or("", |(_, fields)| fields)
        .split_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|field| field.parse::<u64>().ok())
        .sum();
    Ok(Duration::from_millis(ticks * 1_000 / TICKS_PER_SECOND))
}
