//! Peak, loudness and clipping of a recording, block by block.

use timbre_signal::dsp::level;

/// A run of at least so many equal samples at the peak is clipped.
const RUN: u32 = 4;
/// Samples are equal if they differ by less than a step of 16 bits.
const SAME: f32 = 1.0 / 32768.0;

/// The levels of mono samples.
#[derive(Clone, Debug, Default)]
pub struct Levels {
    pub samples: u64,
    pub peak: f32,
    squares: f64,
    /// Samples in runs at the level of the loudest runs, and that level.
    clipped: u64,
    ceiling: f32,
    run: (f32, u32),
}

impl Levels {
    pub fn push(&mut self, samples: &[f32]) {
        self.samples += samples.len() as u64;
        let (mut peak, mut squares) = (0.0f32, 0.0f64);
        for block in samples.chunks(512) {
            let loudest = level::peak(block);
            squares += level::energy(block);
            // Only loud blocks can hold a clipped run of the loudest level.
            if loudest + SAME >= self.peak.max(peak) {
                self.find_runs(block);
            } else {
                self.end_run();
            }
            peak = peak.max(loudest);
        }
        self.peak = self.peak.max(peak);
        self.squares += squares;
    }

    fn find_runs(&mut self, block: &[f32]) {
        for &sample in block {
            if (sample - self.run.0).abs() < SAME {
                self.run.1 += 1;
            } else {
                self.end_run();
                self.run = (sample, 1);
            }
        }
    }

    fn end_run(&mut self) {
        let (level, length) = (self.run.0.abs(), self.run.1);
        self.run = (0.0, 0);
        if length < RUN {
            return;
        }
        if level > self.ceiling + SAME {
            (self.ceiling, self.clipped) = (level, 0);
        }
        if level >= self.ceiling - SAME {
            self.clipped += u64::from(length);
        }
    }

    /// The root mean square.
    pub fn rms(&self) -> f64 {
        if self.samples == 0 { 0.0 } else { (self.squares / self.samples as f64).sqrt() }
    }

    /// The share of samples that are cut off at the peak.
    pub fn clipped_share(&mut self) -> f64 {
        self.end_run();
        let is_at_peak = self.ceiling + SAME >= self.peak;
        if is_at_peak && self.samples > 0 { self.clipped as f64 / self.samples as f64 } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tone(gain: f32, ceiling: f32) -> Vec<f32> {
        (0..44100).map(|n| (gain * (n as f32 * 0.03).sin()).clamp(-ceiling, ceiling)).collect()
    }

    fn clipped(samples: &[f32], block: usize) -> f64 {
        let mut levels = Levels::default();
        samples.chunks(block).for_each(|block| levels.push(block));
        levels.clipped_share()
    }

    #[test]
    fn a_tone_that_is_cut_off_is_clipped_at_any_level_and_one_that_is_not_is_not() {
        assert_eq!(clipped(&tone(1.0, 1.0), 44100), 0.0);
        assert_eq!(clipped(&tone(0.2, 1.0), 44100), 0.0);
        // 1.5 sin x is above 1 for 2 acos(2 / 3) of each half period π.
        let share = 2.0 * (2.0f64 / 3.0).acos() / std::f64::consts::PI;
        for gain in [1.0, 0.3] {
            let samples: Vec<f32> = tone(1.5, 1.0).iter().map(|x| gain * x).collect();
            let found = clipped(&samples, 44100);
            assert!((found - share).abs() < 0.01, "{found}, {share}");
            for block in [1000, 4096, 512 * 7] {
                assert!((clipped(&samples, block) - share).abs() < 0.02);
            }
        }
    }

    #[test]
    fn silence_between_sounds_is_not_clipped() {
        let mut samples = vec![0.0; 20000];
        samples.extend(tone(0.5, 1.0));
        assert_eq!(clipped(&samples, 4096), 0.0);
    }

    #[test]
    fn peak_and_root_mean_square_are_those_of_all_blocks() {
        let mut levels = Levels::default();
        [[0.5f32, -0.5], [0.25, -0.75]].iter().for_each(|block| levels.push(block));
        assert_eq!((levels.peak, levels.samples), (0.75, 4));
        assert!((levels.rms() - (1.125f64 / 4.0).sqrt()).abs() < 1e-9);
        assert_eq!(level::decibels(0.1), -20.0);
    }
}
