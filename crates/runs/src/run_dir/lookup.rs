//! Finds run folders by path, by name, or by signature.

use std::path::{Path, PathBuf};
use std::{fs, io};

use anyhow::{Result, bail};

use super::{has_record, latest, read_record, record_file};
use timbre_core::error::UserError;

/// The run folders of a signature, oldest first.
pub(super) fn folders_of(experiment: &Path, signature: &str) -> Vec<PathBuf> {
    let ending = format!("-{}", &signature[..8]);
    run_folders(experiment).into_iter().filter(|p| p.to_string_lossy().ends_with(&ending)).collect()
}

/// The run folders of a signature in all experiments: those of `experiment` first, the newest first in each.
pub fn of_signature(runs: &Path, experiment: &str, signature: &str) -> Vec<PathBuf> {
    let own = runs.join(experiment);
    let others = run_folders(runs).into_iter().filter(|experiment| *experiment != own);
    let experiments: Vec<PathBuf> = std::iter::once(own.clone()).chain(others).collect();
    experiments.iter().flat_map(|folder| folders_of(folder, signature).into_iter().rev()).collect()
}

/// The run folders of one experiment, oldest first. Hidden folders (runs being removed) are left out. Empty if the folder does
/// not exist or cannot be read.
pub fn run_folders(experiment: &Path) -> Vec<PathBuf> {
    read_run_folders(experiment).unwrap_or_default()
}

/// [`run_folders`], or why they cannot be read.
pub fn read_run_folders(experiment: &Path) -> io::Result<Vec<PathBuf>> {
    let mut folders: Vec<PathBuf> = fs::read_dir(experiment)?
        .flatten()
        .filter(|e| e.file_type().is_ok_and(|t| t.is_dir()) && !e.file_name().as_encoded_bytes().starts_with(b"."))
        .map(|e| e.path())
        .collect();
    folders.sort();
    Ok(folders)
}

/// The newest run of one experiment that has a record.
pub fn newest(experiment: &Path) -> Option<PathBuf> {
    run_folders(experiment).into_iter().rev().find(|run| has_record(run))
}

/// Finds the folder of `RUN` or `RUN:MODEL`, and the name of the model.
pub fn find_with_model<'a>(runs: &Path, name: &'a str) -> Result<(PathBuf, Option<&'a str>)> {
    match (find(runs, name), name.rsplit_once(':')) {
        (Ok(run), _) => Ok((run, None)),
        (Err(_), Some((run, model))) => Ok((find(runs, run)?, Some(model))),
        (Err(error), None) => Err(error),
    }
}

/// Finds the folder of a run by its name: a path, `experiment/latest`, or a unique prefix of a signature.
pub fn find(runs: &Path, name: &str) -> Result<PathBuf> {
    for path in [PathBuf::from(name), runs.join(name)] {
        for run in [path.clone(), latest(&path)] {
            if record_file(&run).is_file() {
                return Ok(run);
            }
        }
    }
    let matching: Vec<PathBuf> = all(runs)
        .into_iter()
        .filter(|path| read_record(path).is_ok_and(|r| !name.is_empty() && r.signature.starts_with(name)))
        .collect();
    let message = match matching.as_slice() {
        [one] => return Ok(one.clone()),
        [] => match damaged(runs, name) {
            Some((run, why)) => format!("the record of {} cannot be read: {why:#}", run.display()),
            None => format!(
                "no run `{name}`: give a run folder, `experiment/latest`, or the beginning of a signature (see `timbre runs`)"
            ),
        },
        many => format!(
            "`{name}` matches {} runs: {}",
            many.len(),
            many.iter().map(|p| p.display().to_string()).collect::<Vec<_>>().join(", ")
        ),
    };
    bail!(UserError::usage(message))
}

/// The beginning of the signature of a run, which its folder is named after; empty for another folder.
pub fn short_signature(run: &Path) -> &str {
    let folder = run.file_name().and_then(|folder| folder.to_str()).unwrap_or_default();
    folder.rsplit_once('-').map_or("", |(_, short)| short)
}

/// A run with an unreadable record whose folder matches the beginning of a signature.
fn damaged(runs: &Path, name: &str) -> Option<(PathBuf, anyhow::Error)> {
    let matches = |path: &Path| {
        let short = short_signature(path);
        !name.is_empty() && !short.is_empty() && (short.starts_with(name) || name.starts_with(short))
    };
    let runs = all(runs).into_iter().filter(|path| matches(path));
    runs.into_iter().find_map(|path| read_record(&path).err().map(|error| (path, error)))
}

/// All run folders, by experiment and age.
pub fn all(runs: &Path) -> Vec<PathBuf> {
    run_folders(runs)
        .iter()
        .flat_map(|experiment| run_folders(experiment))
        .filter(|p| record_file(p).is_file())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::{SIGNATURE, record, to_do};
    use super::super::{RunDir, Status, make_latest};
    use super::*;

    #[test]
    fn a_run_is_found_by_path_by_latest_and_by_signature() {
        let runs = tempfile::tempdir().unwrap();
        let dir = to_do(RunDir::open(runs.path(), "x", SIGNATURE, false).unwrap());
        dir.write_record(&record(Status::Done)).unwrap();
        make_latest(dir.path()).unwrap();
        for name in [dir.path().to_str().unwrap(), "x/latest", "x", "0123"] {
            let found = find(runs.path(), name).unwrap();
            assert_eq!(found.canonicalize().unwrap(), dir.path().canonicalize().unwrap(), "{name}");
        }
        assert!(find(runs.path(), "77").unwrap_err().to_string().contains("timbre runs"));
    }

    #[test]
    fn a_run_with_a_damaged_record_is_reported_as_damaged() {
        let runs = tempfile::tempdir().unwrap();
        let dir = to_do(RunDir::open(runs.path(), "x", SIGNATURE, false).unwrap());
        std::fs::write(dir.path().join("run.json"), "{\"schema\": 1,").unwrap();
        for name in ["0123", SIGNATURE] {
            let error = find(runs.path(), name).unwrap_err().to_string();
            assert!(error.contains("cannot be read") && error.contains("repairs it"), "{error}");
        }
        assert!(find(runs.path(), "0124").unwrap_err().to_string().contains("no run `0124`"));
    }
}
