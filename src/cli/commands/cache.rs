//! `timbre cache`: show and clean the feature cache.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};

use super::{ExitStatus, print, settings};
use crate::cli::args::{CacheCommand, GlobalArgs};
use timbre_core::text::count;
use timbre_inputs::features::cache;
use timbre_inputs::remote::{self, MirrorUsage};

pub fn cache(common: &GlobalArgs, command: CacheCommand) -> Result<ExitStatus> {
    let home = settings(common, false).cache;
    let folder = home.join("features");
    match command {
        CacheCommand::Show => {
            let usage = if folder.is_dir() { cache::usage(&folder)? } else { cache::Usage::default() };
            print(&format!(
                "{}: {} in {}, {}\n",
                folder.display(),
                count(usage.records, "feature"),
                count(usage.packs, "pack"),
                size(usage.bytes)
            ))?;
            for set in generated_sets(&home) {
                print(&format!("{}: a generated data set\n", set.display()))?;
            }
            for MirrorUsage { folder, bytes } in remote::mirrors(&home) {
                print(&format!("{}: a mirror of recordings by URL, {}\n", folder.display(), size(bytes)))?;
            }
        }
        CacheCommand::Gc { days, all } => {
            let now = SystemTime::now();
            // One day in the future, so that features written in this second are removed too.
            let keep_after =
                if all { now + Duration::from_secs(86_400) } else { now - Duration::from_secs(86_400 * days) };
            let freed = if folder.is_dir() { cache::remove_packs_before(&folder, keep_after)? } else { 0 };
            if all {
                for set in generated_sets(&home) {
                    std::fs::remove_dir_all(&set).with_context(|| format!("cannot remove {}", set.display()))?;
                    print(&format!("{} removed\n", set.display()))?;
                }
            }
            for MirrorUsage { folder, bytes } in remote::remove_mirrors_before(&home, keep_after)? {
                print(&format!("{}: {} removed\n", folder.display(), size(bytes)))?;
            }
            print(&format!("{} of features freed\n", size(freed)))?;
        }
    }
    Ok(ExitStatus::Done)
}

/// The sets generated in the cache.
fn generated_sets(home: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(home).into_iter().flatten().flatten();
    let kinds = ["demo-", "rendered-", "combined-"];
    let made = |e: &std::fs::DirEntry| {
        let name = e.file_name().to_string_lossy().into_owned();
        e.path().is_dir() && kinds.iter().any(|kind| name.starts_with(kind))
    };
    let mut sets: Vec<PathBuf> = entries.filter(made).map(|e| e.path()).collect();
    sets.sort();
    sets
}

/// Formats a number of bytes: `1.5 MiB`.
pub fn size(bytes: u64) -> String {
    let units = ["bytes", "KiB", "MiB", "GiB", "TiB"];
    let step = |(value, unit): (f64, usize)| {
        if value >= 1024.0 && unit < 4 { (value / 1024.0, unit + 1) } else { (value, unit) }
    };
    let (value, unit) = (0..4).fold((bytes as f64, 0), |at, _| step(at));
    if unit == 0 { format!("{bytes} bytes") } else { format!("{value:.1} {}", units[unit]) }
}
