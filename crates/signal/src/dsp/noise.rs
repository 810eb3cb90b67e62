//! Gaussian noise, white and coloured, fast enough to be generated for every clip.
//!
//! Random bits come from lanes of xoshiro128+ (Blackman and Vigna), each seeded by a ChaCha8 stream; only their upper bits
//! are used. The Box-Muller transform makes two Gaussian numbers of two words, with polynomials for logarithm, sine and
//! cosine: this vectorises and gives the same bits at any vector width. The tails reach 6.6 standard deviations.
//!
//! Coloured noise is white noise through cascades of real poles and zeros, accurate to 0.25 dB: pink falls by 3.01 dB per
//! octave (power as 1 / f), brown by 6.02, blue and violet rise by as much. The cascades are flat below 1/2000 of the sample
//! rate (11 Hz at 22,050 Hz), so that brown noise does not drift, and accurate from 1/1000 of it on (brown and violet:
//! 1/100). Noise made by weighting an FFT keeps its slope down to the first bin instead.

use rand_core::Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::dsp::decibel::decibels;
use timbre_core::seed::Seed;

/// The spectral slope of noise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Colour {
    White,
    /// Power as 1 / f.
    Pink,
    /// Power as 1 / f².
    Brown,
    /// Power as f.
    Blue,
    /// Power as f².
    Violet,
}

// Poles and zeros of the colouring filters, fitted by least squares in decibels over the logarithm of frequency.
const PINK: [Stage; 5] = [
    Stage { pole: 0.996_976_6, zero: 0.991_710_84 },
    Stage { pole: 0.980_419_9, zero: 0.955_266_52 },
    Stage { pole: 0.899_966_23, zero: 0.784_096_4 },
    Stage { pole: 0.565_068_06, zero: 0.226_877_97 },
    Stage { pole: -0.302_240_4, zero: -0.406_932_3 },
];
const BROWN: [Stage; 2] =
    [Stage { pole: 0.997, zero: -0.104_597_15 }, Stage { pole: -0.541_878_34, zero: -0.615_367_35 }];
const BLUE: [Stage; 5] = upside_down(PINK);
const VIOLET: [Stage; 2] = upside_down(BROWN);

const fn upside_down<const N: usize>(mut cascade: [Stage; N]) -> [Stage; N] {
    let mut n = 0;
    while n < N {
        cascade[n] = Stage { pole: cascade[n].zero, zero: cascade[n].pole };
        n += 1;
    }
    cascade
}

#[derive(Clone, Copy)]
struct Stage {
    pole: f32,
    zero: f32,
}

const LANES: usize = 16;
/// Numbers generated at a time.
const BLOCK: usize = 256;
/// Samples until the slowest pole has forgotten its start.
const WARM_UP: usize = 2048;

/// An endless sequence of independent Gaussian numbers of mean 0 and variance 1.
pub(crate) struct GaussianNoise {
    lanes: [[u32; LANES]; 4],
    block: [f32; BLOCK],
    used: usize,
}

impl GaussianNoise {
    pub fn new(seed: u64) -> GaussianNoise {
        let mut rng = Seed::new(seed).rng();
        // xoshiro never leaves the state of all zeros; a ChaCha8 lane is not that.
        let lanes = std::array::from_fn(|_| std::array::from_fn(|_| rng.next_u32()));
        GaussianNoise { lanes, block: [0.0; BLOCK], used: BLOCK }
    }

    /// Writes the next numbers.
    pub fn fill(&mut self, out: &mut [f32]) {
        let mut out = self.leftover(out);
        while out.len() >= BLOCK {
            let (block, rest) = out.split_first_chunk_mut::<BLOCK>().expect("it is as long as that");
            make(&mut self.lanes, block);
            out = rest;
        }
        if !out.is_empty() {
            make(&mut self.lanes, &mut self.block);
            self.used = 0;
            self.leftover(out);
        }
    }

    /// Writes what is left of the last block; returns the rest of `out`.
    fn leftover<'a>(&mut self, out: &'a mut [f32]) -> &'a mut [f32] {
        let n = out.len().min(BLOCK - self.used);
        let (now, later) = out.split_at_mut(n);
        now.copy_from_slice(&self.block[self.used..self.used + n]);
        self.used += n;
        later
    }
}

/// Generates a block: the same bits at any vector width, because nothing is fused or summed.
fn make(lanes: &mut [[u32; LANES]; 4], out: &mut [f32; BLOCK]) {
    #[cfg(target_arch = "x86_64")]
    {
        #[target_feature(enable = "avx2")]
        fn in_wide_vectors(lanes: &mut [[u32; LANES]; 4], out: &mut [f32; BLOCK]) {
            make_here(lanes, out);
        }
        if is_x86_feature_detected!("avx2") {
            // SAFETY: the processor has these instructions.
            return unsafe { in_wide_vectors(lanes, out) };
        }
    }
    make_here(lanes, out);
}

#[inline(always)]
fn make_here(lanes: &mut [[u32; LANES]; 4], out: &mut [f32; BLOCK]) {
    let mut words = [0u32; BLOCK];
    for words in words.as_chunks_mut::<LANES>().0 {
        next_words(lanes, words);
    }
    let (lengths, turns) = words.split_at(BLOCK / 2);
    let (xs, ys) = out.split_at_mut(BLOCK / 2);
    for (((x, y), &length), &turn) in xs.iter_mut().zip(ys).zip(lengths).zip(turns) {
        (*x, *y) = two_gaussians(length, turn);
    }
}

#[inline(always)]
fn next_words([a, b, c, d]: &mut [[u32; LANES]; 4], words: &mut [u32; LANES]) {
    for lane in 0..LANES {
        words[lane] = a[lane].wrapping_add(d[lane]);
        let shifted = b[lane] << 9;
        c[lane] ^= a[lane];
        d[lane] ^= b[lane];
        b[lane] ^= c[lane];
        a[lane] ^= d[lane];
        c[lane] ^= shifted;
        d[lane] = d[lane].rotate_left(11);
    }
}

/// The Box-Muller transform: a radius whose square is exponential, and an angle.
#[inline(always)]
fn two_gaussians(length: u32, turn: u32) -> (f32, f32) {
    // In (0, 1], with f32's full resolution near 0, which determines the tails.
    let uniform = ((length >> 1) as i32 as f32 + 0.5) * (0.5f32 / (1 << 30) as f32);
    // -2 ln(uniform), by way of decibels.
    let radius = (-0.460_517_02 * decibels(uniform)).max(0.0).sqrt();
    // The upper two bits choose a quadrant, the others an angle of -45 to 45 degrees within it.
    let t = ((turn << 2) as i32) as f32 * (std::f32::consts::FRAC_PI_4 / (1u32 << 31) as f32);
    let z = t * t;
    // The polynomials of Cephes for this interval, accurate to f32's resolution.
    let sine = ((-1.951_529_6e-4 * z + 8.332_161e-3) * z - 0.166_666_55) * z * t + t;
    let cosine = ((2.443_315_7e-5 * z - 1.388_731_6e-3) * z + 4.166_664_6e-2) * z * z - 0.5 * z + 1.0;
    let (x, y) = if turn >> 31 == 0 { (cosine, sine) } else { (-sine, cosine) };
    let radius = if (turn >> 30) & 1 == 0 { radius } else { -radius };
    (radius * x, radius * y)
}

/// Fills `out` with noise of a colour, at the colour's own level (white: variance 1); the caller scales it.
///
/// ```
/// use timbre_signal::dsp::noise::{Colour, fill};
///
/// let mut noise = vec![0.0; 1000];
/// fill(Colour::Pink, 7, &mut noise);
/// let mut again = vec![0.0; 1000];
/// fill(Colour::Pink, 7, &mut again);
/// assert_eq!(noise, again);
/// ```
pub fn fill(colour: Colour, seed: u64, out: &mut [f32]) {
    match colour {
        Colour::White => GaussianNoise::new(seed).fill(out),
        Colour::Pink => fill_by(&PINK, seed, out),
        Colour::Brown => fill_by(&BROWN, seed, out),
        Colour::Blue => fill_by(&BLUE, seed, out),
        Colour::Violet => fill_by(&VIOLET, seed, out),
    }
}

fn fill_by<const N: usize>(cascade: &[Stage; N], seed: u64, out: &mut [f32]) {
    let mut gaussians = GaussianNoise::new(seed);
    let mut state = [[0.0f32; 2]; N];
    let mut lead = [0.0; WARM_UP];
    gaussians.fill(&mut lead);
    run_cascade(cascade, &mut state, &mut lead);
    for block in out.chunks_mut(8 * BLOCK) {
        gaussians.fill(block);
        run_cascade(cascade, &mut state, block);
    }
}

/// Filters in place and keeps the state. All stages run within a sample: while one waits for its last output, the others
/// compute.
fn run_cascade<const N: usize>(cascade: &[Stage; N], state: &mut [[f32; 2]; N], samples: &mut [f32]) {
    let mut now = *state;
    for sample in samples {
        let mut value = *sample;
        for (stage, [x, y]) in cascade.iter().zip(&mut now) {
            let out = (value - stage.zero * *x) + stage.pole * *y;
            (*x, *y) = (value, out);
            value = out;
        }
        *sample = value;
    }
    *state = now;
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::dsp::level;
    use crate::dsp::stft::{PadMode, StftPlan, StftSpec};
    use crate::dsp::window::Window;

    fn cascade(colour: Colour) -> &'static [Stage] {
        match colour {
            Colour::White => &[],
            Colour::Pink => &PINK,
            Colour::Brown => &BROWN,
            Colour::Blue => &BLUE,
            Colour::Violet => &VIOLET,
        }
    }

    fn white(seed: u64, n: usize) -> Vec<f32> {
        let mut out = vec![0.0; n];
        fill(Colour::White, seed, &mut out);
        out
    }

    #[test]
    fn the_moments_are_gaussian() {
        let n = 2_000_000;
        let samples = white(1, n);
        let moment = |k: i32| samples.iter().map(|&x| f64::from(x).powi(k)).sum::<f64>() / n as f64;
        // Five standard errors each.
        let error = |variance: f64| 5.0 * (variance / n as f64).sqrt();
        for (k, expected, variance) in
            [(1, 0.0, 1.0), (2, 1.0, 2.0), (3, 0.0, 15.0), (4, 3.0, 96.0), (6, 15.0, 10170.0)]
        {
            assert!((moment(k) - expected).abs() < error(variance), "moment {k} is {}", moment(k));
        }
    }

    #[test]
    fn every_bin_of_the_histogram_has_its_expected_count() {
        let samples = white(7, 1_000_000);
        // The normal distribution function at -3, -2.5 … 3.
        let below = |x: f64| 0.5 * libm::erfc(-x / std::f64::consts::SQRT_2);
        let mut chi_squared = 0.0;
        let edges: Vec<f64> = (-8..=8).map(|n| f64::from(n) * 0.5).collect();
        for pair in edges.windows(2) {
            let expected = (below(pair[1]) - below(pair[0])) * samples.len() as f64;
            let inside = samples.iter().filter(|&&x| (pair[0]..pair[1]).contains(&f64::from(x))).count() as f64;
            chi_squared += (inside - expected).powi(2) / expected;
        }
        // 15 degrees of freedom: above 44 once in ten thousand.
        assert!(chi_squared < 44.0, "{chi_squared}");
        assert!(level::peak(&samples) > 4.4 && level::peak(&samples) < 6.7, "{}", level::peak(&samples));
    }

    #[test]
    fn neighbours_and_seeds_are_independent() {
        let n = 200_000;
        let samples = white(3, n);
        let other = white(4, n);
        let correlation = |a: &[f32], b: &[f32]| {
            a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum::<f64>() / (n as f64).sqrt()
        };
        // 16 is a lane, 128 the two of one pair, 256 a block.
        for lag in [1, 2, 3, 15, 16, 17, 64, 127, 128, 129, 256, 512] {
            assert!(correlation(&samples, &samples[lag..]).abs() < 4.5, "lag {lag}");
        }
        assert!(correlation(&samples, &other).abs() < 4.5);
        let squares = |samples: &[f32]| samples.iter().map(|x| x * x - 1.0).collect::<Vec<_>>();
        for lag in [1, 16, 128, 256] {
            let (a, b) = (squares(&samples), squares(&samples[lag..]));
            assert!((correlation(&a, &b) / 2.0).abs() < 4.5, "squares, lag {lag}");
        }
    }

    #[test]
    fn pairs_equal_the_exact_transform() {
        for (length, turn) in
            [(0, 0), (1, 1 << 31), (u32::MAX, u32::MAX), (1 << 31, 3 << 30), (123_456_789, 987_654_321)]
        {
            let uniform = (f64::from(length >> 1) + 0.5) / 2f64.powi(31);
            let radius = (-2.0 * uniform.ln()).sqrt();
            let within = f64::from((turn << 2) as i32) / 2f64.powi(31) * std::f64::consts::FRAC_PI_4;
            let angle = within + if turn >> 31 == 1 { std::f64::consts::FRAC_PI_2 } else { 0.0 };
            let sign = if (turn >> 30) & 1 == 1 { -1.0 } else { 1.0 };
            let (x, y) = two_gaussians(length, turn);
            // Near 1 the uniform number itself is rounded to f32.
            assert!((f64::from(x) - sign * radius * angle.cos()).abs() < 5e-4, "{length} {turn}: {x}");
            assert!((f64::from(y) - sign * radius * angle.sin()).abs() < 5e-4, "{length} {turn}: {y}");
        }
    }

    proptest! {
        #[test]
        fn noise_does_not_depend_on_the_sizes_of_the_pieces(seed: u64, pieces in prop::collection::vec(0usize..700, 0..6)) {
            let n: usize = pieces.iter().sum();
            let mut whole = vec![0.0; n];
            GaussianNoise::new(seed).fill(&mut whole);
            let mut gaussians = GaussianNoise::new(seed);
            let mut rest = &mut vec![0.0; n][..];
            let mut at = 0;
            for piece in pieces {
                let (now, later) = rest.split_at_mut(piece);
                gaussians.fill(now);
                prop_assert_eq!(&*now, &whole[at..at + piece]);
                (rest, at) = (later, at + piece);
            }
        }
    }

    #[test]
    fn coloured_noise_has_its_slope() {
        let spec = StftSpec {
            n_fft: 4096,
            hop_length: 2048,
            win_length: 4096,
            window: Window::Hann,
            center: false,
            pad_mode: PadMode::Constant,
        };
        for (colour, slope) in [
            (Colour::White, 0.0),
            (Colour::Pink, -3.01),
            (Colour::Brown, -6.02),
            (Colour::Blue, 3.01),
            (Colour::Violet, 6.02),
        ] {
            let mut samples = vec![0.0; 1 << 20];
            fill(colour, 11, &mut samples);
            let spectrum = StftPlan::new(spec).power(&samples);
            // Decibels of octave bands from 1/128 of the sample rate up to the upper end.
            let octaves: Vec<f64> = (0..6)
                .map(|octave| {
                    let bins = 32 << octave..64 << octave;
                    let sum: f64 = spectrum
                        .power
                        .chunks(spectrum.bins)
                        .map(|frame| bins.clone().map(|bin| f64::from(frame[bin]) / bins.len() as f64).sum::<f64>())
                        .sum();
                    10.0 * sum.log10()
                })
                .collect();
            for pair in octaves.windows(2) {
                assert!((pair[1] - pair[0] - slope).abs() < 0.25, "{colour:?}: {octaves:?}");
            }
        }
    }

    #[test]
    fn a_colouring_filter_is_accurate_to_a_tenth_of_a_decibel() {
        for (colour, slope, lowest) in [
            (Colour::Pink, -10.0, 1000.0),
            (Colour::Brown, -20.0, 100.0),
            (Colour::Blue, 10.0, 1000.0),
            (Colour::Violet, 20.0, 100.0),
        ] {
            let cascade = cascade(colour);
            let deviations: Vec<f64> = (0..200)
                .map(|n| {
                    let omega = std::f64::consts::TAU / lowest * (lowest / 2.05).powf(f64::from(n) / 199.0);
                    let distance = |place: f32| {
                        let place = f64::from(place);
                        (1.0 - 2.0 * place * omega.cos() + place * place).log10() * 10.0
                    };
                    let gain: f64 = cascade.iter().map(|stage| distance(stage.zero) - distance(stage.pole)).sum();
                    gain - slope * omega.log10()
                })
                .collect();
            let (low, high) = deviations.iter().fold((f64::MAX, f64::MIN), |(a, b), &x| (a.min(x), b.max(x)));
            assert!(high - low < 0.25, "{colour:?}: {low} to {high} dB");
        }
    }
}
