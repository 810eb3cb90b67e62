//! The work items as files of the programs that run them: pure functions from a plan to text.

use std::path::PathBuf;

use super::items::{Kind, WorkItem, WorkPlan};
use timbre_core::text::shell_quoted;

pub mod slurm;
pub mod kubernetes;
pub mod hyperqueue;
pub mod parallel;
pub mod snakemake;

/// The driver of a Ray cluster, which takes the plan as JSON.
pub const RAY_DRIVER: &str = include_str!("ray_driver.py");

/// What the files contain beside the plan.
#[derive(Clone, Debug)]
pub struct JobOptions {
    /// The folder in which every command starts.
    pub folder: PathBuf,
    /// At most so many tasks at once.
    pub at_once: Option<usize>,
}

/// How often an engine starts an item again after a failure.
const RETRIES: usize = 3;

/// The plan by stages. Each stage needs the one before.
struct Stages<'p> {
    features: Vec<&'p WorkItem>,
    merge: Option<&'p WorkItem>,
    trials: Vec<&'p WorkItem>,
    tables: &'p WorkItem,
}

impl Stages<'_> {
    fn of(plan: &WorkPlan) -> Stages<'_> {
        let (tables, before) = plan.items.split_last().expect("a plan ends with the tables");
        let of_kind = |kind: Kind| before.iter().filter(move |item| item.kind == kind);
        Stages {
            features: of_kind(Kind::Features).collect(),
            merge: of_kind(Kind::Merge).next(),
            trials: of_kind(Kind::Fit).collect(),
            tables,
        }
    }
}

/// A command line for a shell.
fn shell_line(argv: &[String]) -> String {
    argv.iter().map(|word| shell_quoted(word, false)).collect::<Vec<_>>().join(" ")
}

/// The command line of an item in which `words` are replaced by text that the shell evaluates.
fn shell_line_with(item: &WorkItem, words: &[(&str, &str)]) -> String {
    let replaced = |word: &String| match words.iter().find(|(from, _)| from == word) {
        Some((_, to)) => (*to).to_owned(),
        None => shell_quoted(word, false),
    };
    item.argv.iter().map(replaced).collect::<Vec<_>>().join(" ")
}

/// The value of an option of an item.
fn value_of<'i>(item: &'i WorkItem, option: &str) -> &'i str {
    let at = item.argv.iter().position(|word| word == option);
    at.and_then(|at| item.argv.get(at + 1)).map_or("", String::as_str)
}

fn mebibytes(bytes: u64) -> u64 {
    bytes.div_ceil(1 << 20)
}

/// The largest request of several items, which an array shares.
fn largest(items: &[&WorkItem]) -> (usize, u64) {
    let of = |what: fn(&WorkItem) -> u64| items.iter().map(|item| what(item)).max().unwrap_or(0);
    (of(|item| item.cpus as u64) as usize, of(|item| item.memory))
}
