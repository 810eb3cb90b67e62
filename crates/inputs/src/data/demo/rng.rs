//! Random draws and noise for the demo set: each song, excerpt and player has its own generator.

use rand_chacha::ChaCha8Rng;

use timbre_core::seed::{Seed, uniform, uniform_below};

/// A random number generator.
pub struct DemoRng(ChaCha8Rng);

impl DemoRng {
    pub fn new(seed: Seed) -> Self {
        DemoRng(seed.rng())
    }

    /// Uniform from `low` to `high`.
    pub fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * uniform(&mut self.0)
    }

    /// Uniform in 0..n.
    pub fn below(&mut self, n: usize) -> usize {
        uniform_below(&mut self.0, n as u64) as usize
    }

    pub fn chance(&mut self, p: f64) -> bool {
        uniform(&mut self.0) < p
    }

    pub fn pick<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.below(items.len())]
    }

    /// A random index, in proportion to its weight.
    pub fn weighted(&mut self, weights: &[f64]) -> usize {
        let mut rest = self.between(0.0, weights.iter().sum());
        for (i, weight) in weights.iter().enumerate() {
            rest -= weight;
            if rest < 0.0 {
                return i;
            }
        }
        weights.len() - 1
    }

    /// A factor of up to `2^octaves` around `middle`, in both directions.
    pub fn about(&mut self, middle: f64, octaves: f64) -> f64 {
        middle * libm::exp2(self.between(-octaves, octaves))
    }

    pub fn noise(&mut self) -> Noise {
        Noise(1 + self.below(u32::MAX as usize) as u32)
    }
}

/// White noise, uniform in [-1, 1), by the fast xorshift, since it runs for every sample.
pub struct Noise(u32);

impl Noise {
    #[inline]
    pub fn next(&mut self) -> f32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 17;
        self.0 ^= self.0 << 5;
        (self.0 as i32) as f32 * (1.0 / 2_147_483_648.0)
    }
}
