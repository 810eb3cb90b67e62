//! `concat`: several features as one vector; `stack`: their rows above each other, frame by frame, or as channels of one image.

use std::path::PathBuf;

use anyhow::{Result, ensure};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::features::{ClipAnalysis, Extractor, Fault, FeatureKind, FeatureMatrix, FeatureSpec, Kind, ensure_valid};

/// Several features as one vector: the rows of the first one after the other, then those of the second, and so on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Concat {
    /// The features: tables with their `kind` and keys, or names of other features of the experiment. Required.
    #[schemars(schema_with = "parts_schema")]
    pub of: Vec<FeatureSpec>,
}

/// Several features with the same frames as one image: the rows of the first, below them those of the second, and so on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Stack {
    /// The features: tables with their `kind` and keys, or names of other features of the experiment. They must have the same
    /// number of frames. Required.
    #[schemars(schema_with = "parts_schema")]
    pub of: Vec<FeatureSpec>,
    /// Each feature is an input channel of a network, like a colour of a picture. They must have the same number of rows. Other models see
    /// the rows one after the other in either case. Default: false.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub channels: bool,
}

/// A feature, or the name of one, which the experiment replaces by its table.
pub(super) fn part_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
    let feature = generator.subschema_for::<FeatureSpec>();
    schemars::json_schema!({ "anyOf": [feature, { "type": "string" }] })
}

fn parts_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
    let part = part_schema(generator);
    schemars::json_schema!({ "type": "array", "items": part })
}

/// The largest number of features in one.
const MAX_PARTS: usize = 256;

/// Raised with the version of any part.
fn version_of(parts: &[FeatureSpec]) -> u32 {
    1 + parts.iter().map(|part| part.as_kind().version() - 1).sum::<u32>()
}

fn faults_of(parts: &[FeatureSpec], sample_rate: u32) -> Vec<Fault> {
    if !(1..=MAX_PARTS).contains(&parts.len()) {
        let sentence = format!("{} features cannot be joined; list 1 to {MAX_PARTS}", parts.len());
        return vec![Fault::new("of", sentence)];
    }
    let of_part = |part: &FeatureSpec| {
        let kind = part.kind();
        let name = move |Fault { key, sentence }| Fault::new("of", format!("`{key}` of {kind}: {sentence}"));
        part.as_kind().faults(sample_rate).into_iter().map(name).collect::<Vec<_>>()
    };
    parts.iter().flat_map(of_part).collect()
}

fn build_all(kind: &str, parts: &[FeatureSpec], sample_rate: u32) -> Result<Vec<Box<dyn Extractor>>> {
    ensure_valid(kind, faults_of(parts, sample_rate))?;
    parts.iter().map(|part| part.as_kind().build(sample_rate)).collect()
}

fn files_of(parts: &[FeatureSpec]) -> Vec<PathBuf> {
    parts.iter().flat_map(|part| part.as_kind().files()).collect()
}

fn longest_frame(parts: &[FeatureSpec]) -> Option<usize> {
    parts.iter().filter_map(|part| part.as_kind().frame_length()).max()
}

impl Kind for Concat {
    fn version(&self) -> u32 {
        version_of(&self.of)
    }

    fn faults(&self, sample_rate: u32) -> Vec<Fault> {
        faults_of(&self.of, sample_rate)
    }
}

impl FeatureKind for Concat {
    fn shape(&self, samples: usize) -> Option<[usize; 2]> {
        let lengths: Option<Vec<usize>> =
            self.of.iter().map(|part| part.as_kind().shape(samples).map(|[rows, cols]| rows * cols)).collect();
        Some([lengths?.iter().sum(), 1])
    }

    fn frame_length(&self) -> Option<usize> {
        longest_frame(&self.of)
    }

    fn files(&self) -> Vec<PathBuf> {
        files_of(&self.of)
    }

    fn build(&self, sample_rate: u32) -> Result<Box<dyn Extractor>> {
        Ok(Box::new(Vectors(build_all("concat", &self.of, sample_rate)?)))
    }
}

struct Vectors(Vec<Box<dyn Extractor>>);

impl Extractor for Vectors {
    fn extract(&self, clip: &ClipAnalysis) -> Result<FeatureMatrix> {
        let mut values = Vec::new();
        for part in &self.0 {
            values.extend(part.extract(clip)?.values);
        }
        Ok(FeatureMatrix { rows: values.len(), cols: 1, values })
    }
}

impl Kind for Stack {
    fn version(&self) -> u32 {
        version_of(&self.of)
    }

    fn faults(&self, sample_rate: u32) -> Vec<Fault> {
        let mut faults = faults_of(&self.of, sample_rate);
        // A clip of ten seconds tells features with different frames apart.
        let shape = |part: &FeatureSpec| part.as_kind().shape(10 * sample_rate as usize);
        let frames = |part: &FeatureSpec| shape(part).map(|[_, cols]| cols);
        if faults.is_empty()
            && let Some(other) = self.of.iter().find(|part| frames(part) != frames(&self.of[0]))
        {
            let sentence = format!(
                "{} and {} differ in their number of frames; give both the same hop_length and center",
                self.of[0].kind(),
                other.kind()
            );
            faults.push(Fault::new("of", sentence));
        } else if faults.is_empty()
            && self.channels
            && let Some(other) = self.of.iter().find(|part| shape(part) != shape(&self.of[0]))
        {
            let rows = |part: &FeatureSpec| shape(part).map_or(0, |[rows, _]| rows);
            let sentence = format!(
                "{} has {} rows and {} has {}, so they cannot be channels of one image; give both as many, or leave out `channels`",
                self.of[0].kind(),
                rows(&self.of[0]),
                other.kind(),
                rows(other)
            );
            faults.push(Fault::new("of", sentence));
        }
        faults
    }
}

impl FeatureKind for Stack {
    fn shape(&self, samples: usize) -> Option<[usize; 2]> {
        let shapes: Option<Vec<[usize; 2]>> = self.of.iter().map(|part| part.as_kind().shape(samples)).collect();
        let shapes = shapes?;
        let [_, cols] = *shapes.first()?;
        shapes.iter().all(|shape| shape[1] == cols).then(|| [shapes.iter().map(|shape| shape[0]).sum(), cols])
    }

    fn channels(&self) -> usize {
        if self.channels { self.of.len() } else { 1 }
    }

    fn frame_length(&self) -> Option<usize> {
        longest_frame(&self.of)
    }

    fn files(&self) -> Vec<PathBuf> {
        files_of(&self.of)
    }

    fn build(&self, sample_rate: u32) -> Result<Box<dyn Extractor>> {
        ensure_valid("stack", self.faults(sample_rate))?;
        Ok(Box::new(Rows(build_all("stack", &self.of, sample_rate)?)))
    }
}

struct Rows(Vec<Box<dyn Extractor>>);

impl Extractor for Rows {
    fn extract(&self, clip: &ClipAnalysis) -> Result<FeatureMatrix> {
        let mut image = FeatureMatrix { rows: 0, cols: 0, values: Vec::new() };
        for part in &self.0 {
            let FeatureMatrix { rows, cols, values } = part.extract(clip)?;
            ensure!(
                image.rows == 0 || image.cols == cols,
                "stack features: one has {} frames and another {cols}; give both the same hop_length and center",
                image.cols
            );
            image.cols = cols;
            image.rows += rows;
            image.values.extend(values);
        }
        Ok(image)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use timbre_signal::audio::Clip;

    fn extract(spec: serde_json::Value) -> FeatureMatrix {
        let clip = Clip { samples: (0..5000).map(|n| (n as f32 * 0.1).sin()).collect(), sample_rate: 22050 };
        let spec: FeatureSpec = serde_json::from_value(spec).unwrap();
        spec.as_kind().build(22050).unwrap().extract(&ClipAnalysis::new(&clip)).unwrap()
    }

    fn parts() -> [serde_json::Value; 2] {
        [json!({ "kind": "mfcc", "n_mfcc": 3 }), json!({ "kind": "zcr" })]
    }

    #[test]
    fn parts_follow_each_other_in_a_vector_and_lie_above_each_other_in_a_stack() {
        let [first, second] = parts().map(extract);
        let together = [first.values.clone(), second.values.clone()].concat();
        let vector = extract(json!({ "kind": "concat", "of": parts() }));
        assert_eq!(vector, FeatureMatrix { rows: 40, cols: 1, values: together.clone() });
        let image = extract(json!({ "kind": "stack", "of": parts() }));
        assert_eq!(image, FeatureMatrix { rows: 4, cols: 10, values: together });
    }

    #[test]
    fn a_concatenation_of_nothing_and_a_stack_of_different_frames_are_faults() {
        let faults = |spec: serde_json::Value| {
            let spec: FeatureSpec = serde_json::from_value(spec).unwrap();
            spec.as_kind().faults(22050).into_iter().map(|fault| fault.sentence).collect::<Vec<_>>().join("; ")
        };
        assert!(faults(json!({ "kind": "concat" })).contains("list 1 to"));
        let different = json!({ "kind": "stack", "of": [{ "kind": "mel" }, { "kind": "zcr", "hop_length": 256 }] });
        assert!(faults(different).contains("mel and zcr differ"));
        let unequal = json!({ "kind": "stack", "channels": true, "of": [{ "kind": "mel" }, { "kind": "zcr" }] });
        assert!(faults(unequal).contains("mel has 128 rows and zcr has 1"));
        let nested = faults(json!({ "kind": "concat", "of": [{ "kind": "mel", "n_mels": 0 }] }));
        assert!(nested.contains("`n_mels` of mel"), "{nested}");
    }
}
