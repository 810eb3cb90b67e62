//! One augmentation out of several.

use std::path::PathBuf;

use anyhow::Result;
use rand_chacha::ChaCha8Rng;

use super::{AugmentContext, AugmentKind, AugmentSpec, Draw, Fault};
use timbre_core::seed::uniform;

augment_spec! {
    /// One of several augmentations, drawn anew for each clip.
    pub struct OneOf {
        /// Those to choose from, each a table with its `kind`; the `p` of the chosen one says whether it then happens.
        pub of: Vec<AugmentSpec> = Vec::new(),
        /// How likely each is, in any unit. Left out: all alike.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        pub weights: Vec<f64> = Vec::new(),
    }
}

impl AugmentKind for OneOf {
    fn version(&self) -> u32 {
        version_of(&self.of)
    }

    fn faults(&self, sample_rate: u32) -> Vec<Fault> {
        let mut faults = faults_of(&self.of, sample_rate);
        let (weights, all) = (self.weights.len(), self.of.len());
        if weights != 0 && weights != all {
            faults.push((
                "weights".into(),
                format!("{weights} weights for {all} augmentations: write one each, or none"),
            ));
        }
        let usable = |weight: &f64| *weight >= 0.0 && weight.is_finite();
        if !self.weights.iter().all(usable) || (weights > 0 && self.weights.iter().sum::<f64>() <= 0.0) {
            faults.push(("weights".into(), "weights are not negative, and one of them is above zero".into()));
        }
        faults
    }

    fn draw(&self, scene: &AugmentContext, rng: &mut ChaCha8Rng) -> Result<Vec<Draw>> {
        let weight = |place: usize| self.weights.get(place).copied().unwrap_or(1.0);
        let mut rest = uniform(rng) * (0..self.of.len()).map(weight).sum::<f64>();
        let chosen = (0..self.of.len()).find(|&place| {
            rest -= weight(place);
            rest < 0.0
        });
        // Rounding may leave a crumb, which belongs to the last that can be drawn.
        let chosen = chosen.or_else(|| (0..self.of.len()).rfind(|&place| weight(place) > 0.0));
        chosen.map_or(Ok(Vec::new()), |place| self.of[place].draw_by_chance(scene, rng))
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

/// The version of a choice: another where that of any of its members is.
pub(super) fn version_of(of: &[AugmentSpec]) -> u32 {
    of.iter().fold(1u32, |version, spec| version.wrapping_mul(31).wrapping_add(spec.as_kind().version()))
}

/// What is wrong with the members of a choice.
pub(super) fn faults_of(of: &[AugmentSpec], sample_rate: u32) -> Vec<Fault> {
    if of.is_empty() {
        return vec![("of".into(), "there is nothing to choose from: write `of = [{ kind = \"gain\" }, …]`".into())];
    }
    let faults = of.iter().enumerate().flat_map(|(place, spec)| {
        let found = spec.as_kind().faults(sample_rate);
        let number = place + 1;
        found
            .into_iter()
            .map(move |(key, why)| ("of".to_owned(), format!("number {number}, {}: `{key}`: {why}", spec.kind())))
    });
    faults.collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::augment::tests::alone;
    use timbre_core::seed::Seed;

    fn one_of(value: serde_json::Value) -> OneOf {
        serde_json::from_value(value).unwrap()
    }

    fn kinds(spec: &OneOf, n: u64) -> Vec<&'static str> {
        let company = alone();
        let scene = AugmentContext { sample_rate: 8000, samples: 800, row: 0, company: &company };
        (0..n).flat_map(|seed| spec.draw(&scene, &mut Seed::new(seed).rng()).unwrap()).map(|draw| draw.kind()).collect()
    }

    #[test]
    fn each_is_drawn_as_often_as_it_weighs() {
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
    fn faults_of_the_members_are_told() {
        let keys = |spec: OneOf| spec.faults(8000).into_iter().map(|(key, _)| key).collect::<Vec<_>>();
        assert_eq!(keys(OneOf::default()), ["of"]);
        assert_eq!(keys(one_of(json!({ "of": [{ "kind": "gain", "db": [3, 1] }] }))), ["of"]);
        assert_eq!(keys(one_of(json!({ "of": [{ "kind": "gain" }], "weights": [1, 2] }))), ["weights"]);
        assert_eq!(keys(one_of(json!({ "of": [{ "kind": "gain" }], "weights": [0] }))), ["weights"]);
    }
}
