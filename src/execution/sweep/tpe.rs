//! Chooses the next points of a sweep by the scores of those before: a tree-structured Parzen estimator (TPE).
//!
//! Conventions: Bergstra et al. 2011, each axis by itself, as hyperopt and Optuna by default. The best of the scored points are "good", the others
//! "bad". On each axis both have a density: a mixture of a normal distribution at each point, as wide as the distance to its neighbours, and of
//! the distribution of the candidates. Of some candidates that are drawn by the density of the good ones, the one with the largest ratio of good to bad is
//! next. Differences: candidates are those points of the grid, drawn once, that have not been run; and an axis of numbers is measured by the rank
//! of a value among theirs, so that a logarithmic range and a list need no scale of their own. An axis with anything but numbers has a share for each value.
//!
//! A point without a score is bad. The choice is a function of the seed, the candidates and the scores; it is the same after a kill.

use std::collections::BTreeMap;

use serde_json::Value as Json;

use timbre_core::seed::{Seed, uniform};
use timbre_evaluation::metrics::gain;
use timbre_experiment::{ExpandedGrid, TpeSpec};
use timbre_runs::sweep_record::PointRecord;

/// The share of the points that is good.
const GOOD: f64 = 0.15;
/// The number of candidates that are drawn by the density of the good points.
const DRAWN: usize = 24;

/// The indices of the next points after these, at most a batch; none if all are known.
pub fn next(grid: &ExpandedGrid, spec: &TpeSpec, known: &[PointRecord]) -> Vec<usize> {
    let score = |point: &PointRecord| {
        // Never the test split: a score on the split of the choice is not a result.
        let score = point.score.as_ref().filter(|score| point.status.is_final() && score.split == "validation")?;
        Some(gain(&score.metric, score.value))
    };
    let mut observed: Vec<(usize, Option<f64>)> = known.iter().map(|point| (point.number - 1, score(point))).collect();
    observed.sort_unstable_by_key(|(index, _)| *index);
    let points: Vec<Vec<&Json>> = grid.points.iter().map(|point| point.values.values().collect()).collect();
    let candidates = Candidates::new(&points);
    let mut chosen = Vec::new();
    while chosen.len() < spec.batch && observed.len() < spec.sample {
        let seed = Seed::new(spec.seed).child("tpe").child(observed.len());
        let index = candidates.next(&observed, seed);
        // The others of a batch avoid it, as long as it has no score.
        observed.push((index, None));
        chosen.push(index);
    }
    chosen
}

/// The points that may be run, by axis.
struct Candidates {
    axes: Vec<Axis>,
    points: usize,
}

enum Axis {
    /// The rank of each point, from 0 to 1.
    Numbers(Vec<f64>),
    /// The number of the value of each point, and how many values there are.
    Words(Vec<usize>, usize),
}

impl Candidates {
    fn new(points: &[Vec<&Json>]) -> Candidates {
        let axes = points.first().map_or(0, Vec::len);
        let axis = |axis: usize| {
            let values: Vec<&Json> = points.iter().map(|point| point[axis]).collect();
            match values.iter().map(|value| value.as_f64()).collect::<Option<Vec<f64>>>() {
                Some(numbers) => {
                    let mut sorted = numbers.clone();
                    sorted.sort_unstable_by(f64::total_cmp);
                    sorted.dedup();
                    let most = (sorted.len() - 1).max(1) as f64;
                    let rank = |number: &f64| sorted.partition_point(|other| other < number) as f64 / most;
                    Axis::Numbers(numbers.iter().map(rank).collect())
                }
                None => {
                    let mut known: BTreeMap<String, usize> = BTreeMap::new();
                    let number = |value: &&Json| {
                        let next = known.len();
                        *known.entry(value.to_string()).or_insert(next)
                    };
                    let numbers: Vec<usize> = values.iter().map(number).collect();
                    Axis::Words(numbers, known.len())
                }
            }
        };
        Candidates { axes: (0..axes).map(axis).collect(), points: points.len() }
    }

    /// The next point, which is not among the observed ones.
    fn next(&self, observed: &[(usize, Option<f64>)], seed: Seed) -> usize {
        let mut ranked: Vec<(usize, Option<f64>)> = observed.to_vec();
        ranked.sort_by(|a, b| match (a.1, b.1) {
            (Some(a), Some(b)) => b.total_cmp(&a),
            (a, b) => b.is_some().cmp(&a.is_some()),
        });
        let scored = ranked.iter().filter(|(_, score)| score.is_some()).count();
        let good = ((GOOD * ranked.len() as f64).ceil() as usize).min(scored);
        let (good, bad) = ranked.split_at(good);
        let of = |part: &[(usize, Option<f64>)]| -> Vec<Density> {
            self.axes.iter().map(|axis| Density::new(axis, part.iter().map(|(index, _)| *index))).collect()
        };
        let (good, bad) = (of(good), of(bad));
        let log = |densities: &[Density], point: usize| -> f64 {
            self.axes.iter().zip(densities).map(|(axis, density)| density.at(axis, point).ln()).sum()
        };
        let mut taken = vec![false; self.points];
        observed.iter().for_each(|(index, _)| taken[*index] = true);
        let open: Vec<usize> = (0..self.points).filter(|&point| !taken[point]).collect();
        let logs: Vec<f64> = open.iter().map(|&point| log(&good, point)).collect();
        let mut rng = seed.rng();
        // Drawn without replacement in proportion to the density: the largest of log density plus Gumbel noise.
        let mut drawn: Vec<(f64, usize)> =
            logs.iter().enumerate().map(|(at, log)| (log - (-uniform(&mut rng).max(1e-300).ln()).ln(), at)).collect();
        drawn.sort_by(|a, b| b.0.total_cmp(&a.0));
        drawn.truncate(DRAWN);
        let ratio = |at: usize| logs[at] - log(&bad, open[at]);
        let best = drawn.iter().map(|&(_, at)| at).max_by(|&a, &b| ratio(a).total_cmp(&ratio(b)).then(b.cmp(&a)));
        open[best.expect("a point is left")]
    }
}

/// The density of some points on one axis.
enum Density {
    /// The places of the points, and the width of the normal distribution at each.
    Numbers(Vec<(f64, f64)>),
    Words(Vec<f64>),
}

impl Density {
    fn new(axis: &Axis, points: impl Iterator<Item = usize>) -> Density {
        match axis {
            Axis::Numbers(ranks) => {
                let mut places: Vec<f64> = points.map(|point| ranks[point]).collect();
                places.sort_unstable_by(f64::total_cmp);
                let least = 1.0 / (places.len() + 1).min(100) as f64;
                let width = |at: usize| {
                    let below = at.checked_sub(1).map_or(0.0, |below| places[below]);
                    let above = places.get(at + 1).copied().unwrap_or(1.0);
                    (places[at] - below).max(above - places[at]).clamp(least, 1.0)
                };
                Density::Numbers((0..places.len()).map(|at| (places[at], width(at))).collect())
            }
            Axis::Words(numbers, all) => {
                let mut counts = vec![1.0 / *all as f64; *all];
                points.for_each(|point| counts[numbers[point]] += 1.0);
                let sum: f64 = counts.iter().sum();
                Density::Words(counts.iter().map(|count| count / sum).collect())
            }
        }
    }

    fn at(&self, axis: &Axis, point: usize) -> f64 {
        match (self, axis) {
            (Density::Numbers(places), Axis::Numbers(ranks)) => {
                let below = |x: f64| 0.5 * libm::erfc(-x / std::f64::consts::SQRT_2);
                let normal = |(place, width): &(f64, f64)| {
                    let x = (ranks[point] - place) / width;
                    let inside = below((1.0 - place) / width) - below(-place / width);
                    (-0.5 * x * x).exp() / (width * (2.0 * std::f64::consts::PI).sqrt() * inside)
                };
                (1.0 + places.iter().map(normal).sum::<f64>()) / (places.len() + 1) as f64
            }
            (Density::Words(shares), Axis::Words(numbers, _)) => shares[numbers[point]],
            _ => unreachable!("a density is of its axis"),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Points of a rate (logarithmic), a depth, a word, and an axis that does not matter.
    fn points(seed: u64, n: usize) -> Vec<Vec<Json>> {
        let mut rng = Seed::new(seed).child("points").rng();
        let mut draw = || uniform(&mut rng);
        (0..n)
            .map(|_| {
                let (rate, depth, word, other) = (10f64.powf(-5.0 + 5.0 * draw()), draw(), draw(), draw());
                vec![
                    json!(rate),
                    json!((1.0 + depth * 12.0).floor()),
                    json!(["a", "b", "c"][(word * 3.0) as usize]),
                    json!(other),
                ]
            })
            .collect()
    }

    /// Best, with 0, at a rate of 0.01, a depth of 4, and "b".
    fn score(point: &[Json]) -> f64 {
        let rate = (point[0].as_f64().unwrap().log10() + 2.0) / 2.0;
        let depth = (point[1].as_f64().unwrap() - 4.0) / 4.0;
        -rate * rate - depth * depth - if point[2] == "b" { 0.0 } else { 0.7 }
    }

    /// The number of points until a score of the best hundredth is found.
    fn needed(seed: u64, startup: usize) -> usize {
        let points = points(seed, 1000);
        let values: Vec<Vec<&Json>> = points.iter().map(|point| point.iter().collect()).collect();
        let candidates = Candidates::new(&values);
        let mut scores: Vec<f64> = points.iter().map(|point| score(point)).collect();
        let observe = |index: usize| (index, Some(score(&points[index])));
        let mut observed: Vec<(usize, Option<f64>)> = Vec::new();
        scores.sort_by(|a, b| b.total_cmp(a));
        while observed.last().is_none_or(|(_, score)| score.unwrap() < scores[9]) && observed.len() < points.len() {
            let at = observed.len();
            let index = if at < startup { at } else { candidates.next(&observed, Seed::new(seed).child(at)) };
            observed.push(observe(index));
        }
        observed.len()
    }

    #[test]
    fn fewer_points_than_a_random_search_needs_find_the_best_hundredth() {
        let mean = |startup: usize| (0..30).map(|seed| needed(seed, startup)).sum::<usize>() as f64 / 30.0;
        let (tpe, random) = (mean(10), mean(usize::MAX));
        // A random search finds one of 10 in 1000 after 91 on average.
        assert!((60.0..130.0).contains(&random), "{random}");
        assert!(tpe < 0.5 * random, "{tpe} of {random}");
    }

    #[test]
    fn no_point_is_chosen_twice_and_points_without_a_score_are_avoided() {
        let points: Vec<Vec<Json>> = (0..40).map(|n| vec![json!(n)]).collect();
        let values: Vec<Vec<&Json>> = points.iter().map(|point| point.iter().collect()).collect();
        let candidates = Candidates::new(&values);
        // The upper half fails.
        let result = |index: usize| (index, (index < 20).then_some(index as f64 / 100.0));
        let mut observed: Vec<(usize, Option<f64>)> = [0, 10, 19, 25, 30, 35, 39].map(result).into();
        for step in 0..33 {
            let index = candidates.next(&observed, Seed::new(step).child(step));
            assert!(!observed.iter().any(|(known, _)| *known == index));
            observed.push(result(index));
        }
        assert_eq!(observed.len(), 40);
        let early = observed[7..17].iter().filter(|(_, score)| score.is_some()).count();
        assert!(early >= 6, "{early} of 10: {observed:?}");
    }
}
