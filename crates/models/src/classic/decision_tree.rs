//! A decision tree (scikit-learn's DecisionTreeClassifier); see `trees.rs`.

use anyhow::Result;

use super::preparation::Preparing;
use super::row_model::{ClassWeight, Problem, RowModel};
use super::trees::{Criterion, Forest, Growth, grow_forest, tree_faults};
use crate::Tensor;
use timbre_core::registry::Fault;

row_spec! {
    /// A decision tree: a sequence of thresholds on columns leads to a leaf with the shares of the classes.
    pub struct DecisionTree {
        /// Standardize every column to zero mean and unit variance over the training clips first. Default: false.
        pub standardize: bool = false,
        /// How mixed the classes of a node are: "gini" or "entropy". Default: "gini".
        pub criterion: Criterion = Criterion::Gini,
        /// The most splits between the root and a leaf. Default: no limit.
        #[serde(skip_serializing_if = "Option::is_none")]
        #[schemars(range(min = 1))]
        pub max_depth: Option<usize> = None,
        /// The fewest clips of a node that is split. Default: 2.
        #[schemars(range(min = 2))]
        pub min_samples_split: usize = 2,
        /// The fewest clips of a leaf. Default: 1.
        #[schemars(range(min = 1))]
        pub min_samples_leaf: usize = 1,
        /// "balanced" weights the clips in inverse proportion to the frequency of their class. Default: all count 1.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub class_weight: Option<ClassWeight> = None,
    }
}

row_model!(DecisionTree, version 1);

impl RowModel for DecisionTree {
    type Fitted = Forest;

    fn preparing(&self) -> Preparing {
        Preparing { standardize: self.standardize, select: self.select.clone(), pca: self.pca }
    }

    fn own_faults(&self) -> Vec<Fault> {
        tree_faults(None, self.max_depth, self.min_samples_split, self.min_samples_leaf)
    }

    fn fit_rows(&self, problem: &Problem) -> Result<Forest> {
        let growth = Growth {
            criterion: self.criterion,
            max_depth: self.max_depth,
            min_samples_split: self.min_samples_split,
            min_samples_leaf: self.min_samples_leaf,
            max_features: problem.rows.dims,
            random_thresholds: false,
        };
        grow_forest(problem, self.class_weight, &growth, 1, false)
    }

    fn restore_rows(&self, tensors: &mut Vec<Tensor>, prefix: &str, classes: usize, dims: usize) -> Result<Forest> {
        Forest::restore(tensors, prefix, classes, dims)
    }
}
