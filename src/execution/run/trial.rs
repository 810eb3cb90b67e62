//! One unit: one model on one feature with one seed, from its features to its record in the run's folder.

use std::sync::Mutex;
use std::time::Instant;

use anyhow::Result;
use serde_json::json;

use super::Work;
use super::material::Selection;
use super::scoring::{Done, headline};
use super::sets::Sets;
use super::writing;
use timbre_inputs::data::split::Splits;
use timbre_inputs::dataset::feature_set::FeatureSet;

use timbre_core::files;
use timbre_core::labels::Task;
use timbre_core::seed::Seed;
use timbre_evaluation::metrics::{Decisions, Metric};
use timbre_evaluation::predictions::{Predictions, WindowPredictions};
use timbre_models::{Classifier, Epoch, FitContext, RateCurve, TrainingCallback, ValidationCurve};
use timbre_reports::plot;
use timbre_runs::exports::tensorboard;
use timbre_runs::run_dir::{self, ClipTruth, CurvePoint, ModelRecord, SplitRecord, Trial, TrialRecord, Versions};

/// One name for all starts of a run: the file grows by a record an epoch, and a resumed run goes on in it.
const TENSORBOARD: &str = "events.out.tfevents.timbre";

/// A metric of what was said.
type Score<'a> = &'a dyn Fn(&Decisions) -> Option<f64>;

impl Work<'_> {
    /// Fits one model on one feature and lets it speak about every other side of the split.
    pub(super) fn unit(
        &self,
        unit: &Trial,
        selection: &Selection,
        splits: &Splits,
        done: &Done,
    ) -> Result<TrialRecord> {
        let sets = Sets {
            experiment: self.experiment,
            extraction: self.extraction,
            material: self.material,
            trial: unit,
            selection,
        };
        // Epochs are judged on the clips of the validation side also where its windows are judged in the end: an epoch should
        // not take longer for it, and what is chosen is the epoch, not a threshold.
        let (train, validation) = (sets.for_training(&splits.train)?, sets.of(&splits.validation)?);
        let callback = RunCallback { work: self, trial: unit, done: &done.units, history: Mutex::default() };
        let clock = Instant::now();
        let model = self.fit(unit, &train, (!validation.is_empty()).then_some(&validation), &callback)?;
        let fit_seconds = clock.elapsed().as_secs_f64();
        let clock = Instant::now();
        let sides = splits.judged().into_iter().filter(|(_, rows)| !rows.is_empty());
        let records: Vec<SplitRecord> =
            sides.map(|(name, rows)| self.spoken(model.as_ref(), name, rows, &sets)).collect::<Result<_>>()?;
        let predict_seconds = clock.elapsed().as_secs_f64();
        if self.experiment.save_models {
            self.save(unit, model.as_ref())?;
        }
        let finished = TrialRecord {
            trial: unit.clone(),
            trained_on: counts(train.labels(), train.n_classes()),
            windows_hash: self.dir.write_windows(unit, &records)?,
            splits: records,
            epochs: callback.history.into_inner().expect("no onlooker panics"),
            notes: model.notes().into_iter().collect(),
            fit_seconds,
            predict_seconds,
        };
        self.dir.write_trial(&finished)?;
        self.dir.remove_checkpoints(unit);
        let seconds = json!({ "fit": fit_seconds, "predict": predict_seconds });
        let epochs = finished.epochs.len();
        self.dir.log(
            "unit",
            json!({ "unit": unit.to_string(), "fit_seconds": fit_seconds, "seconds": seconds, "epochs": epochs, "notes": finished.notes }),
        );
        Ok(finished)
    }

    fn fit(
        &self,
        unit: &Trial,
        train: &FeatureSet,
        validation: Option<&FeatureSet>,
        callback: &RunCallback,
    ) -> Result<Box<dyn Classifier>> {
        let spec = self.experiment.models[&unit.model].as_kind();
        let checkpoints = self.dir.checkpoints(unit);
        let context = FitContext {
            seed: Seed::new(unit.seed).child("fit").child(unit),
            decision_rule: self.decision_rule(),
            validation,
            device: &self.settings.device,
            checkpoints: spec.as_network().is_some().then_some(&checkpoints),
            stop: &self.settings.stop,
            printer: self.settings.printer,
            callback,
        };
        spec.fit(train, &context)
    }

    /// What the model says of one side of the split: of its clips, or of every window of its recordings.
    fn spoken(&self, model: &dyn Classifier, split: &str, rows: &[usize], sets: &Sets) -> Result<SplitRecord> {
        let decision_rule = self.decision_rule();
        let starts = self.experiment.evaluate.windows().map(|_| sets.starts(rows));
        let set = if starts.is_some() { sets.in_windows(rows)? } else { sets.of(rows)? };
        let (said, curve) = model.predict_with_curve(&set)?;
        let in_windows = |said: Predictions| starts.as_ref().map(|starts| WindowPredictions::new(said, starts));
        let labels = sets.labels(rows);
        let verdict = |said: &Predictions| decision_rule.decide_recordings(said, in_windows(said.clone()).as_ref());
        // Of one label the curve has always been drawn in accuracy.
        let (metric, score): (Metric, Score) = match decision_rule.task {
            Task::SingleLabel => (Metric::Accuracy, &|said| {
                decision_rule.score(&labels, &said.decided, set.n_classes()).metrics.get("accuracy").copied()
            }),
            Task::MultiLabel => {
                (self.experiment.evaluate.metric(), &|said| headline(self.experiment, &decision_rule, &labels, said))
            }
        };
        let along = |curve: ValidationCurve| {
            let point = |(value, said): &(f64, Predictions)| CurvePoint {
                parameter: curve.parameter.clone(),
                value: *value,
                metric: metric.name().to_owned(),
                score: score(&verdict(said)),
            };
            curve.points.iter().map(point).collect()
        };
        let curve = curve.map_or(Vec::new(), along);
        let windows = in_windows(said.clone());
        let predictions = decision_rule.decide_recordings(&said, windows.as_ref()).scores;
        let clip = |&row: &usize| {
            let clip = &self.material.set.records[sets.selection.clips[row]];
            ClipTruth { path: clip.id.clone(), song: clip.group.clone(), truth: clip.labels.clone() }
        };
        Ok(SplitRecord { split: split.to_owned(), clips: rows.iter().map(clip).collect(), predictions, windows, curve })
    }

    fn save(&self, unit: &Trial, model: &dyn Classifier) -> Result<()> {
        let (feature, spec) = (&self.experiment.features[&unit.features], &self.experiment.models[&unit.model]);
        let record = ModelRecord {
            schema: run_dir::SCHEMA,
            classes: self.material.set.classes.clone(),
            audio: self.experiment.audio.clone(),
            feature: feature.clone(),
            model: spec.clone(),
            decision_rule: self.decision_rule(),
            window: self.experiment.evaluate.windows(),
            versions: Versions::now(feature, spec),
        };
        self.dir.write_model(unit, &model.tensors()?, &record)
    }
}

/// Clips of each class.
fn counts(labels: &[Vec<usize>], n_classes: usize) -> Vec<usize> {
    let mut counts = vec![0; n_classes];
    labels.iter().flatten().for_each(|&label| counts[label] += 1);
    counts
}

/// Writes down what a network does while it is trained.
struct RunCallback<'a> {
    work: &'a Work<'a>,
    trial: &'a Trial,
    done: &'a [TrialRecord],
    history: Mutex<Vec<Epoch>>,
}

impl TrainingCallback for RunCallback<'_> {
    fn on_epoch_end(&self, history: &[Epoch]) -> Result<()> {
        *self.history.lock().expect("no onlooker panics") = history.to_vec();
        let folder = self.work.dir.network_folder(self.trial)?;
        tensorboard::write(&folder.join(TENSORBOARD), history)?;
        let curves = plot::learning_curves(&self.trial.to_string(), history);
        files::write_bytes(&folder.join("epochs.svg"), curves.as_bytes())?;
        writing::write_epochs(self.work.dir, self.done, Some((self.trial, history)))
    }

    fn on_rates_found(&self, curve: &RateCurve) -> Result<()> {
        let folder = self.work.dir.network_folder(self.trial)?;
        files::write_bytes(
            &folder.join("rate_finder.svg"),
            plot::rate_finder(&self.trial.to_string(), curve).as_bytes(),
        )?;
        files::write_bytes(&folder.join("rate_finder.json"), &serde_json::to_vec_pretty(curve)?)
    }
}
