//! A folder with a finished run of the program, on a small demo set.

#![allow(dead_code)] // Each test file uses its part.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// Enough recordings for every class to be on all three sides of the split.
const TINY: &str = r#"
description = "two models to be heard"
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

pub struct Trained {
    folder: tempfile::TempDir,
}

impl Trained {
    /// A run of two models, with a validation split.
    pub fn tiny() -> Trained {
        let trained = Trained { folder: tempfile::tempdir().unwrap() };
        fs::write(trained.path("tiny.toml"), TINY).unwrap();
        trained.run(&["run", "tiny.toml", "-q"]);
        trained
    }

    /// A run of that experiment.
    pub fn of(name: &str, experiment: &str) -> Trained {
        let trained = Trained { folder: tempfile::tempdir().unwrap() };
        let file = format!("{name}.toml");
        fs::write(trained.path(&file), experiment).unwrap();
        trained.run(&["run", &file, "-q"]);
        trained
    }

    /// The fifteen models of the quickstart; its split has no validation part.
    pub fn quickstart() -> Trained {
        let trained = Trained { folder: tempfile::tempdir().unwrap() };
        let small = ["--set", "data.clips_per_class=10", "--set", "data.test_recordings=2"];
        trained.run(&[&["run", "quickstart", "-q"], &small[..]].concat());
        trained
    }

    fn run(&self, arguments: &[&str]) {
        let output = self.timbre(arguments);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn runs(&self) -> PathBuf {
        self.path("runs")
    }

    /// The folder in which the demo set was made: ids of its clips are paths below it.
    pub fn recordings(&self) -> PathBuf {
        let made = fs::read_dir(self.path("data/.cache")).unwrap().flatten().map(|entry| entry.path());
        made.filter(|path| path.is_dir()).find(|path| path.join("IRMAS-TrainingData").is_dir()).unwrap()
    }

    /// The recordings of one class, by name.
    pub fn recordings_of(&self, class: &str) -> Vec<PathBuf> {
        let folder = self.recordings().join("IRMAS-TrainingData").join(class);
        let mut paths: Vec<PathBuf> = fs::read_dir(folder).unwrap().flatten().map(|entry| entry.path()).collect();
        paths.retain(|path| path.extension().is_some_and(|extension| extension == "wav"));
        paths.sort();
        paths
    }

    /// Cuts the last byte off a file of the run.
    pub fn truncate(&self, file: &str) {
        let path = self.runs().join(file);
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_timbre"));
        command.current_dir(self.folder.path()).args(arguments).env_remove("TIMBRE_CACHE").stdin(Stdio::null());
        command
    }

    pub fn timbre(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

pub fn path_text(path: &Path) -> &str {
    path.to_str().unwrap()
}
