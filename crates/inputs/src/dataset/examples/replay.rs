//! Recorded draws: written as one JSON object per line, and replayed.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};

use crate::augment::Draw;

/// The draws for one clip in one epoch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DrawRecord {
    /// The seed of the trial.
    pub seed: u64,
    /// From 1, as in `epochs.csv`.
    pub epoch: usize,
    pub clip: String,
    /// The first sample of the clip in its recording. Omitted: `audio.crop` decides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<usize>,
    pub draws: Vec<Draw>,
}

/// The recorded draws of one seed.
#[derive(Debug)]
pub struct Replay {
    path: PathBuf,
    seed: u64,
    /// By clip, then by epoch from 1.
    records: HashMap<String, BTreeMap<usize, DrawRecord>>,
}

impl Replay {
    /// Reads the records of a seed.
    pub fn read(path: &Path, seed: u64) -> Result<Replay> {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("cannot read the draws in {}", path.display()))?;
        let mut records: HashMap<String, BTreeMap<usize, DrawRecord>> = HashMap::new();
        for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let read = serde_json::from_str::<DrawRecord>(line);
            let one = read.with_context(|| format!("{}:{}: not the draws of a clip", path.display(), number + 1))?;
            if let Some(why) = fault(&one.draws) {
                bail!("{}:{}: {why}", path.display(), number + 1);
            }
            if one.seed == seed {
                records.entry(one.clip.clone()).or_default().insert(one.epoch, one);
            }
        }
        Ok(Replay { path: path.to_owned(), seed, records })
    }

    /// The record of a clip in an epoch, counted from 0.
    pub fn record(&self, epoch: usize, clip: &str) -> Result<&DrawRecord> {
        self.records.get(clip).and_then(|epochs| epochs.get(&(epoch + 1))).with_context(|| {
            format!("{} has no draws of {clip} in epoch {} with seed {}", self.path.display(), epoch + 1, self.seed)
        })
    }

    /// Fails if a record is missing for any of these clips in any of `epochs` epochs.
    pub fn ensure_complete<'a>(&self, clips: impl Iterator<Item = &'a str>, epochs: usize) -> Result<()> {
        let missing: Vec<String> = clips
            .flat_map(|clip| (0..epochs).filter_map(move |epoch| self.record(epoch, clip).err()).take(1))
            .map(|error| error.to_string())
            .collect();
        ensure!(
            missing.is_empty(),
            "cannot replay the recorded draws: {}{}; record them with `timbre data augment EXP --out DIR`",
            missing[0],
            if missing.len() > 1 { format!(" (and of {} more clips)", missing.len() - 1) } else { String::new() }
        );
        Ok(())
    }
}

/// The reason why these draws cannot be applied one after the other.
fn fault(draws: &[Draw]) -> Option<String> {
    let of_draw = |draw: &Draw| draw.as_kind().fault().map(|why| format!("the draw `{}`: {why}", draw.kind()));
    let misplaced = || {
        let first = draws.iter().position(|draw| draw.as_kind().changes_image())?;
        let late = draws[first..].iter().find(|draw| !draw.as_kind().changes_image())?;
        let (image, waveform) = (draws[first].kind(), late.kind());
        Some(format!(
            "the waveform draw `{waveform}` comes after the image draw `{image}`: the image is computed from the waveform"
        ))
    };
    draws.iter().find_map(of_draw).or_else(misplaced)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_that_cannot_be_applied_are_refused_with_their_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("draws.jsonl");
        let read = |draws: serde_json::Value| {
            let line = |draws: serde_json::Value| {
                serde_json::json!({ "seed": 1, "epoch": 1, "clip": "a", "draws": draws }).to_string()
            };
            std::fs::write(&path, [line(serde_json::json!([])), line(draws)].join("\n")).unwrap();
            Replay::read(&path, 1).map(drop).map_err(|error| format!("{error:#}"))
        };
        let gain = serde_json::json!({ "kind": "gain", "db": 1.25 });
        let mask = serde_json::json!({ "kind": "mixup", "partner": "b", "weight": 0.5 });
        let silence = |start: u64| serde_json::json!({ "kind": "silence", "segments": [[start, 8]], "fade": 2 });
        read(serde_json::json!([gain, silence(5), mask])).unwrap();
        for (draws, message) in [
            (serde_json::json!([mask, gain]), "the waveform draw `gain` comes after the image draw `mixup`"),
            (serde_json::json!([{ "kind": "time_stretch", "rate": 4.5 }]), "`rate`: 4.5 is outside"),
            (serde_json::json!([{ "kind": "pitch_shift", "semitones": -25.0 }]), "`semitones`: -25 is outside"),
            (serde_json::json!([gain, silence(u64::MAX - 9)]), "exceeds the largest sample index"),
        ] {
            let error = read(draws).unwrap_err();
            assert!(error.contains("draws.jsonl:2: ") && error.contains(message), "{error}");
        }
    }

    #[test]
    fn records_of_other_seeds_are_ignored_and_missing_ones_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("draws.jsonl");
        let line = |seed: u64, epoch: usize, clip: &str| {
            let draws = vec![serde_json::from_value(serde_json::json!({ "kind": "gain", "db": 1.25 })).unwrap()];
            serde_json::to_string(&DrawRecord { seed, epoch, clip: clip.into(), start: Some(7), draws }).unwrap()
        };
        std::fs::write(&path, [line(1, 1, "a"), line(1, 2, "a"), line(2, 1, "b"), line(1, 1, "b")].join("\n")).unwrap();
        let replay = Replay::read(&path, 1).unwrap();
        assert_eq!(replay.record(1, "a").unwrap().start, Some(7));
        replay.ensure_complete(["a", "b"].into_iter(), 1).unwrap();
        let error = replay.ensure_complete(["a", "b", "c"].into_iter(), 2).unwrap_err().to_string();
        assert!(error.contains("no draws of b in epoch 2 with seed 1") && error.contains("1 more"), "{error}");
        std::fs::write(&path, "{\"seed\":1}").unwrap();
        assert!(format!("{:#}", Replay::read(&path, 1).unwrap_err()).contains("draws.jsonl:1"));
    }
}
