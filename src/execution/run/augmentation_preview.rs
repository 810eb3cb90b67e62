//! What a network would hear in its training, without a training.

use anyhow::{Context, Result, anyhow};

use super::material::{Material, Unfit};
use super::sets::Sets;
use super::{Settings, trials_of};
use timbre_experiment::Experiment;
use timbre_inputs::dataset::examples::{DrawRecord, TrainingExamples};
use timbre_inputs::features::extraction::Extraction;
use timbre_models::training::hyperparameters::TrainingCrop;
use timbre_runs::run_dir::Trial;

/// The training clips of one unit.
pub struct AugmentationPreview {
    pub trial: Trial,
    pub waves: TrainingExamples,
    pub classes: Vec<String>,
    pub sample_rate: u32,
    /// Bands and frames of an image.
    pub shape: [usize; 2],
    /// How often the training would see each clip.
    pub epochs: usize,
}

/// The first unit of the experiment whose model is a network that hears other clips in each epoch, of this model and seed where
/// they are named.
pub fn preview_augmentation(
    experiment: &Experiment,
    settings: &Settings,
    model: Option<&str>,
    seed: Option<u64>,
) -> Result<AugmentationPreview> {
    let unit = chosen(experiment, model, seed).map_err(Unfit::of)?;
    let material = Material::gather(experiment, settings)?;
    let extraction = Extraction::new(&experiment.audio, &experiment.features, experiment.evaluate.windows())?;
    let selection = material.select(experiment, &extraction, &settings.feature_cache()?, settings)?;
    let splits = material.split(experiment, &selection.clips, unit.seed)?;
    let sets = Sets { experiment, extraction: &extraction, material: &material, trial: &unit, selection: &selection };
    let train = sets.of(&splits.train)?;
    let waves = sets.waves(&train, &splits.train)?.context("the unit was chosen for its fresh clips")?;
    let epochs = experiment.models[&unit.model].as_kind().as_network().map_or(0, |network| network.training().epochs);
    let (classes, sample_rate) = (material.set.classes.names().to_vec(), experiment.audio.sample_rate);
    Ok(AugmentationPreview { waves, classes, sample_rate, shape: train.shape(), epochs, trial: unit })
}

fn chosen(experiment: &Experiment, model: Option<&str>, seed: Option<u64>) -> Result<Trial> {
    let is_fresh = |unit: &Trial| {
        let Some(network) = experiment.models[&unit.model].as_kind().as_network() else { return false };
        let training = network.training();
        let augments = !experiment.augment.is_empty() && training.augment.is_none_or(|names| !names.is_empty());
        augments || training.crop == TrainingCrop::Random || training.replay.is_some()
    };
    let wanted = |unit: &Trial| model.is_none_or(|m| unit.model == m) && seed.is_none_or(|s| unit.seed == s);
    let units = trials_of(experiment);
    let fresh: Vec<Trial> = units.into_iter().filter(is_fresh).collect();
    if fresh.is_empty() {
        return Err(anyhow!(
            "no network of this experiment hears anything but its clips as they are: name augmentations with [[augment]]"
        ));
    }
    let there: Vec<String> = fresh.iter().map(|unit| format!("{} (seed {})", unit.model, unit.seed)).collect();
    let found = fresh.into_iter().find(|unit| wanted(unit));
    found
        .with_context(|| format!("no network of that model and seed hears other clips; there are {}", there.join(", ")))
}

impl AugmentationPreview {
    /// What is drawn for a clip in an epoch, counted from 0, as it is written down.
    pub fn drawn(&self, row: usize, epoch: usize) -> Result<DrawRecord> {
        let (start, draws) = self.waves.draws_for(row, epoch)?;
        Ok(DrawRecord { seed: self.trial.seed, epoch: epoch + 1, clip: self.waves.id(row).to_owned(), start, draws })
    }

    /// The row of a training clip by its id or a part of it that no other has.
    pub fn row(&self, clip: &str) -> Result<usize> {
        if let Some(row) = self.waves.row(clip) {
            return Ok(row);
        }
        let like: Vec<usize> = (0..self.waves.len()).filter(|&row| self.waves.id(row).contains(clip)).collect();
        let named =
            |rows: &[usize]| rows.iter().take(5).map(|&row| self.waves.id(row)).collect::<Vec<_>>().join("\n  ");
        let all: Vec<usize> = (0..self.waves.len()).collect();
        match like[..] {
            [row] => Ok(row),
            [] => Err(Unfit::of(anyhow!(
                "no training clip of {} is called `{clip}`; the first of {} are\n  {}",
                self.trial,
                all.len(),
                named(&all)
            ))),
            _ => Err(Unfit::of(anyhow!("`{clip}` is a part of {} names:\n  {}\n  …", like.len(), named(&like)))),
        }
    }
}
