//! The task, the classes of a data set, and the labels of a recording.

use std::borrow::Cow;
use std::ops::Deref;

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
    /// Classes with these names, in this order.
    ///
    /// ```
    /// use timbre_core::labels::Classes;
    ///
    /// let classes = Classes::new(["cello", "flute"]);
    /// assert_eq!((classes.index("flute"), classes.name(0)), (Some(1), "cello"));
    /// ```
    pub fn new(names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Classes(names.into_iter().map(Into::into).collect())
    }

    /// The label of a class; None if there is no class of that name.
    pub fn index(&self, name: &str) -> Option<usize> {
        self.0.iter().position(|n| n == name)
    }

    /// The name of the class with this label. Panics if there is none.
    pub fn name(&self, label: usize) -> &str {
        &self.0[label]
    }

    /// All names, by label.
    pub fn names(&self) -> &[String] {
        &self.0
    }

    /// The number of classes.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no class.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The classes of a recording by number, ascending: those that it has, and those that are unknown. All others are absent. As a
/// slice it is the classes that it has.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(from = "Stored", into = "Stored")]
pub struct Labels {
    present: Vec<usize>,
    unknown: Vec<usize>,
}

impl Labels {
    /// Sorts both lists. A class that is present is not unknown.
    pub fn new(present: Vec<usize>, unknown: Vec<usize>) -> Labels {
        let sorted = |mut classes: Vec<usize>| {
            classes.sort_unstable();
            classes.dedup();
            classes
        };
        let (present, mut unknown) = (sorted(present), sorted(unknown));
        unknown.retain(|class| present.binary_search(class).is_err());
        Labels { present, unknown }
    }

    /// The classes that the recording has, ascending.
    pub fn present(&self) -> &[usize] {
        &self.present
    }

    /// The classes of which it is unknown whether the recording has them.
    pub fn unknown(&self) -> &[usize] {
        &self.unknown
    }

    /// Whether a class is known to be present or absent.
    pub fn is_known(&self, class: usize) -> bool {
        self.unknown.binary_search(&class).is_err()
    }

    /// Those of `classes` that are known to be present or absent.
    pub fn known_of<'a>(&self, classes: &'a [usize]) -> Cow<'a, [usize]> {
        if self.unknown.is_empty() {
            return Cow::Borrowed(classes);
        }
        classes.iter().copied().filter(|&class| self.is_known(class)).collect()
    }

    /// Whether decided classes are exactly right, apart from those that are unknown.
    pub fn is_exactly(&self, decided: &[usize]) -> bool {
        *self.known_of(decided) == *self.present
    }
}

impl Deref for Labels {
    type Target = [usize];

    fn deref(&self) -> &[usize] {
        &self.present
    }
}

impl<'a> IntoIterator for &'a Labels {
    type Item = &'a usize;
    type IntoIter = std::slice::Iter<'a, usize>;

    fn into_iter(self) -> Self::IntoIter {
        self.present.iter()
    }
}

impl From<Vec<usize>> for Labels {
    /// Everything else is absent. The classes are ascending.
    fn from(present: Vec<usize>) -> Labels {
        Labels { present, unknown: Vec::new() }
    }
}

/// The form of labels in a file: a list, unless some are unknown.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Stored {
    Known(Vec<usize>),
    Partial { present: Vec<usize>, unknown: Vec<usize> },
}

impl From<Labels> for Stored {
    fn from(Labels { present, unknown }: Labels) -> Stored {
        if unknown.is_empty() { Stored::Known(present) } else { Stored::Partial { present, unknown } }
    }
}

impl From<Stored> for Labels {
    fn from(stored: Stored) -> Labels {
        match stored {
            Stored::Known(present) => present.into(),
            Stored::Partial { present, unknown } => Labels { present, unknown },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decision_about_an_unknown_class_is_neither_right_nor_wrong() {
        let labels = Labels::new(vec![0], vec![1]);
        assert!(labels.is_exactly(&[0]) && labels.is_exactly(&[0, 1]) && !labels.is_exactly(&[0, 2]));
        assert_eq!((&*labels.known_of(&[0, 1, 2]), labels.is_known(1), labels.len()), (&[0, 2][..], false, 1));
    }
}
