//! Resolves an experiment from its TOML file, its parents, the file of its data set and the command line, or reports all their
//! errors at once.

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use timbre_inputs::{
    augment::AugmentSpec,
    data::{DataSpec, split::SplitSpec},
    features::FeatureSpec,
};
use timbre_models::ModelSpec;
use timbre_signal::audio::AudioSpec;

// Where the values of an experiment come from: files, arguments, lines.
mod source;
// All errors of an experiment at once.
mod errors;
// TOML files and their parents to one tree with positions.
mod read;
// The keys of `[grid]` that are not axes.
mod grid_spec;
// `[evaluate]`.
mod evaluate;
// The tree against the schema, then across tables.
mod check;
// `[grid]`: axes over the keys.
mod axes;
// The tree to an `Experiment`.
mod resolve;
// The points of a grid, each an `Experiment`.
mod grid;
// The models of an experiment, and the members of ensembles.
pub mod members;
// The input shapes of networks.
pub mod shapes;
// The reference of every key.
pub mod reference;

pub use errors::{ConfigError, ConfigErrors};
pub use evaluate::{EvaluateSpec, Mode};
pub use grid::{AxisValues, ExpandedGrid, Point, expand_grid, point_name};
pub use grid_spec::{HalvingSpec, TpeSpec};
pub use read::loader::is_valid_name;
pub use resolve::{
    Arguments, Request, ResolvedExperiment, data_set, data_set_and_audio, data_set_names, load_for_rerun,
    load_from_run, load_to_evaluate, resolve,
};

/// An experiment: data, features, models, and how they are evaluated.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Experiment {
    /// The file name without extension; also the folder name of its runs.
    #[serde(skip)]
    pub name: String,
    /// A sentence about the purpose of the experiment.
    #[serde(default)]
    pub description: String,
    /// Random seeds; each is one replicate. Default: `[1]`.
    #[serde(default = "one_seed")]
    #[schemars(length(min = 1), extend("uniqueItems" = true))]
    pub seeds: Vec<u64>,
    /// The fraction of unusable recordings above which the run counts as failed, 0 to 1. Default: 0.01.
    #[serde(default = "one_percent")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub max_unusable: f64,
    /// Save the fitted models in the run folder. Default: true.
    #[serde(default = "yes")]
    pub save_models: bool,
    /// A finished run whose saved models are evaluated: nothing is fitted. Its recordings for training take no part. `timbre evaluate` sets it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub models_from: Option<String>,
    /// The data set: by name (`use = "irmas"`, whose keys can be overridden here), or defined here. Default: `demo`.
    pub data: DataSpec,
    /// How recordings are decoded.
    #[serde(default)]
    pub audio: AudioSpec,
    /// How recordings are split into training, validation and test. Default: a hold-out of whole songs.
    #[serde(default)]
    pub split: SplitSpec,
    /// One table per feature: `[features.NAME]`. NAME is its kind unless the table sets `kind`.
    #[schemars(extend("propertyNames" = json!({ "pattern": TABLE_NAME })))]
    #[serde(default)]
    pub features: IndexMap<String, FeatureSpec>,
    /// Augmentations of the training clips of networks, drawn anew in each epoch: an array of tables `[[augment]]`, applied in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub augment: Vec<AugmentSpec>,
    /// One table per model: `[models.NAME]`. NAME is its kind unless the table sets `kind`.
    #[schemars(extend("propertyNames" = json!({ "pattern": TABLE_NAME })))]
    #[serde(default)]
    pub models: IndexMap<String, ModelSpec>,
    /// How models are evaluated.
    #[serde(default)]
    pub evaluate: EvaluateSpec,
}

/// Names of features and models become file names: one of each, a seed and an ending share the 255 bytes that file systems allow.
const TABLE_NAME: &str = "^[A-Za-z0-9_][A-Za-z0-9_-]{0,99}$";

fn one_seed() -> Vec<u64> {
    vec![1]
}

fn one_percent() -> f64 {
    0.01
}

fn yes() -> bool {
    true
}

impl Experiment {
    /// The models with their features, in the order of the tables.
    pub fn models_on_features(&self) -> Vec<members::ModelOnFeature> {
        let models: Vec<_> = self.models.iter().map(|(name, spec)| (name.as_str(), spec)).collect();
        members::models_on_features(self.features.keys().map(String::as_str), &models)
    }

    /// Everything that can change a result, as JSON with sorted keys. Equal work gives equal bytes, for the signature of a run.
    ///
    /// Omitted: `name`, `description`, `max_unusable`, `save_models`, and the location of the data (`use`, `root`, `corrections`, `about`, SoundFonts), since
    /// the signature covers the recordings themselves. Features and models are lists of `[name, spec]`, because their order is
    /// the order of the rows in every table.
    pub fn canonical_json(&self) -> String {
        let in_order = |tables: Vec<(&String, Value)>| {
            Value::from(tables.into_iter().map(|(name, spec)| json!([name, spec])).collect::<Vec<_>>())
        };
        let mut data = json!(self.data);
        without_location(&mut data);
        let mut canonical = json!({
            "seeds": self.seeds,
            "data": data,
            "audio": self.audio,
            "split": self.split,
            "features": in_order(self.features.iter().map(|(name, spec)| (name, json!(spec))).collect()),
            "models": in_order(self.models.iter().map(|(name, spec)| (name, json!(spec))).collect()),
            "evaluate": self.evaluate,
        });
        // Omitted if empty, so that signatures of older versions stay valid.
        if !self.augment.is_empty() {
            canonical["augment"] = json!(self.augment);
        }
        canonical.sort_all_objects();
        canonical.to_string()
    }
}

/// Removes the location of a data set, and of its sets if it is several.
fn without_location(data: &mut Value) {
    let Some(data) = data.as_object_mut() else { return };
    ["use", "root", "corrections", "about", "soundfont", "test_soundfont"].iter().for_each(|key| {
        data.remove(*key);
    });
    data.get_mut("sets").and_then(Value::as_array_mut).into_iter().flatten().for_each(without_location);
}

/// The JSON schema of experiment files, for editors: `docs/experiment.schema.json`.
pub fn schema() -> Value {
    check::schema::written()
}
