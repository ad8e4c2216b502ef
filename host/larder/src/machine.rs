//! The memory of the machine and how the settings divide it.

use std::path::Path;

use larder_model::Limits;
use larder_model::settings::Settings;

const MIB: u64 = 1 << 20;

/// The memory that this process may use: the machine's, or less if its control group has a limit. `None` if it is unknown.
pub fn memory_bytes() -> Option<u64> {
    let read = |path: &Path| std::fs::read_to_string(path).ok();
    let machine = read(Path::new("/proc/meminfo")).and_then(|text| total(&text));
    let own = read(Path::new("/proc/self/cgroup")).unwrap_or_default();
    // `0::/a/b` in version 2. Within a cgroup namespace the path is `/`.
    let group = own.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or("/");
    let groups = Path::new(group).ancestors().map(|group| {
        let group = group.strip_prefix("/").unwrap_or(group);
        Path::new("/sys/fs/cgroup").join(group).join("memory.max")
    });
    let old = Path::new("/sys/fs/cgroup/memory/memory.limit_in_bytes").to_owned();
    let limits = groups.chain([old]).filter_map(|file| read(&file)?.trim().parse::<u64>().ok());
    limits.chain(machine).min()
}

/// `MemTotal:       24684308 kB`
fn total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1_024)
}

/// Sets the budgets that are 0 in the settings, and logs the sum of all of them.
pub fn share_out(settings: &mut Settings, machine: Option<u64>) {
    let bodies = settings.server.body_bytes_held_max;
    let answers = settings.server.answer_bytes_held_max;
    let builds = settings.build.at_once as u64 * settings.build.memory_bytes;
    let runtime = &mut settings.runtime;
    let largest = Limits::CEILING.memory_bytes;
    if runtime.memory_bytes_max == 0 {
        // If the memory is unknown, as much as all instances may have by default.
        let machine = machine.unwrap_or(u64::from(runtime.instances_max) * Limits::DEFAULT.memory_bytes);
        let left = machine.saturating_sub(bodies + answers + builds);
        runtime.memory_bytes_max = (left / 4 * 3).max(machine / 4).max(largest);
    }
    if runtime.memory_bytes_per_partner == 0 {
        runtime.memory_bytes_per_partner = (runtime.memory_bytes_max / 8 * 7).max(largest);
    }
    let guests = runtime.memory_bytes_max;
    let sum = guests + bodies + answers + builds;
    let [guests, bodies, answers, builds, sum] = [guests, bodies, answers, builds, sum].map(|bytes| bytes / MIB);
    let summary = format!(
        "by the settings up to {sum} MiB of memory: guests {guests} (runtime.memory_bytes_max), bodies of requests {bodies} \
         (server.body_bytes_held_max), answers {answers} (server.answer_bytes_held_max), builds {builds} (build.at_once times build.memory_bytes)"
    );
    match machine.map(|machine| machine / MIB) {
        Some(machine) if sum > machine => {
            tracing::warn!("{summary}; this machine has {machine} MiB: lower the settings")
        }
        Some(machine) => tracing::info!("{summary}; this machine has {machine} MiB"),
        None => tracing::info!("{summary}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_detected_and_divided() {
        assert!(memory_bytes().is_some_and(|bytes| bytes > 256 * MIB));
        assert_eq!(total("MemFree: 1 kB\nMemTotal:       24684308 kB\n"), Some(24_684_308 << 10));
        let shared = |machine: Option<u64>, max: u64, partner: u64| {
            let mut settings = Settings::load(None, &[]).unwrap();
            settings.runtime.memory_bytes_max = max * MIB;
            settings.runtime.memory_bytes_per_partner = partner * MIB;
            share_out(&mut settings, machine.map(|machine| machine * MIB));
            (settings.runtime.memory_bytes_max / MIB, settings.runtime.memory_bytes_per_partner / MIB)
        };
        // 256 for bodies, 512 for answers and 2,048 for a build.
        assert_eq!(shared(Some(10_816), 0, 0), (6_000, 5_250));
        assert_eq!(shared(Some(2_048), 0, 0), (512, 448));
        assert_eq!(shared(Some(512), 0, 0), (256, 256));
        assert_eq!(shared(None, 0, 0).0, (128 * 64 - 2_816) / 4 * 3);
        assert_eq!(shared(Some(10_304), 1_024, 300), (1_024, 300));
    }
}
