//! `timbre rm` and `timbre gc`: list what will be removed, ask, then remove.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, Result, bail, ensure};

use super::cache::size;
use super::{ExitStatus, answered_yes, print};
use crate::cli::args::{ConfirmArgs, GcArgs, GlobalArgs, RmArgs};
use crate::cli::colours::eprint_coloured;
use timbre_core::{error::UserError, progress::Printer};
use timbre_runs::{
    housekeeping::{self, AgeRules, CleanupPlan},
    run_dir::{self, Removed},
};

pub fn rm(common: &GlobalArgs, rm: &RmArgs) -> Result<ExitStatus> {
    let mut chosen: Vec<PathBuf> = Vec::new();
    for name in &rm.chosen {
        let run = removable_run(&common.runs, name)?;
        // A shell's `*` matches `latest` too.
        if !chosen.contains(&run) {
            chosen.push(run);
        }
    }
    let mut bytes = 0;
    for run in &chosen {
        let usage = run_dir::usage(run);
        bytes += usage.bytes;
        let state = match (run_dir::is_in_progress(run), run_dir::read_record(run)) {
            (true, _) => "in use by a process: kept".to_owned(),
            (false, Ok(record)) => format!("{:?}", record.status).to_lowercase(),
            (false, Err(_)) => "unreadable run.json".to_owned(),
        };
        print(&format!("{}  {state}  {}\n", shown(run), size(usage.bytes)))?;
    }
    let runs = if chosen.len() == 1 { "1 run".to_owned() } else { format!("{} runs", chosen.len()) };
    if !is_confirmed(&rm.asking, &format!("{runs}, {}", size(bytes)), common)? {
        return Ok(ExitStatus::Done);
    }
    let (mut gone, mut freed, mut held) = (0, 0, 0);
    for run in &chosen {
        let bytes = run_dir::usage(run).bytes;
        match run_dir::remove(run, || true)? {
            Removed::Gone => (gone, freed) = (gone + 1, freed + bytes),
            Removed::Held | Removed::Changed => {
                held += 1;
                eprint_coloured(&format!("warning: another process is working on {}: kept", shown(run)));
            }
        }
    }
    print(&format!("{gone} removed, {} freed\n", size(freed)))?;
    Ok(if held == 0 { ExitStatus::Done } else { ExitStatus::Failed })
}

/// The folder of the named run, with links resolved, if it may be removed.
fn removable_run(runs: &Path, name: &str) -> Result<PathBuf> {
    ensure!(!name.is_empty(), UserError::usage("the name of the run is empty".to_owned()));
    let run = run_dir::find(runs, name)?;
    // Other commands read an experiment's name as its latest run. Removal needs the run itself.
    let named = [PathBuf::from(name), runs.join(name)];
    let home = run.parent().unwrap_or(runs);
    if run == run_dir::latest(home) && !named.contains(&run) {
        let count = run_dir::run_folders(home).len();
        bail!(UserError::usage(format!(
            "`{name}` is an experiment, not a run: use `{name}/latest`, or {}/* for all its runs ({count})",
            home.display()
        )));
    }
    let found = run;
    let run = found.canonicalize().with_context(|| format!("cannot find {}", found.display()))?;
    // A link to a run elsewhere must not remove what others keep there; a folder elsewhere can be named itself.
    let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let is_inside = runs.canonicalize().is_ok_and(|runs| run.starts_with(runs));
    ensure!(
        is_inside || !(found.is_symlink() || absolute(&found).starts_with(absolute(runs))),
        UserError::usage(format!(
            "{} leads to {}, outside of {}: name that folder itself, or remove the link",
            shown(&found),
            shown(&run),
            shown(runs)
        ))
    );
    ensure!(
        run_dir::has_run_name(&run) || run_dir::read_record(&run).is_ok(),
        UserError::usage(format!("{} is not a run folder", shown(&run)))
    );
    let here = std::env::current_dir().and_then(|here| here.canonicalize());
    ensure!(
        !here.is_ok_and(|here| here.starts_with(&run)),
        UserError::usage(format!("{} is the current directory: change to another one first", shown(&run)))
    );
    Ok(run)
}

pub fn gc(common: &GlobalArgs, gc: &GcArgs) -> Result<ExitStatus> {
    let plan = CleanupPlan::new(&common.runs, AgeRules { now: SystemTime::now(), days: gc.days })?;
    for (path, why) in &plan.left_alone {
        eprint_coloured(&format!("warning: skipped: {}: {why}", shown(path)));
    }
    if plan.items.is_empty() {
        Printer::new(common.quiet).message(&format!("Nothing to remove in {}.", shown(&common.runs)));
        return Ok(ExitStatus::Done);
    }
    for item in &plan.items {
        print(&format!("{}  {}  {}\n", shown(&item.path), item.why, size(item.bytes)))?;
    }
    if !is_confirmed(&gc.asking, &size(plan.bytes()), common)? {
        return Ok(ExitStatus::Done);
    }
    let (mut freed, mut failed) = (0, false);
    for item in &plan.items {
        match housekeeping::remove(item) {
            Ok(Removed::Gone) => freed += item.bytes,
            Ok(_) => eprint_coloured(&format!("warning: skipped: {}: a process is working on it", shown(&item.path))),
            Err(error) => {
                failed = true;
                eprint_coloured(&format!("error: {error:#}"));
            }
        }
    }
    print(&format!("{} freed\n", size(freed)))?;
    Ok(if failed { ExitStatus::Failed } else { ExitStatus::Done })
}

/// Whether to remove: no with `--dry-run`, yes with `--yes`, else the user's answer.
fn is_confirmed(asking: &ConfirmArgs, what: &str, common: &GlobalArgs) -> Result<bool> {
    if asking.dry_run {
        Printer::new(common.quiet).message(&format!("Would remove {what} (--dry-run: nothing was removed)."));
        return Ok(false);
    }
    if asking.yes {
        return Ok(true);
    }
    let agreed = answered_yes(&format!("Remove {what}?"), || {
        format!("would remove {what}, but there is no terminal to ask for confirmation: pass --yes, or --dry-run")
    })?;
    if !agreed {
        eprint_coloured("Nothing was removed.");
    }
    Ok(agreed)
}

/// A path with control characters escaped, so that it cannot move a terminal's cursor.
fn shown(path: &Path) -> String {
    let plain = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
    path.display().to_string().chars().map(plain).collect()
}
