//! `mixup`: replaces the image and the targets of a clip by a weighted mean with those of another, unaugmented clip
//! (Zhang et al. 2017).

use anyhow::{Context, Result};
use rand_chacha::ChaCha8Rng;

use super::{Amount, AugmentContext, AugmentKind, ClipPool, Draw, Effect, Fault, Image, Kind};
use timbre_core::{labels::Labels, seed::uniform};

augment_spec! {
    /// Mixup: image and targets become a weighted mean of those of two clips.
    pub struct Mixup {
        /// The weight of the clip itself is drawn from Beta(alpha, alpha): near 0 or 1 if alpha is small. Default: 0.4.
        #[schemars(range(min = 0.01, max = 100.0))]
        pub alpha: f64 = 0.4,
        /// Whether the clip itself always has the larger weight, as in PaSST. Default: false.
        pub keep_larger: bool = false,
    }

    pub struct MixupDraw {
        /// Id of the other clip.
        pub partner: String,
        /// Weight of the clip itself; the other clip has the rest.
        pub weight: f64,
    }
}

impl Kind for Mixup {
    fn faults(&self, _sample_rate: u32) -> Vec<Fault> {
        Fault::of_keys([("alpha", Amount::Fixed(self.alpha).fault(0.01, 100.0))])
    }
}

impl AugmentKind for Mixup {
    fn draw(&self, context: &AugmentContext, rng: &mut ChaCha8Rng) -> Result<Vec<Draw>> {
        let Some(row) = context.another(rng) else { return Ok(Vec::new()) };
        let weight = beta(self.alpha, rng);
        let weight = if self.keep_larger { weight.max(1.0 - weight) } else { weight };
        Ok(vec![MixupDraw { partner: context.pool.info(row).id.to_owned(), weight }.into()])
    }

    fn changes_waveform(&self) -> bool {
        false
    }
}

impl Effect for MixupDraw {
    fn changes_image(&self) -> bool {
        true
    }

    fn apply_to_image(&self, image: &mut Image, pool: &dyn ClipPool) -> Result<()> {
        let row = row_of(pool, &self.partner)?;
        let mut other = vec![0.0; image.values.len()];
        pool.image(row, image.channel, &mut other)?;
        let weight = self.weight as f32;
        image
            .values
            .iter_mut()
            .zip(&other)
            .for_each(|(value, other)| *value = weight * *value + (1.0 - weight) * other);
        weigh(image.targets, weight, pool.info(row).labels);
        Ok(())
    }
}

/// Gives the clip itself the share `weight` of the targets, and the classes `labels` of the other clip the rest. A class that is
/// unknown in one of the clips is unknown (NaN) in the mixture.
pub(super) fn weigh(targets: &mut [f32], weight: f32, labels: &Labels) {
    targets.iter_mut().for_each(|target| *target *= weight);
    labels.iter().for_each(|&label| targets[label] += 1.0 - weight);
    labels.unknown().iter().for_each(|&label| targets[label] = f32::NAN);
}

/// The row of a clip that a draw names.
pub(super) fn row_of(pool: &dyn ClipPool, id: &str) -> Result<usize> {
    pool.row_of(id).with_context(|| {
        format!("{id} is not a training clip of this split: recorded draws can only be replayed on the split that they were drawn for")
    })
}

/// A number drawn from Beta(alpha, alpha), computed from two gamma variates (Marsaglia and Tsang 2000).
pub(super) fn beta(alpha: f64, rng: &mut ChaCha8Rng) -> f64 {
    // In logarithms, because both gamma variates of a small alpha round to zero.
    let (a, b) = (log_gamma_variate(alpha, rng), log_gamma_variate(alpha, rng));
    1.0 / (1.0 + libm::exp(b - a))
}

fn log_gamma_variate(alpha: f64, rng: &mut ChaCha8Rng) -> f64 {
    // 1 - uniform is above zero.
    let positive = |rng: &mut ChaCha8Rng| 1.0 - uniform(rng);
    if alpha < 1.0 {
        let boost = libm::log(positive(rng)) / alpha;
        return log_gamma_variate(alpha + 1.0, rng) + boost;
    }
    let d = alpha - 1.0 / 3.0;
    let c = 1.0 / libm::sqrt(9.0 * d);
    loop {
        let normal = libm::sqrt(-2.0 * libm::log(positive(rng))) * libm::cos(std::f64::consts::TAU * uniform(rng));
        let v = (1.0 + c * normal).powi(3);
        if v > 0.0 && libm::log(positive(rng)) < 0.5 * normal * normal + d - d * v + d * libm::log(v) {
            return libm::log(d * v);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::augment::tests::{IMAGE_SHAPE, context, five_clips};
    use timbre_core::seed::Seed;

    #[test]
    fn weights_have_the_moments_of_a_beta_distribution() {
        for alpha in [0.05, 0.4, 1.0, 10.0] {
            let mut rng = Seed::new(3).rng();
            let n = 20_000;
            let drawn: Vec<f64> = (0..n).map(|_| beta(alpha, &mut rng)).collect();
            let mean = drawn.iter().sum::<f64>() / f64::from(n);
            let variance = drawn.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / f64::from(n);
            let expected = 1.0 / (4.0 * (2.0 * alpha + 1.0));
            assert!(drawn.iter().all(|x| (0.0..=1.0).contains(x)));
            assert!(
                (mean - 0.5).abs() < 0.015 && (variance / expected - 1.0).abs() < 0.05,
                "{alpha}: {mean} {variance}"
            );
        }
    }

    #[test]
    fn image_and_targets_have_equal_weights_and_the_partner_is_another_clip() {
        let pool = five_clips();
        let context = context(&pool, 1);
        for seed in 0..50 {
            let mut rng = Seed::new(seed).rng();
            let Draw::MixupDraw(draw) = Mixup::default().draw(&context, &mut rng).unwrap().remove(0) else {
                unreachable!()
            };
            assert_ne!(draw.partner, pool.info(1).id);
            let partner = pool.row_of(&draw.partner).unwrap();
            let [rows, cols] = IMAGE_SHAPE;
            let (mut values, mut targets) = (vec![7.0; rows * cols], vec![0.0, 1.0, 0.0]);
            draw.apply_to_image(
                &mut Image { rows, cols, channel: 0, values: &mut values, targets: &mut targets },
                &pool,
            )
            .unwrap();
            let weight = draw.weight as f32;
            assert!(values.iter().all(|v| (v - (weight * 7.0 + (1.0 - weight) * partner as f32)).abs() < 1e-5));
            assert!((targets[1] - if pool.info(partner).labels.contains(&1) { 1.0 } else { weight }).abs() < 1e-6);
        }
        let larger = Mixup { keep_larger: true, ..Mixup::default() };
        assert!((0..50).all(|seed| {
            let draws = larger.draw(&context, &mut Seed::new(seed).rng()).unwrap();
            matches!(&draws[0], Draw::MixupDraw(draw) if draw.weight >= 0.5)
        }));
    }

    #[test]
    fn a_partner_outside_the_training_set_is_named_in_the_error() {
        let draw = MixupDraw { partner: "gone.wav".into(), weight: 0.5 };
        let mut image = Image { rows: 1, cols: 1, channel: 0, values: &mut [0.0], targets: &mut [1.0] };
        assert!(
            draw.apply_to_image(&mut image, &five_clips())
                .unwrap_err()
                .to_string()
                .contains("gone.wav is not a training clip")
        );
    }

    #[test]
    fn a_class_that_is_unknown_in_one_clip_is_unknown_in_the_mixture() {
        let mut targets = [1.0, 0.0, f32::NAN, 0.0];
        weigh(&mut targets, 0.75, &Labels::new(vec![1], vec![0]));
        assert!(targets[0].is_nan() && targets[2].is_nan() && targets[1] == 0.25 && targets[3] == 0.0, "{targets:?}");
    }
}
