//! `[grid]`: axes over the keys of the file, and how many of their points are run.
//!
//! An axis is a dotted key with a list of values or a range. `seeds` are replicates of every point, not an axis. The value of an
//! axis overrides the key as `--set` does and is checked with the experiment, so that a misspelt key is reported like any other.

use std::collections::HashSet;

use serde_json::Value as Json;

use crate::check::describe::found;
use crate::check::schema;
use crate::check::schema_check::Checker;
use crate::errors::ErrorCollector;
use crate::grid_spec::{GridSpec, Sampler};
use crate::read::tree::{Node, Table, Value, path_of_key};
use crate::source::Origin;
use timbre_core::range::{RangeSpec, between};
use timbre_core::seed::{Seed, uniform, uniform_below};
use timbre_core::suggest;
use timbre_core::text;
use timbre_evaluation::threshold_search;

/// A larger grid is taken for a mistake.
const MAX_POINTS: usize = 10_000;

/// The number of points from which "tpe" chooses.
const CANDIDATES: usize = 2_000;

/// The keys of `[grid]` that are not axes.
const OPTIONS: [&str; 6] = ["sample", "sample_seed", "sampler", "startup", "batch", "halving"];

/// A key path of the file, with the origin of each part.
pub type Path = Vec<(String, Origin)>;

/// A key and its values.
pub struct Axis {
    pub key: String,
    pub path: Path,
    at: Origin,
    values: Values,
}

enum Values {
    Listed(Vec<Node>),
    /// Any value in the range.
    Between {
        from: f64,
        to: f64,
        log: bool,
        whole: bool,
    },
}

/// The parsed `[grid]`.
pub struct Grid {
    pub axes: Vec<Axis>,
    pub spec: GridSpec,
    pub at: Origin,
    /// Whether `sample` is present, valid or not.
    is_drawn: bool,
    /// The budget key of the halving.
    pub budget: Option<(Path, Origin)>,
}

impl Grid {
    /// Parses `[grid]`. `base` is the surrounding experiment, with the kinds of its tables.
    pub fn read(node: &Node, base: &Node, errors: &mut ErrorCollector) -> Grid {
        let is_drawn = node.table().is_some_and(|table| table.contains_key("sample"));
        let mut grid = Grid { axes: Vec::new(), spec: GridSpec::default(), at: node.at, is_drawn, budget: None };
        let Some(table) = node.table() else {
            let message = format!("`grid`: expected a table of axes, found {}", found(&node.value));
            errors.add(node.at, message, "such as \"models.knn.k\" = [1, 3, 5]");
            return grid;
        };
        grid.options(node, table, base, errors);
        for (key, entry) in table.iter().filter(|(key, _)| !OPTIONS.contains(&key.as_str())) {
            let Some(path) = path_of(key, entry.key, errors) else { continue };
            grid.axis(path, &entry.node, base, errors);
        }
        // Axes of kinds come first, because a new kind drops the keys of the previous one.
        grid.axes.sort_by_key(|axis| axis.path.last().is_none_or(|(key, _)| key != "kind" && key != "use"));
        if let (Some((path, at)), Some(halving)) = (&grid.budget, &grid.spec.halving)
            && grid.axes.iter().any(|axis| axis.key == dotted(path))
        {
            let message = format!("`{}` is the budget of the halving and an axis", halving.key);
            errors.add(*at, message, "remove one of them");
        }
        if grid.axes.is_empty() && !table.is_empty() && errors.is_empty() {
            errors.add(node.at, "the grid has no axis".into(), "such as \"models.knn.k\" = [1, 3, 5]");
        }
        grid
    }

    fn options(&mut self, node: &Node, table: &Table, base: &Node, errors: &mut ErrorCollector) {
        let own: Table = table.iter().filter(|(k, _)| OPTIONS.contains(&k.as_str())).map(clone).collect();
        let options = Node { value: Value::Table(own), at: node.at };
        let strict = schema::strict();
        let before = errors.count();
        Checker { root: strict, errors, complete: true }.check(&options, schema::grid_options(), "grid");
        if errors.count() > before {
            return;
        }
        match serde_json::from_value(options.to_json()) {
            Ok(spec) => self.spec = spec,
            Err(error) => return errors.add(node.at, format!("this cannot be read: {error}"), ""),
        }
        for key in ["startup", "batch"] {
            if let Some(entry) = table.get(key).filter(|_| self.spec.sampler != Sampler::Tpe) {
                errors.add(entry.key, format!("`{key}` needs `sampler = \"tpe\"`"), "");
            }
        }
        if let Some(entry) = table.get("sampler").filter(|_| self.spec.sampler == Sampler::Tpe) {
            if self.spec.sample.is_none() {
                errors.add(
                    entry.key,
                    "`sampler`: \"tpe\" needs `sample`, the number of points to run".into(),
                    "sample = 40",
                );
            }
            if self.spec.halving.is_some() {
                errors.add(
                    entry.key,
                    "`sampler`: \"tpe\" and `halving` do not go together".into(),
                    "remove one of them",
                );
            }
        }
        let Some(halving) = &self.spec.halving else { return };
        let own = table["halving"].node.table().expect("it was read");
        let place = |key: &str| own.get(key).map_or(table["halving"].key, |entry| entry.node.at);
        if halving.to <= halving.from {
            errors.add(place("to"), format!("`to`: expected a budget larger than `from` ({})", halving.from), "");
        }
        let Some(path) = path_of(&halving.key, place("key"), errors) else { return };
        if is_axis(&path, base, errors) {
            self.budget = Some((path, place("key")));
        }
    }

    fn axis(&mut self, path: Path, node: &Node, base: &Node, errors: &mut ErrorCollector) {
        let key = dotted(&path);
        let (at, values) = (
            path[path.len() - 1].1,
            match &node.value {
                Value::Unreadable => return,
                Value::Table(table) if is_range(table) => self.range(&path, node, base, errors),
                Value::Table(table) => {
                    for (key, entry) in table {
                        let below = path.iter().cloned().chain([(key.clone(), entry.key)]).collect();
                        self.axis(below, &entry.node, base, errors);
                    }
                    return;
                }
                Value::List(items) if items.is_empty() => {
                    return errors.add(
                        node.at,
                        format!("`{key}`: the axis has no values"),
                        "remove it, or add a value",
                    );
                }
                Value::List(items) => {
                    for (i, item) in items.iter().enumerate() {
                        if items[..i].iter().any(|other| other.to_json() == item.to_json()) {
                            errors.add(item.at, format!("`{key}`: duplicate value {}", found(&item.value)), "");
                        }
                    }
                    Some(Values::Listed(items.clone()))
                }
                Value::Text(text) if text.contains("..") => steps_of(&path, text, node.at, base, errors),
                other => {
                    if path.len() == 1 && schema::property(base, &[&key]).is_none() {
                        return unknown_key(&path[0], errors);
                    }
                    let message = format!("`{key}`: expected a list of values or a range, found {}", found(other));
                    return errors.add(node.at, message, "in brackets, or { from = 1, to = 9, steps = 5 }");
                }
            },
        );
        let (Some(values), true) = (values, is_axis(&path, base, errors)) else { return };
        if let Some(earlier) = self.axes.iter_mut().find(|axis| axis.key == key) {
            if earlier.at.source == at.source {
                return errors.add(at, format!("duplicate axis `{key}`"), "");
            }
            // Spelled in another way in a parent or on the command line: the later one wins.
            *earlier = Axis { key, path, at, values };
            return;
        }
        self.axes.push(Axis { key, path, at, values });
    }

    fn range(&self, path: &Path, node: &Node, base: &Node, errors: &mut ErrorCollector) -> Option<Values> {
        let key = dotted(path);
        let strict = schema::strict();
        let before = errors.count();
        Checker { root: strict, errors, complete: true }.check(node, schema::range(), &key);
        if errors.count() > before {
            return None;
        }
        let range: RangeSpec = serde_json::from_value(node.to_json()).ok()?;
        let (RangeSpec { from, to, steps, log }, whole) = (range.clone(), is_whole(path, base));
        if let Some(help) = range.fault() {
            errors.add(node.at, format!("`{key}`: the range from {from} to {to} is empty"), help);
            return None;
        }
        match steps {
            // The error of `sample` is already reported.
            None if self.spec.sample.is_none() && self.is_drawn => None,
            None if self.spec.sample.is_none() => {
                let help = "set the number of values, or draw values with `sample`";
                errors.add(node.at, format!("`{key}`: a range without `steps`"), help);
                None
            }
            None => Some(Values::Between { from, to, log, whole }),
            Some(_) => {
                let value = |value: &Json| match value.as_i64() {
                    Some(number) if whole => Value::Integer(number),
                    _ => Value::Float(value.as_f64().expect("a range has numbers")),
                };
                let values = range.values(whole).expect("the range is not empty");
                Some(Values::Listed(values.iter().map(|own| Node { value: value(own), at: node.at }).collect()))
            }
        }
    }

    /// The points, with one value per axis. The last axis of the file varies fastest.
    pub fn points(&self, errors: &mut ErrorCollector) -> Vec<Vec<Node>> {
        let sizes: Vec<Option<u64>> = self.axes.iter().map(Axis::len).collect();
        let product = sizes.iter().try_fold(1u64, |product, size| product.checked_mul((*size)?));
        let at = |axis: &Axis, index: u64| match &axis.values {
            Values::Listed(values) => values[index as usize].clone(),
            Values::Between { .. } => unreachable!("a range without steps needs `sample`"),
        };
        match (self.spec.sample, product) {
            (None, Some(product)) if product <= MAX_POINTS as u64 => {
                let point = |index: u64| {
                    let mut rest = index;
                    let mut values: Vec<Node> = Vec::with_capacity(self.axes.len());
                    for axis in self.axes.iter().rev() {
                        let size = axis.len().expect("the product is known");
                        values.push(at(axis, rest % size));
                        rest /= size;
                    }
                    values.reverse();
                    values
                };
                (0..product).map(point).collect()
            }
            (None, _) => {
                let place = self.axes[0].at;
                let points = product.map_or("too many".to_owned(), |product| product.to_string());
                let help = "shorten an axis, or draw some points with `sample`";
                errors.add(place, format!("the grid has {points} points; the maximum is {MAX_POINTS}"), help);
                Vec::new()
            }
            (Some(sample), _) if self.spec.sampler == Sampler::Tpe => self.drawn(sample.max(CANDIDATES), product),
            (Some(sample), _) => self.drawn(sample, product),
        }
    }

    /// Draws points without repetition. Each draw has its own child seed, so that a larger sample starts with the smaller one.
    fn drawn(&self, sample: usize, product: Option<u64>) -> Vec<Vec<Node>> {
        let wanted = product.map_or(sample, |product| sample.min(usize::try_from(product).unwrap_or(sample)));
        let seed = Seed::new(self.spec.sample_seed).child("grid");
        let (mut points, mut seen) = (Vec::with_capacity(wanted), HashSet::new());
        // A range of whole numbers may have too few distinct values: stop after this many repetitions.
        let max_repetitions = 1000 + 100 * wanted as u64;
        for draw in 0.. {
            if points.len() == wanted || draw - points.len() as u64 > max_repetitions {
                break;
            }
            let point: Vec<Node> = self.axes.iter().map(|axis| axis.draw(&seed.child(draw).child(&axis.key))).collect();
            if seen.insert(Json::from_iter(point.iter().map(Node::to_json)).to_string()) {
                points.push(point);
            }
        }
        points
    }
}

impl Axis {
    /// The number of values; `None` for a continuous range.
    fn len(&self) -> Option<u64> {
        match &self.values {
            Values::Listed(values) => Some(values.len() as u64),
            Values::Between { .. } => None,
        }
    }

    fn draw(&self, seed: &Seed) -> Node {
        let mut rng = seed.rng();
        match &self.values {
            Values::Listed(values) => values[uniform_below(&mut rng, values.len() as u64) as usize].clone(),
            &Values::Between { from, to, log, whole } => {
                Node { value: number(between(from, to, log, uniform(&mut rng)), whole), at: self.at }
            }
        }
    }
}

/// `models.knn.k`
pub fn dotted(path: &[(String, Origin)]) -> String {
    path.iter().map(|(name, _)| text::toml_key(name)).collect::<Vec<_>>().join(".")
}

fn clone<'a>((key, entry): (&'a String, &'a crate::read::tree::Entry)) -> (String, crate::read::tree::Entry) {
    (key.clone(), entry.clone())
}

/// Splits a dotted key into its parts, each with its own origin if the key contains no escapes.
fn path_of(key: &str, at: Origin, errors: &mut ErrorCollector) -> Option<Path> {
    let Some(parts) = path_of_key(key) else {
        let help = "keys are names separated by dots: models.knn.k";
        errors.add(at, format!("`{key}` is not a key"), help);
        return None;
    };
    let written = errors.sources.get(at.source).text.get(at.start..at.end).unwrap_or_default();
    // Skips an opening quote. Not found if the key is written with escapes.
    let shift = written.find(key);
    let place = |span: std::ops::Range<usize>| match shift {
        Some(shift) => {
            Origin { source: at.source, start: at.start + shift + span.start, end: at.start + shift + span.end }
        }
        None => at,
    };
    Some(parts.into_iter().map(|(name, span)| (name, place(span))).collect())
}

/// Whether a table is a range, and not a table of further keys.
fn is_range(table: &Table) -> bool {
    let known = ["from", "to", "steps", "log"];
    table.keys().any(|key| known.contains(&key.as_str())) && !table.values().any(|e| e.node.table().is_some())
}

/// The values of `"FROM..TO/STEP"`, the syntax of `[evaluate.search]`.
fn steps_of(path: &Path, text: &str, at: Origin, base: &Node, errors: &mut ErrorCollector) -> Option<Values> {
    let key = dotted(path);
    let values = match threshold_search::parse_axis(text) {
        Ok(values) => values,
        Err(sentence) => {
            errors.add(at, format!("`{key}`: {sentence}"), "");
            return None;
        }
    };
    let whole = is_whole(path, base);
    if let Some(odd) = values.iter().find(|value| whole && value.fract() != 0.0) {
        let help = "use whole numbers, such as \"1..60/1\"";
        errors.add(at, format!("`{key}`: expected whole numbers, found {odd}"), help);
        return None;
    }
    Some(Values::Listed(values.into_iter().map(|value| Node { value: number(value, whole), at }).collect()))
}

fn is_whole(path: &Path, base: &Node) -> bool {
    let names: Vec<&str> = path.iter().map(|(name, _)| name.as_str()).collect();
    schema::property(base, &names).is_some_and(schema::takes_whole_numbers)
}

/// Whether this key can be an axis. Schema errors are reported later, with the values.
fn is_axis(path: &Path, base: &Node, errors: &mut ErrorCollector) -> bool {
    let (first, at) = &path[0];
    match first.as_str() {
        "seeds" => {
            let help = "write seeds = [1, 2, 3] at the top of the file";
            errors.add(*at, "seeds are replicates of every point, not an axis".into(), help);
            return false;
        }
        "extends" | "grid" => {
            errors.add(*at, format!("`{first}` cannot be an axis"), "");
            return false;
        }
        "description" | "max_unusable" | "save_models" => {
            errors.add(*at, format!("`{first}` does not change results, so it cannot be an axis"), "");
            return false;
        }
        _ if schema::property(base, &[first]).is_none() => {
            unknown_key(&path[0], errors);
            return false;
        }
        _ => {}
    }
    // Without this check, a misspelt name would be reported as a new table without a kind.
    let table = |section: &str| base.table().and_then(|root| root.get(section)).and_then(|entry| entry.node.table());
    if let ([_, (name, at), _, ..], "features" | "models") = (path.as_slice(), first.as_str())
        && let known = table(first)
        && !known.is_some_and(|known| known.contains_key(name))
    {
        let names: Vec<&str> = known.into_iter().flat_map(|known| known.keys().map(String::as_str)).collect();
        let (word, title) = if first == "models" { ("model", "Models here") } else { ("feature", "Features here") };
        errors.add(*at, format!("unknown {word} `{name}`"), &suggest::help(name, names.iter().copied(), title));
        return false;
    }
    true
}

fn unknown_key((key, at): &(String, Origin), errors: &mut ErrorCollector) {
    let of_file = schema::strict()["properties"].as_object().into_iter().flatten().map(|(key, _)| key.as_str());
    let known: Vec<&str> =
        OPTIONS.into_iter().chain(of_file.filter(|key| !["extends", "grid"].contains(key))).collect();
    errors.add(*at, format!("unknown key `{key}`"), &suggest::help(key, known.iter().copied(), "Keys here"));
}

fn number(number: f64, whole: bool) -> Value {
    if whole { Value::Integer(number.round() as i64) } else { Value::Float(number) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::grid_spec::HalvingSpec;

    #[test]
    fn halving_multiplies_the_budget_and_keeps_one_point_in_eta() {
        let halving = HalvingSpec { key: "models.x.epochs".into(), from: 2, to: 30, eta: 3 };
        assert_eq!(halving.budgets(), [2, 6, 18, 30]);
        assert_eq!([9, 8, 3, 2, 1].map(|points| halving.survivors(points)), [3, 2, 1, 1, 1]);
        assert_eq!(halving.later_rounds(2, 9, 9), [(6, 3), (18, 1), (30, 1)]);
        // All but two of nine points failed.
        assert_eq!(halving.later_rounds(2, 9, 2), [(6, 2), (18, 1), (30, 1)]);
        assert_eq!((halving.later_rounds(30, 1, 1), halving.later_rounds(2, 9, 0)), (vec![], vec![]));
        assert_eq!(HalvingSpec { from: 2, to: 18, ..halving }.budgets(), [2, 6, 18]);
    }

    #[test]
    fn a_range_includes_both_ends_and_has_readable_numbers() {
        let values = |log, from, to, steps: usize| -> Vec<f64> {
            (0..steps).map(|i| between(from, to, log, i as f64 / (steps - 1) as f64)).collect()
        };
        assert_eq!(values(false, 0.1, 0.5, 5), [0.1, 0.2, 0.3, 0.4, 0.5]);
        assert_eq!(values(true, 1e-4, 1e-1, 4), [1e-4, 1e-3, 1e-2, 1e-1]);
        assert_eq!(values(true, 1.0, 100.0, 5), [1.0, 3.16228, 10.0, 31.6228, 100.0]);
    }

    proptest! {
        #[test]
        fn range_values_stay_inside_the_range(from in 1e-6f64..1e3, width in 1e-6f64..1e3, share in 0f64..1.0, log: bool) {
            let value = between(from, from + width, log, share);
            prop_assert!((from..=from + width).contains(&value));
        }
    }
}
