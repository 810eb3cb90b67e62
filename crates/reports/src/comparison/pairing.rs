//! Which decisions of two lines can be compared: the same recordings, with the same labels and content, of seeds that go together.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::significance::{PairedScore, SeedPairing};
use timbre_core::labels::{Classes, Task};
use timbre_evaluation::metrics::{self, DecisionRule, Scores};
use timbre_evaluation::predictions::Predictions;
use timbre_runs::run_dir::SplitRecord;

/// A line: what one model on features of a run said, a seed each.
pub struct ModelDecisions<'a> {
    pub classes: &'a Classes,
    pub decision_rule: &'a DecisionRule,
    /// The hash of each recording by its path, where the run knows.
    pub contents: Option<&'a HashMap<String, String>>,
    pub heard: Vec<SeedDecisions<'a>>,
}

/// What it said with one seed of one side of the split.
pub struct SeedDecisions<'a> {
    pub seed: u64,
    pub split: &'a SplitRecord,
    pub decided: Vec<Vec<usize>>,
}

impl<'a> SeedDecisions<'a> {
    pub fn new(seed: u64, split: &'a SplitRecord, decision_rule: &DecisionRule) -> SeedDecisions<'a> {
        SeedDecisions { seed, split, decided: split.decided(decision_rule) }
    }
}

/// What two lines said of the recordings that both have.
#[derive(Debug)]
pub struct MatchedDecisions {
    pub task: Task,
    pub seeds: SeedPairing,
    /// Distinct recordings and songs.
    pub clips: usize,
    pub songs: usize,
    /// Recordings of the same path that were left out: with other labels, with other content.
    pub relabelled: usize,
    pub changed: usize,
    /// Whether the contents could be told apart.
    pub by_content: bool,
    pub only_reference_right: usize,
    pub only_line_right: usize,
    /// Whether every song has one recording.
    pub one_a_song: bool,
    pairs: Vec<OfSeeds>,
}

/// A recording that is right in one and wrong in the other. Labels are those of the reference.
#[derive(Clone, Debug, PartialEq)]
pub struct ChangedDecision {
    pub path: String,
    pub truth: Vec<usize>,
    /// What the reference decided, with whatever seed, and what the line did.
    pub decided: [Vec<Vec<usize>>; 2],
    /// With how many seeds each had it right, of so many.
    pub right: [usize; 2],
    pub seeds: usize,
}

#[derive(Debug)]
struct OfSeeds {
    numbers: (u64, u64),
    places: (usize, usize),
    paths: Vec<String>,
    song: Vec<usize>,
    /// Twice the recordings: as the reference heard them, then as the line did.
    truth: Vec<Vec<usize>>,
    decided: Vec<Vec<usize>>,
    said: Predictions,
}

/// The recordings that both have, or why there is nothing to compare.
pub fn matched(reference: &ModelDecisions, line: &ModelDecisions) -> Result<MatchedDecisions, String> {
    if reference.decision_rule.task != line.decision_rule.task {
        return Err("it has another task than the reference".into());
    }
    let renamed = renamed(reference.classes, line.classes)?;
    let (seeds, chosen) = pairs_of_seeds(reference, line);
    let mut gone = LeftOut::default();
    let (mut paths, mut names) = (BTreeSet::new(), BTreeSet::new());
    let mut found = Vec::new();
    for (places, one, other) in chosen {
        let common = common(reference, line, one, other, &renamed, &mut gone);
        if common.is_empty() {
            continue;
        }
        for &(a, _) in &common {
            paths.insert(one.split.clips[a].path.as_str());
            names.insert(one.split.clips[a].song.as_str());
        }
        found.push((places, one, other, common));
    }
    if found.is_empty() {
        return Err(gone.sentence());
    }
    let songs: HashMap<&str, usize> = names.iter().enumerate().map(|(at, name)| (*name, at)).collect();
    let pairs: Vec<OfSeeds> = found
        .into_iter()
        .map(|(places, one, other, common)| OfSeeds::new(places, one, other, &common, &renamed, &songs))
        .collect();
    let right = |pair: &OfSeeds, clip: usize| pair.decided[clip] == pair.truth[clip];
    let alone = |which: bool| {
        let of_pair = |pair: &OfSeeds| {
            let n = pair.song.len();
            (0..n).filter(|&clip| right(pair, clip) != right(pair, n + clip) && right(pair, clip) == which).count()
        };
        pairs.iter().map(of_pair).sum()
    };
    Ok(MatchedDecisions {
        task: reference.decision_rule.task,
        seeds,
        clips: paths.len(),
        songs: songs.len(),
        relabelled: gone.relabelled.len(),
        changed: gone.changed.len(),
        by_content: reference.contents.is_some() && line.contents.is_some(),
        only_reference_right: alone(true),
        only_line_right: alone(false),
        one_a_song: paths.len() == songs.len(),
        pairs,
    })
}

/// The class of the reference for each class of the line.
fn renamed(reference: &Classes, line: &Classes) -> Result<Vec<usize>, String> {
    let only = |one: &Classes, other: &Classes| {
        let names = one.names().iter().filter(|name| other.index(name).is_none());
        names.map(String::as_str).collect::<Vec<_>>().join(", ")
    };
    let (gone, new) = (only(reference, line), only(line, reference));
    match (gone.is_empty(), new.is_empty()) {
        (true, true) => Ok(line.names().iter().map(|name| reference.index(name).expect("both have it")).collect()),
        (false, true) => Err(format!("it has other classes than the reference: {gone} missing")),
        (true, false) => Err(format!("it has other classes than the reference: {new} more")),
        (false, false) => Err(format!("it has other classes than the reference: {new} instead of {gone}")),
    }
}

type Chosen<'s, 'a> = ((usize, usize), &'s SeedDecisions<'a>, &'s SeedDecisions<'a>);

/// The seeds that both have, each with itself: its split is the same in both. Without a common seed each with each.
fn pairs_of_seeds<'s, 'a>(
    reference: &'s ModelDecisions<'a>,
    line: &'s ModelDecisions<'a>,
) -> (SeedPairing, Vec<Chosen<'s, 'a>>) {
    let mut same = Vec::new();
    for one in &reference.heard {
        if let Some(other) = line.heard.iter().find(|other| other.seed == one.seed) {
            same.push(((same.len(), same.len()), one, other));
        }
    }
    if !same.is_empty() {
        return (SeedPairing::Matched, same);
    }
    let each = reference
        .heard
        .iter()
        .enumerate()
        .flat_map(|(a, one)| line.heard.iter().enumerate().map(move |(b, other)| ((a, b), one, other)));
    (SeedPairing::Crossed(reference.heard.len(), line.heard.len()), each.collect())
}

/// Paths that both have and that cannot be compared.
#[derive(Default)]
struct LeftOut {
    relabelled: BTreeSet<String>,
    changed: BTreeSet<String>,
}

impl LeftOut {
    fn sentence(&self) -> String {
        match (self.changed.len(), self.relabelled.len()) {
            (0, 0) => "no recording was tested in both".to_owned(),
            (changed, 0) => format!("the {changed} recordings that were tested in both have another content"),
            (0, labels) => format!("the {labels} recordings that were tested in both have other labels"),
            (changed, labels) => {
                format!(
                    "of the recordings that were tested in both {changed} have another content and {labels} other labels"
                )
            }
        }
    }
}

/// The places of the common recordings in both, in the order of their paths.
fn common(
    reference: &ModelDecisions,
    line: &ModelDecisions,
    one: &SeedDecisions,
    other: &SeedDecisions,
    renamed: &[usize],
    gone: &mut LeftOut,
) -> Vec<(usize, usize)> {
    let by_path: HashMap<&str, usize> =
        one.split.clips.iter().enumerate().map(|(at, clip)| (clip.path.as_str(), at)).collect();
    let mut found = Vec::new();
    for (at, clip) in other.split.clips.iter().enumerate() {
        let Some(&first) = by_path.get(clip.path.as_str()) else { continue };
        let content = |side: &ModelDecisions| side.contents.and_then(|contents| contents.get(&clip.path).cloned());
        let (a, b) = (content(reference), content(line));
        if a.is_some() && b.is_some() && a != b {
            gone.changed.insert(clip.path.clone());
        } else if one.split.clips[first].truth != in_classes(&clip.truth, renamed) {
            gone.relabelled.insert(clip.path.clone());
        } else {
            found.push((first, at));
        }
    }
    found.sort_unstable_by(|a, b| one.split.clips[a.0].path.cmp(&one.split.clips[b.0].path));
    found
}

fn in_classes(labels: &[usize], renamed: &[usize]) -> Vec<usize> {
    let mut labels: Vec<usize> = labels.iter().map(|&label| renamed[label]).collect();
    labels.sort_unstable();
    labels
}

impl OfSeeds {
    fn new(
        places: (usize, usize),
        one: &SeedDecisions,
        other: &SeedDecisions,
        common: &[(usize, usize)],
        renamed: &[usize],
        songs: &HashMap<&str, usize>,
    ) -> OfSeeds {
        let n_classes = renamed.len();
        let truth: Vec<Vec<usize>> = common.iter().map(|&(a, _)| one.split.clips[a].truth.clone()).collect();
        let mut decided: Vec<Vec<usize>> = common.iter().map(|&(a, _)| one.decided[a].clone()).collect();
        decided.extend(common.iter().map(|&(_, b)| in_classes(&other.decided[b], renamed)));
        let mut probabilities: Vec<f32> = Vec::with_capacity(2 * common.len() * n_classes);
        common.iter().for_each(|&(a, _)| probabilities.extend(one.split.predictions.row(a)));
        for &(_, b) in common {
            let mut row = vec![0.0; n_classes];
            renamed.iter().zip(other.split.predictions.row(b)).for_each(|(&class, &p)| row[class] = p);
            probabilities.extend(row);
        }
        OfSeeds {
            numbers: (one.seed, other.seed),
            places,
            paths: common.iter().map(|&(a, _)| one.split.clips[a].path.clone()).collect(),
            song: common.iter().map(|&(a, _)| songs[one.split.clips[a].song.as_str()]).collect(),
            truth: [truth.clone(), truth].concat(),
            decided,
            said: Predictions { n_classes, probabilities },
        }
    }

    fn differs(&self, of_probabilities: bool) -> Vec<bool> {
        let n = self.song.len();
        let differs = |clip: usize| match of_probabilities {
            true => self.said.row(clip) != self.said.row(n + clip),
            false => self.decided[clip] != self.decided[n + clip],
        };
        (0..n).map(differs).collect()
    }
}

impl MatchedDecisions {
    /// Whether both said the same of everything, as far as a metric knows.
    pub fn is_same(&self, metric: &str) -> bool {
        let of_probabilities = metrics::is_of_probabilities(self.task, metric);
        self.pairs.iter().all(|pair| !pair.differs(of_probabilities).contains(&true))
    }

    /// The pairs, ready to be scored by that metric.
    pub fn pairs(&self, metric: &str) -> Vec<PairedScore<'_>> {
        let of_probabilities = metrics::is_of_probabilities(self.task, metric);
        let mut ready = Vec::new();
        for pair in &self.pairs {
            ready.push(PairedScore {
                seeds: pair.places,
                song: pair.song.clone(),
                differs: pair.differs(of_probabilities),
                score: metrics::weighted_metric(self.task, metric, &pair.truth, &pair.decided, &pair.said),
            });
        }
        ready
    }

    /// The scores of both on their common recordings, for each pair of seeds.
    pub fn scores(&self) -> Vec<[Scores; 2]> {
        let decision_rule = DecisionRule { task: self.task, ..DecisionRule::default() };
        let of_pair = |pair: &OfSeeds| {
            let (n, k) = (pair.song.len(), pair.said.n_classes);
            [0, n].map(|from| {
                let truth = &pair.truth[from..from + n];
                let mut scores = decision_rule.score(truth, &pair.decided[from..from + n], k);
                let probabilities = pair.said.probabilities[from * k..(from + n) * k].to_vec();
                let said = Predictions { n_classes: k, probabilities };
                scores.metrics.extend(metrics::probability_scores(self.task, truth, &said));
                scores
            })
        };
        self.pairs.iter().map(of_pair).collect()
    }

    /// The recordings that one has right with more seeds than the other, the largest change first, then by path.
    pub fn changed_sides(&self) -> Vec<ChangedDecision> {
        let mut by_path: BTreeMap<&str, ChangedDecision> = BTreeMap::new();
        for pair in &self.pairs {
            let n = pair.song.len();
            for (clip, path) in pair.paths.iter().enumerate() {
                let own = by_path.entry(path).or_insert_with(|| ChangedDecision {
                    path: path.clone(),
                    truth: pair.truth[clip].clone(),
                    decided: Default::default(),
                    right: [0, 0],
                    seeds: 0,
                });
                own.seeds += 1;
                for (side, at) in [clip, n + clip].into_iter().enumerate() {
                    own.right[side] += usize::from(pair.decided[at] == pair.truth[at]);
                    if !own.decided[side].contains(&pair.decided[at]) {
                        own.decided[side].push(pair.decided[at].clone());
                    }
                }
            }
        }
        let mut changed: Vec<ChangedDecision> =
            by_path.into_values().filter(|own| own.right[0] != own.right[1]).collect();
        changed.sort_by_key(|own| std::cmp::Reverse(own.right[0].abs_diff(own.right[1])));
        changed
    }

    /// The seeds of each pair: of the reference, of the line.
    pub fn seed_numbers(&self) -> Vec<(u64, u64)> {
        self.pairs.iter().map(|pair| pair.numbers).collect()
    }
}
