//! Named child seeds: each random draw has its own seed, so that the order of calls and the number of threads change nothing.
//!
//! `Seed::new(1).child("split").child("folk")` is the same 256 bits on every machine. A child is the BLAKE3 hash of its
//! parent and its name. The generator is ChaCha8.

use std::fmt::Display;

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

/// A seed in the tree of random streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seed([u8; 32]);

impl Seed {
    /// The root seed.
    pub fn new(number: u64) -> Self {
        Seed(*blake3::hash(&number.to_le_bytes()).as_bytes())
    }

    /// The child seed of that name.
    pub fn child(&self, name: impl Display) -> Seed {
        Seed(*blake3::keyed_hash(&self.0, name.to_string().as_bytes()).as_bytes())
    }

    /// A random number generator with this seed.
    pub fn rng(&self) -> ChaCha8Rng {
        ChaCha8Rng::from_seed(self.0)
    }

    /// 64 bits of this seed, to sort by or to break ties.
    pub fn number(&self) -> u64 {
        u64::from_le_bytes(self.0[..8].try_into().expect("a seed has 32 bytes"))
    }
}

/// Uniform in [0, 1) with 53 random bits, the same on every machine.
pub fn uniform(rng: &mut ChaCha8Rng) -> f64 {
    (rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64
}

/// Uniform in `0..n`, without bias.
pub fn uniform_below(rng: &mut ChaCha8Rng, n: u64) -> u64 {
    assert!(n > 0, "n must be positive");
    // Lemire's method: the rejection makes every result equally likely.
    loop {
        let wide = u128::from(rng.next_u64()) * u128::from(n);
        if (wide as u64) >= n.wrapping_neg() % n {
            return (wide >> 64) as u64;
        }
    }
}

/// Fisher-Yates shuffle.
pub fn shuffle<T>(items: &mut [T], rng: &mut ChaCha8Rng) {
    for i in (1..items.len()).rev() {
        items.swap(i, uniform_below(rng, i as u64 + 1) as usize);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_seed_depends_on_its_whole_path() {
        let root = Seed::new(1);
        assert_eq!(root.child("a").child(2), root.child("a").child(2));
        assert_ne!(root.child("a").child("b"), root.child("ab"));
        assert_ne!(root.child("a"), root.child("b"));
        assert_ne!(Seed::new(1), Seed::new(2));
    }

    #[test]
    fn uniform_below_covers_the_range_evenly() {
        let mut rng = Seed::new(3).rng();
        let mut seen = [0usize; 7];
        (0..7000).for_each(|_| seen[uniform_below(&mut rng, 7) as usize] += 1);
        assert!(seen.iter().all(|&n| (850..1150).contains(&n)), "{seen:?}");
    }

    #[test]
    fn a_shuffle_keeps_all_items() {
        let mut items: Vec<u32> = (0..100).collect();
        shuffle(&mut items, &mut Seed::new(9).rng());
        assert_ne!(items, (0..100).collect::<Vec<_>>());
        items.sort_unstable();
        assert_eq!(items, (0..100).collect::<Vec<_>>());
    }
}
