//! Fast angles and phasors in turns (1 is a full circle), in code that compilers vectorise.
//!
//! Polynomials fitted at Chebyshev nodes; errors in f32 are a few units in the last place of a turn (2e-7).

/// The angle of `x + iy` in turns, -0.5 to 0.5; 0 where both are 0.
#[inline(always)]
pub fn angle(y: f32, x: f32) -> f32 {
    let (across, up) = (x.abs(), y.abs());
    let (short, long) = if up > across { (across, up) } else { (up, across) };
    // The addend turns 0 / 0 into 0 and is negligible otherwise.
    let t = short / (long + f32::MIN_POSITIVE);
    let q = t * t;
    let mut angle = t
        * (0.159_154_93
            + q * (-0.053_049_46
                + q * (0.031_782_035
                    + q * (-0.022_308_126
                        + q * (0.015_766_123 + q * (-0.009_448_654 + q * (0.003_846_214 + q * -0.000_743_067_2)))))));
    angle = if up > across { 0.25 - angle } else { angle };
    angle = if x < 0.0 { 0.5 - angle } else { angle };
    angle.copysign(y)
}

/// Cosine and sine of an angle in turns, -0.5 to 0.5.
#[inline(always)]
pub fn phasor(turns: f32) -> (f32, f32) {
    // Half a turn changes both signs; the remainder is at most a quarter of a turn.
    let halves = (2.0 * turns).round_ties_even();
    let r = turns - 0.5 * halves;
    let sign = 1.0 - 2.0 * halves.abs();
    let q = r * r;
    let sin = r * (6.283_185_5 + q * (-41.341_68 + q * (81.602_48 + q * (-76.581_29 + q * 39.760_723))));
    let cos = 1.0 + q * (-19.739_208 + q * (64.939_35 + q * (-85.453_57 + q * (60.143_955 + q * -24.981_836))));
    (sign * cos, sign * sin)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::f64::consts::TAU;

    #[test]
    fn angles_and_phasors_equal_those_of_the_standard_library() {
        for i in -5000..=5000 {
            let turns = f64::from(i) / 10_000.0;
            let (cos, sin) = phasor(turns as f32);
            assert!((f64::from(cos) - (TAU * turns).cos()).abs() < 5e-7, "cosine of {turns}");
            assert!((f64::from(sin) - (TAU * turns).sin()).abs() < 5e-7, "sine of {turns}");
            for length in [1e-12, 0.3, 1e9] {
                let (y, x) = ((length * (TAU * turns).sin()) as f32, (length * (TAU * turns).cos()) as f32);
                let right = f64::from(y).atan2(f64::from(x)) / TAU;
                assert!((f64::from(angle(y, x)) - right).abs() < 2e-7, "angle of {y}, {x}");
            }
        }
        assert_eq!(angle(0.0, 0.0), 0.0);
    }
}
