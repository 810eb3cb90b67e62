//! Recursive filters as cascades of second-order sections: the equaliser filters of R. Bristow-Johnson's cookbook, and
//! Butterworth filters of any order.
//!
//! Conventions: a section is `y[n] = b0 x[n] + b1 x[n-1] + b2 x[n-2] - a1 y[n-1] - a2 y[n-2]`, with silence before the first
//! sample. Frequencies in Hz are clamped to 1e-5 to 0.49 of the sample rate. `q` as in the cookbook (a shelf without overshoot
//! has 0.7071). Butterworth filters are scipy's `butter` (bilinear transform, prewarped: -3.01 dB at the corner frequencies;
//! a band filter of order n has n poles per side, 2 n in all).
//!
//! States and coefficients are f64: with poles near 1 (a low shelf at 60 Hz) the rounding noise of f32 would become audible.

use std::f64::consts::{PI, TAU};

use timbre_fft::Complex;

/// A second-order section; `a0` is 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Section {
    pub b: [f64; 3],
    pub a: [f64; 2],
}

/// A cascade of sections.
///
/// ```
/// use timbre_signal::dsp::iir::{BandType, Filter};
///
/// let filter = Filter::butterworth(4, BandType::LowPass(1000.0), 22050);
/// assert!((filter.gain(1000.0, 22050) - 0.5f64.sqrt()).abs() < 1e-9);
/// assert!(filter.gain(4000.0, 22050) < 0.01);
/// let mut samples = vec![0.5; 1000];
/// filter.run(&mut samples);
/// assert!((samples[999] - 0.5).abs() < 1e-3);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Filter {
    sections: Vec<Section>,
}

/// The cosine of the angular frequency, and the cookbook's alpha.
fn frequency_and_alpha(hz: f64, q: f64, sample_rate: u32) -> (f64, f64) {
    let omega = TAU * clamped(hz, sample_rate);
    (libm::cos(omega), libm::sin(omega) / (2.0 * q))
}

/// The frequency as a share of the sample rate, clamped.
fn clamped(hz: f64, sample_rate: u32) -> f64 {
    (hz / f64::from(sample_rate)).clamp(1e-5, 0.49)
}

impl Section {
    fn normalised(b: [f64; 3], a: [f64; 3]) -> Section {
        Section { b: b.map(|b| b / a[0]), a: [a[1] / a[0], a[2] / a[0]] }
    }

    pub fn peaking(hz: f64, q: f64, gain_db: f64, sample_rate: u32) -> Section {
        let (cos, alpha) = frequency_and_alpha(hz, q, sample_rate);
        let gain = libm::pow(10.0, gain_db / 40.0);
        Section::normalised(
            [1.0 + alpha * gain, -2.0 * cos, 1.0 - alpha * gain],
            [1.0 + alpha / gain, -2.0 * cos, 1.0 - alpha / gain],
        )
    }

    /// The phase is inverted at `hz`.
    pub fn all_pass(hz: f64, q: f64, sample_rate: u32) -> Section {
        let (cos, alpha) = frequency_and_alpha(hz, q, sample_rate);
        Section::normalised([1.0 - alpha, -2.0 * cos, 1.0 + alpha], [1.0 + alpha, -2.0 * cos, 1.0 - alpha])
    }

    pub fn low_shelf(hz: f64, q: f64, gain_db: f64, sample_rate: u32) -> Section {
        Section::shelf(hz, q, gain_db, sample_rate, 1.0)
    }

    pub fn high_shelf(hz: f64, q: f64, gain_db: f64, sample_rate: u32) -> Section {
        Section::shelf(hz, q, gain_db, sample_rate, -1.0)
    }

    /// `side` is 1 for the low shelf and -1 for the high shelf, its mirror image.
    fn shelf(hz: f64, q: f64, gain_db: f64, sample_rate: u32, side: f64) -> Section {
        let (cos, alpha) = frequency_and_alpha(hz, q, sample_rate);
        let gain = libm::pow(10.0, gain_db / 40.0);
        let (more, less, slope) = (gain + 1.0, gain - 1.0, 2.0 * gain.sqrt() * alpha);
        Section::normalised(
            [
                gain * (more - side * less * cos + slope),
                side * 2.0 * gain * (less - side * more * cos),
                gain * (more - side * less * cos - slope),
            ],
            [
                more + side * less * cos + slope,
                -side * 2.0 * (less + side * more * cos),
                more + side * less * cos - slope,
            ],
        )
    }

    /// The complex frequency response at `omega` radians per sample.
    pub fn response(&self, omega: f64) -> Complex<f64> {
        let back = Complex::new(libm::cos(omega), -libm::sin(omega));
        let numerator = (back * self.b[2] + self.b[1]) * back + self.b[0];
        let denominator = (back * self.a[1] + self.a[0]) * back + 1.0;
        numerator / denominator
    }

    /// A section with these poles and zeros, scaled to a gain of 1 at `reference` radians per sample.
    fn with_unit_gain(b: [f64; 3], a: [f64; 2], reference: f64) -> Section {
        let section = Section { b, a };
        let gain = section.response(reference).norm();
        Section { b: b.map(|b| b / gain), a }
    }
}

/// The pass band of a Butterworth filter, in Hz.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum BandType {
    /// Passes frequencies below.
    LowPass(f64),
    /// Passes frequencies above.
    HighPass(f64),
    /// Passes frequencies between the two.
    BandPass(f64, f64),
    /// Passes frequencies outside the two.
    BandStop(f64, f64),
}

impl Filter {
    pub fn from_sections(sections: Vec<Section>) -> Filter {
        Filter { sections }
    }

    pub fn sections(&self) -> &[Section] {
        &self.sections
    }

    /// A Butterworth filter. Panics on order 0: the caller validates its keys.
    pub fn butterworth(order: usize, pass: BandType, sample_rate: u32) -> Filter {
        assert!(order > 0, "the order is positive");
        let prototype = (0..order).map(|k| {
            let angle = PI * (2 * k + order + 1) as f64 / (2 * order) as f64;
            Complex::new(libm::cos(angle), libm::sin(angle))
        });
        let warped = |hz: f64| 2.0 * libm::tan(PI * clamped(hz, sample_rate));
        let band = |low: f64, high: f64| {
            let low = warped(low);
            // An empty band would put its poles on the unit circle.
            let high = warped(high).max(low * 1.0005);
            ((low * high).sqrt(), high - low)
        };
        let two = |half: Complex<f64>, centre: f64| {
            let root = (half * half - centre * centre).sqrt();
            [half + root, half - root]
        };
        // The poles of the analogue filter; the numerators of a second-order and a first-order section; where the gain is 1.
        let (poles, numerator, single, reference): (Vec<Complex<f64>>, _, _, f64) = match pass {
            BandType::LowPass(hz) => {
                (prototype.map(|pole| pole * warped(hz)).collect(), [1.0, 2.0, 1.0], [1.0, 1.0, 0.0], 0.0)
            }
            BandType::HighPass(hz) => {
                let corner = Complex::from(warped(hz));
                (prototype.map(|pole| corner / pole).collect(), [1.0, -2.0, 1.0], [1.0, -1.0, 0.0], PI)
            }
            BandType::BandPass(low, high) => {
                let (centre, width) = band(low, high);
                let poles = prototype.flat_map(|pole| two(pole * (width / 2.0), centre)).collect();
                (poles, [1.0, 0.0, -1.0], [1.0, 0.0, 0.0], 2.0 * libm::atan(centre / 2.0))
            }
            BandType::BandStop(low, high) => {
                let (centre, width) = band(low, high);
                let poles = prototype.flat_map(|pole| two(Complex::from(width / 2.0) / pole, centre)).collect();
                let notch = -2.0 * libm::cos(2.0 * libm::atan(centre / 2.0));
                (poles, [1.0, notch, 1.0], [1.0, 0.0, 0.0], 0.0)
            }
        };
        // The bilinear transform. Conjugate poles form a section; real poles are paired.
        let digital: Vec<Complex<f64>> = poles.into_iter().map(|pole| (pole + 2.0) / (-pole + 2.0)).collect();
        let real = |pole: &&Complex<f64>| pole.im.abs() < 1e-12;
        let mut sections: Vec<Section> = digital
            .iter()
            .filter(|pole| !real(pole) && pole.im > 0.0)
            .map(|pole| Section::with_unit_gain(numerator, [-2.0 * pole.re, pole.norm_sqr()], reference))
            .collect();
        let reals: Vec<f64> = digital.iter().filter(real).map(|pole| pole.re).collect();
        for pair in reals.chunks(2) {
            sections.push(match *pair {
                [one, other] => Section::with_unit_gain(numerator, [-(one + other), one * other], reference),
                _ => Section::with_unit_gain(single, [-pair[0], 0.0], reference),
            });
        }
        Filter { sections }
    }

    /// The gain at a frequency.
    pub fn gain(&self, hz: f64, sample_rate: u32) -> f64 {
        let omega = TAU * hz / f64::from(sample_rate);
        self.sections.iter().map(|section| section.response(omega).norm()).product()
    }

    /// Filters in place, starting from silence.
    pub fn run(&self, samples: &mut [f32]) {
        let mut states = vec![FilterState::default(); self.sections.len()];
        let mut block = [0.0f64; BLOCK];
        for samples in samples.chunks_mut(BLOCK) {
            let block = &mut block[..samples.len()];
            for (wide, &sample) in block.iter_mut().zip(&*samples) {
                *wide = f64::from(sample);
            }
            for (section, state) in self.sections.iter().zip(&mut states) {
                section.run(state, block);
            }
            for (sample, &wide) in samples.iter_mut().zip(&*block) {
                *sample = wide as f32;
            }
        }
    }
}

/// Samples that pass all sections before the next block: they stay in the L1 cache.
const BLOCK: usize = 512;

/// The state of a section.
#[derive(Clone, Copy, Default)]
pub(crate) struct FilterState {
    x: [f64; 2],
    y: [f64; 2],
}

impl Section {
    /// Filters four samples at a time. A plain recursion waits for the last output before it computes the next; here the parts of
    /// four outputs that depend on the inputs and on each other are computed first, and only the part that depends on the two
    /// previous outputs waits.
    pub(crate) fn run(&self, state: &mut FilterState, samples: &mut [f64]) {
        let Section { b: [b0, b1, b2], a: [a1, a2] } = *self;
        // The impulse response of the poles.
        let h1 = -a1;
        let h2 = -a1 * h1 - a2;
        let h3 = -a1 * h2 - a2 * h1;
        let h4 = -a1 * h3 - a2 * h2;
        let newer = [h1, h2, h3, h4];
        let older = [-a2, -a2 * h1, -a2 * h2, -a2 * h3];
        let FilterState { x: [mut x1, mut x2], y: [mut y1, mut y2] } = *state;
        let (fours, rest) = samples.as_chunks_mut::<4>();
        for four in fours {
            let [p, q, r, s] = *four;
            let v = [
                b0 * p + b1 * x1 + b2 * x2,
                b0 * q + b1 * p + b2 * x1,
                b0 * r + b1 * q + b2 * p,
                b0 * s + b1 * r + b2 * q,
            ];
            let w = [v[0], v[1] + h1 * v[0], v[2] + h1 * v[1] + h2 * v[0], v[3] + h1 * v[2] + h2 * v[1] + h3 * v[0]];
            for k in 0..4 {
                four[k] = w[k] + older[k] * y2 + newer[k] * y1;
            }
            (x1, x2, y1, y2) = (s, r, four[3], four[2]);
        }
        for sample in rest {
            let x = *sample;
            let y = b0 * x + b1 * x1 + b2 * x2 - a1 * y1 - a2 * y2;
            (x1, x2, y1, y2) = (x, x1, y, y1);
            *sample = y;
        }
        // A tail in silence would sink to subnormal numbers, which are slow.
        let quiet = [x1, x2, y1, y2].iter().all(|value| value.abs() < 1e-30);
        *state = if quiet { FilterState::default() } else { FilterState { x: [x1, x2], y: [y1, y2] } };
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// One section after the other, one sample after the other.
    fn slowly(filter: &Filter, samples: &[f32]) -> Vec<f64> {
        let mut samples: Vec<f64> = samples.iter().map(|&x| f64::from(x)).collect();
        for Section { b, a } in &filter.sections {
            let x = samples.clone();
            for n in 0..x.len() {
                let before = |values: &[f64], k: usize| if n >= k { values[n - k] } else { 0.0 };
                samples[n] = b[0] * x[n] + b[1] * before(&x, 1) + b[2] * before(&x, 2)
                    - a[0] * before(&samples, 1)
                    - a[1] * before(&samples, 2);
            }
        }
        samples
    }

    /// The measured gain of a tone: filters a long one and compares its second half.
    fn measured(filter: &Filter, hz: f64, sample_rate: u32) -> f64 {
        let tone: Vec<f32> =
            (0..40_000).map(|n| (TAU * hz * f64::from(n) / f64::from(sample_rate)).sin() as f32).collect();
        let mut output = tone.clone();
        filter.run(&mut output);
        let late = |samples: &[f32]| crate::dsp::level::rms(&samples[20_000..]);
        late(&output) / late(&tone)
    }

    fn passes() -> impl Strategy<Value = BandType> {
        let hz = || 30.0..3900.0f64;
        prop_oneof![
            hz().prop_map(BandType::LowPass),
            hz().prop_map(BandType::HighPass),
            (hz(), 1.05..4.0f64).prop_map(|(low, ratio)| BandType::BandPass(low, (low * ratio).min(3920.0))),
            (hz(), 1.05..4.0f64).prop_map(|(low, ratio)| BandType::BandStop(low, (low * ratio).min(3920.0))),
        ]
    }

    proptest! {
        #[test]
        fn four_samples_at_a_time_equal_one_at_a_time(
            order in 1usize..9, pass in passes(), samples in prop::collection::vec(-1.0f32..1.0, 0..1300)
        ) {
            let filter = Filter::butterworth(order, pass, 8000);
            let slow = slowly(&filter, &samples);
            let mut fast = samples;
            filter.run(&mut fast);
            for (fast, slow) in fast.iter().zip(slow) {
                prop_assert!((f64::from(*fast) - slow).abs() < 1e-6, "{} {}", fast, slow);
            }
        }

        #[test]
        fn a_butterworth_filter_is_stable_and_follows_its_formula(order in 1usize..9, pass in passes(), hz in 5.0f64..3990.0) {
            let filter = Filter::butterworth(order, pass, 8000);
            for section in &filter.sections {
                prop_assert!(section.a[1].abs() < 1.0 && section.a[0].abs() < 1.0 + section.a[1], "{:?}", section);
            }
            // |H|² = 1 / (1 + u^2n) with u the warped frequency, transformed for the type of band.
            let warped = |hz: f64| (PI * hz / 8000.0).tan();
            let w = warped(hz);
            let bent = |low: f64, high: f64| {
                (w * w - warped(low) * warped(high)) / (w * (warped(high) - warped(low)))
            };
            let u = match pass {
                BandType::LowPass(corner) => w / warped(corner),
                BandType::HighPass(corner) => warped(corner) / w,
                BandType::BandPass(low, high) => bent(low, high),
                BandType::BandStop(low, high) => 1.0 / bent(low, high),
            };
            let expected = 1.0 / (1.0 + u.abs().powi(2 * order as i32)).sqrt();
            prop_assert!((filter.gain(hz, 8000) - expected).abs() < 1e-6, "{} {}", filter.gain(hz, 8000), expected);
        }
    }

    #[test]
    fn the_measured_gain_of_a_tone_equals_the_response() {
        let filters = [
            Filter::butterworth(4, BandType::LowPass(1000.0), 22050),
            Filter::butterworth(2, BandType::HighPass(300.0), 22050),
            Filter::butterworth(2, BandType::BandPass(400.0, 1600.0), 22050),
            Filter::butterworth(2, BandType::BandStop(900.0, 2000.0), 22050),
            Filter::from_sections(vec![
                Section::peaking(1000.0, 1.0, 9.0, 22050),
                Section::low_shelf(200.0, 0.7, -6.0, 22050),
            ]),
        ];
        for filter in filters {
            for hz in [50.0, 180.0, 420.0, 1000.0, 2500.0, 9000.0] {
                let (output, expected) = (measured(&filter, hz, 22050), filter.gain(hz, 22050));
                assert!((output - expected).abs() < 2e-3 * expected + 1e-5, "{hz} Hz: {output}, not {expected}");
            }
        }
    }

    #[test]
    fn the_filters_of_the_cookbook_have_their_specified_gains() {
        let db = |section: Section, hz: f64| 20.0 * Filter::from_sections(vec![section]).gain(hz, 44100).log10();
        let low = Section::low_shelf(500.0, std::f64::consts::FRAC_1_SQRT_2, 6.0, 44100);
        let high = Section::high_shelf(5000.0, std::f64::consts::FRAC_1_SQRT_2, -8.0, 44100);
        let bell = Section::peaking(1000.0, 2.0, 12.0, 44100);
        for (found, expected) in [
            (db(low, 1.0), 6.0),
            (db(low, 500.0), 3.0),
            (db(low, 20000.0), 0.0),
            (db(high, 1.0), 0.0),
            (db(high, 5000.0), -4.0),
            (db(high, 22049.0), -8.0),
            (db(bell, 1000.0), 12.0),
            (db(bell, 5.0), 0.0),
            (db(bell, 22049.0), 0.0),
        ] {
            assert!((found - expected).abs() < 0.02, "{found} dB, not {expected}");
        }
    }

    #[test]
    fn silence_after_a_click_stays_finite_and_frequencies_beyond_the_limits_are_clamped() {
        let mut samples = vec![0.0f32; 300_000];
        samples[0] = 1.0;
        Filter::butterworth(8, BandType::LowPass(90_000.0), 22050).run(&mut samples);
        assert!(samples.iter().all(|x| x.is_finite()) && samples[299_999] == 0.0);
        Filter::butterworth(3, BandType::BandPass(12_000.0, 11_000.0), 22050).run(&mut samples);
        assert!(samples.iter().all(|x| x.is_finite()));
    }
}
