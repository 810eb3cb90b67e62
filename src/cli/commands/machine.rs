//! Facts about the machine: SIMD instructions, memory, disk space. Unknown facts are left out.

use std::path::{Path, PathBuf};

/// The SIMD instruction sets of this CPU that numeric code uses.
pub fn simd() -> Vec<&'static str> {
    let mut found = Vec::new();
    macro_rules! look_for {
        ($detected:ident: $($name:tt)*) => {
            $(if std::arch::$detected!($name) { found.push($name); })*
        };
    }
    #[cfg(target_arch = "x86_64")]
    look_for!(is_x86_feature_detected: "sse4.2" "avx" "avx2" "fma" "f16c" "avx512f" "avx512bw" "avx512dq" "avx512vl" "avx512vnni"
        "avx512bf16" "avx512fp16");
    #[cfg(target_arch = "aarch64")]
    look_for!(is_aarch64_feature_detected: "neon" "fp16" "dotprod" "bf16" "i8mm" "sve" "sve2");
    found
}

/// Main memory in bytes: total and available, as far as the limits of control groups (containers, Slurm, systemd) leave it to this
/// process. Known on Linux only.
pub fn memory() -> Option<(u64, u64)> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let whole = (kibibytes(&text, "MemTotal")? << 10, kibibytes(&text, "MemAvailable")? << 10);
    let groups = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    Some(within_groups(whole, Path::new("/sys/fs/cgroup"), &groups))
}

/// The files of a control group with its limit, its use, and in `memory.stat` the share of the use that the kernel frees first.
const GROUP_FILES: [[&str; 3]; 2] = [
    ["memory.max", "memory.current", "inactive_file"],
    ["memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"],
];

/// Reduces total and available memory to what the control groups of this process allow. `groups`: `/proc/self/cgroup`.
fn within_groups((mut total, mut available): (u64, u64), root: &Path, groups: &str) -> (u64, u64) {
    for line in groups.lines() {
        // `0::/path` is a group of version 2, `9:memory:/path` one of version 1.
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
        let (root, [limit, used, freed_first]) = match controllers {
            "" => (root.to_owned(), GROUP_FILES[0]),
            list if list.split(',').any(|name| name == "memory") => (root.join("memory"), GROUP_FILES[1]),
            _ => continue,
        };
        // A group has the limits of all above it. In a container the path is that of the host, of which only the root is there.
        let folder = root.join(path.trim_start_matches('/'));
        for folder in folder.ancestors().take_while(|folder| folder.starts_with(&root)) {
            let text = |file: &str| std::fs::read_to_string(folder.join(file)).ok();
            let number = |file: &str| text(file)?.trim().parse::<u64>().ok();
            let (Some(limit), Some(used)) = (number(limit), number(used)) else { continue };
            let stat = text("memory.stat").unwrap_or_default();
            let cache = stat.lines().find_map(|line| line.strip_prefix(freed_first)?.trim().parse::<u64>().ok());
            total = total.min(limit);
            available = available.min(limit.saturating_sub(used.saturating_sub(cache.unwrap_or(0))));
        }
    }
    (total, available)
}

fn kibibytes(meminfo: &str, key: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Free bytes for this user at `path`, which need not exist yet.
pub fn free_disk(path: &Path) -> Option<u64> {
    let full: PathBuf = std::path::absolute(path).ok()?;
    let there = full.ancestors().find(|folder| folder.is_dir())?;
    let disk = rustix::fs::statvfs(there).ok()?;
    Some(disk.f_bavail * disk.f_frsize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn meminfo_keys_match_whole_names() {
        let text = "MemTotal:       24628444 kB\nMemFree:  1 kB\nMemAvailable:   22000000 kB\n";
        assert_eq!(kibibytes(text, "MemTotal"), Some(24_628_444));
        assert_eq!(kibibytes(text, "Mem"), None);
        assert_eq!(kibibytes(text, "SwapTotal"), None);
    }

    #[test]
    fn memory_is_what_the_control_groups_leave() {
        let root = tempfile::tempdir().unwrap();
        let write = |file: &str, text: &str| {
            let path = root.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        let whole = (1000, 900);
        let within = |groups: &str| within_groups(whole, root.path(), groups);
        assert_eq!(within("0::/slurm/job\n"), whole);
        write("slurm/job/memory.max", "max\n");
        write("slurm/job/memory.current", "100\n");
        write("slurm/memory.max", "500\n");
        write("slurm/memory.current", "300\n");
        write("slurm/memory.stat", "anon 200\ninactive_file 50\n");
        assert_eq!(within("0::/slurm/job\n"), (500, 250));
        assert_eq!(within("0::/other\n"), whole);
        write("memory/docker/memory.limit_in_bytes", "400\n");
        write("memory/docker/memory.usage_in_bytes", "450\n");
        assert_eq!(within("4:cpu,memory:/docker\n3:pids:/\n"), (400, 0));
    }

    #[test]
    fn free_disk_space_is_known_for_a_missing_folder() {
        let folder = tempfile::tempdir().unwrap();
        let (here, below) = (free_disk(folder.path()).unwrap(), free_disk(&folder.path().join("a/b")).unwrap());
        assert!(here > 0 && below > 0);
        assert!(memory().is_none_or(|(all, free)| free <= all && all > 1 << 20));
    }
}
