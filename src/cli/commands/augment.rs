//! `timbre data augment`: write the augmented training examples of a network.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use rayon::prelude::*;

use super::{ExitStatus, listen_for_signals, print, print_data, resolve, settings, start_threads};
use crate::cli::args::{AugmentPreviewArgs, GlobalArgs, ThreadArgs};
use crate::execution::run::Settings;
use crate::execution::run::augmentation_preview::{AugmentationPreview, preview_augmentation};
use timbre_core::{files, text::count};
use timbre_reports::plot::augmentation_preview;
use timbre_signal::audio::wav_write::write_f32;

/// The drawn parameters, in the format that `replay` reads.
const DRAWS: &str = "draws.jsonl";

pub fn augment(common: &GlobalArgs, what: &AugmentPreviewArgs, pool: &ThreadArgs) -> Result<ExitStatus> {
    let resolved = resolve(common, &what.target)?;
    let settings = settings(common, false);
    start_threads(pool)?;
    listen_for_signals(&settings.stop)?;
    let preview = preview_augmentation(&resolved.experiment, &settings, what.model.as_deref(), what.seed)?;
    fs::create_dir_all(&what.out).with_context(|| format!("cannot create {}", what.out.display()))?;
    let count = what.count.map(|count| count as usize);
    match &what.clip {
        Some(clip) => of_clip(&preview, preview.row(clip)?, count.unwrap_or(8), &what.out),
        None => of_all(&preview, count.unwrap_or(preview.epochs), &what.out, &settings),
    }
}

/// Writes one clip in its first epochs: audio, image, figure and drawn parameters.
fn of_clip(preview: &AugmentationPreview, row: usize, epochs: usize, out: &Path) -> Result<ExitStatus> {
    let mut lines = String::new();
    for epoch in 0..epochs {
        let (example, drawn) = (preview.examples.trace(row, epoch)?, preview.draws(row, epoch)?);
        let name = format!("epoch-{:03}", epoch + 1);
        write_f32(&out.join(format!("{name}.before.wav")), &example.clip, preview.sample_rate)?;
        write_f32(&out.join(format!("{name}.wav")), &example.samples, preview.sample_rate)?;
        let title = format!("{}, epoch {} of {}", drawn.clip, epoch + 1, preview.trial);
        let draws: Vec<String> = drawn.draws.iter().map(serde_json::to_string).collect::<Result<_, _>>()?;
        let present = preview.classes.iter().zip(&example.targets).filter(|(_, target)| **target > 0.0);
        let targets = present.map(|(class, target)| format!("{class} {target:.2}")).collect::<Vec<_>>().join(", ");
        let sides = [
            augmentation_preview::ClipView { name: "before", samples: &example.clip, image: &example.clip_image },
            augmentation_preview::ClipView { name: "after", samples: &example.samples, image: &example.image },
        ];
        let captions = [&draws[..], &[format!("targets: {targets}")]].concat();
        let picture = augmentation_preview::svg(&title, &sides, preview.shape, preview.sample_rate, &captions);
        files::write_bytes(&out.join(format!("{name}.svg")), picture.as_bytes())?;
        files::write_bytes(
            &out.join(format!("{name}.png")),
            &augmentation_preview::png(&example.image, preview.shape),
        )?;
        lines += &(serde_json::to_string(&drawn)? + "\n");
    }
    files::write_bytes(&out.join(DRAWS), lines.as_bytes())?;
    print_data(&lines)?;
    Ok(ExitStatus::Done)
}

/// Writes the drawn parameters of all training clips.
fn of_all(preview: &AugmentationPreview, epochs: usize, out: &Path, settings: &Settings) -> Result<ExitStatus> {
    let path = out.join(DRAWS);
    let progress = settings.printer.start("epochs", epochs);
    files::write_atomically(&path, |file| {
        for epoch in 0..epochs {
            let line = |row: usize| Ok(serde_json::to_string(&preview.draws(row, epoch)?)? + "\n");
            let lines: Vec<String> = (0..preview.examples.len()).into_par_iter().map(line).collect::<Result<_>>()?;
            lines.iter().try_for_each(|line| file.write_all(line.as_bytes()))?;
            settings.step(&progress)?;
        }
        Ok(())
    })?;
    progress.finish();
    let (clips, epochs) = (count(preview.examples.len(), "clip"), count(epochs, "epoch"));
    print(&format!("{}: drawn parameters of {clips} in {epochs} of {}\n", path.display(), preview.trial))?;
    let trial = &preview.trial;
    // The draws belong to one seed; training with another seed would find none.
    settings.printer.message(&format!(
        "Next: replay them with `models.{}.replay = {path:?}` and `seeds = [{}]`",
        trial.model, trial.seed
    ));
    Ok(ExitStatus::Done)
}
