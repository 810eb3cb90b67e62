//! Reads the data of a report from the run folder.

use std::cmp::Reverse;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::comparison::recordings;
use crate::plot::PAGE_WIDTH;
use timbre_core::labels::{Classes, Task};
use timbre_evaluation::metrics::DecisionRule;
use timbre_experiment::Experiment;
use timbre_inputs::data::irmas;
use timbre_models::Epoch;
use timbre_runs::run_dir::{self, ResultRow, RunRecord, SplitRecord, Table, Trial, TrialRecord};
use timbre_runs::tables::{self, ScoreGrid, ScoredSplit, cell, have_no_songs};

/// Everything that a report shows.
pub struct ReportData {
    pub path: PathBuf,
    pub record: RunRecord,
    pub experiment: Experiment,
    /// The content of `config.toml`.
    pub written: String,
    /// The content of `config.resolved.toml`.
    pub resolved: String,
    pub classes: Classes,
    /// The names of the classes for people: `violin` for `vio` of IRMAS.
    pub names: Classes,
    pub decision_rule: DecisionRule,
    pub grid: ScoreGrid,
    /// The models, best first.
    pub ranked: Vec<RankedModel>,
    /// The split that ranks the models: validation if there is one, otherwise the one that is shown.
    pub ranked_on: String,
    /// Whether the data set names no songs, so that every file counts as one.
    pub has_no_songs: bool,
    /// The width of figures, in SVG units without margins.
    pub figure_width: f64,
}

/// One model on one feature, over its seeds.
pub struct RankedModel {
    pub features: String,
    pub model: String,
    /// The rows on the split that is shown, in the order of the seeds.
    pub rows: Vec<ResultRow>,
    pub mean: f64,
    /// The mean on the split that ranks.
    pub rank_by: f64,
}

impl RankedModel {
    pub fn name(&self) -> String {
        format!("{}.{}", self.features, self.model)
    }

    pub fn trials(&self) -> impl Iterator<Item = &Trial> {
        self.rows.iter().map(|row| &row.trial)
    }
}

impl ReportData {
    pub fn read(run: &Path) -> Result<ReportData> {
        let record = run_dir::read_record(run)?;
        let resolved_path = run_dir::resolved_config(run);
        let read =
            |path: &Path| std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()));
        let experiment = timbre_experiment::load_from_run(&resolved_path, &[])
            .with_context(|| format!("cannot parse {}", resolved_path.display()))?;
        let classes = Classes::new(&record.classes);
        let grid = ScoreGrid::new(&record.results, &record.metric);
        let has_validation = record.results.iter().any(|row| row.split == "validation" && !row.is_baseline());
        let ranked_on = if has_validation { "validation".to_owned() } else { grid.split.clone() };
        let recordings = recordings(run).unwrap_or_default();
        Ok(ReportData {
            has_no_songs: have_no_songs(recordings.iter().map(|r| (r.path.as_str(), r.song.as_str()))),
            decision_rule: experiment.evaluate.decision_rule(&classes),
            ranked: ranked(&record, &grid.split, &ranked_on),
            written: read(&run_dir::written_config(run))?,
            resolved: read(&resolved_path)?,
            path: run.to_owned(),
            ranked_on,
            experiment,
            names: Classes::new(record.classes.iter().map(|class| irmas::display_name(&classes, class))),
            classes,
            grid,
            record,
            figure_width: PAGE_WIDTH,
        })
    }

    pub fn metric(&self) -> &str {
        &self.record.metric
    }

    /// The split that is shown: the test split if there is one.
    pub fn split(&self) -> &str {
        &self.grid.split
    }

    /// The number of models that equal the best one on the split that ranks, including itself.
    pub fn equal_to_the_best(&self) -> usize {
        let best = self.ranked.first().map_or(f64::NAN, |best| best.rank_by);
        self.ranked.iter().filter(|own| (own.rank_by - best).abs() < 1e-9).count()
    }

    pub fn has_several_labels(&self) -> bool {
        self.decision_rule.task == Task::MultiLabel
    }

    /// The trial records of the best `most` models with their first seed. Unreadable ones are left out: the run is older than the form
    /// of the record, or was cleaned.
    pub fn shown(&self, most: usize) -> Vec<TrialRecord> {
        let first = self.ranked.iter().filter_map(|ranked| ranked.trials().next());
        first.take(most).filter_map(|trial| run_dir::read_trial(&self.path, trial)).collect()
    }

    /// The epochs of the other seeds of a trial's model.
    pub fn epochs_of_other_seeds(&self, trial: &Trial) -> Vec<Vec<Epoch>> {
        let is_same = |own: &&RankedModel| own.features == trial.features && own.model == trial.model;
        let others = self.ranked.iter().filter(is_same).flat_map(RankedModel::trials).filter(|own| *own != trial);
        let epochs = others.filter_map(|own| Some(run_dir::read_trial(&self.path, own)?.epochs));
        epochs.filter(|epochs| !epochs.is_empty()).collect()
    }

    /// The split of a trial that is shown.
    pub fn split_of<'a>(&self, trial: &'a TrialRecord) -> Option<&'a SplitRecord> {
        let is_shown = |split: &&SplitRecord| split.split == self.split() && !split.clips.is_empty();
        trial.splits.iter().filter(|_| trial.fits(self.decision_rule.task)).find(is_shown)
    }

    /// Precision, recall and F1 of each class over the seeds of a model, as `0.712 ± 0.013`; empty with one seed.
    pub fn class_means(&self, trial: &Trial) -> Vec<[String; 3]> {
        let table = match self.record.seeds.len() {
            0 | 1 => return Vec::new(),
            _ => tables::read_csv(&self.path.join(Table::PerClass.file())).unwrap_or_default(),
        };
        let has = |row: usize, column: &str, value: &str| table.get(column).is_some_and(|cells| cells[row] == value);
        let rows = table.get("class").map_or(0, Vec::len);
        let of_class = |class: &String| {
            ["precision", "recall", "f1"].map(|score| {
                let wanted = [("features", &trial.features), ("model", &trial.model), ("class", class)];
                let own = (0..rows)
                    .filter(|&row| wanted.iter().all(|(column, value)| has(row, column, value)))
                    .filter(|&row| has(row, "split", self.split()));
                cell(&own.filter_map(|row| table.get(score)?[row].parse().ok()).collect::<Vec<f64>>())
            })
        };
        self.classes.names().iter().map(of_class).collect()
    }

    /// The scores of a trial on the split that is shown.
    pub fn scored<'a>(&self, trial: &'a TrialRecord) -> Option<ScoredSplit<'a>> {
        Some(ScoredSplit::new(&trial.trial, self.split_of(trial)?, &self.decision_rule))
    }
}

fn ranked(record: &RunRecord, split: &str, ranked_on: &str) -> Vec<RankedModel> {
    let mut all: Vec<RankedModel> = Vec::new();
    for row in record.results.iter().filter(|row| row.split == split && !row.is_baseline()) {
        match all.iter_mut().find(|own| own.features == row.trial.features && own.model == row.trial.model) {
            Some(own) => own.rows.push(row.clone()),
            None => all.push(RankedModel {
                features: row.trial.features.clone(),
                model: row.trial.model.clone(),
                rows: vec![row.clone()],
                mean: f64::NAN,
                rank_by: f64::NAN,
            }),
        }
    }
    let value = |row: &ResultRow| row.metrics.get(&record.metric).copied();
    for own in &mut all {
        let ranking = record
            .results
            .iter()
            .filter(|row| row.split == ranked_on && row.trial.features == own.features && row.trial.model == own.model);
        own.rank_by = mean(ranking.filter_map(value));
        own.mean = mean(own.rows.iter().filter_map(value));
    }
    // Models without a value come last; equal models keep their order.
    let key = |value: f64| if value.is_nan() { f64::NEG_INFINITY } else { value };
    all.sort_by(|a, b| key(b.rank_by).total_cmp(&key(a.rank_by)));
    all
}

/// The mean. NaN without values.
pub fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, n) = values.fold((0.0, 0usize), |(sum, n), value| (sum + value, n + 1));
    sum / n as f64
}

/// Class indices sorted by F1, best first. Equal classes keep their order.
pub fn by_f1(scored: &ScoredSplit) -> Vec<usize> {
    let mut order: Vec<usize> = (0..scored.scores.per_class.len()).collect();
    let key = |class: &usize| (scored.scores.per_class[*class].f1 * 1e9) as u64;
    order.sort_by_key(|class| Reverse(key(class)));
    order
}
