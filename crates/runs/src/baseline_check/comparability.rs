//! Finds what makes the scores of two runs incomparable. Every issue is reported.

use std::collections::BTreeSet;

use super::clips::ClipsOf;
use super::reference::ReferenceScores;

/// The kind of an issue; `--allow` takes its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum IssueKind {
    /// The run is unfinished, or has failed trials
    Unfinished,
    /// The run has other classes than the baseline
    Classes,
    /// The run was evaluated on other recordings than the baseline, or they are unknown
    Clips,
    /// The run lacks a model or a metric of the baseline
    Missing,
}

impl IssueKind {
    /// Its name for `--allow`.
    pub fn name(self) -> &'static str {
        match self {
            IssueKind::Unfinished => "unfinished",
            IssueKind::Classes => "classes",
            IssueKind::Clips => "clips",
            IssueKind::Missing => "missing",
        }
    }
}

/// A reason why the scores are not comparable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issue {
    pub kind: IssueKind,
    pub sentence: String,
}

/// Lists why `run` is not comparable with `baseline` on this split.
pub fn issues(run: &ReferenceScores, baseline: &ReferenceScores, split: &str) -> Vec<Issue> {
    let mut issues = Vec::new();
    let mut add = |kind, sentence| issues.push(Issue { kind, sentence });
    for sentence in &run.origin.unfinished {
        add(IssueKind::Unfinished, sentence.clone());
    }
    for sentence in &baseline.origin.unfinished {
        add(IssueKind::Unfinished, format!("baseline: {sentence}"));
    }
    if let Some(sentence) = other_classes(&run.classes, &baseline.classes) {
        add(IssueKind::Classes, sentence);
    }
    if let Some(sentence) = other_clips(run, baseline, split) {
        add(IssueKind::Clips, sentence);
    }
    issues
}

fn other_classes(run: &[String], baseline: &[String]) -> Option<String> {
    let (own, other): (BTreeSet<&String>, BTreeSet<&String>) = (run.iter().collect(), baseline.iter().collect());
    if own == other {
        return None;
    }
    let list = |names: Vec<&&String>| names.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(", ");
    let mut sentence = "other classes".to_owned();
    for (own, other, words) in [(&own, &other, "only in the run"), (&other, &own, "only in the baseline")] {
        let only: Vec<&&String> = own.difference(other).collect();
        if !only.is_empty() {
            sentence += &format!("; {words}: {}", list(only));
        }
    }
    Some(sentence)
}

fn other_clips(run: &ReferenceScores, baseline: &ReferenceScores, split: &str) -> Option<String> {
    let (Some(own), Some(other)) = (run.clips.get(split), baseline.clips.get(split)) else {
        let unknown = if run.clips.contains_key(split) { "the baseline" } else { "the run" };
        return Some(format!("{unknown} has no predictions.parquet: its {split} clips are unknown"));
    };
    let hashes = |clips: &std::collections::BTreeMap<String, ClipsOf>| -> BTreeSet<String> {
        clips.values().map(|clips| clips.hash.clone()).collect()
    };
    if hashes(own) == hashes(other) {
        return None;
    }
    let counts = |clips: &std::collections::BTreeMap<String, ClipsOf>| {
        let of_seed = |(seed, clips): (&String, &ClipsOf)| format!("{} with seed {seed}", clips.n);
        clips.iter().map(of_seed).collect::<Vec<_>>().join(", ")
    };
    let (own, other) = (counts(own), counts(other));
    let but = if own == other { ", with other names or labels" } else { "" };
    Some(format!("other {split} clips: {own} in the run, {other} in the baseline{but}"))
}

/// Lists differences that do not fail the check.
pub fn notes(run: &ReferenceScores, baseline: &ReferenceScores, split: &str) -> Vec<String> {
    let mut notes = Vec::new();
    if let (Ok(own), Ok(other)) = (run.origin.path.canonicalize(), baseline.origin.path.canonicalize())
        && own == other
    {
        notes.push("the run is its own baseline: the check can only pass".to_owned());
    } else if run.signature == baseline.signature {
        notes.push("same signature: configuration, recordings and versions equal those of the baseline".to_owned());
    }
    if run.experiment != baseline.experiment {
        notes.push(format!("the baseline belongs to another experiment, {}", baseline.experiment));
    }
    if run.metric != baseline.metric {
        notes.push(format!("the headline metric is {}, that of the baseline is {}", run.metric, baseline.metric));
    }
    if run.data.hash != baseline.data.hash {
        notes.push(format!(
            "the recordings of the set differ from those of the baseline ({} {}, {} clips; baseline: {} {}, {} clips): some were \
             added, removed, edited, or relabelled",
            run.data.name,
            short(&run.data.hash),
            run.data.clips,
            baseline.data.name,
            short(&baseline.data.hash),
            baseline.data.clips
        ));
    }
    for other in baseline.models_of(split) {
        let Some(own) = run.models_of(split).find(|own| own.name() == other.name()) else { continue };
        if own.seeds != other.seeds {
            let list = |seeds: &[u64]| seeds.iter().map(u64::to_string).collect::<Vec<_>>().join(", ");
            notes.push(format!(
                "{} is the mean over seeds {}; in the baseline over {}",
                own.name(),
                list(&own.seeds),
                list(&other.seeds)
            ));
        }
    }
    for own in run.models_of(split).filter(|own| baseline.models_of(split).all(|other| other.name() != own.name())) {
        notes.push(format!("{} is not in the baseline and was not checked", own.name()));
    }
    notes
}

fn short(hash: &str) -> &str {
    hash.get(..8).unwrap_or(hash)
}
