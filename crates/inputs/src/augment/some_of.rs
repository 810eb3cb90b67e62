//! `some_of`: applies several out of a list of augmentations, in their order.

use std::path::PathBuf;

use anyhow::Result;
use rand_chacha::ChaCha8Rng;

use super::one_of::{faults_of, version_of};
use super::{Amount, AugmentContext, AugmentKind, AugmentSpec, Draw, Fault, Kind};
use timbre_core::seed::shuffle;

augment_spec! {
    /// Applies a random subset of several augmentations, drawn for each clip, in the written order.
    pub struct SomeOf {
        /// The augmentations to choose from, each a table with its `kind`; the `p` of a chosen one is applied
        /// afterwards.
        pub of: Vec<AugmentSpec> = Vec::new(),
        /// Number of augmentations to apply. Default: 1 to 2.
        pub n: Amount = Amount::Range(1.0, 2.0),
    }
}

impl Kind for SomeOf {
    fn version(&self) -> u32 {
        version_of(&self.of)
    }

    fn faults(&self, sample_rate: u32) -> Vec<Fault> {
        let mut faults = faults_of(&self.of, sample_rate);
        faults.extend(Fault::of_keys([("n", self.n.whole_fault(0.0, self.of.len().max(1) as f64))]));
        faults
    }
}

impl AugmentKind for SomeOf {
    fn draw(&self, context: &AugmentContext, rng: &mut ChaCha8Rng) -> Result<Vec<Draw>> {
        let n = self.n.draw_whole(rng).max(0) as usize;
        let mut places: Vec<usize> = (0..self.of.len()).collect();
        shuffle(&mut places, rng);
        places.truncate(n);
        places.sort_unstable();
        let mut draws = Vec::new();
        for place in places {
            draws.extend(self.of[place].draw_with_probability(context, rng)?);
        }
        Ok(draws)
    }

    fn changes_waveform(&self) -> bool {
        self.of.iter().any(|spec| spec.as_kind().changes_waveform())
    }

    fn makes_copies(&self) -> bool {
        self.of.iter().all(|spec| spec.as_kind().makes_copies())
    }

    fn needs_tempo_and_key(&self) -> bool {
        self.of.iter().any(|spec| spec.as_kind().needs_tempo_and_key())
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
    use crate::augment::tests::{context, five_clips};
    use timbre_core::seed::Seed;

    #[test]
    fn the_requested_number_of_members_is_drawn_in_their_order() {
        let spec: SomeOf = serde_json::from_value(
            json!({ "n": [1, 3], "of": [{ "kind": "translate" }, { "kind": "gain" }, { "kind": "time_mask" }] }),
        )
        .unwrap();
        let (pool, mut counts) = (five_clips(), [0; 4]);
        for seed in 0..900 {
            let context = context(&pool, 0);
            let draws = spec.draw(&context, &mut Seed::new(seed).rng()).unwrap();
            let place =
                |draw: &Draw| ["translate", "gain", "time_mask"].iter().position(|k| *k == draw.kind()).unwrap();
            assert!(draws.iter().map(place).is_sorted_by(|a, b| a < b));
            counts[draws.len()] += 1;
        }
        assert!(counts[0] == 0 && counts[1..].iter().all(|n| (240..360).contains(n)), "{counts:?}");
        assert!(SomeOf { n: Amount::Fixed(4.0), ..spec }.faults(8000)[0].sentence.contains('4'));
    }
}
