//! The sensitivity index d': how far apart, in standard deviations, two normal distributions of scores are that have this area
//! under the ROC curve.
//!
//! Conventions: d' = √2 · Φ⁻¹(AUC), as for AudioSet, where it is computed from the mean area of the classes and not as the mean
//! of their d'. It is 0 by chance, and undefined for an area of 0 or 1, where it is infinite.

use std::f64::consts::{PI, SQRT_2};

pub fn d_prime(area: f64) -> Option<f64> {
    (area > 0.0 && area < 1.0).then(|| SQRT_2 * normal_quantile(area))
}

/// The inverse of the distribution function of the normal distribution, by Newton's method from a logistic start.
fn normal_quantile(p: f64) -> f64 {
    if p > 0.5 {
        return -normal_quantile(1.0 - p);
    }
    let mut x = (p / (1.0 - p)).ln() / 1.702;
    for _ in 0..60 {
        let (below, density) = (0.5 * libm::erfc(-x / SQRT_2), (-0.5 * x * x).exp() / (2.0 * PI).sqrt());
        // Newton's step of the logarithm, which is concave: it does not overshoot in the tail.
        let step = (below / p).ln() * below / density;
        x -= step;
        if step.abs() <= 1e-15 * x.abs() {
            break;
        }
    }
    x
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_of_the_normal_distribution_equal_published_ones() {
        for (p, x) in [(0.5, 0.0), (0.975, 1.959963984540054), (0.01, -2.3263478740408408), (1e-12, -7.034483825301131)]
        {
            assert!((normal_quantile(p) - x).abs() < 1e-12, "{p}: {}", normal_quantile(p));
        }
    }

    #[test]
    fn areas_of_0_and_1_have_no_index() {
        assert_eq!([0.0, 0.5, 1.0].map(d_prime), [None, Some(0.0), None]);
    }
}
