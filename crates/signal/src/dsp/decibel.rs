//! Decibels, as librosa's `power_to_db` with `ref=1` and `amin=1e-10`: nothing lies below -100 dB.
//!
//! The logarithm is our own, because the one of the platform differs from machine to machine and is not vectorised: it is off
//! by at most 1e-5 dB (f32 itself resolves 8e-6 dB at -100 dB).

/// The power that stands for silence.
pub const SMALLEST_POWER: f32 = 1e-10;

/// Replaces powers by decibels; with `top_db`, what lies further below the loudest value of the slice is lifted to there.
pub fn power_to_db(values: &mut [f32], top_db: Option<f32>) {
    for value in values.iter_mut() {
        *value = decibels(value.max(SMALLEST_POWER));
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
    // power = mantissa * 2^exponent with the mantissa about 1, so that powers near 1 lose nothing to cancellation.
    let bits = power.to_bits() as i32;
    let exponent = (bits - SQRT_HALF) >> 23;
    let f = f32::from_bits((bits - (exponent << 23)) as u32) - 1.0;
    let mut sum = SERIES[7];
    for coefficient in SERIES[..7].iter().rev() {
        sum = sum * f + coefficient;
    }
    sum * f + exponent as f32 * DB_OF_TWO
}

/// `2^x`, right to f32's resolution; beyond -126 and 126 it stays where it is there. In vectors, and the same on every machine.
#[inline(always)]
pub fn power_of_two(x: f32) -> f32 {
    // Added and taken away, it rounds to a whole number; that number is then in the lower bits.
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

/// The factor of so many decibels of amplitude: `10^(db / 20)`.
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
                // The result is an f32: its own resolution is part of the bound.
                worst = worst.max((f64::from(decibels(power)) - exact).abs() - exact.abs() * f64::from(f32::EPSILON));
            }
        }
        assert!(worst < 1e-6, "{worst} dB");
    }

    #[test]
    fn decibels_within_the_range_of_audio_are_right_to_a_hundred_thousandth() {
        for n in 0..200_000 {
            let power = 10f32.powf(-10.0 + n as f32 * 1e-4);
            assert!((f64::from(decibels(power)) - 10.0 * f64::from(power).log10()).abs() < 1.5e-5, "{power}");
        }
    }

    #[test]
    fn full_scale_is_zero_and_silence_is_minus_a_hundred() {
        let mut values = [1.0, 0.0, 1e-10, 1e-30, 100.0];
        power_to_db(&mut values, None);
        for (value, expected) in values.iter().zip([0.0, -100.0, -100.0, -100.0, 20.0]) {
            assert!((value - expected).abs() < 1e-5, "{values:?}");
        }
    }

    #[test]
    fn nothing_lies_further_below_the_loudest_value_than_top_db() {
        let mut values = [100.0, 1.0, 1e-7, 0.0];
        power_to_db(&mut values, Some(80.0));
        assert_eq!(values[3], values[0] - 80.0);
        assert!((values[2] + 60.0).abs() < 1e-4);
        let mut silence = [0.0; 3];
        power_to_db(&mut silence, Some(80.0));
        assert!(silence.iter().all(|v| (v + 100.0).abs() < 1e-4));
    }

    #[test]
    fn powers_of_two_are_right_to_f32s_resolution() {
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
