//! `one_of`: applies one of several augmentations.

use std::path::PathBuf;

use anyhow::Result;
use rand_chacha::ChaCha8Rng;

use super::{AugmentContext, AugmentKind, AugmentSpec, Draw, Fault, Kind};
use timbre_core::seed::uniform;

augment_spec! {
    /// Applies one of several augmentations, drawn for each clip.
    pub struct OneOf {
        /// The augmentations to choose from, each a table with its `kind`; the `p` of the chosen one is applied
        /// afterwards.
        pub of: Vec<AugmentSpec> = Vec::new(),
        /// Relative probabilities, one for each augmentation. Default: equal.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        pub weights: Vec<f64> = Vec::new(),
    }
}

impl Kind for OneOf {
    fn version(&self) -> u32 {
        version_of(&self.of)
    }

    fn faults(&self, sample_rate: u32) -> Vec<Fault> {
        let (weights, all) = (&self.weights, self.of.len());
        let number = (!weights.is_empty() && weights.len() != all)
            .then(|| format!("{} weights for {all} augmentations: write one for each, or none", weights.len()));
        let are_valid = weights.iter().all(|weight| *weight >= 0.0 && weight.is_finite())
            && (weights.is_empty() || weights.iter().sum::<f64>() > 0.0);
        let sign = (!are_valid).then(|| "weights must not be negative, and at least one must be positive".to_owned());
        let mut faults = faults_of(&self.of, sample_rate);
        faults.extend(Fault::of_keys([("weights", number), ("weights", sign)]));
        faults
    }
}

impl AugmentKind for OneOf {
    fn draw(&self, context: &AugmentContext, rng: &mut ChaCha8Rng) -> Result<Vec<Draw>> {
        let weight = |place: usize| self.weights.get(place).copied().unwrap_or(1.0);
        let mut rest = uniform(rng) * (0..self.of.len()).map(weight).sum::<f64>();
        let chosen = (0..self.of.len()).find(|&place| {
            rest -= weight(place);
            rest < 0.0
        });
        // A rounding remainder belongs to the last augmentation with a positive weight.
        let chosen = chosen.or_else(|| (0..self.of.len()).rfind(|&place| weight(place) > 0.0));
        chosen.map_or(Ok(Vec::new()), |place| self.of[place].draw_with_probability(context, rng))
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

/// The version of a choice; it changes with the version of any member.
pub(super) fn version_of(of: &[AugmentSpec]) -> u32 {
    of.iter().fold(1u32, |version, spec| version.wrapping_mul(31).wrapping_add(spec.as_kind().version()))
}

/// The faults of the members of a choice.
pub(super) fn faults_of(of: &[AugmentSpec], sample_rate: u32) -> Vec<Fault> {
    if of.is_empty() {
        return vec![Fault::new("of", "there is nothing to choose from: write `of = [{ kind = \"gain\" }, …]`")];
    }
    let of_member = |(place, spec): (usize, &AugmentSpec)| {
        let mut faults = spec.as_kind().faults(sample_rate);
        let (kind, outer) = (spec.as_kind(), "write it beside `of`, for all");
        faults.extend((kind.copies() > 0).then(|| Fault::new("copies", outer)));
        faults.extend((kind.epochs() != (None, None)).then(|| Fault::new("from_epoch", outer)));
        let describe = |Fault { key, sentence }| format!("number {}, {}: `{key}`: {sentence}", place + 1, spec.kind());
        faults.into_iter().map(|fault| Fault::new("of", describe(fault))).collect::<Vec<_>>()
    };
    of.iter().enumerate().flat_map(of_member).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::augment::tests::{context, empty_pool};
    use timbre_core::seed::Seed;

    fn one_of(value: serde_json::Value) -> OneOf {
        serde_json::from_value(value).unwrap()
    }

    fn kinds(spec: &OneOf, n: u64) -> Vec<&'static str> {
        let pool = empty_pool();
        let context = context(&pool, 0);
        (0..n)
            .flat_map(|seed| spec.draw(&context, &mut Seed::new(seed).rng()).unwrap())
            .map(|draw| draw.kind())
            .collect()
    }

    #[test]
    fn members_are_drawn_in_proportion_to_their_weights() {
        let spec = one_of(json!({ "of": [{ "kind": "gain" }, { "kind": "translate" }], "weights": [3, 1] }));
        let gains = kinds(&spec, 1000).iter().filter(|kind| **kind == "gain").count();
        assert!((700..800).contains(&gains), "{gains} of 1000");
        let alike = one_of(json!({ "of": [{ "kind": "gain" }, { "kind": "translate", "p": 0.5 }] }));
        let drawn = kinds(&alike, 1000);
        let gains = drawn.iter().filter(|kind| **kind == "gain").count();
        assert!(
            (450..550).contains(&gains) && (200..300).contains(&(drawn.len() - gains)),
            "{gains} of {}",
            drawn.len()
        );
    }

    #[test]
    fn faults_of_members_and_weights_are_reported() {
        let keys = |spec: OneOf| spec.faults(8000).into_iter().map(|fault| fault.key).collect::<Vec<_>>();
        assert_eq!(keys(OneOf::default()), ["of"]);
        assert_eq!(keys(one_of(json!({ "of": [{ "kind": "gain", "db": [3, 1] }] }))), ["of"]);
        assert_eq!(keys(one_of(json!({ "of": [{ "kind": "gain" }], "weights": [1, 2] }))), ["weights"]);
        assert_eq!(keys(one_of(json!({ "of": [{ "kind": "gain" }], "weights": [0] }))), ["weights"]);
        assert_eq!(keys(one_of(json!({ "of": [{ "kind": "gain", "copies": 2, "until_epoch": 3 }] }))), ["of", "of"]);
    }
}
