//! Metric names without allocation: ten thousand runs share a few names.

use serde::de::{Deserialize, Deserializer, Error, Visitor};
use serde::{Serialize, Serializer};

use crate::baseline_check::known_metric;

/// The name of a known metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MetricName(&'static str);

impl MetricName {
    pub fn of(word: &str) -> Option<MetricName> {
        known_metric(word).map(MetricName)
    }

    pub fn as_str(self) -> &'static str {
        self.0
    }
}

impl Serialize for MetricName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0)
    }
}

impl<'de> Deserialize<'de> for MetricName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<MetricName, D::Error> {
        struct Word;

        impl Visitor<'_> for Word {
            type Value = MetricName;

            fn expecting(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
                f.write_str("the name of a metric")
            }

            fn visit_str<E: Error>(self, word: &str) -> Result<MetricName, E> {
                MetricName::of(word).ok_or_else(|| E::custom("unknown metric"))
            }
        }

        deserializer.deserialize_str(Word)
    }
}
