//! Harmonic and percussive parts of a clip, by medians of the spectrogram along time and along frequency.
//!
//! Conventions: `librosa.effects.harmonic` and `percussive`: the transform of librosa's defaults (a Hann window as long as the frame, zeros beyond the ends),
//! medians of the magnitudes that continue by reflection with the end repeated, a soft mask of the two, and the inverse transform, which is divided by the
//! sum of the squared windows. Magnitudes are f32, as in librosa; a mask where both medians are 0 is one half, with a margin 0.

use timbre_fft::{Complex, RealPlannerF64};

use crate::dsp::window::Window;

/// The part of a clip.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// What lasts: horizontal lines of the spectrogram.
    Harmonic,
    /// What is short: vertical lines.
    Percussive,
}

/// How a clip is separated.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HpssSpec {
    pub n_fft: usize,
    pub hop_length: usize,
    /// Frames, and bins, of a median.
    pub kernel_size: usize,
    /// Exponent of the mask.
    pub power: f64,
    /// How much larger the median of the part must be than the other for half of the signal.
    pub margin: f64,
}

/// The part of a clip, of the same length.
pub fn part(samples: &[f32], spec: &HpssSpec, part: Part) -> Vec<f32> {
    let HpssSpec { n_fft, hop_length, kernel_size, power, margin } = *spec;
    let mut planner = RealPlannerF64::new();
    let (forward, inverse) = (planner.forward(n_fft), planner.inverse(n_fft));
    let window = Window::Hann.periodic(n_fft);
    let (bins, frames, padding) = (n_fft / 2 + 1, 1 + samples.len() / hop_length, n_fft / 2);
    let mut spectrum: Vec<Complex<f64>> = Vec::with_capacity(bins * frames);
    let mut frame = forward.make_input_vec();
    let mut column = forward.make_output_vec();
    for t in 0..frames {
        for (n, (out, weight)) in frame.iter_mut().zip(&window).enumerate() {
            let at = (t * hop_length + n).checked_sub(padding).and_then(|at| samples.get(at));
            *out = at.map_or(0.0, |&x| f64::from(x) * weight);
        }
        forward.process(&mut frame, &mut column).expect("buffers of the plan");
        spectrum.extend_from_slice(&column);
    }
    // Bin-major and frame-major magnitudes: a median runs along contiguous values.
    let by_frame: Vec<f32> = spectrum.iter().map(|z| z.norm() as f32).collect();
    let by_bin = super::transpose(&by_frame, frames, bins);
    let harmonic = super::transpose(&medians(&by_bin, frames, kernel_size), bins, frames);
    let percussive = medians(&by_frame, bins, kernel_size);
    let (own, other) = match part {
        Part::Harmonic => (&harmonic, &percussive),
        Part::Percussive => (&percussive, &harmonic),
    };
    for (z, (own, other)) in spectrum.iter_mut().zip(own.iter().zip(other)) {
        *z *= mask(f64::from(*own), margin * f64::from(*other), power, margin);
    }
    let mut sums = vec![0.0f64; (frames - 1) * hop_length + n_fft];
    let mut weights = vec![0.0f64; sums.len()];
    let mut out = inverse.make_output_vec();
    for (t, column) in spectrum.chunks_exact_mut(bins).enumerate() {
        // A real signal has no imaginary part at the two ends.
        column[0].im = 0.0;
        if n_fft.is_multiple_of(2) {
            column[bins - 1].im = 0.0;
        }
        inverse.process(column, &mut out).expect("buffers of the plan");
        for (n, (x, weight)) in out.iter().zip(&window).enumerate() {
            sums[t * hop_length + n] += x * weight / n_fft as f64;
            weights[t * hop_length + n] += weight * weight;
        }
    }
    let value = |n: usize| {
        let (sum, weight) = (sums.get(n + padding).unwrap_or(&0.0), weights.get(n + padding).unwrap_or(&0.0));
        if *weight > f64::from(f32::MIN_POSITIVE) { (sum / weight) as f32 } else { *sum as f32 }
    };
    (0..samples.len()).map(value).collect()
}

fn mask(own: f64, other: f64, power: f64, margin: f64) -> f64 {
    let larger = own.max(other);
    if larger < f64::from(f32::MIN_POSITIVE) {
        return if margin == 1.0 { 0.5 } else { 0.0 };
    }
    let (own, other) = ((own / larger).powf(power), (other / larger).powf(power));
    own / (own + other)
}

/// The median of `size` values around each value, in rows of `length`; a row continues reflected, its end repeated.
fn medians(values: &[f32], length: usize, size: usize) -> Vec<f32> {
    let half = (size / 2) as isize;
    let reflected = |at: isize| {
        let along = at.rem_euclid(2 * length as isize) as usize;
        if along < length { along } else { 2 * length - 1 - along }
    };
    let mut out = Vec::with_capacity(values.len());
    let mut sorted: Vec<f32> = Vec::with_capacity(size);
    for row in values.chunks_exact(length) {
        sorted.clear();
        sorted.extend((-half..size as isize - half).map(|at| row[reflected(at)]));
        sorted.sort_unstable_by(f32::total_cmp);
        for t in 0..length as isize {
            out.push(sorted[size / 2]);
            let (leaves, enters) = (row[reflected(t - half)], row[reflected(t + size as isize - half)]);
            // The one that leaves makes room; what lies between moves by one.
            let mut hole = sorted.partition_point(|x| x.total_cmp(&leaves).is_lt());
            while hole + 1 < size && sorted[hole + 1] < enters {
                sorted[hole] = sorted[hole + 1];
                hole += 1;
            }
            while hole > 0 && sorted[hole - 1] > enters {
                sorted[hole] = sorted[hole - 1];
                hole -= 1;
            }
            sorted[hole] = enters;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SPEC: HpssSpec = HpssSpec { n_fft: 1024, hop_length: 256, kernel_size: 31, power: 2.0, margin: 1.0 };

    proptest! {
        #[test]
        fn the_sliding_median_is_that_of_a_sort(values in prop::collection::vec(0u8..20, 1..80), half in 0usize..9) {
            let (values, size): (Vec<f32>, usize) = (values.into_iter().map(f32::from).collect(), 2 * half + 1);
            let found = medians(&values, values.len(), size);
            for (t, found) in found.iter().enumerate() {
                let mut window: Vec<f32> = (0..size)
                    .map(|n| {
                        // One step at a time, the end twice.
                        let (mut at, mut ahead) = (t as isize, n >= half);
                        for _ in 0..n.abs_diff(half) {
                            let next = if ahead { at + 1 } else { at - 1 };
                            if (0..values.len() as isize).contains(&next) { at = next } else { ahead = !ahead }
                        }
                        values[at as usize]
                    })
                    .collect();
                window.sort_by(f32::total_cmp);
                prop_assert_eq!(*found, window[half]);
            }
        }
    }

    #[test]
    fn a_tone_is_harmonic_a_click_percussive_and_both_parts_are_the_clip() {
        let tone: Vec<f32> = (0..16000).map(|n| 0.3 * (n as f32 * 0.2).sin()).collect();
        let mut both = tone.clone();
        both[8000] += 0.9;
        let (harmonic, percussive) = (part(&both, &SPEC, Part::Harmonic), part(&both, &SPEC, Part::Percussive));
        for n in 0..both.len() {
            assert!((harmonic[n] + percussive[n] - both[n]).abs() < 1e-5, "{n}");
        }
        let energy = |samples: &[f32]| samples[2000..14000].iter().map(|x| x * x).sum::<f32>();
        assert!(energy(&part(&tone, &SPEC, Part::Harmonic)) > 0.98 * energy(&tone));
        assert!(percussive[8000] > 0.5, "{}", percussive[8000]);
    }

    #[test]
    fn a_clip_of_one_sample_has_parts() {
        assert_eq!(part(&[0.5], &SPEC, Part::Harmonic).len(), 1);
        assert_eq!(part(&[0.0; 700], &SPEC, Part::Percussive), vec![0.0; 700]);
    }
}
