//! Fixed copies: augmented copies of the training clips that enlarge the training set of every model.
//!
//! `copies = 4` in an `[[augment]]` makes four copies of each training clip, once and for all epochs. A parameter with several values,
//! `{ any = [-1, -0.5, 0.5, 1] }`, takes them in turn: copy 1 the first, copy 2 the second. The features of copies are cached like those
//! of recordings, under a recipe that holds the augmentation.

use anyhow::{Result, bail};
use serde_json::{Value, json};

use super::{AugmentContext, AugmentSpec, Backgrounds, Chain, ClipInfo, ClipPool, Draw, chain};
use crate::hash::{Hash, hex};
use timbre_core::seed::Seed;

/// One copy of each training clip.
#[derive(Clone, Debug)]
pub struct FixedCopy {
    /// The name of its augmentation.
    pub name: String,
    /// The augmentation without the keys that say when it is used, each parameter with the value of this copy.
    spec: Value,
    version: u32,
    /// From 1.
    number: usize,
    chain: Chain,
}

impl FixedCopy {
    /// The copies that these augmentations make, in their order.
    pub fn all(augment: &[AugmentSpec]) -> Result<Vec<FixedCopy>> {
        let mut copies = Vec::new();
        for augmentation in augment {
            for number in 1..=augmentation.as_kind().copies() {
                let mut spec = json!(augmentation);
                let keys = spec.as_object_mut().expect("a spec is a table");
                ["name", "p", "copies"].iter().for_each(|key| drop(keys.remove(*key)));
                take_in_turn(&mut spec, number - 1);
                let chain = Chain::of(serde_json::from_value(spec.clone())?);
                let (name, version) = (augmentation.name().to_owned(), augmentation.as_kind().version());
                copies.push(FixedCopy { name, spec, version, number, chain });
            }
        }
        Ok(copies)
    }

    /// What distinguishes its features from those of the recording and of other copies.
    pub fn recipe(&self) -> Value {
        json!({ "augment": self.spec, "version": self.version, "chain": chain::VERSION, "number": self.number })
    }

    /// The draws for the clip of a recording: the same in every experiment.
    pub fn draws(&self, content: &Hash, sample_rate: u32, samples: usize) -> Result<Vec<Draw>> {
        let address = Seed::new(0).child("copies").child(self.number).child(hex(content));
        self.chain.draw(address, 0, &AugmentContext { sample_rate, samples, row: 0, pool: &NoClips::default() })
    }
}

/// Replaces every `{ any = [...] }` by one of its values.
fn take_in_turn(value: &mut Value, turn: usize) {
    let chosen = match value.get("any").and_then(Value::as_array) {
        Some(values) if !values.is_empty() => Some(values[turn % values.len()].clone()),
        _ => None,
    };
    if let Some(chosen) = chosen {
        *value = chosen;
        return;
    }
    match value {
        Value::Object(keys) => keys.values_mut().for_each(|inner| take_in_turn(inner, turn)),
        Value::Array(items) => items.iter_mut().for_each(|inner| take_in_turn(inner, turn)),
        _ => {}
    }
}

/// The pool of a copy, which is made of its own clip alone.
#[derive(Default)]
pub struct NoClips(Backgrounds);

impl ClipPool for NoClips {
    fn len(&self) -> usize {
        0
    }

    fn info(&self, _row: usize) -> ClipInfo<'_> {
        unreachable!("a pool without clips is asked for none")
    }

    fn waveform(&self, _row: usize, _cut: u64) -> Result<Vec<f32>> {
        bail!("a copy is made without other clips")
    }

    fn image(&self, _row: usize, _channel: usize, _out: &mut [f32]) -> Result<()> {
        bail!("a copy is made without other clips")
    }

    fn backgrounds(&self) -> &Backgrounds {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn copies_of(value: Value) -> Vec<FixedCopy> {
        FixedCopy::all(&serde_json::from_value::<Vec<AugmentSpec>>(value).unwrap()).unwrap()
    }

    fn drawn(copy: &FixedCopy, content: u8) -> Value {
        json!(copy.draws(&[content; 32], 8000, 800).unwrap())
    }

    #[test]
    fn copies_take_the_values_of_a_parameter_in_turn() {
        let copies = copies_of(json!([
            { "kind": "gain" },
            { "kind": "pitch_shift", "semitones": { "any": [-1.0, 0.5, 1.0] }, "copies": 4 },
        ]));
        let semitones = |copy: &FixedCopy| drawn(copy, 1)[0]["semitones"].as_f64().unwrap();
        assert_eq!(copies.iter().map(semitones).collect::<Vec<_>>(), [-1.0, 0.5, 1.0, -1.0]);
        assert!(copies.iter().all(|copy| copy.name == "pitch_shift"));
    }

    #[test]
    fn a_copy_is_drawn_for_each_recording_and_is_the_same_each_time() {
        let copies = copies_of(json!([{ "kind": "gain", "name": "loud", "copies": 2 }]));
        assert_eq!(drawn(&copies[0], 1), drawn(&copies[0], 1));
        assert_ne!(drawn(&copies[0], 1), drawn(&copies[0], 2));
        assert_ne!(drawn(&copies[0], 1), drawn(&copies[1], 1));
        // The name of the augmentation changes nothing.
        let other = copies_of(json!([{ "kind": "gain", "copies": 1 }]));
        assert_eq!((drawn(&copies[0], 1), copies[0].recipe()), (drawn(&other[0], 1), other[0].recipe()));
    }
}
