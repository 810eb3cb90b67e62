//! Trees that vote with the mean of their shares: the fitted model of `decision_tree.rs`, `bagging.rs`, `random_forest.rs` and
//! `extra_trees.rs`, and the keys that these kinds share (`tree_model!`).

use anyhow::{Result, ensure};
use rayon::prelude::*;

use super::row_model::{ClassWeight, Problem, RowClassifier};
use super::trees::{Growth, MaxFeatures, Node, Tree, TreeData, grow};
use crate::Tensor;
use crate::tensor::{take_matrix, take_tensor};
use timbre_core::{registry::Fault, seed::uniform_below};
use timbre_evaluation::predictions::argmax;

/// What differs between the kinds of trees, beside their keys.
pub struct Trees {
    /// None: a single tree, without a key for their number.
    pub n_estimators: Option<usize>,
    pub max_features: MaxFeatures,
    /// Whether each tree sees as many clips as there are, drawn with replacement.
    pub bootstrap: bool,
    /// Whether a column is split at a random value instead of the best one.
    pub random_thresholds: bool,
}

/// A spec declared by `tree_model!`.
pub trait TreeKind {
    fn trees(&self) -> Trees;
}

/// Declares a kind of trees: its own keys between `standardize` and the keys of a tree. The file implements [`TreeKind`]: the number of trees and how they are grown:
/// [`TreeKind`].
macro_rules! tree_model {
    ($(#[$meta:meta])* pub struct $Spec:ident {
        $($(#[$key_meta:meta])* pub $key:ident: $Type:ty = $default:expr,)*
    }, version $version:literal) => {
        row_spec! {
            $(#[$meta])*
            pub struct $Spec {
                /// Standardize every column to zero mean and unit variance over the training clips first. Default: false.
                pub standardize: bool = false,
                $($(#[$key_meta])* pub $key: $Type = $default,)*
                /// How mixed the classes of a node are: "gini" or "entropy". Default: "gini".
                pub criterion: $crate::classic::trees::Criterion = $crate::classic::trees::Criterion::Gini,
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
                pub class_weight: Option<$crate::classic::row_model::ClassWeight> = None,
            }
        }

        row_model!($Spec, version $version);

        impl $crate::classic::row_model::RowModel for $Spec {
            type Fitted = $crate::classic::forest::Forest;

            const USES_WEIGHTS: bool = true;
            const HAS_IMPORTANCES: bool = true;

            fn own_faults(&self) -> Vec<timbre_core::registry::Fault> {
                let count = $crate::classic::forest::TreeKind::trees(self).n_estimators;
                $crate::classic::forest::faults(count, self.max_depth, self.min_samples_split, self.min_samples_leaf)
            }

            fn fit_rows(&self, problem: &$crate::classic::row_model::Problem) -> anyhow::Result<Self::Fitted> {
                let trees = $crate::classic::forest::TreeKind::trees(self);
                let growth = $crate::classic::trees::Growth {
                    criterion: self.criterion,
                    max_depth: self.max_depth,
                    min_samples_split: self.min_samples_split,
                    min_samples_leaf: self.min_samples_leaf,
                    max_features: trees.max_features.of(problem.rows.dims),
                    random_thresholds: trees.random_thresholds,
                };
                let count = trees.n_estimators.unwrap_or(1);
                $crate::classic::forest::grow_forest(problem, self.class_weight, &growth, count, trees.bootstrap)
            }

            fn restore_rows(
                &self,
                tensors: &mut Vec<crate::Tensor>,
                prefix: &str,
                classes: usize,
                dims: usize,
            ) -> anyhow::Result<Self::Fitted> {
                $crate::classic::forest::Forest::restore(tensors, prefix, classes, dims)
            }
        }
    };
}

/// Trees that vote.
pub struct Forest {
    dims: usize,
    classes: usize,
    /// The first node of each tree.
    starts: Vec<u32>,
    pub(super) nodes: Vec<Node>,
    /// Row-major, one row per leaf.
    pub(super) leaves: Vec<f32>,
    /// The share of each column in the decrease of the impurity.
    pub(super) importances: Vec<f32>,
}

impl Forest {
    pub fn new(trees: Vec<Tree>, dims: usize, classes: usize) -> Self {
        let mut forest = Forest {
            dims,
            classes,
            starts: Vec::new(),
            nodes: Vec::new(),
            leaves: Vec::new(),
            importances: Vec::new(),
        };
        let mut importances = vec![0.0; dims];
        for tree in trees {
            let (start, leaf) = (forest.nodes.len() as u32, (forest.leaves.len() / classes) as u32);
            forest.starts.push(start);
            let moved = |node: &Node| Node { next: node.next + if node.column < 0 { leaf } else { start }, ..*node };
            forest.nodes.extend(tree.nodes.iter().map(moved));
            forest.leaves.extend(&tree.leaves);
            importances.iter_mut().zip(&tree.importances).for_each(|(sum, importance)| *sum += importance);
        }
        let total: f64 = importances.iter().sum();
        let share = |importance: &f64| if total > 0.0 { (importance / total) as f32 } else { 0.0 };
        forest.importances = importances.iter().map(share).collect();
        forest
    }

    fn leaf(&self, start: u32, row: &[f32]) -> &[f32] {
        let mut at = start as usize;
        loop {
            let Node { column, threshold, next } = self.nodes[at];
            if column < 0 {
                return &self.leaves[next as usize * self.classes..(next as usize + 1) * self.classes];
            }
            at = if row[column as usize] <= threshold { at + 1 } else { next as usize };
        }
    }

    pub fn restore(tensors: &mut Vec<Tensor>, prefix: &str, classes: usize, dims: usize) -> Result<Forest> {
        let mut take = |name: &str| take_tensor(tensors, &format!("{prefix}{name}"));
        let whole = |values: Vec<f32>| values.into_iter().map(|value| value as u32).collect::<Vec<u32>>();
        let (starts, columns) = (whole(take("trees")?), take("node_columns")?);
        let (thresholds, next) = (take("node_thresholds")?, whole(take("node_next")?));
        let importances = take("importances")?;
        let (leaf_count, leaf_classes, leaves) = take_matrix(tensors, &format!("{prefix}leaves"))?;
        let same = columns.len() == thresholds.len() && columns.len() == next.len() && importances.len() == dims;
        ensure!(same && leaf_classes == classes, "the tensors of the trees differ in their lengths");
        let nodes: Vec<Node> = columns
            .iter()
            .zip(thresholds)
            .zip(next)
            .map(|((&column, threshold), next)| Node { column: column as i32, threshold, next })
            .collect();
        // Children follow their parents, so that every walk ends.
        let valid = nodes.iter().enumerate().all(|(at, node)| {
            if node.column < 0 {
                (node.next as usize) < leaf_count
            } else {
                (node.column as usize) < dims
                    && node.next as usize > at
                    && (node.next as usize) < nodes.len()
                    && at + 1 < nodes.len()
            }
        });
        ensure!(
            valid && starts.iter().all(|&start| (start as usize) < nodes.len()),
            "a node of the trees points nowhere"
        );
        Ok(Forest { dims, classes, starts, nodes, leaves, importances })
    }
}

impl RowClassifier for Forest {
    fn shares(&self, row: &[f32]) -> (Vec<f64>, usize) {
        let mut shares = vec![0.0f64; self.classes];
        for &start in &self.starts {
            shares.iter_mut().zip(self.leaf(start, row)).for_each(|(sum, &share)| *sum += f64::from(share));
        }
        let total: f64 = shares.iter().sum();
        shares.iter_mut().for_each(|share| *share /= total);
        let winner = argmax(&shares);
        (shares, winner)
    }

    fn tensors(&self, prefix: &str) -> Vec<Tensor> {
        let list = |name: &str, values: Vec<f32>| Tensor::new(&format!("{prefix}{name}"), vec![values.len()], values);
        let of_nodes = |number: fn(&Node) -> f32| self.nodes.iter().map(number).collect();
        let leaves = vec![self.leaves.len() / self.classes, self.classes];
        vec![
            list("trees", self.starts.iter().map(|&start| start as f32).collect()),
            list("node_columns", of_nodes(|node| node.column as f32)),
            list("node_thresholds", of_nodes(|node| node.threshold)),
            list("node_next", of_nodes(|node| node.next as f32)),
            list("importances", self.importances.clone()),
            Tensor::new(&format!("{prefix}leaves"), leaves, self.leaves.clone()),
        ]
    }

    fn importances(&self) -> Vec<(Option<usize>, Vec<f32>)> {
        vec![(None, self.importances.clone())]
    }

    fn notes(&self) -> Vec<(String, String)> {
        let mean = |count: usize| format!("{:.1}", count as f64 / self.starts.len() as f64);
        let leaves = self.leaves.len() / self.classes;
        vec![("trees".to_owned(), self.starts.len().to_string()), ("leaves per tree".to_owned(), mean(leaves))]
    }
}

/// Many trees, each with its own random numbers. With `bootstrap` a tree sees as many clips as there are, drawn with
/// replacement.
pub fn grow_forest(
    problem: &Problem,
    class_weight: Option<ClassWeight>,
    growth: &Growth,
    count: usize,
    bootstrap: bool,
) -> Result<Forest> {
    let &Problem { rows, targets, classes, .. } = problem;
    let data = TreeData::new(rows, targets, classes);
    let weights = problem.row_weights(class_weight);
    let tree = |number: usize| {
        let mut rng = problem.seed.child("tree").child(number).rng();
        if !bootstrap {
            return grow(&data, &weights, growth, rng);
        }
        let mut drawn = vec![0.0; rows.len()];
        (0..rows.len()).for_each(|_| drawn[uniform_below(&mut rng, rows.len() as u64) as usize] += 1.0);
        drawn.iter_mut().zip(&weights).for_each(|(drawn, weight)| *drawn *= weight);
        grow(&data, &drawn, growth, rng)
    };
    let trees: Vec<Tree> = (0..count).into_par_iter().map(tree).collect();
    ensure_storable(Forest::new(trees, rows.dims, classes))
}

/// The faults of the keys of trees.
pub fn faults(count: Option<usize>, max_depth: Option<usize>, split: usize, leaf: usize) -> Vec<Fault> {
    let trees = count.filter(|count| !(1..=100_000).contains(count));
    Fault::of_keys([
        ("n_estimators", trees.map(|_| "write a number of trees from 1 to 100000, such as 100".to_owned())),
        ("max_depth", (max_depth == Some(0)).then(|| "write 1 or more, or leave the key out for no limit".to_owned())),
        ("min_samples_split", (split < 2).then(|| "write 2 or more: a single clip cannot be split".to_owned())),
        ("min_samples_leaf", (leaf < 1).then(|| "write 1 or more: a leaf needs a clip".to_owned())),
    ])
}

/// The largest node number that the file format, which stores f32, keeps exactly.
const MOST_NODES: usize = 1 << 24;

/// Fails if the file format cannot keep the node numbers.
fn ensure_storable(forest: Forest) -> Result<Forest> {
    let nodes = forest.nodes.len();
    ensure!(
        nodes <= MOST_NODES,
        "fit trees: {nodes} nodes are more than a saved model can have ({MOST_NODES}); lower `n_estimators` or `max_depth`, or raise `min_samples_leaf`"
    );
    debug_assert!(forest.dims == forest.importances.len());
    Ok(forest)
}
