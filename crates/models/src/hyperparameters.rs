//! The training keys that all networks share, as one value.
//!
//! They stand in the table of the model itself (`models.resnet18.learning_rate`), so that each of them can be an axis of a
//! sweep. [`NetworkSpec`](crate::networks::NetworkSpec) reads them there.

use indexmap::IndexMap;
use schemars::{JsonSchema, Schema};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use timbre_core::{labels::Task, registry::Fault};
use timbre_evaluation::metrics::is_of_probabilities;

/// The name of the loss among the names of metrics.
pub const LOSS: &str = "loss";

/// The defaults of `teacher_weight` and `temperature`. Written out they would change the signatures of runs from before these keys existed.
const TEACHER_WEIGHT: f64 = 0.5;
const TEMPERATURE: f64 = 2.0;

/// The loss function.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Loss {
    /// Cross-entropy for one label per recording, binary cross-entropy for several.
    #[default]
    Auto,
    /// Cross-entropy with a softmax over the classes.
    CrossEntropy,
    /// Binary cross-entropy with logits, a sigmoid per class.
    Bce,
    /// Focal loss: binary cross-entropy in which easy examples weigh less.
    Focal,
}

/// The optimizer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Optimizer {
    Sgd,
    /// Adam: weight decay is added to the gradient.
    Adam,
    /// AdamW: weight decay is decoupled from the gradient.
    #[default]
    Adamw,
}

/// The learning-rate schedule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Schedule {
    Constant,
    /// Up and down in half cosines (rate / 25, rate, rate / 100,000), the momentum the other way (0.95, 0.85, 0.95).
    #[default]
    OneCycle,
    /// Down to zero in half a cosine.
    Cosine,
    /// Multiplied by `factor` after every `step_epochs` epochs.
    Step,
    /// Multiplied by `factor` when the monitored value has not improved for `plateau_patience` epochs.
    Plateau,
}

/// How the training clips of an epoch are sampled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Sampling {
    /// Every clip once, in random order. A clip that would be alone in the last batch is left out.
    #[default]
    Shuffle,
    /// As many draws as there are clips, with replacement; clips with rarer labels are more likely.
    Weighted,
    /// As many draws as there are clips, with replacement: first a class, then a clip of it.
    Balanced,
}

/// A recipe of fastai. It replaces several keys and has defaults of its own for others: fastai's Adam (`optimizer = "adamw"`,
/// `beta2 = 0.99`, `epsilon = 1e-5`, `weight_decay = 0.01`), `batch_size = 64`, and a learning rate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Preset {
    /// No recipe: all keys apply.
    #[default]
    None,
    /// fastai's `fit_one_cycle`: one cycle over all epochs with its peak at a quarter; `learning_rate = 1e-3`. It replaces the
    /// keys of schedule and warm-up.
    FitOneCycle,
    /// fastai's `fine_tune`: `freeze_epochs` epochs of the head (and of the batch norms below it), then `epochs` epochs of all
    /// groups at half the rate, down to a hundredth of that at the input; `learning_rate = 2e-3`. It replaces the keys of
    /// schedule, warm-up, group rates and layer decay.
    FineTune,
}

impl Preset {
    /// The training keys whose defaults the recipe changes.
    pub fn defaults(self) -> Map<String, Value> {
        let learning_rate = match self {
            Preset::None => return Map::new(),
            Preset::FitOneCycle => 1e-3,
            Preset::FineTune => 2e-3,
        };
        let keys: [(&str, Value); 6] = [
            ("optimizer", "adamw".into()),
            ("beta2", 0.99.into()),
            ("epsilon", 1e-5.into()),
            ("weight_decay", 0.01.into()),
            ("batch_size", 64.into()),
            ("learning_rate", learning_rate.into()),
        ];
        keys.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
    }
}

/// The precision of the factors of convolutions and matrix products.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// All bits of a 32-bit float. An NVIDIA GPU may round them for its tensor cores (TF32).
    #[default]
    F32,
    /// The first 8 significant bits (bfloat16).
    Bf16,
}

/// Which part of a recording longer than a clip is trained on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TrainingCrop {
    /// The part that `audio.crop` selects, as for evaluation.
    #[default]
    Fixed,
    /// Another part in each epoch.
    Random,
}

/// How network inputs are normalized.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Normalize {
    None,
    /// With one mean and standard deviation over all values of the training clips.
    #[default]
    Global,
    /// With one mean and twice the standard deviation, as AST and BEATs expect: values have a standard deviation of one half.
    GlobalHalf,
    /// With a mean and standard deviation for each row (band) of the feature.
    Rows,
}

/// The training keys. Defaults come from [`Training::default`]; the schema appends them to the descriptions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(transform = state_defaults)]
pub struct Training {
    /// Passes over the training clips.
    #[schemars(range(min = 1, max = 100000))]
    pub epochs: usize,
    /// Clips per batch.
    #[schemars(range(min = 1, max = 65536))]
    pub batch_size: usize,
    /// Batches whose gradients are summed before the weights are updated.
    #[schemars(range(min = 1, max = 65536))]
    pub accumulate: usize,
    /// The loss function: "auto", "cross_entropy", "bce" or "focal".
    pub loss: Loss,
    /// Share of the target that is spread evenly over all classes (cross-entropy) or between present and absent ("bce",
    /// "focal"), 0 to below 1.
    #[schemars(range(min = 0.0, max = 0.999))]
    pub label_smoothing: f64,
    /// With "bce" and "focal": the weight of a present class relative to an absent one; one number for all classes or one
    /// per class. Default: 1.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pos_weight: Vec<f64>,
    /// With "focal": the exponent that reduces the weight of easy examples.
    #[schemars(range(min = 0.0, max = 20.0))]
    pub focal_gamma: f64,
    /// The optimizer: "sgd", "adam" or "adamw".
    pub optimizer: Optimizer,
    /// The learning rate; with a schedule its highest value.
    #[schemars(range(min = 1e-12, max = 1000.0))]
    pub learning_rate: f64,
    /// Momentum of "sgd", first decay (beta1) of "adam" and "adamw". "one_cycle" and the presets schedule it instead, unless
    /// it is 0.
    #[schemars(range(min = 0.0, max = 0.9999))]
    pub momentum: f64,
    /// Second decay of "adam" and "adamw".
    #[schemars(range(min = 0.0, max = 0.999999))]
    pub beta2: f64,
    /// Added to the denominator by "adam" and "adamw".
    #[schemars(range(min = 1e-16, max = 1.0))]
    pub epsilon: f64,
    /// Weight decay, except for biases and batch norms.
    #[schemars(range(min = 0.0, max = 100.0))]
    pub weight_decay: f64,
    /// Gradients are scaled down to this 2-norm. Default: no clipping.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1e-9))]
    pub clip_norm: Option<f64>,
    /// The learning-rate schedule: "constant", "one_cycle", "cosine", "step" or "plateau".
    pub schedule: Schedule,
    /// Epochs of linear warm-up from zero before the schedule begins; may be a fraction.
    #[schemars(range(min = 0.0))]
    pub warmup_epochs: f64,
    /// With "one_cycle": the share of the steps at which the rate peaks.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub peak_at: f64,
    /// With "step": epochs between two reductions of the rate.
    #[schemars(range(min = 1))]
    pub step_epochs: usize,
    /// With "plateau": epochs without improvement before the rate is reduced.
    #[schemars(range(min = 1))]
    pub plateau_patience: usize,
    /// With "step" and "plateau": the factor on the rate.
    #[schemars(range(min = 1e-6, max = 1.0))]
    pub factor: f64,
    /// A recipe of fastai that replaces several keys and changes the defaults of others: "none", "fit_one_cycle" or
    /// "fine_tune".
    pub preset: Preset,
    /// Run a learning-rate range test from 1e-7 to 10 before the training and use the rate that it suggests.
    pub find_rate: bool,
    /// How the clips of an epoch are sampled: "shuffle", "weighted" or "balanced".
    pub sampling: Sampling,
    /// Which part of a recording longer than `audio.clip_seconds` is trained on: "fixed" (the part that `audio.crop` selects)
    /// or "random" (another part in each epoch). Evaluation and prediction always use `audio.crop`.
    pub crop: TrainingCrop,
    /// The names of the augmentations for the training clips, in the order of the experiment; `[]` means none. Default: all of
    /// the experiment.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("uniqueItems" = true))]
    pub augment: Option<Vec<String>>,
    /// Tags of the recordings that the network sees beside the image: a row of ones below it for the value of each tag, and a row of zeros
    /// for each other value. A recording without a tag has zeros. Default: none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("uniqueItems" = true))]
    pub tags: Vec<String>,
    /// With `tags`: the probability that a training clip has none of them in an epoch, so that the network learns to do without.
    /// Default: 0.
    #[serde(skip_serializing_if = "is_default")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub tag_dropout: f64,
    /// Tags of the recordings that the network learns to predict beside the classes, with the weight of their cross-entropy relative to
    /// the loss of the classes. They shape the network and are not part of its answer. Default: none.
    #[serde(skip_serializing_if = "IndexMap::is_empty")]
    pub auxiliary: IndexMap<String, f64>,
    /// A trained model of another run, `RUN:MODEL` as in `timbre predict`, whose predictions for the training recordings are learnt beside
    /// their labels (distillation). Its classes are those of the data set. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub teacher: Option<String>,
    /// With `teacher`: the share of its part of the loss; the labels have the rest.
    #[serde(skip_serializing_if = "is_usual_teacher_weight")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub teacher_weight: f64,
    /// With `teacher`: the probabilities of both are softened by this temperature: their logits are divided by it.
    #[serde(skip_serializing_if = "is_usual_temperature")]
    #[schemars(range(min = 0.1, max = 100.0))]
    pub temperature: f64,
    /// The precision of the factors of convolutions and matrix products in training: "f32", or "bf16", which takes half of the memory traffic
    /// and the tensor cores of a GPU; the CPU only imitates it. Sums, weights, norms, losses and predictions are f32 in any case.
    #[serde(skip_serializing_if = "is_default")]
    pub precision: Precision,
    /// A file of recorded augmentation draws (`timbre data augment`) that are replayed instead of drawing new ones. Default:
    /// new draws.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replay: Option<String>,
    /// How inputs are normalized: "none", "global", "global_half" or "rows".
    pub normalize: Normalize,
    /// Decay of an exponential moving average of weights and batch-norm statistics, which then predicts instead of them. The
    /// first steps decay faster. Default: no average.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 0.999999))]
    pub ema: Option<f64>,
    /// The value that selects the best epoch, on the validation subset: "loss" or a metric. Without a validation subset it is
    /// the training loss.
    pub monitor: String,
    /// Early stopping: epochs without improvement after which training stops. Default: no early stopping.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub patience: Option<usize>,
    /// Keep the weights of the best epoch instead of the last, if there is a validation subset.
    pub restore_best: bool,
    /// Checkpoints kept beside the best one.
    #[schemars(range(min = 1, max = 1000))]
    pub keep_checkpoints: usize,
    /// Initial weights: a `.safetensors` or `.pth` file of the same architecture. Default: random weights.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub init: Option<String>,
    /// Epochs at the beginning in which only the head is trained. Default: 0; 1 with "fine_tune" or `gradual_unfreezing`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub freeze_epochs: Option<usize>,
    /// After `freeze_epochs`, unfreeze one more group of layers each epoch, from the head down.
    pub gradual_unfreezing: bool,
    /// Factors on the learning rate per group of layers, from the input to the head (docs/networks.md lists the groups). Two
    /// numbers for more than two groups are spread geometrically. Default: 1 for all groups.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub group_rates: Vec<f64>,
    /// Layer-wise decay of the learning rate: every layer below the head has this factor times the rate of the one above it. The layers of a
    /// transformer are its blocks, those of other networks their groups. Default: 1.
    #[serde(skip_serializing_if = "is_one")]
    #[schemars(range(min = 0.01, max = 1.0))]
    pub layer_decay: f64,
}

impl Default for Training {
    fn default() -> Self {
        Training {
            epochs: 20,
            batch_size: 32,
            accumulate: 1,
            loss: Loss::Auto,
            label_smoothing: 0.0,
            pos_weight: Vec::new(),
            focal_gamma: 2.0,
            optimizer: Optimizer::Adamw,
            learning_rate: 1e-3,
            momentum: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
            weight_decay: 0.01,
            clip_norm: None,
            schedule: Schedule::OneCycle,
            warmup_epochs: 0.0,
            peak_at: 0.25,
            step_epochs: 10,
            plateau_patience: 5,
            factor: 0.1,
            preset: Preset::None,
            find_rate: false,
            sampling: Sampling::Shuffle,
            crop: TrainingCrop::Fixed,
            augment: None,
            tags: Vec::new(),
            tag_dropout: 0.0,
            auxiliary: IndexMap::new(),
            teacher: None,
            teacher_weight: TEACHER_WEIGHT,
            temperature: TEMPERATURE,
            precision: Precision::F32,
            replay: None,
            normalize: Normalize::Global,
            ema: None,
            monitor: "loss".to_owned(),
            patience: None,
            restore_best: true,
            keep_checkpoints: 1,
            init: None,
            freeze_epochs: None,
            gradual_unfreezing: false,
            group_rates: Vec::new(),
            layer_decay: 1.0,
        }
    }
}

/// A description that ends with this default.
pub(crate) fn with_default(description: &str, default: &Value) -> String {
    let text = description.split("Default:").next().unwrap_or_default().trim_end();
    format!("{text} Default: {default}.")
}

/// Appends the default of every key to its description, so that the two agree.
fn state_defaults(schema: &mut Schema) {
    let properties = schema.get_mut("properties").and_then(Value::as_object_mut);
    for property in properties.into_iter().flat_map(|properties| properties.values_mut()) {
        let text = property["description"].as_str().unwrap_or_default();
        if let Some(default) = property.get("default").filter(|_| !text.contains("Default:")) {
            property["description"] = with_default(text, default).into();
        }
    }
}

fn is_usual_teacher_weight(number: &f64) -> bool {
    *number == TEACHER_WEIGHT
}

fn is_usual_temperature(number: &f64) -> bool {
    *number == TEMPERATURE
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

fn is_one(number: &f64) -> bool {
    *number == 1.0
}

impl Training {
    /// Whether decisions, and with them the thresholds, choose the best epoch.
    pub fn monitors_decisions(&self) -> bool {
        let is_of_probabilities = |task| is_of_probabilities(task, &self.monitor);
        self.monitor != LOSS && ![Task::SingleLabel, Task::MultiLabel].into_iter().any(is_of_probabilities)
    }

    /// The faults of the keys, for a network with this number of parameter groups.
    pub fn faults(&self, groups: usize) -> Vec<Fault> {
        let mut faults = Vec::new();
        let mut require = |holds: bool, key: &str, sentence: &str| {
            if !holds {
                faults.push(Fault::new(key, sentence));
            }
        };
        require(self.epochs > 0, "epochs", "must be 1 or more");
        require(self.batch_size > 0, "batch_size", "must be 1 or more");
        require(self.accumulate > 0, "accumulate", "must be 1 or more");
        require((0.0..1.0).contains(&self.label_smoothing), "label_smoothing", "must be at least 0 and below 1");
        let positive = |value: f64| value > 0.0 && value.is_finite();
        require(self.pos_weight.iter().all(|&w| positive(w)), "pos_weight", "the weights must be above zero");
        require(
            self.pos_weight.is_empty() || self.loss != Loss::CrossEntropy,
            "pos_weight",
            "cross-entropy has no positive weights: write `loss = \"bce\"` or \"focal\", or remove this key",
        );
        require(
            self.auxiliary.values().all(|&weight| weight >= 0.0 && weight.is_finite()),
            "auxiliary",
            "the weights must not be negative",
        );
        require((0.0..=1.0).contains(&self.tag_dropout), "tag_dropout", "must be between 0 and 1");
        require(self.tag_dropout == 0.0 || !self.tags.is_empty(), "tag_dropout", "is for `tags`, which is not set");
        require((0.0..=1.0).contains(&self.teacher_weight), "teacher_weight", "must be between 0 and 1");
        require((0.1..=100.0).contains(&self.temperature), "temperature", "must be between 0.1 and 100");
        for (key, is_usual) in [
            ("teacher_weight", is_usual_teacher_weight(&self.teacher_weight)),
            ("temperature", is_usual_temperature(&self.temperature)),
        ] {
            require(is_usual || self.teacher.is_some(), key, "is for `teacher`, which is not set");
        }
        require((0.0..=20.0).contains(&self.focal_gamma), "focal_gamma", "must be between 0 and 20");
        require(positive(self.learning_rate), "learning_rate", "must be above zero");
        require((0.0..1.0).contains(&self.momentum), "momentum", "must be at least 0 and below 1");
        require((0.0..1.0).contains(&self.beta2), "beta2", "must be at least 0 and below 1");
        require(positive(self.epsilon), "epsilon", "must be above zero");
        require(self.weight_decay >= 0.0 && self.weight_decay.is_finite(), "weight_decay", "must not be negative");
        require(
            self.clip_norm.is_none_or(positive),
            "clip_norm",
            "must be above zero; remove this key to turn clipping off",
        );
        require(
            self.warmup_epochs >= 0.0 && self.warmup_epochs < self.epochs as f64,
            "warmup_epochs",
            "must be at least 0 and below `epochs`",
        );
        require((0.0..=1.0).contains(&self.peak_at), "peak_at", "must be between 0 and 1");
        require(self.step_epochs > 0, "step_epochs", "must be 1 or more");
        require(self.plateau_patience > 0, "plateau_patience", "must be 1 or more");
        require(self.factor > 0.0 && self.factor <= 1.0, "factor", "must be above 0 and at most 1");
        require(self.ema.is_none_or(|ema| (0.0..1.0).contains(&ema)), "ema", "must be at least 0 and below 1");
        require(self.patience != Some(0), "patience", "must be 1 or more; remove this key to run all epochs");
        require(self.keep_checkpoints > 0, "keep_checkpoints", "must be 1 or more");
        let written = self.group_rates.len();
        require(
            written == 0 || written == groups || written == 2,
            "group_rates",
            &format!(
                "this network has {groups} groups of layers: write {groups} factors, or two to spread between them"
            ),
        );
        require(self.group_rates.iter().all(|&rate| positive(rate)), "group_rates", "the factors must be above zero");
        require(self.layer_decay > 0.0 && self.layer_decay <= 1.0, "layer_decay", "must be above 0 and at most 1");
        if self.preset == Preset::FineTune {
            let own = "the preset \"fine_tune\" sets rates and freezing itself: remove this key or the preset";
            require(self.group_rates.is_empty(), "group_rates", own);
            require(!self.gradual_unfreezing, "gradual_unfreezing", own);
            require(self.layer_decay == 1.0, "layer_decay", own);
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
    fn keys_that_contradict_each_other_are_reported() {
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
    fn values_out_of_range_are_reported() {
        let nan = f64::NAN;
        let wrong =
            Training { learning_rate: nan, ema: Some(1.0), clip_norm: Some(0.0), epochs: 0, ..Training::default() };
        assert_eq!(keys(wrong), ["epochs", "learning_rate", "clip_norm", "warmup_epochs", "ema"]);
    }
}
