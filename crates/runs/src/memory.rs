//! The memory of this process, in bytes; none on systems without `/proc`.

/// What it holds now.
pub fn resident() -> Option<u64> {
    of("VmRSS:")
}

/// The most that it held so far.
pub fn peak() -> Option<u64> {
    of("VmHWM:")
}

fn of(key: &str) -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let kib = status.lines().find_map(|line| line.strip_prefix(key))?.trim().strip_suffix("kB")?;
    Some(kib.trim().parse::<u64>().ok()? * 1024)
}
