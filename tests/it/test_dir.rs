//! A folder of its own in which the program is started, as a person would start it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use timbre_inputs::data::{DataDirs, DataSpec, generated};

/// The folder that `TIMBRE_TEST_DATA` names: published recordings, in a folder for each data set.
pub fn test_data() -> PathBuf {
    let folder = std::env::var_os("TIMBRE_TEST_DATA").expect("TIMBRE_TEST_DATA names a folder of data sets");
    PathBuf::from(folder)
}

/// Enough recordings for every class to be in all three subsets.
pub const TWO_MODELS: &str = r#"
description = "two models"
[data]
use = "demo"
clips_per_class = 10
test_recordings = 2
[audio]
clip_seconds = 3.0
[split]
kind = "holdout"
test = 0.2
validation = 0.2
[features.fft]
[models.average]
[models.logistic]
"#;

/// A few clips, one feature, one quick model.
pub const TINY: &str = r#"
save_models = false
[data]
use = "demo"
clips_per_class = 12
test_recordings = 2
[audio]
clip_seconds = 1.0
[split]
kind = "holdout"
validation = 0.25
test = 0.25
[features.centroid]
[models.knn]
[evaluate]
bootstrap = 0
"#;

/// The demo set with half of its test recordings for training, and a small mel image; a test adds models.
pub const OFFICIAL_SPLIT: &str = r#"
[data]
use = "demo"
clips_per_class = 8
test_recordings = 12
training_share_of_test = 0.5
[audio]
sample_rate = 16000
clip_seconds = 3.0
[split]
kind = "official"
validation = 0.2
[features.mel]
n_fft = 1024
hop_length = 1024
n_mels = 32
"#;

/// A dozen clips of two classes, without a feature.
pub const FEW: &str = r#"
[data]
use = "demo"
clips_per_class = 6
test_recordings = 2
[data.labels]
include = ["cel", "pia"]
[audio]
sample_rate = 16000
clip_seconds = 3.0
[split]
kind = "holdout"
test = 0.34
[models.knn]
k = 1
[evaluate]
bootstrap = 0
"#;

pub struct TestDir {
    folder: tempfile::TempDir,
}

impl TestDir {
    pub fn new() -> TestDir {
        TestDir { folder: tempfile::tempdir().unwrap() }
    }

    /// With these files: names and texts.
    pub fn with(files: &[(&str, &str)]) -> TestDir {
        let dir = TestDir::new();
        for (name, text) in files {
            fs::write(dir.path(name), text).unwrap();
            bring_demo_set(text, &dir.path("data/.cache"));
        }
        dir
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        // `benches/gpu/prove` runs the tests where nothing was built.
        let program = std::env::var_os("TIMBRE_TEST_BINARY").unwrap_or_else(|| env!("CARGO_BIN_EXE_timbre").into());
        let mut command = Command::new(program);
        command.current_dir(self.folder.path()).args(arguments).env_remove("TIMBRE_CACHE").stdin(Stdio::null());
        command
    }

    pub fn timbre(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// [`timbre`](Self::timbre), which has to end well.
    pub fn done(&self, arguments: &[&str]) -> Output {
        let output = self.timbre(arguments);
        assert!(output.status.success(), "{arguments:?}: {:?}\n{}", output.status, text(&output.stderr));
        output
    }

    /// Runs the experiment on the CPU; its results as JSON.
    pub fn run(&self, file: &str, more: &[&str]) -> serde_json::Value {
        let output = self.done(&[&["run", file, "--device", "cpu", "--json", "-q"], more].concat());
        serde_json::from_slice(&output.stdout).unwrap()
    }

    pub fn bytes(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    pub fn read(&self, name: &str) -> String {
        String::from_utf8(self.bytes(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// A recording of the demo set.
    pub fn a_recording(&self) -> PathBuf {
        self.a_recording_of(&self.recordings().join("IRMAS-TrainingData/cel").display().to_string())
    }

    /// The first recording of a folder.
    pub fn a_recording_of(&self, folder: &str) -> PathBuf {
        fs::read_dir(self.path(folder)).unwrap().flatten().map(|entry| entry.path()).min().unwrap()
    }

    /// The folder in which the demo set was made: ids of its clips are paths below it.
    pub fn recordings(&self) -> PathBuf {
        let made = fs::read_dir(self.path("data/.cache")).unwrap().flatten().map(|entry| entry.path());
        made.filter(|path| path.is_dir()).find(|path| path.join("IRMAS-TrainingData").is_dir()).unwrap()
    }
}

/// Copies the demo set that an experiment reads into a cache. All tests share it: each set is generated once. None if the
/// experiment reads another, or the folder of the build is not there.
fn bring_demo_set(experiment: &str, cache: &Path) -> Option<()> {
    let experiment: toml::Table = toml::from_str(experiment).ok()?;
    let mut data = experiment.get("data")?.as_table()?.clone();
    if data.remove("use")?.as_str()? != "demo" {
        return None;
    }
    data.insert("kind".to_owned(), "demo".into());
    let spec: DataSpec = data.try_into().ok()?;
    let shared = Path::new(env!("CARGO_TARGET_TMPDIR")).join("demo_sets");
    let dirs = DataDirs { data_dir: shared.clone(), cache_dir: shared };
    let made = generated::ensure_in_cache(spec.as_kind().generator()?, &dirs, &|| Ok(())).ok()?;
    copy_folder(&made, &cache.join(made.file_name()?));
    Some(())
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let (from, to) = (entry.as_ref().unwrap().path(), to.join(entry.unwrap().file_name()));
        if from.is_dir() {
            copy_folder(&from, &to);
        } else {
            fs::copy(&from, &to).unwrap();
        }
    }
}

/// A document in `tests/golden`.
pub fn golden(name: &str) -> serde_json::Value {
    let path = format!("{}/tests/golden/{name}", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
