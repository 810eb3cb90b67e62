//! A spectrogram as a picture, of a recording of any length: mel bands upwards, time to the right, decibels as brightness.
//!
//! Neighbouring columns are joined (their power is averaged) whenever there are more than `MOST`: memory does not grow with
//! the recording, and a picture of hours is as wide as one of a minute.

use crate::dsp::mel::{MelBank, MelNorm, MelSpec};
use crate::dsp::stft::{PadMode, StftPlan, StftSpec};
use crate::dsp::window::Window;

use super::png;

/// Columns of a picture, at most; after joining, half of it at least.
const MOST: usize = 1024;
const BANDS: usize = 96;
const N_FFT: usize = 2048;
/// What lies further below the loudest value is black.
const RANGE_DB: f32 = 80.0;

pub struct Picture {
    plan: StftPlan,
    bank: MelBank,
    spec: MelSpec,
    hop: usize,
    pending: Vec<f32>,
    /// Frames that make a column.
    per_column: usize,
    /// Power, a column after the other.
    columns: Vec<f32>,
    /// The column in hand: a sum, and of how many frames.
    sum: Vec<f32>,
    summed: usize,
}

impl Picture {
    pub fn new(sample_rate: u32) -> Picture {
        let hop = N_FFT / 4;
        let stft = StftSpec {
            n_fft: N_FFT,
            hop_length: hop,
            win_length: N_FFT,
            window: Window::Hann,
            center: false,
            pad_mode: PadMode::Constant,
        };
        let nyquist = f64::from(sample_rate) / 2.0;
        // The lowest bands are no narrower than a bin.
        let spec = |n_mels| MelSpec {
            sample_rate,
            n_fft: N_FFT,
            n_mels,
            fmin: 0.0,
            fmax: nyquist,
            htk: false,
            norm: MelNorm::None,
        };
        let bands = (1..=BANDS).rev().find(|&bands| spec(bands).empty_bands().is_empty()).unwrap_or(1);
        Picture {
            plan: StftPlan::new(stft),
            bank: MelBank::new(&spec(bands)),
            spec: spec(bands),
            hop,
            pending: Vec::new(),
            per_column: 1,
            columns: Vec::new(),
            sum: vec![0.0; bands],
            summed: 0,
        }
    }

    pub fn add(&mut self, samples: &[f32]) {
        self.pending.extend_from_slice(samples);
        let spectrogram = self.plan.power(&self.pending);
        if spectrogram.frames == 0 {
            return;
        }
        let bands = self.bank.apply(&spectrogram);
        for frame in 0..spectrogram.frames {
            for (sum, band) in self.sum.iter_mut().zip(bands.chunks_exact(spectrogram.frames)) {
                *sum += band[frame];
            }
            self.summed += 1;
            if self.summed == self.per_column {
                self.finish_column();
            }
        }
        self.pending.drain(..spectrogram.frames * self.hop);
    }

    fn finish_column(&mut self) {
        let n = self.summed as f32;
        self.columns.extend(self.sum.iter().map(|sum| sum / n));
        self.sum.fill(0.0);
        self.summed = 0;
        let bands = self.spec.n_mels;
        if self.columns.len() / bands == MOST {
            let joined = self.columns.chunks_exact(2 * bands);
            self.columns = joined.flat_map(|two| (0..bands).map(move |b| (two[b] + two[bands + b]) / 2.0)).collect();
            self.per_column *= 2;
        }
    }

    /// How many seconds the columns stand for.
    pub fn seconds(&self) -> f64 {
        let frames = self.columns.len() / self.spec.n_mels * self.per_column;
        (frames * self.hop) as f64 / f64::from(self.spec.sample_rate)
    }

    /// The share of the height at which a frequency lies; none above the highest.
    pub fn height_of(&self, hertz: f64) -> Option<f64> {
        let corners = self.spec.corners();
        // Band b has its middle at corner b + 1.
        let above = corners.iter().position(|corner| *corner >= hertz)?.max(1);
        let (low, high) = (corners[above - 1], corners[above]);
        let corner = above as f64 - 1.0 + (hertz - low) / (high - low);
        Some(((corner - 0.5) / self.spec.n_mels as f64).clamp(0.0, 1.0))
    }

    /// The picture as a PNG file; none of a recording that is shorter than a frame.
    pub fn png(&mut self) -> Option<Vec<u8>> {
        if self.summed > 0 {
            self.finish_column();
        }
        let bands = self.spec.n_mels;
        let width = self.columns.len() / bands;
        if width == 0 {
            return None;
        }
        let decibels: Vec<f32> = self.columns.iter().map(|power| 10.0 * power.max(1e-10).log10()).collect();
        let loudest = decibels.iter().copied().fold(f32::MIN, f32::max);
        let shade = |db: f32| (255.0 * (1.0 - (loudest - db) / RANGE_DB)).clamp(0.0, 255.0) as u8;
        let row = |band: usize| (0..width).map(move |column| (column, band));
        let indices = (0..bands).rev().flat_map(row).map(|(column, band)| shade(decibels[column * bands + band]));
        Some(png::of_palette(&indices.collect::<Vec<u8>>(), width, &png::shades()))
    }
}

#[cfg(test)]
mod tests {
    use std::f32::consts::TAU;

    use super::*;

    fn tone(hertz: f32, samples: usize) -> Vec<f32> {
        (0..samples).map(|n| 0.5 * (TAU * hertz * n as f32 / 22050.0).sin()).collect()
    }

    #[test]
    fn blocks_make_the_same_picture_as_the_whole_and_hours_are_no_wider_than_minutes() {
        let samples = tone(880.0, 60 * 22050);
        let (mut whole, mut parts) = (Picture::new(22050), Picture::new(22050));
        whole.add(&samples);
        samples.chunks(7001).for_each(|block| parts.add(block));
        assert_eq!(whole.png(), parts.png());
        assert!((512..=1024).contains(&(whole.columns.len() / whole.spec.n_mels)));
        assert!((whole.seconds() - 60.0).abs() < 0.3, "{}", whole.seconds());
        (0..30).for_each(|_| parts.add(&samples));
        assert!(parts.columns.len() / parts.spec.n_mels <= 1024 && parts.seconds() > 1800.0);
    }

    #[test]
    fn a_tone_is_brightest_where_its_frequency_lies() {
        for hertz in [440.0f32, 1500.0, 6000.0] {
            let mut picture = Picture::new(22050);
            picture.add(&tone(hertz, 22050));
            let bands = picture.spec.n_mels;
            let column = &picture.columns[3 * bands..4 * bands];
            let brightest = (0..bands).max_by(|&a, &b| column[a].total_cmp(&column[b])).unwrap();
            let height = picture.height_of(f64::from(hertz)).unwrap() * bands as f64;
            assert!((height - (brightest as f64 + 0.5)).abs() <= 1.0, "{hertz}: {height}, {brightest}");
        }
        assert_eq!(Picture::new(22050).height_of(20000.0), None);
        assert_eq!(Picture::new(8000).png(), None);
    }
}
