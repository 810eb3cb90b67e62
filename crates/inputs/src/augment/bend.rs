//! `bend`: the pitch glides by some semitones between two moments of the clip, as on a tape whose speed changes.
//!
//! Between the moments the pitch changes by equal semitones in equal times; then it stays. The clip keeps its length: a faster tape
//! takes more of the recording. Samples are interpolated by a windowed sinc; its cut-off falls with the speed, against aliasing.

use std::f64::consts::{LN_2, PI};

use anyhow::Result;
use rand_chacha::ChaCha8Rng;

use super::{Amount, AugmentContext, AugmentKind, ClipPool, Draw, Effect, Fault, Kind, Waveform};

augment_spec! {
    /// Lets pitch and speed glide between two moments of the clip, as on a tape. The length of the clip stays.
    pub struct Bend {
        /// Change of the pitch in semitones, fractions allowed, -24 to 24. Default: -2 to 2.
        pub semitones: Amount = Amount::Range(-2.0, 2.0),
        /// Start of the glide as a share of the clip. Default: 0 to 0.4.
        pub from: Amount = Amount::Range(0.0, 0.4),
        /// End of the glide as a share of the clip. Default: 0.6 to 1.
        pub to: Amount = Amount::Range(0.6, 1.0),
    }

    pub struct BendDraw {
        pub semitones: f64,
        pub from: f64,
        pub to: f64,
    }
}

impl Kind for Bend {
    fn faults(&self, _sample_rate: u32) -> Vec<Fault> {
        let crossed = self.from.bounds().1 > self.to.bounds().0;
        Fault::of_keys([
            ("semitones", self.semitones.fault(-24.0, 24.0)),
            ("from", self.from.fault(0.0, 1.0)),
            ("to", self.to.fault(0.0, 1.0).or(crossed.then(|| "the glide would end before it starts".to_owned()))),
        ])
    }
}

impl AugmentKind for Bend {
    fn draw(&self, _context: &AugmentContext, rng: &mut ChaCha8Rng) -> Result<Vec<Draw>> {
        Ok(vec![
            BendDraw { semitones: self.semitones.draw(rng), from: self.from.draw(rng), to: self.to.draw(rng) }.into(),
        ])
    }
}

impl BendDraw {
    /// The place on the tape at time `t` of a clip of `length`, and the speed there: the speed and its integral.
    fn place_and_speed(&self, t: f64, length: f64) -> (f64, f64) {
        let (from, to, rise) = (self.from * length, self.to * length, LN_2 * self.semitones / 12.0);
        let (inside, glide) = (t.clamp(from, to) - from, to - from);
        let bent = rise != 0.0 && glide > 0.0;
        let covered = if bent { glide / rise * libm::expm1(rise * inside / glide) } else { inside };
        let speed = if bent && t < to {
            1.0 + rise * covered / glide
        } else if t < from {
            1.0
        } else {
            libm::exp(rise)
        };
        (t.min(from) + covered + (t - to).max(0.0) * libm::exp(rise), speed)
    }

    /// Tape per clip.
    fn ratio(&self) -> f64 {
        self.place_and_speed(1.0, 1.0).0
    }
}

impl Effect for BendDraw {
    fn fault(&self) -> Option<String> {
        let share = |name, value: f64| Amount::Fixed(value).fault(0.0, 1.0).map(|why| format!("`{name}`: {why}"));
        let crossed = || (self.from > self.to).then(|| "`to`: the glide would end before it starts".to_owned());
        let semitones = Amount::Fixed(self.semitones).fault(-24.0, 24.0).map(|why| format!("`semitones`: {why}"));
        semitones.or(share("from", self.from)).or(share("to", self.to)).or_else(crossed)
    }

    /// Rounded up, with one more; the caller cuts off what is left over.
    fn source_samples(&self, samples: usize) -> usize {
        if self.semitones == 0.0 { samples } else { (samples as f64 * self.ratio()).ceil() as usize + 1 }
    }

    fn apply_to_waveform(&self, clip: &mut Waveform, _pool: &dyn ClipPool) -> Result<()> {
        if self.semitones == 0.0 {
            return Ok(());
        }
        let length = (clip.samples.len().saturating_sub(1) as f64 / self.ratio()).ceil();
        let filter = filter();
        let sample = |n: usize| {
            let (place, speed) = self.place_and_speed(n as f64, length);
            interpolate(&clip.samples, place, 1.0f64.min(1.0 / speed), &filter)
        };
        clip.samples = (0..length as usize).map(sample).collect();
        Ok(())
    }
}

/// Zeros of the sinc on each side.
const CROSSINGS: usize = 16;
/// Values of the filter between two zeros of the sinc. Between two values it is interpolated linearly; the error lies at -106 dB.
const PHASES: usize = 512;

/// The right half of a sinc in a Blackman window.
fn filter() -> Vec<f32> {
    let value = |n: usize| {
        let (x, inside) = (PI * n as f64 / PHASES as f64, PI * n as f64 / (CROSSINGS * PHASES) as f64);
        let window = 0.42 + 0.5 * libm::cos(inside) + 0.08 * libm::cos(2.0 * inside);
        let sinc = if n == 0 { 1.0 } else { libm::sin(x) / x };
        if n < CROSSINGS * PHASES { (sinc * window) as f32 } else { 0.0 }
    };
    (0..CROSSINGS * PHASES + 2).map(value).collect()
}

/// The value at `place`, in samples, of frequencies up to the share `cutoff` of half the sample rate. Beyond the clip is silence.
fn interpolate(samples: &[f32], place: f64, cutoff: f64, filter: &[f32]) -> f32 {
    let reach = CROSSINGS as f64 / cutoff;
    let end = ((place + reach).floor() as usize + 1).min(samples.len());
    let first = ((place - reach).ceil().max(0.0) as usize).min(end);
    let weight = |n: usize| {
        let at = (n as f64 - place).abs() * cutoff * PHASES as f64;
        let whole = (at as usize).min(filter.len() - 2);
        filter[whole] + (at - whole as f64) as f32 * (filter[whole + 1] - filter[whole])
    };
    let sum: f32 = samples[first..end].iter().enumerate().map(|(n, sample)| sample * weight(first + n)).sum();
    sum * cutoff as f32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::augment::kind_tests::{apply, tone_of};
    use timbre_signal::dsp::level;

    #[test]
    fn the_tape_is_read_at_the_integral_of_the_speed() {
        for semitones in [-12.0, 3.0, 7.0] {
            let draw = BendDraw { semitones, from: 0.25, to: 0.5 };
            let output = apply(&draw, &tone_of(440.0, draw.source_samples(8000), 8000));
            assert!((8000..8004).contains(&output.len()), "{}", output.len());
            // The mean of the pitch before and after each sample.
            let pitch = |n: f64| semitones * ((n / output.len() as f64 - 0.25) / 0.25).clamp(0.0, 1.0);
            let mut place = 0.0;
            for (n, &sample) in output[..7900].iter().enumerate() {
                let exact = (std::f64::consts::TAU * 440.0 * place / 8000.0).sin();
                let off = (f64::from(sample) - exact).abs();
                assert!(n < 40 || off < 2e-3, "{semitones}, sample {n}: {off}");
                place += (pitch(n as f64 + 0.5) / 12.0).exp2();
            }
        }
    }

    #[test]
    fn frequencies_that_would_be_mirrored_vanish() {
        let draw = BendDraw { semitones: 12.0, from: 0.3, to: 0.4 };
        let output = apply(&draw, &tone_of(3000.0, draw.source_samples(8000), 8000));
        assert!(level::rms(&output[500..2300]) > 0.7 && level::rms(&output[3300..7900]) < 1e-3);
    }

    #[test]
    fn a_glide_that_ends_before_it_starts_is_a_fault() {
        let spec = Bend { from: Amount::Range(0.0, 0.7), ..Bend::default() };
        assert_eq!(spec.faults(8000)[0].key, "to");
        assert!(BendDraw { semitones: 1.0, from: 0.5, to: 0.4 }.fault().is_some());
    }
}
