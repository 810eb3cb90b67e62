//! `timbre data suspects` and `timbre data label-studio`: find labels that are probably wrong, and correct them.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use polars_core::prelude::Column;
use unicode_normalization::UnicodeNormalization;

use super::report::known;
use super::{ExitStatus, print, print_data};
use crate::cli::args::{Chosen, GlobalArgs, LabelStudioCommand, SuspectsArgs};
use timbre_core::{
    error::UserError,
    files,
    progress::Printer,
    seed::Seed,
    text::{count, one_line},
};
use timbre_inputs::data::corrections::Corrections;
use timbre_reports::{
    label_studio::{self, LabelTask},
    suspects::{OutOfSample, Predicted, Suspect},
};
use timbre_runs::{
    run_dir,
    tables::{aligned, frame, write_csv},
};
use timbre_signal::audio::Excerpt;

/// Characters of a path in an address.
const IN_PATH: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/').remove(b'.').remove(b'-').remove(b'_').remove(b'~');

fn read(common: &GlobalArgs, run: &str) -> Result<OutOfSample> {
    let (folder, model) = run_dir::find_with_model(&common.runs, run)?;
    OutOfSample::read(&folder, model)
}

pub fn suspects(common: &GlobalArgs, wanted: &SuspectsArgs) -> Result<ExitStatus> {
    let tested = read(common, &wanted.run)?;
    let suspects = tested.suspects();
    if let Some(path) = &wanted.csv {
        files::write_atomically(path, |out| write_csv(table(&suspects)?, out))?;
    }
    if let Some(path) = &wanted.html {
        let known = known(common, &tested.run.path);
        let page = tested.page(&suspects, &|id| known.get(id).cloned());
        files::write_bytes(path, page.as_bytes())?;
    }
    if wanted.json {
        print_data(&format!("{}\n", serde_json::to_string_pretty(&suspects)?))?;
        return Ok(ExitStatus::Done);
    }
    let mut lines = vec![["p", "labels", "probably", "recording"].map(str::to_owned).to_vec()];
    for suspect in &suspects {
        let classes = |classes: &[String]| if classes.is_empty() { "none".to_owned() } else { classes.join(";") };
        let p = format!("{:.3}", suspect.self_confidence);
        lines.push(vec![p, classes(&suspect.labels), classes(&suspect.likely), one_line(&suspect.recording)]);
    }
    let list = if suspects.is_empty() { String::new() } else { aligned(&lines, 4) };
    print(&(list + &tested.summary(suspects.len())))?;
    Ok(ExitStatus::Done)
}

fn table(suspects: &[Suspect]) -> Result<polars_core::prelude::DataFrame> {
    let column = |name: &str, of: &dyn Fn(&Suspect) -> String| {
        Column::new(name.into(), suspects.iter().map(of).collect::<Vec<String>>())
    };
    let columns = vec![
        column("recording", &|own| own.recording.clone()),
        column("labels", &|own| own.labels.join(";")),
        column("likely", &|own| own.likely.join(";")),
        Column::new("self_confidence".into(), suspects.iter().map(|own| own.self_confidence).collect::<Vec<f64>>()),
    ];
    frame(suspects.len(), columns)
}

pub fn label_studio(common: &GlobalArgs, command: &LabelStudioCommand) -> Result<ExitStatus> {
    match command {
        LabelStudioCommand::Export { run, out, choose, number, seed, prefix } => {
            let tested = read(common, run)?;
            let known = known(common, &tested.run.path);
            let file = |id: &str| known.get(id).map(|(path, _)| path.as_path());
            let chosen = chosen(&tested, *choose, *number, *seed).into_iter();
            let tasks: Vec<LabelTask> = chosen.map(|own| task(&tested, own, prefix, file(&own.recording))).collect();
            let model = format!("{}:{}", tested.run.record.experiment, tested.model);
            let json = label_studio::tasks(&tasks, &model);
            files::write_bytes(out, format!("{}\n", serde_json::to_string_pretty(&json)?).as_bytes())?;
            let configuration = out.with_extension("xml");
            let xml = label_studio::configuration(tested.classes().names(), tested.task());
            files::write_bytes(&configuration, xml.as_bytes())?;
            let written = format!(
                "{}: {}; {}: labelling configuration\n",
                out.display(),
                count(tasks.len(), "task"),
                configuration.display()
            );
            print(&written)?;
            Ok(ExitStatus::Done)
        }
        LabelStudioCommand::Import { file, out } => import(common, file, out),
    }
}

fn chosen(tested: &OutOfSample, choose: Chosen, number: usize, seed: u64) -> Vec<&Predicted> {
    let mut all: Vec<&Predicted> = tested.recordings.iter().collect();
    match choose {
        Chosen::Random => {
            let seed = Seed::new(seed).child("label-studio");
            all.sort_by_cached_key(|own| seed.child(&own.recording).number());
        }
        Chosen::Hardest => {
            all.retain(|own| own.hardness.is_some());
            all.sort_by(|a, b| a.hardness.unwrap_or(1.0).total_cmp(&b.hardness.unwrap_or(1.0)));
        }
        Chosen::Suspects => {
            let suspects = tested.suspects();
            let place: HashMap<&str, usize> =
                suspects.iter().enumerate().map(|(n, own)| (own.recording.as_str(), n)).collect();
            all.retain(|own| place.contains_key(own.recording.as_str()));
            all.sort_by_key(|own| place[own.recording.as_str()]);
        }
    }
    all.truncate(number);
    all
}

/// `file` is the recording on disk, whose name may be in another Unicode form than that of the recording.
fn task(tested: &OutOfSample, own: &Predicted, prefix: &str, file: Option<&Path>) -> LabelTask {
    let p = |class: &usize| own.probabilities[*class];
    let score = match own.decided.len() {
        0 => 1.0 - own.probabilities.iter().copied().fold(0.0, f64::max),
        n => own.decided.iter().map(p).sum::<f64>() / n as f64,
    };
    let (name, excerpt) = Excerpt::split_name(&own.recording);
    let on_disk = file.and_then(|file| {
        let parts: Vec<_> = file.components().collect();
        let below: PathBuf = parts[parts.len().checked_sub(name.split('/').count())?..].iter().collect();
        below.to_str().map(str::to_owned).filter(|below| below.nfc().eq(name.nfc()))
    });
    let fragment = excerpt.map_or_else(String::new, |excerpt| format!("#{excerpt}"));
    LabelTask {
        address: format!("{prefix}{}{fragment}", utf8_percent_encode(on_disk.as_deref().unwrap_or(name), IN_PATH)),
        part: excerpt.map_or_else(
            || "the whole recording".to_owned(),
            |Excerpt { start, end }| match end {
                Some(end) => format!("only from {start} s to {end} s"),
                None => format!("only from {start} s on"),
            },
        ),
        recording: own.recording.clone(),
        labels: tested.names(&own.truth),
        predicted: tested.names(&own.decided),
        score,
    }
}

/// Adds the annotations that differ from the labels to the corrections.
fn import(common: &GlobalArgs, file: &Path, out: &Path) -> Result<ExitStatus> {
    let cannot = || format!("read {}", file.display());
    let text = std::fs::read_to_string(file).with_context(cannot)?;
    let export = serde_json::from_str(&text).with_context(cannot).map_err(UserError::from_cause)?;
    let annotations = label_studio::annotations(&export).with_context(cannot).map_err(UserError::from_cause)?;
    if annotations.is_empty() {
        bail!(UserError::new(ExitStatus::NothingSelected, format!("{} has no annotations", file.display())));
    }
    let mut corrections = if out.exists() { Corrections::read(out)? } else { Corrections::default() };
    let changed: Vec<_> = annotations.iter().filter(|own| own.labels != own.chosen).collect();
    for own in &changed {
        corrections.0.insert(own.recording.clone(), own.chosen.iter().cloned().collect());
    }
    files::write_bytes(out, corrections.csv().as_bytes())?;
    let people: BTreeSet<&str> = annotations.iter().map(|own| own.recording.as_str()).collect();
    print(&format!(
        "{}: {} of {} changed, {} in all\n",
        out.display(),
        changed.len(),
        count(people.len(), "annotated recording"),
        count(corrections.0.len(), "correction")
    ))?;
    Printer::new(common.quiet).message("Next: name the file in the data set with `corrections = \"FILE\"` (a path from the folder data), and run again");
    Ok(ExitStatus::Done)
}
