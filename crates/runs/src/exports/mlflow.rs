//! Exports runs to MLflow's file store: `<experiment>/<run>/{meta.yaml,params,metrics,tags,artifacts}`. MLflow opens it, and
//! `mlflow migrate-filestore` migrates it.
//!
//! A run becomes an MLflow run with the whole configuration as parameters and the means over the seeds as metrics. Each trial becomes a
//! nested run (`mlflow.parentRunId`) with the metrics of all subsets and, for a network, its epochs as steps. Ids are derived from
//! signature and folder, so that a second export replaces the first. Tables are copied: MLflow deletes the artifacts of deleted runs,
//! and must not delete ours.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::{dvc, names};
use crate::run_dir::{self, ResultRow, RunRecord, Status, Trial, TrialRecord};
use timbre_core::{dotted_keys, error::UserError, files};

/// MLflow truncates the values of parameters to this length.
const MAX_PARAM_LENGTH: usize = 6000;
/// MLflow ignores folders with this suffix.
const TRASH: &str = ".trash";

/// A run of the file store.
#[derive(Debug, Default, PartialEq)]
struct Run {
    id: String,
    name: String,
    status: u8,
    started: i64,
    ended: Option<i64>,
    params: Vec<(String, String)>,
    metrics: Vec<(String, Vec<Point>)>,
    tags: Vec<(String, String)>,
    /// Files, and their names in `artifacts`.
    artifacts: Vec<(PathBuf, PathBuf)>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Point {
    time: i64,
    value: f64,
    step: usize,
}

/// A file store to write to.
pub struct FileStore {
    folder: PathBuf,
    with_models: bool,
}

impl FileStore {
    /// Opens a new folder, an empty folder, or a file store.
    pub fn open(folder: &Path, with_models: bool) -> Result<FileStore> {
        fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
        let folder = folder.canonicalize().with_context(|| format!("cannot find {}", folder.display()))?;
        let entries: Vec<PathBuf> = fs::read_dir(&folder)?.flatten().map(|entry| entry.path()).collect();
        let is_store = entries.iter().any(|path| path.join("meta.yaml").is_file() || path.ends_with(TRASH));
        if !entries.is_empty() && !is_store {
            let folder = folder.display();
            bail!(UserError::usage(format!("{folder} is not an MLflow file store: name an empty folder")));
        }
        Ok(FileStore { folder, with_models })
    }

    /// Writes a run and its trials. Returns the number of MLflow runs.
    pub fn add(&self, run: &Path) -> Result<usize> {
        let run = run.canonicalize().with_context(|| format!("cannot find {}", run.display()))?;
        let record = run_dir::read_record(&run)?;
        let config = run_dir::resolved_config(&run);
        let text = fs::read_to_string(&config).with_context(|| format!("cannot read {}", config.display()))?;
        let config: toml::Table = text.parse().with_context(|| format!("cannot parse {}", config.display()))?;
        let experiment = self.experiment(&record)?;
        let parent = parent_run(&run, &record, &config);
        let ended = run_dir::trial_times(&run);
        let mut runs = 1;
        for trial in trials(&record.results) {
            // An unfinished run may lack a record: the parent run has its metrics.
            let Some(record_of_trial) = run_dir::read_trial(&run, &trial) else { continue };
            let end = ended.get(&trial.to_string()).copied().unwrap_or(parent.ended.unwrap_or(parent.started));
            let mut nested = nested_run(&parent, &record, &record_of_trial, &config, end);
            nested.artifacts = files_below(&run_dir::network_folder(&run, &trial), Path::new("network"));
            if self.with_models {
                nested.artifacts.extend(files_below(&run_dir::model_folder(&run, &trial), Path::new("model")));
            }
            self.write(&experiment, &nested)?;
            runs += 1;
        }
        self.write(&experiment, &parent)?;
        Ok(runs)
    }

    /// The id of the experiment; creates the experiment if needed.
    fn experiment(&self, record: &RunRecord) -> Result<String> {
        let name = &record.experiment;
        for entry in fs::read_dir(&self.folder)?.flatten() {
            let meta = fs::read_to_string(entry.path().join("meta.yaml")).unwrap_or_default();
            let named = meta.lines().filter_map(|line| line.strip_prefix("name:"));
            if named.map(|value| value.trim().trim_matches(['"', '\''])).any(|value| value == name) {
                return Ok(entry.file_name().to_string_lossy().into_owned());
            }
        }
        // Eighteen digits, like the ids of MLflow.
        let hash = blake3::hash(name.as_bytes());
        let number = u64::from_le_bytes(hash.as_bytes()[..8].try_into().expect("a hash has 32 bytes"));
        let id = (100_000_000_000_000_000 + number % 900_000_000_000_000_000).to_string();
        let folder = self.folder.join(&id);
        fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
        let now = milliseconds(&run_dir::now()).unwrap_or_default();
        let meta = json!({
            "artifact_location": uri(&folder), "creation_time": now, "experiment_id": id, "last_update_time": now,
            "lifecycle_stage": "active", "name": name,
        });
        files::write_bytes(&folder.join("meta.yaml"), yaml(&meta).as_bytes())?;
        Ok(id)
    }

    /// Writes a run beside the experiments, then moves it into place: no reader sees a partial run.
    fn write(&self, experiment: &str, run: &Run) -> Result<()> {
        let part = tempfile::Builder::new().prefix(".timbre-").suffix(TRASH).tempdir_in(&self.folder)?;
        let target = self.folder.join(experiment).join(&run.id);
        let folder = part.path().join("run");
        for name in ["params", "metrics", "tags", "artifacts"] {
            fs::create_dir_all(folder.join(name))?;
        }
        for (key, value) in &run.params {
            write(&folder.join("params").join(key), value)?;
        }
        for (key, value) in &run.tags {
            write(&folder.join("tags").join(key), value)?;
        }
        for (key, points) in &run.metrics {
            let lines = points.iter().map(|point| format!("{} {} {}\n", point.time, point.value, point.step));
            write(&folder.join("metrics").join(key), &lines.collect::<String>())?;
        }
        for (source, name) in &run.artifacts {
            let copy = folder.join("artifacts").join(name);
            fs::create_dir_all(copy.parent().expect("a file is in a folder"))?;
            fs::copy(source, &copy).with_context(|| format!("cannot copy {}", source.display()))?;
        }
        let meta = json!({
            "artifact_uri": uri(&target.join("artifacts")), "end_time": run.ended, "entry_point_name": "",
            "experiment_id": experiment, "lifecycle_stage": "active", "run_id": run.id, "run_name": run.name,
            "run_uuid": run.id, "source_name": "", "source_type": 4, "source_version": "", "start_time": run.started,
            "status": run.status, "tags": [], "user_id": "timbre",
        });
        write(&folder.join("meta.yaml"), &yaml(&meta))?;
        run_dir::discard(&target)?;
        fs::rename(&folder, &target).with_context(|| format!("cannot write {}", target.display()))
    }
}

/// The MLflow run of a run.
fn parent_run(run: &Path, record: &RunRecord, config: &toml::Table) -> Run {
    let folder = run.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let started = milliseconds(&record.started).unwrap_or_default();
    let ended = record.ended.as_deref().and_then(milliseconds);
    let time = ended.unwrap_or(started);
    let params = config.iter().flat_map(|(key, value)| params_of(key, value)).collect();
    let mut metrics = Vec::new();
    numbers(&dvc::metrics(&record.results), &mut Vec::new(), &mut |path, value| {
        metrics.push((names::key(path), vec![Point { time, value, step: 0 }]));
    });
    for (stage, seconds) in &record.seconds {
        metrics.push((names::key(&["seconds", stage]), vec![Point { time, value: *seconds, step: 0 }]));
    }
    let mut tags = vec![
        ("mlflow.runName".to_owned(), folder.clone()),
        ("mlflow.source.name".to_owned(), format!("timbre run {}", record.experiment)),
        ("mlflow.source.type".to_owned(), "LOCAL".to_owned()),
        ("timbre.signature".to_owned(), record.signature.clone()),
        ("timbre.status".to_owned(), format!("{:?}", record.status)),
        ("timbre.run".to_owned(), run.display().to_string()),
        ("timbre.data".to_owned(), format!("{} {}", record.data.name, record.data.hash)),
        ("timbre.metric".to_owned(), record.metric.clone()),
    ];
    if !record.description.is_empty() {
        tags.push(("mlflow.note.content".to_owned(), record.description.clone()));
    }
    if let Some(commit) = record.environment["commit"].as_str() {
        tags.push(("mlflow.source.git.commit".to_owned(), commit.to_owned()));
    }
    for name in ["host", "cpu", "device", "timbre"] {
        if let Some(value) = record.environment[name].as_str() {
            tags.push((format!("timbre.environment.{name}"), value.to_owned()));
        }
    }
    let is_artifact = |path: &Path| {
        let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
        ["csv", "json", "jsonl", "toml", "parquet", "svg", "html", "md"].contains(&ending)
    };
    let mut artifacts: Vec<(PathBuf, PathBuf)> =
        plain_files(run).into_iter().filter(|path| is_artifact(path)).map(named).collect();
    artifacts.sort();
    let id = id(&[&record.signature, &folder]);
    Run { id, name: folder, status: status(record.status), started, ended, params, metrics, tags, artifacts }
}

/// The MLflow run of a trial.
fn nested_run(parent: &Run, record: &RunRecord, own: &TrialRecord, config: &toml::Table, ended: i64) -> Run {
    let trial = &own.trial;
    let started = ended - (1000.0 * (own.fit_seconds + own.predict_seconds)) as i64;
    let point = |value: f64| vec![Point { time: ended, value, step: 0 }];
    let mut params = vec![
        ("features".to_owned(), trial.features.clone()),
        ("model".to_owned(), trial.model.clone()),
        ("seed".to_owned(), trial.seed.to_string()),
    ];
    for (table, name) in [("features", &trial.features), ("models", &trial.model)] {
        let spec = config.get(table).and_then(|tables| tables.get(name)).filter(|spec| spec.is_table());
        params.extend(spec.into_iter().flat_map(|spec| params_of(&format!("{table}.{name}"), spec)));
    }
    let mut metrics = vec![
        ("seconds/fit".to_owned(), point(own.fit_seconds)),
        ("seconds/predict".to_owned(), point(own.predict_seconds)),
    ];
    for row in record.results.iter().filter(|row| row.trial == *trial) {
        metrics.extend(row.metrics.iter().map(|(name, value)| (names::key(&[&row.split, name]), point(*value))));
    }
    metrics.extend(epochs(own, ended));
    let note = |(name, value): (&String, &String)| (format!("timbre.note.{}", names::key(&[name])), value.clone());
    let mut tags = vec![
        ("mlflow.parentRunId".to_owned(), parent.id.clone()),
        ("mlflow.runName".to_owned(), trial.to_string()),
        ("timbre.signature".to_owned(), record.signature.clone()),
    ];
    tags.extend(own.notes.iter().map(note));
    Run {
        id: id(&[&record.signature, &parent.name, &trial.to_string()]),
        name: trial.to_string(),
        // A trial with a record is finished.
        status: status(Status::Done),
        started,
        ended: Some(ended),
        params,
        metrics,
        tags,
        artifacts: Vec::new(),
    }
}

/// Learning curves: one step per epoch, at the time of its end if the training was not interrupted.
fn epochs(own: &TrialRecord, ended: i64) -> Vec<(String, Vec<Point>)> {
    let mut curves: Vec<(String, Vec<Point>)> = Vec::new();
    let mut add = |name: String, point: Point| match curves.iter_mut().find(|(known, _)| *known == name) {
        Some((_, points)) => points.push(point),
        None => curves.push((name, vec![point])),
    };
    let mut time = ended - (1000.0 * own.epochs.iter().map(|epoch| epoch.seconds).sum::<f64>()) as i64;
    for epoch in &own.epochs {
        time += (1000.0 * epoch.seconds) as i64;
        let at = |value: f64| Point { time, value, step: epoch.epoch };
        add("epochs/train_loss".into(), at(epoch.train_loss));
        epoch.validation_loss.into_iter().for_each(|loss| add("epochs/validation_loss".into(), at(loss)));
        add("epochs/learning_rate".into(), at(epoch.learning_rate));
        add("epochs/clips_per_second".into(), at(epoch.clips_per_second));
        epoch.metrics.iter().for_each(|(name, value)| add(names::key(&["epochs", "validation", name]), at(*value)));
    }
    curves
}

/// The trials with results, in their order.
fn trials(rows: &[ResultRow]) -> Vec<Trial> {
    let mut trials: Vec<Trial> = Vec::new();
    for row in rows.iter().filter(|row| !row.is_baseline()) {
        if !trials.contains(&row.trial) {
            trials.push(row.trial.clone());
        }
    }
    trials
}

/// Visits every number of a nested value with its path.
fn numbers<'a>(value: &'a Value, path: &mut Vec<&'a str>, each: &mut dyn FnMut(&[&str], f64)) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                path.push(name);
                numbers(value, path, each);
                path.pop();
            }
        }
        other => other.as_f64().into_iter().for_each(|number| each(path, number)),
    }
}

/// A value of a configuration, or the keys below it if it is a table, as text.
fn params_of(path: &str, value: &toml::Value) -> Vec<(String, String)> {
    let param = |(key, leaf): (String, &toml::Value)| {
        let text = leaf.as_str().map_or_else(|| leaf.to_string(), str::to_owned);
        let key = if key.is_empty() { path.to_owned() } else { format!("{path}.{key}") };
        (names::key(&[&key]), text.chars().take(MAX_PARAM_LENGTH).collect())
    };
    let leaves = dotted_keys::leaves(value, |value| {
        Some(value.as_table()?.iter().map(|(key, value)| (key.clone(), value)).collect())
    });
    leaves.into_iter().map(param).collect()
}

fn status(status: Status) -> u8 {
    match status {
        Status::Running => 1,
        Status::Done | Status::TooManyUnusable => 3,
        Status::Failed => 4,
        Status::Stopped => 5,
    }
}

fn id(parts: &[&str]) -> String {
    blake3::hash(parts.join("\n").as_bytes()).to_hex()[..32].to_owned()
}

fn milliseconds(time: &str) -> Option<i64> {
    chrono::DateTime::parse_from_rfc3339(time).ok().map(|time| time.timestamp_millis())
}

/// The files of a folder without links and hidden files.
fn plain_files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let plain = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file()));
    plain.filter(|entry| !entry.file_name().as_encoded_bytes().starts_with(b".")).map(|entry| entry.path()).collect()
}

fn files_below(folder: &Path, name: &Path) -> Vec<(PathBuf, PathBuf)> {
    let mut files: Vec<_> =
        plain_files(folder).into_iter().map(named).map(|(path, file)| (path, name.join(file))).collect();
    files.sort();
    files
}

fn named(path: PathBuf) -> (PathBuf, PathBuf) {
    let name = PathBuf::from(path.file_name().unwrap_or_default());
    (path, name)
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::create_dir_all(path.parent().expect("a file is in a folder"))?;
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// `file:///a/b%20c`
fn uri(path: &Path) -> String {
    let plain = |b: &u8| b.is_ascii_alphanumeric() || b"/-_.~".contains(b);
    let bytes = path.as_os_str().as_encoded_bytes();
    let escaped = bytes.iter().map(|b| if plain(b) { char::from(*b).to_string() } else { format!("%{b:02X}") });
    format!("file://{}", escaped.collect::<String>())
}

/// One line per field, its value as JSON in ASCII: every YAML reader accepts it, whatever the texts contain.
fn yaml(fields: &Value) -> String {
    let ascii = |text: String| -> String {
        let escaped = |c: char| match c {
            ' '..='~' => c.to_string(),
            c if u32::from(c) > 0xffff => format!("\\U{:08X}", u32::from(c)),
            c => format!("\\u{:04X}", u32::from(c)),
        };
        text.chars().map(escaped).collect()
    };
    let fields = fields.as_object().into_iter().flatten();
    fields.map(|(name, value)| format!("{name}: {}\n", ascii(value.to_string()))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_any_script_become_ascii_yaml() {
        let meta = json!({ "name": "čelo \u{85}\u{1F3B8}: \"x\"\n", "end_time": null, "status": 3 });
        let expected = "name: \"\\u010Delo \\u0085\\U0001F3B8: \\\"x\\\"\\n\"\nend_time: null\nstatus: 3\n";
        assert_eq!(yaml(&meta), expected);
    }

    #[test]
    fn a_path_with_spaces_becomes_a_uri() {
        assert_eq!(uri(Path::new("/a b/č")), "file:///a%20b/%C4%8D");
    }

    #[test]
    fn a_folder_with_other_files_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        FileStore::open(folder.path(), false).unwrap();
        fs::write(folder.path().join("letter.txt"), "dear").unwrap();
        assert!(FileStore::open(folder.path(), false).err().unwrap().is::<UserError>());
        fs::create_dir(folder.path().join("0")).unwrap();
        fs::write(folder.path().join("0/meta.yaml"), "name: Default\n").unwrap();
        FileStore::open(folder.path(), false).unwrap();
    }
}
