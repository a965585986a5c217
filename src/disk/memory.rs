//! How much memory this process may use: what the machine has, or what its control group is allowed.
//!
//! A control group limits all groups below it, so the least limit on the way to the root counts. Both
//! versions are read: in version 2 one hierarchy has everything, in version 1 memory has its own.
//! Within a container the group's own path often does not exist under the mount, which then shows the
//! container's group as its root; the walk up to the root finds that one too. What cannot be read
//! does not count as a limit.

use std::path::Path;

/// Bytes of memory that this process may use; `None` where the system does not say.
pub(in crate::disk) fn limit() -> Option<u64> {
    limit_by(&|path| std::fs::read_to_string(path).ok())
}

fn limit_by(read: &dyn Fn(&Path) -> Option<String>) -> Option<u64> {
    let machine = read(Path::new("/proc/meminfo")).and_then(|text| total(&text));
    let groups = read(Path::new("/proc/self/cgroup")).unwrap_or_default();
    let limits = groups.lines().filter_map(|line| group_limit(line, read));
    machine.into_iter().chain(limits).min()
}

/// `MemTotal` of `/proc/meminfo`, in bytes.
fn total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// The least limit of the group in a `line` of `/proc/self/cgroup`, and of those above it.
fn group_limit(line: &str, read: &dyn Fn(&Path) -> Option<String>) -> Option<u64> {
    let mut fields = line.splitn(3, ':');
    let (_hierarchy, controllers, group) = (fields.next()?, fields.next()?, fields.next()?);
    let (mount, file) = if controllers.is_empty() {
        ("/sys/fs/cgroup", "memory.max")
    } else if controllers.split(',').any(|name| name == "memory") {
        ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
    } else {
        return None;
    };
    let ways = Path::new(group.trim_start_matches('/')).ancestors();
    let limits = ways.filter_map(|way| read(&Path::new(mount).join(way).join(file)));
    // "max" in version 2 is no limit; version 1 has a number that no machine reaches.
    limits.filter_map(|text| text.trim().parse().ok()).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEMINFO: &str = "MemTotal:        2097152 kB\nMemFree:          123 kB\n";
    const MACHINE: u64 = 2 << 30;

    fn limit_of(files: &[(&str, &str)]) -> Option<u64> {
        limit_by(&|path| {
            let found = files.iter().find(|(name, _)| Path::new(name) == path);
            found.map(|(_, text)| (*text).to_owned())
        })
    }

    #[test]
    fn without_a_control_group_the_machine_limits() {
        assert_eq!(limit_of(&[("/proc/meminfo", MEMINFO)]), Some(MACHINE));
        assert_eq!(limit_of(&[]), None);
        assert_eq!(limit_of(&[("/proc/meminfo", "MemTotal: many kB")]), None);
    }

    #[test]
    fn the_least_limit_on_the_way_to_the_root_counts_in_version_2() {
        let files = [
            ("/proc/meminfo", MEMINFO),
            ("/proc/self/cgroup", "0::/system.slice/shop.service\n"),
            ("/sys/fs/cgroup/system.slice/shop.service/memory.max", "max\n"),
            ("/sys/fs/cgroup/system.slice/memory.max", "268435456\n"),
        ];
        assert_eq!(limit_of(&files), Some(256 << 20));
    }

    #[test]
    fn in_a_container_the_root_of_the_mount_is_the_group() {
        let files = [
            ("/proc/meminfo", MEMINFO),
            ("/proc/self/cgroup", "0::/docker/0a1b2c\n"),
            ("/sys/fs/cgroup/memory.max", "134217728\n"),
        ];
        assert_eq!(limit_of(&files), Some(128 << 20));
    }

    #[test]
    fn version_1_has_a_hierarchy_for_memory() {
        let files = [
            ("/proc/meminfo", MEMINFO),
            ("/proc/self/cgroup", "5:cpu,cpuacct:/other\n4:memory:/jobs/a\n"),
            ("/sys/fs/cgroup/memory/jobs/a/memory.limit_in_bytes", "536870912\n"),
            ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"),
        ];
        assert_eq!(limit_of(&files), Some(512 << 20));
    }
}
