//! Lists recordings whose labels are probably wrong, by the predictions of a run for recordings that its models were not trained on.
//!
//! In a cross-validation each fold is the test set of one seed, so that the list covers the whole data set. A recording that several seeds
//! test has the mean of their predictions.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use anyhow::{Result, bail};
use serde::Serialize;
use timbre_core::error::{ExitStatus, UserError};
use timbre_core::labels::{Classes, Labels, Task};
use timbre_core::text::{count, escape_xml};
use timbre_evaluation::label_errors::{label_errors, presence_errors};
use timbre_runs::run_dir;

use crate::page::{Page, Section, facts, paragraph};
use crate::plot;
use crate::run_report::{FindRecording, MAX_MEDIA, Media, ReportData};

/// Recordings on the page.
const SHOWN: usize = 60;

/// The predictions of one model of a run for its test recordings.
pub struct OutOfSample {
    pub run: ReportData,
    /// The model, as `features.model`.
    pub model: String,
    pub recordings: Vec<Predicted>,
}

/// A recording with its labels and the mean predictions of the models that did not see it.
pub struct Predicted {
    pub recording: String,
    pub truth: Labels,
    pub probabilities: Vec<f64>,
    /// The predicted classes, by the model with the first seed that tests it.
    pub decided: Vec<usize>,
    /// The rank in the order of `hardest.csv` divided by the number of errors; none if the decision is correct.
    pub hardness: Option<f64>,
}

/// A recording whose labels are probably wrong.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Suspect {
    pub recording: String,
    /// The classes that it is labelled with, and those that it probably has.
    pub labels: Vec<String>,
    pub likely: Vec<String>,
    /// The probability of what the label says, of the most doubtful class.
    pub self_confidence: f64,
}

impl OutOfSample {
    /// Reads the test predictions of a model of the run: `FEATURES.MODEL`, or the best one.
    pub fn read(run: &Path, model: Option<&str>) -> Result<OutOfSample> {
        let run = ReportData::read(run)?;
        let names: Vec<String> = run.ranked.iter().map(|ranked| ranked.name()).collect();
        let chosen = match model {
            None => run.ranked.first(),
            Some(wanted) => run.ranked.iter().find(|ranked| ranked.name() == wanted),
        };
        let Some(chosen) = chosen else {
            bail!(UserError::usage(format!("no such model in the run: its models are {}", names.join(", "))));
        };
        let mut all: BTreeMap<String, (Predicted, usize)> = BTreeMap::new();
        for trial in chosen.trials() {
            let Some(record) = run_dir::read_trial(&run.path, trial) else { continue };
            let Some(scored) = run.scored(&record) else { continue };
            let hardest = scored.hardest();
            let places: HashMap<usize, usize> =
                hardest.iter().enumerate().map(|(place, &clip)| (clip, place)).collect();
            for (clip, of) in scored.split.clips.iter().enumerate() {
                let row = scored.split.predictions.row(clip).iter().map(|p| f64::from(*p));
                let hardness = places.get(&clip).map(|&place| place as f64 / hardest.len() as f64);
                match all.get_mut(&of.path) {
                    Some((known, n)) => {
                        known.probabilities.iter_mut().zip(row).for_each(|(sum, p)| *sum += p);
                        *n += 1;
                    }
                    None => {
                        let predicted = Predicted {
                            recording: of.path.clone(),
                            truth: of.truth.clone(),
                            probabilities: row.collect(),
                            decided: scored.decided[clip].clone(),
                            hardness,
                        };
                        all.insert(of.path.clone(), (predicted, 1));
                    }
                }
            }
        }
        if all.is_empty() {
            let sentence = format!("the run has no readable predictions of {} for test recordings", chosen.name());
            bail!(UserError::new(ExitStatus::NothingSelected, sentence));
        }
        let model = chosen.name();
        let mean = |(mut predicted, n): (Predicted, usize)| {
            predicted.probabilities.iter_mut().for_each(|p| *p /= n as f64);
            predicted
        };
        let recordings = all.into_values().map(mean).collect();
        Ok(OutOfSample { run, model, recordings })
    }

    pub fn classes(&self) -> &Classes {
        &self.run.classes
    }

    pub fn task(&self) -> Task {
        self.run.decision_rule.task
    }

    /// The names of classes.
    pub fn names(&self, labels: &[usize]) -> Vec<String> {
        labels.iter().map(|&label| self.classes().name(label).to_owned()).collect()
    }

    /// The probable label errors, the most probable first.
    pub fn suspects(&self) -> Vec<Suspect> {
        let n = self.classes().len();
        // The classes of each row that are probably wrong, with the probability of what the label says.
        let mut wrong: BTreeMap<usize, Vec<(usize, f64)>> = BTreeMap::new();
        match self.task() {
            Task::SingleLabel => {
                let given: Vec<usize> = self.recordings.iter().map(|own| own.truth[0]).collect();
                let rows: Vec<f64> = self.recordings.iter().flat_map(|own| own.probabilities.iter().copied()).collect();
                for error in label_errors(&given, &rows, n) {
                    wrong.insert(
                        error.row,
                        vec![(error.given, error.self_confidence), (error.likely, error.self_confidence)],
                    );
                }
            }
            Task::MultiLabel => {
                for class in 0..n {
                    let known: Vec<usize> =
                        (0..self.recordings.len()).filter(|&row| self.recordings[row].truth.is_known(class)).collect();
                    let has: Vec<bool> = known.iter().map(|&row| self.recordings[row].truth.contains(&class)).collect();
                    let p: Vec<f64> = known.iter().map(|&row| self.recordings[row].probabilities[class]).collect();
                    for error in presence_errors(&has, &p) {
                        wrong.entry(known[error.row]).or_default().push((class, error.self_confidence));
                    }
                }
            }
        }
        let suspect = |(row, wrong): (usize, Vec<(usize, f64)>)| {
            let own = &self.recordings[row];
            let is_wrong = |class: usize| wrong.iter().any(|(wrong, _)| *wrong == class);
            let likely: Vec<usize> = (0..n).filter(|&class| own.truth.contains(&class) != is_wrong(class)).collect();
            Suspect {
                recording: own.recording.clone(),
                labels: self.names(&own.truth),
                likely: self.names(&likely),
                self_confidence: wrong.iter().map(|(_, p)| *p).fold(f64::INFINITY, f64::min),
            }
        };
        let mut suspects: Vec<Suspect> = wrong.into_iter().map(suspect).collect();
        suspects.sort_by(|a, b| {
            a.self_confidence.total_cmp(&b.self_confidence).then_with(|| a.recording.cmp(&b.recording))
        });
        suspects
    }

    /// The page of the suspects, with players where `find` locates the recordings.
    pub fn page(&self, suspects: &[Suspect], find: FindRecording) -> String {
        let (mut left, mut items) = (MAX_MEDIA, String::new());
        let shown = &suspects[..suspects.len().min(SHOWN)];
        let all = Media::new(&self.run, shown.iter().map(|suspect| suspect.recording.as_str()), find);
        for (n, suspect) in shown.iter().enumerate() {
            let words = format!("{}, probably {}", or_none(&suspect.labels), or_none(&suspect.likely));
            let media = all.html(n, &words).filter(|media| media.len() <= left);
            let media = media.unwrap_or_default();
            left -= media.len();
            items += &format!(
                "<li>{media}<div>Labelled <strong>{}</strong> (p = {:.2})</div><div>Probably <strong>{}</strong></div>\
                 <div class=\"path\">{}</div></li>\n",
                escape_xml(&or_none(&suspect.labels)),
                suspect.self_confidence,
                escape_xml(&or_none(&suspect.likely)),
                escape_xml(&suspect.recording)
            );
        }
        let explained = "By confident learning: the model, which was not trained on these recordings, is more \
                         confident in other classes than its average confidence in recordings with those labels. p is the probability of what the label says, of the most doubtful class.";
        let more = match suspects.len().saturating_sub(SHOWN) {
            0 => String::new(),
            n => paragraph(&format!("{n} more are in the output of --csv and --json.")),
        };
        let lead = facts(&[
            count(suspects.len(), "suspected recording"),
            format!("{} tested", self.recordings.len()),
            format!("predictions of {}", self.model),
        ]);
        let legend = if left < MAX_MEDIA { plot::level_legend().in_page() } else { String::new() };
        let html = paragraph(explained) + &format!("{legend}<ol class=\"clips\">\n{items}</ol>\n{more}");
        Page {
            title: format!("Suspected labels of {}", self.run.record.data.name),
            signature: String::new(),
            lead,
            sections: vec![Section { id: "suspects", title: "Suspected labels".to_owned(), html }],
        }
        .html()
    }

    /// The sentence for a terminal: what was looked at.
    pub fn summary(&self, suspects: usize) -> String {
        let all = self.recordings.len();
        format!(
            "{suspects} of {} probably have a wrong label, by the predictions of {} on the {} split\n",
            count(all, "recording"),
            self.model,
            self.run.split()
        )
    }
}

fn or_none(classes: &[String]) -> String {
    if classes.is_empty() { "no class".to_owned() } else { classes.join(", ") }
}
