//! The `features` key of a model: a name, a list of names, or every feature of the experiment.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `features = "mel"`, `features = ["raw", "mel"]`, or absent: every feature of the experiment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FeatureChoice(pub Option<Vec<String>>);

impl FeatureChoice {
    /// Whether the model trains on every feature.
    pub fn is_all(&self) -> bool {
        self.0.is_none()
    }
}

impl Serialize for FeatureChoice {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for FeatureChoice {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOrMany;
        impl<'de> serde::de::Visitor<'de> for OneOrMany {
            type Value = FeatureChoice;
            fn expecting(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
                f.write_str("the name of a feature or a list of names")
            }
            fn visit_str<E>(self, name: &str) -> Result<FeatureChoice, E> {
                Ok(FeatureChoice(Some(vec![name.to_owned()])))
            }
            fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut seq: A) -> Result<FeatureChoice, A::Error> {
                let mut names = Vec::new();
                while let Some(name) = seq.next_element()? {
                    names.push(name);
                }
                Ok(FeatureChoice(Some(names)))
            }
        }
        deserializer.deserialize_any(OneOrMany)
    }
}

impl JsonSchema for FeatureChoice {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "FeatureChoice".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "description": "The name of a feature, or a list of names; left out: every feature of the experiment.",
            "anyOf": [{ "type": "string" }, { "type": "array", "items": { "type": "string" }, "minItems": 1 }]
        })
    }
}
