//! Describes the environment of a run: enough to explain a difference, nothing that changes a result.

use std::process::Command;

use serde_json::{Value, json};

use timbre_models::device::Device;

pub fn describe(device: Option<&Device>) -> Value {
    json!({
        "timbre": env!("CARGO_PKG_VERSION"),
        "commit": git(&["rev-parse", "HEAD"]),
        "dirty": git(&["status", "--porcelain"]).map(|changes| !changes.is_empty()),
        "host": host(),
        "os": std::env::consts::OS,
        "arch": std::env::consts::ARCH,
        "cpu": cpu(),
        "cores": std::thread::available_parallelism().map(usize::from).ok(),
        "threads": rayon::current_num_threads(),
        "device": device.map(Device::name),
    })
}

/// The name of this machine.
pub fn host() -> Option<String> {
    std::fs::read_to_string("/proc/sys/kernel/hostname").ok().map(|host| host.trim().to_owned())
}

/// The output of git in the current folder; None without git or outside a repository.
fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn cpu() -> Option<String> {
    let info = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = info.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}
