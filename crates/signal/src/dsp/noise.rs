//! Gaussian noise, white and coloured, fast enough to be made anew for every clip.
//!
//! Random bits come from lanes of xoshiro128+ (Blackman and Vigna), each started from a ChaCha8 stream of the seed; only their
//! upper bits decide. Two GaussianNoise come from two words by Box and Muller's transform with polynomials for the logarithm,
//! the sine and the cosine, so that a processor works on many at a time and gives the same bits with vectors of any width. The
//! tails reach 6.6 standard deviations.
//!
//! Colours are white noise through ladders of poles and zeros on the real axis, straight within 0.25 dB: pink falls by 3.01 dB
//! an octave (power as 1 / f), brown by 6.02, blue and violet rise by as much. The ladders are flat below 1/2000 of the sample
//! rate (11 Hz at 22,050 Hz), so that brown noise does not wander away, and follow their line from 1/1000 of it (brown and
//! violet: 1/100). Whoever makes them by weighting an FFT has lines down to the first bin instead.

use rand_core::Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::dsp::decibel::decibels;
use timbre_core::seed::Seed;

/// How the power of noise depends on frequency.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Colour {
    White,
    /// As 1 / f.
    Pink,
    /// As 1 / f².
    Brown,
    /// As f.
    Blue,
    /// As f².
    Violet,
}

// Poles and zeros of the filters that colour white noise: fitted in the least squares of decibels over the logarithm of frequency.
const PINK: [Rung; 5] = [
    Rung { pole: 0.996_976_6, zero: 0.991_710_84 },
    Rung { pole: 0.980_419_9, zero: 0.955_266_52 },
    Rung { pole: 0.899_966_23, zero: 0.784_096_4 },
    Rung { pole: 0.565_068_06, zero: 0.226_877_97 },
    Rung { pole: -0.302_240_4, zero: -0.406_932_3 },
];
const BROWN: [Rung; 2] = [Rung { pole: 0.997, zero: -0.104_597_15 }, Rung { pole: -0.541_878_34, zero: -0.615_367_35 }];
const BLUE: [Rung; 5] = upside_down(PINK);
const VIOLET: [Rung; 2] = upside_down(BROWN);

const fn upside_down<const N: usize>(mut ladder: [Rung; N]) -> [Rung; N] {
    let mut n = 0;
    while n < N {
        ladder[n] = Rung { pole: ladder[n].zero, zero: ladder[n].pole };
        n += 1;
    }
    ladder
}

#[derive(Clone, Copy)]
struct Rung {
    pole: f32,
    zero: f32,
}

const LANES: usize = 16;
/// GaussianNoise that are made at a time.
const BLOCK: usize = 256;
/// Until the slowest pole has forgotten where it began.
const WARM_UP: usize = 2048;

/// An endless row of independent GaussianNoise of mean 0 and variance 1.
pub struct GaussianNoise {
    lanes: [[u32; LANES]; 4],
    block: [f32; BLOCK],
    used: usize,
}

impl GaussianNoise {
    pub fn new(seed: u64) -> GaussianNoise {
        let mut rng = Seed::new(seed).rng();
        // All zeros is the one state that xoshiro never leaves; a lane of ChaCha8 is not that.
        let lanes = std::array::from_fn(|_| std::array::from_fn(|_| rng.next_u32()));
        GaussianNoise { lanes, block: [0.0; BLOCK], used: BLOCK }
    }

    /// The next ones.
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

    /// What the last block had left over; gives back what is still to be filled.
    fn leftover<'a>(&mut self, out: &'a mut [f32]) -> &'a mut [f32] {
        let n = out.len().min(BLOCK - self.used);
        let (now, later) = out.split_at_mut(n);
        now.copy_from_slice(&self.block[self.used..self.used + n]);
        self.used += n;
        later
    }
}

/// The same bits with vectors of any width: nothing is fused and nothing is summed.
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

/// Box and Muller: a length whose square is exponential, and a direction.
#[inline(always)]
fn two_gaussians(length: u32, turn: u32) -> (f32, f32) {
    // Within (0, 1], as finely as f32 goes near 0: that is where the tails come from.
    let uniform = ((length >> 1) as i32 as f32 + 0.5) * (0.5f32 / (1 << 30) as f32);
    // -2 ln(uniform), by way of decibels.
    let radius = (-0.460_517_02 * decibels(uniform)).max(0.0).sqrt();
    // The upper two bits choose a quarter, the others an angle of -45 to 45 degrees within it.
    let t = ((turn << 2) as i32) as f32 * (std::f32::consts::FRAC_PI_4 / (1u32 << 31) as f32);
    let z = t * t;
    // The polynomials of Cephes for this interval, right to f32's resolution.
    let sine = ((-1.951_529_6e-4 * z + 8.332_161e-3) * z - 0.166_666_55) * z * t + t;
    let cosine = ((2.443_315_7e-5 * z - 1.388_731_6e-3) * z + 4.166_664_6e-2) * z * z - 0.5 * z + 1.0;
    let (x, y) = if turn >> 31 == 0 { (cosine, sine) } else { (-sine, cosine) };
    let radius = if (turn >> 30) & 1 == 0 { radius } else { -radius };
    (radius * x, radius * y)
}

/// Fills `out` with noise of that colour; its level is the colour's own (white: variance 1), so the caller scales it.
pub fn fill(colour: Colour, seed: u64, out: &mut [f32]) {
    match colour {
        Colour::White => GaussianNoise::new(seed).fill(out),
        Colour::Pink => fill_by(&PINK, seed, out),
        Colour::Brown => fill_by(&BROWN, seed, out),
        Colour::Blue => fill_by(&BLUE, seed, out),
        Colour::Violet => fill_by(&VIOLET, seed, out),
    }
}

fn fill_by<const N: usize>(ladder: &[Rung; N], seed: u64, out: &mut [f32]) {
    let mut gaussians = GaussianNoise::new(seed);
    let mut past = [[0.0f32; 2]; N];
    let mut lead = [0.0; WARM_UP];
    gaussians.fill(&mut lead);
    climb(ladder, &mut past, &mut lead);
    for stretch in out.chunks_mut(8 * BLOCK) {
        gaussians.fill(stretch);
        climb(ladder, &mut past, stretch);
    }
}

/// The filter, in place; it goes on where it stopped. Rung after rung within a sample: while one waits for its last output, the
/// others work.
fn climb<const N: usize>(ladder: &[Rung; N], past: &mut [[f32; 2]; N], samples: &mut [f32]) {
    let mut now = *past;
    for sample in samples {
        let mut value = *sample;
        for (rung, [x, y]) in ladder.iter().zip(&mut now) {
            let out = (value - rung.zero * *x) + rung.pole * *y;
            (*x, *y) = (value, out);
            value = out;
        }
        *sample = value;
    }
    *past = now;
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::dsp::level;
    use crate::dsp::stft::{PadMode, StftPlan, StftSpec};
    use crate::dsp::window::Window;

    fn ladder(colour: Colour) -> &'static [Rung] {
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
    fn the_moments_are_those_of_a_gaussian() {
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
    fn every_slice_of_the_bell_is_as_full_as_it_should_be() {
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
    fn neighbours_and_seeds_know_nothing_of_each_other() {
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
    fn the_two_of_a_pair_lie_where_the_exact_transform_puts_them() {
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
        fn it_does_not_matter_in_which_pieces_noise_is_taken(seed: u64, pieces in prop::collection::vec(0usize..700, 0..6)) {
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
    fn colours_rise_and_fall_along_their_lines() {
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
    fn a_ladder_deviates_from_its_line_by_a_tenth_of_a_decibel() {
        for (colour, slope, lowest) in [
            (Colour::Pink, -10.0, 1000.0),
            (Colour::Brown, -20.0, 100.0),
            (Colour::Blue, 10.0, 1000.0),
            (Colour::Violet, 20.0, 100.0),
        ] {
            let ladder = ladder(colour);
            let deviations: Vec<f64> = (0..200)
                .map(|n| {
                    let omega = std::f64::consts::TAU / lowest * (lowest / 2.05).powf(f64::from(n) / 199.0);
                    let distance = |place: f32| {
                        let place = f64::from(place);
                        (1.0 - 2.0 * place * omega.cos() + place * place).log10() * 10.0
                    };
                    let gain: f64 = ladder.iter().map(|rung| distance(rung.zero) - distance(rung.pole)).sum();
                    gain - slope * omega.log10()
                })
                .collect();
            let (low, high) = deviations.iter().fold((f64::MAX, f64::MIN), |(a, b), &x| (a.min(x), b.max(x)));
            assert!(high - low < 0.25, "{colour:?}: {low} to {high} dB");
        }
    }
}
