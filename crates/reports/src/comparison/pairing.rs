//! Pairs the decisions of two models: the same recordings, with the same labels and content, of corresponding seeds.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::significance::{PairedScore, SeedPairing};
use timbre_core::labels::{Classes, Labels, Task};
use timbre_core::text::count;
use timbre_evaluation::{
    metrics::{self, DecisionRule, Scores},
    predictions::Predictions,
};
use timbre_runs::run_dir::SplitRecord;

/// The decisions of one model of a run, for each seed.
pub struct ModelDecisions<'a> {
    pub classes: &'a Classes,
    pub decision_rule: &'a DecisionRule,
    /// The content hash of each recording by its path, if the run has them.
    pub contents: Option<&'a HashMap<String, String>>,
    pub by_seed: Vec<SeedDecisions<'a>>,
}

/// The decisions of one seed on one split.
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

/// The decisions of two models on their common recordings.
#[derive(Debug)]
pub struct MatchedDecisions {
    pub task: Task,
    pub seeds: SeedPairing,
    /// Distinct recordings.
    pub clips: usize,
    /// By the groups of the reference, and by those of the other model's run.
    pub songs: usize,
    pub songs_of_line: usize,
    /// Recordings of the same path that were left out because their labels (`relabelled`) or contents (`changed`) differ.
    pub relabelled: usize,
    pub changed: usize,
    /// Whether contents could be compared, not paths only.
    pub by_content: bool,
    pub only_reference_right: usize,
    pub only_line_right: usize,
    pairs: Vec<SeedPairDecisions>,
}

/// A recording that one model decides right more often than the other. Labels are those of the reference.
#[derive(Clone, Debug, PartialEq)]
pub struct ChangedDecision {
    pub path: String,
    pub truth: Labels,
    /// The distinct decisions of the reference and of the other model, over their seeds.
    pub decided: [Vec<Vec<usize>>; 2],
    /// With how many of the seeds each was right.
    pub right: [usize; 2],
    pub seeds: usize,
}

#[derive(Debug)]
struct SeedPairDecisions {
    numbers: (u64, u64),
    places: (usize, usize),
    paths: Vec<String>,
    song: Vec<usize>,
    /// Twice the recordings: first as the reference decided, then as the other model did.
    truth: Vec<Labels>,
    decided: Vec<Vec<usize>>,
    predictions: Predictions,
}

/// Pairs two models on their common recordings, or says why nothing can be compared.
pub fn match_decisions(reference: &ModelDecisions, line: &ModelDecisions) -> Result<MatchedDecisions, String> {
    if reference.decision_rule.task != line.decision_rule.task {
        return Err("its task differs from that of the reference".into());
    }
    let renamed = renamed(reference.classes, line.classes)?;
    let (seeds, chosen) = pairs_of_seeds(reference, line);
    let mut incomparable = Incomparable::default();
    let (mut paths, mut names, mut other_names) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    let mut found = Vec::new();
    for (places, one, other) in chosen {
        let common = common(reference, line, one, other, &renamed, &mut incomparable);
        if common.is_empty() {
            continue;
        }
        for &(a, b) in &common {
            paths.insert(one.split.clips[a].path.as_str());
            names.insert(one.split.clips[a].song.as_str());
            other_names.insert(other.split.clips[b].song.as_str());
        }
        found.push((places, one, other, common));
    }
    if found.is_empty() {
        return Err(incomparable.reason());
    }
    let songs: HashMap<&str, usize> = names.iter().enumerate().map(|(at, name)| (*name, at)).collect();
    let pairs: Vec<SeedPairDecisions> = found
        .into_iter()
        .map(|(places, one, other, common)| SeedPairDecisions::new(places, one, other, &common, &renamed, &songs))
        .collect();
    let right = |pair: &SeedPairDecisions, clip: usize| pair.truth[clip].is_exactly(&pair.decided[clip]);
    let alone = |which: bool| {
        let of_pair = |pair: &SeedPairDecisions| {
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
        songs_of_line: other_names.len(),
        relabelled: incomparable.relabelled.len(),
        changed: incomparable.changed.len(),
        by_content: reference.contents.is_some() && line.contents.is_some(),
        only_reference_right: alone(true),
        only_line_right: alone(false),
        pairs,
    })
}

/// The index in the class list of the reference, for each class of the other model.
fn renamed(reference: &Classes, line: &Classes) -> Result<Vec<usize>, String> {
    let only = |one: &Classes, other: &Classes| {
        let names = one.names().iter().filter(|name| other.index(name).is_none());
        names.map(String::as_str).collect::<Vec<_>>().join(", ")
    };
    let (gone, new) = (only(reference, line), only(line, reference));
    match (gone.is_empty(), new.is_empty()) {
        (true, true) => Ok(line.names().iter().map(|name| reference.index(name).expect("both have it")).collect()),
        (false, true) => Err(format!("its classes differ from those of the reference: {gone} missing")),
        (true, false) => Err(format!("its classes differ from those of the reference: {new} added")),
        (false, false) => Err(format!("its classes differ from those of the reference: {new} instead of {gone}")),
    }
}

type SeedPair<'s, 'a> = ((usize, usize), &'s SeedDecisions<'a>, &'s SeedDecisions<'a>);

/// Pairs each common seed with itself, because its split is the same in both. Without a common seed, pairs every seed with every seed.
fn pairs_of_seeds<'s, 'a>(
    reference: &'s ModelDecisions<'a>,
    line: &'s ModelDecisions<'a>,
) -> (SeedPairing, Vec<SeedPair<'s, 'a>>) {
    let mut same = Vec::new();
    for one in &reference.by_seed {
        if let Some(other) = line.by_seed.iter().find(|other| other.seed == one.seed) {
            same.push(((same.len(), same.len()), one, other));
        }
    }
    if !same.is_empty() {
        return (SeedPairing::Matched, same);
    }
    let each = reference
        .by_seed
        .iter()
        .enumerate()
        .flat_map(|(a, one)| line.by_seed.iter().enumerate().map(move |(b, other)| ((a, b), one, other)));
    (SeedPairing::Crossed(reference.by_seed.len(), line.by_seed.len()), each.collect())
}

/// Common paths whose recordings cannot be compared.
#[derive(Default)]
struct Incomparable {
    relabelled: BTreeSet<String>,
    changed: BTreeSet<String>,
}

impl Incomparable {
    fn reason(&self) -> String {
        match (self.changed.len(), self.relabelled.len()) {
            (0, 0) => "no recording was tested in both".to_owned(),
            (changed, 0) => format!("what was tested in both ({}) has different content", count(changed, "recording")),
            (0, labels) => format!("what was tested in both ({}) has different labels", count(labels, "recording")),
            (changed, labels) => {
                format!(
                    "of the recordings that were tested in both, {changed} have different content and {labels} different labels"
                )
            }
        }
    }
}

/// The indices of the common recordings in both, in the order of their paths.
fn common(
    reference: &ModelDecisions,
    line: &ModelDecisions,
    one: &SeedDecisions,
    other: &SeedDecisions,
    renamed: &[usize],
    incomparable: &mut Incomparable,
) -> Vec<(usize, usize)> {
    let by_path: HashMap<&str, usize> =
        one.split.clips.iter().enumerate().map(|(at, clip)| (clip.path.as_str(), at)).collect();
    let mut found = Vec::new();
    for (at, clip) in other.split.clips.iter().enumerate() {
        let Some(&first) = by_path.get(clip.path.as_str()) else { continue };
        let content = |side: &ModelDecisions| side.contents.and_then(|contents| contents.get(&clip.path).cloned());
        let (a, b) = (content(reference), content(line));
        if a.is_some() && b.is_some() && a != b {
            incomparable.changed.insert(clip.path.clone());
        } else if one.split.clips[first].truth
            != Labels::new(in_classes(&clip.truth, renamed), in_classes(clip.truth.unknown(), renamed))
        {
            incomparable.relabelled.insert(clip.path.clone());
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

impl SeedPairDecisions {
    fn new(
        places: (usize, usize),
        one: &SeedDecisions,
        other: &SeedDecisions,
        common: &[(usize, usize)],
        renamed: &[usize],
        songs: &HashMap<&str, usize>,
    ) -> SeedPairDecisions {
        let n_classes = renamed.len();
        let truth: Vec<Labels> = common.iter().map(|&(a, _)| one.split.clips[a].truth.clone()).collect();
        let mut decided: Vec<Vec<usize>> = common.iter().map(|&(a, _)| one.decided[a].clone()).collect();
        decided.extend(common.iter().map(|&(_, b)| in_classes(&other.decided[b], renamed)));
        let mut probabilities: Vec<f32> = Vec::with_capacity(2 * common.len() * n_classes);
        common.iter().for_each(|&(a, _)| probabilities.extend(one.split.predictions.row(a)));
        for &(_, b) in common {
            let mut row = vec![0.0; n_classes];
            renamed.iter().zip(other.split.predictions.row(b)).for_each(|(&class, &p)| row[class] = p);
            probabilities.extend(row);
        }
        SeedPairDecisions {
            numbers: (one.seed, other.seed),
            places,
            paths: common.iter().map(|&(a, _)| one.split.clips[a].path.clone()).collect(),
            song: common.iter().map(|&(a, _)| songs[one.split.clips[a].song.as_str()]).collect(),
            truth: [truth.clone(), truth].concat(),
            decided,
            predictions: Predictions { n_classes, probabilities },
        }
    }

    fn differs(&self, of_probabilities: bool) -> Vec<bool> {
        let n = self.song.len();
        let differs = |clip: usize| match of_probabilities {
            true => self.predictions.row(clip) != self.predictions.row(n + clip),
            false => self.decided[clip] != self.decided[n + clip],
        };
        (0..n).map(differs).collect()
    }
}

impl MatchedDecisions {
    /// Whether both are equal as far as the metric can tell: in their decisions, or in their probabilities.
    pub fn is_same(&self, metric: &str) -> bool {
        let of_probabilities = metrics::is_of_probabilities(self.task, metric);
        self.pairs.iter().all(|pair| !pair.differs(of_probabilities).contains(&true))
    }

    /// The pairs of seeds with their scores by this metric.
    pub fn pairs(&self, metric: &str) -> Vec<PairedScore<'_>> {
        let of_probabilities = metrics::is_of_probabilities(self.task, metric);
        let mut ready = Vec::new();
        for pair in &self.pairs {
            ready.push(PairedScore {
                seeds: pair.places,
                song: pair.song.clone(),
                differs: pair.differs(of_probabilities),
                score: metrics::weighted_metric(self.task, metric, &pair.truth, &pair.decided, &pair.predictions),
            });
        }
        ready
    }

    /// The scores of both on their common recordings, for each pair of seeds.
    pub fn scores(&self) -> Vec<[Scores; 2]> {
        let decision_rule = DecisionRule { task: self.task, ..DecisionRule::default() };
        let of_pair = |pair: &SeedPairDecisions| {
            let (n, k) = (pair.song.len(), pair.predictions.n_classes);
            [0, n].map(|from| {
                let truth = &pair.truth[from..from + n];
                let mut scores = decision_rule.score(truth, &pair.decided[from..from + n], k);
                let probabilities = pair.predictions.probabilities[from * k..(from + n) * k].to_vec();
                let predictions = Predictions { n_classes: k, probabilities };
                scores.metrics.extend(metrics::probability_scores(self.task, truth, &predictions));
                scores
            })
        };
        self.pairs.iter().map(of_pair).collect()
    }

    /// The recordings that one decides right with more seeds than the other: the largest change first, then by path.
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
                    own.right[side] += usize::from(pair.truth[at].is_exactly(&pair.decided[at]));
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

    /// The seeds of each pair: of the reference, and of the other model.
    pub fn seed_numbers(&self) -> Vec<(u64, u64)> {
        self.pairs.iter().map(|pair| pair.numbers).collect()
    }
}
