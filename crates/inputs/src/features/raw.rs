//! `raw`: the samples themselves.

use anyhow::Result;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::features::{ClipAnalysis, Extractor, FeatureKind, FeatureMatrix, Kind};

/// The samples of the clip in one row.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Raw {}

impl Kind for Raw {}

impl FeatureKind for Raw {
    fn shape(&self, samples: usize) -> Option<[usize; 2]> {
        (samples > 0).then_some([1, samples])
    }

    fn build(&self, _sample_rate: u32) -> Result<Box<dyn Extractor>> {
        Ok(Box::new(Samples))
    }
}

struct Samples;

impl Extractor for Samples {
    fn extract(&self, clip: &ClipAnalysis) -> Result<FeatureMatrix> {
        let values = clip.samples()?.to_vec();
        Ok(FeatureMatrix { rows: 1, cols: values.len(), values })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use timbre_signal::audio::Clip;

    #[test]
    fn raw_is_the_samples_in_one_row() {
        let clip = Clip { samples: vec![0.5, -0.25, 1.0], sample_rate: 8000 };
        let matrix = Raw {}.build(8000).unwrap().extract(&ClipAnalysis::new(&clip)).unwrap();
        assert_eq!(matrix, FeatureMatrix { rows: 1, cols: 3, values: vec![0.5, -0.25, 1.0] });
    }
}
