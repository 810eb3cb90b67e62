//! NSynth: single notes of 4 s with pitch, velocity, instrument and qualities, in an official split whose subsets share no instrument.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::entries::{Entries, Entry};
use super::{CommonKeys, DataDirs, DataKind, DataSet, DataSpec, PublishedCounts, Subset};
use timbre_core::registry::Fault;

/// NSynth in its published layout: `nsynth-train/examples.json` and `nsynth-train/audio/NOTE.wav`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct NSynth {
    #[serde(flatten)]
    pub common: CommonKeys,
    /// The classes: the instrument family, how the sound was made, or its qualities (several a note, or none).
    pub classes: NSynthClasses,
    /// Which subsets to read: `train`, `valid`, `test`.
    #[schemars(length(min = 1))]
    pub parts: Vec<NSynthPart>,
    /// Whether notes that are not on disk are left out, and counted in a note, instead of being a fault.
    #[serde(skip_serializing_if = "super::is_false")]
    pub skip_missing: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum NSynthClasses {
    /// bass, brass, flute, guitar, keyboard, mallet, organ, reed, string, synth_lead, vocal.
    #[default]
    Family,
    /// acoustic, electronic, synthetic.
    Source,
    /// bright, dark, distortion, …
    Qualities,
}

/// A subset of NSynth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum NSynthPart {
    Train,
    Valid,
    Test,
}

impl NSynthPart {
    const ALL: [NSynthPart; 3] = [NSynthPart::Train, NSynthPart::Valid, NSynthPart::Test];

    fn folder(self) -> &'static str {
        match self {
            NSynthPart::Train => "nsynth-train",
            NSynthPart::Valid => "nsynth-valid",
            NSynthPart::Test => "nsynth-test",
        }
    }

    fn subset(self) -> Subset {
        match self {
            NSynthPart::Train => Subset::Training,
            NSynthPart::Valid => Subset::Validation,
            NSynthPart::Test => Subset::Testing,
        }
    }
}

impl Default for NSynth {
    fn default() -> Self {
        NSynth {
            common: CommonKeys::default(),
            classes: NSynthClasses::default(),
            parts: NSynthPart::ALL.to_vec(),
            skip_missing: false,
        }
    }
}

/// What is used of a note of `examples.json`.
#[derive(Deserialize)]
struct Note {
    instrument_str: String,
    instrument_family_str: String,
    instrument_source_str: String,
    #[serde(default)]
    qualities_str: Vec<String>,
    pitch: u32,
    velocity: u32,
}

impl DataKind for NSynth {
    fn version(&self) -> u32 {
        1
    }

    fn common_keys(&self) -> &CommonKeys {
        &self.common
    }

    fn own_faults(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        if self.parts.is_empty() {
            faults.push(Fault::new("parts", "is empty; name `train`, `valid` or `test`"));
        }
        faults
    }

    fn as_published(&self, root: &Path) -> Option<DataSpec> {
        let is_here = |part: &NSynthPart| root.join(part.folder()).join("examples.json").is_file();
        let parts = NSynthPart::ALL.into_iter().filter(is_here).collect();
        Some(DataSpec::NSynth(NSynth { parts, ..self.clone() }))
    }

    fn published_counts(&self) -> PublishedCounts {
        let all = self.common.about.counts.clone();
        let of = |part: NSynthPart, count: Option<usize>| count.filter(|_| self.parts.contains(&part));
        PublishedCounts {
            training: of(NSynthPart::Train, all.training),
            validation: of(NSynthPart::Valid, all.validation),
            testing: of(NSynthPart::Test, all.testing),
            ..all
        }
    }

    fn load(&self, dirs: &DataDirs) -> Result<DataSet> {
        let tables: Vec<String> = self.parts.iter().map(|part| format!("{}/examples.json", part.folder())).collect();
        let needed: Vec<&str> = tables.iter().map(String::as_str).collect();
        let mut set = Entries::begin(&self.common, "nsynth", dirs, &needed, "examples.json")?;
        set.skip_missing = self.skip_missing;
        for (part, table) in self.parts.iter().zip(&tables) {
            let path = set.root.join(table);
            let read = || -> Result<BTreeMap<String, Note>> {
                Ok(serde_json::from_reader(std::io::BufReader::new(std::fs::File::open(&path)?))?)
            };
            let notes = read().with_context(|| format!("read data set `{}`: {}", set.name, path.display()))?;
            for (line, (name, note)) in (1..).zip(notes) {
                let tags = [
                    ("pitch", note.pitch.to_string()),
                    ("velocity", note.velocity.to_string()),
                    ("source", note.instrument_source_str.clone()),
                ];
                set.entries.push(Entry {
                    path: format!("{}/audio/{name}.wav", part.folder()),
                    labels: match self.classes {
                        NSynthClasses::Family => vec![note.instrument_family_str],
                        NSynthClasses::Source => vec![note.instrument_source_str],
                        NSynthClasses::Qualities => note.qualities_str,
                    },
                    group: Some(note.instrument_str),
                    subset: Some(part.subset()),
                    tags: tags.into_iter().map(|(key, value)| (key.to_owned(), value)).collect(),
                    line,
                    ..Entry::default()
                });
            }
        }
        set.into_set()
    }
}
