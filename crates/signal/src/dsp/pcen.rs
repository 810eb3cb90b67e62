//! Per-channel energy normalisation: an automatic gain for each band, and a compression of what remains.
//!
//! Conventions: `librosa.pcen` with `max_size=1`. A band is smoothed by a first-order filter that starts as if it had been 1 before; `time_constant` is that of
//! the filter in seconds. Values are multiplied by `scale` first: librosa's guide does so with 2^31, the range of integer samples.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Parameters of the normalisation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PcenSpec {
    /// The exponent of the gain: 1 divides by the smoothed energy, 0 by nothing. Default 0.98.
    #[schemars(range(min = 0.0, max = 10.0))]
    pub gain: f64,
    /// What is added before the compression, and subtracted after it. Default 2.
    #[schemars(range(min = 0.0, max = 1e6))]
    pub bias: f64,
    /// The exponent of the compression; 0 is a logarithm. Default 0.5.
    #[schemars(range(min = 0.0, max = 10.0))]
    pub power: f64,
    /// Seconds of the smoothing. Default 0.4.
    #[schemars(range(min = 0.0001, max = 1000.0))]
    pub time_constant: f64,
    /// What is added to the smoothed energy. Default 1e-6.
    #[schemars(range(min = 1e-30, max = 1e6))]
    pub eps: f64,
    /// The factor before everything. Default 2147483648 (2^31).
    #[schemars(range(min = 1e-30, max = 1e30))]
    pub scale: f64,
}

impl Default for PcenSpec {
    fn default() -> Self {
        PcenSpec { gain: 0.98, bias: 2.0, power: 0.5, time_constant: 0.4, eps: 1e-6, scale: 2147483648.0 }
    }
}

impl PcenSpec {
    pub fn fault(&self) -> Option<String> {
        let PcenSpec { gain, bias, power, time_constant, eps, scale } = *self;
        let wrong = [("gain", gain, false), ("bias", bias, false), ("power", power, false)]
            .into_iter()
            .chain([("time_constant", time_constant, true), ("eps", eps, true), ("scale", scale, true)])
            .find(|(_, value, positive)| !(value.is_finite() && (*value > 0.0 || (*value == 0.0 && !positive))));
        wrong.map(|(key, value, _)| format!("`{key}` cannot be {value}"))
    }
}

/// The normalisation of frames of a known rate.
pub struct Pcen {
    spec: PcenSpec,
    /// The share of a new value in the smoothed energy.
    share: f64,
}

impl Pcen {
    pub fn new(spec: &PcenSpec, sample_rate: u32, hop_length: usize) -> Pcen {
        let frames = spec.time_constant * f64::from(sample_rate) / hop_length as f64;
        let share = ((1.0 + 4.0 * frames * frames).sqrt() - 1.0) / (2.0 * frames * frames);
        Pcen { spec: spec.clone(), share }
    }

    /// Normalizes the frames of a band.
    pub fn apply(&self, band: &mut [f32]) {
        let PcenSpec { gain, bias, power, eps, scale, .. } = self.spec;
        let mut smooth = 1.0;
        for value in band {
            let energy = f64::from(*value) * scale;
            smooth += self.share * (energy - smooth);
            let level = energy * (-gain * (eps.ln() + (smooth / eps).ln_1p())).exp();
            *value = match (power, bias) {
                (0.0, _) => level.ln_1p(),
                (_, 0.0) => level.powf(power),
                _ => bias.powf(power) * (power * (level / bias).ln_1p()).exp_m1(),
            } as f32;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steady_band_has_the_same_value_whatever_its_level() {
        let last = |level: f32| {
            let mut band = vec![level; 2000];
            Pcen::new(&PcenSpec { gain: 1.0, ..PcenSpec::default() }, 22050, 512).apply(&mut band);
            band[1999]
        };
        // (1 + 2)^0.5 - 2^0.5
        for level in [1e-6, 1.0, 1e3] {
            assert!((last(level) - (3f32.sqrt() - 2f32.sqrt())).abs() < 1e-5, "{}", last(level));
        }
    }
}
