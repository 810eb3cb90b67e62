//! MedleyDB: multitrack recordings, cut into clips of the mix that are labelled by the instruments that sound in them.
//!
//! The times of the instruments are in the files `TRACK_SOURCEID.lab`, or follow from the activations of the stems in
//! `TRACK_ACTIVATION_CONF.lab`, whose instruments `TRACK_METADATA.yaml` names. Songs of one artist, the first part of the name, are one group,
//! as its makers advise.

use std::collections::HashMap;

use anyhow::{Context, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::entries::{Entries, Entry, Faults, Sounding, clip_length_faults, clips_of};
use super::table::Table;
use super::walk::{FoundFile, files_below};
use super::{CommonKeys, DataDirs, DataKind, DataSet};
use timbre_core::registry::Fault;

/// MedleyDB: files `TRACK_MIX.wav` and `TRACK_SOURCEID.lab`, or `TRACK_ACTIVATION_CONF.lab` and `TRACK_METADATA.yaml`, in any folders.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct MedleyDb {
    #[serde(flatten)]
    pub common: CommonKeys,
    /// Length of a clip in seconds. Its classes are the instruments that sound in it.
    #[schemars(range(min = 0.1))]
    pub seconds: f64,
    /// The confidence from which a stem sounds, where its activations say when.
    #[serde(skip_serializing_if = "is_half")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub activation: f64,
}

fn is_half(activation: &f64) -> bool {
    *activation == 0.5
}

impl Default for MedleyDb {
    fn default() -> Self {
        MedleyDb { common: CommonKeys::default(), seconds: 3.0, activation: 0.5 }
    }
}

impl DataKind for MedleyDb {
    fn version(&self) -> u32 {
        1
    }

    fn common_keys(&self) -> &CommonKeys {
        &self.common
    }

    fn own_faults(&self) -> Vec<Fault> {
        let mut faults = clip_length_faults(self.seconds);
        if !(0.0..=1.0).contains(&self.activation) {
            faults.push(Fault::new("activation", "is a confidence from 0 to 1"));
        }
        faults
    }

    /// The stems of a track, and what they were made of.
    fn is_no_recording(&self, file: &str) -> bool {
        file.contains("_STEM_") || file.contains("_RAW_")
    }

    fn load(&self, dirs: &DataDirs) -> Result<DataSet> {
        let mut set = Entries::begin(&self.common, "medleydb", dirs, &["."], "the files of activations")?;
        let mut read = || -> Result<()> {
            let files = files_below(&set.root)?;
            let named = |ending: &str| -> HashMap<String, &FoundFile> {
                let track = |file: &&FoundFile| file.file_name().strip_suffix(ending).map(str::to_owned);
                files.iter().filter_map(|file| Some((track(&file)?, file))).collect()
            };
            let (mixes, sources) = (named("_MIX.wav"), named("_SOURCEID.lab"));
            let (activations, metadata) = (named("_ACTIVATION_CONF.lab"), named("_METADATA.yaml"));
            let mut tracks: Vec<&String> = mixes.keys().collect();
            tracks.sort();
            for track in tracks {
                let mix = mixes[track];
                let path = mix.names.join("/");
                let sounding = match (sources.get(track), activations.get(track), metadata.get(track)) {
                    (Some(file), ..) => source_times(file, track, &mut set.faults),
                    (None, Some(file), Some(metadata)) => {
                        stem_times(file, metadata, self.activation, track, &mut set.faults)
                    }
                    _ => {
                        let kind = "recordings have neither TRACK_SOURCEID.lab nor TRACK_ACTIVATION_CONF.lab with TRACK_METADATA.yaml";
                        set.faults.add(kind, path);
                        continue;
                    }
                }?;
                if sounding.is_empty() {
                    set.faults.add("tracks have no instrument", track.clone());
                }
                let artist = track.split('_').next().unwrap_or(track);
                let whole = Entry { path, group: Some(artist.to_owned()), ..Entry::default() };
                set.entries.extend(clips_of(&whole, &sounding, self.seconds));
            }
            Ok(())
        };
        read().with_context(|| format!("read data set `{}`", set.name))?;
        set.into_set()
    }
}

/// The times in a table of instruments.
fn source_times(file: &FoundFile, track: &str, faults: &mut Faults) -> Result<Vec<Sounding>> {
    let text = std::fs::read_to_string(&file.path)?;
    let rows = Table::from_csv(&text, Some(',')).texts(["start_time", "end_time", "instrument_label"]);
    let mut sounding = Vec::new();
    for (line, [start, end, class]) in rows.with_context(|| file.path.display().to_string())? {
        match (start.parse(), end.parse()) {
            (Ok(start), Ok(end)) => sounding.push(Sounding { start, end, class }),
            _ => faults.add("activations cannot be read", format!("{track}: {start}, {end} (line {line})")),
        }
    }
    Ok(sounding)
}

/// The times in a table with a row for each frame and a column for each stem. A stem sounds while its confidence is at least `least`.
fn stem_times(
    file: &FoundFile,
    metadata: &FoundFile,
    least: f64,
    track: &str,
    faults: &mut Faults,
) -> Result<Vec<Sounding>> {
    let instruments = instruments_of_stems(&std::fs::read_to_string(&metadata.path)?);
    let table = Table::from_csv(&std::fs::read_to_string(&file.path)?, Some(','));
    if let Some(fault) = table.faults.first() {
        anyhow::bail!("{}: {fault}", file.path.display());
    }
    let number = |row: usize, column: usize| table.rows[row].cells[column].text().trim().parse::<f64>().ok();
    let times: Option<Vec<f64>> = (0..table.rows.len()).map(|row| number(row, 0)).collect();
    let times = times.with_context(|| format!("{}: a time is not a number", file.path.display()))?;
    let step = times.get(1).map_or(0.0, |second| second - times[0]);
    let mut sounding = Vec::new();
    for (column, stem) in table.columns.iter().enumerate().skip(1) {
        let Some(classes) = instruments.get(stem.trim()).filter(|classes| !classes.is_empty()) else {
            faults.add("stems have no instrument in TRACK_METADATA.yaml", format!("{track}: {stem}"));
            continue;
        };
        let mut since: Option<f64> = None;
        for (row, &time) in times.iter().chain([&(times.last().copied().unwrap_or(0.0) + step)]).enumerate() {
            let confidence = if row < times.len() { number(row, column) } else { Some(f64::NEG_INFINITY) };
            if confidence.is_none() {
                faults.add("activations cannot be read", format!("{track}: {stem} at {time} s"));
            }
            match (confidence.is_some_and(|confidence| confidence >= least), since) {
                (true, None) => since = Some(time),
                (false, Some(start)) => {
                    sounding.extend(classes.iter().map(|class| Sounding { start, end: time, class: class.clone() }));
                    since = None;
                }
                _ => {}
            }
        }
    }
    Ok(sounding)
}

/// The instruments of the stems in the YAML file of a track: below `stems:`, below the name of a stem, `instrument:` with one name or a
/// list of them. The raw files of a stem, which are further in, have instruments too.
fn instruments_of_stems(yaml: &str) -> HashMap<String, Vec<String>> {
    let mut found: HashMap<String, Vec<String>> = HashMap::new();
    let unquoted = |text: &str| {
        let text = text.split(" #").next().unwrap_or_default().trim();
        text.trim_matches(['\'', '"']).to_owned()
    };
    let (mut stems, mut stem, mut depth, mut in_list) = (None, None::<(usize, String)>, None, false);
    for line in yaml.lines().filter(|line| !line.trim().is_empty() && !line.trim_start().starts_with('#')) {
        let (indent, text) = (line.len() - line.trim_start().len(), line.trim());
        let Some(outer) = stems else {
            stems = (text == "stems:").then_some(indent);
            continue;
        };
        let item = text.strip_prefix("- ");
        if indent <= outer && item.is_none() {
            stems = None;
            continue;
        }
        if let (true, Some(item), Some((_, name))) = (in_list, item, &stem) {
            found.entry(name.clone()).or_default().push(unquoted(item));
            continue;
        }
        in_list = false;
        let Some((key, value)) = text.split_once(':') else { continue };
        if stem.as_ref().is_none_or(|(own, _)| indent <= *own) {
            (stem, depth) = (Some((indent, unquoted(key))), None);
            continue;
        }
        let own = *depth.get_or_insert(indent);
        if let (true, "instrument", Some((_, name))) = (indent == own, key, &stem) {
            in_list = value.split(" #").next().is_some_and(|value| value.trim().is_empty());
            if !in_list {
                let inner = value.trim().strip_prefix('[').and_then(|value| value.split(']').next());
                let names: Vec<&str> = inner.map_or_else(|| vec![value], |inner| inner.split(',').collect());
                let names = names.into_iter().map(unquoted).filter(|name| !name.is_empty());
                found.entry(name.clone()).or_default().extend(names);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_instruments_of_stems_are_found_beside_those_of_raw_files() {
        let yaml = "artist: A\nstems:\n  S01:\n    component: ''\n    filename: A_B_STEM_01.wav\n    instrument: electric bass\n    raw:\n      R01:\n        \
                    filename: A_B_RAW_01_01.wav\n        instrument: tuba\n  S02:\n    instrument:\n    - piano\n    - 'male singer'\n    raw:\n      R01:\n        \
                    instrument: organ\n  S03:\n    instrument: [viola, \"oboe\"]  # two\n  S04:\n    instrument: ''\ntitle: B\ninstrument: harp\n";
        let found = instruments_of_stems(yaml);
        assert_eq!(found["S01"], ["electric bass"]);
        assert_eq!(found["S02"], ["piano", "male singer"]);
        assert_eq!(found["S03"], ["viola", "oboe"]);
        assert!(found["S04"].is_empty() && found.len() == 4);
    }
}
