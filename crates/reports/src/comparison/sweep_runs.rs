//! The runs of a grid, as far as they are there.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use serde::Deserialize;

use timbre_core::error::UserError;
use timbre_runs::run_dir;

pub struct SweepRuns {
    pub runs: Vec<PathBuf>,
    /// Why they are not all, or perhaps others.
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

/// The runs of a grid, by the name of its experiment, in the order of its points; nothing of what is no grid.
pub fn of_grid(runs: &Path, name: &str) -> Result<Option<SweepRuns>> {
    let home = [runs.join(name), PathBuf::from(name)].into_iter().find(|home| home.join("grid.json").is_file());
    let Some(home) = home else { return Ok(None) };
    let file = home.join("grid.json");
    let grid = std::fs::read(&file).map_err(|error| error.to_string());
    let grid = grid.and_then(|bytes| serde_json::from_slice::<Grid>(&bytes).map_err(|error| error.to_string()));
    let points = match grid {
        Ok(grid) => of_points(runs, &home, grid.points),
        // The same grid again writes it anew; until then it is better to show too many than one.
        Err(why) => SweepRuns {
            runs: run_dir::run_folders(&home).into_iter().filter(|run| run_dir::has_record(run)).collect(),
            note: Some(format!(
                "{} cannot be read ({why}): shown is every run of {}; the same `timbre run` again repairs it",
                file.display(),
                home.display()
            )),
        },
    };
    if points.runs.is_empty() {
        bail!(UserError::usage(format!("the grid `{name}` has no run yet (see `timbre runs`)")));
    }
    Ok(Some(points))
}

fn of_points(runs: &Path, home: &Path, points: Vec<Point>) -> SweepRuns {
    let all = points.len();
    let mut missing = 0;
    let mut found: Vec<PathBuf> = Vec::new();
    for point in points {
        let there = point.run.and_then(|run| {
            // Below the folder of runs, perhaps in that of another experiment; or beside the grid where it has moved.
            let beside = run.file_name().map(|name| home.join(name));
            [Some(runs.join(&run)), Some(run), beside].into_iter().flatten().find(|run| run_dir::has_record(run))
        });
        match there {
            Some(run) if !found.contains(&run) => found.push(run),
            Some(_) => {}
            None => missing += 1,
        }
    }
    let name = home.file_name().unwrap_or_default().to_string_lossy();
    let note = format!("{missing} of the {all} points of the grid {name} have no run (any more) and are not shown");
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
        let found = of_grid(runs.path(), "lr");
        (runs, found)
    }

    #[test]
    fn points_whose_run_is_gone_are_counted() {
        let (_runs, found) = grid(r#"{"points": [{"run": "lr/1-a"}, {"run": "lr/9-z"}, {"run": null}]}"#);
        let found = found.unwrap().unwrap();
        assert_eq!(found.runs.len(), 1);
        assert!(found.note.unwrap().starts_with("2 of the 3 points of the grid lr have no run"));
    }

    #[test]
    fn of_a_grid_that_cannot_be_read_every_run_is_shown_and_that_is_said() {
        let (_runs, found) = grid(r#"{"points": [{"ru"#);
        let found = found.unwrap().unwrap();
        assert_eq!(found.runs.len(), 2);
        assert!(found.note.unwrap().contains("grid.json cannot be read (EOF"));
    }

    #[test]
    fn a_grid_without_runs_is_not_the_last_run_of_its_experiment() {
        let (_runs, found) = grid(r#"{"points": [{"run": null}]}"#);
        assert!(found.err().unwrap().is::<UserError>());
    }
}
