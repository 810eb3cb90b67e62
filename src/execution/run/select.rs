//! Selects the recordings that a run uses, and computes the features that the cache lacks.

use std::collections::{BTreeMap, HashMap, HashSet};

use anyhow::{Result, bail};
use serde_json::{Value, json};

use super::Settings;
use super::prepare::PreparedDataset;
use timbre_core::{
    error::{ExitStatus, UserError},
    seed::Seed,
    text::count,
};
use timbre_experiment::Experiment;
use timbre_inputs::features::extraction::{
    CachedWindows, Extraction, ExtractionInput, ExtractionResult, RecordingError,
};
use timbre_inputs::{
    augment::copies::FixedCopy,
    data::{self, ClipRecord},
    features::cache::{CachedMatrix, FeatureCache},
};
use timbre_runs::run_dir::CacheRecord;

/// The features that an experiment extracts.
pub fn extraction_of(experiment: &Experiment) -> Result<Extraction<'_>> {
    let copies = FixedCopy::all(&experiment.augment)?;
    Extraction::new(&experiment.audio, &experiment.features, experiment.evaluate.windows(), copies)
}

/// The recordings that a run uses, with their cached features.
pub struct Selection {
    /// Indices into the set, ascending.
    pub clips: Vec<usize>,
    /// `features[i][f]`: feature `f` of `clips[i]`.
    pub features: Vec<Vec<CachedMatrix>>,
    /// `windows[i][f]`: feature `f` of every window of `clips[i]`; empty if the clip is not evaluated in windows.
    pub windows: Vec<Vec<CachedWindows>>,
    /// The features of the fixed copies of `clips[i]`, copy by copy; empty if no seed trains on the clip.
    pub copies: Vec<Vec<CachedMatrix>>,
    pub unusable: Vec<(usize, RecordingError)>,
    pub hits: usize,
    pub misses: usize,
}

impl Selection {
    pub fn cache(&self) -> CacheRecord {
        CacheRecord { hits: self.hits, misses: self.misses }
    }
}

/// The clips that need more than the features of a clip, as indices into the set.
#[derive(Default)]
struct Parts {
    /// Those that some seed validates or tests on in windows.
    windows: HashSet<usize>,
    /// Those that some seed trains on, with their fixed copies.
    copies: HashSet<usize>,
}

impl PreparedDataset {
    /// The recordings that a run selects if those of `why_unusable` are all that are unusable, and those that it finds to be unusable.
    pub(super) fn expected_selection(
        &self,
        experiment: &Experiment,
        why_unusable: impl Fn(usize) -> Option<RecordingError>,
    ) -> (Vec<usize>, Vec<(usize, RecordingError)>) {
        let mut unusable: BTreeMap<usize, RecordingError> = BTreeMap::new();
        loop {
            let clips = self.clips(experiment, |i| !unusable.contains_key(&i));
            let found: Vec<_> = clips.iter().filter_map(|&i| Some((i, why_unusable(i)?))).collect();
            if found.is_empty() {
                return (clips, unusable.into_iter().collect());
            }
            unusable.extend(found);
        }
    }

    /// The recordings that the experiment uses if every recording is usable.
    pub fn expected_clips(&self, experiment: &Experiment) -> Vec<usize> {
        self.clips(experiment, |_| true)
    }

    fn input(&self, clip: usize, of_clip: bool, parts: &Parts) -> ExtractionInput<'_> {
        let (record, content) = (&self.set.records[clip], &self.contents[clip]);
        let (windows, copies) = (parts.windows.contains(&clip), parts.copies.contains(&clip));
        ExtractionInput { record, content, clip: of_clip, windows, copies }
    }

    /// The clips that need more than the features of a clip.
    fn parts(&self, experiment: &Experiment, extraction: &Extraction, clips: &[usize]) -> Result<Parts> {
        let mut parts = Parts::default();
        let (has_windows, has_copies) = (experiment.evaluate.windows().is_some(), !extraction.copies().is_empty());
        if !has_windows && !has_copies {
            return Ok(parts);
        }
        for &seed in &experiment.seeds {
            let splits = self.split(experiment, clips, seed)?;
            if has_windows {
                parts.windows.extend(splits.evaluated().iter().flat_map(|(_, rows)| *rows).map(|&row| clips[row]));
            }
            if has_copies {
                parts.copies.extend(splits.train.iter().map(|&row| clips[row]));
            }
        }
        Ok(parts)
    }

    /// The recordings that pass `usable`, up to `limit_per_class`, as indices into the set.
    fn clips(&self, experiment: &Experiment, usable: impl Fn(usize) -> bool) -> Vec<usize> {
        let common = experiment.data.as_kind().common_keys();
        let Some(limit) = common.limit_per_class else {
            return self.eligible.iter().copied().filter(|&i| usable(i)).collect();
        };
        let by_id: HashMap<&str, usize> = self.eligible.iter().map(|&i| (self.set.records[i].id.as_str(), i)).collect();
        let records: Vec<ClipRecord> = self.eligible.iter().map(|&i| self.set.records[i].clone()).collect();
        let random = common.limit_seed.map(|seed| Seed::new(seed).child("limit"));
        let kept = data::limit_per_class(&records, Some(limit), random, |r| usable(by_id[r.id.as_str()]));
        kept.into_iter().map(|k| self.eligible[k]).collect()
    }

    /// Cache hits and misses of a run that starts now, if every recording is usable.
    pub fn count_cached(
        &self,
        experiment: &Experiment,
        extraction: &Extraction,
        cache: &FeatureCache,
    ) -> Result<(usize, usize)> {
        let inputs = self.expected_inputs(experiment, extraction)?;
        Ok(self.count_cached_of(&inputs, extraction, cache))
    }

    /// Cache hits and misses of these recordings. Of a set that is not generated yet, nothing is in the cache.
    pub fn count_cached_of(
        &self,
        inputs: &[ExtractionInput],
        extraction: &Extraction,
        cache: &FeatureCache,
    ) -> (usize, usize) {
        if self.planned.is_none() {
            return extraction.count_cached(inputs, cache);
        }
        let matrices = |input: &ExtractionInput| {
            1 + usize::from(input.windows) + extraction.copies().len() * usize::from(input.copies)
        };
        (0, extraction.names().count() * inputs.iter().map(matrices).sum::<usize>())
    }

    /// What a run extracts if every recording is usable.
    pub fn expected_inputs(
        &self,
        experiment: &Experiment,
        extraction: &Extraction,
    ) -> Result<Vec<ExtractionInput<'_>>> {
        self.usable_inputs(experiment, extraction, |_| true)
    }

    /// What a run extracts if the recordings with these ids are usable, and no others.
    pub fn usable_inputs(
        &self,
        experiment: &Experiment,
        extraction: &Extraction,
        is_usable: impl Fn(&str) -> bool,
    ) -> Result<Vec<ExtractionInput<'_>>> {
        let clips = self.clips(experiment, |i| is_usable(&self.set.records[i].id));
        let parts = self.parts(experiment, extraction, &clips)?;
        Ok(clips.iter().map(|&i| self.input(i, true, &parts)).collect())
    }

    /// Computes the features that the cache lacks and selects the usable recordings.
    ///
    /// The next recording of the class replaces an unusable one, so that the results are those of a set without it. The
    /// first pass computes the windows of recordings that are evaluated and the copies of those that are trained on if all are usable,
    /// while they are in memory. The few recordings that a replacement moves to another subset are read a second time.
    pub fn select(
        &self,
        experiment: &Experiment,
        extraction: &Extraction,
        cache: &FeatureCache,
        settings: &Settings,
    ) -> Result<Selection> {
        let mut outcomes: HashMap<usize, ExtractionResult> = HashMap::new();
        let (mut hits, mut misses) = (0, 0);
        loop {
            let unusable = |i: usize| matches!(outcomes.get(&i), Some(Err(_)));
            let clips = self.clips(experiment, |i| !unusable(i));
            let parts = self.parts(experiment, extraction, &clips)?;
            let is_missing = |i: &usize| {
                let Some(Ok(computed)) = outcomes.get(i) else { return true };
                let lacks_windows = parts.windows.contains(i) && computed.windows.is_empty();
                lacks_windows || (parts.copies.contains(i) && computed.copies.is_empty())
            };
            let missing: Vec<usize> = clips.iter().copied().filter(is_missing).collect();
            if missing.is_empty() {
                return self.selection(clips, outcomes, hits, misses);
            }
            let inputs: Vec<ExtractionInput> =
                missing.iter().map(|i| self.input(*i, !outcomes.contains_key(i), &parts)).collect();
            let progress = settings.printer.start("features", missing.len());
            let (found, stats) = extraction.run(&inputs, cache, &settings.stop, || progress.step())?;
            progress.finish();
            settings.share(extraction, &inputs)?;
            for (why, count) in &stats.reasons {
                tracing::info!("{count} features computed: {why}");
            }
            hits += stats.hits;
            misses += stats.misses;
            for (clip, found) in missing.into_iter().zip(found) {
                match (outcomes.get_mut(&clip), found) {
                    // An earlier pass computed its clip.
                    (Some(Ok(computed)), Ok(found)) => {
                        (computed.windows, computed.copies) = (found.windows, found.copies);
                    }
                    (_, found) => drop(outcomes.insert(clip, found)),
                }
            }
        }
    }

    fn selection(
        &self,
        clips: Vec<usize>,
        mut outcomes: HashMap<usize, ExtractionResult>,
        hits: usize,
        misses: usize,
    ) -> Result<Selection> {
        let computed =
            clips.iter().map(|i| outcomes.remove(i).and_then(Result::ok).expect("a selected clip is usable"));
        let (mut features, mut windows, mut copies) = (Vec::new(), Vec::new(), Vec::new());
        for computed in computed {
            features.push(computed.clip);
            windows.push(computed.windows);
            copies.push(computed.copies);
        }
        let mut unusable: Vec<(usize, RecordingError)> =
            outcomes.into_iter().filter_map(|(i, outcome)| Some((i, outcome.err()?))).collect();
        unusable.sort_by_key(|(i, _)| *i);
        self.ensure_some(&clips, &unusable)?;
        Ok(Selection { clips, features, windows, copies, unusable, hits, misses })
    }

    /// An experiment without a usable recording cannot run.
    pub(super) fn ensure_some(&self, clips: &[usize], unusable: &[(usize, RecordingError)]) -> Result<()> {
        match unusable.first().filter(|_| clips.is_empty()) {
            Some((_, why)) => bail!(UserError::new(
                ExitStatus::NothingSelected,
                format!(
                    "none of the {} of `{}` can be used; the first: {}",
                    count(unusable.len(), "recording"),
                    self.set.name,
                    why.sentence
                )
            )),
            None => Ok(()),
        }
    }

    /// The lines of `unusable.jsonl`.
    pub fn unusable_lines(&self, unusable: &[(usize, RecordingError)]) -> Vec<Value> {
        unusable.iter().map(|(i, why)| unusable_line(&self.set.records[*i].id, why)).collect()
    }
}

/// A line of `unusable.jsonl`.
pub fn unusable_line(id: &str, why: &RecordingError) -> Value {
    json!({ "path": id, "reason": why.code, "message": why.sentence })
}
