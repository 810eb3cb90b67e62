//! Checks the recordings of a data set before it is trusted: `timbre data check`.
//!
//! Every recording is read once, block by block: whether it can be used, its levels, and hashes of its bytes and samples. Copies are
//! found by the hashes, near copies by acoustic fingerprints. What may be wrong becomes a [`Finding`].

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use serde::Serialize;
use timbre_core::text::{count, one_line};
use timbre_signal::audio::{self, AudioSpec};
use timbre_signal::dsp::acoustic_fingerprint::{AcousticFingerprint, Fingerprinter, STEP_SECONDS};
use timbre_signal::dsp::level::decibels;

use crate::data::{ClipRecord, DataSet, PublishedCounts, Subset};
use crate::features::cache::{
    Hash,
    content_hashes::{Unreadable, check_size, content_of, hash_file},
};

mod files;
mod finding;
mod label_balance;
mod levels;
mod near_duplicates;

pub use finding::{Finding, FindingKind};
pub use label_balance::LabelBalance;
pub use near_duplicates::{NearDuplicate, near_duplicates};

use levels::Levels;

/// A recording whose peak is below this is quiet, in decibels of full scale.
const QUIET: f64 = -50.0;
/// A recording with at least this share of samples cut off at the peak is clipped, if the peak is above the level.
const CLIPPED: f64 = 1e-4;
const CLIPPED_PEAK: f32 = 0.1;
/// A recording shorter than this share of the median is short.
const SHORT: f64 = 0.25;
/// How many findings of a kind the text lists.
const LISTED: usize = 20;

/// The result of a check.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Audit {
    pub data: String,
    pub recordings: usize,
    /// Seconds of all recordings that can be used.
    pub seconds: f64,
    pub labels: LabelBalance,
    /// Of the set ([`DataSet::warnings`]).
    pub warnings: Vec<String>,
    /// In the order of their kinds.
    pub findings: Vec<Finding>,
}

/// A recording that can be used.
struct Measured {
    /// Hash of the samples with their rate.
    samples: Hash,
    seconds: f64,
    levels: Levels,
    fingerprint: AcousticFingerprint,
}

/// The hash of the bytes, if the file can be read; then the measurements, if it can be used.
struct Read {
    content: Option<Hash>,
    measured: Result<Measured, Unreadable>,
}

type IsNoRecording<'a> = &'a dyn Fn(Option<&str>, &str) -> bool;

/// What a set is compared with.
pub struct Published<'a> {
    /// The set as it was published, which may have other classes and more recordings than the one that is checked.
    pub set: &'a DataSet,
    pub counts: PublishedCounts,
    /// Whether an audio file is meant to be in no recording, by its set where there are several.
    pub is_no_recording: IsNoRecording<'a>,
}

/// Reads every recording of a set, with the limits of `audio`, and compares them; `step` is called after each.
pub fn audit(set: &DataSet, published: &Published, audio: &AudioSpec, step: impl Fn() + Sync) -> Audit {
    let hashes = hashes_of_excerpted(&set.records, audio.max_bytes);
    let read: Vec<Read> = set
        .records
        .par_iter()
        .map(|record| {
            let read = read(record, &hashes, audio);
            step();
            read
        })
        .collect();
    let mut findings = unusable(&set.records, &read);
    findings.extend(levels_and_lengths(&set.records, &read));
    findings.extend(duplicates(&set.records, &read));
    findings.extend(divided_songs(&set.records));
    findings.extend(published.counts.differences(published.set).into_iter().map(|detail| Finding {
        kind: FindingKind::Counts,
        also: Vec::new(),
        recordings: Vec::new(),
        detail,
    }));
    findings.extend(files::unused_and_orphans(&published.set.records, published.is_no_recording));
    findings.sort_by_key(|finding| finding.kind);
    Audit {
        data: set.name.clone(),
        recordings: set.records.len(),
        seconds: read.iter().filter_map(|read| Some(read.measured.as_ref().ok()?.seconds)).sum(),
        labels: LabelBalance::of(set),
        warnings: set.warnings(),
        findings,
    }
}

/// The hashes of files with excerpts, each of which is read once for all of them.
fn hashes_of_excerpted(records: &[ClipRecord], max_bytes: u64) -> HashMap<PathBuf, Hash> {
    let excerpted = records.iter().filter(|record| record.excerpt.is_some());
    let paths: BTreeSet<&Path> = excerpted.map(|record| record.path.as_path()).collect();
    let paths: Vec<&Path> = paths.into_iter().collect();
    paths.par_iter().filter_map(|path| Some((path.to_path_buf(), hash_checked(path, max_bytes).ok()?))).collect()
}

fn hash_checked(path: &Path, max_bytes: u64) -> Result<Hash, Unreadable> {
    check_size(std::fs::metadata(path)?.len(), max_bytes)?;
    Ok(hash_file(path)?)
}

/// Reads a recording as an experiment with the limits of `spec` would.
fn read(record: &ClipRecord, hashes: &HashMap<PathBuf, Hash>, spec: &AudioSpec) -> Read {
    let excerpt = record.excerpt.as_ref();
    let file = match hashes.get(&record.path) {
        Some(hash) => Ok(*hash),
        None => hash_checked(&record.path, spec.max_bytes),
    };
    let content = match file {
        Ok(file) => content_of(&file, excerpt),
        Err(why) => return Read { content: None, measured: Err(why) },
    };
    let (mut levels, mut hasher) = (Levels::default(), blake3::Hasher::new());
    let mut started: Option<(Fingerprinter, u32)> = None;
    let visited = audio::visit_file(&record.path, excerpt, spec.limits(), |samples, rate| {
        let (fingerprinter, _) = started.get_or_insert_with(|| (Fingerprinter::new(rate), rate));
        fingerprinter.push(samples);
        levels.push(samples);
        hasher.update(bytemuck::cast_slice(samples));
    });
    let measured = match (visited, started) {
        (Ok(()), Some((fingerprinter, rate))) => Ok(Measured {
            samples: *hasher.update(&rate.to_le_bytes()).finalize().as_bytes(),
            seconds: levels.samples as f64 / f64::from(rate),
            levels,
            fingerprint: fingerprinter.finish(),
        }),
        (Ok(()), None) => Err(Unreadable { code: "no_samples", sentence: audio::Unusable::NoSamples.to_string() }),
        (Err(why), _) => Err(Unreadable { code: why.code(), sentence: why.to_string() }),
    };
    Read { content: Some(content), measured }
}

fn unusable(records: &[ClipRecord], read: &[Read]) -> Vec<Finding> {
    let why = |(record, read): (&ClipRecord, &Read)| {
        let Unreadable { code, sentence } = read.measured.as_ref().err()?;
        Some(Finding::of(FindingKind::Unusable, &record.id, format!("{code}: {sentence}")))
    };
    records.iter().zip(read).filter_map(why).collect()
}

fn levels_and_lengths(records: &[ClipRecord], read: &[Read]) -> Vec<Finding> {
    let measured =
        || records.iter().zip(read).filter_map(|(record, read)| Some((record, read.measured.as_ref().ok()?)));
    let mut lengths: Vec<f64> = measured().map(|(_, measured)| measured.seconds).collect();
    lengths.sort_by(f64::total_cmp);
    let median = lengths.get(lengths.len() / 2).copied().unwrap_or(0.0);
    let mut findings = Vec::new();
    for (record, measured) in measured() {
        let mut found = |kind, detail| findings.push(Finding::of(kind, &record.id, detail));
        let mut levels = measured.levels.clone();
        let peak = decibels(f64::from(levels.peak));
        if peak < QUIET {
            found(FindingKind::Quiet, format!("peak {peak:.1} dB, RMS {:.1} dB", decibels(levels.rms())));
        }
        let clipped = levels.clipped_share();
        if clipped >= CLIPPED && levels.peak >= CLIPPED_PEAK {
            found(FindingKind::Clipped, format!("{:.2}% of the samples are cut off at {peak:.1} dB", 100.0 * clipped));
        }
        if measured.seconds < SHORT * median {
            found(
                FindingKind::Short,
                format!("{:.2} s, and half of the recordings have {median:.2} s", measured.seconds),
            );
        }
    }
    findings
}

/// Copies by bytes, then by samples, then near copies. What a stronger kind connects is not listed again.
fn duplicates(records: &[ClipRecord], read: &[Read]) -> Vec<Finding> {
    let finding = |kind: FindingKind, group: &[usize], detail: String| {
        let all: Vec<&ClipRecord> = group.iter().map(|&i| &records[i]).collect();
        let differ =
            |kind: FindingKind, differs: &dyn Fn(&ClipRecord) -> bool| all.iter().any(|r| differs(r)).then_some(kind);
        let also = [
            differ(FindingKind::OtherLabels, &|r| r.labels != all[0].labels),
            differ(FindingKind::OtherSubset, &|r| (r.subset, &r.fold) != (all[0].subset, &all[0].fold)),
            differ(FindingKind::OtherSong, &|r| r.group != all[0].group),
        ];
        let recordings = all.iter().map(|record| record.id.clone()).collect();
        Finding { kind, also: also.into_iter().flatten().collect(), recordings, detail }
    };
    let groups = |key: &dyn Fn(usize) -> Option<Hash>, among: &mut dyn Iterator<Item = usize>| {
        let mut same: HashMap<Hash, Vec<usize>> = HashMap::new();
        among.filter_map(|i| Some((i, key(i)?))).for_each(|(i, hash)| same.entry(hash).or_default().push(i));
        let mut same: Vec<Vec<usize>> = same.into_values().collect();
        same.sort();
        same
    };
    let measured = |i: usize| read[i].measured.as_ref().ok();
    let of_bytes = groups(&|i| read[i].content, &mut (0..records.len()));
    let of_samples = groups(
        &|i| measured(i).map(|m| m.samples),
        &mut of_bytes.iter().map(|group| group[0]).filter(|&i| measured(i).is_some()),
    );
    let mut findings: Vec<Finding> = Vec::new();
    for (kind, groups) in [(FindingKind::Identical, &of_bytes), (FindingKind::SameSamples, &of_samples)] {
        let several = groups.iter().filter(|group| group.len() > 1);
        findings.extend(several.map(|group| finding(kind, group, String::new())));
    }
    let distinct: Vec<usize> = of_samples.iter().map(|group| group[0]).collect();
    let fingerprints: Vec<&AcousticFingerprint> =
        distinct.iter().map(|&i| &measured(i).expect("it has samples").fingerprint).collect();
    let near = near_duplicates(&fingerprints).into_iter().filter_map(|pair| {
        let group = [distinct[pair.first], distinct[pair.second]];
        // Excerpts of one file may overlap, as their times say.
        (records[group[0]].path != records[group[1]].path)
            .then(|| finding(FindingKind::NearDuplicate, &group, described(&pair)))
    });
    let mut near: Vec<Finding> = near.collect();
    // Those that matter first.
    near.sort_by_key(|finding| std::cmp::Reverse(finding.also.len()));
    findings.extend(near);
    findings
}

fn described(pair: &NearDuplicate) -> String {
    let shared = format!("{:.0}% alike over {:.1} s", 100.0 * pair.similarity, pair.steps as f64 * STEP_SECONDS);
    match pair.seconds() {
        offset if offset.abs() < 0.06 => shared,
        offset if offset > 0.0 => format!("{shared}, the first from {offset:.2} s of the second"),
        offset => format!("{shared}, the second from {:.2} s of the first", -offset),
    }
}

fn divided_songs(records: &[ClipRecord]) -> Vec<Finding> {
    let mut subsets_of: BTreeMap<&str, BTreeMap<(Subset, Option<&str>), usize>> = BTreeMap::new();
    for record in records {
        *subsets_of.entry(&record.group).or_default().entry((record.subset, record.fold.as_deref())).or_default() += 1;
    }
    let name = |(subset, fold): &(Subset, Option<&str>)| match fold {
        Some(fold) => format!("fold {fold}"),
        None => subset.name().to_owned(),
    };
    let divided = subsets_of.into_iter().filter(|(_, subsets)| subsets.len() > 1);
    divided
        .map(|(song, subsets)| {
            let subsets: Vec<String> = subsets.iter().map(|(subset, n)| format!("{n} in {}", name(subset))).collect();
            Finding::of(FindingKind::DividedSong, song, count(subsets.len(), "subset") + ": " + &subsets.join(", "))
        })
        .collect()
}

impl Audit {
    /// The number of findings that are of this kind, or have it as a note.
    pub fn number_of(&self, kind: FindingKind) -> usize {
        self.findings.iter().filter(|finding| finding.is(kind)).count()
    }

    /// For a terminal: a line for each finding, at most `LISTED` of a kind unless `all`; unusable recordings and copies are all
    /// listed. Then the warnings, the balance of the labels, and the numbers.
    pub fn text(&self, all: bool) -> String {
        let mut text = String::new();
        for findings in self.findings.chunk_by(|a, b| a.kind == b.kind) {
            let kind = findings[0].kind;
            let always = all || matches!(kind, FindingKind::Unusable | FindingKind::Identical);
            let shown = if always { findings.len() } else { findings.len().min(LISTED) };
            findings[..shown].iter().for_each(|finding| text += &finding.line());
            if shown < findings.len() {
                text += &format!("{:<9} and {} more: -v lists all\n", "…", findings.len() - shown);
            }
        }
        self.warnings.iter().for_each(|warning| text += &format!("warning: {}\n", one_line(warning)));
        text += &self.labels.text();
        let near = match self.number_of(FindingKind::NearDuplicate) {
            0 => ", no pair that shares sound".to_owned(),
            1 => ", 1 pair that shares sound".to_owned(),
            n => format!(", {n} pairs that share sound"),
        };
        let of_files = |kind| self.findings.iter().filter(|finding| finding.kind == kind).count();
        text + &format!(
            "{}: {} unusable, {} of identical files{near}\n",
            count(self.recordings, "recording"),
            of_files(FindingKind::Unusable),
            count(of_files(FindingKind::Identical), "group")
        )
    }
}
