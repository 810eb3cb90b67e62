//! `pre_emphasis` and `de_emphasis`: the first-order filters that raise and lower the treble before and after a transmission, and
//! before features of speech. Each is the inverse of the other.

use anyhow::Result;
use rand_chacha::ChaCha8Rng;

use super::{Amount, AugmentContext, AugmentKind, ClipPool, Draw, Effect, Fault, Kind, Waveform};
use timbre_signal::dsp::iir::{Filter, Section};

macro_rules! emphasis {
    ($(#[$meta:meta])* $Spec:ident, $Draw:ident, $section:expr) => {
        augment_spec! {
            $(#[$meta])*
            pub struct $Spec {
                /// Factor of the sample before, 0 to 0.999. Default: 0.97.
                pub coefficient: Amount = Amount::Fixed(0.97),
            }

            pub struct $Draw {
                pub coefficient: f64,
            }
        }

        impl Kind for $Spec {
            fn faults(&self, _sample_rate: u32) -> Vec<Fault> {
                Fault::of_keys([("coefficient", self.coefficient.fault(0.0, 0.999))])
            }
        }

        impl AugmentKind for $Spec {
            fn draw(&self, _context: &AugmentContext, rng: &mut ChaCha8Rng) -> Result<Vec<Draw>> {
                Ok(vec![$Draw { coefficient: self.coefficient.draw(rng) }.into()])
            }
        }

        impl Effect for $Draw {
            fn apply_to_waveform(&self, clip: &mut Waveform, _pool: &dyn ClipPool) -> Result<()> {
                Filter::from_sections(vec![$section(self.coefficient)]).run(&mut clip.samples);
                Ok(())
            }
        }
    };
}

emphasis! {
    /// Attenuates the bass: `y[n] = x[n] - coefficient x[n-1]`.
    PreEmphasis, PreEmphasisDraw, |c: f64| Section { b: [1.0, -c, 0.0], a: [0.0, 0.0] }
}

emphasis! {
    /// Boosts the bass: `y[n] = x[n] + coefficient y[n-1]`.
    DeEmphasis, DeEmphasisDraw, |c: f64| Section { b: [1.0, 0.0, 0.0], a: [-c, 0.0] }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::augment::kind_tests::{apply, gain_at, tone};

    #[test]
    fn the_gains_are_those_of_the_formula() {
        for (coefficient, hz) in [(0.97, 50.0), (0.97, 3000.0), (0.5, 800.0), (0.5, 10_000.0)] {
            // |1 - c exp(-jω)|².
            let omega = std::f64::consts::TAU * hz / 22_050.0;
            let expected = 10.0 * (1.0 - 2.0 * coefficient * omega.cos() + coefficient * coefficient).log10();
            assert!((gain_at(&PreEmphasisDraw { coefficient }, hz) - expected).abs() < 0.01, "{hz}");
            assert!((gain_at(&DeEmphasisDraw { coefficient }, hz) + expected).abs() < 0.01, "{hz}");
        }
    }

    #[test]
    fn each_is_the_inverse_of_the_other() {
        let (pre, de) = (PreEmphasisDraw { coefficient: 0.97 }, DeEmphasisDraw { coefficient: 0.97 });
        let clip = tone(2000);
        for output in [apply(&de, &apply(&pre, &clip)), apply(&pre, &apply(&de, &clip))] {
            assert!(output.iter().zip(&clip).all(|(output, sample)| (output - sample).abs() < 1e-5));
        }
    }
}
