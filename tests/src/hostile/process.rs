//! What the kernel says of a process.

use std::fs;

/// What a process holds. All of it must come back to where it was.
#[derive(Clone, Copy, Debug)]
pub struct Holds {
    pub memory_bytes: u64,
    pub descriptors: u64,
    pub threads: u64,
    pub tasks: u64,
    /// Of the pool of instances.
    pub slots: u64,
}

impl Holds {
    pub fn min(&self, other: &Holds) -> Holds {
        Holds {
            memory_bytes: self.memory_bytes.min(other.memory_bytes),
            descriptors: self.descriptors.min(other.descriptors),
            threads: self.threads.min(other.threads),
            tasks: self.tasks.min(other.tasks),
            slots: self.slots.min(other.slots),
        }
    }
}

pub fn memory_bytes(pid: u32) -> u64 {
    status(pid, "VmRSS") << 10
}

/// The most memory that it had since [`forget_peak`].
pub fn memory_peak_bytes(pid: u32) -> u64 {
    status(pid, "VmHWM") << 10
}

pub fn forget_peak(pid: u32) {
    fs::write(format!("/proc/{pid}/clear_refs"), "5").expect("a process of ours");
}

pub fn threads(pid: u32) -> u64 {
    status(pid, "Threads")
}

pub fn descriptors(pid: u32) -> u64 {
    fs::read_dir(format!("/proc/{pid}/fd")).expect("a process of ours").count() as u64
}

fn status(pid: u32, name: &str) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).expect("a process of ours");
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let value = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    value.unwrap_or_else(|| panic!("the kernel does not tell {name}"))
}

/// What the machine is busy with, for those who wonder at a figure.
pub fn load() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    format!("load average {}", text.split_whitespace().take(3).collect::<Vec<_>>().join(" "))
}
