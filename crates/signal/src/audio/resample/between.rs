//! Interpolates a signal that uses less than half of its band, at any ratio of rates.
//!
//! A sinc under a Kaiser window over 16 samples. It passes [`BAND`] of the rate and stops what the ratio would fold onto it, by
//! 120 dB; its table has 512 phases a sample, between which it is interpolated linearly.

use super::filter::{kaiser, sinc};

/// Input samples on each side of an output sample.
pub(super) const REACH: usize = 8;
const TAPS: usize = 2 * REACH;
/// The largest frequency as a share of the rate of the input.
pub(super) const BAND: f64 = 1.0 / 4.5;
const BETA: f64 = 12.8;
const PHASES: usize = 512;

/// Output n is at input n · `step` / `parts`.
pub(super) struct Between {
    step: u64,
    parts: u64,
    /// Row j is the filter for an output j / `PHASES` after an input sample.
    table: Vec<[f32; TAPS]>,
}

impl Between {
    pub fn new(step: u64, parts: u64) -> Self {
        let row = |phase: usize| -> [f32; TAPS] {
            let shift = phase as f64 / PHASES as f64;
            let taps: [f64; TAPS] = std::array::from_fn(|tap| {
                let time = tap as f64 + 1.0 - REACH as f64 - shift;
                if time.abs() < REACH as f64 { sinc(time) * kaiser(BETA, time / REACH as f64) } else { 0.0 }
            });
            let sum: f64 = taps.iter().sum();
            taps.map(|tap| (tap / sum) as f32)
        };
        Between { step, parts, table: (0..=PHASES).map(row).collect() }
    }

    /// The input sample at or before output n.
    pub fn place(&self, n: usize) -> usize {
        (n as u128 * u128::from(self.step) / u128::from(self.parts)) as usize
    }

    /// Appends the outputs from `first` on, at most `most`, for which `input` has all samples; its own first one is `REACH - 1` before input sample
    /// `origin`. Returns their number. The same bits at any vector width, because nothing is fused and the order of sums is fixed.
    pub fn run(&self, first: usize, most: usize, input: &[f32], origin: usize, output: &mut Vec<f32>) -> usize {
        #[cfg(target_arch = "x86_64")]
        {
            #[target_feature(enable = "avx2")]
            fn in_wide_vectors(
                between: &Between,
                first: usize,
                most: usize,
                input: &[f32],
                origin: usize,
                output: &mut Vec<f32>,
            ) -> usize {
                between.run_here(first, most, input, origin, output)
            }
            if is_x86_feature_detected!("avx2") {
                // SAFETY: the processor has these instructions.
                return unsafe { in_wide_vectors(self, first, most, input, origin, output) };
            }
        }
        self.run_here(first, most, input, origin, output)
    }

    #[inline(always)]
    fn run_here(&self, first: usize, most: usize, input: &[f32], origin: usize, output: &mut Vec<f32>) -> usize {
        let at = first as u128 * u128::from(self.step);
        let (mut place, mut rest) = ((at / u128::from(self.parts)) as usize, (at % u128::from(self.parts)) as u64);
        let (whole, left) = ((self.step / self.parts) as usize, self.step % self.parts);
        let phases = PHASES as f64 / self.parts as f64;
        let mut made = 0;
        while made < most
            && let Some((around, _)) = input.get(place - origin..).and_then(|input| input.split_first_chunk::<TAPS>())
        {
            let fine = rest as f64 * phases;
            let phase = (fine as usize).min(PHASES - 1);
            let weight = (fine - phase as f64) as f32;
            let (here, next) = (&self.table[phase], &self.table[phase + 1]);
            let products: [f32; TAPS] =
                std::array::from_fn(|tap| around[tap] * (here[tap] + weight * (next[tap] - here[tap])));
            let half: [f32; 8] = std::array::from_fn(|tap| products[tap] + products[tap + 8]);
            let quarter: [f32; 4] = std::array::from_fn(|tap| half[tap] + half[tap + 4]);
            output.push((quarter[0] + quarter[2]) + (quarter[1] + quarter[3]));
            made += 1;
            place += whole;
            rest += left;
            if rest >= self.parts {
                rest -= self.parts;
                place += 1;
            }
        }
        made
    }
}
