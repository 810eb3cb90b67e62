//! What makes the scores of two runs no measure of each other. A doubt is never passed over in silence.

use std::collections::BTreeSet;

use super::clips::ClipsOf;
use super::reference::ReferenceScores;

/// What is in doubt; each can be allowed by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum IssueKind {
    /// The run is not over, or lacks trials that could not be fitted.
    Unfinished,
    /// The run knows other classes than the baseline.
    Classes,
    /// The run was judged on other recordings than the baseline, or does not say on which.
    Clips,
    /// The run lacks a trial or a metric of the baseline.
    Missing,
}

impl IssueKind {
    /// The word that allows it.
    pub fn word(self) -> &'static str {
        match self {
            IssueKind::Unfinished => "unfinished",
            IssueKind::Classes => "classes",
            IssueKind::Clips => "clips",
            IssueKind::Missing => "missing",
        }
    }
}

/// Something that speaks against comparing at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issue {
    pub kind: IssueKind,
    pub sentence: String,
}

/// What speaks against holding `run` against `baseline` on this side of the split.
pub fn doubts(run: &ReferenceScores, baseline: &ReferenceScores, split: &str) -> Vec<Issue> {
    let mut doubts = Vec::new();
    let mut say = |kind, sentence| doubts.push(Issue { kind, sentence });
    for sentence in &run.origin.unfinished {
        say(IssueKind::Unfinished, sentence.clone());
    }
    for sentence in &baseline.origin.unfinished {
        say(IssueKind::Unfinished, format!("of the baseline: {sentence}"));
    }
    if let Some(sentence) = other_classes(&run.classes, &baseline.classes) {
        say(IssueKind::Classes, sentence);
    }
    if let Some(sentence) = other_clips(run, baseline, split) {
        say(IssueKind::Clips, sentence);
    }
    doubts
}

fn other_classes(run: &[String], baseline: &[String]) -> Option<String> {
    let (own, other): (BTreeSet<&String>, BTreeSet<&String>) = (run.iter().collect(), baseline.iter().collect());
    if own == other {
        return None;
    }
    let list = |names: Vec<&&String>| names.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(", ");
    let mut sentence = "other classes".to_owned();
    for (here, there, words) in [(&own, &other, "only in the run"), (&other, &own, "only in the baseline")] {
        let only: Vec<&&String> = here.difference(there).collect();
        if !only.is_empty() {
            sentence += &format!("; {words}: {}", list(only));
        }
    }
    Some(sentence)
}

fn other_clips(run: &ReferenceScores, baseline: &ReferenceScores, split: &str) -> Option<String> {
    let (Some(own), Some(other)) = (run.clips.get(split), baseline.clips.get(split)) else {
        let silent = if run.clips.contains_key(split) { "the baseline" } else { "the run" };
        return Some(format!(
            "{silent} does not say which {split} clips it was judged on (predictions.parquet is not there)"
        ));
    };
    let hashes = |clips: &std::collections::BTreeMap<String, ClipsOf>| -> BTreeSet<String> {
        clips.values().map(|clips| clips.hash.clone()).collect()
    };
    if hashes(own) == hashes(other) {
        return None;
    }
    let told = |clips: &std::collections::BTreeMap<String, ClipsOf>| {
        let of_seed = |(seed, clips): (&String, &ClipsOf)| format!("{} with seed {seed}", clips.n);
        clips.iter().map(of_seed).collect::<Vec<_>>().join(", ")
    };
    let (own, other) = (told(own), told(other));
    let but = if own == other { ", with other names or labels" } else { "" };
    Some(format!("other {split} clips: {own} in the run, {other} in the baseline{but}"))
}

/// What is worth knowing, and speaks against nothing.
pub fn notes(run: &ReferenceScores, baseline: &ReferenceScores, split: &str) -> Vec<String> {
    let mut notes = Vec::new();
    if let (Ok(own), Ok(other)) = (run.origin.path.canonicalize(), baseline.origin.path.canonicalize())
        && own == other
    {
        notes.push("the run is its own baseline: this can only pass".to_owned());
    } else if run.signature == baseline.signature {
        notes.push("the same signature: configuration, recordings and versions are those of the baseline".to_owned());
    }
    if run.experiment != baseline.experiment {
        notes.push(format!("the baseline is of another experiment, {}", baseline.experiment));
    }
    if run.metric != baseline.metric {
        notes.push(format!("the headline metric is {}, that of the baseline {}", run.metric, baseline.metric));
    }
    if run.data.hash != baseline.data.hash {
        notes.push(format!(
            "the recordings of the set are not those of the baseline ({} {}, {} clips; baseline: {} {}, {} clips): some were \
             added, removed, edited, or labelled anew",
            run.data.name,
            short(&run.data.hash),
            run.data.clips,
            baseline.data.name,
            short(&baseline.data.hash),
            baseline.data.clips
        ));
    }
    for other in baseline.trials_of(split) {
        let Some(own) = run.trials_of(split).find(|own| own.name() == other.name()) else { continue };
        if own.seeds != other.seeds {
            let list = |seeds: &[u64]| seeds.iter().map(u64::to_string).collect::<Vec<_>>().join(", ");
            notes.push(format!(
                "{} is the mean over seeds {}, in the baseline over {}",
                own.name(),
                list(&own.seeds),
                list(&other.seeds)
            ));
        }
    }
    for own in run.trials_of(split).filter(|own| baseline.trials_of(split).all(|other| other.name() != own.name())) {
        notes.push(format!("{} is not in the baseline and was not judged", own.name()));
    }
    notes
}

fn short(hash: &str) -> &str {
    hash.get(..8).unwrap_or(hash)
}
