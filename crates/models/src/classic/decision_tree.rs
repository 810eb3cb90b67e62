//! A decision tree (scikit-learn's DecisionTreeClassifier); see `forest.rs`.

use super::forest::{TreeKind, Trees};
use super::trees::MaxFeatures;

tree_model! {
    /// A decision tree: a sequence of thresholds on columns leads to a leaf with the shares of the classes.
    pub struct DecisionTree {},
    version 1
}

impl TreeKind for DecisionTree {
    fn trees(&self) -> Trees {
        Trees { n_estimators: None, max_features: MaxFeatures::All, bootstrap: false, random_thresholds: false }
    }
}
