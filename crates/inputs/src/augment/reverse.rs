//! `reverse`: reverses the clip in time; the polarity stays.

use anyhow::Result;
use rand_chacha::ChaCha8Rng;

use super::{AugmentContext, AugmentKind, ClipPool, Draw, Effect, Kind, Waveform};

augment_spec! {
    /// Reverses the clip in time.
    pub struct Reverse {}

    pub struct ReverseDraw {}
}

impl Kind for Reverse {}

impl AugmentKind for Reverse {
    fn draw(&self, _context: &AugmentContext, _rng: &mut ChaCha8Rng) -> Result<Vec<Draw>> {
        Ok(vec![ReverseDraw {}.into()])
    }
}

impl Effect for ReverseDraw {
    fn apply_to_waveform(&self, clip: &mut Waveform, _pool: &dyn ClipPool) -> Result<()> {
        clip.samples.reverse();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::augment::tests::{empty_pool, waveform};

    #[test]
    fn the_order_is_reversed_and_the_signs_stay() {
        let mut output = waveform(&[0.5, -0.25, 0.125]);
        ReverseDraw {}.apply_to_waveform(&mut output, &empty_pool()).unwrap();
        assert_eq!(output.samples, [0.125, -0.25, 0.5], "turned round, not upside down");
    }
}
