//! The keys of `[grid]` that are not axes.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A sweep over the keys of the file. Any key can be an axis, with a list of values or a range. The runs are the product of
/// the axes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct GridSpec {
    /// Random search: run this many points, drawn without repetition, instead of the whole product.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10000))]
    pub sample: Option<usize>,
    /// The seed of `sample`. The same seed draws the same points, and a larger `sample` adds to them. Default: 1.
    pub sample_seed: u64,
    /// How the points of `sample` are chosen: "random", or "tpe" by the validation scores of the points before. Default: "random".
    #[serde(skip_serializing_if = "Sampler::is_random")]
    pub sampler: Sampler,
    /// With "tpe": the number of points that are drawn at random first. Default: 10.
    #[schemars(range(min = 2, max = 10000))]
    pub startup: usize,
    /// With "tpe": the number of points that are chosen at once and can run at the same time. Default: 1.
    #[schemars(range(min = 1, max = 1000))]
    pub batch: usize,
    /// Successive halving: start all points with a small budget and give a larger one only to the best.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub halving: Option<HalvingSpec>,
}

impl Default for GridSpec {
    fn default() -> Self {
        GridSpec { sample: None, sample_seed: 1, sampler: Sampler::Random, startup: 10, batch: 1, halving: None }
    }
}

/// How the points of a sample are chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Sampler {
    /// Random search.
    #[default]
    Random,
    /// A tree-structured Parzen estimator.
    Tpe,
}

impl Sampler {
    fn is_random(&self) -> bool {
        *self == Sampler::Random
    }
}

/// A search that chooses points by the scores of those before.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TpeSpec {
    /// The number of points to run.
    pub sample: usize,
    pub startup: usize,
    pub batch: usize,
    pub seed: u64,
}

impl GridSpec {
    /// The search among that many candidates.
    pub fn tpe(&self, candidates: usize) -> Option<TpeSpec> {
        let sample = self.sample.filter(|_| self.sampler == Sampler::Tpe)?.min(candidates);
        let startup = self.startup.min(sample);
        Some(TpeSpec { sample, startup, batch: self.batch, seed: self.sample_seed })
    }
}

/// Successive halving. Every round multiplies the budget by `eta` and keeps one point in `eta`, the best on the validation split.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HalvingSpec {
    /// The key of the budget: "models.NAME.epochs".
    #[schemars(length(min = 1))]
    pub key: String,
    /// The budget of the first round.
    #[schemars(range(min = 1))]
    pub from: u64,
    /// The budget of the last round.
    #[schemars(range(min = 1))]
    pub to: u64,
    /// The budget grows by this factor from round to round, and the number of points shrinks by it. Default: 3.
    #[serde(default = "three")]
    #[schemars(range(min = 2, max = 100))]
    pub eta: u64,
}

fn three() -> u64 {
    3
}

impl HalvingSpec {
    /// The budget of each round.
    pub fn budgets(&self) -> Vec<u64> {
        let grown = std::iter::successors(Some(self.from), |budget| budget.checked_mul(self.eta));
        grown.take_while(|&budget| budget < self.to).chain([self.to]).collect()
    }

    /// The rounds after the one with this budget, as (budget, number of points). That round has `points`, of which at most `left`
    /// can continue.
    pub fn later_rounds(&self, budget: u64, points: usize, left: usize) -> Vec<(u64, usize)> {
        let (mut points, mut left) = (points, left);
        let mut later = Vec::new();
        for next in self.budgets().into_iter().filter(|&next| next > budget) {
            points = self.survivors(points).min(left);
            left = points;
            later.push((next, points));
        }
        later.retain(|&(_, points)| points > 0);
        later
    }

    /// How many of `points` continue to the next round.
    pub fn survivors(&self, points: usize) -> usize {
        (points / self.eta as usize).max(1).min(points)
    }
}
