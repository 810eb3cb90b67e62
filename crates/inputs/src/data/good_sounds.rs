//! Good-Sounds: single notes and scales of twelve instruments, played well and badly on purpose, some with several microphones.
//!
//! `sounds.json` describes what was played and `takes.json` its recordings, one for each microphone; both are objects by id. The takes
//! of a sound are one song at least: they differ in the microphone alone.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::entries::{Entries, Entry};
use super::table::json_text;
use super::{CommonKeys, DataDirs, DataKind, DataSet};

const SOUNDS: &str = "sounds.json";
const TAKES: &str = "takes.json";

/// Good-Sounds in its published layout.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct GoodSounds {
    #[serde(flatten)]
    pub common: CommonKeys,
    /// The song of a recording: the pack (recorded in one session), the player, or the single sound with all its microphones.
    pub group: GoodSoundsGroup,
    /// Only sounds of these kinds (`klass`), such as "good-sound", "bad", "scale-good" and "scale-bad". Default: all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub klasses: Vec<String>,
    /// Whether recordings that are not on disk are left out, and counted in a note, instead of being a fault.
    #[serde(skip_serializing_if = "super::is_false")]
    pub skip_missing: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum GoodSoundsGroup {
    /// A recording session: one instrument and one player.
    #[default]
    Pack,
    Player,
    /// A sound of one session may be in training and another in test.
    Sound,
}

/// What is used of a sound. Numbers and texts are `Value`s: most may be null.
#[derive(Deserialize)]
struct Sound {
    instrument: String,
    pack_id: u64,
    #[serde(default)]
    player: Option<String>,
    #[serde(default)]
    klass: Option<String>,
    #[serde(default)]
    note: Value,
    #[serde(default)]
    octave: Value,
    #[serde(default)]
    dynamics: Value,
}

#[derive(Deserialize)]
struct Take {
    sound_id: u64,
    filename: String,
    #[serde(default)]
    microphone: Value,
}

impl DataKind for GoodSounds {
    fn version(&self) -> u32 {
        1
    }

    fn common_keys(&self) -> &CommonKeys {
        &self.common
    }

    fn load(&self, dirs: &DataDirs) -> Result<DataSet> {
        let mut set = Entries::begin(&self.common, "good_sounds", dirs, &[SOUNDS, TAKES], TAKES)?;
        set.skip_missing = self.skip_missing;
        self.read(&mut set).with_context(|| format!("read data set `{}`", set.name))?;
        set.into_set()
    }
}

impl GoodSounds {
    fn read(&self, set: &mut Entries) -> Result<()> {
        let sounds: BTreeMap<u64, Sound> = by_id(&std::fs::read(set.root.join(SOUNDS))?, SOUNDS)?;
        let takes: BTreeMap<u64, Take> = by_id(&std::fs::read(set.root.join(TAKES))?, TAKES)?;
        // The archive has a folder of its own, in which it is unpacked beside the tables.
        let folder = if set.root.join("good-sounds").is_dir() { "good-sounds/" } else { "" };
        for (id, take) in takes {
            let Some(sound) = sounds.get(&take.sound_id) else {
                set.faults.add("takes have an unknown sound", format!("take {id}: sound {}", take.sound_id));
                continue;
            };
            if !self.klasses.is_empty() && !sound.klass.as_ref().is_some_and(|own| self.klasses.contains(own)) {
                continue;
            }
            let text = |value: &Value| Some(json_text(value)).filter(|text| !text.is_empty());
            let tags = [
                ("klass", sound.klass.clone()),
                ("player", sound.player.clone()),
                ("microphone", text(&take.microphone)),
                ("note", text(&sound.note)),
                ("octave", text(&sound.octave)),
                ("dynamics", text(&sound.dynamics)),
            ];
            let sound_group = || format!("sound {}", take.sound_id);
            set.entries.push(Entry {
                path: format!("{folder}{}", take.filename),
                labels: vec![sound.instrument.clone()],
                group: Some(match self.group {
                    GoodSoundsGroup::Pack => format!("pack {}", sound.pack_id),
                    GoodSoundsGroup::Player => sound.player.clone().unwrap_or_else(sound_group),
                    GoodSoundsGroup::Sound => sound_group(),
                }),
                tags: tags.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))).collect(),
                line: id as usize,
                ..Entry::default()
            });
        }
        Ok(())
    }
}

/// The objects of a JSON file by their numbers, which are the keys of the outer object.
fn by_id<T: DeserializeOwned>(bytes: &[u8], name: &str) -> Result<BTreeMap<u64, T>> {
    let objects: BTreeMap<String, T> = serde_json::from_slice(bytes).with_context(|| name.to_owned())?;
    let numbered = |(id, object): (String, T)| {
        Ok((id.parse().with_context(|| format!("{name}: {id:?} is not the number of an object"))?, object))
    };
    objects.into_iter().map(numbered).collect()
}
