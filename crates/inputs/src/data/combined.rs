//! The combined data set: polyphonic recordings mixed out of the solo recordings of other sets.
//!
//! A recording is a mixture of some instruments (classes) of one genre. Each instrument plays a sequence of solo recordings, joined with a small overlap;
//! the sequences start one after the other and overlap. When each sounds is exact to the sample, because the mixture is made of it.
//!
//! The songs of the sources are dealt into pools. A mixture takes all of its recordings from one pool, and the pool is its group: so no song is in two
//! groups, and no split divides a song. Sources that their makers declare for testing make testing recordings alone, and so on; where they declare none, a
//! fifth of the pools is for testing.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::demo::mixing::level_to;
use super::demo::rng::DemoRng;
use super::generated::{self, AfterRecording, Generator, Summary};
use super::manifest::Manifest;
use super::several::Several;
use super::{ClipRecord, CommonKeys, DataDirs, DataKind, DataSet, DataSpec, MissingData, Subset, sorted_by_id};
use timbre_core::{
    error::UserError,
    files::FileStamp,
    registry::Fault,
    seed::{Seed, shuffle},
    text::{count, csv_text},
};
use timbre_signal::audio::{self, AudioSpec, Excerpt, wav_write::write_pcm16};

/// Increase when the same spec makes other recordings.
const VERSION: u32 = 1;

/// The table with a row a recording, and that with a row for each instrument of each recording.
const TABLE: &str = "labels.csv";
const TIMES: &str = "label_times.csv";

/// The level of an instrument before its gain, in decibels of full scale (RMS).
const LEVEL_DB: f64 = -22.0;

/// Quieter edges of a solo recording, relative to its peak, are silence in which no instrument sounds.
const SILENCE_DB: f64 = -50.0;

/// The fade at both ends of a sequence, in seconds.
const FADE: f64 = 0.01;

/// One of so many pools is for testing if the sources declare no testing recordings.
const TEST_POOLS: usize = 5;

/// Polyphonic recordings mixed out of the solo recordings of other sets, made on first use, with the exact times of every instrument.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Combined {
    #[serde(flatten)]
    pub common: CommonKeys,
    /// The sets with the solo recordings, each as in `[data]`. Recordings with one class are used; others are ignored.
    #[schemars(length(min = 1))]
    pub sets: Vec<DataSpec>,
    /// Number of recordings for training.
    #[schemars(range(min = 0, max = 1_000_000))]
    pub training: usize,
    /// Number of recordings for validation; only if the sources declare such recordings.
    #[schemars(range(min = 0, max = 1_000_000))]
    pub validation: usize,
    /// Number of recordings for testing.
    #[schemars(range(min = 0, max = 1_000_000))]
    pub testing: usize,
    /// The fewest and the most instruments that sound in a recording, all different.
    pub instruments: [usize; 2],
    /// The shortest and the longest sequence of an instrument, in seconds.
    pub seconds: [f64; 2],
    /// Every sequence begins while at least this share of the first one (0 to 1) is still to come.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub overlap: f64,
    /// By how many seconds the recordings of a sequence overlap.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub join_seconds: f64,
    /// The lowest and the highest gain of an instrument, in decibels; before, all are equally loud.
    pub gains_db: [f64; 2],
    /// The tag of the sources that the recordings of a mixture share. Sources without the tag are alike.
    pub same: String,
    /// The most groups into which the songs of the sources are dealt. Fewer pools have more different combinations, more pools finer splits.
    #[schemars(range(min = 1, max = 1000))]
    pub pools: usize,
    /// Sample rate of the recordings.
    #[schemars(range(min = 8000, max = 192000))]
    pub sample_rate: u32,
    /// Seed of the choices.
    pub seed: u64,
}

impl Default for Combined {
    fn default() -> Self {
        Combined {
            common: CommonKeys::default(),
            sets: Vec::new(),
            training: 300,
            validation: 0,
            testing: 60,
            instruments: [2, 4],
            seconds: [3.0, 5.0],
            overlap: 0.5,
            join_seconds: 0.05,
            gains_db: [-6.0, 0.0],
            same: "genre".into(),
            pools: 10,
            sample_rate: 44100,
            seed: 1,
        }
    }
}

/// A recording to make.
#[derive(Clone, Debug, PartialEq)]
struct Mixture {
    /// Path below the root.
    id: String,
    subset: Subset,
    pool: usize,
    genre: String,
    seed: Seed,
    /// In the order of their onsets.
    parts: Vec<Part>,
}

/// An instrument in a mixture; times in samples.
#[derive(Clone, Debug, PartialEq)]
struct Part {
    class: usize,
    onset: usize,
    length: usize,
    gain_db: f64,
}

impl Mixture {
    fn length(&self) -> usize {
        self.parts.iter().map(|part| part.onset + part.length).max().unwrap_or(0)
    }

    fn group(&self) -> String {
        format!("pool-{:03}", self.pool + 1)
    }
}

/// Indices of the solo recordings of a pool, by genre and class.
type Pool = BTreeMap<String, BTreeMap<usize, Vec<usize>>>;

/// The solo recordings, and where they may go.
struct Sources {
    set: DataSet,
    pools: Vec<(Subset, Pool)>,
    ignored: usize,
}

impl DataKind for Combined {
    fn version(&self) -> u32 {
        self.sets.iter().fold(VERSION, |sum: u32, set| sum.wrapping_mul(101).wrapping_add(set.as_kind().version()))
    }

    fn common_keys(&self) -> &CommonKeys {
        &self.common
    }

    fn own_faults(&self) -> Vec<Fault> {
        let pair = |[low, high]: [f64; 2]| low.is_finite() && high.is_finite() && low <= high;
        let [fewest, most] = self.instruments;
        let [shortest, longest] = self.seconds;
        let says = |wrong: bool, sentence: &str| wrong.then(|| sentence.to_owned());
        let mut faults = Fault::of_keys([
            (
                "sets",
                says(
                    self.sets.is_empty() && self.common.root.is_none(),
                    "name a set of solo recordings in a table [[data.sets]]",
                ),
            ),
            (
                "training",
                says(self.training + self.testing == 0, "there is nothing to make: `training` and `testing` are 0"),
            ),
            (
                "instruments",
                says(
                    fewest == 0 || fewest > most,
                    "are the fewest (1 or more) and the most instruments, such as [2, 4]",
                ),
            ),
            (
                "seconds",
                says(
                    !pair(self.seconds) || shortest < 0.2 || longest > 600.0,
                    "are the shortest and the longest sequence, from 0.2 to 600",
                ),
            ),
            ("overlap", says(!(0.0..=1.0).contains(&self.overlap), "is a share, from 0 to 1")),
            (
                "join_seconds",
                says(
                    !(0.0..=1.0).contains(&self.join_seconds) || self.join_seconds > shortest / 2.0,
                    "is at most 1 s, and half of the shortest sequence",
                ),
            ),
            ("gains_db", says(!pair(self.gains_db), "are the lowest and the highest gain, such as [-6, 0]")),
            ("pools", says(!(1..=1000).contains(&self.pools), "is from 1 to 1000")),
            ("sample_rate", says(!(8000..=192_000).contains(&self.sample_rate), "is from 8000 to 192000")),
        ]);
        for set in &self.sets {
            let name = set.as_kind().common_keys().name_or(set.kind());
            if matches!(set, DataSpec::Combined(_)) {
                faults.push(Fault::new("sets", format!("`{name}` is combined itself")));
            }
            for found in set.as_kind().faults() {
                faults.push(Fault::new("sets", format!("`{}` of `{name}`: {}", found.key, found.sentence)));
            }
        }
        faults
    }

    fn generator(&self) -> Option<&dyn Generator> {
        Some(self)
    }

    fn load(&self, dirs: &DataDirs) -> Result<DataSet> {
        let name = self.common.name_or("combined");
        if self.common.root.is_some() {
            return self.load_from_tables(&self.common.root_in(dirs, "combined"), &name, dirs);
        }
        let root = generated::ensure_in_cache(self, dirs, &|| Ok(()))?;
        self.set_in(&root, &name, dirs)
    }

    fn load_planned(&self, dirs: &DataDirs) -> Result<DataSet> {
        if self.common.root.is_some() {
            return self.load(dirs);
        }
        self.set_in(&generated::cache_folder(self, dirs)?, &self.common.name_or("combined"), dirs)
    }
}

impl Generator for Combined {
    fn kind(&self) -> &'static str {
        "combined"
    }

    fn has_root(&self) -> bool {
        self.common.root.is_some()
    }

    /// Covers the records of the sources, and size and time of their files.
    fn fingerprint(&self, dirs: &DataDirs) -> Result<String> {
        let spec = Combined { common: CommonKeys::default(), sets: Vec::new(), ..self.clone() };
        let mut hasher = blake3::Hasher::new();
        hasher.update(format!("{VERSION} {}", serde_json::to_string(&spec)?).as_bytes());
        for set in &self.sets {
            let generator = set.as_kind().generator();
            if let Some(generator) = generator {
                hasher.update(generator.fingerprint(dirs)?.as_bytes());
            }
            let loaded = set.load_planned(dirs)?;
            for record in &loaded.records {
                let classes: Vec<&str> = record.labels.iter().map(|&class| loaded.classes.name(class)).collect();
                let ClipRecord { id, excerpt, group, subset, tags, .. } = record;
                hasher.update(
                    format!("{id:?} {excerpt:?} {classes:?} {group:?} {subset:?} {:?}", tags.get(&self.same))
                        .as_bytes(),
                );
                if generator.is_none_or(Generator::has_root) {
                    // A missing file is found when it is decoded.
                    let stamp = FileStamp::of(&record.path).map(|stamp| (stamp.size(), stamp.modified())).ok();
                    hasher.update(format!("{stamp:?}").as_bytes());
                }
            }
        }
        Ok(hasher.finalize().to_hex().to_string())
    }

    fn planned_seconds(&self, dirs: &DataDirs) -> Result<HashMap<String, f64>> {
        let mixtures = self.plan(&self.sources(dirs)?)?;
        let seconds = |mixture: &Mixture| mixture.length() as f64 / f64::from(self.sample_rate);
        Ok(mixtures.iter().map(|mixture| (mixture.id.clone(), seconds(mixture))).collect())
    }

    fn fill(&self, dirs: &DataDirs, folder: &Path, after_recording: AfterRecording) -> Result<Summary> {
        // The sources may be generated themselves: now they have to exist.
        self.sets.iter().try_for_each(|set| set.load(dirs).map(drop))?;
        let sources = self.sources(dirs)?;
        let mixtures = self.plan(&sources)?;
        let name = |class: usize| sources.set.classes.name(class);
        let mut summary = Summary::default();
        for mixture in &mixtures {
            match mixture.subset {
                Subset::Training => summary.training_clips += 1,
                Subset::Validation => summary.validation_recordings += 1,
                Subset::Testing => summary.testing_recordings += 1,
            }
            summary.bytes += 44 + 2 * mixture.length() as u64;
            fs::create_dir_all(folder.join(mixture.subset.name()))
                .with_context(|| format!("create a folder in {folder:?}"))?;
        }
        let made = mixtures.par_iter().map(|mixture| -> Result<String> {
            let (samples, used) = self.render(mixture, &sources)?;
            let path = folder.join(&mixture.id);
            write_pcm16(&path, &samples, 1, self.sample_rate)?;
            // The labels of Audacity beside each recording, and the rows of the table of all.
            let (mut rows, mut labels) = (String::new(), String::new());
            for (part, used) in mixture.parts.iter().zip(used) {
                let seconds = |samples: usize| samples as f64 / f64::from(self.sample_rate);
                let (start, end) = (seconds(part.onset), seconds(part.onset + part.length));
                let used: Vec<&str> = used.into_iter().map(|index| sources.set.records[index].id.as_str()).collect();
                let (path, label) = (csv_text(&mixture.id), csv_text(name(part.class)));
                let (gain, used) = (part.gain_db, used.join("|"));
                writeln!(rows, "{path},{label},{start:.6},{end:.6},{gain:.2},{}", csv_text(&used))?;
                writeln!(labels, "{start:.6}\t{end:.6}\t{}", name(part.class))?;
            }
            let beside = path.with_extension("txt");
            fs::write(&beside, labels).with_context(|| format!("write {beside:?}"))?;
            after_recording()?;
            Ok(rows)
        });
        let rows: Vec<String> = made.collect::<Result<_>>()?;
        let times = format!("path,label,start,end,gain_db,sources\n{}", rows.concat());
        fs::write(folder.join(TIMES), times).with_context(|| format!("write {TIMES}"))?;
        let mut table = "path,labels,song,split,genre\n".to_owned();
        for mixture in &mixtures {
            let classes: Vec<&str> = mixture.parts.iter().map(|part| name(part.class)).collect();
            let cells = [&mixture.id, &classes.join("|"), &mixture.group(), mixture.subset.name(), &mixture.genre];
            let cells: Vec<_> = cells.iter().map(|cell| csv_text(cell)).collect();
            writeln!(table, "{}", cells.join(","))?;
        }
        fs::write(folder.join(TABLE), table).with_context(|| format!("write {TABLE}"))?;
        Ok(summary)
    }
}

impl Combined {
    /// The set that is or will be in `root`.
    fn set_in(&self, root: &Path, name: &str, dirs: &DataDirs) -> Result<DataSet> {
        let sources = self.sources(dirs)?;
        let records = self.plan(&sources)?.into_iter().map(|mixture| {
            let mut labels: Vec<usize> = mixture.parts.iter().map(|part| part.class).collect();
            labels.sort_unstable();
            let tags = BTreeMap::from([("genre".to_owned(), mixture.genre.clone())]);
            ClipRecord {
                group: mixture.group(),
                subset: mixture.subset,
                tags: if mixture.genre.is_empty() { BTreeMap::new() } else { tags },
                ..ClipRecord::new(mixture.id.clone(), root.join(&mixture.id), labels)
            }
        });
        let records = sorted_by_id(records.collect(), name)?;
        let notes = (sources.ignored > 0)
            .then(|| format!("{} with several classes or none: not used", count(sources.ignored, "source recording")));
        Ok(DataSet { name: name.to_owned(), classes: sources.set.classes, records, notes: notes.into_iter().collect() })
    }

    /// The set in a folder that was written before, whose sources need not be on disk.
    fn load_from_tables(&self, root: &Path, name: &str, dirs: &DataDirs) -> Result<DataSet> {
        let path = std::path::absolute(root.join(TABLE))?;
        if !path.is_file() {
            return Err(MissingData::new(name, vec![path], root.to_owned(), &self.common).into());
        }
        let columns = json!({
            "path": "path", "group": "song", "split": "split", "tags": ["genre"],
            "labels": { "column": "labels", "separator": "|" },
        });
        let table: Manifest = serde_json::from_value(json!({ "path": path, "columns": columns }))?;
        Ok(DataSet { name: name.to_owned(), ..table.load(dirs)? })
    }

    /// The solo recordings, dealt into pools.
    fn sources(&self, dirs: &DataDirs) -> Result<Sources> {
        let set = match &self.sets[..] {
            [one] => one.load_planned(dirs)?,
            sets => Several { sets: sets.to_vec(), ..Several::default() }.load_planned(dirs)?,
        };
        let is_solo = |record: &ClipRecord| record.labels.len() == 1 && record.labels.unknown().is_empty();
        // The songs of a class are dealt in a random order that each song has from its name, so that another song moves few of them.
        let seed = Seed::new(self.seed).child("combined").child("pools");
        let mut songs: BTreeMap<(Subset, &str), Vec<usize>> = BTreeMap::new();
        let mut ignored = 0;
        for (index, record) in set.records.iter().enumerate() {
            match is_solo(record) {
                true => songs.entry((record.subset, &record.group)).or_default().push(index),
                false => ignored += 1,
            }
        }
        // A song that its makers declare for two subsets is for the last of them alone.
        let mut last: BTreeMap<&str, Subset> = BTreeMap::new();
        last.extend(songs.keys().map(|(subset, group)| (*group, *subset)));
        songs.retain(|(subset, group), _| last[group] == *subset);
        let mut dealt: Vec<((Subset, usize, u64), Vec<usize>)> = songs
            .into_iter()
            .map(|((subset, group), own)| ((subset, set.records[own[0]].labels[0], seed.child(group).number()), own))
            .collect();
        dealt.sort();
        let declared = dealt.iter().any(|((subset, ..), _)| *subset == Subset::Testing);
        let mut pools: Vec<(Subset, Pool)> = Vec::new();
        for subset in Subset::ALL {
            let own = dealt.iter().filter(|((other, ..), _)| *other == subset).map(|(_, own)| own.as_slice());
            let own: Vec<&[usize]> = own.collect();
            // Fewer pools where songs are few.
            let number = (1..=self.pools.min(own.len())).rev();
            let mut tried = number.map(|number| self.deal(&set, &own, number));
            let usable = |dealt: &Vec<Pool>| dealt.iter().all(|pool| self.is_usable(pool));
            let Some(found) = tried.clone().find(usable).or_else(|| tried.next_back()) else { continue };
            let number = found.len();
            pools.extend(found.into_iter().enumerate().map(|(place, pool)| {
                let is_test =
                    !declared && self.testing > 0 && (place + 1).is_multiple_of(TEST_POOLS.min(number.max(2)));
                (if is_test { Subset::Testing } else { subset }, pool)
            }));
        }
        Ok(Sources { set, pools, ignored })
    }

    /// Deals songs, which are sorted by class, into pools.
    fn deal(&self, set: &DataSet, songs: &[&[usize]], number: usize) -> Vec<Pool> {
        let mut pools = vec![Pool::new(); number];
        for (place, song) in songs.iter().enumerate() {
            for &index in *song {
                let record = &set.records[index];
                let genre = record.tags.get(&self.same).cloned().unwrap_or_default();
                pools[place % number].entry(genre).or_default().entry(record.labels[0]).or_default().push(index);
            }
        }
        pools
    }

    /// Whether a genre of the pool has enough instruments for a mixture.
    fn is_usable(&self, pool: &Pool) -> bool {
        pool.values().any(|classes| classes.len() >= self.instruments[0])
    }

    fn plan(&self, sources: &Sources) -> Result<Vec<Mixture>> {
        let seed = Seed::new(self.seed).child("combined");
        let [fewest, most] = self.instruments;
        let mut mixtures = Vec::new();
        for (subset, wanted) in Subset::ALL.into_iter().zip([self.training, self.validation, self.testing]) {
            let is_own = |index: &usize| {
                let (own, pool) = &sources.pools[*index];
                *own == subset && self.is_usable(pool)
            };
            let pools: Vec<usize> = (0..sources.pools.len()).filter(is_own).collect();
            ensure!(
                wanted == 0 || !pools.is_empty(),
                "combine recordings for {}: none of the {} pools of source songs has {} of one `{}`; set fewer `pools` or `instruments`, or another tag \
                 for `same`",
                subset.name(),
                sources.pools.iter().filter(|(own, _)| *own == subset).count(),
                count(fewest, "instrument"),
                self.same
            );
            for number in 0..wanted {
                let seed = seed.child(subset.name()).child(number);
                let mut rng = DemoRng::new(seed.child("plan"));
                let pool = pools[number % pools.len()];
                let genres: Vec<(&String, &BTreeMap<usize, Vec<usize>>)> =
                    sources.pools[pool].1.iter().filter(|(_, classes)| classes.len() >= fewest).collect();
                let weights: Vec<f64> = genres.iter().map(|(_, classes)| classes.len() as f64).collect();
                let (genre, classes) = genres[rng.weighted(&weights)];
                let voices = fewest + rng.below(most.min(classes.len()) - fewest + 1);
                let mut chosen: Vec<usize> = classes.keys().copied().collect();
                shuffle(&mut chosen, &mut seed.child("instruments").rng());
                chosen.truncate(voices);
                mixtures.push(Mixture {
                    id: format!("{}/{:06}.wav", subset.name(), number + 1),
                    subset,
                    pool,
                    genre: genre.clone(),
                    parts: self.parts(&chosen, &mut rng),
                    seed,
                });
            }
        }
        Ok(mixtures)
    }

    fn parts(&self, classes: &[usize], rng: &mut DemoRng) -> Vec<Part> {
        let samples = |seconds: f64| (seconds * f64::from(self.sample_rate)).round() as usize;
        let mut parts: Vec<Part> = Vec::new();
        for &class in classes {
            let length = samples(rng.between(self.seconds[0], self.seconds[1]));
            let latest = parts.first().map_or(0.0, |first| first.length as f64 * (1.0 - self.overlap));
            let (onset, gain_db) = (rng.between(0.0, latest) as usize, rng.between(self.gains_db[0], self.gains_db[1]));
            parts.push(Part { class, onset, length, gain_db });
        }
        parts.sort_by_key(|part| part.onset);
        parts
    }

    /// The mixture, and the source recordings of each of its parts.
    fn render(&self, mixture: &Mixture, sources: &Sources) -> Result<(Vec<i16>, Vec<Vec<usize>>)> {
        let mut mix = vec![0.0f32; mixture.length()];
        let mut all_used = Vec::new();
        for part in &mixture.parts {
            let mut candidates = sources.pools[mixture.pool].1[&mixture.genre][&part.class].clone();
            let seed = mixture.seed.child("sequence").child(sources.set.classes.name(part.class));
            shuffle(&mut candidates, &mut seed.rng());
            let (mut samples, used) = self
                .sequence(&candidates, part.length, sources, &mut DemoRng::new(seed.child("starts")))
                .with_context(|| format!("combine {}", mixture.id))
                .map_err(UserError::from_cause)?;
            level_to(&mut samples, LEVEL_DB + part.gain_db);
            mix[part.onset..part.onset + part.length].iter_mut().zip(&samples).for_each(|(y, x)| *y += x);
            all_used.push(used);
        }
        let peak = mix.iter().fold(0.0f32, |most, x| most.max(x.abs()));
        let scale = 32767.0 * if peak > 0.95 { 0.95 / peak } else { 1.0 };
        Ok((mix.iter().map(|x| (x * scale).round() as i16).collect(), all_used))
    }

    /// Recordings of one class in a row, joined with equal power, and the recordings that were used.
    fn sequence(
        &self,
        candidates: &[usize],
        length: usize,
        sources: &Sources,
        rng: &mut DemoRng,
    ) -> Result<(Vec<f32>, Vec<usize>)> {
        let join = (self.join_seconds * f64::from(self.sample_rate)) as usize;
        let (mut samples, mut used): (Vec<f32>, Vec<usize>) = (Vec::new(), Vec::new());
        let mut failed = 0;
        for &index in candidates.iter().cycle() {
            let missing = (length - samples.len() + join) as f64 / f64::from(self.sample_rate);
            let next = self.solo(&sources.set.records[index], missing, rng);
            match next {
                Ok(next) if next.len() > 2 * join.max(1) => {
                    let overlap = join.min(samples.len());
                    let from = samples.len() - overlap;
                    for (k, (old, new)) in samples[from..].iter_mut().zip(&next).enumerate() {
                        let share = (k as f32 + 0.5) / overlap as f32;
                        *old = *old * (1.0 - share).sqrt() + new * share.sqrt();
                    }
                    samples.extend(&next[overlap..]);
                    used.push(index);
                    failed = 0;
                }
                other => {
                    failed += 1;
                    if failed == candidates.len() {
                        let why = other
                            .err()
                            .map_or_else(|| "they are silent, or too short".to_owned(), |error| error.to_string());
                        bail!("none of {} can be used: {why}", count(failed, "source recording"));
                    }
                }
            }
            if samples.len() >= length {
                break;
            }
        }
        samples.truncate(length);
        let fade = ((FADE * f64::from(self.sample_rate)) as usize).min(length / 2);
        for k in 0..fade {
            let gain = (k as f32 + 0.5) / fade as f32;
            samples[k] *= gain;
            samples[length - 1 - k] *= gain;
        }
        Ok((samples, used))
    }

    /// A solo recording without the silence at its ends; of a longer one a random part of about so many seconds.
    fn solo(&self, record: &ClipRecord, seconds: f64, rng: &mut DemoRng) -> Result<Vec<f32>> {
        let whole = audio::probe_file(&record.path, record.excerpt.as_ref())?.seconds;
        let place = rng.between(0.0, 1.0);
        let excerpt = match &record.excerpt {
            None if whole <= 2.0 * seconds => None,
            own => {
                let first = own.as_ref().map_or(0.0, |own| own.start);
                // A part may begin with a rest.
                let taken = whole.min(2.0 * seconds);
                let start = first + place * (whole - taken);
                Some(Excerpt { start, end: Some(start + taken) })
            }
        };
        let clip = audio::load_file(&record.path, excerpt.as_ref(), &AudioSpec::at(self.sample_rate))?;
        let peak = clip.samples.iter().fold(0.0f32, |most, x| most.max(x.abs()));
        let sounds = |x: &f32| x.abs() > peak * libm::pow(10.0, SILENCE_DB / 20.0) as f32;
        let (Some(first), Some(last)) = (clip.samples.iter().position(sounds), clip.samples.iter().rposition(sounds))
        else {
            bail!("{} is silent", record.id);
        };
        Ok(clip.samples[first..=last].to_vec())
    }
}

#[cfg(test)]
mod tests;
