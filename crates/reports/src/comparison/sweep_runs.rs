//! Finds the runs of a sweep.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use timbre_core::error::UserError;
use timbre_runs::{
    run_dir,
    sweep_record::{PointRecord, SweepDir},
};

pub struct SweepRuns {
    pub runs: Vec<PathBuf>,
    /// Why runs may be missing, or others included.
    pub note: Option<String>,
}

/// The runs of a sweep in the order of its points, by the name of its experiment; None if there is no sweep of that name.
pub fn of_sweep(runs: &Path, name: &str) -> Result<Option<SweepRuns>> {
    let Some(sweep) = SweepDir::find(runs, name) else { return Ok(None) };
    let found = match sweep.read() {
        Ok(record) => runs_of_points(name, &sweep, record.points),
        // The next start of the sweep repairs the file; until then too many runs are better than one.
        Err(error) => SweepRuns {
            runs: sweep.runs_here(),
            note: Some(format!(
                "{error:#}: showing every run of `{name}`; the same `timbre run` again repairs the file"
            )),
        },
    };
    if found.runs.is_empty() {
        bail!(UserError::usage(format!("the sweep `{name}` has no runs yet (see `timbre runs`)")));
    }
    Ok(Some(found))
}

fn runs_of_points(name: &str, sweep: &SweepDir, points: Vec<PointRecord>) -> SweepRuns {
    let (all, rescored) = (points.len(), points.iter().filter(|point| point.rescored).count());
    let mut missing = 0;
    let mut found: Vec<PathBuf> = Vec::new();
    for point in points {
        let run = point.run.and_then(|run| {
            // A run that is not at its path may be beside the sweep, if the folder was moved.
            let beside = run.file_name().and_then(|name| Some(sweep.file().parent()?.join(name)));
            [Some(run), beside].into_iter().flatten().find(|run| run_dir::has_record(run))
        });
        match run {
            Some(run) if !found.contains(&run) => found.push(run),
            Some(_) => {}
            None => missing += 1,
        }
    }
    let note = match rescored {
        0 => format!("{missing} of the {all} points of the sweep {name} have no run and are not shown"),
        _ => format!(
            "{} of the {all} points of the sweep {name} have no run of their own and are not shown: grid_results.csv and grid.html have them",
            missing + rescored
        ),
    };
    SweepRuns { runs: found, note: (missing + rescored > 0).then_some(note) }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A `grid.json` whose points have these runs.
    pub fn sweep_json(runs: &[Option<&str>]) -> String {
        let point = |(number, run): (usize, &Option<&str>)| {
            serde_json::json!({
                "number": number + 1, "round": 1, "name": "k", "values": {}, "signature": null, "status": "done", "run": run,
                "units": 1,
            })
        };
        let points: Vec<_> = runs.iter().enumerate().map(point).collect();
        serde_json::json!({
            "schema": 1, "experiment": "lr", "description": "", "status": "done", "started": "", "ended": null, "axes": [],
            "points": points,
        })
        .to_string()
    }

    fn find(text: &str) -> (tempfile::TempDir, Result<Option<SweepRuns>>) {
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
        let (_runs, found) = find(&sweep_json(&[Some("lr/1-a"), Some("lr/9-z"), None]));
        let found = found.unwrap().unwrap();
        assert_eq!(found.runs.len(), 1);
        assert!(found.note.unwrap().starts_with("2 of the 3 points of the sweep lr have no run"));
    }

    #[test]
    fn every_run_is_shown_with_a_note_if_the_record_cannot_be_parsed() {
        let (_runs, found) = find(r#"{"points": [{"ru"#);
        let found = found.unwrap().unwrap();
        assert_eq!(found.runs.len(), 2);
        assert!(found.note.unwrap().contains("showing every run"));
    }

    #[test]
    fn a_sweep_without_runs_is_an_error() {
        let (_runs, found) = find(&sweep_json(&[None]));
        assert!(found.err().unwrap().is::<UserError>());
    }
}
