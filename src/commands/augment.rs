//! `timbre data augment`: what a network would hear, before it is trained.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use rayon::prelude::*;

use super::{Ended, listen_for_signals, print, resolve, settings, start_threads};
use crate::audio::wav_write::write_f32;
use crate::cli::{Common, Pool, Rehearse};
use crate::files;
use crate::plot::hearing;
use crate::runner::Settings;
use crate::runner::rehearsal::{Rehearsal, rehearse};

/// The draws of all that is written, as `replay` reads them.
const DRAWS: &str = "draws.jsonl";

pub fn augment(common: &Common, what: &Rehearse, pool: &Pool) -> Result<Ended> {
    let resolved = resolve(common, &what.target)?;
    let settings = settings(common, false);
    start_threads(pool)?;
    listen_for_signals(&settings.stop)?;
    let rehearsal = rehearse(&resolved.experiment, &settings, what.model.as_deref(), what.seed)?;
    fs::create_dir_all(&what.out).with_context(|| format!("cannot make the folder {}", what.out.display()))?;
    let count = what.count.map(|count| count as usize);
    match &what.clip {
        Some(clip) => of_clip(&rehearsal, rehearsal.row(clip)?, count.unwrap_or(8), &what.out),
        None => of_all(&rehearsal, count.unwrap_or(rehearsal.epochs), &what.out, &settings),
    }
}

/// One clip in its first epochs: sound, image, picture and draws.
fn of_clip(rehearsal: &Rehearsal, row: usize, epochs: usize, out: &Path) -> Result<Ended> {
    let mut lines = String::new();
    for epoch in 0..epochs {
        let (heard, drawn) = (rehearsal.waves.hear(row, epoch)?, rehearsal.drawn(row, epoch)?);
        let name = format!("epoch-{:03}", epoch + 1);
        write_f32(&out.join(format!("{name}.before.wav")), &heard.clip, rehearsal.sample_rate)?;
        write_f32(&out.join(format!("{name}.wav")), &heard.samples, rehearsal.sample_rate)?;
        let title = format!("{}, epoch {} of {}", drawn.clip, epoch + 1, rehearsal.unit);
        let said: Vec<String> = drawn.draws.iter().map(serde_json::to_string).collect::<Result<_, _>>()?;
        let present = rehearsal.classes.iter().zip(&heard.targets).filter(|(_, target)| **target > 0.0);
        let targets = present.map(|(class, target)| format!("{class} {target:.2}")).collect::<Vec<_>>().join(", ");
        let sides = [
            hearing::Side { name: "before", samples: &heard.clip, image: &heard.clip_image },
            hearing::Side { name: "after", samples: &heard.samples, image: &heard.image },
        ];
        let captions = [&said[..], &[format!("targets: {targets}")]].concat();
        let picture = hearing::svg(&title, &sides, rehearsal.shape, rehearsal.sample_rate, &captions);
        files::write_bytes(&out.join(format!("{name}.svg")), picture.as_bytes())?;
        files::write_bytes(&out.join(format!("{name}.png")), &hearing::png(&heard.image, rehearsal.shape))?;
        lines += &(serde_json::to_string(&drawn)? + "\n");
    }
    files::write_bytes(&out.join(DRAWS), lines.as_bytes())?;
    print(&lines)?;
    Ok(Ended::Done)
}

/// The draws of a whole training.
fn of_all(rehearsal: &Rehearsal, epochs: usize, out: &Path, settings: &Settings) -> Result<Ended> {
    let path = out.join(DRAWS);
    let progress = settings.show.start("epochs", epochs);
    files::write_atomically(&path, |file| {
        for epoch in 0..epochs {
            let line = |row: usize| Ok(serde_json::to_string(&rehearsal.drawn(row, epoch)?)? + "\n");
            let lines: Vec<String> = (0..rehearsal.waves.len()).into_par_iter().map(line).collect::<Result<_>>()?;
            lines.iter().try_for_each(|line| file.write_all(line.as_bytes()))?;
            settings.step(&progress)?;
        }
        Ok(())
    })?;
    progress.finish();
    let clips = rehearsal.waves.len();
    print(&format!("{}: the draws of {clips} clips in {epochs} epochs of {}\n", path.display(), rehearsal.unit))?;
    let unit = &rehearsal.unit;
    // The draws are those of one seed, and another one would end for want of its own.
    settings.show.say(&format!(
        "Next: play them again with `models.{}.replay = {path:?}` and `seeds = [{}]`",
        unit.model, unit.seed
    ));
    Ok(Ended::Done)
}
