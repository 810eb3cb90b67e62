//! Finds the runs of a sweep.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use serde::Deserialize;

use timbre_runs::run_dir::{self, WhichRun};

pub struct SweepRuns {
    pub runs: Vec<PathBuf>,
    /// Why runs are missing, or why there may be too many.
    pub note: Option<String>,
}

#[derive(Deserialize)]
struct Grid {
    points: Vec<Point>,
}

#[derive(Deserialize)]
struct Point {
    run: Option<PathBuf>,
}

/// The runs of the sweep with that experiment name, in the order of its grid points. None if the name is not a sweep.
pub fn of_sweep(runs: &Path, name: &str) -> Result<Option<SweepRuns>> {
    let home = [runs.join(name), PathBuf::from(name)].into_iter().find(|home| home.join("grid.json").is_file());
    let Some(home) = home else { return Ok(None) };
    let file = home.join("grid.json");
    let grid = std::fs::read(&file).map_err(|error| error.to_string());
    let grid = grid.and_then(|bytes| serde_json::from_slice::<Grid>(&bytes).map_err(|error| error.to_string()));
    let points = match grid {
        Ok(grid) => runs_of_points(runs, &home, grid.points),
        // The next start of the sweep rewrites the file. Until then, too many runs are better than one.
        Err(why) => SweepRuns {
            runs: run_dir::run_folders(&home).into_iter().filter(|run| run_dir::has_record(run)).collect(),
            note: Some(format!(
                "{} cannot be read ({why}): every run of {} is shown; the same `timbre run` repairs it",
                file.display(),
                home.display()
            )),
        },
    };
    if points.runs.is_empty() {
        bail!(WhichRun::none(format!("the sweep `{name}` has no run yet (see `timbre runs`)")));
    }
    Ok(Some(points))
}

fn runs_of_points(runs: &Path, home: &Path, points: Vec<Point>) -> SweepRuns {
    let all = points.len();
    let mut missing = 0;
    let mut found: Vec<PathBuf> = Vec::new();
    for point in points {
        let run = point.run.and_then(|run| {
            // Relative to the folder of runs (possibly in another experiment), or beside the sweep if the folders have moved.
            let beside = run.file_name().map(|name| home.join(name));
            [Some(runs.join(&run)), Some(run), beside].into_iter().flatten().find(|run| run_dir::has_record(run))
        });
        match run {
            Some(run) if !found.contains(&run) => found.push(run),
            Some(_) => {}
            None => missing += 1,
        }
    }
    let name = home.file_name().unwrap_or_default().to_string_lossy();
    let note = format!("{missing} of the {all} points of the sweep {name} have no run and are not shown");
    SweepRuns { runs: found, note: (missing > 0).then_some(note) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grid(text: &str) -> (tempfile::TempDir, Result<Option<SweepRuns>>) {
        let runs = tempfile::tempdir().unwrap();
        for name in ["lr/1-a", "lr/2-b"] {
            std::fs::create_dir_all(runs.path().join(name)).unwrap();
            std::fs::write(runs.path().join(name).join("run.json"), "{}").unwrap();
        }
        std::fs::write(runs.path().join("lr/grid.json"), text).unwrap();
        let found = of_sweep(runs.path(), "lr");
        (runs, found)
    }

    #[test]
    fn points_without_a_run_are_counted() {
        let (_runs, found) = grid(r#"{"points": [{"run": "lr/1-a"}, {"run": "lr/9-z"}, {"run": null}]}"#);
        let found = found.unwrap().unwrap();
        assert_eq!(found.runs.len(), 1);
        assert!(found.note.unwrap().starts_with("2 of the 3 points of the sweep lr have no run"));
    }

    #[test]
    fn an_unreadable_sweep_record_shows_every_run_with_a_note() {
        let (_runs, found) = grid(r#"{"points": [{"ru"#);
        let found = found.unwrap().unwrap();
        assert_eq!(found.runs.len(), 2);
        assert!(found.note.unwrap().contains("grid.json cannot be read (EOF"));
    }

    #[test]
    fn a_sweep_without_runs_is_not_the_last_run_of_its_experiment() {
        let (_runs, found) = grid(r#"{"points": [{"run": null}]}"#);
        assert!(found.err().unwrap().is::<WhichRun>());
    }
}
