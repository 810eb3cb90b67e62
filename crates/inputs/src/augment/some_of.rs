//! Some augmentations out of several, in their order.

use std::path::PathBuf;

use anyhow::Result;
use rand_chacha::ChaCha8Rng;

use super::one_of::{faults_of, version_of};
use super::{Amount, AugmentContext, AugmentKind, AugmentSpec, Draw, Fault};
use timbre_core::seed::shuffle;

augment_spec! {
    /// Some of several augmentations, drawn anew for each clip and done in the order in which they are written.
    pub struct SomeOf {
        /// Those to choose from, each a table with its `kind`; the `p` of a chosen one says whether it then happens.
        pub of: Vec<AugmentSpec> = Vec::new(),
        /// How many. Default: 1 to 2.
        pub n: Amount = Amount::Range(1.0, 2.0),
    }
}

impl AugmentKind for SomeOf {
    fn version(&self) -> u32 {
        version_of(&self.of)
    }

    fn faults(&self, sample_rate: u32) -> Vec<Fault> {
        let mut faults = faults_of(&self.of, sample_rate);
        faults.extend(self.n.whole_fault(0.0, self.of.len().max(1) as f64).map(|why| ("n".to_owned(), why)));
        faults
    }

    fn draw(&self, scene: &AugmentContext, rng: &mut ChaCha8Rng) -> Result<Vec<Draw>> {
        let n = self.n.draw_whole(rng).max(0) as usize;
        let mut places: Vec<usize> = (0..self.of.len()).collect();
        shuffle(&mut places, rng);
        places.truncate(n);
        places.sort_unstable();
        let mut draws = Vec::new();
        for place in places {
            draws.extend(self.of[place].draw_by_chance(scene, rng)?);
        }
        Ok(draws)
    }

    fn is_on_sound(&self) -> bool {
        self.of.iter().any(|spec| spec.as_kind().is_on_sound())
    }

    fn wants_music(&self) -> bool {
        self.of.iter().any(|spec| spec.as_kind().wants_music())
    }

    fn files(&self) -> Result<Vec<PathBuf>> {
        let each: Vec<_> = self.of.iter().map(|spec| spec.as_kind().files()).collect::<Result<_>>()?;
        Ok(each.concat())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::augment::tests::friends;
    use timbre_core::seed::Seed;

    #[test]
    fn so_many_different_ones_are_drawn_and_keep_their_order() {
        let spec: SomeOf = serde_json::from_value(
            json!({ "n": [1, 3], "of": [{ "kind": "translate" }, { "kind": "gain" }, { "kind": "time_mask" }] }),
        )
        .unwrap();
        let (company, mut counts) = (friends(), [0; 4]);
        for seed in 0..900 {
            let scene = AugmentContext { sample_rate: 8000, samples: 800, row: 0, company: &company };
            let draws = spec.draw(&scene, &mut Seed::new(seed).rng()).unwrap();
            let place =
                |draw: &Draw| ["translate", "gain", "time_mask"].iter().position(|k| *k == draw.kind()).unwrap();
            assert!(draws.iter().map(place).is_sorted_by(|a, b| a < b));
            counts[draws.len()] += 1;
        }
        assert!(counts[0] == 0 && counts[1..].iter().all(|n| (240..360).contains(n)), "{counts:?}");
        assert!(SomeOf { n: Amount::Fixed(4.0), ..spec }.faults(8000)[0].1.contains('4'));
    }
}
