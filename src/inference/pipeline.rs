//! What stands between clips and probabilities: a model behind its front end, or an ensemble of such.
//!
//! The members of an ensemble come from one run, so they hear the same clips: each is cut once, and a feature that several of
//! them ask for is computed once.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

use timbre_core::labels::Classes;
use timbre_core::registry::Fault;
use timbre_evaluation::metrics::DecisionRule;
use timbre_evaluation::predictions::Predictions;
use timbre_inputs::dataset::feature_set::FeatureSet;
use timbre_inputs::features::{ClipAnalysis, Extractor, FeatureMatrix, FeatureSpec};
use timbre_models::Classifier;
use timbre_models::classic::fusion::Fusion;
use timbre_models::device::Device;
use timbre_runs::run_dir::{self, EnsembleRecord};
use timbre_signal::audio::{AudioSpec, Clip};
use timbre_signal::windows::WindowSpec;

/// The features of one clip, in the order of the front ends.
pub type ClipFeatures = Vec<FeatureMatrix>;

/// The models that are asked, and what they have to be shown.
pub struct InferencePipeline {
    fronts: Vec<(FeatureSpec, Box<dyn Extractor>)>,
    speaker: FittedModel,
    /// Whether a network is among them.
    pub has_network: bool,
}

enum FittedModel {
    Model {
        /// Which front end it stands behind.
        front: usize,
        classifier: Box<dyn Classifier>,
    },
    Ensemble {
        fusion: Fusion,
        members: Vec<FittedModel>,
    },
}

/// What the description of a model says of how it is asked.
#[derive(Clone, Debug, PartialEq)]
pub struct InferenceSpec {
    pub classes: Classes,
    pub audio: AudioSpec,
    pub decision_rule: DecisionRule,
    pub window: Option<WindowSpec>,
}

impl InferencePipeline {
    /// The saved model `name` of a run, with its members if it is an ensemble.
    pub fn read(run: &Path, name: &str, device: &Device) -> Result<(InferencePipeline, InferenceSpec)> {
        let mut reading = Reading { run, device, fronts: Vec::new(), has_network: false, above: Vec::new() };
        let (speaker, manner) = reading.speaker(name)?;
        Ok((InferencePipeline { fronts: reading.fronts, speaker, has_network: reading.has_network }, manner))
    }

    pub fn extract(&self, clip: &Clip) -> Result<ClipFeatures> {
        let analysis = ClipAnalysis::new(clip);
        self.fronts.iter().map(|(_, extractor)| extractor.extract(&analysis)).collect()
    }

    /// The probabilities of clips of one length, a row a clip.
    pub fn ask(&self, clips: Vec<ClipFeatures>, n_classes: usize) -> Result<Vec<f32>> {
        let n = clips.len();
        let mut columns: Vec<Vec<FeatureMatrix>> = self.fronts.iter().map(|_| Vec::with_capacity(n)).collect();
        for features in clips {
            columns.iter_mut().zip(features).for_each(|(column, matrix)| column.push(matrix));
        }
        let sets = columns.into_iter().map(|column| set(column, n_classes)).collect::<Result<Vec<_>>>()?;
        let probabilities = self.speaker.say(&sets)?.probabilities;
        ensure!(
            probabilities.len() == n * n_classes && probabilities.iter().all(|p| p.is_finite()),
            "the model gives no finite probability for each of its {n_classes} classes"
        );
        Ok(probabilities)
    }
}

fn set(matrices: Vec<FeatureMatrix>, n_classes: usize) -> Result<FeatureSet> {
    let n = matrices.len();
    let shape = matrices.first().map_or([0, 0], |matrix| [matrix.rows, matrix.cols]);
    ensure!(matrices.iter().all(|matrix| [matrix.rows, matrix.cols] == shape), "windows have features of one shape");
    let mut matrices = matrices.into_iter().map(|matrix| matrix.values);
    let mut values = matrices.next().unwrap_or_default();
    values.reserve_exact(values.len() * n.saturating_sub(1));
    matrices.for_each(|matrix| values.extend(matrix));
    // The classes are not looked at; a set has some a row.
    Ok(FeatureSet::from_matrices(values, shape, vec![vec![0]; n], n_classes))
}

impl FittedModel {
    fn say(&self, sets: &[FeatureSet]) -> Result<Predictions> {
        match self {
            FittedModel::Model { front, classifier } => classifier.predict(&sets[*front]),
            FittedModel::Ensemble { fusion, members } => {
                let said = members.iter().map(|member| member.say(sets)).collect::<Result<Vec<_>>>()?;
                ensure!(
                    said.iter().all(|p| p.probabilities.len() == said[0].probabilities.len()),
                    "the members of the ensemble give different numbers of probabilities"
                );
                Ok(fusion.fuse(&said.iter().collect::<Vec<_>>()))
            }
        }
    }
}

/// Models on their way from the folder of a run.
struct Reading<'a> {
    run: &'a Path,
    device: &'a Device,
    fronts: Vec<(FeatureSpec, Box<dyn Extractor>)>,
    has_network: bool,
    /// The ensembles that lead to the model in hand.
    above: Vec<String>,
}

impl Reading<'_> {
    fn speaker(&mut self, name: &str) -> Result<(FittedModel, InferenceSpec)> {
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
        ensure!(!saved.classes.is_empty(), "it knows no class");
        super::check_audio(&saved.audio)?;
        if let Some(Fault { key, sentence }) = saved.model.as_kind().faults().into_iter().next() {
            bail!("`{key}`: {sentence}");
        }
        let front = match self.fronts.iter().position(|(feature, _)| *feature == saved.feature) {
            Some(front) => front,
            None => {
                let extractor = saved.feature.as_kind().build(saved.audio.sample_rate)?;
                self.fronts.push((saved.feature, extractor));
                self.fronts.len() - 1
            }
        };
        self.has_network |= saved.model.as_kind().is_network();
        let classifier = saved.model.restore(tensors, saved.classes.len(), self.device)?;
        let manner = InferenceSpec {
            classes: saved.classes,
            audio: saved.audio,
            decision_rule: saved.decision_rule,
            window: saved.window,
        };
        Ok((FittedModel::Model { front, classifier }, manner))
    }

    fn ensemble(&mut self, name: &str, record: EnsembleRecord, fusion: Fusion) -> Result<(FittedModel, InferenceSpec)> {
        ensure!(!self.above.iter().any(|other| other == name), "the ensemble {name} is made of itself");
        ensure!(
            record.members.len() == record.weights.len(),
            "the ensemble {name} has {} members and {} weights",
            record.members.len(),
            record.weights.len()
        );
        self.above.push(name.to_owned());
        let mut members = Vec::new();
        let mut manner: Option<InferenceSpec> = None;
        for member in &record.members {
            let (speaker, own) =
                self.speaker(member).with_context(|| format!("the member {member} of the ensemble {name}"))?;
            let is_alike = |one: &InferenceSpec| (&one.classes, &one.audio) == (&own.classes, &own.audio);
            ensure!(
                own.classes == record.classes && manner.as_ref().is_none_or(is_alike),
                "the member {member} of the ensemble {name} knows other classes or hears other clips than the rest"
            );
            members.push(speaker);
            manner.get_or_insert(own);
        }
        self.above.pop();
        let audio = manner.context("an ensemble has members")?.audio;
        let manner = InferenceSpec {
            classes: record.classes,
            audio,
            decision_rule: record.decision_rule,
            window: record.window,
        };
        Ok((FittedModel::Ensemble { fusion, members }, manner))
    }
}
