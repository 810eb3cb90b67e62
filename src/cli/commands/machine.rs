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

/// Main memory in bytes: total and available. Known on Linux only.
pub fn memory() -> Option<(u64, u64)> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    Some((kibibytes(&text, "MemTotal")? << 10, kibibytes(&text, "MemAvailable")? << 10))
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
    fn free_disk_space_is_known_for_a_missing_folder() {
        let folder = tempfile::tempdir().unwrap();
        let (here, below) = (free_disk(folder.path()).unwrap(), free_disk(&folder.path().join("a/b")).unwrap());
        assert!(here > 0 && below > 0);
        assert!(memory().is_none_or(|(all, free)| free <= all && all > 1 << 20));
    }
}
