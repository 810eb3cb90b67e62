//! Gradient boosting of trees on histograms.
//!
//! Conventions: as scikit-learn's HistGradientBoostingClassifier without early stopping: columns are divided into at most 255 bins;
//! each iteration adds one tree per class (one in all for two classes) that follows the gradient of the log loss; a tree is grown
//! best leaf first up to `max_leaf_nodes`; the value of a leaf is a Newton step times `learning_rate`. scikit-learn stops early by
//! default on more than 10,000 clips, with a random tenth of them as validation set; this model never does.
//!
//! Memory: one byte per value of the training rows, and per leaf that may still be split a histogram of 255 bins (24 bytes each)
//! for every column.

use std::ops::Range;

use anyhow::{Result, ensure};
use rayon::prelude::*;

use super::naive_bayes::shares_of_logs;
use super::newton::sigmoid;
use super::row_model::{ClassWeight, Problem, RowClassifier, RowModel};
use super::rows::Rows;
use super::trees::between;
use crate::Tensor;
use crate::tensor::take_tensor;
use timbre_core::registry::Fault;

/// The most bins of a column.
const MOST_BINS: usize = 255;
/// The least sum of second derivatives in a child.
const LEAST_HESSIAN: f64 = 1e-3;

row_spec! {
    /// Gradient boosting: each small tree corrects the errors of those before it.
    pub struct HistGradientBoosting {
        /// Standardize every column to zero mean and unit variance over the training clips first. Default: false.
        pub standardize: bool = false,
        /// The factor on the contribution of each tree. Default: 0.1.
        #[schemars(range(min = 1e-6, max = 10.0))]
        pub learning_rate: f64 = 0.1,
        /// The number of iterations; each adds one tree per class. Default: 100.
        #[schemars(range(min = 1, max = 100000))]
        pub max_iterations: usize = 100,
        /// The most leaves of a tree. Default: 31.
        #[schemars(range(min = 2, max = 4096))]
        pub max_leaf_nodes: usize = 31,
        /// The most splits between the root and a leaf. Default: no limit.
        #[serde(skip_serializing_if = "Option::is_none")]
        #[schemars(range(min = 1))]
        pub max_depth: Option<usize> = None,
        /// The fewest clips of a leaf. Default: 20.
        #[schemars(range(min = 1))]
        pub min_samples_leaf: usize = 20,
        /// The weight of the squared values of the leaves. Default: 0.
        #[schemars(range(min = 0.0))]
        pub l2_regularization: f64 = 0.0,
        /// "balanced" weights the clips in inverse proportion to the frequency of their class. Default: all count 1.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub class_weight: Option<ClassWeight> = None,
    }
}

row_model!(HistGradientBoosting, version 1);

impl RowModel for HistGradientBoosting {
    type Fitted = Boosted;

    const USES_WEIGHTS: bool = true;
    const HAS_IMPORTANCES: bool = true;

    fn own_faults(&self) -> Vec<Fault> {
        let fault = |wrong: bool, sentence: &str| wrong.then(|| sentence.to_owned());
        let iterations = !(1..=100_000).contains(&self.max_iterations);
        let l2 = !(self.l2_regularization >= 0.0 && self.l2_regularization.is_finite());
        Fault::of_keys([
            (
                "learning_rate",
                fault(!(1e-6..=10.0).contains(&self.learning_rate), "write a factor between 1e-6 and 10, such as 0.1"),
            ),
            ("max_iterations", fault(iterations, "write a number from 1 to 100000, such as 100")),
            (
                "max_leaf_nodes",
                fault(
                    !(2..=4096).contains(&self.max_leaf_nodes),
                    "write a number of leaves from 2 to 4096, such as 31",
                ),
            ),
            ("max_depth", fault(self.max_depth == Some(0), "write 1 or more, or leave the key out for no limit")),
            ("min_samples_leaf", fault(self.min_samples_leaf == 0, "write 1 or more: a leaf needs a clip")),
            ("l2_regularization", fault(l2, "write 0 for none, or a positive number")),
        ])
    }

    fn fit_rows(&self, problem: &Problem) -> Result<Boosted> {
        let &Problem { rows, targets, classes, .. } = problem;
        let n = rows.len();
        let bins = Bins::new(rows);
        let weights = problem.row_weights(self.class_weight);
        // Two classes share one score, that of the second.
        let columns = if classes == 2 { 1 } else { classes };
        let share = |class: usize| -> f64 {
            let of_class: f64 = (0..n).filter(|&row| targets[row] == class).map(|row| weights[row]).sum();
            of_class / weights.iter().sum::<f64>()
        };
        let baseline: Vec<f32> = if classes == 2 {
            vec![(share(1) / share(0)).ln() as f32]
        } else {
            let logs: Vec<f64> = (0..classes).map(|class| share(class).ln()).collect();
            let mean = logs.iter().sum::<f64>() / classes as f64;
            logs.iter().map(|log| (log - mean) as f32).collect()
        };
        // Column-major: the scores of a class are contiguous.
        let mut scores: Vec<f64> = baseline.iter().flat_map(|&score| vec![f64::from(score); n]).collect();
        let mut boosted = Boosted { classes, dims: rows.dims, baseline, starts: Vec::new(), nodes: Vec::new() };
        for _ in 0..self.max_iterations {
            let derivatives = derivatives(&scores, targets, &weights, classes);
            for (derivatives, scores) in derivatives.chunks_exact(n).zip(scores.chunks_exact_mut(n)).take(columns) {
                boosted.starts.push(boosted.nodes.len() as u32);
                Grower { spec: self, bins: &bins, derivatives }.grow(&mut boosted.nodes, scores);
            }
        }
        Ok(boosted)
    }

    fn restore_rows(&self, tensors: &mut Vec<Tensor>, prefix: &str, classes: usize, dims: usize) -> Result<Boosted> {
        let mut take = |name: &str| take_tensor(tensors, &format!("{prefix}{name}"));
        let (baseline, starts, columns) = (take("baseline")?, take("trees")?, take("node_columns")?);
        let (values, next) = (take("node_values")?, take("node_next")?);
        let expected = if classes == 2 { 1 } else { classes };
        ensure!(
            baseline.len() == expected && starts.len().is_multiple_of(expected),
            "`{prefix}baseline` has {} values, expected {expected}",
            baseline.len()
        );
        ensure!(
            columns.len() == values.len() && columns.len() == next.len(),
            "the tensors of the trees differ in their lengths"
        );
        let nodes: Vec<Node> = columns
            .iter()
            .zip(values)
            .zip(next)
            .map(|((&column, value), next)| Node { column: column as i32, value, next: next as u32 })
            .collect();
        // Children follow their parents, so that every walk ends.
        let valid = nodes.iter().enumerate().all(|(at, node)| {
            let next = node.next as usize;
            node.column < 0 || (node.column as usize) < dims && next > at + 1 && next < nodes.len()
        });
        let starts: Vec<u32> = starts.into_iter().map(|start| start as u32).collect();
        ensure!(
            valid && starts.iter().all(|&start| (start as usize) < nodes.len()),
            "a node of the trees points nowhere"
        );
        Ok(Boosted { classes, dims, baseline, starts, nodes })
    }
}

/// First and second derivatives of the loss, in f32 as in scikit-learn.
type Derivatives = [f32; 2];

/// The derivatives for every score, column-major like the scores.
fn derivatives(scores: &[f64], targets: &[usize], weights: &[f64], classes: usize) -> Vec<Derivatives> {
    let n = targets.len();
    let of = |p: f64, has: bool, weight: f64| {
        [((p - f64::from(u8::from(has))) * weight) as f32, (p * (1.0 - p) * weight) as f32]
    };
    if classes == 2 {
        return (0..n).map(|row| of(sigmoid(scores[row]), targets[row] == 1, weights[row])).collect();
    }
    let mut all = vec![[0.0; 2]; n * classes];
    let mut logs = vec![0.0; classes];
    for row in 0..n {
        (0..classes).for_each(|class| logs[class] = scores[class * n + row]);
        for (class, share) in shares_of_logs(&logs).0.into_iter().enumerate() {
            all[class * n + row] = of(share, targets[row] == class, weights[row]);
        }
    }
    all
}

/// The training rows in bins, by columns.
struct Bins {
    rows: usize,
    /// The bin of each value.
    values: Vec<u8>,
    /// The upper ends of all bins but the last, of each column.
    thresholds: Vec<Vec<f32>>,
}

impl Bins {
    fn new(rows: &Rows) -> Self {
        let n = rows.len();
        let mut values = vec![0; n * rows.dims];
        let thresholds = values
            .par_chunks_mut(n)
            .enumerate()
            .map(|(column, out)| {
                let values: Vec<f32> = rows.iter().map(|row| row[column]).collect();
                let thresholds = thresholds(values.clone());
                for (out, value) in out.iter_mut().zip(values) {
                    *out = thresholds.partition_point(|&threshold| threshold < value) as u8;
                }
                thresholds
            })
            .collect();
        Bins { rows: n, values, thresholds }
    }

    fn column(&self, column: usize) -> &[u8] {
        &self.values[column * self.rows..(column + 1) * self.rows]
    }
}

/// Midpoints of neighbouring values, or if there are too many the quantiles.
fn thresholds(mut values: Vec<f32>) -> Vec<f32> {
    values.sort_unstable_by(f32::total_cmp);
    let mut distinct = values.clone();
    distinct.dedup();
    if distinct.len() <= MOST_BINS {
        return distinct.windows(2).map(|pair| between(pair[0], pair[1])).collect();
    }
    let n = values.len();
    let quantile = |bin: usize| {
        // The value below which a share of the values lies; on a step of that share, midway between its neighbours.
        let (whole, rest) = (bin * n / MOST_BINS, bin * n % MOST_BINS);
        if rest > 0 || values[whole - 1] == values[whole] {
            values[whole]
        } else {
            between(values[whole - 1], values[whole])
        }
    };
    let mut quantiles: Vec<f32> = (1..MOST_BINS).map(quantile).collect();
    quantiles.dedup();
    quantiles
}

/// A bin: the sums of its derivatives, and its number of rows.
#[derive(Clone, Copy, Default)]
struct Sum {
    gradient: f64,
    hessian: f64,
    count: u32,
}

impl Sum {
    fn add(&mut self, other: Sum) {
        self.gradient += other.gradient;
        self.hessian += other.hessian;
        self.count += other.count;
    }

    fn without(self, other: Sum) -> Sum {
        Sum {
            gradient: self.gradient - other.gradient,
            hessian: self.hessian - other.hessian,
            count: self.count - other.count,
        }
    }
}

/// The histograms of all columns, `MOST_BINS` each.
type Histograms = Vec<Sum>;

#[derive(Clone, Copy)]
struct Split {
    gain: f64,
    column: usize,
    bin: usize,
    left: Sum,
}

/// A node while its tree grows.
struct Growing {
    members: Range<usize>,
    depth: usize,
    total: Sum,
    /// The split that was made, with the left and right child.
    made: Option<(Split, [usize; 2])>,
    /// The best split, if the node is still a leaf that can be split.
    split: Option<Split>,
    histograms: Histograms,
}

struct Grower<'a> {
    spec: &'a HistGradientBoosting,
    bins: &'a Bins,
    derivatives: &'a [Derivatives],
}

impl Grower<'_> {
    /// Grows a tree, appends its nodes, and adds its values to the scores.
    fn grow(&self, nodes: &mut Vec<Node>, scores: &mut [f64]) {
        let mut order: Vec<u32> = (0..self.bins.rows as u32).collect();
        let mut total = Sum::default();
        for &[gradient, hessian] in self.derivatives {
            total.add(Sum { gradient: gradient.into(), hessian: hessian.into(), count: 1 });
        }
        let root =
            Growing { members: 0..order.len(), depth: 0, total, made: None, split: None, histograms: Vec::new() };
        let mut tree = vec![root];
        if order.len() >= 2 * self.spec.min_samples_leaf && total.hessian >= LEAST_HESSIAN {
            tree[0].histograms = self.histograms(&order);
            tree[0].split = self.best_split(&tree[0]);
        }
        let mut leaves = 1;
        // The first of equal gains.
        let best = |tree: &[Growing]| {
            let open = tree.iter().enumerate().filter_map(|(at, node)| Some((at, node.split?.gain)));
            open.reduce(|best, next| if next.1 > best.1 { next } else { best })
        };
        while let Some((at, _)) = best(&tree).filter(|_| leaves < self.spec.max_leaf_nodes) {
            let split = tree[at].split.take().expect("a node that can be split");
            let (members, depth) = (tree[at].members.clone(), tree[at].depth + 1);
            let column = self.bins.column(split.column);
            let (left, right): (Vec<u32>, Vec<u32>) =
                order[members.clone()].iter().partition(|&&row| usize::from(column[row as usize]) <= split.bin);
            let middle = members.start + left.len();
            order[members.start..middle].copy_from_slice(&left);
            order[middle..members.end].copy_from_slice(&right);
            leaves += 1;
            let total = tree[at].total;
            let mut children = [(members.start..middle, split.left), (middle..members.end, total.without(split.left))]
                .map(|(members, total)| Growing {
                    members,
                    depth,
                    total,
                    made: None,
                    split: None,
                    histograms: Vec::new(),
                });
            let is_open = |node: &Growing| {
                leaves < self.spec.max_leaf_nodes
                    && self.spec.max_depth.is_none_or(|most| depth < most)
                    && node.members.len() >= 2 * self.spec.min_samples_leaf
            };
            let parent = std::mem::take(&mut tree[at].histograms);
            if children.iter().any(is_open) {
                let small = usize::from(left.len() >= right.len());
                children[small].histograms = self.histograms(&order[children[small].members.clone()]);
                let rest = parent.iter().zip(&children[small].histograms).map(|(all, part)| all.without(*part));
                children[1 - small].histograms = rest.collect();
                for child in &mut children {
                    if is_open(child) {
                        child.split = self.best_split(child);
                    }
                    if child.split.is_none() {
                        child.histograms = Vec::new();
                    }
                }
            }
            tree[at].made = Some((split, [tree.len(), tree.len() + 1]));
            tree.extend(children);
        }
        for leaf in tree.iter().filter(|node| node.made.is_none()) {
            let value = f64::from(self.value(leaf.total));
            order[leaf.members.clone()].iter().for_each(|&row| scores[row as usize] += value);
        }
        self.append(&tree, 0, nodes);
    }

    /// The value of a leaf, in the form in which it is stored.
    fn value(&self, total: Sum) -> f32 {
        (self.newton_step(total) * self.spec.learning_rate) as f32
    }

    fn newton_step(&self, total: Sum) -> f64 {
        -total.gradient / (total.hessian + self.spec.l2_regularization + 1e-15)
    }

    /// The node and what is below it, parents before children.
    fn append(&self, tree: &[Growing], at: usize, nodes: &mut Vec<Node>) {
        let Some((split, [left, right])) = tree[at].made else {
            return nodes.push(Node { column: -1, value: self.value(tree[at].total), next: 0 });
        };
        let node = nodes.len();
        let threshold = self.bins.thresholds[split.column][split.bin];
        nodes.push(Node { column: split.column as i32, value: threshold, next: 0 });
        self.append(tree, left, nodes);
        nodes[node].next = nodes.len() as u32;
        self.append(tree, right, nodes);
    }

    fn histograms(&self, members: &[u32]) -> Histograms {
        let derivatives: Vec<Derivatives> = members.iter().map(|&row| self.derivatives[row as usize]).collect();
        let mut histograms = vec![Sum::default(); self.bins.thresholds.len() * MOST_BINS];
        histograms.par_chunks_exact_mut(MOST_BINS).with_min_len(8).enumerate().for_each(|(column, out)| {
            let bins = self.bins.column(column);
            for (&row, &[gradient, hessian]) in members.iter().zip(&derivatives) {
                out[usize::from(bins[row as usize])].add(Sum {
                    gradient: gradient.into(),
                    hessian: hessian.into(),
                    count: 1,
                });
            }
        });
        histograms
    }

    fn best_split(&self, node: &Growing) -> Option<Split> {
        let gain = |total: Sum| -total.gradient * self.newton_step(total);
        let before = gain(node.total);
        let least = self.spec.min_samples_leaf as u32;
        let of_column = |(column, histogram): (usize, &[Sum])| {
            let mut best: Option<Split> = None;
            let mut left = Sum::default();
            for (bin, &sum) in histogram.iter().enumerate().take(self.bins.thresholds[column].len()) {
                left.add(sum);
                let right = node.total.without(left);
                let enough = left.count >= least && right.count >= least;
                if !enough || left.hessian < LEAST_HESSIAN || right.hessian < LEAST_HESSIAN {
                    continue;
                }
                // Minus the loss, which falls by what the children gain over their parent.
                let gain = gain(left) + gain(right) - before;
                if gain > best.map_or(0.0, |best| best.gain) {
                    best = Some(Split { gain, column, bin, left });
                }
            }
            best
        };
        let found: Vec<Option<Split>> =
            node.histograms.par_chunks_exact(MOST_BINS).with_min_len(32).enumerate().map(of_column).collect();
        // The first of equals.
        found.into_iter().flatten().reduce(|best, next| if next.gain > best.gain { next } else { best })
    }
}

/// A node: with a column it is a split, whose left child follows it; without, a leaf.
#[derive(Clone, Copy)]
struct Node {
    /// The column, or -1.
    column: i32,
    /// The threshold; of a leaf, what it adds to the score.
    value: f32,
    /// The right child.
    next: u32,
}

/// The sum of all trees.
pub struct Boosted {
    classes: usize,
    dims: usize,
    /// The scores before the first tree; for two classes only that of the second.
    baseline: Vec<f32>,
    /// The first node of each tree; the trees of an iteration follow each other.
    starts: Vec<u32>,
    nodes: Vec<Node>,
}

impl RowClassifier for Boosted {
    fn shares(&self, row: &[f32]) -> (Vec<f64>, usize) {
        debug_assert!(row.len() == self.dims);
        let mut scores: Vec<f64> = self.baseline.iter().map(|&score| f64::from(score)).collect();
        for (tree, &start) in self.starts.iter().enumerate() {
            let mut at = start as usize;
            while self.nodes[at].column >= 0 {
                let Node { column, value, next } = self.nodes[at];
                at = if row[column as usize] <= value { at + 1 } else { next as usize };
            }
            scores[tree % self.baseline.len()] += f64::from(self.nodes[at].value);
        }
        if self.classes == 2 {
            let share = sigmoid(scores[0]);
            return (vec![1.0 - share, share], usize::from(scores[0] > 0.0));
        }
        shares_of_logs(&scores)
    }

    fn tensors(&self, prefix: &str) -> Vec<Tensor> {
        let list = |name: &str, values: Vec<f32>| Tensor::new(&format!("{prefix}{name}"), vec![values.len()], values);
        let of_nodes = |number: fn(&Node) -> f32| self.nodes.iter().map(number).collect();
        vec![
            list("baseline", self.baseline.clone()),
            list("trees", self.starts.iter().map(|&start| start as f32).collect()),
            list("node_columns", of_nodes(|node| node.column as f32)),
            list("node_values", of_nodes(|node| node.value)),
            list("node_next", of_nodes(|node| node.next as f32)),
        ]
    }

    /// The share of the splits at each column, as LightGBM's `importance_type="split"`; scikit-learn has no importances here.
    fn importances(&self) -> Vec<(Option<usize>, Vec<f32>)> {
        let mut counts = vec![0.0; self.dims];
        let splits = self.nodes.iter().filter(|node| node.column >= 0);
        splits.for_each(|node| counts[node.column as usize] += 1.0);
        let total: f32 = counts.iter().sum();
        counts.iter_mut().for_each(|count| *count /= total.max(1.0));
        vec![(None, counts)]
    }

    fn notes(&self) -> Vec<(String, String)> {
        vec![("trees".to_owned(), self.starts.len().to_string())]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_values_are_divided_midway_and_many_at_quantiles() {
        assert_eq!(thresholds(vec![3.0, 1.0, 1.0, 2.0]), [1.5, 2.5]);
        assert!(thresholds(vec![7.0; 9]).is_empty());
        // 510 values: two in each bin; the ends lie midway between the bins.
        let quantiles = thresholds((0..510).map(|x| x as f32).collect());
        assert_eq!((quantiles.len(), quantiles[0], quantiles[253]), (254, 1.5, 507.5));
        // Of 1000 values, numpy's "averaged_inverted_cdf" of 1/255 is the fourth.
        assert_eq!(thresholds((0..1000).map(|x| x as f32).collect())[0], 3.0);
    }

    #[test]
    fn a_value_at_a_threshold_is_in_the_bin_below() {
        let bins = Bins::new(&Rows::new(1, vec![3.0, 1.0, 1.0, 2.0]));
        assert_eq!((&bins.values[..], &bins.thresholds[0][..]), (&[2, 0, 0, 1][..], &[1.5, 2.5][..]));
    }
}
