//! Second-order filters (the audio cookbook of R. Bristow-Johnson), levels, and the sine table of the wavetables.
//!
//! The demo set must have the same bytes on every machine. So no code of the demo set calls a transcendental function of the
//! standard library, which differ between platforms: set-up uses `libm`, the work per sample only + - * / and sqrt.

use std::sync::LazyLock;

/// Sample rate of the demo set.
pub const RATE: f64 = 44100.0;

/// Keeps filter states out of the subnormal numbers, which are slow; 360 dB below full scale.
const QUIETEST: f32 = 1e-18;

pub const SINE_LENGTH: usize = 2048;

/// One period of a sine.
pub static SINE: LazyLock<Vec<f32>> = LazyLock::new(|| {
    (0..SINE_LENGTH).map(|i| libm::sin(2.0 * std::f64::consts::PI * i as f64 / SINE_LENGTH as f64) as f32).collect()
});

/// Sine of a phase in periods.
#[inline]
pub fn sine(turns: f32) -> f32 {
    let position = (turns - turns.floor()) * SINE_LENGTH as f32;
    let i = position as usize;
    let (a, b) = (SINE[i & (SINE_LENGTH - 1)], SINE[(i + 1) & (SINE_LENGTH - 1)]);
    a + (b - a) * (position - i as f32)
}

/// The amplitude factor of a level in decibels.
pub fn db(level: f64) -> f64 {
    libm::exp10(level / 20.0)
}

/// The frequency of a MIDI note number.
pub fn hertz(midi: f64) -> f64 {
    440.0 * libm::exp2((midi - 69.0) / 12.0)
}

/// The factor per sample of a decay by 60 dB in `seconds`.
pub fn decay(seconds: f64) -> f64 {
    libm::exp(-6.907_755_278_982_137 / (seconds * RATE))
}

/// A second-order filter.
#[derive(Clone, Copy)]
pub struct Biquad {
    b: [f32; 3],
    a: [f32; 2],
    z: [f32; 2],
}

impl Biquad {
    fn new(b: [f64; 3], a: [f64; 3]) -> Self {
        Biquad { b: b.map(|x| (x / a[0]) as f32), a: [(a[1] / a[0]) as f32, (a[2] / a[0]) as f32], z: [0.0; 2] }
    }

    fn angle(frequency: f64, q: f64) -> (f64, f64) {
        let w = 2.0 * std::f64::consts::PI * frequency.min(0.45 * RATE) / RATE;
        (libm::cos(w), libm::sin(w) / (2.0 * q))
    }

    pub fn low_pass(frequency: f64, q: f64) -> Self {
        let (c, alpha) = Self::angle(frequency, q);
        Self::new([(1.0 - c) / 2.0, 1.0 - c, (1.0 - c) / 2.0], [1.0 + alpha, -2.0 * c, 1.0 - alpha])
    }

    pub fn high_pass(frequency: f64, q: f64) -> Self {
        let (c, alpha) = Self::angle(frequency, q);
        Self::new([(1.0 + c) / 2.0, -1.0 - c, (1.0 + c) / 2.0], [1.0 + alpha, -2.0 * c, 1.0 - alpha])
    }

    /// Passes a band, with a gain of 1 at its centre.
    pub fn band_pass(frequency: f64, q: f64) -> Self {
        let (c, alpha) = Self::angle(frequency, q);
        Self::new([alpha, 0.0, -alpha], [1.0 + alpha, -2.0 * c, 1.0 - alpha])
    }

    /// Boosts or cuts a band.
    pub fn peak(frequency: f64, q: f64, gain_db: f64) -> Self {
        let (c, alpha) = Self::angle(frequency, q);
        let g = db(gain_db / 2.0);
        Self::new([1.0 + alpha * g, -2.0 * c, 1.0 - alpha * g], [1.0 + alpha / g, -2.0 * c, 1.0 - alpha / g])
    }

    /// Boosts or cuts everything above `frequency`.
    pub fn high_shelf(frequency: f64, gain_db: f64) -> Self {
        let (c, alpha) = Self::angle(frequency, std::f64::consts::FRAC_1_SQRT_2);
        let g = db(gain_db / 2.0);
        let s = 2.0 * g.sqrt() * alpha;
        let (up, down) = (g + 1.0, g - 1.0);
        Self::new(
            [g * (up + down * c + s), -2.0 * g * (down + up * c), g * (up + down * c - s)],
            [up - down * c + s, 2.0 * (down - up * c), up - down * c - s],
        )
    }

    #[inline]
    pub fn next(&mut self, x: f32) -> f32 {
        let y = self.b[0] * x + self.z[0];
        self.z[0] = self.b[1] * x - self.a[0] * y + self.z[1];
        self.z[1] = self.b[2] * x - self.a[1] * y + QUIETEST;
        y
    }
}

/// Runs samples through a cascade of filters in one pass: while a filter waits for its own last result, the processor works on
/// the others.
pub fn chain<const N: usize>(mut filters: [Biquad; N], samples: &mut [f32]) {
    for x in samples {
        *x = filters.iter_mut().fold(*x, |x, filter| filter.next(x));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gain_at(mut filter: Biquad, frequency: f64) -> f64 {
        let wave = |i: usize| libm::sin(2.0 * std::f64::consts::PI * frequency * i as f64 / RATE);
        let out: Vec<f64> = (0..44100).map(|i| f64::from(filter.next(wave(i) as f32))).collect();
        (out[22050..].iter().map(|y| y * y).sum::<f64>() * 2.0 / 22050.0).sqrt()
    }

    #[test]
    fn filters_pass_and_stop_their_bands() {
        let half = std::f64::consts::FRAC_1_SQRT_2;
        assert!((gain_at(Biquad::low_pass(1000.0, half), 1000.0) - half).abs() < 1e-3);
        assert!(gain_at(Biquad::low_pass(1000.0, half), 8000.0) < 0.02);
        assert!(gain_at(Biquad::high_pass(1000.0, half), 100.0) < 0.02);
        assert!((gain_at(Biquad::band_pass(500.0, 5.0), 500.0) - 1.0).abs() < 1e-3);
        assert!((gain_at(Biquad::peak(700.0, 2.0, 6.0), 700.0) - db(6.0)).abs() < 1e-2);
        assert!((gain_at(Biquad::high_shelf(1000.0, -6.0), 15000.0) - db(-6.0)).abs() < 1e-2);
        assert!((gain_at(Biquad::high_shelf(1000.0, -6.0), 30.0) - 1.0).abs() < 1e-2);
    }

    #[test]
    fn the_sine_table_is_a_sine() {
        for i in 0..1000 {
            let turns = i as f32 * 0.0137;
            let exact = libm::sin(2.0 * std::f64::consts::PI * f64::from(turns)) as f32;
            assert!((sine(turns) - exact).abs() < 1e-4);
        }
    }
}
