//! Bagging (scikit-learn's BaggingClassifier of decision trees): the mean of trees that see different draws of the clips and
//! try every column; see `forest.rs`.

use super::forest::{TreeKind, Trees};
use super::trees::MaxFeatures;

tree_model! {
    /// Bagging: decision trees on different draws of the training clips, whose shares are averaged.
    pub struct Bagging {
        /// The number of trees. Default: 10.
        #[schemars(range(min = 1, max = 100000))]
        pub n_estimators: usize = 10,
    },
    version 1
}

impl TreeKind for Bagging {
    fn trees(&self) -> Trees {
        Trees {
            n_estimators: Some(self.n_estimators),
            max_features: MaxFeatures::All,
            bootstrap: true,
            random_thresholds: false,
        }
    }
}
