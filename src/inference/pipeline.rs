//! The inference pipeline: feature extractors and the fitted model, or ensemble of models, that they feed.
//!
//! The members of an ensemble come from one run and share its clips: each clip is cut once, and a feature that several members
//! need is computed once.

use std::ops::Range;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

use timbre_core::{labels::Classes, registry::Fault};
use timbre_evaluation::{metrics::DecisionRule, predictions::Predictions};
use timbre_inputs::{
    dataset::{feature_set::FeatureSet, row_source::RowSource},
    features::{ClipAnalysis, Extractor, FeatureMatrix, FeatureSpec},
};
use timbre_models::{Classifier, classic::fusion::Fusion, device::Device, training_distance::TrainingDistance};
use timbre_runs::run_dir::{self, EnsembleRecord};
use timbre_signal::{
    audio::{AudioSpec, Clip},
    windows::WindowSpec,
};

/// The features of one clip, in the order of the extractors.
pub type ClipFeatures = Vec<FeatureMatrix>;

/// A fitted model and its feature extractors.
pub struct InferencePipeline {
    extractors: Vec<(FeatureSpec, Box<dyn Extractor>)>,
    /// For each model with its own limit, the index of its feature in `extractors`, and the distance.
    distances: Vec<(usize, TrainingDistance)>,
    model: FittedModel,
    /// The model is a network or an ensemble with one.
    pub has_network: bool,
}

enum FittedModel {
    Model {
        /// Index of its feature in `extractors`.
        feature: usize,
        classifier: Box<dyn Classifier>,
    },
    Ensemble {
        fusion: Fusion,
        members: Vec<FittedModel>,
    },
}

/// The input and output of a saved model, as `model.json` describes them.
#[derive(Clone, Debug, PartialEq)]
pub struct InferenceSpec {
    pub classes: Classes,
    pub audio: AudioSpec,
    pub decision_rule: DecisionRule,
    pub window: Option<WindowSpec>,
}

impl InferencePipeline {
    /// Loads the model `name` of a run; with its members if it is an ensemble.
    pub fn read(run: &Path, name: &str, device: &Device) -> Result<(InferencePipeline, InferenceSpec)> {
        let mut loader = Loader {
            run,
            device,
            extractors: Vec::new(),
            distances: Vec::new(),
            has_network: false,
            parents: Vec::new(),
        };
        let (model, spec) = loader.load(name)?;
        let Loader { extractors, distances, has_network, .. } = loader;
        Ok((InferencePipeline { extractors, distances, model, has_network }, spec))
    }

    /// The distance of a clip from the training recordings, as a multiple of the limit; of an ensemble the smallest of its members.
    /// None for models that were saved without it.
    pub fn training_distance(&self, clip: &ClipFeatures) -> Option<f64> {
        let distance = |(feature, distance): &(usize, TrainingDistance)| {
            let FeatureMatrix { rows, cols, values } = &clip[*feature];
            distance.of(values, [*rows, *cols])
        };
        self.distances.iter().filter_map(distance).reduce(f64::min)
    }

    /// Whether [`training_distance`](Self::training_distance) is known.
    pub fn has_training_distance(&self) -> bool {
        !self.distances.is_empty()
    }

    pub fn extract(&self, clip: &Clip) -> Result<ClipFeatures> {
        let analysis = ClipAnalysis::new(clip);
        self.extractors.iter().map(|(_, extractor)| extractor.extract_finite(&analysis)).collect()
    }

    /// The probabilities of clips of equal length, one row per clip.
    pub fn predict(&self, clips: Vec<ClipFeatures>, n_classes: usize) -> Result<Vec<f32>> {
        let n = clips.len();
        let mut columns: Vec<Vec<FeatureMatrix>> = self.extractors.iter().map(|_| Vec::with_capacity(n)).collect();
        for features in clips {
            columns.iter_mut().zip(features).for_each(|(column, matrix)| column.push(matrix));
        }
        let sets = columns.into_iter().map(|column| feature_set(column, n_classes)).collect::<Result<Vec<_>>>()?;
        self.predict_sets(&sets, n, n_classes)
    }

    /// Predicts a made-up clip of this many samples, so that weights of another shape fail at start and not at the first
    /// request. Its features are made only where the model reads them: the length may be that of a damaged `model.json`.
    pub fn check_shape(&self, samples: usize, n_classes: usize) -> Result<()> {
        let made_up = |(spec, _): &(FeatureSpec, Box<dyn Extractor>)| {
            let shape = spec.as_kind().shape(samples);
            let shape =
                shape.with_context(|| format!("`{}` needs clips longer than {samples} samples", spec.kind()))?;
            Ok(FeatureSet::new(Box::new(MadeUp), shape, vec![vec![0].into()], n_classes))
        };
        let sets = self.extractors.iter().map(made_up).collect::<Result<Vec<_>>>()?;
        self.predict_sets(&sets, 1, n_classes).map(drop)
    }

    /// The probabilities of `n` clips, one row per clip; one set per extractor.
    fn predict_sets(&self, sets: &[FeatureSet], n: usize, n_classes: usize) -> Result<Vec<f32>> {
        let probabilities = self.model.predict(sets)?.probabilities;
        ensure!(
            probabilities.len() == n * n_classes && probabilities.iter().all(|p| p.is_finite()),
            "the model did not return a finite probability for each of its {n_classes} classes"
        );
        Ok(probabilities)
    }
}

/// Features with made-up values.
struct MadeUp;

impl RowSource for MadeUp {
    fn read(&self, _row: usize, columns: Range<usize>, out: &mut [f32]) -> Result<()> {
        out.iter_mut().zip(columns).for_each(|(out, column)| *out = if column % 100 < 50 { 0.1 } else { -0.1 });
        Ok(())
    }
}

fn feature_set(matrices: Vec<FeatureMatrix>, n_classes: usize) -> Result<FeatureSet> {
    let n = matrices.len();
    let shape = matrices.first().map_or([0, 0], |matrix| [matrix.rows, matrix.cols]);
    ensure!(
        matrices.iter().all(|matrix| [matrix.rows, matrix.cols] == shape),
        "the features of a batch have different shapes"
    );
    let mut matrices = matrices.into_iter().map(|matrix| matrix.values);
    let mut values = matrices.next().unwrap_or_default();
    values.reserve_exact(values.len() * n.saturating_sub(1));
    matrices.for_each(|matrix| values.extend(matrix));
    // A feature set has labels; prediction ignores them.
    Ok(FeatureSet::from_matrices(values, shape, vec![vec![0]; n], n_classes))
}

impl FittedModel {
    fn predict(&self, sets: &[FeatureSet]) -> Result<Predictions> {
        match self {
            FittedModel::Model { feature, classifier } => classifier.predict(&sets[*feature]),
            FittedModel::Ensemble { fusion, members } => {
                let predictions = members.iter().map(|member| member.predict(sets)).collect::<Result<Vec<_>>>()?;
                ensure!(
                    predictions.iter().all(|p| p.probabilities.len() == predictions[0].probabilities.len()),
                    "the members of the ensemble return different numbers of probabilities"
                );
                Ok(fusion.fuse(&predictions.iter().collect::<Vec<_>>()))
            }
        }
    }
}

/// Loads models from the folder of a run.
struct Loader<'a> {
    run: &'a Path,
    device: &'a Device,
    extractors: Vec<(FeatureSpec, Box<dyn Extractor>)>,
    distances: Vec<(usize, TrainingDistance)>,
    has_network: bool,
    /// The ensembles that contain the current model.
    parents: Vec<String>,
}

impl Loader<'_> {
    fn load(&mut self, name: &str) -> Result<(FittedModel, InferenceSpec)> {
        match run_dir::read_ensemble(self.run, name)? {
            Some((record, tensors)) => {
                let fusion = Fusion::restore(
                    record.fuse,
                    record.decision_rule.task,
                    record.weights.clone(),
                    tensors,
                    record.classes.len(),
                );
                let fusion = fusion.with_context(|| format!("the ensemble {name} cannot be restored"))?;
                self.ensemble(name, record, fusion)
            }
            None => self.model(name),
        }
    }

    fn model(&mut self, name: &str) -> Result<(FittedModel, InferenceSpec)> {
        let (saved, tensors) = run_dir::read_model(self.run, name)?;
        ensure!(!saved.classes.is_empty(), "it has no classes");
        super::check_audio(&saved.audio)?;
        if let Some(Fault { key, sentence }) = saved.model.as_kind().faults().into_iter().next() {
            bail!("`{key}`: {sentence}");
        }
        let feature = match self.extractors.iter().position(|(spec, _)| *spec == saved.feature) {
            Some(index) => index,
            None => {
                let extractor = saved.feature.as_kind().build(saved.audio.sample_rate)?;
                self.extractors.push((saved.feature, extractor));
                self.extractors.len() - 1
            }
        };
        let distance = run_dir::read_training_distance(self.run, name)?;
        self.distances.extend(distance.map(|distance| (feature, distance)));
        self.has_network |= saved.model.as_network().is_some();
        let classifier = saved.model.restore(tensors, saved.classes.len(), self.device)?;
        let spec = InferenceSpec {
            classes: saved.classes,
            audio: saved.audio,
            decision_rule: saved.decision_rule,
            window: saved.window,
        };
        Ok((FittedModel::Model { feature, classifier }, spec))
    }

    fn ensemble(&mut self, name: &str, record: EnsembleRecord, fusion: Fusion) -> Result<(FittedModel, InferenceSpec)> {
        ensure!(!self.parents.iter().any(|other| other == name), "the ensemble {name} contains itself");
        ensure!(
            record.members.len() == record.weights.len(),
            "the ensemble {name} has {} members and {} weights",
            record.members.len(),
            record.weights.len()
        );
        self.parents.push(name.to_owned());
        let mut members = Vec::new();
        let mut spec: Option<InferenceSpec> = None;
        for member in &record.members {
            let (model, own) =
                self.load(member).with_context(|| format!("the member {member} of the ensemble {name}"))?;
            let has_same_input = |one: &InferenceSpec| (&one.classes, &one.audio) == (&own.classes, &own.audio);
            ensure!(
                own.classes == record.classes && spec.as_ref().is_none_or(has_same_input),
                "the member {member} of the ensemble {name} has other classes or other clips than the rest"
            );
            members.push(model);
            spec.get_or_insert(own);
        }
        self.parents.pop();
        let audio = spec.context("the ensemble has no members")?.audio;
        let spec = InferenceSpec {
            classes: record.classes,
            audio,
            decision_rule: record.decision_rule,
            window: record.window,
        };
        Ok((FittedModel::Ensemble { fusion, members }, spec))
    }
}
