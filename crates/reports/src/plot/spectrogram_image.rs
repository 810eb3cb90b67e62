//! Computes the image of a mel spectrogram of a recording of any length: mel bands upwards, time to the right, decibels as brightness.
//!
//! Pairs of columns are merged (their power is averaged) whenever there are more than `MOST`: memory does not grow with
//! the recording, and the image of hours is as wide as that of a minute.

use std::ops::Range;

use timbre_signal::dsp::{
    mel::{MelBank, MelNorm, MelSpec},
    stft::{PadMode, StftPlan, StftSpec},
    window::Window,
};

use super::palette_image;

/// The largest number of columns. Merging leaves at least half of it.
const MOST: usize = 1024;
const BANDS: usize = 96;
const N_FFT: usize = 2048;
const HOP: usize = N_FFT / 4;
/// Each frame is drawn at the time of its middle. Frames at the ends would reach outside the recording, so they use its first and its
/// last samples instead. This is the number of such frames at the start.
const FIRST: usize = 2;
/// The first sample of the frame after these.
const NEXT: usize = FIRST * HOP - (N_FFT - HOP) / 2;
/// Values this far below the top of the scale are black.
pub const RANGE_DB: f32 = 80.0;

/// An image under construction: samples are added block by block.
pub struct SpectrogramImage {
    plan: StftPlan,
    bank: MelBank,
    spec: MelSpec,
    /// The last samples: at least one frame, as soon as there are enough.
    pending: Vec<f32>,
    /// Index in `pending` of the first sample of the next frame.
    next: usize,
    /// Number of samples added.
    samples: usize,
    /// Number of frames computed.
    frames: usize,
    /// Frames per column.
    per_column: usize,
    /// Power, column by column.
    columns: Vec<f32>,
    /// The sum of the current column, and the number of its frames.
    sum: Vec<f32>,
    summed: usize,
}

impl SpectrogramImage {
    pub fn new(sample_rate: u32) -> SpectrogramImage {
        let stft = StftSpec {
            n_fft: N_FFT,
            hop_length: HOP,
            win_length: N_FFT,
            window: Window::Hann,
            center: false,
            pad_mode: PadMode::Constant,
        };
        let nyquist = f64::from(sample_rate) / 2.0;
        // No band is narrower than a bin.
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
        SpectrogramImage {
            plan: StftPlan::new(stft),
            bank: MelBank::new(&spec(bands)),
            spec: spec(bands),
            pending: Vec::new(),
            next: 0,
            samples: 0,
            frames: 0,
            per_column: 1,
            columns: Vec::new(),
            sum: vec![0.0; bands],
            summed: 0,
        }
    }

    pub fn add(&mut self, samples: &[f32]) {
        self.pending.extend_from_slice(samples);
        self.samples += samples.len();
        if self.pending.len() < N_FFT {
            return;
        }
        if self.frames == 0 {
            for _ in 0..FIRST {
                self.take(0..N_FFT);
            }
            self.next = NEXT;
        }
        self.next += HOP * self.take(self.next..self.pending.len());
        let done = self.next.min(self.pending.len() - N_FFT);
        self.pending.drain(..done);
        self.next -= done;
    }

    /// Computes the last frames. A recording shorter than a frame is padded with silence.
    fn finish(&mut self) {
        let missing = self.samples.div_ceil(HOP).saturating_sub(self.frames);
        if missing > 0 {
            self.pending.resize(self.pending.len().max(N_FFT), 0.0);
            let end = self.pending.len();
            for _ in 0..missing {
                self.take(end - N_FFT..end);
            }
        }
        if self.summed > 0 {
            self.finish_column();
        }
    }

    /// Adds all whole frames of these samples and returns their number.
    fn take(&mut self, samples: Range<usize>) -> usize {
        let spectrogram = self.plan.power(&self.pending[samples]);
        if spectrogram.frames == 0 {
            return 0;
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
        self.frames += spectrogram.frames;
        spectrogram.frames
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

    /// The duration that the columns cover. After [`SpectrogramImage::png`] it is at least that of the recording.
    pub fn seconds(&self) -> f64 {
        let frames = self.columns.len() / self.spec.n_mels * self.per_column;
        (frames * HOP) as f64 / f64::from(self.spec.sample_rate)
    }

    /// The position of a frequency, as a share of the height. None above the highest band.
    pub fn height_of(&self, hertz: f64) -> Option<f64> {
        let corners = self.spec.corners();
        // The middle of band b is corner b + 1.
        let above = corners.iter().position(|corner| *corner >= hertz)?.max(1);
        let (low, high) = (corners[above - 1], corners[above]);
        let corner = above as f64 - 1.0 + (hertz - low) / (high - low);
        Some(((corner - 0.5) / self.spec.n_mels as f64).clamp(0.0, 1.0))
    }

    /// Finishes the image and encodes it as PNG; its loudest point has the brightest colour. None without samples.
    pub fn png(&mut self) -> Option<Vec<u8>> {
        let top = self.loudest()?;
        self.png_below(top)
    }

    /// Finishes the image and returns the level of its loudest point. None without samples.
    pub fn loudest(&mut self) -> Option<f32> {
        self.finish();
        self.columns.iter().copied().map(decibels).reduce(f32::max)
    }

    /// [`png`](Self::png) with another level for the brightest colour, so that several images have one scale.
    pub fn png_below(&mut self, top: f32) -> Option<Vec<u8>> {
        self.finish();
        let bands = self.spec.n_mels;
        let width = self.columns.len() / bands;
        if width == 0 {
            return None;
        }
        let shade = |power: f32| (255.0 * (1.0 - (top - decibels(power)) / RANGE_DB)).clamp(0.0, 255.0) as u8;
        let row = |band: usize| (0..width).map(move |column| (column, band));
        let indices = (0..bands).rev().flat_map(row).map(|(column, band)| shade(self.columns[column * bands + band]));
        Some(palette_image::encode(&indices.collect::<Vec<u8>>(), width, &palette_image::shades()))
    }
}

fn decibels(power: f32) -> f32 {
    10.0 * power.max(1e-10).log10()
}

#[cfg(test)]
mod tests {
    use std::f32::consts::TAU;

    use super::*;

    fn tone(hertz: f32, samples: usize) -> Vec<f32> {
        (0..samples).map(|n| 0.5 * (TAU * hertz * n as f32 / 22050.0).sin()).collect()
    }

    #[test]
    fn blocks_give_the_same_image_as_the_whole_and_hours_are_no_wider_than_minutes() {
        let samples = tone(880.0, 60 * 22050);
        let (mut whole, mut parts) = (SpectrogramImage::new(22050), SpectrogramImage::new(22050));
        whole.add(&samples);
        samples.chunks(7001).for_each(|block| parts.add(block));
        (0..30).for_each(|_| parts.add(&samples));
        assert!(parts.columns.len() / parts.spec.n_mels <= 1024 && parts.seconds() > 1800.0);
        let mut parts = SpectrogramImage::new(22050);
        samples.chunks(7001).for_each(|block| parts.add(block));
        assert_eq!(whole.png(), parts.png());
        assert!((512..=1024).contains(&(whole.columns.len() / whole.spec.n_mels)));
        assert!((whole.seconds() - 60.0).abs() < 0.3, "{}", whole.seconds());
    }

    #[test]
    fn a_steady_tone_has_constant_brightness_and_its_true_duration() {
        for samples in [22050, 22051, 22528, 3000, 2049, 2048] {
            let mut picture = SpectrogramImage::new(22050);
            tone(880.0, samples).chunks(700).for_each(|block| picture.add(block));
            assert!(picture.png().is_some());
            let late = picture.seconds() - samples as f64 / 22050.0;
            assert!((0.0..512.0 / 22050.0).contains(&late), "{samples}: {late}");
            let loudest = |column: &[f32]| column.iter().copied().fold(0.0, f32::max);
            let peaks: Vec<f32> = picture.columns.chunks_exact(picture.spec.n_mels).map(loudest).collect();
            let most = loudest(&peaks);
            assert!(peaks.iter().all(|power| *power > most * 0.95), "{samples}: {peaks:?}");
            let once = picture.png();
            assert_eq!(once, picture.png());
        }
    }

    #[test]
    fn a_recording_shorter_than_a_frame_has_an_image() {
        let mut picture = SpectrogramImage::new(22050);
        picture.add(&tone(880.0, 300));
        assert!(picture.png().is_some());
        assert!((picture.seconds() - 512.0 / 22050.0).abs() < 1e-9);
    }

    #[test]
    fn a_tone_is_brightest_at_its_frequency() {
        for hertz in [440.0f32, 1500.0, 6000.0] {
            let mut picture = SpectrogramImage::new(22050);
            picture.add(&tone(hertz, 22050));
            let bands = picture.spec.n_mels;
            let column = &picture.columns[3 * bands..4 * bands];
            let brightest = (0..bands).max_by(|&a, &b| column[a].total_cmp(&column[b])).unwrap();
            let height = picture.height_of(f64::from(hertz)).unwrap() * bands as f64;
            assert!((height - (brightest as f64 + 0.5)).abs() <= 1.0, "{hertz}: {height}, {brightest}");
        }
        assert_eq!(SpectrogramImage::new(22050).height_of(20000.0), None);
        assert_eq!(SpectrogramImage::new(8000).png(), None);
    }
}
