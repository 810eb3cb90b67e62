//! A folder with a finished run of the program, on a small demo set.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

pub use crate::test_dir::text;
use crate::test_dir::{TWO_MODELS, TestDir};

pub struct Trained {
    dir: TestDir,
}

impl Trained {
    /// A run of two models, with a validation split.
    pub fn tiny() -> Trained {
        Trained::of("tiny", TWO_MODELS)
    }

    /// A run of that experiment.
    pub fn of(name: &str, experiment: &str) -> Trained {
        let file = format!("{name}.toml");
        let dir = TestDir::with(&[(&file, experiment)]);
        dir.done(&["run", &file, "-q"]);
        Trained { dir }
    }

    /// The fifteen models of the quickstart, without a validation subset.
    pub fn quickstart() -> Trained {
        let dir = TestDir::new();
        let small = ["data.clips_per_class=10", "data.test_recordings=2", "split.validation=0.0"];
        let small = small.map(|set| ["--set", set]).concat();
        dir.done(&[&["run", "quickstart", "-q"], &small[..]].concat());
        Trained { dir }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path(name)
    }

    pub fn runs(&self) -> PathBuf {
        self.path("runs")
    }

    /// The folder in which the demo set was made: ids of its clips are paths below it.
    pub fn recordings(&self) -> PathBuf {
        self.dir.recordings()
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
        self.dir.command(arguments)
    }

    pub fn timbre(&self, arguments: &[&str]) -> Output {
        self.dir.timbre(arguments)
    }
}

pub fn path_text(path: &Path) -> &str {
    path.to_str().unwrap()
}
