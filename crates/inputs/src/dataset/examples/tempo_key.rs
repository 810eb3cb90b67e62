//! Estimates tempo and key of training recordings, once for each recording in a run.

use std::sync::PoisonError;

use anyhow::{Context, Result};
use rayon::prelude::*;
use timbre_signal::dsp::{key, tempo};

use super::ExampleCaches;
use crate::augment::TempoAndKey;
use crate::dataset::recordings::Recordings;

/// The estimate uses this many seconds in the middle of a recording.
const ESTIMATED_SECONDS: f64 = 20.0;

/// The estimates of all recordings, in the order of the rows.
pub fn estimate_all(recordings: &Recordings, caches: &ExampleCaches) -> Result<Vec<TempoAndKey>> {
    // A poisoned map still holds valid estimates.
    let locked = || caches.tempo_and_key.lock().unwrap_or_else(PoisonError::into_inner);
    let cache_key = |row: usize| (recordings.source(row).content, recordings.audio().sample_rate);
    let known = locked().clone();
    let estimates: Vec<TempoAndKey> = (0..recordings.len())
        .into_par_iter()
        .map(|row| match known.get(&cache_key(row)) {
            Some(estimate) => Ok(*estimate),
            None => estimate(recordings, row).context("estimate tempo and key of the training recordings"),
        })
        .collect::<Result<_>>()?;
    locked().extend(estimates.iter().enumerate().map(|(row, estimate)| (cache_key(row), *estimate)));
    Ok(estimates)
}

fn estimate(recordings: &Recordings, row: usize) -> Result<TempoAndKey> {
    let sample_rate = recordings.audio().sample_rate;
    let recording = recordings.load(row)?;
    let whole = recordings.resampled_len(&recording);
    let length = whole.min((ESTIMATED_SECONDS * f64::from(sample_rate)) as usize);
    let samples = recordings.piece(&recording, (whole - length) / 2, length);
    Ok(TempoAndKey { tempo: tempo::estimate(&samples, sample_rate), key: key::estimate(&samples, sample_rate) })
}
