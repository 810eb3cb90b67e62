//! What the manual pages say beside the arguments: files, environment variables, exit codes.

/// A line of a manual page: a name, and the top-level commands that it concerns (none: all).
pub struct Entry {
    pub name: &'static str,
    pub commands: &'static [&'static str],
    pub meaning: &'static str,
}

const fn entry(name: &'static str, commands: &'static [&'static str], meaning: &'static str) -> Entry {
    Entry { name, commands, meaning }
}

/// The commands that read an experiment.
const EXPERIMENTS: &[&str] = &["new", "list", "experiments", "run", "check", "plan", "features", "watch"];
/// The commands that read data sets.
const DATA: &[&str] = &["list", "run", "check", "plan", "features", "evaluate", "reproduce", "data", "doctor"];
/// The commands that read or write runs.
const RUNS: &[&str] = &[
    "run",
    "evaluate",
    "watch",
    "compare",
    "diff",
    "thresholds",
    "report",
    "runs",
    "baseline",
    "predict",
    "serve",
    "rm",
    "gc",
    "reproduce",
    "export",
    "data",
];
/// The commands that compute with networks.
const DEVICES: &[&str] = &["run", "evaluate", "predict", "serve", "reproduce", "doctor"];

/// Files, from the folder of the project.
pub const FILES: &[Entry] = &[
    entry("experiments/NAME.toml", EXPERIMENTS, "An experiment."),
    entry(
        "experiments/baselines/NAME.json",
        &["baseline", "compare"],
        "Reference scores, written by `timbre baseline save`.",
    ),
    entry("data/NAME.toml", DATA, "The description of a data set."),
    entry("data/NAME/", DATA, "Its recordings, unless its key `root` names another folder."),
    entry(
        "data/.cache/",
        &["run", "check", "plan", "features", "evaluate", "reproduce", "data", "cache", "doctor"],
        "The feature cache, and generated data sets. It can be removed; `--cache` or TIMBRE_CACHE names another folder.",
    ),
    entry("runs/EXP/TIME-SIGNATURE/", RUNS, "The folder of a run. `--runs` names another folder for `runs`."),
    entry("runs/EXP/latest", RUNS, "A link to the newest run of the experiment."),
    entry("runs/EXP/latest/report.html", &["run", "evaluate", "report"], "The report of a run."),
    entry(
        "runs/EXP/grid.html, grid.json, grid_results.csv",
        &["run", "watch", "report"],
        "The report, the points and the scores of a sweep.",
    ),
    entry("runs/EXP/latest/models/", &["run", "evaluate", "predict", "serve", "export"], "The saved models."),
    entry("runs/.runs.index", &["runs"], "An index for the list of runs. It can be removed."),
    entry("data/corrections.csv", &["data"], "Corrected labels, written by `timbre data label-studio import`."),
];

/// Every environment variable that the program reads, and those of libraries that change what it does.
pub const ENVIRONMENT: &[Entry] = &[
    entry("TIMBRE_CACHE", &[], "The folder of the feature cache and of generated data sets, as `--cache`."),
    entry(
        "TIMBRE_ESCAPE_FORMULAS",
        &[],
        "If set, and neither empty, `0`, `false`, `no`, `n`, `off` nor `f`: as `--escape-formulas`.",
    ),
    entry("TIMBRE_TOKEN", &["serve"], "The token that every API request must carry. Unset: none is asked for."),
    entry("GITHUB_ACTIONS", &["compare"], "`true`: print annotations of GitHub, unless `--annotate` says otherwise."),
    entry("NO_COLOR", &[], "If set and not empty: no colours."),
    entry("TERM", &[], "`dumb`: no colours."),
    entry("TMPDIR", &["predict", "serve", "reproduce"], "The folder of temporary files [default: `/tmp`]."),
    entry("https_proxy, no_proxy", &["data"], "Read by `curl`, which `timbre data get` starts."),
    entry("CUDA_VISIBLE_DEVICES", DEVICES, "The GPUs that CUDA offers, by number."),
    entry(
        "CUDA_PATH, LD_LIBRARY_PATH",
        DEVICES,
        "Where the CUDA toolkit and its libraries are, if they are not found.",
    ),
    entry("RAYON_NUM_THREADS", &[], "The number of threads [default: all cores]. `--jobs` takes precedence."),
    entry("SLURM_CPUS_PER_TASK", &[], "The number of threads in a job of Slurm. `--jobs` takes precedence."),
    entry(
        "SLURM_ARRAY_TASK_ID, SLURM_ARRAY_TASK_COUNT, SLURM_ARRAY_TASK_MIN, SLURM_ARRAY_TASK_MAX, HQ_TASK_ID, JOB_COMPLETION_INDEX, RANK, WORLD_SIZE",
        &["features"],
        "The shard of `--shard auto`, as Slurm, HyperQueue, Kubernetes and MPI number their tasks.",
    ),
    entry("RUST_BACKTRACE", &[], "`1`: a crash prints its call stack, for a bug report."),
];

/// The exit codes.
pub const EXIT_CODES: &[(u8, &str)] = &[
    (0, "success"),
    (1, "failure: a trial failed, or an unexpected error"),
    (2, "usage or configuration error, or missing recordings"),
    (
        3,
        "more unusable recordings than `max_unusable` allows; `predict`: some recordings were unusable; `data check`: one is",
    ),
    (4, "nothing selected or usable"),
    (5, "`compare --baseline`: worse than the baseline, or not comparable; `reproduce`: other numbers"),
    (6, "some points of a sweep failed, or their runs were removed; `merge`, `collect`: parts or trials are missing"),
    (
        7,
        "`reproduce`: the recordings or the program have changed since the run; `features --shard`, `merge`: parts of another plan",
    ),
    (8, "`data check --deny`: findings"),
    (75, "stopped by a signal: the same command resumes; a second signal ends the program at once, with 130 or 143"),
];

/// The entries that concern a top-level command; all for the program itself.
pub fn of_command(entries: &'static [Entry], command: Option<&str>) -> impl Iterator<Item = &'static Entry> {
    let concerns = move |entry: &&Entry| match command {
        Some(command) => entry.commands.is_empty() || entry.commands.contains(&command),
        None => true,
    };
    entries.iter().filter(concerns)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    /// The names in `std::env::var("…")`, `var_os("…")` and `env = "…"`, also by a constant, in the sources outside of tests.
    fn variables_in(folder: &Path, found: &mut Vec<String>) {
        for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            let name = path.file_name().unwrap().to_str().unwrap();
            if path.is_dir() && !["tests", "benches", "target"].contains(&name) {
                variables_in(&path, found);
            }
            // `fingerprint.rs` belongs to the tests.
            if !name.ends_with(".rs") || ["tests.rs", "fingerprint.rs"].contains(&name) {
                continue;
            }
            let text = fs::read_to_string(&path).unwrap();
            let text = text.split("#[cfg(test)]\nmod tests").next().unwrap();
            for start in ["env::var(", "env::var_os(", " env = "] {
                for (at, _) in text.match_indices(start) {
                    let rest = &text[at + start.len()..];
                    let name = rest.split([')', ',', '.', ']']).next().unwrap();
                    let constant = format!("const {name}: &str = ");
                    let value = text.split_once(&constant).map_or(name, |(_, value)| value.split(';').next().unwrap());
                    if let Some(value) = value.strip_prefix('"') {
                        found.push(value.trim_end_matches('"').to_owned());
                    }
                }
            }
        }
    }

    #[test]
    fn every_environment_variable_in_the_sources_is_in_the_manual() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut found = Vec::new();
        variables_in(&root.join("src"), &mut found);
        variables_in(&root.join("crates"), &mut found);
        assert!(found.len() >= 6, "{found:?}");
        for name in found {
            assert!(ENVIRONMENT.iter().any(|known| known.name.split(", ").any(|one| one == name)), "{name}");
        }
    }

    #[test]
    fn the_manual_names_commands_that_exist_and_every_exit_code() {
        let command = crate::cli::args::program();
        for name in FILES.iter().chain(ENVIRONMENT).flat_map(|entry| entry.commands) {
            assert!(command.find_subcommand(name).is_some(), "{name}");
        }
        let source = include_str!("../../../crates/core/src/error.rs");
        let body = source.split_once("pub enum ExitStatus {").unwrap().1.split_once("\n}").unwrap().0;
        let codes = body.lines().filter_map(|line| line.trim().trim_end_matches(',').split_once(" = ")?.1.parse().ok());
        assert_eq!(codes.collect::<Vec<u8>>(), EXIT_CODES.iter().map(|(code, _)| *code).collect::<Vec<u8>>());
    }
}
