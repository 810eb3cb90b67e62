//! `timbre cache`: what lies in the feature cache, and how to get rid of it.

use std::time::{Duration, SystemTime};

use anyhow::Result;

use super::{Ended, print, settings};
use crate::cli::{CacheCommand, Common};
use crate::store;

pub fn cache(common: &Common, command: CacheCommand) -> Result<Ended> {
    let folder = settings(common, false).cache.join("features");
    match command {
        CacheCommand::Show => {
            let usage = if folder.is_dir() { store::usage(&folder)? } else { store::Usage::default() };
            print(&format!(
                "{}: {} features in {} packs, {}\n",
                folder.display(),
                usage.records,
                usage.packs,
                size(usage.bytes)
            ))?;
        }
        CacheCommand::Gc { days, all } => {
            let now = SystemTime::now();
            // A day ahead of now: also what was written this very second goes.
            let keep_after =
                if all { now + Duration::from_secs(86_400) } else { now - Duration::from_secs(86_400 * days) };
            let freed = if folder.is_dir() { store::collect(&folder, keep_after)? } else { 0 };
            print(&format!("{} freed\n", size(freed)))?;
        }
    }
    Ok(Ended::Done)
}

/// Bytes as a person reads them.
pub fn size(bytes: u64) -> String {
    let units = ["bytes", "KiB", "MiB", "GiB", "TiB"];
    let step = |(value, unit): (f64, usize)| {
        if value >= 1024.0 && unit < 4 { (value / 1024.0, unit + 1) } else { (value, unit) }
    };
    let (value, unit) = (0..4).fold((bytes as f64, 0), |at, _| step(at));
    if unit == 0 { format!("{bytes} bytes") } else { format!("{value:.1} {}", units[unit]) }
}
