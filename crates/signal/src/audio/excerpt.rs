//! Decodes a part of a long recording without decoding what lies before it, where the format allows.
//!
//! Conventions
//! - Seconds become samples at the rate of the recording, rounded to the nearest; the samples are those that decoding the whole
//!   gives, bit for bit, with the exceptions below.
//! - What lies before the excerpt is not decoded, except for what a codec remembers: a few packets, 64 frames of MP3, two seconds of
//!   Opus. The packets of MP3, AAC and ALAC are read from the beginning, counted, and skipped. Matroska counts milliseconds, and
//!   ADPCM has no place to begin: these are decoded from the beginning.
//! - The samples of music in Opus differ from those of the whole by less than 1e-6, because its decoder predicts from all of the past;
//!   speech is decoded from the beginning. Noise that AAC describes by its level alone (perceptual noise substitution) has other
//!   samples of the same level.
//! - An excerpt that reaches beyond the end is what there is of it. Damage outside the excerpt may go unnoticed.

use std::path::Path;

use serde::Serialize;

use super::Recording;
use super::block_decoder::{BlockDecoder, reserve};
use super::limits::DecodeLimits;
use super::probe::{Header, probe_source};
use super::source::ByteSource;
use super::unusable::Unusable;

/// A part of a recording, in seconds from its beginning.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Excerpt {
    pub start: f64,
    /// Where the excerpt ends; `None` for the end of the recording.
    pub end: Option<f64>,
}

impl std::fmt::Display for Excerpt {
    /// As the fragment of a media address: `t=12,22.5`.
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(f, "t={}", self.start)?;
        self.end.map_or(Ok(()), |end| write!(f, ",{end}"))
    }
}

impl Excerpt {
    /// The path and the excerpt of a name such as `a.wav#t=12,22.5`.
    pub fn split_name(name: &str) -> (&str, Option<Excerpt>) {
        let parsed = || -> Option<(&str, Excerpt)> {
            let (path, times) = name.rsplit_once("#t=")?;
            let (start, end) = times.split_once(',').map_or((times, None), |(start, end)| (start, Some(end)));
            Some((path, Excerpt { start: start.parse().ok()?, end: end.map(str::parse).transpose().ok()? }))
        };
        parsed().map_or((name, None), |(path, excerpt)| (path, Some(excerpt)))
    }

    /// The length in a recording of so many seconds.
    fn seconds(&self, whole: f64) -> f64 {
        (self.end.map_or(whole, |end| end.min(whole)) - self.start).max(0.0)
    }

    /// The header of the recording with the length of the excerpt.
    pub(super) fn header(&self, whole: Header) -> Header {
        Header { seconds: self.seconds(whole.seconds), ..whole }
    }
}

/// Decodes an excerpt of a regular file. The limits apply to the excerpt, not to the file.
pub(super) fn decode_excerpt(path: &Path, excerpt: &Excerpt, limits: DecodeLimits) -> Result<Recording, Unusable> {
    let source = ByteSource::open_regular(path)?;
    let outside = |seconds: f64| Unusable::OutsideRecording { start: excerpt.start, seconds };
    let mut decoder = BlockDecoder::open(source.clone(), super::extension(path))?;
    limits.check_channels(decoder.channels())?;
    let rate = decoder.sample_rate();
    let sample = |seconds: f64| (seconds * f64::from(rate)).round() as usize;
    let (first, end) = (sample(excerpt.start), excerpt.end.map_or(usize::MAX, sample));
    let exact = decoder.exact_length();
    if exact > 0 && first >= exact {
        return Err(outside(probe_source(&source, super::extension(path))?.seconds));
    }
    let mut at = match decoder.seek(first)? {
        Some(place) => place,
        // Beyond the end, or the index is damaged: decoding from the beginning finds the reason.
        None => {
            decoder = BlockDecoder::open(source.clone(), super::extension(path))?;
            0
        }
    };
    let (mut samples, mut block) = (Vec::new(), Vec::new());
    while at < end && decoder.next_block(&mut block)? {
        let inside = |place: usize| place.saturating_sub(at).min(block.len());
        reserve(&mut samples, block.len(), &decoder)?;
        samples.extend_from_slice(&block[inside(first)..inside(end)]);
        limits.check_length(samples.len(), rate)?;
        at += block.len();
        block.clear();
    }
    if samples.is_empty() {
        return Err(outside(at as f64 / f64::from(rate)));
    }
    if samples.iter().all(|&sample| sample == 0.0) {
        return Err(Unusable::Silent { frames: samples.len() });
    }
    Ok(Recording { samples, sample_rate: rate, channels: decoder.channels() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_an_excerpt_holds_its_times() {
        let excerpt = Excerpt { start: 12.0, end: Some(22.5) };
        let name = format!("a/b #1.wav#{excerpt}");
        assert_eq!(name, "a/b #1.wav#t=12,22.5");
        assert_eq!(Excerpt::split_name(&name), ("a/b #1.wav", Some(excerpt)));
        assert_eq!(Excerpt::split_name("x.wav#t=0.25"), ("x.wav", Some(Excerpt { start: 0.25, end: None })));
        for whole in ["x.wav", "take#t=ab.wav", "a#t=1,b"] {
            assert_eq!(Excerpt::split_name(whole), (whole, None));
        }
    }
}
