//! A temporary project folder for tests of the configuration.

use std::fs;
use std::path::{Path, PathBuf};

use timbre_experiment::{ConfigErrors, Request, ResolvedExperiment, resolve};

pub struct Project {
    folder: tempfile::TempDir,
}

impl Project {
    pub fn new(files: &[(&str, &str)]) -> Self {
        let project = Project { folder: tempfile::tempdir().unwrap() };
        files.iter().for_each(|(path, text)| project.write(path, text));
        project
    }

    pub fn root(&self) -> PathBuf {
        self.folder.path().to_owned()
    }

    pub fn write(&self, path: &str, text: &str) {
        let path = self.folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    pub fn request(&self, exp: &str) -> Request {
        Request { exp: exp.into(), data: None, set: Vec::new(), root: self.root() }
    }

    pub fn resolve(&self, exp: &str) -> Result<ResolvedExperiment, ConfigErrors> {
        resolve(&self.request(exp))
    }

    pub fn resolve_with(
        &self,
        exp: &str,
        data: Option<&str>,
        set: &[&str],
    ) -> Result<ResolvedExperiment, ConfigErrors> {
        let set = set.iter().map(|s| (*s).to_owned()).collect();
        resolve(&Request { data: data.map(str::to_owned), set, ..self.request(exp) })
    }

    /// The messages for one file.
    pub fn faults(&self, exp: &str) -> String {
        self.resolve(exp).expect_err("the file is wrong").to_string()
    }
}

/// The root of the repository.
pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Compares with a file of `tests/golden/config`. `TIMBRE_BLESS=1` rewrites it.
pub fn assert_golden(name: &str, text: &str) {
    let path = repository().join("tests/golden/config").join(name);
    if std::env::var_os("TIMBRE_BLESS").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
    }
    let golden = fs::read_to_string(&path).unwrap_or_default();
    assert!(golden == text, "{name} differs (TIMBRE_BLESS=1 rewrites it). Expected:\n{golden}\nFound:\n{text}");
}
