//! Extremely randomized trees (scikit-learn's ExtraTreesClassifier): each column of a random subset is split at a random value;
//! see `forest.rs`.

use super::forest::{TreeKind, Trees};
use super::trees::MaxFeatures;

tree_model! {
    /// Extremely randomized trees: like a random forest, but the thresholds are random and only the best column is chosen.
    pub struct ExtraTrees {
        /// The number of trees. Default: 100.
        #[schemars(range(min = 1, max = 100000))]
        pub n_estimators: usize = 100,
        /// How many columns are tried at a node: "sqrt" of their number, "log2" of it, or "all". Default: "sqrt".
        pub max_features: MaxFeatures = MaxFeatures::Sqrt,
        /// Whether each tree sees as many clips as there are, drawn with replacement. Default: false.
        pub bootstrap: bool = false,
    },
    version 1
}

impl TreeKind for ExtraTrees {
    fn trees(&self) -> Trees {
        Trees {
            n_estimators: Some(self.n_estimators),
            max_features: self.max_features,
            bootstrap: self.bootstrap,
            random_thresholds: true,
        }
    }
}
