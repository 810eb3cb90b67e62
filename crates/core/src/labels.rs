//! The task and the classes of a data set.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The classification task.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Task {
    /// One class per recording.
    #[default]
    SingleLabel,
    /// Every class that is present in a recording: none, one or several.
    MultiLabel,
}

/// The class names of a data set. A label is an index into this list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Classes(Vec<String>);

impl Classes {
    pub fn new(names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Classes(names.into_iter().map(Into::into).collect())
    }

    pub fn index(&self, name: &str) -> Option<usize> {
        self.0.iter().position(|n| n == name)
    }

    pub fn name(&self, label: usize) -> &str {
        &self.0[label]
    }

    pub fn names(&self) -> &[String] {
        &self.0
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
