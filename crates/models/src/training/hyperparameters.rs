//! How a network is trained: the keys that all networks have, as a value.
//!
//! The keys stand in the table of the model itself (`models.resnet18.learning_rate`), so that any of them can be an axis of a
//! grid. `network_spec!` puts them there.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::FeatureChoice;
use timbre_core::registry::Fault;

/// What is minimised.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Loss {
    /// Cross-entropy where a recording has one label, binary cross-entropy where it has several.
    #[default]
    Auto,
    /// A softmax over the classes.
    CrossEntropy,
    /// A sigmoid a class: binary cross-entropy with logits.
    Bce,
    /// Binary cross-entropy whose easy answers weigh less.
    Focal,
}

/// How weights follow gradients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Optimizer {
    Sgd,
    /// Weight decay is added to the gradient.
    Adam,
    /// Weight decay is apart from the gradient.
    #[default]
    Adamw,
}

/// How the learning rate changes over the training.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Schedule {
    Constant,
    /// Up and down in cosines (rate / 25, rate, rate / 100,000), the momentum the other way (0.95, 0.85, 0.95).
    #[default]
    OneCycle,
    /// Down to zero in half a cosine.
    Cosine,
    /// By `factor` after every `step_epochs` epochs.
    Step,
    /// By `factor` when the monitored metric has not improved for `plateau_patience` epochs.
    Plateau,
}

/// How the clips of an epoch are drawn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Sampling {
    /// Every clip once, in a random order. One that would be alone in the last batch is left out.
    #[default]
    Shuffle,
    /// As many clips as there are, with replacement; a clip the likelier, the rarer its labels.
    Weighted,
    /// As many clips as there are, with replacement: first a class, then a clip of it.
    Balanced,
}

/// A whole recipe instead of single keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Preset {
    /// The keys say it all.
    #[default]
    None,
    /// fastai's `fit_one_cycle`: one cycle over all epochs, peak at a quarter. It takes the place of the keys of schedule and
    /// warm-up.
    FitOneCycle,
    /// fastai's `fine_tune`: `freeze_epochs` of the head (and of the batch norms below), then `epochs` of all groups at half the
    /// rate, down to a hundredth of that at the input. It takes the place of the keys of schedule, warm-up and group rates.
    FineTune,
}

/// Which part of a recording that is longer than a clip is trained on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TrainingCrop {
    /// The one that `audio.crop` names, which is judged, too.
    #[default]
    Fixed,
    /// Another one in each epoch.
    Random,
}

/// How inputs are scaled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Normalize {
    None,
    /// By one mean and deviation of all values of the training clips.
    #[default]
    Global,
    /// By a mean and deviation a row (a band) of the feature.
    Rows,
}

/// What every spec has that `network_spec!` makes.
pub trait Keys {
    /// The features that it is trained on, one after the other.
    fn features(&self) -> &FeatureChoice;

    /// The keys of the training.
    fn training(&self) -> Training;
}

/// Makes the spec of a network: its own keys first, then those of the training.
macro_rules! network_spec {
    ($(#[$meta:meta])* pub struct $Spec:ident {
        $($(#[$key_meta:meta])* pub $key:ident: $Type:ty = $default:expr,)*
    } defaults { $($common:ident: $value:expr,)* }) => {
        $crate::training::hyperparameters::training_keys! {
            [$(#[$meta])*] $Spec [$($(#[$key_meta])* pub $key: $Type = $default,)*] [$($common: $value,)*]
        }
    };
}
pub(crate) use network_spec;

/// Lists the keys of the training once: for the spec of each network, and for [`Training`] itself.
macro_rules! training_keys {
    ($($input:tt)*) => {
        $crate::training::hyperparameters::expand_keys! { {$($input)*}
            /// Times that every training clip is seen.
            #[schemars(range(min = 1, max = 100000))]
            pub epochs: usize = 20,
            /// Clips a step.
            #[schemars(range(min = 1, max = 65536))]
            pub batch_size: usize = 32,
            /// Steps whose gradients are summed before the weights move. Default: 1.
            #[schemars(range(min = 1, max = 65536))]
            pub accumulate: usize = 1,
            /// What is minimised: "auto", "cross_entropy", "bce" or "focal". Default: "auto".
            pub loss: $crate::training::hyperparameters::Loss = $crate::training::hyperparameters::Loss::Auto,
            /// Share of the certainty of a target that is spread over all classes (cross-entropy) or between present and absent
            /// ("bce", "focal"), 0 to below 1. Default: 0.
            #[schemars(range(min = 0.0, max = 0.999))]
            pub label_smoothing: f64 = 0.0,
            /// With "bce" and "focal": how much more a present class weighs than an absent one; one number for all classes or
            /// one a class. Default: 1.
            #[serde(skip_serializing_if = "Vec::is_empty")]
            pub pos_weight: Vec<f64> = Vec::new(),
            /// With "focal": the exponent that makes easy answers weigh less. Default: 2.
            #[schemars(range(min = 0.0, max = 20.0))]
            pub focal_gamma: f64 = 2.0,
            /// How weights follow gradients: "sgd", "adam" or "adamw". Default: "adamw".
            pub optimizer: $crate::training::hyperparameters::Optimizer = $crate::training::hyperparameters::Optimizer::Adamw,
            /// The learning rate; with a schedule its highest.
            #[schemars(range(min = 1e-12, max = 1000.0))]
            pub learning_rate: f64 = 1e-3,
            /// Momentum of "sgd", first decay of "adam" and "adamw". With "one_cycle" and the presets it follows the schedule
            /// instead, unless it is 0. Default: 0.9.
            #[schemars(range(min = 0.0, max = 0.9999))]
            pub momentum: f64 = 0.9,
            /// Second decay of "adam" and "adamw". Default: 0.999.
            #[schemars(range(min = 0.0, max = 0.999999))]
            pub beta2: f64 = 0.999,
            /// What "adam" and "adamw" add to the root. Default: 1e-8.
            #[schemars(range(min = 1e-16, max = 1.0))]
            pub epsilon: f64 = 1e-8,
            /// Pulls weights (no biases, no batch norms) to zero. Default: 0.01.
            #[schemars(range(min = 0.0, max = 100.0))]
            pub weight_decay: f64 = 0.01,
            /// The gradients of a step are scaled down to this 2-norm. Left out: never.
            #[serde(skip_serializing_if = "Option::is_none")]
            #[schemars(range(min = 1e-9))]
            pub clip_norm: Option<f64> = None,
            /// How the learning rate changes: "constant", "one_cycle", "cosine", "step" or "plateau". Default: "one_cycle".
            pub schedule: $crate::training::hyperparameters::Schedule = $crate::training::hyperparameters::Schedule::OneCycle,
            /// Epochs over which the rate rises evenly from zero before the schedule begins; parts of an epoch, too. Default: 0.
            #[schemars(range(min = 0.0))]
            pub warmup_epochs: f64 = 0.0,
            /// With "one_cycle": the share of the steps at which the rate is highest. Default: 0.25.
            #[schemars(range(min = 0.0, max = 1.0))]
            pub peak_at: f64 = 0.25,
            /// With "step": epochs from one step to the next. Default: 10.
            #[schemars(range(min = 1))]
            pub step_epochs: usize = 10,
            /// With "plateau": epochs without a better value before the rate falls. Default: 5.
            #[schemars(range(min = 1))]
            pub plateau_patience: usize = 5,
            /// With "step" and "plateau": what the rate is multiplied by. Default: 0.1.
            #[schemars(range(min = 1e-6, max = 1.0))]
            pub factor: f64 = 0.1,
            /// A recipe instead of single keys: "none", "fit_one_cycle" or "fine_tune". Default: "none".
            pub preset: $crate::training::hyperparameters::Preset = $crate::training::hyperparameters::Preset::None,
            /// Try rates from 1e-7 to 10 before the training and take the one that the curve suggests. Default: false.
            pub find_rate: bool = false,
            /// How the clips of an epoch are drawn: "shuffle", "weighted" or "balanced". Default: "shuffle".
            pub sampling: $crate::training::hyperparameters::Sampling = $crate::training::hyperparameters::Sampling::Shuffle,
            /// Which part is trained on of a recording that is longer than `audio.clip_seconds`: "fixed" (as `audio.crop` says)
            /// or "random" (another one in each epoch). What is judged and predicted is cut as `audio.crop` says. Default: "fixed".
            pub crop: $crate::training::hyperparameters::TrainingCrop = $crate::training::hyperparameters::TrainingCrop::Fixed,
            /// The augmentations that its training clips go through, by their names, in the order of the experiment. Left out: all
            /// that the experiment has; `[]`: none.
            #[serde(skip_serializing_if = "Option::is_none")]
            #[schemars(extend("uniqueItems" = true))]
            pub augment: Option<Vec<String>> = None,
            /// A file of recorded draws (`timbre data augment`) that are played again in the place of those of the
            /// augmentations. Left out: they are drawn.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub replay: Option<String> = None,
            /// How inputs are scaled: "none", "global" or "rows". Default: "global".
            pub normalize: $crate::training::hyperparameters::Normalize = $crate::training::hyperparameters::Normalize::Global,
            /// Decay of a moving average of weights and batch-norm statistics, which then predicts instead of them; at the
            /// beginning it decays faster. Left out: none.
            #[serde(skip_serializing_if = "Option::is_none")]
            #[schemars(range(min = 0.0, max = 0.999999))]
            pub ema: Option<f64> = None,
            /// What epochs are judged by, on the validation split: "loss" or a metric. Without that split it is the training loss.
            /// Default: "loss".
            pub monitor: String = "loss".to_owned(),
            /// Epochs without a better value after which training stops. Left out: all epochs are run.
            #[serde(skip_serializing_if = "Option::is_none")]
            #[schemars(range(min = 1))]
            pub patience: Option<usize> = None,
            /// Keep the weights of the best epoch rather than of the last, where there is a validation split. Default: true.
            pub restore_best: bool = true,
            /// Checkpoints kept beside the best one. Default: 1.
            #[schemars(range(min = 1, max = 1000))]
            pub keep_checkpoints: usize = 1,
            /// Weights to begin with: a `.safetensors` or `.pth` file of the same architecture. Left out: random ones.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub init: Option<String> = None,
            /// Epochs at the beginning in which only the head learns. Default: 0 (with "fine_tune" and `gradual_unfreezing`: 1).
            #[serde(skip_serializing_if = "Option::is_none")]
            pub freeze_epochs: Option<usize> = None,
            /// After `freeze_epochs`, one more group of layers learns each epoch, from the head down. Default: false.
            pub gradual_unfreezing: bool = false,
            /// Factors on the learning rate a group of layers, from the input to the head (see docs/networks.md for the groups).
            /// Two numbers for more groups are spread between in equal ratios. Left out: 1 for all.
            #[serde(skip_serializing_if = "Vec::is_empty")]
            pub group_rates: Vec<f64> = Vec::new(),
        }
    };
}
pub(crate) use training_keys;

/// The two ends of [`training_keys!`]: a network with keys of its own, or the keys alone.
macro_rules! expand_keys {
    ({[$(#[$meta:meta])*] $Spec:ident [$($(#[$key_meta:meta])* pub $key:ident: $Type:ty = $default:expr,)*] [$($changed:ident: $value:expr,)*]}
        $($(#[$common_meta:meta])* pub $common:ident: $Common:ty = $common_default:expr,)*) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
        #[serde(default, deny_unknown_fields)]
        pub struct $Spec {
            /// The feature, or features, to train on: a name or a list of names. Left out: every feature of the experiment.
            #[serde(skip_serializing_if = "crate::FeatureChoice::is_all")]
            pub features: $crate::FeatureChoice,
            $($(#[$key_meta])* pub $key: $Type,)*
            $($(#[$common_meta])* pub $common: $Common,)*
        }

        impl Default for $Spec {
            fn default() -> Self {
                #[allow(unused_mut)]
                let mut training = $crate::training::hyperparameters::Training::default();
                $(training.$changed = $value;)*
                $Spec {
                    features: $crate::FeatureChoice::default(),
                    $($key: $default,)*
                    $($common: training.$common,)*
                }
            }
        }

        impl $crate::training::hyperparameters::Keys for $Spec {
            fn features(&self) -> &$crate::FeatureChoice {
                &self.features
            }

            fn training(&self) -> $crate::training::hyperparameters::Training {
                $crate::training::hyperparameters::Training { $($common: self.$common.clone(),)* }
            }
        }
    };
    ({Training}
        $($(#[$common_meta:meta])* pub $common:ident: $Common:ty = $common_default:expr,)*) => {
        /// The keys of the training, without those of the network.
        #[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
        #[serde(default)]
        pub struct Training {
            $($(#[$common_meta])* pub $common: $Common,)*
        }

        impl Default for Training {
            fn default() -> Self {
                Training { $($common: $common_default,)* }
            }
        }
    };
}
pub(crate) use expand_keys;

training_keys! { Training }

impl Training {
    /// What is wrong between or within the keys, for a network of so many groups of layers.
    pub fn faults(&self, groups: usize) -> Vec<Fault> {
        let mut faults = Vec::new();
        let mut unless = |holds: bool, key: &str, sentence: &str| {
            if !holds {
                faults.push(Fault::new(key, sentence));
            }
        };
        unless(self.epochs > 0, "epochs", "at least one epoch is needed: write 1 or more");
        unless(self.batch_size > 0, "batch_size", "a step needs at least one clip: write 1 or more");
        unless(self.accumulate > 0, "accumulate", "at least one batch makes a step: write 1 or more");
        unless((0.0..1.0).contains(&self.label_smoothing), "label_smoothing", "the share lies from 0 to below 1");
        let positive = |value: f64| value > 0.0 && value.is_finite();
        unless(self.pos_weight.iter().all(|&w| positive(w)), "pos_weight", "the weights are above zero");
        unless(
            self.pos_weight.is_empty() || self.loss != Loss::CrossEntropy,
            "pos_weight",
            "cross-entropy has no weights of presence: write `loss = \"bce\"` or \"focal\", or leave it out",
        );
        unless((0.0..=20.0).contains(&self.focal_gamma), "focal_gamma", "the exponent lies between 0 and 20");
        unless(positive(self.learning_rate), "learning_rate", "the rate is above zero");
        unless((0.0..1.0).contains(&self.momentum), "momentum", "the momentum lies from 0 to below 1");
        unless((0.0..1.0).contains(&self.beta2), "beta2", "the decay lies from 0 to below 1");
        unless(positive(self.epsilon), "epsilon", "what is added to the root is above zero");
        unless(self.weight_decay >= 0.0 && self.weight_decay.is_finite(), "weight_decay", "the decay is not negative");
        unless(
            self.clip_norm.is_none_or(positive),
            "clip_norm",
            "the norm is above zero; leave it out to clip nothing",
        );
        unless(
            self.warmup_epochs >= 0.0 && self.warmup_epochs < self.epochs as f64,
            "warmup_epochs",
            "the rate rises for 0 epochs or more, and for fewer than all `epochs`",
        );
        unless((0.0..=1.0).contains(&self.peak_at), "peak_at", "the share lies between 0 and 1");
        unless(self.step_epochs > 0, "step_epochs", "at least one epoch lies between steps: write 1 or more");
        unless(self.plateau_patience > 0, "plateau_patience", "a plateau lasts one epoch or more");
        unless(self.factor > 0.0 && self.factor <= 1.0, "factor", "the rate falls by a factor above 0, at most 1");
        unless(self.ema.is_none_or(|ema| (0.0..1.0).contains(&ema)), "ema", "the decay lies from 0 to below 1");
        unless(self.patience != Some(0), "patience", "at least one epoch is waited for; leave it out to run all");
        unless(self.keep_checkpoints > 0, "keep_checkpoints", "a training goes on from one checkpoint or more");
        let written = self.group_rates.len();
        unless(
            written == 0 || written == groups || written == 2,
            "group_rates",
            &format!("this network has {groups} groups of layers: write {groups} factors, or two to be spread between"),
        );
        unless(self.group_rates.iter().all(|&rate| positive(rate)), "group_rates", "the factors are above zero");
        if self.preset == Preset::FineTune {
            let own = "the preset \"fine_tune\" has rates and freezing of its own: leave this out, or the preset";
            unless(self.group_rates.is_empty(), "group_rates", own);
            unless(!self.gradual_unfreezing, "gradual_unfreezing", own);
        }
        faults
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(training: Training) -> Vec<String> {
        training.faults(3).into_iter().map(|fault| fault.key).collect()
    }

    #[test]
    fn keys_that_do_not_go_together_are_told() {
        let usual = Training::default;
        assert!(keys(usual()).is_empty());
        assert_eq!(keys(Training { loss: Loss::CrossEntropy, pos_weight: vec![2.0], ..usual() }), ["pos_weight"]);
        assert_eq!(keys(Training { warmup_epochs: 20.0, ..usual() }), ["warmup_epochs"]);
        assert_eq!(keys(Training { group_rates: vec![0.1; 4], ..usual() }), ["group_rates"]);
        assert!(keys(Training { group_rates: vec![0.1, 1.0], ..usual() }).is_empty());
        let fine_tune = Training { preset: Preset::FineTune, gradual_unfreezing: true, ..usual() };
        assert_eq!(keys(fine_tune), ["gradual_unfreezing"]);
    }

    #[test]
    fn values_out_of_their_ranges_are_told() {
        let nan = f64::NAN;
        let wrong =
            Training { learning_rate: nan, ema: Some(1.0), clip_norm: Some(0.0), epochs: 0, ..Training::default() };
        assert_eq!(keys(wrong), ["epochs", "learning_rate", "clip_norm", "warmup_epochs", "ema"]);
    }
}
