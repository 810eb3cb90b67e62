//! OpenMIC-2018: clips of 10 s with crowd-sourced labels of 20 instruments, of which each clip has only a few.
//!
//! The relevance of an instrument is 0.5 ± half the confidence of the answers; most pairs of a clip and an instrument have no annotation:
//! they are unknown (`Y_mask` of the published arrays). Ten clips were damaged while people listened to them; of the three answers that were
//! wrong for it, the makers name the right ones.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use anyhow::{Context, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::entries::{Entries, Entry};
use super::table::{Table, csv_rows};
use super::{CommonKeys, DataDirs, DataKind, DataSet, DataSpec, Subset};
use timbre_core::registry::Fault;

const TABLE: &str = "openmic-2018-aggregated-labels.csv";
const CLASSES: &str = "class-map.json";
const PARTITIONS: [(&str, Subset); 2] =
    [("partitions/split01_train.csv", Subset::Training), ("partitions/split01_test.csv", Subset::Testing)];

/// Clips that have an instrument although the answers, which were given to damaged files, say otherwise: the errata of the set.
const ERRATA: [(&str, &str); 3] =
    [("095253_134400", "piano"), ("095263_96000", "mallet_percussion"), ("113025_99840", "trumpet")];

/// OpenMIC-2018 in its published layout.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct OpenMic {
    #[serde(flatten)]
    pub common: CommonKeys,
    /// The relevance from which an instrument is present.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub threshold: f64,
    /// One of the instruments: only the clips of which it is known whether they have it. Default: all clips and instruments.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instrument: Option<String>,
    /// Whether an instrument without an answer counts as absent, which is often wrong. Default: it is unknown, and takes no part in
    /// fits and scores.
    #[serde(skip_serializing_if = "super::is_false")]
    pub unknown_is_absent: bool,
    /// Whether clips that are not on disk are left out, and counted in a note, instead of being a fault.
    #[serde(skip_serializing_if = "super::is_false")]
    pub skip_missing: bool,
}

impl Default for OpenMic {
    fn default() -> Self {
        OpenMic {
            common: CommonKeys::default(),
            threshold: 0.5,
            instrument: None,
            unknown_is_absent: false,
            skip_missing: false,
        }
    }
}

impl DataKind for OpenMic {
    fn version(&self) -> u32 {
        3
    }

    fn common_keys(&self) -> &CommonKeys {
        &self.common
    }

    fn own_faults(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        if !(0.0..=1.0).contains(&self.threshold) {
            faults.push(Fault::new("threshold", format!("{} is not a relevance from 0 to 1", self.threshold)));
        }
        faults
    }

    fn as_published(&self, _root: &Path) -> Option<DataSpec> {
        Some(DataSpec::OpenMic(OpenMic { instrument: None, ..self.clone() }))
    }

    fn load(&self, dirs: &DataDirs) -> Result<DataSet> {
        let needed = [TABLE, CLASSES, PARTITIONS[0].0, PARTITIONS[1].0, "audio"];
        let mut set = Entries::begin(&self.common, "openmic", dirs, &needed, TABLE)?;
        set.skip_missing = self.skip_missing;
        self.read(&mut set).with_context(|| format!("read data set `{}`", set.name))?;
        set.into_set()
    }
}

impl OpenMic {
    fn read(&self, set: &mut Entries) -> Result<()> {
        let text = |name: &str| std::fs::read_to_string(set.root.join(name)).with_context(|| format!("read {name}"));
        let numbers: BTreeMap<String, usize> = serde_json::from_str(&text(CLASSES)?).with_context(|| CLASSES)?;
        let mut classes: Vec<&String> = numbers.keys().collect();
        classes.sort_by_key(|name| numbers[*name]);
        let mut subset_of: HashMap<String, Subset> = HashMap::new();
        for (name, subset) in PARTITIONS {
            let (rows, _) = csv_rows(&text(name)?, ',');
            subset_of.extend(rows.into_iter().map(|(_, cells)| (cells.into_iter().next().unwrap_or_default(), subset)));
        }
        // The annotations of a clip, in the order of the clips.
        let mut clips: BTreeMap<String, (usize, Vec<(String, f64)>)> = BTreeMap::new();
        for (line, [key, instrument, relevance]) in
            Table::read(&set.root.join(TABLE))?.texts(["sample_key", "instrument", "relevance"])?
        {
            if !numbers.contains_key(&instrument) {
                set.faults.add("rows have an unknown instrument", format!("{key}: {instrument} (line {line})"));
                continue;
            }
            match relevance.parse::<f64>() {
                Ok(_) if ERRATA.contains(&(key.as_str(), instrument.as_str())) => {
                    clips.entry(key).or_insert((line, Vec::new())).1.push((instrument, 1.0));
                }
                Ok(relevance) => clips.entry(key).or_insert((line, Vec::new())).1.push((instrument, relevance)),
                Err(_) => set.faults.add("rows have no relevance", format!("{key}: {relevance:?} (line {line})")),
            }
        }
        for (key, (line, answers)) in &clips {
            let wanted = |name: &String| self.instrument.as_ref().is_none_or(|own| own == name);
            if !answers.iter().any(|(instrument, _)| wanted(instrument)) {
                continue;
            }
            let present = answers.iter().filter(|(name, relevance)| wanted(name) && *relevance >= self.threshold);
            let Some(&subset) = subset_of.get(key) else {
                set.faults.add("clips are in neither partition", format!("{key} (line {line})"));
                continue;
            };
            set.entries.push(Entry {
                path: format!("audio/{}/{key}.ogg", key.get(..3).unwrap_or_default()),
                labels: present.map(|(name, _)| name.clone()).collect(),
                unknown: match self.unknown_is_absent {
                    true => Vec::new(),
                    false => classes
                        .iter()
                        .filter(|name| wanted(name) && answers.iter().all(|(known, _)| known != **name))
                        .map(|name| (*name).clone())
                        .collect(),
                },
                // The track of the Free Music Archive.
                group: Some(key.split('_').next().unwrap_or(key).to_owned()),
                subset: Some(subset),
                line: *line,
                ..Entry::default()
            });
        }
        set.classes = Some(match &self.instrument {
            Some(own) if !numbers.contains_key(own) => {
                let all = classes.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(", ");
                anyhow::bail!("no instrument `{own}`; the instruments are {all}")
            }
            Some(own) => vec![own.clone()],
            None => {
                let pairs = clips.len() * classes.len();
                let answered: usize = clips.values().map(|(_, answers)| answers.len()).sum();
                let what = match self.unknown_is_absent {
                    true => "count as absent",
                    false => "take no part in fits and scores",
                };
                set.notes.push(format!(
                    "{} of {pairs} pairs of a clip and an instrument are unknown and {what}",
                    pairs - answered
                ));
                classes.into_iter().cloned().collect()
            }
        });
        Ok(())
    }
}
