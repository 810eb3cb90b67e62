//! The mutual information of a continuous column and the classes, for the selection of columns.
//!
//! Conventions: the estimator of Ross (2014, PLoS ONE 9(2)) with 3 neighbours, in nats, as scikit-learn's `mutual_info_classif` for
//! continuous columns. A clip counts the clips of any class that are nearer than its third neighbour of its own class; a class of one
//! clip is left out, and a negative estimate is 0.
//! Difference: scikit-learn adds noise of 1e-10 of a column's scale, so that equal values are in a random order. Here nothing is
//! random, and equal values are neighbours at distance 0. Where no values are equal, the two agree but for rounding.
//!
//! Cost: n log n per column for sorting; on a line the neighbours of a clip are beside it.

use std::f64::consts::EULER_GAMMA;

const NEIGHBOURS: usize = 3;

/// The digamma function of the integers from 1: `table[n - 1]`.
pub struct Digamma(Vec<f64>);

impl Digamma {
    /// For integers up to `most`.
    pub fn up_to(most: usize) -> Digamma {
        let next = |sum: &mut f64, n: usize| {
            let value = *sum;
            *sum += 1.0 / n as f64;
            Some(value)
        };
        Digamma((1..=most.max(1)).scan(-EULER_GAMMA, next).collect())
    }

    fn of(&self, n: usize) -> f64 {
        self.0[n - 1]
    }
}

/// The mean over the groupings of the mutual information of `values` and the group of each value. `table` reaches up to the number of
/// values.
pub fn mutual_information(values: &[f32], groupings: &[Vec<usize>], groups: usize, table: &Digamma) -> f64 {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_unstable_by(|&a, &b| values[a].total_cmp(&values[b]).then(a.cmp(&b)));
    let of_grouping = |grouping: &Vec<usize>| {
        let mut members = vec![Vec::new(); groups];
        let mut all = Vec::with_capacity(order.len());
        let mut counts = vec![0; groups];
        grouping.iter().for_each(|&group| counts[group] += 1);
        for &row in order.iter().filter(|&&row| counts[grouping[row]] > 1) {
            members[grouping[row]].push(f64::from(values[row]));
            all.push(f64::from(values[row]));
        }
        if all.is_empty() {
            return 0.0;
        }
        let mut sum = 0.0;
        for sorted in members.iter().filter(|sorted| !sorted.is_empty()) {
            let k = NEIGHBOURS.min(sorted.len() - 1);
            let same = table.of(k) - table.of(sorted.len());
            sum += (0..sorted.len()).map(|at| same - table.of(nearer(&all, sorted, at, k))).sum::<f64>();
        }
        (table.of(all.len()) + sum / all.len() as f64).max(0.0)
    };
    groupings.iter().map(of_grouping).sum::<f64>() / groupings.len() as f64
}

/// The number of values of `all` that are nearer to `sorted[at]` than its k-th neighbour in `sorted`, itself among them. Both are
/// ascending.
fn nearer(all: &[f64], sorted: &[f64], at: usize, k: usize) -> usize {
    let x = sorted[at];
    // The k neighbours and the value itself are k + 1 values in a row.
    let first = at.saturating_sub(k)..=at.min(sorted.len() - 1 - k);
    let radius = first.map(|first| (x - sorted[first]).max(sorted[first + k] - x)).fold(f64::INFINITY, f64::min);
    let within = |distance: f64| distance < radius || distance == 0.0;
    let below = all.partition_point(|&y| y < x && !within(x - y));
    all.partition_point(|&y| y <= x || within(y - x)) - below
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    fn of(values: &[f32], groups: &[usize]) -> f64 {
        mutual_information(values, &[groups.to_vec()], 3, &Digamma::up_to(values.len()))
    }

    #[test]
    fn the_columns_of_the_golden_sets_have_the_values_of_scikit_learn() {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/models");
        let read = |name: &str| std::fs::read(folder.join(name)).unwrap();
        let document: serde_json::Value = serde_json::from_slice(&read("selection.json")).unwrap();
        for set in document["sets"].as_array().unwrap() {
            let bytes = read(&format!("{}.f32", set["name"].as_str().unwrap()));
            let values: Vec<f32> = bytes.as_chunks::<4>().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect();
            let dims = set["dims"].as_u64().unwrap() as usize;
            for case in set["cases"].as_array().unwrap() {
                let numbers = |list: &serde_json::Value| -> Vec<usize> {
                    list.as_array().unwrap().iter().map(|class| class.as_u64().unwrap() as usize).collect()
                };
                let groupings: Vec<Vec<usize>> = case["groupings"].as_array().unwrap().iter().map(numbers).collect();
                let rows = groupings[0].len();
                let table = Digamma::up_to(rows);
                for (column, expected) in case["mutual_information"].as_array().unwrap().iter().enumerate() {
                    let column: Vec<f32> = values.iter().skip(column).step_by(dims).take(rows).copied().collect();
                    let found = mutual_information(&column, &groupings, 5, &table);
                    assert!((found - expected.as_f64().unwrap()).abs() < 1e-6, "{found} is not {expected}");
                }
            }
        }
    }

    #[test]
    fn a_column_that_separates_the_groups_tells_all_and_a_constant_one_nothing() {
        let groups: Vec<usize> = (0..60).map(|i| i / 30).collect();
        let apart: Vec<f32> = (0..60).map(|i| (i * 7 % 30 + 100 * (i / 30)) as f32).collect();
        assert!((of(&apart, &groups) - 2f64.ln()).abs() < 0.02, "{}", of(&apart, &groups));
        assert!(of(&[0.25; 60], &groups) < 1e-12);
        assert!(of(&apart, &[1; 60]) < 1e-12);
    }

    #[test]
    fn a_group_of_one_value_is_left_out() {
        let (values, groups) = ([1.0, 2.5, 4.0, 9.0, 9.5, 11.0], [0, 0, 0, 1, 1, 1]);
        let more = ([1.0, 2.5, 4.0, 9.0, 9.5, 11.0, 3.0], [0, 0, 0, 1, 1, 1, 2]);
        assert_eq!(of(&values, &groups), of(&more.0, &more.1));
        assert_eq!(of(&[1.0, 2.0], &[0, 1]), 0.0);
    }
}
