//! Decibels as in librosa's `power_to_db` with `ref=1` and `amin=1e-10`: the floor is -100 dB.
//!
//! The logarithm is implemented here because the platform's differs between machines and is not vectorised. Its error is at
//! most 1e-5 dB (f32 itself resolves 8e-6 dB at -100 dB).

/// Power of silence: lower powers are raised to it.
pub const SMALLEST_POWER: f32 = 1e-10;

/// Converts powers to decibels in place; a power that is not finite becomes infinite. With `top_db`, values further below the maximum of the slice are raised to that limit.
///
/// ```
/// let mut values = [1.0, 0.01, 0.0];
/// timbre_signal::dsp::decibel::power_to_db(&mut values, Some(80.0));
/// assert!((values[1] + 20.0).abs() < 1e-5);
/// assert_eq!(values[2], values[0] - 80.0);
/// ```
pub fn power_to_db(values: &mut [f32], top_db: Option<f32>) {
    for value in values.iter_mut() {
        let level = decibels(value.max(SMALLEST_POWER));
        *value = if value.is_finite() { level } else { f32::INFINITY };
    }
    if let Some(top_db) = top_db {
        let floor = values.iter().copied().fold(f32::NEG_INFINITY, f32::max) - top_db;
        for value in values.iter_mut() {
            *value = value.max(floor);
        }
    }
}

/// `10 log10(power)` of a positive normal number.
#[inline(always)]
pub fn decibels(power: f32) -> f32 {
    const SQRT_HALF: i32 = 0x3f35_04f3;
    const DB_OF_TWO: f32 = 3.010_3;
    // Near-minimax for 10 log10(1 + f) / f on [sqrt(1/2) - 1, sqrt(2) - 1]: iteratively reweighted least squares on
    // Chebyshev nodes, largest error 2.9e-7 dB in f32.
    const SERIES: [f32; 8] =
        [4.342_944, -2.171_501_4, 1.447_772, -1.083_970_5, 0.863_075_44, -0.752_782_9, 0.713_111, -0.438_734_26];
    // power = mantissa * 2^exponent with a mantissa around 1 avoids cancellation for powers near 1.
    let bits = power.to_bits() as i32;
    let exponent = (bits - SQRT_HALF) >> 23;
    let f = f32::from_bits((bits - (exponent << 23)) as u32) - 1.0;
    let mut sum = SERIES[7];
    for coefficient in SERIES[..7].iter().rev() {
        sum = sum * f + coefficient;
    }
    sum * f + exponent as f32 * DB_OF_TWO
}

/// `2^x` to f32's resolution, clamped to exponents from -126 to 126. Vectorised, and equal on every machine.
#[inline(always)]
pub fn power_of_two(x: f32) -> f32 {
    // Adding and subtracting this constant rounds to a whole number, which is then in the lower bits.
    const ROUNDER: f32 = 12_582_912.0;
    // Taylor about 0 on [-1/2, 1/2].
    const SERIES: [f32; 6] =
        [std::f32::consts::LN_2, 0.240_226_5, 0.055_504_11, 0.009_618_129, 0.001_333_355_8, 0.000_154_035_3];
    let x = if x < -126.0 { -126.0 } else { x };
    let x = if x > 126.0 { 126.0 } else { x };
    let rounded = x + ROUNDER;
    let f = x - (rounded - ROUNDER);
    let mut sum = SERIES[5];
    for coefficient in SERIES[..5].iter().rev() {
        sum = sum * f + coefficient;
    }
    let exponent = (rounded.to_bits() as i32).wrapping_sub(ROUNDER.to_bits() as i32);
    (sum * f + 1.0) * f32::from_bits(((exponent + 127) << 23) as u32)
}

/// The amplitude factor of a level in decibels: `10^(db / 20)`.
#[inline(always)]
pub fn db_to_amplitude(db: f32) -> f32 {
    power_of_two(db * 0.166_096_4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decibels_are_ten_times_the_logarithm_for_every_exponent() {
        let mut worst = 0.0f64;
        for exponent in 1..255u32 {
            for mantissa in (0..1 << 23).step_by(4099) {
                let power = f32::from_bits((exponent << 23) | mantissa);
                let exact = 10.0 * f64::from(power).log10();
                // The result is an f32: its resolution is part of the bound.
                worst = worst.max((f64::from(decibels(power)) - exact).abs() - exact.abs() * f64::from(f32::EPSILON));
            }
        }
        assert!(worst < 1e-6, "{worst} dB");
    }

    #[test]
    fn decibels_in_the_audio_range_are_accurate_to_1e_5() {
        for n in 0..200_000 {
            let power = 10f32.powf(-10.0 + n as f32 * 1e-4);
            assert!((f64::from(decibels(power)) - 10.0 * f64::from(power).log10()).abs() < 1.5e-5, "{power}");
        }
    }

    #[test]
    fn a_power_that_is_not_finite_gets_no_finite_level() {
        let mut values = [1.0, f32::INFINITY, f32::NAN];
        power_to_db(&mut values, None);
        assert_eq!(values, [0.0, f32::INFINITY, f32::INFINITY]);
        power_to_db(&mut values, Some(80.0));
        assert!(values.iter().all(|value| value.is_infinite()));
    }

    #[test]
    fn full_scale_is_0_db_and_silence_minus_100_db() {
        let mut values = [1.0, 0.0, 1e-10, 1e-30, 100.0];
        power_to_db(&mut values, None);
        for (value, expected) in values.iter().zip([0.0, -100.0, -100.0, -100.0, 20.0]) {
            assert!((value - expected).abs() < 1e-5, "{values:?}");
        }
    }

    #[test]
    fn top_db_limits_the_distance_to_the_maximum() {
        let mut values = [100.0, 1.0, 1e-7, 0.0];
        power_to_db(&mut values, Some(80.0));
        assert_eq!(values[3], values[0] - 80.0);
        assert!((values[2] + 60.0).abs() < 1e-4);
        let mut silence = [0.0; 3];
        power_to_db(&mut silence, Some(80.0));
        assert!(silence.iter().all(|v| (v + 100.0).abs() < 1e-4));
    }

    #[test]
    fn powers_of_two_are_accurate_to_f32_resolution() {
        for n in -125_999..126_000 {
            let x = n as f32 * 1e-3;
            let exact = f64::from(x).exp2();
            assert!((f64::from(power_of_two(x)) / exact - 1.0).abs() < 4e-7, "{x}");
        }
        assert_eq!((power_of_two(0.0), power_of_two(-1.0), power_of_two(10.0)), (1.0, 0.5, 1024.0));
        assert!(power_of_two(1e9).is_finite() && power_of_two(-1e9) > 0.0);
        assert!((db_to_amplitude(20.0) - 10.0).abs() < 1e-5);
    }
}
