//! `polarity`: inverts the waveform. Inaudible, and invisible in a power spectrogram; a network on raw samples sees it.

use anyhow::Result;
use rand_chacha::ChaCha8Rng;

use super::{AugmentContext, AugmentKind, ClipPool, Draw, Effect, Kind, Waveform};

augment_spec! {
    /// Inverts the polarity of the waveform.
    pub struct Polarity {}

    pub struct PolarityDraw {}
}

impl Kind for Polarity {}

impl AugmentKind for Polarity {
    fn draw(&self, _context: &AugmentContext, _rng: &mut ChaCha8Rng) -> Result<Vec<Draw>> {
        Ok(vec![PolarityDraw {}.into()])
    }
}

impl Effect for PolarityDraw {
    fn apply_to_waveform(&self, clip: &mut Waveform, _pool: &dyn ClipPool) -> Result<()> {
        clip.samples.iter_mut().for_each(|sample| *sample = -*sample);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::augment::tests::{empty_pool, waveform};

    #[test]
    fn every_sample_changes_its_sign() {
        let mut output = waveform(&[0.5, -0.25, 0.0]);
        PolarityDraw {}.apply_to_waveform(&mut output, &empty_pool()).unwrap();
        assert_eq!(output.samples, [-0.5, 0.25, 0.0]);
    }
}
