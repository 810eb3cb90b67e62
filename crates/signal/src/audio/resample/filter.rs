//! The low-pass filters of the resampler, in continuous time.

use std::f64::consts::PI;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The low-pass filter of the resampler.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ResampleFilter {
    /// Passes 94 % of the band below the lower Nyquist frequency.
    #[default]
    BlackmanHarris,
    /// The filter of soxr's HQ quality, librosa's default: passes 91 %.
    SoxrHq,
}

impl ResampleFilter {
    /// The samples of the lower rate that the filter spans at least.
    pub(super) fn span(self) -> usize {
        match self {
            ResampleFilter::BlackmanHarris => 512,
            ResampleFilter::SoxrHq => 196,
        }
    }
}

/// A windowed sinc.
pub(super) struct Filter {
    kind: ResampleFilter,
    /// Relative to the Nyquist frequency of the input.
    cutoff: f64,
    /// In samples of the input.
    half_width: f64,
}

/// Kaiser window of `soxr_hq`.
const SOXR_BETA: f64 = 13.04;

impl Filter {
    /// `ratio` is input rate / output rate. The default filter spans `span` samples of the lower rate, that of soxr always as many.
    pub fn new(kind: ResampleFilter, ratio: f64, span: usize) -> Self {
        let slower = ratio.max(1.0);
        let span = span as f64;
        let (cutoff, half_width) = match kind {
            // Where the stopband of this window begins at the Nyquist frequency, by a fit over lengths that rubato published.
            ResampleFilter::BlackmanHarris => {
                let below = 13.745_202_940_783_823 / span
                    + 121.735_325_863_749_34 / span.powi(2)
                    + 5_964.163_279_612_051 / span.powi(3);
                (1.0 / (1.0 + below), span / 2.0)
            }
            ResampleFilter::SoxrHq => (0.956_872, 97.25),
        };
        Filter { kind, cutoff: cutoff / slower, half_width: half_width * slower }
    }

    /// The taps sum to one over the input samples: a windowed sinc of unit area does so to 1e-9 at these lengths.
    pub fn at(&self, time: f64) -> f64 {
        if time.abs() >= self.half_width {
            return 0.0;
        }
        let place = time / self.half_width;
        let window = match self.kind {
            ResampleFilter::BlackmanHarris => {
                let c = |multiple: f64| (multiple * PI * place).cos();
                (0.35875 + 0.48829 * c(1.0) + 0.14128 * c(2.0) + 0.01168 * c(3.0)).powi(2)
            }
            ResampleFilter::SoxrHq => kaiser(SOXR_BETA, place),
        };
        self.cutoff * sinc(self.cutoff * time) * window
    }
}

/// sin(πx) / (πx).
pub(super) fn sinc(x: f64) -> f64 {
    if x == 0.0 { 1.0 } else { (PI * x).sin() / (PI * x) }
}

/// The Kaiser window at `place` between -1 and 1.
pub(super) fn kaiser(beta: f64, place: f64) -> f64 {
    bessel_i0(beta * (1.0 - place * place).sqrt()) / bessel_i0(beta)
}

/// The modified Bessel function of order 0, by its power series.
fn bessel_i0(x: f64) -> f64 {
    let (mut sum, mut term) = (1.0, 1.0);
    for k in 1..60 {
        term *= (x / 2.0 / f64::from(k)).powi(2);
        sum += term;
    }
    sum
}
