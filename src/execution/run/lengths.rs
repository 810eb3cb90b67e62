//! The lengths of recordings by their headers: which are too short or too long, and which clips are mostly padding.

use std::collections::BTreeSet;

use anyhow::{Result, bail};
use indexmap::IndexMap;
use rayon::prelude::*;

use super::headers::{Headers, Length};
use super::prepare::PreparedDataset;
use timbre_core::error::{ExitStatus, UserError};
use timbre_experiment::Experiment;
use timbre_inputs::{
    data::{ClipRecord, split::Splits},
    features::{
        FeatureSpec,
        extraction::{NO_FEATURE, RecordingError},
    },
};
use timbre_signal::{
    audio::{self, Unusable},
    windows::Short,
};

/// Why a feature has several shapes.
pub(super) struct UnequalLengths {
    pub(super) sentence: String,
    /// Whether there are too many such recordings for all to be unusable, and left out.
    pub(super) is_certain: bool,
}

/// Samples by which the length from a header and the decoded one may differ, because of the rounding of the resampler.
const SLACK: usize = 2;

/// A recording shorter than this share of a clip is worth a warning: most of its clip is silence.
const SHORT: f64 = 0.5;

impl PreparedDataset {
    /// Warnings about clips that are mostly padding.
    pub(super) fn short_clips(&self, experiment: &Experiment, clips: &[usize]) -> Vec<String> {
        let audio = &experiment.audio;
        let mut warnings = Vec::new();
        let mut shorter_than = |seconds: f64, what: String| {
            let short: Vec<(f64, usize)> = clips
                .iter()
                .filter_map(|&i| Some((self.length(i)?.seconds, i)))
                .filter(|(own, _)| *own < seconds)
                .collect();
            if let Some((least, clip)) = short.iter().copied().min_by(|a, b| a.0.total_cmp(&b.0)) {
                warnings.push(format!(
                    "{} shorter than {what}; the shortest, {}, has {least:.2} s",
                    if short.len() == 1 {
                        "1 recording is".to_owned()
                    } else {
                        format!("{} recordings are", short.len())
                    },
                    self.set.records[clip].id
                ));
            }
        };
        match audio.clip_seconds {
            Some(clip) if audio.short == Short::Pad => shorter_than(
                SHORT * clip,
                format!("half a clip (audio.clip_seconds = {clip}), and the rest of its clip is silence"),
            ),
            Some(_) => {}
            None => {
                for (name, frame) in frames(experiment) {
                    let seconds = frame as f64 / f64::from(audio.sample_rate);
                    shorter_than(seconds, format!("a frame of `{name}` (n_fft = {frame}, {seconds:.3} s)"));
                }
            }
        }
        let fixed = [
            audio.clip_samples().map(|samples| ("a clip", samples)),
            experiment.evaluate.windows().map(|window| ("a window", window.length(audio.sample_rate))),
        ];
        for (what, samples) in fixed.into_iter().flatten() {
            for (name, frame) in frames(experiment).into_iter().filter(|(_, frame)| *frame > samples) {
                warnings.push(format!(
                    "{what} of {samples} samples is shorter than a frame of `{name}` (n_fft = {frame}): most of each frame is padding"
                ));
            }
        }
        warnings
    }

    /// The number of samples of most clips, if it is known.
    pub(super) fn usual_samples(&self, experiment: &Experiment, clips: &[usize]) -> Option<usize> {
        let rate = f64::from(experiment.audio.sample_rate);
        experiment.audio.clip_samples().or_else(|| {
            let mut known: Vec<f64> = clips.iter().filter_map(|&clip| Some(self.length(clip)?.seconds)).collect();
            known.sort_by(f64::total_cmp);
            known.get(known.len() / 2).map(|seconds| (seconds * rate).round() as usize)
        })
    }

    /// The recordings for which a feature has another shape than for most, which no model can read.
    pub(super) fn unequal_lengths(
        &self,
        experiment: &Experiment,
        (name, feature): (&str, &FeatureSpec),
        clips: &[usize],
        splits: &IndexMap<u64, Splits>,
    ) -> Option<UnequalLengths> {
        if experiment.audio.clip_seconds.is_some() {
            return None;
        }
        // The other subsets are cut into windows.
        let whole = |split: &Splits| {
            let mut rows = [split.train.clone(), split.validation.clone()].concat();
            if experiment.evaluate.windows().is_none() {
                rows.extend(split.test.iter().chain(&split.held_out));
            }
            rows
        };
        let rows: BTreeSet<usize> = splits.values().flat_map(whole).collect();
        let exact =
            |&row: &usize| self.length(clips[row]).filter(|own| own.is_exact).map(|own| (own.seconds, clips[row]));
        let mut known: Vec<(f64, usize)> = rows.iter().filter_map(exact).collect();
        known.sort_by(|a, b| a.0.total_cmp(&b.0));
        let (usual, usual_clip) = *known.get(known.len() / 2)?;
        let samples = |seconds: f64| (seconds * f64::from(experiment.audio.sample_rate)).round() as usize;
        let shape = |samples: usize| feature.as_kind().shape(samples);
        let differs = |seconds: f64| {
            let (less, more) = (samples(seconds).min(samples(usual)), samples(seconds).max(samples(usual)));
            less + SLACK < more.saturating_sub(SLACK) && shape(less + SLACK) != shape(more - SLACK)
        };
        let others: Vec<(f64, usize)> = known.iter().copied().filter(|(seconds, _)| differs(*seconds)).collect();
        let &(other, other_clip) = others.first()?;
        let values = |seconds: f64| shape(samples(seconds)).map_or(0, |[rows, columns]| rows * columns);
        let (usual_path, other_path) = (&self.set.records[usual_clip].id, &self.set.records[other_clip].id);
        Some(UnequalLengths {
            sentence: format!(
                "the clips differ in length, so `{name}` has {} values for one ({usual_path}, {usual:.2} s) and {} for another \
                 ({other_path}, {other:.2} s): set `audio.clip_seconds`, or give the feature a `summary`",
                values(usual),
                values(other)
            ),
            is_certain: others.len() as f64 > experiment.max_unusable * known.len() as f64,
        })
    }

    /// The length of a recording with a readable header.
    fn length(&self, clip: usize) -> Option<&Length> {
        self.headers()[&clip].as_ref().ok()
    }

    /// Why a run will find a recording to be unusable, as far as its size and its header tell.
    pub(super) fn why_unusable(&self, experiment: &Experiment, clip: usize) -> Option<RecordingError> {
        if self.planned.is_some() {
            return None;
        }
        if let Err(why) = &self.contents[clip] {
            return Some(RecordingError { code: why.code.to_owned(), sentence: why.sentence.clone() });
        }
        let length = match &self.headers()[&clip] {
            Ok(length) => length,
            Err(why) => return Some(why.clone()),
        };
        let frames = (length.seconds * f64::from(length.sample_rate)).round() as usize;
        let limit = experiment.audio.limits().check_length(frames, length.sample_rate).err();
        limit.filter(|_| length.is_exact).map(error_of)
    }

    /// Why a run will find a recording to be shorter than a frame of a feature. With `clip_seconds` all have the length of a clip.
    pub(super) fn why_no_feature(&self, experiment: &Experiment, clip: usize) -> Option<RecordingError> {
        let audio = &experiment.audio;
        let length = self.length(clip).filter(|length| length.is_exact && audio.clip_seconds.is_none())?;
        let samples = (length.seconds * f64::from(audio.sample_rate)).round() as usize;
        let (name, frame) = without_frame(experiment, samples + SLACK)?;
        Some(RecordingError {
            code: NO_FEATURE.to_owned(),
            sentence: format!(
                "`{name}` cannot be computed: the recording has {samples} samples but a frame needs {frame}; set center = true, or a \
                 smaller n_fft"
            ),
        })
    }

    fn headers(&self) -> &Headers {
        self.headers.get_or_init(|| match &self.planned {
            Some(seconds) => {
                let length = |i: &usize| {
                    let seconds = seconds.get(&self.set.records[*i].id).copied().unwrap_or_default();
                    (*i, Ok(Length { seconds, sample_rate: 1, is_exact: true }))
                };
                self.eligible.iter().map(length).collect()
            }
            None => self.eligible.par_iter().map(|&i| (i, length_of(&self.set.records[i]).map_err(error_of))).collect(),
        })
    }
}

fn error_of(why: Unusable) -> RecordingError {
    RecordingError { code: why.code().to_owned(), sentence: why.to_string() }
}

fn length_of(record: &ClipRecord) -> Result<Length, Unusable> {
    let header = audio::probe_file(&record.path, record.excerpt.as_ref())?;
    let is_exact = !["mp1", "mp2", "mp3", "aac"].iter().any(|codec| header.codec.starts_with(codec));
    match &record.excerpt {
        _ if header.seconds > 0.0 || !is_exact => {
            Ok(Length { seconds: header.seconds, sample_rate: header.sample_rate, is_exact })
        }
        None => Err(Unusable::NoSamples),
        Some(excerpt) => {
            let seconds = audio::probe_file(&record.path, None)?.seconds;
            Err(Unusable::OutsideRecording { start: excerpt.start, seconds })
        }
    }
}

/// The features that cut a clip into frames, with the samples of a frame.
fn frames(experiment: &Experiment) -> Vec<(&str, usize)> {
    experiment
        .features
        .iter()
        .filter_map(|(name, spec)| Some((name.as_str(), spec.as_kind().frame_length()?)))
        .collect()
}

/// A feature that has no frame in that many samples, and the samples of its frame.
fn without_frame(experiment: &Experiment, samples: usize) -> Option<(&str, usize)> {
    frames(experiment).into_iter().find(|(name, _)| experiment.features[*name].as_kind().shape(samples).is_none())
}

/// A feature without a frame in a clip makes every recording unusable, and one without a frame in a window those that are evaluated.
pub(super) fn check_frames(experiment: &Experiment) -> Result<()> {
    let without = |samples: usize| Some((samples, without_frame(experiment, samples)?));
    if let Some((samples, (name, frame))) = experiment.audio.clip_samples().and_then(without) {
        bail!(UserError::new(
            ExitStatus::NothingSelected,
            format!(
                "a clip of {samples} samples has no frame of `{name}` (n_fft = {frame}), so no recording can be used: set center = \
                 true, a smaller n_fft, or a longer audio.clip_seconds"
            )
        ));
    }
    let window = experiment.evaluate.windows().map(|window| window.length(experiment.audio.sample_rate));
    if let Some((samples, (name, frame))) = window.and_then(without) {
        bail!(UserError::usage(format!(
            "a window of {samples} samples has no frame of `{name}` (n_fft = {frame}), so no recording can be evaluated: set center = \
             true, a smaller n_fft, or a longer evaluate.window.seconds"
        )));
    }
    Ok(())
}
