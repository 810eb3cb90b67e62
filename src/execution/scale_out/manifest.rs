//! The manifests of parts: the commit mark of a shard.
//!
//! A shard is done when its manifest exists, names a part that is there, and lists the recordings as they are now. The part is
//! written first. No other module spells out the names of these files.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::feature_plan::FeaturePlan;
use crate::execution::run::Settings;
use timbre_core::{
    dotted_keys,
    error::{ExitStatus, UserError},
    files,
};
use timbre_inputs::features::cache::{hex, parts::PartFile};
use timbre_inputs::features::extraction::ExtractionInput;

pub const SCHEMA: u32 = 1;

/// What a process that computed a shard leaves last.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Manifest {
    pub schema: u32,
    pub plan_hash: String,
    /// What the hash is of, to name the difference from another plan.
    pub plan: Value,
    pub shard: usize,
    pub shards: usize,
    pub part: PartFile,
    /// The recordings with their BLAKE3, or null for one that cannot be read; a list for each group of equal audio settings.
    pub inputs: Vec<Inputs>,
    /// One object for each recording that cannot be used, as in `unusable.jsonl`.
    pub unusable: Vec<Value>,
    /// Features that this process computed; the others were in its cache.
    pub computed: usize,
    pub host: Option<String>,
    /// Names the process: host, process number, and its start.
    pub attempt: String,
    pub seconds: f64,
    pub ended: String,
    /// The version of the program.
    pub timbre: String,
}

/// The path and the content of each recording, sorted.
pub type Inputs = Vec<(String, Option<String>)>;

/// The inputs of a shard as its manifest lists them.
pub fn listed(inputs: &[Vec<ExtractionInput>]) -> Vec<Inputs> {
    let one = |input: &ExtractionInput| (input.record.id.clone(), input.content.as_ref().ok().map(hex));
    let sorted = |group: &Vec<ExtractionInput>| {
        let mut list: Inputs = group.iter().map(one).collect();
        list.sort_unstable();
        list
    };
    inputs.iter().map(sorted).collect()
}

impl Manifest {
    /// Whether the shard needs no work: the part is there, and the recordings are those that it was computed from.
    pub fn is_current(&self, inputs: &[Inputs], folder: &PartsFolder) -> bool {
        self.inputs == inputs && self.part.is_there(folder.path())
    }

    /// Refuses a manifest of another plan, and says what is different.
    pub fn ensure_of(&self, plan: &FeaturePlan, folder: &PartsFolder) -> Result<()> {
        if self.schema == SCHEMA && self.plan_hash == plan.hash {
            return Ok(());
        }
        const SHOWN: usize = 5;
        let differences = dotted_keys::differences(&self.plan, &plan.description);
        let mut text: Vec<String> =
            differences.iter().take(SHOWN).map(|(key, old, new)| format!("{key} {old} → {new}")).collect();
        if differences.len() > SHOWN {
            text.push(format!("and {} more", differences.len() - SHOWN));
        }
        bail!(UserError::new(
            ExitStatus::RunChanged,
            format!(
                "{} belongs to another plan: {}. Use another folder (--parts), or remove this one",
                folder.manifest_path(self.shard).display(),
                text.join(", ")
            )
        ))
    }
}

/// The folder of parts and manifests of one experiment.
pub struct PartsFolder(PathBuf);

impl PartsFolder {
    /// The folder that is named, or the one beside the feature cache.
    pub fn new(named: Option<&Path>, settings: &Settings, experiment: &str) -> PartsFolder {
        PartsFolder(named.map_or_else(|| settings.cache.join("parts").join(experiment), Path::to_owned))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn create(&self) -> Result<()> {
        fs::create_dir_all(&self.0)
            .with_context(|| format!("cannot create {}: choose another folder with --parts", self.0.display()))
    }

    /// `part-3.json`.
    pub fn manifest_path(&self, shard: usize) -> PathBuf {
        self.0.join(format!("{}.json", part_name(shard)))
    }

    /// None if there is no manifest, or none that can be read: the shard is then computed.
    pub fn read(&self, shard: usize) -> Option<Manifest> {
        let manifest: Manifest = serde_json::from_slice(&fs::read(self.manifest_path(shard)).ok()?).ok()?;
        (manifest.shard == shard).then_some(manifest)
    }

    /// All manifests, by shard.
    pub fn read_all(&self) -> Result<Vec<Manifest>> {
        let entries = match fs::read_dir(&self.0) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.with_context(|| format!("cannot list {}", self.0.display()))?,
        };
        let shard = |name: &str| name.strip_prefix("part-")?.strip_suffix(".json")?.parse().ok();
        let mut shards: Vec<usize> = entries.flatten().filter_map(|e| shard(e.file_name().to_str()?)).collect();
        shards.sort_unstable();
        Ok(shards.into_iter().filter_map(|shard| self.read(shard)).collect())
    }

    /// Commits a shard. The part of an earlier manifest goes, unless it is the same.
    pub fn write(&self, manifest: &Manifest) -> Result<()> {
        let earlier = self.read(manifest.shard);
        let mut text = serde_json::to_vec(manifest)?;
        text.push(b'\n');
        files::write_bytes(&self.manifest_path(manifest.shard), &text)?;
        if let Some(earlier) = earlier.filter(|earlier| earlier.part.file != manifest.part.file) {
            let _ = fs::remove_file(self.0.join(earlier.part.file));
        }
        Ok(())
    }

    /// Takes the commit mark away: the shard is to be computed again.
    pub fn forget(&self, shard: usize) -> Result<()> {
        let path = self.manifest_path(shard);
        fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))
    }
}

/// The beginning of the names of a part and its manifest.
pub fn part_name(shard: usize) -> String {
    format!("part-{shard}")
}
