//! Which runs are meant: names, globs, and one model of a run.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use super::run::ModelKey;
use super::sweep_runs;
use timbre_core::error::UserError;
use timbre_runs::run_dir;

/// A run, or one model on features of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SelectedRun {
    pub path: PathBuf,
    /// `mel.knn` of `quickstart/latest:mel.knn`: looked up when the run has been read.
    pub model: Option<String>,
    /// Named by itself: that it cannot be read is an error. What a pattern, a grid or no name at all stands for is left out then.
    pub by_name: bool,
}

/// The runs that were meant, and what has to be known of how they were found.
#[derive(Debug, Default)]
pub struct RunSelection {
    pub runs: Vec<SelectedRun>,
    pub notes: Vec<String>,
}

/// What people call runs, as folders: a path, `experiment/latest`, the beginning of a signature, or a pattern. `lr_*` are the newest
/// runs of these experiments, `lr_*/*` all of their runs, oldest first. The name of a grid means the runs of its points.
/// `:mel.knn` behind it chooses one model. Each is there once.
pub fn select_runs(runs: &Path, names: &[String]) -> Result<RunSelection> {
    let mut choice = RunSelection::default();
    for name in names {
        let (name, model) = match name.rsplit_once(':') {
            Some((run, model)) if !model.contains('/') && !Path::new(name).exists() => (run, Some(model.to_owned())),
            _ => (name.as_str(), None),
        };
        let (folders, by_name) = if name.contains(['*', '?', '[']) && !Path::new(name).exists() {
            (matching(runs, name)?, false)
        } else {
            match sweep_runs::of_grid(runs, name)? {
                Some(points) => {
                    choice.notes.extend(points.note);
                    (points.runs, false)
                }
                None => (vec![run_dir::find(runs, name)?], true),
            }
        };
        choice.runs.extend(folders.into_iter().map(|path| SelectedRun { path, model: model.clone(), by_name }));
    }
    choice.keep_each_once();
    Ok(choice)
}

/// The one run that a name means, for what can only speak of one.
pub fn select_run(runs: &Path, name: &str) -> Result<SelectedRun> {
    let many = select_runs(runs, &[name.to_owned()])?.runs;
    match <[SelectedRun; 1]>::try_from(many) {
        Ok([one]) => Ok(SelectedRun { by_name: true, ..one }),
        Err(many) => bail!(UserError::usage(format!(
            "`{name}` is {} runs: name one of them, such as {} (`timbre compare {name}` shows them)",
            many.len(),
            many[0].path.display()
        ))),
    }
}

impl RunSelection {
    fn keep_each_once(&mut self) {
        let whole = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let mut kept: Vec<(PathBuf, SelectedRun)> = Vec::new();
        let mut again: Vec<PathBuf> = Vec::new();
        for one in std::mem::take(&mut self.runs) {
            let path = whole(&one.path);
            match kept.iter_mut().find(|(known, first)| *known == path && first.model == one.model) {
                Some((_, first)) => {
                    first.by_name |= one.by_name;
                    again.push(one.path);
                }
                None => kept.push((path, one)),
            }
        }
        self.runs = kept.into_iter().map(|(_, one)| one).collect();
        self.notes.extend(match again.as_slice() {
            [] => None,
            [one] => Some(format!("{} is named twice and shown once", one.display())),
            many => Some(format!("{} names stand for runs that are named before: each is shown once", many.len())),
        });
    }
}

/// The newest run of each experiment, as far as it has one.
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
    // None has come to its end yet: the last that has begun.
    run_dir::newest(home)
}

fn matching(runs: &Path, pattern: &str) -> Result<Vec<PathBuf>> {
    let shown = runs.display().to_string();
    let below = pattern.strip_prefix(&format!("{}/", shown.trim_end_matches('/'))).unwrap_or(pattern);
    let mut found: Vec<PathBuf> = Vec::new();
    for home in run_dir::run_folders(runs) {
        let experiment = name_of(&home);
        if !below.contains('/') {
            found.extend(newest_of(&home).filter(|_| matches(below, &experiment)));
            continue;
        }
        let of_home = run_dir::run_folders(&home).into_iter().filter(|path| run_dir::has_record(path));
        found.extend(of_home.filter(|path| matches(below, &format!("{experiment}/{}", name_of(path)))));
    }
    if found.is_empty() {
        bail!(UserError::usage(format!("no run in {shown} matches `{pattern}` (see `timbre runs`)")));
    }
    Ok(found)
}

fn name_of(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// Whether a name fits a pattern as a shell means it: `*` any characters but `/`, `?` one of them, `[a-c]` or `[!a-c]` one of a list.
fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
    fits(&pattern, &name)
}

fn fits(pattern: &[char], name: &[char]) -> bool {
    let (mut p, mut n) = (0, 0);
    // Behind the last star: where to go on when what follows it did not fit.
    let mut retry: Option<(usize, usize)> = None;
    while n < name.len() {
        let step = match pattern.get(p) {
            Some('*') => {
                retry = Some((p + 1, n));
                p += 1;
                continue;
            }
            Some('[') => list(&pattern[p..], name[n]),
            Some('?') => (name[n] != '/').then_some(1),
            Some(c) => (*c == name[n]).then_some(1),
            None => None,
        };
        match (step, retry) {
            (Some(step), _) => (p, n) = (p + step, n + 1),
            (None, Some((after, from))) if name[from] != '/' => {
                (p, n) = (after, from + 1);
                retry = Some((after, from + 1));
            }
            _ => return false,
        }
    }
    pattern[p..].iter().all(|&c| c == '*')
}

/// How long a list at the beginning of the pattern is, if the character is in it. Without an end it is a plain bracket.
fn list(pattern: &[char], c: char) -> Option<usize> {
    let negated = pattern.get(1) == Some(&'!');
    let first = 1 + usize::from(negated);
    let Some(length) = pattern.iter().skip(first + 1).position(|&c| c == ']') else { return (c == '[').then_some(1) };
    let end = first + 1 + length;
    let mut found = false;
    let mut at = first;
    while at < end {
        if at + 2 < end && pattern[at + 1] == '-' {
            found |= (pattern[at]..=pattern[at + 2]).contains(&c);
            at += 3;
        } else {
            found |= pattern[at] == c;
            at += 1;
        }
    }
    (found != negated && c != '/').then_some(end + 1)
}

/// The place of a run that a name means: `mel.knn`, or with a seed behind it, which is left off.
pub fn place(places: &[ModelKey], model: &str, run: &str) -> Result<ModelKey> {
    let named = |place: &&ModelKey| {
        let name = format!("{}.{}", place.0, place.1);
        let seed = model.strip_prefix(&name).and_then(|rest| rest.strip_prefix(".s"));
        model == name || seed.is_some_and(|seed| seed.parse::<u64>().is_ok())
    };
    if let Some(place) = places.iter().find(named) {
        return Ok(place.clone());
    }
    let there: Vec<String> = places.iter().map(|(features, model)| format!("{features}.{model}")).collect();
    let there = if there.is_empty() { "none yet".to_owned() } else { there.join(", ") };
    bail!(UserError::usage(format!("{run} has no model `{model}`, only: {there}")))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::sweep_runs::tests::sweep_json;
    use super::*;

    #[test]
    fn patterns_mean_what_they_mean_to_a_shell() {
        let cases = [
            ("lr_*", "lr_1e-3", true),
            ("lr_*", "lr/1", false),
            ("*/2026*", "lr/20260101T-ab", true),
            ("*", "a/b", false),
            ("a?c", "abc", true),
            ("a?c", "a/c", false),
            ("[a-c]x", "bx", true),
            ("[!a-c]x", "bx", false),
            ("[]x]", "]", true),
            ("[ab", "[ab", true),
            ("a*b*c", "a1b2b3c", true),
            ("a*b*c", "a1b2b3", false),
            ("**", "abc", true),
            ("", "", true),
            ("?", "", false),
        ];
        for (pattern, name, fits) in cases {
            assert_eq!(matches(pattern, name), fits, "{pattern} {name}");
        }
    }

    /// By trying every length of every star.
    fn slow(pattern: &[char], name: &[char]) -> bool {
        match pattern.first() {
            None => name.is_empty(),
            Some('*') => (0..=name.len()).any(|n| !name[..n].contains(&'/') && slow(&pattern[1..], &name[n..])),
            Some('?') => name.first().is_some_and(|c| *c != '/') && slow(&pattern[1..], &name[1..]),
            Some(c) => name.first() == Some(c) && slow(&pattern[1..], &name[1..]),
        }
    }

    proptest! {
        #[test]
        fn stars_are_tried_in_every_length(pattern in "[ab*?/]{0,7}", name in "[ab/]{0,8}") {
            let (p, n): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
            prop_assert_eq!(fits(&p, &n), slow(&p, &n), "{} {}", pattern, name);
        }
    }

    fn folder(runs: &Path, name: &str) -> PathBuf {
        let path = runs.join(name);
        std::fs::create_dir_all(&path).unwrap();
        std::fs::write(path.join("run.json"), "{}").unwrap();
        path
    }

    #[test]
    fn a_grid_is_the_runs_of_its_points_and_a_pattern_those_that_match() {
        let runs = tempfile::tempdir().unwrap();
        let [first, second, _alone, _other] =
            ["lr/1-a", "lr/2-b", "lr/3-c", "other/1-d"].map(|name| folder(runs.path(), name));
        let first_run = first.to_str();
        let record = sweep_json(&[Some("elsewhere/lr/2-b"), first_run, None, first_run, Some("gone/lr/9-z")]);
        std::fs::write(runs.path().join("lr/grid.json"), record).unwrap();
        let chosen = |name: &str| -> Vec<PathBuf> {
            select_runs(runs.path(), &[name.to_owned()]).unwrap().runs.into_iter().map(|one| one.path).collect()
        };
        assert_eq!(chosen("lr"), [second.clone(), first.clone()]);
        assert_eq!(chosen("l?/[12]*"), [first.clone(), second]);
        assert_eq!(chosen("*").len(), 2, "the newest of each experiment");
        let one = select_runs(runs.path(), &["lr/1-*:mel.knn".to_owned()]).unwrap();
        assert_eq!(one.runs[0].model.as_deref(), Some("mel.knn"));
        assert!(select_runs(runs.path(), &["z*".to_owned()]).unwrap_err().is::<UserError>());
    }

    #[test]
    fn what_wants_one_run_does_not_take_a_grid_for_its_last_point() {
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
    fn a_run_that_is_named_twice_is_chosen_once_and_that_is_said() {
        let runs = tempfile::tempdir().unwrap();
        let first = folder(runs.path(), "lr/1-a").display().to_string();
        let names = ["lr/1-*".to_owned(), first.clone(), format!("{first}:mel.knn")];
        let choice = select_runs(runs.path(), &names).unwrap();
        assert_eq!(choice.runs.len(), 2, "one model of a run is not the run");
        assert!(choice.runs[0].by_name && choice.notes[0].contains("named twice"), "{choice:?}");
    }

    #[test]
    fn a_model_is_named_with_its_features_and_a_seed_may_stand_behind() {
        let places = [("mel".to_owned(), "knn".to_owned()), ("mel".to_owned(), "knn.s1".to_owned())];
        assert_eq!(place(&places, "mel.knn", "x").unwrap().1, "knn");
        assert_eq!(place(&places, "mel.knn.s12", "x").unwrap().1, "knn");
        let error = place(&places, "mel.cnn", "x").unwrap_err();
        assert!(error.is::<UserError>() && error.to_string().contains("only: mel.knn, mel.knn.s1"), "{error}");
    }
}
