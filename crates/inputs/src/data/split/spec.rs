//! `[split]`: how the recordings are divided into training, validation and test.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::data::ClipRecord;
use timbre_core::registry::Fault;

/// What tables, reports and comparisons say of a split that divides songs.
pub const LEAKY: &str = "leaky split: clips of one song may be in training and test, so scores are too good";

/// How to split the recordings: `[split]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum SplitSpec {
    Holdout(Holdout),
    Official(Official),
    Folds(Folds),
    TestOnly(TestOnly),
    CrossValidation(CrossValidation),
    Random(Random),
}

/// Holds out a share of the training recordings, in whole songs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Holdout {
    /// Share of the recordings of each class for testing.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub test: f64,
    /// Share of the recordings of each class for validation, on which thresholds and epochs are chosen.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub validation: f64,
    /// Share of the recordings of each class for training, to see how a model does with fewer; the rest is not used. Default: all that are
    /// neither for testing nor for validation.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub train: Option<f64>,
    /// Seed of the choice of songs. Default: the seed of the run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
}

impl Default for Holdout {
    fn default() -> Self {
        Holdout { test: 0.2, validation: 0.0, train: None, seed: None }
    }
}

/// The subsets that the makers of the set declare.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Official {
    /// Share of the training recordings for validation, in whole songs; for sets without a declared validation subset.
    /// Default: 0.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub validation: f64,
    /// Share of the training recordings, in whole songs, that is evaluated beside the test set as a split `held_out` of its own:
    /// it shows how a model does on songs like its training songs. Default: 0.
    #[serde(skip_serializing_if = "crate::data::is_zero")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub held_out: f64,
}

/// Splits by the official folds of the set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Folds {
    /// Folds for testing.
    pub test: Vec<String>,
    /// Folds for validation. All others are for training.
    pub validation: Vec<String>,
}

impl Default for Folds {
    fn default() -> Self {
        Folds { test: vec!["1".to_owned()], validation: Vec::new() }
    }
}

/// Every recording is a test recording: for the models of another run (`models_from`), on recordings that they were not trained on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TestOnly {}

/// Holds out a share of the training recordings, recording by recording: clips of one song may be on both sides. To repeat published
/// numbers that were measured so. Refused where several recordings are of one song, unless `leaky = true`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Random {
    /// Share of the recordings of each class for testing.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub test: f64,
    /// Share of the recordings of each class for validation.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub validation: f64,
    /// Share of the recordings of each class for training; the rest is not used. Default: all that are neither for testing nor for
    /// validation.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub train: Option<f64>,
    /// Seed of the choice of recordings. Default: the seed of the run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// Divides songs, which makes scores too good. Tables, reports and comparisons say so. Default: false.
    #[serde(skip_serializing_if = "crate::data::is_false")]
    pub leaky: bool,
}

impl Default for Random {
    fn default() -> Self {
        Random { test: 0.2, validation: 0.0, train: None, seed: None, leaky: false }
    }
}

impl Random {
    pub(super) fn holdout(&self) -> Holdout {
        Holdout { test: self.test, validation: self.validation, train: self.train, seed: self.seed }
    }
}

/// Tests on each fold once: seed 1 on the first fold, seed 2 on the second, and so on, so that the tables show each fold as a seed,
/// and their mean and deviation. With `seeds = [1, 2, 3, 4, 5]` all of five folds are tested.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CrossValidation {
    /// The number of folds of whole songs with similar shares of each class; "official" for the folds of the set; "songs" to
    /// leave one song out at a time. Default: 5.
    pub folds: FoldChoice,
    /// Share of the other recordings for validation, in whole songs. Default: 0.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub validation: f64,
    /// Seed of the assignment of songs to folds, which is the same for all seeds of the run. Default: 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
}

/// The folds of a cross-validation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum FoldChoice {
    Number(#[schemars(range(min = 2))] usize),
    Named(NamedFolds),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum NamedFolds {
    Official,
    Songs,
}

impl Default for CrossValidation {
    fn default() -> Self {
        CrossValidation { folds: FoldChoice::Number(5), validation: 0.0, seed: None }
    }
}

impl Default for SplitSpec {
    fn default() -> Self {
        SplitSpec::Holdout(Holdout::default())
    }
}

impl SplitSpec {
    pub const KINDS: &'static [&'static str] =
        &["holdout", "official", "folds", "test_only", "cross_validation", "random"];

    /// Whether clips of one song may be on both sides.
    pub fn is_leaky(&self) -> bool {
        matches!(self, SplitSpec::Random(Random { leaky: true, .. }))
    }

    /// The kind in a TOML file.
    pub fn kind(&self) -> &'static str {
        match self {
            SplitSpec::Holdout(_) => "holdout",
            SplitSpec::Official(_) => "official",
            SplitSpec::Folds(_) => "folds",
            SplitSpec::TestOnly(_) => "test_only",
            SplitSpec::CrossValidation(_) => "cross_validation",
            SplitSpec::Random(_) => "random",
        }
    }

    /// Whether only recordings of the declared training subset take part.
    pub fn divides_training_alone(&self) -> bool {
        match self {
            SplitSpec::Holdout(_) | SplitSpec::Random(_) => true,
            SplitSpec::CrossValidation(spec) => spec.folds != FoldChoice::Named(NamedFolds::Official),
            SplitSpec::Official(_) | SplitSpec::Folds(_) | SplitSpec::TestOnly(_) => false,
        }
    }

    /// The number of folds of a cross-validation of these recordings.
    pub fn number_of_folds(&self, records: &[&ClipRecord]) -> Option<usize> {
        let SplitSpec::CrossValidation(spec) = self else { return None };
        let distinct = |names: &mut dyn Iterator<Item = &str>| names.collect::<BTreeSet<_>>().len();
        Some(match spec.folds {
            FoldChoice::Number(n) => n,
            FoldChoice::Named(NamedFolds::Official) => distinct(&mut records.iter().filter_map(|r| r.fold.as_deref())),
            FoldChoice::Named(NamedFolds::Songs) => distinct(&mut records.iter().map(|r| r.group.as_str())),
        })
    }

    /// Whether there can be validation recordings. The makers of a set may declare some.
    pub fn may_have_validation(&self) -> bool {
        match self {
            SplitSpec::Holdout(holdout) => holdout.validation > 0.0,
            SplitSpec::Official(_) => true,
            SplitSpec::Folds(folds) => !folds.validation.is_empty(),
            SplitSpec::TestOnly(_) => false,
            SplitSpec::CrossValidation(spec) => spec.validation > 0.0,
            SplitSpec::Random(random) => random.validation > 0.0,
        }
    }

    /// Invalid keys, each with a sentence.
    pub fn faults(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        let mut fault = |key: &str, sentence: String| faults.push(Fault::new(key, sentence));
        match self {
            SplitSpec::TestOnly(_) => {}
            SplitSpec::Official(official) => {
                let (validation, held_out) = (official.validation, official.held_out);
                if !(0.0..1.0).contains(&validation) {
                    fault("validation", format!("{validation} is not a share from 0 to below 1"));
                }
                if !(0.0..1.0).contains(&held_out) {
                    fault("held_out", format!("{held_out} is not a share from 0 to below 1"));
                } else if validation < 1.0 && held_out + validation >= 1.0 {
                    let both = format!("held_out {held_out} and validation {validation}");
                    fault("held_out", format!("{both} leave nothing to train on"));
                }
            }
            SplitSpec::Random(random) => return SplitSpec::Holdout(random.holdout()).faults(),
            SplitSpec::Holdout(holdout) => {
                let (test, validation) = (holdout.test, holdout.validation);
                if !(test > 0.0 && test < 1.0) {
                    fault("test", format!("{test} is not a share between 0 and 1"));
                }
                if !(0.0..1.0).contains(&validation) {
                    fault("validation", format!("{validation} is not a share from 0 to below 1"));
                } else if test < 1.0 && test + validation >= 1.0 {
                    fault("validation", format!("test {test} and validation {validation} leave nothing to train on"));
                } else if let Some(train) = holdout.train
                    && !(train > 0.0 && train + test + validation <= 1.0 + 1e-9)
                {
                    let rest = 1.0 - test - validation;
                    fault(
                        "train",
                        format!("{train} is not a share above 0 and up to {rest:.3}, what test and validation leave"),
                    );
                }
            }
            SplitSpec::CrossValidation(spec) => {
                if matches!(spec.folds, FoldChoice::Number(0 | 1)) {
                    fault("folds", "must be at least 2: each fold is tested with a model of the others".into());
                }
                if !(0.0..1.0).contains(&spec.validation) {
                    fault("validation", format!("{} is not a share from 0 to below 1", spec.validation));
                }
            }
            SplitSpec::Folds(folds) => {
                if folds.test.is_empty() {
                    fault("test", "is empty; name at least one fold".into());
                }
                if let Some(both) = folds.validation.iter().find(|fold| folds.test.contains(fold)) {
                    fault("validation", format!("fold {both:?} is also in `test`"));
                }
            }
        }
        faults
    }
}
