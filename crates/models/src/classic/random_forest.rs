//! A random forest (scikit-learn's RandomForestClassifier): bagging of trees that try a random subset of the columns at each
//! node; see `forest.rs`.

use super::forest::{TreeKind, Trees};
use super::trees::MaxFeatures;

tree_model! {
    /// A random forest: decision trees on different draws of the training clips, with a random subset of the columns at each node.
    pub struct RandomForest {
        /// The number of trees. Default: 100.
        #[schemars(range(min = 1, max = 100000))]
        pub n_estimators: usize = 100,
        /// How many columns are tried at a node: "sqrt" of their number, "log2" of it, or "all". Default: "sqrt".
        pub max_features: MaxFeatures = MaxFeatures::Sqrt,
        /// Whether each tree sees as many clips as there are, drawn with replacement. Default: true.
        pub bootstrap: bool = true,
    },
    version 1
}

impl TreeKind for RandomForest {
    fn trees(&self) -> Trees {
        Trees {
            n_estimators: Some(self.n_estimators),
            max_features: self.max_features,
            bootstrap: self.bootstrap,
            random_thresholds: false,
        }
    }
}
