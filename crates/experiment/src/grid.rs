//! Expands an experiment with a grid into its points. Each point is an experiment, resolved and checked.

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::Experiment;
use crate::axes::Grid;
use crate::errors::{ConfigError, ConfigErrors, ErrorCollector, NOTE};
use crate::grid_spec::{HalvingSpec, TpeSpec};
use crate::read::merge::{Removal, merge_at};
use crate::read::tree::{Entry, Node, Table, Value, name_of};
use crate::resolve::{Merged, Request, ResolvedExperiment};
use crate::source::Origin;
use timbre_core::suggest;
use timbre_models::ModelSpec;

/// An experiment with the points of its grid, before anything is run.
#[derive(Clone, Debug)]
pub struct ExpandedGrid {
    pub name: String,
    /// In the order of the file. Empty without a grid; the experiment then has one point.
    pub axes: Vec<AxisValues>,
    pub points: Vec<Point>,
    pub halving: Option<HalvingSpec>,
    /// Points are chosen by the scores of those before; `points` has all candidates, those that run first at the beginning.
    pub tpe: Option<TpeSpec>,
    /// Notes for the user: dropped keys, and why.
    pub notes: Vec<String>,
}

/// An axis and the values that occur in the points.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AxisValues {
    pub key: String,
    pub values: Vec<Json>,
}

/// One combination of values.
#[derive(Clone, Debug)]
pub struct Point {
    /// One value per axis.
    pub values: IndexMap<String, Json>,
    /// The experiment; with halving one per round, with growing budgets.
    pub rounds: Vec<ResolvedExperiment>,
}

impl ExpandedGrid {
    pub fn is_grid(&self) -> bool {
        !self.axes.is_empty()
    }

    /// The indices of the points that run whatever the scores of others are.
    pub fn first_points(&self) -> Vec<usize> {
        (0..self.tpe.as_ref().map_or(self.points.len(), |tpe| tpe.startup)).collect()
    }
}

/// The name of a point: `models.knn.k=3 features.mel.db=true`.
pub fn point_name(values: &IndexMap<String, Json>) -> String {
    let one = |(key, value): (&String, &Json)| match value {
        Json::String(text) => format!("{key}={text}"),
        other => format!("{key}={other}"),
    };
    values.iter().map(one).collect::<Vec<_>>().join(" ")
}

/// After this many faulty points the rest is not checked.
const MAX_FAULTY: usize = 50;

/// Reads, merges and checks an experiment with its grid. Reports all errors at once, including those of single points.
pub fn expand_grid(request: &Request) -> Result<ExpandedGrid, ConfigErrors> {
    let mut merged = Merged::read(request)?;
    let grid = merged.grid().filter(|grid| !grid.axes.is_empty() || !merged.loader.errors.is_empty());
    let (known, tree) = (merged.loader.errors.count(), merged.tree.clone());
    let base = merged.check(tree, "");
    let Some(grid) = grid else {
        let Some(resolved) = base else { return Err(merged.loader.errors.finish()) };
        let set: Vec<String> = merged.overrides.to_json()["evaluate"]
            .as_object()
            .into_iter()
            .flat_map(|keys| keys.keys().map(|key| format!("evaluate.{key}")))
            .collect();
        let notes = merged.loader.notes.into_iter().chain(fits_again(&resolved.experiment, &set));
        let (name, notes) = (merged.name, distinct(notes.collect()));
        let points = vec![Point { values: IndexMap::new(), rounds: vec![resolved] }];
        return Ok(ExpandedGrid { name, axes: Vec::new(), points, halving: None, tpe: None, notes });
    };
    if known > 0 {
        return Err(merged.loader.errors.finish());
    }
    // These keys may be supplied by the axes.
    let anyway = merged.loader.errors.take_since(known);
    let points = points(&mut merged, &grid, &anyway);
    if !merged.loader.errors.is_empty() {
        return Err(merged.loader.errors.finish());
    }
    check_validation_split(&points, &grid, &mut merged.loader.errors)?;
    let axes = grid.axes.iter().map(|axis| AxisValues { key: axis.key.clone(), values: occurring(&points, &axis.key) });
    let axes: Vec<AxisValues> = axes.collect();
    let (tpe, halving) = (grid.spec.tpe(points.len()), grid.spec.halving);
    let keys: Vec<String> = axes.iter().map(|axis| axis.key.clone()).collect();
    let experiment = points.first().and_then(|point| point.rounds.first()).map(|resolved| &resolved.experiment);
    let again = experiment.and_then(|experiment| fits_again(experiment, &keys));
    let notes = distinct(merged.loader.notes.into_iter().chain(again).collect());
    Ok(ExpandedGrid { name: merged.name, axes, points, halving, tpe, notes })
}

/// A note about networks that are fitted again where these keys change, because decisions choose their best epoch.
fn fits_again(experiment: &Experiment, keys: &[String]) -> Option<String> {
    const DECISIONS: [&str; 4] = ["evaluate.cutoff", "evaluate.cutoffs", "evaluate.at_most", "evaluate.at_least_one"];
    let decides = |key: &&String| DECISIONS.iter().any(|of| *key == of || key.starts_with(&format!("{of}.")));
    let key = keys.iter().find(decides).filter(|_| experiment.models_from.is_none())?;
    let monitored = |(name, spec): (&String, &ModelSpec)| {
        let training = spec.as_network()?.training();
        training.monitors_decisions().then(|| (name.clone(), training.monitor.clone()))
    };
    let (name, monitor) = experiment.models.iter().find_map(monitored)?;
    Some(format!(
        "another `{key}` is another `models.{name}`, which is fitted again: `monitor = \"{monitor}\"` chooses its epoch by decisions. \
         With \"loss\" or a metric of probabilities, fitted models are used; `timbre evaluate` uses them in any case"
    ))
}

fn points(merged: &mut Merged, grid: &Grid, anyway: &[(usize, usize, ConfigError)]) -> Vec<Point> {
    let budgets: Vec<Option<u64>> = match &grid.spec.halving {
        Some(halving) => halving.budgets().into_iter().map(Some).collect(),
        None => vec![None],
    };
    let (mut points, mut faulty) = (Vec::new(), 0);
    for nodes in grid.points(&mut merged.loader.errors) {
        let known = merged.loader.errors.count();
        let values: IndexMap<String, Json> =
            grid.axes.iter().zip(&nodes).map(|(axis, node)| (axis.key.clone(), node.to_json())).collect();
        let mut tree = merged.tree.clone();
        for (axis, node) in grid.axes.iter().zip(nodes) {
            put(&mut tree, &axis.path, node, &mut merged.loader.errors);
        }
        let name = point_name(&values);
        let mut rounds = Vec::with_capacity(budgets.len());
        for budget in &budgets {
            let mut tree = tree.clone();
            if let (Some((path, at)), Some(budget)) = (&grid.budget, budget) {
                let value = Node { value: Value::Integer(*budget as i64), at: *at };
                put(&mut tree, path, value, &mut merged.loader.errors);
            }
            // Errors of other points must not affect this one.
            let before = merged.loader.errors.take_since(0);
            let resolved = merged.check(tree, &format!("# grid: {name}\n"));
            // Schema errors concern one key; the others may depend on this combination of values.
            let of_schema = merged.by_schema;
            merged.loader.errors.note_from(of_schema, anyway, &format!("{NOTE}{name})"));
            merged.loader.errors.put_before(before);
            let is_valid = resolved.is_some();
            rounds.extend(resolved);
            // An error with this budget occurs with larger ones too.
            if !is_valid {
                break;
            }
        }
        merged.loader.errors.keep_new(known);
        if rounds.len() == budgets.len() {
            points.push(Point { values, rounds });
        } else {
            faulty += 1;
            if faulty == MAX_FAULTY {
                break;
            }
        }
    }
    points
}

/// Successive halving and "tpe" select points on the validation split, so they need one.
fn check_validation_split(points: &[Point], grid: &Grid, errors: &mut ErrorCollector) -> Result<(), ConfigErrors> {
    let (of, at) = match (&grid.spec.halving, grid.spec.tpe(points.len())) {
        (Some(halving), _) => {
            (format!("the halving of `{}`", halving.key), grid.budget.as_ref().expect("a halving has a key").1)
        }
        (None, Some(_)) => ("`sampler = \"tpe\"`".to_owned(), grid.at),
        (None, None) => return Ok(()),
    };
    let lacks = |point: &&Point| !point.rounds[0].experiment.split.may_have_validation();
    let Some(point) = points.iter().find(lacks) else { return Ok(()) };
    let help = "set split.validation, such as 0.1: points are never selected on the test split";
    errors.add(at, format!("{of} needs a validation split ({})", point_name(&point.values)), help);
    Err(std::mem::take(errors).finish())
}

fn occurring(points: &[Point], key: &str) -> Vec<Json> {
    let mut values: Vec<Json> = Vec::new();
    for value in points.iter().map(|point| &point.values[key]) {
        if !values.contains(value) {
            values.push(value.clone());
        }
    }
    values
}

fn distinct(notes: Vec<String>) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for note in notes {
        if !all.contains(&note) {
            all.push(note);
        }
    }
    all
}

/// Sets a value in the tree; `false` removes a feature, a model or an augmentation. Items of a list (`augment`) are addressed by name, kind or index.
fn put(tree: &mut Node, path: &[(String, Origin)], value: Node, errors: &mut ErrorCollector) {
    if let Some(removal) = Removal::of(path, &value) {
        return removal.apply(tree, errors);
    }
    let mut here = tree;
    let mut names: Vec<String> = Vec::new();
    let ((last, last_at), way) = path.split_last().expect("a key has a name");
    for (name, at) in way {
        here = match step(here, name, *at, errors) {
            Some(next) => next,
            None => return,
        };
        names.push(name.clone());
    }
    if let Value::List(_) = here.value {
        if let Some(item) = step(here, last, *last_at, errors) {
            *item = value;
        }
        return;
    }
    // Merged as a table of one key, so that a new kind drops the keys of the previous one.
    let own = Table::from([(last.clone(), Entry { key: *last_at, node: value })]);
    let over = Node { value: Value::Table(own), at: here.at };
    merge_at(here, over, &mut names, &mut Vec::new());
}

fn step<'a>(here: &'a mut Node, name: &str, at: Origin, errors: &mut ErrorCollector) -> Option<&'a mut Node> {
    let empty = || Node { value: Value::Table(Table::new()), at };
    match here.value {
        Value::List(_) | Value::Table(_) => {}
        _ => here.value = empty().value,
    }
    let items = match &mut here.value {
        Value::Table(table) => {
            let entry = table.entry(name.to_owned());
            return Some(&mut entry.or_insert_with(|| Entry { key: at, node: empty() }).node);
        }
        Value::List(items) => items,
        _ => return None,
    };
    let names: Vec<String> = items.iter().map(name_of).collect();
    let index = names.iter().position(|known| known == name).or(name.parse().ok().filter(|i| *i < items.len()));
    if index.is_none() {
        let help = suggest::help(name, names.iter().map(String::as_str), "Items here");
        errors.add(at, format!("no item `{name}` in this list"), &help);
    }
    items.get_mut(index?)
}
