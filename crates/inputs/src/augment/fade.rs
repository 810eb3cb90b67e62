//! `fade`: fades the clip in and out.

use anyhow::Result;
use rand_chacha::ChaCha8Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Amount, AugmentContext, AugmentKind, ClipPool, Draw, Effect, Fault, Kind, Waveform};
use timbre_core::seed::uniform_below;

augment_spec! {
    /// Fades the clip in at its beginning and out at its end.
    pub struct Fade {
        /// Length of the fade-in as a share of the clip. Default: 0 to 0.3.
        pub fade_in: Amount = Amount::Range(0.0, 0.3),
        /// Length of the fade-out as a share of the clip. Default: 0 to 0.3.
        pub fade_out: Amount = Amount::Range(0.0, 0.3),
        /// Curves, one drawn with equal probability: "linear", "cosine" (half a period, flat at both ends), "quarter"
        /// (quarter of a sine: keeps the power of a cross-fade), "exponential" (60 dB, linear in decibels). Default:
        /// linear.
        pub shapes: Vec<FadeCurve> = vec![FadeCurve::Linear],
    }

    pub struct FadeDraw {
        /// In samples.
        pub fade_in: usize,
        pub fade_out: usize,
        pub shape: FadeCurve,
    }
}

/// Curve of the gain from 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FadeCurve {
    Linear,
    /// Half a period of a cosine: flat at both ends.
    Cosine,
    /// A quarter of a sine: two of them keep the power of a cross-fade.
    Quarter,
    /// 60 dB, linear in decibels.
    Exponential,
}

impl Kind for Fade {
    fn faults(&self, _sample_rate: u32) -> Vec<Fault> {
        Fault::of_keys([
            ("fade_in", self.fade_in.fault(0.0, 1.0)),
            ("fade_out", self.fade_out.fault(0.0, 1.0)),
            ("shapes", self.shapes.is_empty().then(|| "name at least one shape".to_owned())),
        ])
    }
}

impl AugmentKind for Fade {
    fn draw(&self, context: &AugmentContext, rng: &mut ChaCha8Rng) -> Result<Vec<Draw>> {
        let mut samples = |share: &Amount| (share.draw(rng) * context.samples as f64).round() as usize;
        let (fade_in, fade_out) = (samples(&self.fade_in), samples(&self.fade_out));
        let shape = self.shapes[uniform_below(rng, self.shapes.len() as u64) as usize];
        Ok(vec![FadeDraw { fade_in, fade_out, shape }.into()])
    }
}

impl FadeCurve {
    /// The gain at `share` of the fade.
    fn gain(self, share: f64) -> f64 {
        match self {
            FadeCurve::Linear => share,
            FadeCurve::Cosine => 0.5 - 0.5 * libm::cos(std::f64::consts::PI * share),
            FadeCurve::Quarter => libm::sin(std::f64::consts::FRAC_PI_2 * share),
            FadeCurve::Exponential => libm::pow(10.0, 3.0 * (share - 1.0)),
        }
    }

    /// Multiplies the samples by the rising gain. The curve is exact every 16 samples and linear in between.
    fn apply<'a>(self, samples: impl Iterator<Item = &'a mut f32>, length: usize) {
        const LINEAR_SAMPLES: usize = 16;
        let gain = |n: usize| self.gain((n as f64 + 0.5) / length as f64) as f32;
        let (mut from, mut step) = (0.0, 0.0);
        for (n, sample) in samples.enumerate() {
            if n % LINEAR_SAMPLES == 0 {
                from = gain(n);
                let next = (n + LINEAR_SAMPLES).min(length);
                step = (gain(next) - from) / (next - n) as f32;
            }
            *sample *= from + step * (n % LINEAR_SAMPLES) as f32;
        }
    }
}

impl Effect for FadeDraw {
    fn apply_to_waveform(&self, clip: &mut Waveform, _pool: &dyn ClipPool) -> Result<()> {
        let samples = &mut clip.samples;
        self.shape.apply(samples.iter_mut().take(self.fade_in), self.fade_in);
        self.shape.apply(samples.iter_mut().rev().take(self.fade_out), self.fade_out);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::augment::tests::{empty_pool, waveform};

    fn faded(fade_in: usize, fade_out: usize, shape: FadeCurve, n: usize) -> Vec<f32> {
        let mut output = waveform(&vec![1.0; n]);
        FadeDraw { fade_in, fade_out, shape }.apply_to_waveform(&mut output, &empty_pool()).unwrap();
        output.samples
    }

    #[test]
    fn every_curve_is_followed() {
        for shape in [FadeCurve::Linear, FadeCurve::Cosine, FadeCurve::Quarter, FadeCurve::Exponential] {
            for (n, gain) in faded(1000, 0, shape, 1000).into_iter().enumerate() {
                let exact = shape.gain((n as f64 + 0.5) / 1000.0);
                assert!((f64::from(gain) - exact).abs() < 2e-3, "{shape:?} {n}: {gain} {exact}");
            }
        }
    }

    #[test]
    fn the_fade_out_mirrors_the_fade_in_and_the_middle_is_unchanged() {
        let output = faded(100, 100, FadeCurve::Cosine, 300);
        for n in 0..100 {
            assert_eq!(output[n], output[299 - n]);
        }
        assert!(output[100..200].iter().all(|&x| x == 1.0));
        assert!(output[0] < 0.001 && output[99] > 0.999);
        assert_eq!(faded(0, 0, FadeCurve::Linear, 5), [1.0; 5]);
        assert!(faded(9, 9, FadeCurve::Linear, 3).iter().all(|&x| x < 0.5), "fades longer than the clip are cut");
    }
}
