//! Which run is meant: by path, by name, by signature.

use std::path::{Path, PathBuf};
use std::{fs, io};

use anyhow::{Result, bail};

use super::{has_record, read_record};
use timbre_core::error::UserError;

/// The run folders of a signature, oldest first.
pub(super) fn folders_of(home: &Path, signature: &str) -> Vec<PathBuf> {
    let ending = format!("-{}", &signature[..8]);
    run_folders(home).into_iter().filter(|p| p.to_string_lossy().ends_with(&ending)).collect()
}

/// The run folders of a signature in all experiments, those of `experiment` first, of each the youngest first.
pub fn of_signature(runs: &Path, experiment: &str, signature: &str) -> Vec<PathBuf> {
    let own = runs.join(experiment);
    let others = run_folders(runs).into_iter().filter(|home| *home != own);
    let homes: Vec<PathBuf> = std::iter::once(own.clone()).chain(others).collect();
    homes.iter().flat_map(|home| folders_of(home, signature).into_iter().rev()).collect()
}

/// The run folders of one experiment, oldest first; hidden folders, of runs that are being removed, are none. None, too, of what
/// is not there or cannot be read.
pub fn run_folders(home: &Path) -> Vec<PathBuf> {
    read_run_folders(home).unwrap_or_default()
}

/// [`run_folders`], or why they cannot be read.
pub fn read_run_folders(home: &Path) -> io::Result<Vec<PathBuf>> {
    let mut folders: Vec<PathBuf> = fs::read_dir(home)?
        .flatten()
        .filter(|e| e.file_type().is_ok_and(|t| t.is_dir()) && !e.file_name().as_encoded_bytes().starts_with(b"."))
        .map(|e| e.path())
        .collect();
    folders.sort();
    Ok(folders)
}

/// The newest run of one experiment that got as far as its first record.
pub fn newest(home: &Path) -> Option<PathBuf> {
    run_folders(home).into_iter().rev().find(|run| has_record(run))
}

/// What a person calls a run (a path, `experiment/latest`, or a unique prefix of a signature) as a folder.
pub fn find(runs: &Path, name: &str) -> Result<PathBuf> {
    for path in [PathBuf::from(name), runs.join(name)] {
        if path.join("run.json").is_file() {
            return Ok(path);
        }
        if path.join("latest/run.json").is_file() {
            return Ok(path.join("latest"));
        }
    }
    let matching: Vec<PathBuf> = all(runs)
        .into_iter()
        .filter(|path| read_record(path).is_ok_and(|r| !name.is_empty() && r.signature.starts_with(name)))
        .collect();
    let sentence = match matching.as_slice() {
        [one] => return Ok(one.clone()),
        [] => match damaged(runs, name) {
            Some((run, why)) => format!("the record of {} cannot be read: {why:#}", run.display()),
            None => format!(
                "no run `{name}`: give a run folder, `experiment/latest`, or the beginning of a signature (see `timbre runs`)"
            ),
        },
        many => format!(
            "`{name}` is the beginning of {} signatures: {}",
            many.len(),
            many.iter().map(|p| p.display().to_string()).collect::<Vec<_>>().join(", ")
        ),
    };
    bail!(UserError::usage(sentence))
}

/// The run whose folder ends like a signature that begins so, and whose record cannot be read.
fn damaged(runs: &Path, name: &str) -> Option<(PathBuf, anyhow::Error)> {
    let called = |path: &Path| {
        let folder = path.file_name().and_then(|folder| folder.to_str()).unwrap_or_default();
        let short = folder.rsplit_once('-').map_or("", |(_, short)| short);
        !name.is_empty() && !short.is_empty() && (short.starts_with(name) || name.starts_with(short))
    };
    let runs = all(runs).into_iter().filter(|path| called(path));
    runs.into_iter().find_map(|path| read_record(&path).err().map(|error| (path, error)))
}

/// Every run folder, by experiment and age.
pub fn all(runs: &Path) -> Vec<PathBuf> {
    run_folders(runs).iter().flat_map(|home| run_folders(home)).filter(|p| p.join("run.json").is_file()).collect()
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
    fn of_a_run_with_a_damaged_record_it_is_not_said_that_there_is_none() {
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
