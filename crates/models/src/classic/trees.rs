//! How a decision tree is grown. `forest.rs` has what is made of trees.
//!
//! Conventions: as scikit-learn's trees (CART, depth first): a split maximizes the decrease of the impurity; its threshold lies
//! midway between two neighbouring values, and a value equal to the threshold goes left; a node becomes a leaf if it is pure or
//! no split leaves `min_samples_leaf` clips on both sides. Of equally good splits the first column that was tried wins, of its
//! thresholds the lowest; scikit-learn tries columns in a random order even when it tries all, so where splits tie it may choose
//! others. Columns that are constant in a node do not count as tried.
//!
//! Every random number comes from a seed named after the tree. A tree of a forest is grown by one thread; a tree that tries
//! every column is grown column by column in parallel. Neither changes a bit.
//!
//! Memory: the training rows once more, by columns; the trees themselves.

use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::rows::Rows;
use timbre_core::seed::{uniform, uniform_below};

/// How mixed the classes of a node are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Criterion {
    /// One minus the sum of the squared shares.
    #[default]
    Gini,
    /// The entropy of the shares.
    Entropy,
}

/// How many columns are tried at a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum MaxFeatures {
    /// The square root of their number.
    Sqrt,
    /// The binary logarithm of their number.
    Log2,
    All,
}

impl MaxFeatures {
    pub fn of(self, dims: usize) -> usize {
        let count = match self {
            MaxFeatures::Sqrt => (dims as f64).sqrt() as usize,
            MaxFeatures::Log2 => (dims as f64).log2() as usize,
            MaxFeatures::All => dims,
        };
        count.clamp(1, dims)
    }
}

/// How a tree is grown.
#[derive(Clone, Debug)]
pub struct Growth {
    pub criterion: Criterion,
    pub max_depth: Option<usize>,
    pub min_samples_split: usize,
    pub min_samples_leaf: usize,
    /// Columns that are tried at a node.
    pub max_features: usize,
    /// Whether a column is split at a random value instead of the best one.
    pub random_thresholds: bool,
}

/// The training rows by columns.
pub struct TreeData<'a> {
    rows: usize,
    columns: Vec<f32>,
    targets: &'a [usize],
    classes: usize,
}

impl<'a> TreeData<'a> {
    pub fn new(rows: &Rows, targets: &'a [usize], classes: usize) -> Self {
        let (n, dims) = (rows.len(), rows.dims);
        let mut columns = vec![0.0; n * dims];
        columns.par_chunks_mut(n).enumerate().for_each(|(column, out)| {
            out.iter_mut().zip(rows.values[column..].iter().step_by(dims)).for_each(|(out, &x)| *out = x);
        });
        TreeData { rows: n, columns, targets, classes }
    }

    fn dims(&self) -> usize {
        self.columns.len() / self.rows
    }

    fn column(&self, column: usize) -> &[f32] {
        &self.columns[column * self.rows..(column + 1) * self.rows]
    }
}

/// A node: with a column it is a split, whose left child follows it; without, a leaf.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Node {
    /// The column, or -1.
    pub(super) column: i32,
    pub(super) threshold: f32,
    /// The right child; for a leaf, the row of its shares.
    pub(super) next: u32,
}

/// One grown tree, and how much each column decreased the impurity.
pub struct Tree {
    pub(super) nodes: Vec<Node>,
    pub(super) leaves: Vec<f32>,
    pub(super) importances: Vec<f64>,
}

/// A split of a node: how good it is (larger is better), and where.
#[derive(Clone, Copy)]
struct Split {
    score: f64,
    column: usize,
    threshold: f32,
}

/// Sums of weights by class.
struct Counts {
    by_class: Vec<f64>,
    total: f64,
    squares: f64,
}

impl Counts {
    fn zero(classes: usize) -> Self {
        Counts { by_class: vec![0.0; classes], total: 0.0, squares: 0.0 }
    }

    /// The sum of squares follows without a sum over the classes.
    fn add(&mut self, class: usize, weight: f64) {
        self.squares += weight * (weight + 2.0 * self.by_class[class]);
        self.by_class[class] += weight;
        self.total += weight;
    }

    /// The total times the impurity.
    fn impurity(&self, criterion: Criterion) -> f64 {
        match criterion {
            Criterion::Gini => self.total - self.squares / self.total,
            Criterion::Entropy => {
                let term = |&weight: &f64| if weight > 0.0 { weight * (weight / self.total).log2() } else { 0.0 };
                -self.by_class.iter().map(term).sum::<f64>()
            }
        }
    }

    fn copy_from(&mut self, other: &Counts) {
        self.by_class.copy_from_slice(&other.by_class);
        (self.total, self.squares) = (other.total, other.squares);
    }
}

/// Rows times columns of a node from which its columns are tried in parallel.
const PARALLEL_FROM: usize = 1 << 16;

struct Grower<'a> {
    data: &'a TreeData<'a>,
    weights: &'a [f64],
    growth: &'a Growth,
    rng: ChaCha8Rng,
    tree: Tree,
    /// Every column, shuffled in part at each node.
    order: Vec<u32>,
}

/// Grows a tree on the rows with a positive weight.
pub fn grow(data: &TreeData, weights: &[f64], growth: &Growth, rng: ChaCha8Rng) -> Tree {
    let dims = data.dims();
    let tree = Tree { nodes: Vec::new(), leaves: Vec::new(), importances: vec![0.0; dims] };
    let mut grower = Grower { data, weights, growth, rng, tree, order: (0..dims as u32).collect() };
    let mut members: Vec<u32> = (0..data.rows as u32).filter(|&row| weights[row as usize] > 0.0).collect();
    // Nodes still to be made: their members, depth, and the split whose right child they are.
    let mut open = vec![(0, members.len(), 0, None)];
    while let Some((start, end, depth, parent)) = open.pop() {
        let node = grower.tree.nodes.len();
        if let Some(parent) = parent {
            let parent: &mut Node = &mut grower.tree.nodes[parent];
            parent.next = node as u32;
        }
        let members = &mut members[start..end];
        let mut counts = Counts::zero(data.classes);
        members.iter().for_each(|&row| counts.add(data.targets[row as usize], weights[row as usize]));
        let split =
            if grower.is_leaf(members.len(), depth, &counts) { None } else { grower.best_split(members, &counts) };
        let Some(split) = split else {
            let next = (grower.tree.leaves.len() / data.classes) as u32;
            grower.tree.nodes.push(Node { column: -1, threshold: 0.0, next });
            grower.tree.leaves.extend(counts.by_class.iter().map(|weight| (weight / counts.total) as f32));
            continue;
        };
        let column = data.column(split.column);
        let (mut left, mut right) = (Counts::zero(data.classes), Counts::zero(data.classes));
        let middle = partition(members, |row| {
            let goes_left = column[row as usize] <= split.threshold;
            let side = if goes_left { &mut left } else { &mut right };
            side.add(data.targets[row as usize], weights[row as usize]);
            goes_left
        });
        let criterion = growth.criterion;
        grower.tree.importances[split.column] +=
            counts.impurity(criterion) - left.impurity(criterion) - right.impurity(criterion);
        grower.tree.nodes.push(Node { column: split.column as i32, threshold: split.threshold, next: 0 });
        open.push((start + middle, end, depth + 1, Some(node)));
        open.push((start, start + middle, depth + 1, None));
    }
    let total: f64 = grower.tree.importances.iter().sum();
    if total > 0.0 {
        grower.tree.importances.iter_mut().for_each(|importance| *importance /= total);
    }
    grower.tree
}

/// Moves the rows that go left to the front, both sides in their order, and returns their number.
fn partition(members: &mut [u32], mut goes_left: impl FnMut(u32) -> bool) -> usize {
    let (left, right): (Vec<u32>, Vec<u32>) = members.iter().partition(|&&row| goes_left(row));
    members[..left.len()].copy_from_slice(&left);
    members[left.len()..].copy_from_slice(&right);
    left.len()
}

impl Grower<'_> {
    fn is_leaf(&self, count: usize, depth: usize, counts: &Counts) -> bool {
        let Growth { max_depth, min_samples_split, min_samples_leaf, criterion, .. } = *self.growth;
        max_depth.is_some_and(|most| depth >= most)
            || count < min_samples_split
            || count < 2 * min_samples_leaf
            || counts.by_class.iter().filter(|&&weight| weight > 0.0).count() < 2
            || counts.impurity(criterion) <= f64::EPSILON * counts.total
    }

    fn best_split(&mut self, members: &[u32], counts: &Counts) -> Option<Split> {
        let dims = self.data.dims();
        let better = |best: Option<Split>, next: Option<Split>| match (best, next) {
            (Some(best), Some(next)) => Some(if next.score > best.score { next } else { best }),
            (best, next) => best.or(next),
        };
        if self.growth.max_features == dims && !self.growth.random_thresholds {
            let (data, weights, growth) = (self.data, self.weights, self.growth);
            let of_column =
                |column, scratch: &mut Scratch| sorted_split(data, weights, growth, members, counts, column, scratch);
            if members.len() * dims < PARALLEL_FROM {
                let mut scratch = Scratch::new(data.classes);
                return (0..dims).map(|column| of_column(column, &mut scratch).flatten()).fold(None, better);
            }
            let found: Vec<Option<Split>> = (0..dims)
                .into_par_iter()
                .map_init(|| Scratch::new(data.classes), |scratch, column| of_column(column, scratch).flatten())
                .collect();
            return found.into_iter().fold(None, better);
        }
        let mut scratch = Scratch::new(self.data.classes);
        let (mut best, mut tried) = (None, 0);
        for at in 0..dims {
            if tried == self.growth.max_features {
                break;
            }
            let other = at + uniform_below(&mut self.rng, (dims - at) as u64) as usize;
            self.order.swap(at, other);
            let column = self.order[at] as usize;
            let found = if self.growth.random_thresholds {
                random_split(self.data, self.weights, self.growth, members, column, &mut self.rng, &mut scratch)
            } else {
                sorted_split(self.data, self.weights, self.growth, members, counts, column, &mut scratch)
            };
            // A constant column does not count as tried.
            if let Some(split) = found {
                tried += 1;
                best = better(best, split);
            }
        }
        best
    }
}

/// Working memory of a split.
struct Scratch {
    /// Values as ordered integers in the upper half, rows in the lower.
    sorted: Vec<u64>,
    left: Counts,
    right: Counts,
}

impl Scratch {
    fn new(classes: usize) -> Self {
        Scratch { sorted: Vec::new(), left: Counts::zero(classes), right: Counts::zero(classes) }
    }
}

/// An integer with the order of the numbers (of which none is NaN).
fn ordered(x: f32) -> u32 {
    let bits = (x + 0.0).to_bits();
    if bits >> 31 == 1 { !bits } else { bits | 1 << 31 }
}

fn value_of(ordered: u64) -> f32 {
    let bits = (ordered >> 32) as u32;
    f32::from_bits(if bits >> 31 == 1 { bits & !(1 << 31) } else { !bits })
}

/// Minus the impurity that a split leaves; larger is better.
fn score(left: &Counts, right: &Counts, criterion: Criterion) -> f64 {
    -left.impurity(criterion) - right.impurity(criterion)
}

/// The best split of a column: None for a constant column, Some(None) if no threshold leaves enough clips on both sides.
fn sorted_split(
    data: &TreeData,
    weights: &[f64],
    growth: &Growth,
    members: &[u32],
    counts: &Counts,
    column: usize,
    scratch: &mut Scratch,
) -> Option<Option<Split>> {
    let values = data.column(column);
    let Scratch { sorted, left, right } = scratch;
    sorted.clear();
    sorted.extend(members.iter().map(|&row| u64::from(ordered(values[row as usize])) << 32 | u64::from(row)));
    sorted.sort_unstable();
    let (first, last) = (value_of(sorted[0]), value_of(sorted[sorted.len() - 1]));
    if first == last {
        return None;
    }
    left.by_class.fill(0.0);
    (left.total, left.squares) = (0.0, 0.0);
    right.copy_from(counts);
    let mut best: Option<(f64, usize)> = None;
    for (i, pair) in sorted.windows(2).enumerate() {
        let row = (pair[0] & u64::from(u32::MAX)) as usize;
        let (class, weight) = (data.targets[row], weights[row]);
        left.add(class, weight);
        right.add(class, -weight);
        let (before, after) = (i + 1, sorted.len() - i - 1);
        if pair[0] >> 32 == pair[1] >> 32 || before < growth.min_samples_leaf || after < growth.min_samples_leaf {
            continue;
        }
        let score = score(left, right, growth.criterion);
        if best.is_none_or(|(most, _)| score > most) {
            best = Some((score, i));
        }
    }
    Some(best.map(|(score, i)| Split {
        score,
        column,
        threshold: between(value_of(sorted[i]), value_of(sorted[i + 1])),
    }))
}

/// The number midway, at least `low` and below `high`.
pub(super) fn between(low: f32, high: f32) -> f32 {
    let middle = (0.5 * (f64::from(low) + f64::from(high))) as f32;
    if middle < high { middle.max(low) } else { low }
}

/// A split of a column at a random value; None for a constant column, Some(None) if it leaves too few clips on a side.
fn random_split(
    data: &TreeData,
    weights: &[f64],
    growth: &Growth,
    members: &[u32],
    column: usize,
    rng: &mut ChaCha8Rng,
    scratch: &mut Scratch,
) -> Option<Option<Split>> {
    let values = data.column(column);
    let (mut low, mut high) = (f32::INFINITY, f32::NEG_INFINITY);
    for &row in members {
        low = low.min(values[row as usize]);
        high = high.max(values[row as usize]);
    }
    if low >= high {
        return None;
    }
    let drawn = (f64::from(low) + uniform(rng) * (f64::from(high) - f64::from(low))) as f32;
    let threshold = if drawn < high { drawn.max(low) } else { low };
    let Scratch { left, right, .. } = scratch;
    for side in [&mut *left, &mut *right] {
        side.by_class.fill(0.0);
        (side.total, side.squares) = (0.0, 0.0);
    }
    let mut before = 0;
    for &row in members {
        let row = row as usize;
        let goes_left = values[row] <= threshold;
        before += usize::from(goes_left);
        let side = if goes_left { &mut *left } else { &mut *right };
        side.add(data.targets[row], weights[row]);
    }
    let enough = before >= growth.min_samples_leaf && members.len() - before >= growth.min_samples_leaf;
    Some(enough.then(|| Split { score: score(left, right, growth.criterion), column, threshold }))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::forest::Forest;
    use super::super::row_model::RowClassifier;
    use super::*;
    use timbre_core::seed::Seed;

    fn growth(dims: usize) -> Growth {
        Growth {
            criterion: Criterion::Gini,
            max_depth: None,
            min_samples_split: 2,
            min_samples_leaf: 1,
            max_features: dims,
            random_thresholds: false,
        }
    }

    fn forest(rows: &Rows, targets: &[usize], classes: usize, growth: &Growth) -> Forest {
        let data = TreeData::new(rows, targets, classes);
        let tree = grow(&data, &vec![1.0; rows.len()], growth, Seed::new(1).rng());
        Forest::new(vec![tree], rows.dims, classes)
    }

    #[test]
    fn the_order_of_integers_is_that_of_the_numbers() {
        let numbers = [f32::NEG_INFINITY, -2.5, -1e-40, 0.0, 1e-40, 1.0, f32::MAX];
        assert!(numbers.map(ordered).is_sorted());
        assert!(numbers.iter().all(|&x| value_of(u64::from(ordered(x)) << 32) == x));
        assert_eq!(ordered(-0.0), ordered(0.0));
    }

    #[test]
    fn a_threshold_lies_between_its_values() {
        assert_eq!(between(1.0, 2.0), 1.5);
        let low = 1.0f32;
        assert_eq!(between(low, low.next_up()), low);
        assert_eq!(between(-f32::MAX, f32::MAX), 0.0);
    }

    proptest! {
        #[test]
        fn a_full_tree_knows_its_training_rows_and_its_split_is_the_best_of_all(
            values in prop::collection::vec(-20i8..20, 24), targets in prop::collection::vec(0usize..3, 12), entropy: bool,
        ) {
            let rows = Rows::new(2, values.iter().map(|&x| f32::from(x)).collect());
            let criterion = if entropy { Criterion::Entropy } else { Criterion::Gini };
            let growth = Growth { criterion, ..growth(2) };
            let forest = forest(&rows, &targets, 3, &growth);
            for (i, row) in rows.iter().enumerate() {
                let same: Vec<usize> = (0..12).filter(|&j| rows.row(j) == row).map(|j| targets[j]).collect();
                if same.iter().all(|&target| target == targets[i]) {
                    prop_assert_eq!(forest.shares(row).1, targets[i]);
                }
            }
            // The root against every threshold of every column.
            let impurity = |members: &[usize]| {
                let mut counts = Counts::zero(3);
                members.iter().for_each(|&row| counts.add(targets[row], 1.0));
                if members.is_empty() { 0.0 } else { counts.impurity(criterion) }
            };
            let after = |column: usize, threshold: f32| {
                let (left, right): (Vec<usize>, Vec<usize>) = (0..12).partition(|&row| rows.row(row)[column] <= threshold);
                impurity(&left) + impurity(&right)
            };
            let root = forest.nodes[0];
            if root.column >= 0 {
                let found = after(root.column as usize, root.threshold);
                for column in 0..2 {
                    for row in rows.iter() {
                        prop_assert!(found <= after(column, row[column]) + 1e-9);
                    }
                }
            }
        }
    }

    #[test]
    fn depth_and_leaf_sizes_are_limits() {
        let rows = Rows::new(1, (0..64).map(|x| x as f32).collect());
        let targets: Vec<usize> = (0..64).map(|x| x / 8 % 2).collect();
        let leaves = |growth: Growth| forest(&rows, &targets, 2, &growth).leaves.len() / 2;
        assert_eq!(leaves(growth(1)), 8);
        // The first split cuts off the block at an end, which is pure.
        assert_eq!(leaves(Growth { max_depth: Some(2), ..growth(1) }), 3);
        assert!(leaves(Growth { min_samples_leaf: 20, ..growth(1) }) <= 3);
        assert_eq!(leaves(Growth { min_samples_split: 65, ..growth(1) }), 1);
    }

    #[test]
    fn the_importance_is_that_of_the_columns_that_split() {
        let values = (0..40).flat_map(|x| [(x * 7 % 11) as f32, x as f32, 3.0]).collect();
        let targets: Vec<usize> = (0..40).map(|x| usize::from(x >= 20)).collect();
        let forest = forest(&Rows::new(3, values), &targets, 2, &growth(3));
        assert_eq!(forest.importances, [0.0, 1.0, 0.0]);
    }
}
