//! Mixup (Zhang et al. 2017): the image and the targets of a clip fade over to those of another, which stays as no augmentation
//! has touched it.

use anyhow::{Context, Result};
use rand_chacha::ChaCha8Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{AugmentContext, AugmentKind, ClipPool, Draw, Effect, Fault, Image};
use timbre_core::seed::uniform;

augment_spec! {
    /// Mixup: image and targets are a weighted mean of those of two clips.
    pub struct Mixup {
        /// The weight of the clip itself is drawn from Beta(alpha, alpha): near 0 or 1 where alpha is small. Default: 0.4.
        #[schemars(range(min = 0.01, max = 100.0))]
        pub alpha: f64 = 0.4,
        /// Whether the clip itself always has the larger weight, as in PaSST. Default: false.
        pub keep_larger: bool = false,
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MixupDraw {
    /// The other clip.
    pub partner: String,
    /// Of the clip itself; the other has the rest.
    pub weight: f64,
}

impl AugmentKind for Mixup {
    fn version(&self) -> u32 {
        1
    }

    fn faults(&self, _sample_rate: u32) -> Vec<Fault> {
        let usable = (0.01..=100.0).contains(&self.alpha);
        if usable { Vec::new() } else { vec![("alpha".into(), "it lies from 0.01 to 100".into())] }
    }

    fn draw(&self, scene: &AugmentContext, rng: &mut ChaCha8Rng) -> Result<Vec<Draw>> {
        let Some(row) = scene.another(rng) else { return Ok(Vec::new()) };
        let weight = beta(self.alpha, rng);
        let weight = if self.keep_larger { weight.max(1.0 - weight) } else { weight };
        Ok(vec![MixupDraw { partner: scene.company.companion(row).id.to_owned(), weight }.into()])
    }

    fn is_on_sound(&self) -> bool {
        false
    }
}

impl Effect for MixupDraw {
    fn is_on_image(&self) -> bool {
        true
    }

    fn on_image(&self, image: &mut Image, company: &dyn ClipPool) -> Result<()> {
        let row = row_of(company, &self.partner)?;
        let mut other = vec![0.0; image.values.len()];
        company.image(row, &mut other)?;
        let weight = self.weight as f32;
        image
            .values
            .iter_mut()
            .zip(&other)
            .for_each(|(value, other)| *value = weight * *value + (1.0 - weight) * other);
        weigh(image.targets, weight, company.companion(row).labels);
        Ok(())
    }
}

/// Targets of which the clip itself has the share `weight`, and one with these labels the rest.
pub(super) fn weigh(targets: &mut [f32], weight: f32, labels: &[usize]) {
    targets.iter_mut().for_each(|target| *target *= weight);
    labels.iter().for_each(|&label| targets[label] += 1.0 - weight);
}

/// The row of a clip that a draw names.
pub(super) fn row_of(company: &dyn ClipPool, id: &str) -> Result<usize> {
    company.row_of(id).with_context(|| {
        format!("{id} is no training clip here: draws are played again on the split they were drawn for")
    })
}

/// A number drawn from Beta(alpha, alpha), by two gamma variates (Marsaglia and Tsang 2000).
pub(super) fn beta(alpha: f64, rng: &mut ChaCha8Rng) -> f64 {
    // As logarithms: both gammas of a small alpha round to zero.
    let (a, b) = (log_gamma_variate(alpha, rng), log_gamma_variate(alpha, rng));
    1.0 / (1.0 + libm::exp(b - a))
}

fn log_gamma_variate(alpha: f64, rng: &mut ChaCha8Rng) -> f64 {
    // 1 - uniform lies above zero.
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
    use crate::augment::tests::{IMAGE, friends};
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
    fn image_and_targets_are_weighed_alike_and_the_partner_is_another_clip() {
        let company = friends();
        let scene = AugmentContext { sample_rate: 8000, samples: 800, row: 1, company: &company };
        for seed in 0..50 {
            let mut rng = Seed::new(seed).rng();
            let Draw::MixupDraw(draw) = Mixup::default().draw(&scene, &mut rng).unwrap().remove(0) else {
                unreachable!()
            };
            assert_ne!(draw.partner, company.companion(1).id);
            let partner = company.row_of(&draw.partner).unwrap();
            let [rows, cols] = IMAGE;
            let (mut values, mut targets) = (vec![7.0; rows * cols], vec![0.0, 1.0, 0.0]);
            draw.on_image(&mut Image { rows, cols, values: &mut values, targets: &mut targets }, &company).unwrap();
            let weight = draw.weight as f32;
            assert!(values.iter().all(|v| (v - (weight * 7.0 + (1.0 - weight) * partner as f32)).abs() < 1e-5));
            assert!(
                (targets[1] - if company.companion(partner).labels.contains(&1) { 1.0 } else { weight }).abs() < 1e-6
            );
        }
        let larger = Mixup { keep_larger: true, ..Mixup::default() };
        assert!((0..50).all(|seed| {
            let draws = larger.draw(&scene, &mut Seed::new(seed).rng()).unwrap();
            matches!(&draws[0], Draw::MixupDraw(draw) if draw.weight >= 0.5)
        }));
    }

    #[test]
    fn who_is_not_there_is_told() {
        let draw = MixupDraw { partner: "gone.wav".into(), weight: 0.5 };
        let mut image = Image { rows: 1, cols: 1, values: &mut [0.0], targets: &mut [1.0] };
        assert!(
            draw.on_image(&mut image, &friends()).unwrap_err().to_string().contains("gone.wav is no training clip")
        );
    }
}
