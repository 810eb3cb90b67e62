//! Previews the training examples of a network without training it.

use anyhow::{Context, Result, anyhow};

use super::prepare::PreparedDataset;
use super::select::extraction_of;
use super::trial_data::TrialData;
use super::{Settings, trials_of};
use timbre_core::error::UserError;
use timbre_experiment::Experiment;
use timbre_inputs::{
    augment::Chain,
    dataset::{
        examples::{DrawRecord, TrainingExamples},
        tags::TagValues,
    },
};
use timbre_models::hyperparameters::TrainingCrop;
use timbre_runs::run_dir::Trial;

/// The training examples of one trial.
pub struct AugmentationPreview {
    pub trial: Trial,
    pub examples: TrainingExamples,
    pub classes: Vec<String>,
    pub sample_rate: u32,
    /// Bands and frames of an image.
    pub shape: [usize; 2],
    /// The number of epochs: how often training sees each clip.
    pub epochs: usize,
}

/// The first trial whose network trains on new examples in each epoch; of this model and seed if given.
pub fn preview_augmentation(
    experiment: &Experiment,
    settings: &Settings,
    model: Option<&str>,
    seed: Option<u64>,
) -> Result<AugmentationPreview> {
    let trial = chosen(experiment, model, seed).map_err(UserError::from_cause)?;
    let dataset = PreparedDataset::new(experiment, settings)?;
    let extraction = extraction_of(experiment)?;
    let selection = dataset.select(experiment, &extraction, &settings.feature_cache_of(&extraction)?, settings)?;
    let splits = dataset.split(experiment, &selection.clips, trial.seed)?;
    let (extraction, dataset, selection) = (&extraction, &dataset, &selection);
    let tags = TagValues::default();
    let data = TrialData { experiment, extraction, dataset, trial: &trial, selection, tags };
    let train = data.with_copies(&splits.train, &data.copies())?;
    let examples = data.training_examples(&train, &splits.train)?.context("the chosen trial generates examples")?;
    let epochs = experiment.models[&trial.model].as_network().map_or(0, |network| network.training().epochs);
    let (classes, sample_rate) = (dataset.set.classes.names().to_vec(), experiment.audio.sample_rate);
    Ok(AugmentationPreview { examples, classes, sample_rate, shape: train.shape(), epochs, trial })
}

fn chosen(experiment: &Experiment, model: Option<&str>, seed: Option<u64>) -> Result<Trial> {
    let generates_examples = |trial: &Trial| {
        let Some(network) = experiment.models[&trial.model].as_network() else { return false };
        let training = network.training();
        let augments = !Chain::select(&experiment.augment, training.augment.as_deref()).is_empty();
        augments || training.crop == TrainingCrop::Random || training.replay.is_some()
    };
    let wanted = |trial: &Trial| model.is_none_or(|m| trial.model == m) && seed.is_none_or(|s| trial.seed == s);
    let trials = trials_of(experiment);
    let candidates: Vec<Trial> = trials.into_iter().filter(generates_examples).collect();
    if candidates.is_empty() {
        return Err(anyhow!("no network of this experiment augments its clips: add augmentations with [[augment]]"));
    }
    let names: Vec<String> = candidates.iter().map(|trial| format!("{} (seed {})", trial.model, trial.seed)).collect();
    let found = candidates.into_iter().find(|trial| wanted(trial));
    found.with_context(|| {
        format!("no network of that model and seed augments its clips; there are {}", names.join(", "))
    })
}

impl AugmentationPreview {
    /// The random draws for a clip in an epoch (from 0), as the file of draws has them.
    pub fn draws(&self, row: usize, epoch: usize) -> Result<DrawRecord> {
        let (start, draws) = self.examples.draws_for(row, epoch)?;
        Ok(DrawRecord { seed: self.trial.seed, epoch: epoch + 1, clip: self.examples.id(row).to_owned(), start, draws })
    }

    /// The row of a training clip by its id, or by a part of an id that no other clip has.
    pub fn row(&self, clip: &str) -> Result<usize> {
        let ids: Vec<&str> = (0..self.examples.len()).map(|row| self.examples.id(row)).collect();
        row_of_clip(&ids, clip, &format!("training clip of {}", self.trial))
    }
}

/// The row of a clip by its id, or by a part of an id that no other clip has. `what` says what the clips are.
pub(super) fn row_of_clip(ids: &[&str], clip: &str, what: &str) -> Result<usize> {
    if let Some(row) = ids.iter().position(|id| *id == clip) {
        return Ok(row);
    }
    let matching: Vec<usize> = (0..ids.len()).filter(|&row| ids[row].contains(clip)).collect();
    let named =
        |rows: &mut dyn Iterator<Item = usize>| rows.take(5).map(|row| ids[row]).collect::<Vec<_>>().join("\n  ");
    match matching[..] {
        [row] => Ok(row),
        [] => Err(UserError::usage(format!(
            "no {what} is named `{clip}`; the first of {} are\n  {}",
            ids.len(),
            named(&mut (0..ids.len()))
        ))
        .into()),
        _ => Err(UserError::usage(format!(
            "`{clip}` matches {} clips:\n  {}\n  …",
            matching.len(),
            named(&mut matching.iter().copied())
        ))
        .into()),
    }
}
