//! The table of a network in an experiment file: its own keys and the training keys side by side.

use std::path::Path;
use std::sync::LazyLock;

use anyhow::Result;
use schemars::{JsonSchema, Schema, SchemaGenerator, schema_for};
use serde::de::{DeserializeOwned, Error};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value, from_value, json, to_value};

use super::{InputShape, LayerRow, NetworkKind, pretrained};
use crate::FeatureChoice;
use crate::device::Device;
use crate::hyperparameters::{Preset, Training, with_default};
use timbre_core::seed::Seed;

/// A network as a model of an experiment.
///
/// The keys of all three fields stand in one flat table (`models.resnet18.learning_rate`), so that each of them can be an axis
/// of a sweep. Unknown keys are refused.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct NetworkSpec<K> {
    #[serde(skip_serializing_if = "FeatureChoice::is_all")]
    pub features: FeatureChoice,
    #[serde(flatten)]
    pub network: K,
    #[serde(flatten)]
    pub training: Training,
}

/// A [`NetworkSpec`] of any kind.
pub trait NetworkModel: Send + Sync {
    fn kind(&self) -> &dyn NetworkKind;

    fn training(&self) -> &Training;

    /// The layer table ([`NetworkKind::layers`]).
    fn layers(&self, input: InputShape, n_classes: usize) -> Result<Vec<LayerRow>> {
        self.kind().layers(input, n_classes)
    }

    /// Checks that the weights of `init` are those of such a network. Without `init` nothing is read.
    fn check_init(&self, input: InputShape, n_classes: usize) -> Result<()> {
        let Some(path) = &self.training().init else { return Ok(()) };
        let network = self.kind().build(input, n_classes, Seed::new(0), &Device::cpu().burn())?;
        pretrained::import(Path::new(path), network).map(drop)
    }
}

impl<K: NetworkKind> NetworkModel for NetworkSpec<K> {
    fn kind(&self) -> &dyn NetworkKind {
        &self.network
    }

    fn training(&self) -> &Training {
        &self.training
    }
}

impl<K: NetworkKind + Default> Default for NetworkSpec<K> {
    fn default() -> Self {
        K::default().into()
    }
}

impl<K: NetworkKind> From<K> for NetworkSpec<K> {
    /// All features, and the network's defaults for the training.
    fn from(network: K) -> Self {
        NetworkSpec { features: FeatureChoice::default(), network, training: K::training_defaults() }
    }
}

/// The schema of the training keys; its properties are their names.
static TRAINING: LazyLock<Schema> = LazyLock::new(|| schema_for!(Training));

impl<'de, K: NetworkKind + DeserializeOwned> Deserialize<'de> for NetworkSpec<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let mut own = Map::deserialize(deserializer)?;
        let features = own.remove("features").map(from_value).transpose().map_err(D::Error::custom)?;
        let mut training = object(&K::training_defaults());
        if let Some(preset) = own.get("preset") {
            training.extend(from_value::<Preset>(preset.clone()).map_err(D::Error::custom)?.defaults());
        }
        for key in TRAINING.get("properties").and_then(Value::as_object).into_iter().flat_map(Map::keys) {
            training.extend(own.remove_entry(key));
        }
        Ok(NetworkSpec {
            features: features.unwrap_or_default(),
            network: from_value(Value::Object(own)).map_err(D::Error::custom)?,
            training: from_value(Value::Object(training)).map_err(D::Error::custom)?,
        })
    }
}

fn object(training: &Training) -> Map<String, Value> {
    match to_value(training) {
        Ok(Value::Object(map)) => map,
        other => unreachable!("a struct of plain values is an object, not {other:?}"),
    }
}

/// The network's own keys, and a reference to the training keys with the defaults that differ.
impl<K: NetworkKind + JsonSchema> JsonSchema for NetworkSpec<K> {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        K::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut schema = K::json_schema(generator);
        let mut features = generator.subschema_for::<FeatureChoice>();
        features.insert(
            "description".to_owned(),
            "The feature or features to train on: a name or a list of names. Default: every feature of the experiment."
                .into(),
        );
        let own = schema.ensure_object();
        own.remove("additionalProperties");
        let mut properties = Map::from_iter([("features".to_owned(), features.to_value())]);
        if let Some(Value::Object(keys)) = own.remove("properties") {
            properties.extend(keys);
        }
        own.insert("properties".to_owned(), properties.into());
        let usual = object(&Training::default());
        let changed: Map<String, Value> = object(&K::training_defaults())
            .into_iter()
            .filter(|(key, value)| usual.get(key) != Some(value))
            .map(|(key, default)| {
                let shared = TRAINING.pointer(&format!("/properties/{key}/description")).and_then(Value::as_str);
                let description = with_default(shared.unwrap_or_default(), &default);
                (key, json!({ "description": description, "default": default }))
            })
            .collect();
        let mut parts = vec![generator.subschema_for::<Training>().to_value()];
        if !changed.is_empty() {
            parts.push(json!({ "properties": changed }));
        }
        own.insert("allOf".to_owned(), parts.into());
        own.insert("unevaluatedProperties".to_owned(), false.into());
        schema
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Conv1dMfcc, Resnet18};
    use super::*;

    #[test]
    fn a_flat_table_is_read_with_the_defaults_of_its_network() {
        let spec: Resnet18 = from_value(json!({ "channels": 3, "epochs": 7, "patience": 2 })).unwrap();
        assert_eq!((spec.network.channels, spec.training.epochs, spec.training.batch_size), (3, 7, 16));
        assert_eq!(spec.training.patience, Some(2));
        let spec: Conv1dMfcc = from_value(json!({ "features": "mfcc" })).unwrap();
        assert_eq!((spec.training.epochs, spec.training.patience), (50, Some(10)));
        assert_eq!(spec.features.0.as_deref().unwrap(), ["mfcc"]);
    }

    #[test]
    fn a_preset_changes_defaults_and_no_written_key() {
        let spec: Resnet18 = from_value(json!({ "preset": "fit_one_cycle", "batch_size": 16 })).unwrap();
        let Training { beta2, epsilon, weight_decay, learning_rate, batch_size, .. } = spec.training;
        assert_eq!((beta2, epsilon, weight_decay, learning_rate, batch_size), (0.99, 1e-5, 0.01, 1e-3, 16));
        let spec: Resnet18 = from_value(json!({ "preset": "fine_tune" })).unwrap();
        assert_eq!((spec.training.learning_rate, spec.training.batch_size), (2e-3, 64));
    }

    #[test]
    fn a_written_spec_is_flat_and_reads_back_as_the_same() {
        let mut spec = Resnet18::default();
        spec.training.clip_norm = Some(0.5);
        let written = to_value(&spec).unwrap();
        assert_eq!(written["channels"], 1);
        assert_eq!(written["clip_norm"], 0.5);
        assert_eq!(from_value::<Resnet18>(written).unwrap(), spec);
    }

    #[test]
    fn the_schema_states_the_defaults_of_the_network() {
        let schema = schema_for!(Conv1dMfcc).to_value();
        let changed = &schema["allOf"][1]["properties"];
        assert_eq!(changed["patience"]["default"], 10);
        for (key, default) in
            [("optimizer", "Default: \"adam\"."), ("patience", "Default: 10."), ("epochs", "Default: 50.")]
        {
            let description = changed[key]["description"].as_str().unwrap();
            assert!(description.ends_with(default) && description.matches("Default").count() == 1, "{description}");
        }
        assert!(changed.get("batch_size").is_none(), "the shared default holds");
    }

    #[test]
    fn an_unknown_key_is_refused() {
        let error = from_value::<Resnet18>(json!({ "epochz": 3 })).unwrap_err().to_string();
        assert!(error.contains("epochz"), "{error}");
    }
}
