//! Selects runs by name, pattern or sweep, and optionally one model of a run.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use super::run::ModelKey;
use super::sweep_runs;
use timbre_core::{error::UserError, text::glob_matches};
use timbre_runs::run_dir;

/// A selected run, or one model of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SelectedRun {
    pub path: PathBuf,
    /// `mel.knn` in `quickstart/latest:mel.knn`. It is looked up after the run has been read.
    pub model: Option<String>,
    /// Whether the run was named explicitly. Then an unreadable run is an error; a run of a pattern or a sweep is left out.
    pub by_name: bool,
}

/// The selected runs, and notes about the selection.
#[derive(Debug, Default)]
pub struct RunSelection {
    pub runs: Vec<SelectedRun>,
    pub notes: Vec<String>,
}

/// Finds the folders of named runs. A name is a path, `experiment/latest`, the beginning of a signature, or a pattern: `lr_*` selects
/// the newest run of each of these experiments, `lr_*/*` all of their runs, oldest first. The name of a sweep selects the runs of its
/// points. A suffix `:mel.knn` selects one model. Each run is selected once.
pub fn select_runs(runs: &Path, names: &[String]) -> Result<RunSelection> {
    let mut selection = RunSelection::default();
    for name in names {
        let (name, model) = match name.rsplit_once(':') {
            Some((run, model)) if !model.contains('/') && !Path::new(name).exists() => (run, Some(model.to_owned())),
            _ => (name.as_str(), None),
        };
        let (folders, by_name) = if name.contains(['*', '?', '[']) && !Path::new(name).exists() {
            (matching(runs, name)?, false)
        } else {
            match sweep_runs::of_sweep(runs, name)? {
                Some(points) => {
                    selection.notes.extend(points.note);
                    (points.runs, false)
                }
                None => (vec![run_dir::find(runs, name)?], true),
            }
        };
        selection.runs.extend(folders.into_iter().map(|path| SelectedRun { path, model: model.clone(), by_name }));
    }
    selection.remove_duplicates();
    Ok(selection)
}

/// The one run that a name selects, for commands that take a single run.
pub fn select_run(runs: &Path, name: &str) -> Result<SelectedRun> {
    let many = select_runs(runs, &[name.to_owned()])?.runs;
    match <[SelectedRun; 1]>::try_from(many) {
        Ok([one]) => Ok(SelectedRun { by_name: true, ..one }),
        Err(many) => bail!(UserError::usage(format!(
            "`{name}` is {} runs: name one of them, such as {} (`timbre compare {name}` lists them)",
            many.len(),
            many[0].path.display()
        ))),
    }
}

impl RunSelection {
    fn remove_duplicates(&mut self) {
        let canonical = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let mut kept: Vec<(PathBuf, SelectedRun)> = Vec::new();
        let mut repeated: Vec<PathBuf> = Vec::new();
        for one in std::mem::take(&mut self.runs) {
            let path = canonical(&one.path);
            match kept.iter_mut().find(|(known, first)| *known == path && first.model == one.model) {
                Some((_, first)) => {
                    first.by_name |= one.by_name;
                    repeated.push(one.path);
                }
                None => kept.push((path, one)),
            }
        }
        self.runs = kept.into_iter().map(|(_, one)| one).collect();
        self.notes.extend(match repeated.as_slice() {
            [] => None,
            [one] => Some(format!("{} is named twice and shown once", one.display())),
            many => Some(format!("{} runs are named more than once: each is shown once", many.len())),
        });
    }
}

/// The newest run of each experiment that has runs.
pub fn newest(runs: &Path) -> RunSelection {
    let newest = run_dir::run_folders(runs).into_iter().filter_map(|home| newest_of(&home));
    let runs = newest.map(|path| SelectedRun { path, model: None, by_name: false });
    RunSelection { runs: runs.collect(), notes: Vec::new() }
}

fn newest_of(home: &Path) -> Option<PathBuf> {
    let latest = run_dir::latest(home);
    if run_dir::has_record(&latest) {
        return Some(latest);
    }
    // No run has finished yet: take the one that started last.
    run_dir::newest(home)
}

fn matching(runs: &Path, pattern: &str) -> Result<Vec<PathBuf>> {
    let shown = runs.display().to_string();
    let below = pattern.strip_prefix(&format!("{}/", shown.trim_end_matches('/'))).unwrap_or(pattern);
    let mut found: Vec<PathBuf> = Vec::new();
    for home in run_dir::run_folders(runs) {
        let experiment = name_of(&home);
        if !below.contains('/') {
            found.extend(newest_of(&home).filter(|_| glob_matches(below, &experiment)));
            continue;
        }
        let of_home = run_dir::run_folders(&home).into_iter().filter(|path| run_dir::has_record(path));
        found.extend(of_home.filter(|path| glob_matches(below, &format!("{experiment}/{}", name_of(path)))));
    }
    if found.is_empty() {
        bail!(UserError::usage(format!("no run in {shown} matches `{pattern}` (see `timbre runs`)")));
    }
    Ok(found)
}

fn name_of(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// The model of a run with that name: `mel.knn`, or `mel.knn.s1`, whose seed is ignored.
pub fn find_model(keys: &[ModelKey], model: &str, run: &str) -> Result<ModelKey> {
    let named = |key: &&ModelKey| {
        let name = format!("{}.{}", key.0, key.1);
        let seed = model.strip_prefix(&name).and_then(|rest| rest.strip_prefix(".s"));
        model == name || seed.is_some_and(|seed| seed.parse::<u64>().is_ok())
    };
    if let Some(key) = keys.iter().find(named) {
        return Ok(key.clone());
    }
    let known: Vec<String> = keys.iter().map(|(features, model)| format!("{features}.{model}")).collect();
    let known = if known.is_empty() { "none yet".to_owned() } else { known.join(", ") };
    bail!(UserError::usage(format!("{run} has no model `{model}`, only: {known}")))
}

#[cfg(test)]
mod tests {
    use super::super::sweep_runs::tests::sweep_json;
    use super::*;

    fn folder(runs: &Path, name: &str) -> PathBuf {
        let path = runs.join(name);
        std::fs::create_dir_all(&path).unwrap();
        std::fs::write(path.join("run.json"), "{}").unwrap();
        path
    }

    #[test]
    fn a_sweep_selects_the_runs_of_its_points_and_a_pattern_the_runs_that_match() {
        let runs = tempfile::tempdir().unwrap();
        let [first, second, _alone, _other] =
            ["lr/1-a", "lr/2-b", "lr/3-c", "other/1-d"].map(|name| folder(runs.path(), name));
        let first_run = first.to_str();
        let record = sweep_json(&[Some("elsewhere/lr/2-b"), first_run, None, first_run, Some("gone/lr/9-z")]);
        std::fs::write(runs.path().join("lr/grid.json"), record).unwrap();
        let selected = |name: &str| -> Vec<PathBuf> {
            select_runs(runs.path(), &[name.to_owned()]).unwrap().runs.into_iter().map(|one| one.path).collect()
        };
        assert_eq!(selected("lr"), [second.clone(), first.clone()]);
        assert_eq!(selected("l?/[12]*"), [first.clone(), second]);
        assert_eq!(selected("*").len(), 2, "the newest of each experiment");
        let one = select_runs(runs.path(), &["lr/1-*:mel.knn".to_owned()]).unwrap();
        assert_eq!(one.runs[0].model.as_deref(), Some("mel.knn"));
        assert!(select_runs(runs.path(), &["z*".to_owned()]).unwrap_err().is::<UserError>());
    }

    #[test]
    fn a_sweep_is_not_accepted_where_one_run_is_needed() {
        let runs = tempfile::tempdir().unwrap();
        let [first, second] = ["lr/1-a", "lr/2-b"].map(|name| folder(runs.path(), name));
        std::fs::write(runs.path().join("lr/grid.json"), sweep_json(&[first.to_str(), second.to_str()])).unwrap();
        let error = select_run(runs.path(), "lr").unwrap_err();
        assert!(error.is::<UserError>());
        assert!(
            error.to_string().contains("is 2 runs: name one of them, such as") && error.to_string().contains("1-a")
        );
        assert_eq!(select_run(runs.path(), "lr/2-b").unwrap().path, second);
    }

    #[test]
    fn a_run_that_is_named_twice_is_selected_once_with_a_note() {
        let runs = tempfile::tempdir().unwrap();
        let first = folder(runs.path(), "lr/1-a").display().to_string();
        let names = ["lr/1-*".to_owned(), first.clone(), format!("{first}:mel.knn")];
        let choice = select_runs(runs.path(), &names).unwrap();
        assert_eq!(choice.runs.len(), 2, "one model of a run is not the run");
        assert!(choice.runs[0].by_name && choice.notes[0].contains("named twice"), "{choice:?}");
    }

    #[test]
    fn a_model_is_named_with_its_features_and_optionally_a_seed() {
        let keys = [("mel".to_owned(), "knn".to_owned()), ("mel".to_owned(), "knn.s1".to_owned())];
        assert_eq!(find_model(&keys, "mel.knn", "x").unwrap().1, "knn");
        assert_eq!(find_model(&keys, "mel.knn.s12", "x").unwrap().1, "knn");
        let error = find_model(&keys, "mel.cnn", "x").unwrap_err();
        assert!(error.is::<UserError>() && error.to_string().contains("only: mel.knn, mel.knn.s1"), "{error}");
    }
}
