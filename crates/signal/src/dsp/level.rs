//! Levels of samples: energy, power, peak. Sums run in f32 lanes over short blocks and in f64 beyond, in a fixed order.

/// Sum of the squares.
pub fn energy(samples: &[f32]) -> f64 {
    samples.chunks(512).map(|block| f64::from(short_energy(block))).sum()
}

fn short_energy(samples: &[f32]) -> f32 {
    let (chunks, rest) = samples.as_chunks::<16>();
    let mut sums = [0.0f32; 16];
    for chunk in chunks {
        for (sum, x) in sums.iter_mut().zip(chunk) {
            *sum += x * x;
        }
    }
    for (sum, x) in sums.iter_mut().zip(rest) {
        *sum += x * x;
    }
    sums.iter().sum()
}

/// Mean of the squares; 0 for an empty slice.
pub fn power(samples: &[f32]) -> f64 {
    if samples.is_empty() { 0.0 } else { energy(samples) / samples.len() as f64 }
}

/// Power up to which sound counts as silence, -100 dB: amplified to a level, it would be only rounding noise.
pub const SILENCE: f64 = 1e-10;

/// Root mean square.
///
/// ```
/// use timbre_signal::dsp::level;
///
/// assert_eq!(level::rms(&[0.5, -0.5, 0.5, -0.5]), 0.5);
/// assert_eq!(level::peak(&[0.25, -0.75]), 0.75);
/// ```
pub fn rms(samples: &[f32]) -> f64 {
    power(samples).sqrt()
}

/// Largest magnitude; 0 for an empty slice.
pub fn peak(samples: &[f32]) -> f32 {
    let larger = |a: f32, b: f32| if b > a { b } else { a };
    let (chunks, rest) = samples.as_chunks::<16>();
    let mut peaks = [0.0f32; 16];
    for chunk in chunks {
        for (peak, x) in peaks.iter_mut().zip(chunk) {
            *peak = larger(*peak, x.abs());
        }
    }
    rest.iter().map(|x| x.abs()).chain(peaks).fold(0.0, larger)
}

/// The magnitude that a share (0 to 1) of the samples exceeds; for share 0 the peak, for an empty slice 0.
pub fn magnitude_quantile(samples: &[f32], share: f64) -> f32 {
    if samples.is_empty() {
        return 0.0;
    }
    let above = ((share * samples.len() as f64).round() as usize).min(samples.len() - 1);
    // The bits of positive floats have their order. Counting by the upper half leaves few to be sorted.
    let bits = |sample: &f32| sample.abs().to_bits();
    let mut counts = vec![0u32; 1 << 15];
    samples.iter().for_each(|sample| counts[(bits(sample) >> 16) as usize] += 1);
    let (mut left, mut upper) = (above, counts.len() - 1);
    while left >= counts[upper] as usize {
        left -= counts[upper] as usize;
        upper -= 1;
    }
    let mut here: Vec<u32> = samples.iter().map(bits).filter(|bits| (bits >> 16) as usize == upper).collect();
    let from_below = here.len() - 1 - left;
    f32::from_bits(*here.select_nth_unstable(from_below).1)
}

/// Multiplies every sample by a factor.
pub fn scale(samples: &mut [f32], factor: f32) {
    samples.iter_mut().for_each(|sample| *sample *= factor);
}

/// An amplitude in decibels of full scale.
pub fn decibels(amplitude: f64) -> f64 {
    20.0 * amplitude.log10()
}

/// The amplitude factor of a level in decibels.
pub fn db_to_amplitude(db: f64) -> f64 {
    libm::pow(10.0, db / 20.0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn energy_and_peak_equal_the_plain_loops(samples in prop::collection::vec(-2.0f32..2.0, 0..1200)) {
            let slow: f64 = samples.iter().map(|&x| f64::from(x) * f64::from(x)).sum();
            prop_assert!((energy(&samples) - slow).abs() <= 1e-5 * slow);
            let loudest = samples.iter().fold(0.0f32, |peak, x| peak.max(x.abs()));
            prop_assert_eq!(peak(&samples), loudest);
        }

        #[test]
        fn a_share_of_the_samples_exceeds_the_quantile(
            samples in prop::collection::vec(-2.0f32..2.0, 1..400), share in 0.0f64..1.0
        ) {
            let mut sorted: Vec<f32> = samples.iter().map(|x| x.abs()).collect();
            sorted.sort_by(|a, b| b.total_cmp(a));
            let above = ((share * samples.len() as f64).round() as usize).min(samples.len() - 1);
            prop_assert_eq!(magnitude_quantile(&samples, share), sorted[above]);
        }
    }

    #[test]
    fn an_empty_slice_has_level_zero() {
        assert_eq!((energy(&[]), power(&[]), rms(&[]), peak(&[])), (0.0, 0.0, 0.0, 0.0));
        assert!((db_to_amplitude(20.0) - 10.0).abs() < 1e-12);
    }
}
