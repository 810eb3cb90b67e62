//! Tempo and key of training recordings, estimated once a recording: the units of a run share what was found.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result};
use rayon::prelude::*;

use super::held::{Found, Recordings};
use crate::augment::Music;
use crate::features::cache::Hash;
use timbre_signal::audio::Recording;
use timbre_signal::dsp::{key, tempo};

/// Seconds in the middle of a recording that are listened to.
const LISTENED: f64 = 20.0;

/// By the bytes of a recording and the rate at which it was heard.
static FOUND: Mutex<Option<HashMap<(Hash, u32), Music>>> = Mutex::new(None);

/// In the order of the rows.
pub fn of_all(recordings: &Recordings) -> Result<Vec<Music>> {
    let sample_rate = recordings.audio().sample_rate;
    let place = |row: usize| (recordings.source(row).content, sample_rate);
    let known = FOUND.lock().unwrap_or_else(PoisonError::into_inner).clone().unwrap_or_default();
    let music: Vec<Music> = (0..recordings.len())
        .into_par_iter()
        .map(|row| match known.get(&place(row)) {
            Some(music) => Ok(*music),
            None => of_row(recordings, row).context("estimate tempo and key of the training recordings"),
        })
        .collect::<Result<_>>()?;
    let mut found = FOUND.lock().unwrap_or_else(PoisonError::into_inner);
    found.get_or_insert_default().extend(music.iter().enumerate().map(|(row, music)| (place(row), *music)));
    Ok(music)
}

fn of_row(recordings: &Recordings, row: usize) -> Result<Music> {
    let sample_rate = recordings.audio().sample_rate;
    let listen = |recording: &Recording| {
        let whole = recordings.whole(recording);
        let length = whole.min((LISTENED * f64::from(sample_rate)) as usize);
        let samples = recordings.piece(recording, (whole - length) / 2, length);
        Music { tempo: tempo::estimate(&samples, sample_rate), key: key::estimate(&samples, sample_rate) }
    };
    Ok(match recordings.find(row)? {
        Found::Held(recording) => listen(recording),
        Found::Passing(recording) => listen(&recording),
        Found::Short => listen(&recordings.decode(row)?),
    })
}
