//! `biquad`: a second-order filter with given coefficients, as the effect of the same name in SoX.

use anyhow::Result;
use rand_chacha::ChaCha8Rng;

use super::{AugmentContext, AugmentKind, ClipPool, Draw, Effect, Fault, Kind, Waveform};
use timbre_signal::dsp::iir::{Filter, Section};

augment_spec! {
    /// Filters with given coefficients: `a0 y[n] = b0 x[n] + b1 x[n-1] + b2 x[n-2] - a1 y[n-1] - a2 y[n-2]`. The defaults change nothing.
    pub struct Biquad {
        /// Factor of the sample. Default: 1.
        pub b0: f64 = 1.0,
        /// Factor of the sample before. Default: 0.
        pub b1: f64 = 0.0,
        /// Factor of the sample two before. Default: 0.
        pub b2: f64 = 0.0,
        /// Factor of the filtered sample; all others are divided by it. Default: 1.
        pub a0: f64 = 1.0,
        /// Factor of the filtered sample before. Default: 0.
        pub a1: f64 = 0.0,
        /// Factor of the filtered sample two before. Default: 0.
        pub a2: f64 = 0.0,
    }

    pub struct BiquadDraw {
        /// Divided by a0, as `a`.
        pub b: [f64; 3],
        pub a: [f64; 2],
    }
}

impl Biquad {
    fn normalized(&self) -> BiquadDraw {
        BiquadDraw { b: [self.b0, self.b1, self.b2].map(|b| b / self.a0), a: [self.a1, self.a2].map(|a| a / self.a0) }
    }
}

impl BiquadDraw {
    /// The key at fault and the reason.
    fn fault_of_key(&self) -> Option<(&'static str, &'static str)> {
        let BiquadDraw { b: [b0, b1, b2], a: [a1, a2] } = *self;
        let largest = [b0, b1, b2, a1, a2].into_iter().fold(0.0, |largest: f64, x| largest.max(x.abs()));
        if !(largest <= 1e6 && (b0 + b1 + b2 + a1 + a2).is_finite()) {
            return Some(("a0", "no coefficient may exceed 1,000,000 times a0"));
        }
        // Both poles lie within the unit circle exactly in this triangle.
        let unstable = "the filter is unstable: |a2| must be less than |a0|, and |a1| less than |a0 + a2|";
        match () {
            _ if a2.abs() >= 1.0 => Some(("a2", unstable)),
            _ if a1.abs() >= 1.0 + a2 => Some(("a1", unstable)),
            _ => None,
        }
    }
}

impl Kind for Biquad {
    fn faults(&self, _sample_rate: u32) -> Vec<Fault> {
        self.normalized().fault_of_key().map(|(key, why)| Fault::new(key, why)).into_iter().collect()
    }
}

impl AugmentKind for Biquad {
    fn draw(&self, _context: &AugmentContext, _rng: &mut ChaCha8Rng) -> Result<Vec<Draw>> {
        Ok(vec![self.normalized().into()])
    }
}

impl Effect for BiquadDraw {
    fn fault(&self) -> Option<String> {
        self.fault_of_key().map(|(key, why)| format!("`{}`: {why}", &key[..1]))
    }

    fn apply_to_waveform(&self, clip: &mut Waveform, _pool: &dyn ClipPool) -> Result<()> {
        Filter::from_sections(vec![Section { b: self.b, a: self.a }]).run(&mut clip.samples);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::augment::kind_tests::gain_at;

    #[test]
    fn the_coefficients_of_a_low_pass_make_a_low_pass() {
        // scipy.signal.butter(2, 0.25), times 2: a zero at half the sample rate, -3 dB at an eighth of it.
        let b = 2.0 * 0.097_631_072_937_817_5;
        let spec = Biquad {
            b0: b,
            b1: 2.0 * b,
            b2: b,
            a0: 2.0,
            a1: -1.885_618_083_164_126_7,
            a2: 2.0 / 3.0,
            ..Biquad::default()
        };
        assert_eq!(spec.faults(22_050), []);
        for (hz, expected) in [(20.0, 0.0), (2756.25, -3.0103), (5512.5, -15.4437)] {
            let gain = gain_at(&spec.normalized(), hz);
            assert!((gain - expected).abs() < 0.01, "{hz}: {gain} dB");
        }
    }

    #[test]
    fn unstable_filters_and_unusable_numbers_are_faults() {
        let key = |b0, a0, a1, a2| {
            let faults = Biquad { b0, a0, a1, a2, ..Biquad::default() }.faults(8000);
            faults.first().map(|fault| fault.key.clone()).unwrap_or_default()
        };
        assert_eq!(key(1.0, 2.0, -3.9, 1.96), "");
        assert_eq!(key(1.0, 1.0, 0.0, 1.0), "a2");
        assert_eq!(key(1.0, 1.0, -1.9, 0.8), "a1");
        for (b0, a0) in [(1.0, 0.0), (f64::NAN, 1.0), (f64::INFINITY, 1.0), (1.0, 1e-9)] {
            assert_eq!(key(b0, a0, 0.0, 0.0), "a0", "{b0} {a0}");
        }
    }
}
