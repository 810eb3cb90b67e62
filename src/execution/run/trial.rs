//! Runs one trial: fits one model on one feature with one seed, predicts the other subsets, and writes its record.

use std::sync::{Arc, Mutex};
use std::time::Instant;

use anyhow::Result;
use indexmap::IndexMap;
use rayon::prelude::*;
use serde_json::json;

use super::reuse::EarlierFit;
use super::scoring::{self, FinishedTrials, bootstrap_seed};
use super::select::Selection;
use super::trial_data::TrialData;
use super::{Run, tables};
use timbre_core::{
    files,
    labels::{Labels, Task},
    progress::duration,
    seed::Seed,
};
use timbre_evaluation::{
    metrics::Metric,
    predictions::{Predictions, WindowPredictions},
};
use timbre_inputs::{
    data::{ClipRecord, split::Splits},
    dataset::{feature_set::FeatureSet, tags::TagValues},
};
use timbre_models::training_distance::{self, TrainingDistance};
use timbre_models::{Classifier, Epoch, FitContext, RateCurve, SearchResults, TrainingCallback, ValidationCurve};
use timbre_runs::exports::tensorboard;
use timbre_runs::run_dir::{
    self, ClipTruth, CurvePoint, ModelRecord, NetworkFile, SplitRecord, Trial, TrialRecord, Versions,
};

impl Run<'_> {
    /// Fits the model on the training subset, and predicts every other subset.
    pub(super) fn run_trial(
        &self,
        trial: &Trial,
        selection: &Selection,
        splits: &Splits,
        done: &FinishedTrials,
    ) -> Result<TrialRecord> {
        let (experiment, extraction, dataset) = (self.experiment, self.extraction, self.data);
        let mut data = TrialData { experiment, extraction, dataset, trial, selection, tags: TagValues::default() };
        let fitted = match &self.data.models_from {
            Some(source) => {
                let (model, record, tags) = source.model(trial, &self.settings.device)?;
                data.tags = tags;
                Fitted::earlier(EarlierFit { model, record })
            }
            None => {
                data.tags = data.tag_values(&splits.train)?;
                self.fit_or_restore(trial, splits, &data, done)?
            }
        };
        let Fitted { model, trained_on, search, notes, epochs, seconds: fit_seconds } = fitted;
        let clock = Instant::now();
        let subsets = splits.evaluated().into_iter().filter(|(_, rows)| !rows.is_empty());
        let records: Vec<SplitRecord> =
            subsets.map(|(name, rows)| self.predict(model.as_ref(), name, rows, &data)).collect::<Result<_>>()?;
        let predict_seconds = clock.elapsed().as_secs_f64();
        if self.experiment.save_models {
            let distance = self.training_distance(&data, splits)?;
            self.save(&data, model.as_ref(), search.as_ref(), distance.as_deref())?;
        }
        let finished = TrialRecord {
            trial: trial.clone(),
            trained_on,
            windows_hash: self.dir.write_windows(trial, &records)?,
            splits: records,
            epochs,
            search,
            notes,
            fit_seconds,
            predict_seconds,
        };
        self.dir.write_trial(&finished)?;
        self.dir.remove_checkpoints(trial);
        tracing::info!("{trial}: fit {}, predict {}", duration(fit_seconds), duration(predict_seconds));
        let seconds = json!({ "fit": fit_seconds, "predict": predict_seconds });
        let epochs = finished.epochs.len();
        self.dir.log(
            "unit",
            json!({ "unit": trial.to_string(), "fit_seconds": fit_seconds, "seconds": seconds, "epochs": epochs, "notes": finished.notes }),
        );
        Ok(finished)
    }

    /// Fits the model, unless another run has fitted it in the same way.
    fn fit_or_restore(
        &self,
        trial: &Trial,
        splits: &Splits,
        data: &TrialData,
        done: &FinishedTrials,
    ) -> Result<Fitted> {
        if let Some(earlier) = self.earlier_fit(trial, splits, data.selection)? {
            return Ok(Fitted::earlier(earlier));
        }
        // Early stopping uses the clips of the validation subset, also where the final evaluation uses windows: an epoch should
        // not take longer, and it chooses an epoch, not a threshold.
        let (train, validation) = (data.training_set(&splits.train)?, data.clips(&splits.validation)?);
        let train = self.with_teacher(train, data, &splits.train)?;
        let callback = WriteEpochs { run: self, trial, done: &done.trials, history: Mutex::default() };
        let clock = Instant::now();
        let model = self.fit(trial, &train, (!validation.is_empty()).then_some(&validation), &callback)?;
        Ok(Fitted {
            // The recordings come first, and their copies after them.
            trained_on: class_counts(&train.labels()[..splits.train.len()], train.n_classes()),
            search: model.search_results().cloned(),
            notes: model.notes().into_iter().collect(),
            epochs: callback.history.into_inner().expect("no callback panics"),
            seconds: clock.elapsed().as_secs_f64(),
            model,
        })
    }

    /// The training subset with what the teacher of the network predicts for its recordings, if it has one.
    fn with_teacher(&self, train: FeatureSet, data: &TrialData, rows: &[usize]) -> Result<FeatureSet> {
        let Some(network) = self.experiment.models[&data.trial.model].as_network() else { return Ok(train) };
        let Some(teacher) = &network.training().teacher else { return Ok(train) };
        let (set, clips) = (&self.data.set, &data.selection.clips);
        let records: Vec<&ClipRecord> = rows.iter().map(|&row| &set.records[clips[row]]).collect();
        let taught = self.data.teachers.predict(teacher, &records, &set.classes, self.settings)?;
        // The recordings come first, and their copies after them.
        let examples = train.len() / rows.len().max(1);
        Ok(train.with_teacher(taught.repeat(examples)))
    }

    fn fit(
        &self,
        trial: &Trial,
        train: &FeatureSet,
        validation: Option<&FeatureSet>,
        callback: &WriteEpochs,
    ) -> Result<Box<dyn Classifier>> {
        let spec = self.experiment.models[&trial.model].as_kind();
        let checkpoints = self.dir.checkpoints(trial);
        let name = trial.to_string();
        let context = FitContext {
            name: &name,
            seed: Seed::new(trial.seed).child("fit").child(trial),
            decision_rule: self.decision_rule(),
            classes: &self.data.set.classes,
            metric: self.experiment.evaluate.metric().name(),
            validation,
            device: &self.settings.device,
            checkpoints: spec.is_network().then_some(&checkpoints),
            stop: &self.settings.stop,
            printer: self.settings.printer,
            callback,
        };
        self.experiment.models[&trial.model].fit(train, &context)
    }

    /// Predicts one subset: its clips, or every window of its recordings.
    fn predict(&self, model: &dyn Classifier, split: &str, rows: &[usize], data: &TrialData) -> Result<SplitRecord> {
        let decision_rule = self.decision_rule();
        let starts = self.experiment.evaluate.windows().map(|_| data.window_starts(rows));
        let set = if starts.is_some() { data.windows(rows)? } else { data.clips(rows)? };
        let (raw, curve) = model.predict_with_curve(&set)?;
        let by_window = |raw: Predictions| starts.as_ref().map(|starts| WindowPredictions::new(raw, starts));
        let labels = data.labels(rows);
        let decide = |raw: &Predictions| decision_rule.decide_recordings(raw, by_window(raw.clone()).as_ref());
        // The curve of a single-label task has always shown accuracy.
        let metric = match decision_rule.task {
            Task::SingleLabel => Metric::Accuracy,
            Task::MultiLabel => self.experiment.evaluate.metric(),
        };
        let songs: Vec<&str> =
            rows.iter().map(|&row| self.data.set.records[data.selection.clips[row]].group.as_str()).collect();
        let points = |curve: ValidationCurve| {
            let point = |(value, raw): &(f64, Predictions)| {
                let decisions = decide(raw);
                let (score, interval) = scoring::with_interval(
                    self.experiment,
                    metric,
                    &labels,
                    &decisions,
                    &songs,
                    bootstrap_seed(data.trial, split),
                );
                let parameter = curve.parameter.clone();
                CurvePoint { parameter, value: *value, metric: metric.name().to_owned(), score, interval }
            };
            curve.points.iter().map(point).collect()
        };
        let curve = curve.map_or(Vec::new(), points);
        let windows = by_window(raw.clone());
        let predictions = decision_rule.decide_recordings(&raw, windows.as_ref()).scores;
        let clip = |&row: &usize| {
            let clip = &self.data.set.records[data.selection.clips[row]];
            ClipTruth { path: clip.id.clone(), song: clip.group.clone(), truth: clip.labels.clone() }
        };
        Ok(SplitRecord { split: split.to_owned(), clips: rows.iter().map(clip).collect(), predictions, windows, curve })
    }

    /// How far the features of the training recordings are from each other, with the limit that validation recordings keep. The models of
    /// a feature and a seed share it.
    fn training_distance(&self, data: &TrialData, splits: &Splits) -> Result<Option<Arc<TrainingDistance>>> {
        if let Some(source) = &self.data.models_from {
            return Ok(source.training_distance(data.trial)?.map(Arc::new));
        }
        let key = (data.trial.features.clone(), data.trial.seed);
        let known = || self.distances.lock().expect("no thread panics while it keeps a distance");
        if let Some(distance) = known().get(&key) {
            return Ok(distance.clone());
        }
        let distance = self.fit_distance(data, splits)?.map(Arc::new);
        known().insert(key, distance.clone());
        Ok(distance)
    }

    fn fit_distance(&self, data: &TrialData, splits: &Splits) -> Result<Option<TrainingDistance>> {
        let rows = &splits.validation;
        if rows.is_empty() {
            return Ok(None);
        }
        TrainingDistance::fit(&data.with_copies(&splits.train, &[])?, |fitted| {
            let (set, n_windows) = match self.experiment.evaluate.windows() {
                Some(_) => (data.untagged_windows(rows)?, data.window_starts(rows).iter().map(Vec::len).collect()),
                None => (data.with_copies(rows, &[])?, vec![1; rows.len()]),
            };
            let of_row = |matrix: &mut Vec<f32>, row: usize| {
                matrix.resize(set.dims(), 0.0);
                set.read_row(row, matrix)?;
                Ok(fitted.of(matrix, set.shape()))
            };
            let of_rows: Vec<Option<f64>> =
                (0..set.len()).into_par_iter().map_init(Vec::new, of_row).collect::<Result<_>>()?;
            let mut rows = of_rows.into_iter();
            let recordings = n_windows.into_iter().map(|n| rows.by_ref().take(n).flatten().collect());
            Ok(recordings.filter_map(training_distance::median).collect())
        })
    }

    fn save(
        &self,
        data: &TrialData,
        model: &dyn Classifier,
        search: Option<&SearchResults>,
        distance: Option<&TrainingDistance>,
    ) -> Result<()> {
        let trial = data.trial;
        let (feature, spec) = (&self.experiment.features[&trial.features], &self.experiment.models[&trial.model]);
        let record = ModelRecord {
            schema: run_dir::SCHEMA,
            classes: self.data.set.classes.clone(),
            audio: self.experiment.audio.clone(),
            feature: feature.clone(),
            model: spec.clone(),
            chosen: search.map_or_else(IndexMap::new, |search| search.chosen().params.clone()),
            decision_rule: self.decision_rule(),
            window: self.experiment.evaluate.windows(),
            tags: data.tags.clone(),
            versions: Versions::now(feature, spec, self.experiment.evaluate.task),
        };
        self.dir.write_model(trial, &model.tensors()?, distance, &record)
    }
}

/// A fitted model, and what its fit recorded.
struct Fitted {
    model: Box<dyn Classifier>,
    trained_on: Vec<usize>,
    search: Option<SearchResults>,
    notes: IndexMap<String, String>,
    epochs: Vec<Epoch>,
    seconds: f64,
}

impl Fitted {
    fn earlier(EarlierFit { model, record }: EarlierFit) -> Fitted {
        let TrialRecord { trained_on, search, notes, epochs, fit_seconds: seconds, .. } = record;
        Fitted { model, trained_on, search, notes, epochs, seconds }
    }
}

/// The number of clips of each class.
fn class_counts(labels: &[Labels], n_classes: usize) -> Vec<usize> {
    let mut counts = vec![0; n_classes];
    labels.iter().flatten().for_each(|&label| counts[label] += 1);
    counts
}

/// Writes the learning curves of a network while it is trained.
struct WriteEpochs<'a> {
    run: &'a Run<'a>,
    trial: &'a Trial,
    done: &'a [TrialRecord],
    history: Mutex<Vec<Epoch>>,
}

impl TrainingCallback for WriteEpochs<'_> {
    fn on_epoch_end(&self, history: &[Epoch]) -> Result<()> {
        *self.history.lock().expect("no callback panics") = history.to_vec();
        let dir = self.run.dir;
        tensorboard::write(&dir.network_file(self.trial, NetworkFile::TensorBoard)?, history)?;
        self.run.settings.artifacts.plot_learning_curves(dir, self.trial, history)?;
        tables::write_epochs(dir, self.run.experiment, self.done, Some((self.trial, history)))
    }

    fn on_rates_found(&self, curve: &RateCurve) -> Result<()> {
        let dir = self.run.dir;
        self.run.settings.artifacts.plot_learning_rates(dir, self.trial, curve)?;
        let json = serde_json::to_vec_pretty(curve)?;
        files::write_bytes(&dir.network_file(self.trial, NetworkFile::LearningRates)?, &json)
    }
}
